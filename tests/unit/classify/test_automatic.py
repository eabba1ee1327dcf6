import pytest

from router.classify import classify
from router.model import Classification
from router.parse.message import parse
from tests.support.build import mail


def classified(**headers: str) -> Classification:
    return classify(parse(mail(**headers)))


@pytest.mark.parametrize(
    "headers",
    [
        {"auto_submitted": "auto-replied"},
        {"auto_submitted": "auto-generated (failure); owner-email=x"},
        {"auto_submitted": "auto-notified"},
        {"precedence": "auto_reply"},
        {"x_autoreply": "yes"},
        {"x_autorespond": "Offer"},
        {"x_ms_exchange_inbox_rules_loop": "ann@client.example"},
        {"x_fc_machinegenerated": "true"},
        {"return_path": "<>"},
        {"from": "MAILER-DAEMON@client.example"},
        {"subject": "Automatic reply: Offer"},
        {"subject": "Automatische Antwort: Angebot"},
        {"subject": "=?utf-8?q?R=C3=A9ponse_automatique_=3A_offre?="},
        {"subject": "Out of Office: Offer", "in_reply_to": "<offer@example.com>"},
        {"subject": "Abwesenheitsnotiz: Angebot", "references": "<offer@example.com>"},
        {"subject": "Out of office", "x_auto_response_suppress": "All"},
        {"subject": "Automatic reply", "precedence": "bulk"},
        {"auto_submitted": '(hello) auto-replied (a) ; owner-email="ann@client.example"'},
        {"from": "postmaster@client.example", "return_path": "<>"},
        {"content_type": "multipart/report; report-type=disposition-notification; boundary=x"},
    ],
)
def test_t70_what_a_machine_answers_is_automatic(headers: dict[str, str]) -> None:
    assert classified(**headers).automatic


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"auto_submitted": "no"},
        {"x_auto_response_suppress": "All"},  # asks others for silence: people's mail has it, too
        {"return_path": "<ann@client.example>"},
        {"subject": "Re: Automatic reply: Offer"},
        {"subject": "Automobile"},
        {"subject": "Auto: insurance for my car"},
        {"subject": "Auto: Kaufvertrag", "in_reply_to": "<offer@example.com>"},
        {"subject": "Out of office"},
        {"subject": "Out of Office: Monday and Tuesday"},
        {"subject": "Out of office next week?", "in_reply_to": "<offer@example.com>"},
        {"subject": "Automatic reply"},
        {"subject": "Abwesenheitsnotiz: wie geht das?"},
        {"auto_submitted": "no (a person wrote it)"},
        {"x_autoreply": "no"},
        {"from": "Peter <postmaster@client.example>"},
        {"precedence": "first-class"},
    ],
)
def test_t70_what_a_person_writes_is_not(headers: dict[str, str]) -> None:
    assert classified(**headers).automatic is None


def test_t70_a_header_of_automatic_replies_that_is_empty_says_nothing() -> None:
    assert classify(parse(b"X-Autorespond:\r\n" + mail())).automatic is None


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"list_id": "<chairs.example.com>"}, "list"),
        ({"precedence": "list"}, "list"),
        ({"precedence": "bulk"}, "bulk"),
        ({"list_unsubscribe": "<https://example.com/off>"}, "bulk"),
        ({}, None),
    ],
)
def test_t54_lists_and_other_bulk_mail_are_told_apart(headers: dict[str, str], kind: str | None) -> None:
    assert classified(**headers).bulk == kind


def test_t76_a_message_that_passed_too_many_servers_is_in_a_loop() -> None:
    hops = "\r\n".join(f"Received: from a{n} by b{n}; Sat, 21 Nov 2026 00:59:00 +0000" for n in range(51)).encode()
    assert classify(parse(hops + b"\r\n" + mail())).loop
    assert classify(parse(hops.split(b"\r\n", 1)[1] + b"\r\n" + mail())).loop is None


def test_t76_a_message_that_carries_our_private_header_twice_is_in_a_loop() -> None:
    once, twice = b"X-CRM-Email-Router: <a@example.com>\r\n", b"X-CRM-Email-Router: <b@example.com>\r\n"
    assert classify(parse(once + mail())).loop is None
    assert classify(parse(once + twice + mail())).loop


def test_t79_our_private_headers_are_not_among_the_headers_and_name_only_what_is_claimed() -> None:
    message = parse(b"X-CRM-Email-Router: <a@example.com>\r\nX-CRM-Email-Router-Owner: me\r\n" + mail())
    assert not [name for name, _ in message.headers if name.startswith("x-crm")]
    assert message.claims == ("a@example.com",)
    assert message.thread_ids == ()
