"""Bounces in words that nobody listed: by who sends them, what the subject says, and which address they name."""

import pytest

from router.classify import classify
from router.model import Classification
from router.parse.message import parse
from tests.support.build import mail

OUR_ID = "0195a1b2-0000-7000-8000-000000000001@example.com"
ORIGINAL = f"From: sales@example.com\r\nTo: ann@client.example\r\nSubject: Offer\r\nMessage-ID: <{OUR_ID}>\r\n\r\nHello"
DAEMON = "<MAILER-DAEMON>"  # without a domain


def kind(sender: str, subject: str, text: str, **headers: str) -> Classification:
    given = {"from": sender, "subject": subject, "content_type": "text/plain; charset=utf-8"} | headers
    return classify(parse(mail(text.replace("\n", "\r\n"), **given)))


def recipients(found: Classification) -> list[tuple[str, str, str]]:
    return [(one.address, one.kind, one.code) for one in found.report.recipients] if found.report else []


@pytest.mark.parametrize(
    ("sender", "subject", "text", "code"),
    [
        (DAEMON, "Unzustellbar: Angebot", "Ihre Nachricht an ann@client.example konnte nicht zugestellt werden.", ""),
        (DAEMON, "Rückläufer", "Die Nachricht an Frau Ann (ann@client.example) ging nicht: Postfach voll.", ""),
        (
            "postmaster@client.example",
            "Zustellung fehlgeschlagen",
            "An ann@client.example. 554 5.4.14 Schleife",
            "5.4.14",
        ),
        ("postmaster@client.example", "Échec de la remise", "Non remis à ann@client.example (552 5.2.2)", "5.2.2"),
        (
            "Administrador del sistema <correo@client.example>",
            "No se ha podido entregar su mensaje",
            "El mensaje para ann@client.example no fue entregado. Contacte con soporte@client.example",
            "",
        ),
        (
            "postmaster@client.example",
            "Mancato recapito",
            "Messaggio a ann@client.example non recapitato: casella piena",
            "",
        ),
        ("postmaster@client.example", "Falha na entrega", "A mensagem para ann@client.example não foi entregue.", ""),
        (
            "postmaster@client.example",
            "Onbestelbaar: Offerte",
            "Bericht aan ann@client.example is niet afgeleverd.",
            "",
        ),
        ("postmaster@client.example", "Olevererbart: Offert", "Till ann@client.example kunde inte levereras.", ""),
        ("postmaster@client.example", "Levering mislykkedes", "Til ann@client.example, ukendt modtager.", ""),
        ("postmaster@client.example", "Toimitus epäonnistui", "Viestiä ann@client.example ei voitu toimittaa.", ""),
        ("MAILER-DAEMON@client.example", "Zwrot", "Wiadomość do ann@client.example nie została dostarczona.", ""),
        ("MAILER-DAEMON@client.example", "Nedoručitelná zpráva", "Zprávu pro ann@client.example nelze doručit.", ""),
        ("MAILER-DAEMON@client.example", "Kézbesíthetetlen", "A levél (ann@client.example) nem kézbesíthető.", ""),
        ("postmaster@client.example", "Nelivrat: Ofertă", "Mesajul către ann@client.example nu a putut fi livrat.", ""),
        (
            "postmaster@client.example",
            "İletilemedi: Teklif",
            "İletiniz ann@client.example adresine teslim edilemedi.",
            "",
        ),
        ("Mailer-Daemon@client.example", "Недоставленное письмо", "Письмо для ann@client.example: ящик переполнен", ""),
        ("postmaster@client.example", "Αποτυχία παράδοσης", "Προς ann@client.example: δεν παραδόθηκε.", ""),
        ("postmaster@client.example", "系统退信", "您的邮件未能送达ann@client.example，原因：用户不存在", ""),
        ("MAILER-DAEMON@client.example", "宛先不明", "次のメッセージはann@client.exampleへ送信できませんでした。", ""),
        ("메일 시스템 <mail@client.example>", "전송 실패", "ann@client.example 님에게 메일이 전달되지 않았습니다.", ""),
        ("Mail Gateway <gw@client.example>", "Delivery failure", "The mail for ann@client.example was rejected.", ""),
        (
            "mail-daemon@client.example",
            "Status of your mail",
            "To ann@client.example we got 5.2.1 of the server",
            "5.2.1",
        ),
        (
            "Mail_Delivery@client.example",
            "Offer",
            "Dear sender, ann@client.example is an unknown user. Ask info@client.example",
            "",
        ),
    ],
)
def test_t71_a_bounce_is_known_by_its_shape(sender: str, subject: str, text: str, code: str) -> None:
    found = kind(sender, subject, text + "\n")
    assert recipients(found) == [("ann@client.example", "bounce", code)]
    assert found.automatic == "a report of a mail system"


