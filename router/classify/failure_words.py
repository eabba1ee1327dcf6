"""That mail did not arrive, in the languages of mail systems: pieces of patterns, for text in any case."""


def either(text: str) -> str:
    """Join pieces to a pattern. Between them is a line's end, or a bar with spaces around it."""
    return "|".join(piece.strip() for piece in text.replace("\n", " | ").split(" | ") if piece.strip())


NOT_DELIVERED = either(r"""
    unzustellbar | (?:nicht|konnte nicht|nicht erfolgreich) (?:zugestellt|zustellbar|übermittelt|ausgeliefert)
    zustellung (?:fehlgeschlagen|gescheitert|nicht möglich)
    (?:fehler|problem) bei der (?:zustellung|übermittlung)
    zustell(?:fehler|problem) | zurückgewiesen | unbekannter empfänger | empfänger (?:ist )?unbekannt
    [ée]chec (?:de |d['’])(?:la )?(?:remise|distribution|livraison|envoi)
    message (?:électronique )?non (?:remis|distribué|délivré)
    courrier (?:électronique )?non (?:remis|distribué|délivré) | non remis
    n['’]a pas (?:pu être|été) (?:remis|distribué|délivré)
    impossible de (?:remettre|distribuer|délivrer) | destinataire inconnu | adresse inconnue
    no se (?:ha podido|pudo|puede|ha) (?:ser )?entrega[rd]o? | no (?:ha sido|fue|pudo ser) entregado
    (?:error|fallo|falla) (?:de|en la) entrega
    correo devuelto | mensaje (?:devuelto|no entregado) | imposible (?:de )?entregar | destinatario desconocido
    mancato recapito | impossibile (?:recapitare|consegnare)
    non (?:è stato|e' stato|può essere) (?:possibile )?(?:recapitat|consegnat|recapitare|consegnare)
    messaggio non (?:recapitato|consegnato) | consegna (?:non riuscita|fallita) | destinatario sconosciuto
    não (?:foi |pôde ser |p[ôo]de )?(?:possível )?entreg(?:ue|ar) | falha (?:na|de) entrega
    entrega (?:falhou|não efetuada) | destinatário desconhecido
    onbestelbaar | niet (?:worden )?(?:afgeleverd|bezorgd|besteld) | (?:aflevering|bezorging) (?:is )?mislukt
    onbekende (?:ontvanger|gebruiker)
    (?:kunne|kan|blev|ble) ikke (?:blive |bli )?(?:leveres|levert|leveret|afleveret)
    levering(?:en)? (?:mislykkedes|mislyktes) | ikke (?:leveret|levert) | ukendt modtager
    olevererbart | (?:kunde|kan) inte levereras | ej levererat | leverans(?:en)? misslyckades | okänd mottagare
    ei voi(?:tu|da) toimittaa | toimitus epäonnistui | perille toimittamaton | jäi toimittamatta
    tuntematon vastaanottaja
    nie (?:została |zostało |został )?(?:dostarczono|dostarczona|dostarczony|doręczono|doręczona) | niedostarcz
    nie można (?:było )?d(?:ostarczyć|oręczyć) | nieznany (?:odbiorca|użytkownik)
    nedoruč | nelze doručit | nepodařilo (?:se )?doručit | nebylo možné doručit | neznámý příjemce
    nie je možné doručiť | nebol[ao]? doručen
    kézbesíthetetlen | nem (?:volt )?kézbesíthető | sikertelen (?:kézbesítés|kézbesítési)
    kézbesítése sikertelen | ismeretlen címzett
    nelivrat | imposibil de livrat | nu a (?:putut fi|fost) livrat | livrare eșuată | destinatar necunoscut
    teslim edilemedi | iletilemedi | gönderilemedi | teslim edilemeyen | bilinmeyen alıcı
    недоставлен | не(?: может быть| могло быть| было| удалось| удаётся| удается)? доставлен[оа]?
    не удалось доставить | невозможно доставить | не может быть доставлен
    (?:сбой|ошибка) (?:при )?доставк | не вдалося доставити | помилка доставки | не доставлено
    неизвестный получатель
    αδυναμία παράδοσης | δεν (?:ήταν δυνατή|παραδόθηκε|μπόρεσε) | αποτυχία παράδοσης
    未送达 | 未送達 | 无法送达 | 無法送達 | 投递失败 | 投遞失敗 | 无法投递 | 無法投遞 | 無法傳遞 | 未傳遞 | 退信
    被退回 | 发送失败 | 用户不存在 | 收件人不存在
    配信不能 | 配信できません | 配信できなかった | 配信エラー | 配達できません | 届けられません | 送信できません
    送信に失敗 | 送信エラー | 送信できませんでした | メールエラー | 宛先不明
    宛先が見つかりません
    전송 실패 | 배달되지 | 배달 실패 | 전송되지 | 전달되지 | 반송 | 배달할 수 없 | 전송할 수 없
    לא ניתן (?:היה )?להעביר | לא נמסרה? | تعذر (?:التسليم|تسليم) | لم يتم (?:التسليم|تسليم) | فشل (?:التسليم|تسليم)
    gagal (?:terkirim|dikirim) | tidak dapat (?:dikirim|disampaikan) | không (?:thể )?(?:gửi|chuyển) được
    không gửi được | ส่งไม่สำเร็จ | ไม่สามารถส่ง
""")

NOT_YET = either(r"""
    verzögert | noch nicht zugestellt | retard(?:é|ée) | remise différée | con retraso | demorad[oa]
    entrega diferida
    consegna ritardata | in ritardo | entrega atrasada | vertraagd | forsinket | försenad | viivästyny | opóźnion
    zpožděn | oneskoren | késleltet | întârziat | gecik(?:me|ti) | задержива | отложен[ао]? доставк | затрим
    καθυστέρησ
    延迟 | 延遲 | 遅延 | 지연
""")
"""That it has not arrived yet."""

REFUSED = either(r"""
    abgelehnt | verweigert | postfach (?:ist )?voll | postfach überfüllt | refusée?
    bo[îi]te (?:aux lettres )?pleine
    rechazad[oa] | buz[óo]n (?:está )?lleno | cuota superada | rifiutat[oa] | casella (?:è )?piena | recusad[oa]
    rejeitad[oa]
    caixa (?:de correio )?cheia | geweigerd | postbus (?:is )?vol | mailbox vol | avvist | afvist | avvisats
    hylätty
    odrzucon | przepełnion | odmítnut | odmietnut | elutasít | respins | reddedildi | отклон[её]н | переполнен
    відхилен
    απορρίφθηκε | 拒收 | 拒绝 | 拒絕 | 邮箱已满 | 信箱已滿 | 拒否 | 容量を超え | 거부 | 용량 초과 | נדחתה | تم رفض
""")
"""That a server refused it."""
