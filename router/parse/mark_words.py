"""What mail programs write above quotes and below texts, in the languages they speak; each is a piece of a pattern."""


def _either(text: str) -> str:
    return "|".join(piece.strip() for piece in text.replace("\n", "|").split("|") if piece.strip())


WROTE = _either(r"""
    wrote | writes | schrieb | geschrieben | schreef | geschreven | écrit | escribió | ha scritto | scrive | escreveu
    skrev | skreiv | kirjoitti | napisał | napsala? | napísala? | je napisao | napisao | je napisal | rašė | rakstīja
    kirjutas | írta | a scris | έγραψε | yazdı | написала? | писал | пишет | пише | написав | đã viết | menulis
    写道 | 寫道 | 写了 | のメール | 書きました | 작성 | 쓰기 | เขียน | כתב | كتب
""")

# Before a date.
ON = _either("""
    on | at | am | le | el | il | op | em | den | på | pe | în data | dnia | w dniu | dne | v | ha | στις | ngày | vào
    pada | tarihinde | в | у
""")
WEEKDAY = _either(r"""
    (?:mon|tues?|wed(?:nes)?|thur?s?|fri|sat(?:ur)?|sun)(?:day)?\b
    понедельник | вторник | среда | четверг | пятница | суббота | воскресенье
""")

# Between dashes, above a mail that is answered.
ORIGINAL = _either("""
    original message | original appointment | ursprüngliche nachricht | original-?nachricht | antwort
    message d'origine | message original | mensaje original | messaggio originale | mensagem original
    oorspronkelijk bericht | originalmeddelande | ursprungligt meddelande | opprinnelig melding | oprindelig meddelelse
    alkuperäinen viesti
    wiadomość oryginalna | oryginalna wiadomość | původní zpráva | pôvodná správa | izvorna poruka | eredeti üzenet
    mesaj original | orijinal mesaj | исходное сообщение | оригінальне повідомлення | reply message
    原始邮件 | 原始郵件 | 邮件原件 | 元のメッセージ | 원본 메시지
""")
# Behind dashes, above a mail that is forwarded.
FORWARDED = _either(r"""
    forwarded message | forwarded mail | forwarded by | weitergeleitete nachricht | message transféré | message transmis
    mensaje reenviado | messaggio inoltrato | mensagem (?:encaminhada|reencaminhada) | doorgestuurd bericht
    vidarebefordrat meddelande | videresendt melding | videresendt meddelelse | välitetty viesti
    edelleenlähetetty viesti | przekazana wiadomość | treść przekazanej wiadomości | přeposlaná zpráva
    preposlaná správa | proslijeđena poruka | továbbított üzenet | mesaj redirecționat | iletilmiş ileti
    iletilmiş mesaj | пересланное сообщение | пересылаемое сообщение | перенаправленное сообщение
    перенаправлене повідомлення | переслане повідомлення | wiadomość przesłana dalej | iletilen ileti
    转发的邮件 | 轉寄的郵件 | 転送メッセージ | メッセージを転送 | 전달된 메시지
""")
BEGIN_FORWARDED = _either(r"""
    begin forwarded message: | anfang der weitergeleiteten nachricht: | début du message réexpédié\s*:
    inicio del mensaje reenviado: | inizio messaggio inoltrato: | início da mensagem reencaminhada:
    begin doorgestuurd bericht: | vidarebefordrat brev: | videresendt besked: | start på videresendt melding:
    początek przekazywanej wiadomości:
""")

# The headers that Outlook puts above what it quotes: the one that comes first, and those that follow it, the
# subject apart: a journey has a from, a to and a date, too.
FROM = _either("""
    from | von | de | de la | da | van | fra | från | lähettäjä | od | feladó | kimden | από | от | від | из
    发件人 | 寄件者 | 差出人 | 보낸 사람 | מאת | من
""")
FURTHER = _either(r"""
    sent | date | to | cc | reply-to | gesendet | datum | an | antwort an | envoyé | date d'envoi | à
    enviado(?: el)? | fecha | para | inviato | data | risposta | a | enviada(?: em)? | verzonden | aan | sendt
    dato | til | skickat | till | lähetetty | vastaanottaja | wysłano | do | odesláno | komu | dátum | elküldve
    címzett | gönderilme | tarih | kime | дата | отправлено | кому | надіслано
    发送时间 | 收件人 | 寄件日期 | 收件者 | 送信日時 | 宛先 | 보낸 날짜 | 받는 사람
""")
SUBJECT = _either("""
    subject | betreff | thema | objet | asunto | oggetto | assunto | onderwerp | emne | ämne | aihe | temat | předmět
    predmet | tárgy | konu | тема | 主题 | 主旨 | 件名 | 제목
""")

# What telephones and programs say of themselves.
SENT_FROM = _either(r"""
    (?:sent|written|posted) (?:from|via|with|by|using)\b | from my (?:iphone|ipad|android|phone|mobile)
    someone from mobile | get outlook for | get \[outlook for | download(?:ed)? .{0,30} app
    von meinem .{0,60}gesendet | von unterwegs .{0,60}gesendet | gesendet (?:von|mit|aus) \S
    diese nachricht wurde von mein | envoyé (?:depuis|de|à partir) | obtenez outlook
    enviado (?:desde|do|a partir|de mi) | inviato (?:da|dal) \S | verzonden (?:met|vanaf|via|van) | skickat från
    sendt fra | lähetetty \S+sta | wysłan[eo] z | odesláno z | küldve | gönderildi | trimis de pe | στάλθηκε από
    отправлено (?:с|из) | надіслано з | 從我的 | 从我的 | 发自我的 | 發自我的 | iphoneから送信 | 나의 .{0,20}에서 보냄
""")
# Words that make a sentence of such a beginning: "Sent from my old office was a parcel."
VERB = _either("was | were | is | are | has | had | will | war | waren | ist | hat | était | est")
SENT_FROM_END = _either("傳送 | 发送 | から送信 | 에서 보냄")