def test_t71_of_several_recipients_those_count_that_a_failure_stands_beside() -> None:
    text = (
        "Could not be reached: ann@client.example (unknown user), and bob@client.example (mailbox full).\nFrom you.\n"
    )
    found = kind("postmaster@client.example", "Undeliverable", text + "Sent by carl@client.example for all.\n")
    assert [one[0] for one in recipients(found)] == ["ann@client.example", "bob@client.example"]


def test_t74_what_is_only_late_is_a_delay() -> None:
    for subject, text in (
        ("Zustellung verzögert", "Nachricht an ann@client.example noch nicht zugestellt."),
        ("Delayed mail", "Not yet delivered to ann@client.example"),
        ("Remise différée", "Le message pour ann@client.example n'a pas pu être remis."),
    ):
        assert recipients(kind(DAEMON, subject, text)) == [("ann@client.example", "delay", "")]


def test_t71_a_bounce_in_html_alone_is_read() -> None:
    html = (
        "<html><head><title>x</title></head><body><h1>Zustellung fehlgeschlagen</h1><table><tr><td>Empfänger:</td>"
        "<td><a href='mailto:ann@client.example'>ann@client.example</a></td></tr><tr><td>550 5.1.1 unbekannt</td></tr>"
        "</table></body></html>"
    )
    found = kind("postmaster@kunde.example", "Nicht zugestellt", html, content_type="text/html; charset=utf-8")
    assert recipients(found) == [("ann@client.example", "bounce", "5.1.1")]


@pytest.mark.parametrize("recipient", ["", "<redacted>", "xxxxx@xxxxx", "****@client.example"])
def test_t71_a_bounce_without_a_recipient_is_one_if_it_names_the_email(recipient: str) -> None:
    text = f"Your message could not be delivered to {recipient}: 5.1.1\n"
    copy = f"\n--- Below this line is a copy of the message.\n\nMessage-ID: <{OUR_ID}>\nSubject: Offer\n"
    found = kind(DAEMON, "Returned mail", text + copy)
    assert found.report is not None
    assert OUR_ID in found.report.message_ids
    assert {one[1:] for one in recipients(found)} == {("bounce", "5.1.1")}


@pytest.mark.parametrize(
    ("sender", "subject", "text"),
    [
        (DAEMON, "Unzustellbar", "Ihre Nachricht konnte nicht zugestellt werden.\n"),
        ("postmaster@client.example", "Mail delivery failed", "Sorry, it could not be delivered.\n"),
        ("Mail Delivery System <x@client.example>", "Échec de la remise", "Destinataire inconnu.\n"),
        ("admin@client.example", "Returned mail", "It was rejected: 550 5.7.1\n"),
    ],
)
def test_t71_a_bounce_that_names_nobody_is_at_least_automatic(sender: str, subject: str, text: str) -> None:
    found = kind(sender, subject, text)
    assert (found.report, found.automatic is not None) == (None, True)


def returned(sender: str, original: str = ORIGINAL, **headers: str) -> Classification:
    parts = ["\r\nIt was rejected: 5.7.1 policy\r\n", f"Content-Type: message/rfc822\r\n\r\n{original}\r\n"]
    body = "".join(f"--x\r\n{part}" for part in parts) + "--x--\r\n"
    given = {"from": sender, "subject": "Undeliverable: Offer", "content_type": "multipart/mixed; boundary=x"}
    return classify(parse(mail(body, **(given | headers))))


