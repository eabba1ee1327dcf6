"""What mail programs write above a mail that they forward in a text, in the languages they speak."""

import re
from typing import Literal

Field = Literal["from", "date", "to", "cc", "reply_to", "subject"]

FIELDS: dict[Field, str] = {
    "from": """
        from | von | de | de la | da | van | fra | från | lähettäjä | od | feladó | kimden | gönderen | šalje
        saatja | expeditorul | expéditeur | mittente | remitente | remetente | afzender | nadawca | absender
        avsändare | avsender | afsender | odesílatel | odosielateľ | pošiljatelj | от | отправитель | від | від кого
        发件人 | 寄件者 | 差出人 | 送信元 | 보낸 사람 | מאת | من
    """,
    "date": """
        date | sent | datum | gesendet | envoyé | envoyé le | data | inviato | fecha | enviado | enviado el | enviada
        enviada em | enviado em | verzonden | dato | sendt | skickat | skickades | päivämäärä | päiväys | lähetetty
        dátum | elküldve | küldve | tarih | gönderilme | gönderilen | gönderme | wysłano | odesláno | odoslané
        poslano | dată | trimis | kuupäev | дата | отправлено | надіслано | відправлено | 发送时间 | 日期 | 寄件日期
        日付 | 送信日時 | 日時 | 보낸 날짜 | 날짜
    """,
    "to": """
        to | an | à | a | para | pour | aan | til | till | vastaanottaja | do | adresat | komu | pre | prima | címzett
        kime | către | destinatarul | destinataire | destinatario | destinatário | empfänger | mottagare | mottaker
        modtager | saaja | za | кому | до | 收件人 | 收件者 | 宛先 | 送信先 | 받는 사람 | אל | إلى
    """,
    "cc": """
        cc | kopie | kopie (cc) | copie à | copie | copia | kopia | kopi | kopio | dw | do wiadomości | kópia | másolat
        másolatot kap | bilgi | cópia | koopia | копия | копія | 抄送 | 副本 | 참조
    """,
    "reply_to": """
        reply-to | reply to | antwort an | répondre à | responder a | rispondi a | antwoord aan | odpowiedz do
    """,
    "subject": """
        subject | betreff | objet | sujet | oggetto | asunto | assunto | onderwerp | emne | ämne | aihe | temat
        předmět | predmet | naslov | tárgy | konu | subiect | subiectul | teema | тема | 主题 | 主旨 | 件名 | 제목
    """,
}

# Begin a subject: where nothing else says that the text is a forward and no answer, they do. "VS:" answers in Finnish
# and forwards in Danish and Norwegian.
FORWARD_PREFIX = """
    fwd | fw | wg | tr | rv | i | enc | doorst | vb | vl | vs | vid.sänt | vid. sänt | videresend | videresendt | pd
    továbbítás | ilt | redir | redir. | 转发 | 轉寄 | 転送
"""

# Above a forward, where it is no line between dashes.
BEGINS = """
    begin forwarded message | forwarded message | anfang der weitergeleiteten nachricht | début du message réexpédié
    début du message transféré | inicio del mensaje reenviado | inizio messaggio inoltrato
    início da mensagem reencaminhada | início da mensagem encaminhada | begin doorgestuurd bericht
    vidarebefordrat brev | vidarebefordrat mejl | start på videresendt besked | start på videresendt melding
    videresendt besked | videresendt melding | välitetty viesti | välitetty viesti alkaa
    początek przekazywanej wiadomości | začátek přeposílané zprávy | začiatok preposlanej správy
    započni proslijeđenu poruku | továbbított levél kezdete | începe mesajul redirecționat | ileti başlangıcı
    начало переадресованного сообщения | початок листа, що пересилається
"""


def words_of(words: str) -> list[str]:
    """List the words, the longest first: none may hide one that begins with it."""
    pieces = {piece.strip() for piece in words.replace("\n", "|").split("|")} - {""}
    return sorted(pieces, key=lambda piece: (-len(piece), piece))


def either(words: str) -> str:
    """Join words to a pattern."""
    return "|".join(map(re.escape, words_of(words)))