def test_t71_a_gateway_that_answers_in_the_recipients_name_gives_the_mail_back() -> None:
    assert recipients(returned("Ann <ann@client.example>")) == [("ann@client.example", "bounce", "5.7.1")]
    assert recipients(returned("Ann <ann@client.example>", subject="Nicht zugestellt: Angebot")) != []
    passed_on = ORIGINAL.replace("sales@example.com", "MAILER-DAEMON@mx.example.com")
    for found in (
        returned("Ann <ann@client.example>", subject="My offer"),
        returned("Ann <ann@client.example>", subject="Fwd: Undeliverable: Offer"),
        returned("Ann <ann@client.example>", in_reply_to=f"<{OUR_ID}>"),
        returned("Ann <ann@client.example>", passed_on),
    ):
        assert (found.report, found.automatic) == (None, None)


def rejection(text: str, disposition: str = "automatic-action/MDN-sent-automatically; deleted") -> Classification:
    told = (
        "Reporting-UA: mx.client.example; mail delivery\r\nOriginal-Recipient: rfc822; ann@client.example\r\n"
        f"Final-Recipient: rfc822; a.smith@client.example\r\nOriginal-Message-ID: <{OUR_ID}>\r\n"
        f"Disposition: {disposition}\r\n"
    )
    parts = [
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n",
        f"Content-Type: message/disposition-notification\r\n\r\n{told}\r\n",
        f"Content-Type: message/rfc822\r\n\r\n{ORIGINAL}\r\n",
    ]
    headers = {"content_type": "multipart/report; report-type=disposition-notification; boundary=x"}
    body = "".join(f"--x\r\n{part}" for part in parts) + "--x--\r\n"
    sender = "Mail Delivery Subsystem <postmaster@client.example>"
    return classify(parse(mail(body, **headers, **{"from": sender, "auto_submitted": "auto-replied"})))


@pytest.mark.parametrize(
    "text",
    [
        "Your message to <ann@client.example> was automatically rejected:\r\nNo offers, please.",
        "Ihre Nachricht wurde abgelehnt: Keine Angebote.",
    ],
)
def test_t71_what_a_rule_of_the_recipient_refused_is_a_bounce(text: str) -> None:
    found = rejection(text)
    assert found.report is not None
    assert (found.report.kind, found.report.message_ids[0], found.read_id) == ("bounce", OUR_ID, None)
    [one] = found.report.recipients
    assert (one.address, one.final) == ("ann@client.example", "a.smith@client.example")
    assert one.text.startswith(text.partition("\r")[0])


@pytest.mark.parametrize(
    ("text", "disposition"),
    [
        ("Your message was deleted without being read.", "automatic-action/MDN-sent-automatically; deleted"),
        ("Your message was read. No part of it was rejected.", "manual-action/MDN-sent-manually; displayed"),
    ],
)
def test_a_receipt_for_mail_that_was_read_or_deleted_is_no_bounce(text: str, disposition: str) -> None:
    found = rejection(text, disposition)
    assert (found.report, found.read_id) == (None, OUR_ID)


@pytest.mark.parametrize(
    ("sender", "subject", "text"),
    [
        ("Shop <no-reply@shop.example>", "Ihr Paket konnte nicht zugestellt werden", "Fragen? kunden@shop.example\n"),
        ("Shop <no-reply@shop.example>", "Delivery failure", "Your parcel was returned. Ask x@shop.example\n"),
        ("Ann <ann@client.example>", "Échec de la remise", "Votre colis n'a pas pu être remis à bob@client.example\n"),
        ("Ann <ann@client.example>", "Unzustellbar", "Mein Brief an bob@client.example kam zurück: 5.1.1\n"),
        ("Postmaster Joe <joe@client.example>", "Offer", "The lamp was rejected by bob@client.example\n"),
        ("Ann <ann@client.example>", "Mail delivery failed", "I wrote to bob@client.example and got 550 5.1.1\n"),
    ],
)
def test_t73_parcels_and_people_are_no_bounces(sender: str, subject: str, text: str) -> None:
    assert kind(sender, subject, text).report is None
    if "no-reply" not in sender:
        assert kind(sender, subject, text).automatic is None


def test_a_report_that_names_everyone_is_read_in_bounds() -> None:
    text = "".join(f"text a{number}@client.example, b@ c@@d (5.1.1) " for number in range(50_000))
    found = kind(DAEMON, "Nicht zugestellt", text)
    assert found.automatic is not None
    assert len(recipients(found)) <= 500
