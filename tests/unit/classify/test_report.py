from uuid import UUID

import pytest

from router.classify import classify
from router.model import RecipientReport, Report
from router.parse.message import parse
from tests.support.build import mail

PERSON = {"from": "Karl <karl@client.example>"}
OUR_ID = "0195a1b2-0000-7000-8000-000000000001@example.com"
TOKEN = "k3m9x2p7"
AWAY = {"return_path": "<>", "from": "ann@client.example", "subject": "Away"}


def status(*groups: str) -> str:
    return "Reporting-MTA: dns; mx.client.example\r\n\r\n" + "\r\n".join(f"{group}\r\n" for group in groups)


def group(
    address: str, action: str = "failed", code: str = "5.1.1", words: str = "smtp; 550 5.1.1 no such user"
) -> str:
    return f"Final-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {code}\r\nDiagnostic-Code: {words}\r\n"


def dsn(status: str, original: str = "", notice: str = "It failed.", **headers: str) -> Report | None:
    parts = ["\r\n" + notice, f"Content-Type: message/delivery-status\r\n\r\n{status}"]
    parts += [f"Content-Type: text/rfc822-headers\r\n\r\n{original}"] if original else []
    body = "".join(f"--x\r\n{part}\r\n" for part in parts) + "--x--\r\n"
    given = {
        "from": "MAILER-DAEMON@client.example",
        "content_type": "multipart/report; report-type=delivery-status; boundary=x",
    } | headers
    return classify(parse(mail(body, **given))).report


def notice(text: str, **headers: str) -> Report | None:
    given = {"from": "MAILER-DAEMON@client.example", "subject": "Returned mail"} | headers
    return classify(parse(mail(text.replace("\n", "\r\n"), **given))).report


def test_t71_each_recipient_has_its_own_outcome_code_and_words() -> None:
    report = dsn(
        status(group("ann@client.example"), group("bob@client.example", "delayed", "4.4.1", "smtp; 421 busy")),
        f"Message-ID: <{OUR_ID}>\r\nSubject: Offer\r\n",
    )
    assert report is not None
    assert report.kind == "bounce"
    assert report.message_ids == (OUR_ID,)
    assert report.recipients == (
        RecipientReport("ann@client.example", "bounce", "5.1.1", "550 5.1.1 no such user"),
        RecipientReport("bob@client.example", "delay", "4.4.1", "421 busy"),
    )


def test_t71_the_recipient_is_the_one_that_was_written_to_before_forwarding() -> None:
    report = dsn(status("Original-Recipient: rfc822;Ann@Client.example\r\n" + group("x@elsewhere.example")))
    assert report is not None
    assert [(one.address, one.final) for one in report.recipients] == [("ann@client.example", "x@elsewhere.example")]


@pytest.mark.parametrize(
    ("told", "words", "code"),
    [
        ("5.0.0", "smtp; 552 5.2.2 full", "5.2.2"),
        ("5.0.0 (permanent failure)", "smtp; 552 full", "5.0.0"),
        ("5.1.1", "smtp; 550 5.7.1 blocked", "5.7.1"),
        ("4.4.7", "smtp; 450 4.7.1 later", "4.4.7"),
        ("", "smtp; 550 no", "550"),
        ("", "smtp; at 10.5.1.1 nothing", ""),
    ],
)
def test_t71_the_code_that_says_most_is_taken(told: str, words: str, code: str) -> None:
    report = dsn(status(group("ann@client.example", code=told, words=words)))
    assert report is not None
    assert report.recipients[0].code == code


@pytest.mark.parametrize(
    ("action", "kind"),
    [("delayed", "delay"), ("delivered", "delivery"), ("relayed", "delivery"), ("expired", "bounce")],
)
def test_t74_an_action_tells_the_kind(action: str, kind: str) -> None:
    report = dsn(status(group("ann@client.example", action)))
    assert report is not None
    assert report.kind == kind


@pytest.mark.parametrize(
    "text",
    [
        f"<ann@client.example>: unknown user\n\n> your message {OUR_ID} of today\n",
        f"<ann@client.example>: unknown user\n\nmessage-id: <{OUR_ID}>\n",
        f"<ann@client.example>: unknown user\n--- Below this line is a copy.\n\nMessage-ID: <{OUR_ID}>\n",
    ],
)
def test_t72_our_id_is_found_anywhere_in_the_body(text: str) -> None:
    report = notice(text)
    assert report is not None
    assert OUR_ID in report.message_ids
    assert [one.address for one in report.recipients] == ["ann@client.example"]


def test_t72_our_token_is_found_in_the_body_the_subject_and_the_return_path() -> None:
    text = "<ann@client.example>: unknown user\n"
    for report in (
        notice(text + f"Subject: Offer CRM:{TOKEN}\n"),
        notice(text, subject=f"Undeliverable: Offer CRM:{TOKEN}"),
        notice(text, to=f"sales+crm-{TOKEN}@example.com"),
        notice(text, delivered_to=f"sales+crm-{TOKEN}@example.com"),
    ):
        assert report is not None
        assert report.tokens == (TOKEN,)


def test_the_return_path_that_a_report_came_to_is_found_in_each_header_that_tells_it() -> None:
    text, hexadecimal = "<ann@client.example>: unknown user\n", "5f0c8d7e1a2b4c3d8e9f0a1b2c3d4e5f"
    path = f"bounces+crm-{hexadecimal}@example.com"
    for report in (notice(text, to=path), notice(text, delivered_to=path), notice(text, envelope_to=f"<{path}>")):
        assert report is not None
        assert report.return_ids == (UUID(hexadecimal),)
        assert not report.proven  # before it is known whose that is


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (f"Original-Envelope-Id: {OUR_ID[:36]}", (UUID(OUR_ID[:36]),)),
        (f"original-envelope-id:{OUR_ID[:36].upper()}  ", (UUID(OUR_ID[:36]),)),
        ("Original-Envelope-Id: QQ314159", ()),
        (f"Original-Envelope-Id: {OUR_ID[:36]}0", ()),
    ],
)
def test_the_envelope_id_that_the_relay_was_told_is_read_where_it_is_one_of_ours(
    field: str, found: tuple[UUID, ...]
) -> None:
    report = dsn(f"Reporting-MTA: dns; relay\r\n{field}\r\n\r\n{group('ann@client.example')}")
    assert report is not None
    assert report.envelope_ids == found


def test_t24_our_private_header_in_the_original_comes_before_an_id_that_a_relay_changed() -> None:
    report = dsn(
        status(group("ann@client.example")), f"Message-ID: <other@relay>\r\nX-CRM-Email-Router: <{OUR_ID}>\r\n"
    )
    assert report is not None
    assert report.message_ids == (OUR_ID, "other@relay")


def test_t75_a_complaint_names_who_complains_or_else_whom_the_mail_was_sent_to() -> None:
    def complaint(fields: str) -> Report | None:
        body = (
            f"--x\r\nContent-Type: message/feedback-report\r\n\r\n{fields}\r\n"
            f"--x\r\nContent-Type: message/rfc822\r\n\r\n"
            f"To: ann@client.example\r\nMessage-ID: <{OUR_ID}>\r\n\r\nHello\r\n--x--\r\n"
        )
        headers = {"content_type": "multipart/report; report-type=feedback-report; boundary=x"}
        return classify(parse(mail(body, **{"from": "fbl@provider.example"}, **headers))).report

    for fields in ("Feedback-Type: abuse\r\n", "Feedback-Type: abuse\r\nOriginal-Rcpt-To: <Ann@client.example>\r\n"):
        report = complaint(fields)
        assert report is not None
        assert (report.kind, report.message_ids) == ("complaint", (OUR_ID,))
        assert report.recipients == (RecipientReport("ann@client.example", "complaint", text="abuse"),)
    assert complaint("Feedback-Type: not-spam\r\n") is None
    assert complaint("Feedback-Type: auth-failure\r\n") is None


def complaint_of_microsoft(original: str, **headers: str) -> Report | None:
    body = f"--x\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n\r\nHello\r\n--x--\r\n"
    given = {"from": "staff@hotmail.com", "content_type": "multipart/mixed; boundary=x"} | headers
    return classify(parse(mail(body, **given))).report


def test_t75_a_complaint_in_microsofts_own_form_is_one() -> None:
    sent = f"From: sales@example.com\r\nTo: ann@client.example\r\nMessage-ID: <{OUR_ID}>"
    subject = "complaint about message from 192.0.2.1"
    told = (RecipientReport("ann@client.example", "complaint", text="abuse"),)
    for original, written in (
        (f"X-HmXmrOriginalRecipient: <Ann@Client.example>\r\n{sent}", subject),
        (f"X-HmXmrOriginalRecipient: ann@client.example\r\n{sent.replace('ann@', 'hidden@')}", "Junk"),
        (sent, subject),
    ):
        report = complaint_of_microsoft(original, subject=written)
        assert report is not None
        assert (report.kind, report.recipients, report.message_ids) == ("complaint", told, (OUR_ID,))
    for written in ("Fwd: " + subject, "Re: " + subject):
        assert (
            complaint_of_microsoft(f"X-HmXmrOriginalRecipient: ann@client.example\r\n{sent}", subject=written) is None
        )
    assert complaint_of_microsoft(sent, subject="A complaint about message 5", **PERSON) is None


def test_t71_recipients_without_an_empty_line_between_them_are_told_apart() -> None:
    one = "Final-Recipient: rfc822; a@client.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    two = "Final-Recipient: rfc822; b@client.example\r\nAction: delayed\r\nStatus: 4.2.2\r\n"
    original = "Original-Recipient: rfc822;{}@example.com\r\n"
    for told, names in (
        (one + two, [("a@client.example", "5.1.1"), ("b@client.example", "4.2.2")]),
        (
            original.format("x") + one + original.format("y") + two,
            [("x@example.com", "5.1.1"), ("y@example.com", "4.2.2")],
        ),
        (
            one.replace("Action", original.format("x") + "Action")
            + two.replace("Action", original.format("y") + "Action"),
            [("x@example.com", "5.1.1"), ("y@example.com", "4.2.2")],
        ),
        (one + original.format("x"), [("x@example.com", "5.1.1")]),
        (one + two + one.replace("a@", "c@"), [(f"{name}@client.example", code) for name, code in TOLD]),
    ):
        report = dsn("Reporting-MTA: dns; mx.client.example\r\n" + told)
        assert report is not None
        assert [(recipient.address, recipient.code) for recipient in report.recipients] == names


TOLD = (("a", "5.1.1"), ("b", "4.2.2"), ("c", "5.1.1"))


@pytest.mark.parametrize(
    ("final", "notice_text"),
    [
        ("x-local; |/usr/bin/procmail", "<ann@client.example>: unknown mailer error 1"),
        ('rfc822; "|/usr/bin/procmail -a x"@mx.client.example', "<ann@client.example>: unknown mailer error 1"),
        ("rfc822; /var/mail/ann", '"/var/mail/ann"\r\n    (expanded from: <ann@client.example>)'),
        (
            "rfc822; |/usr/bin/vacation",
            '"|/usr/bin/vacation ann"\r\n (reason: 1)\r\n (expanded from: ann@client.example)',
        ),
        ("rfc822; @mx.client.example", "<ann@client.example>: host mx.client.example said: 550 no"),
        ("dns; mx.client.example", "<ann@client.example>: host mx.client.example said: 550 no"),
        ("X400; /c=DE/a=viaT/s=Ann", "ann@client.example"),
        ("rfc822;", "ann@client.example"),
        ("LOCAL; ann", "ann@client.example"),
    ],
)
def test_t71_a_recipient_that_is_no_address_is_named_by_the_reports_words(final: str, notice_text: str) -> None:
    told = (
        f"Reporting-MTA: dns; mx.client.example\r\n\r\nFinal-Recipient: {final}\r\nAction: failed\r\nStatus: 5.3.0\r\n"
    )
    report = dsn(told, notice=notice_text)
    assert report is not None
    assert [(one.address, one.code) for one in report.recipients] == [("ann@client.example", "5.3.0")]
    report = dsn(told, original=f"To: Ann <ann@client.example>\r\nMessage-ID: <{OUR_ID}>\r\n")
    assert report is not None
    assert [(one.address, one.code) for one in report.recipients] == [("ann@client.example", "5.3.0")]


def test_t71_the_code_is_kept_where_nothing_names_the_recipient() -> None:
    report = dsn("Final-Recipient: x-local; |/usr/bin/procmail\r\nAction: failed\r\nStatus: 5.3.0\r\n")
    assert report is not None
    assert [(one.address, one.kind, one.code) for one in report.recipients] == [("", "bounce", "5.3.0")]


@pytest.mark.parametrize(
    "final",
    [
        "rfc822; x@elsewhere.example (expanded from <ann@client.example>)",
        "rfc822; x@elsewhere.example (expanded from: ann@client.example)",
        "rfc822; <x@elsewhere.example> (generated from Ann@client.example)",
    ],
)
def test_t71_what_an_address_was_expanded_from_is_the_recipient(final: str) -> None:
    report = dsn(f"Final-Recipient: {final}\r\nAction: failed\r\nStatus: 5.1.1\r\n")
    assert report is not None
    assert [(one.address, one.final) for one in report.recipients] == [("ann@client.example", "x@elsewhere.example")]
    report = notice(final.partition("; ")[2] + ": user unknown\n")
    assert report is not None
    assert [(one.address, one.final) for one in report.recipients] == [("ann@client.example", "x@elsewhere.example")]


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("I am away. Please write to my colleague:\nbob@client.example\n", AWAY),
        ("Bob's mail was not delivered:\nbob@client.example\n", {"from": "ann@client.example", "subject": "Re: Offer"}),
        ("Your address was subscribed:\nann@client.example\n", {"subject": "Welcome"}),
        ("See below.\nbob@client.example\n", {"from": "ann@client.example", "subject": "Fw: Undeliverable: Offer"}),
    ],
)
def test_t73_what_people_write_about_mail_is_no_report(text: str, headers: dict[str, str]) -> None:
    assert notice(text, **headers) is None


QMAIL = """Hi. This is the qmail-send program at mx.client.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<bob@client.example>:
no mailbox (#5.1.1)

Ann, that is what I got. Karl
"""
EXIM = """Hi Ann, please help:

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@client.example
    550 5.1.1 User unknown
"""


@pytest.mark.parametrize(
    "headers",
    [
        {"subject": "Fwd: Undelivered Mail Returned to Sender", "content_type": "multipart/mixed; boundary=x"},
        {"subject": "What is this?", "content_type": "multipart/mixed; boundary=x"},
        {"subject": "Undelivered Mail Returned to Sender", "content_type": "multipart/mixed; boundary=x"},
        {"subject": "Re: Undelivered Mail", "in_reply_to": "<x@client.example>"},
        {"subject": "[team] WG: Undelivered Mail"},
        {"subject": "Fwd: Undelivered Mail", "from": "Peter <postmaster@client.example>"},
    ],
)
def test_t71_a_bounce_that_a_person_passes_on_is_mail_of_that_person(headers: dict[str, str]) -> None:
    report = {"content_type": "multipart/report; report-type=delivery-status; boundary=x"}
    parts = [
        "\r\nHi Ann, look what came back!",
        f"Content-Type: message/delivery-status\r\n\r\n{status(group('a@b.example'))}",
    ]
    body = "".join(f"--x\r\n{part}\r\n" for part in parts) + "--x--\r\n"
    kind = classify(parse(mail(body, **(PERSON | report | headers))))
    assert (kind.report, kind.automatic) == (None, None)


@pytest.mark.parametrize(
    ("text", "subject"),
    [(QMAIL, "failure notice"), (EXIM, "Mail delivery failed: returning message to sender")],
)
def test_t71_words_of_a_mail_system_count_only_from_a_mail_system(text: str, subject: str) -> None:
    assert notice(text, subject=subject) is not None
    assert notice(text, subject=subject, **PERSON, return_path="<>") is not None
    assert notice(text, subject=subject, **PERSON) is None


def test_t71_a_report_without_its_standard_type_counts_from_a_mail_system() -> None:
    mixed = {"content_type": "multipart/mixed; boundary=x"}
    told = status(group("ann@client.example"))
    assert dsn(told, **mixed) is not None
    for sign in ({"return_path": "<>"}, {"auto_submitted": "auto-replied"}, {"x_failed_recipients": "a@b.example"}):
        assert dsn(told, **mixed, **PERSON, **sign) is not None
    assert dsn(told, subject="Re: Offer", return_path="<>", **PERSON) is not None


def test_a_report_is_automatic_and_a_hostile_one_is_read_fast() -> None:
    text = "\n".join(f"<a{number}@client.example>: failed " + "a@" * 100 for number in range(20_000))
    report = notice(text)
    assert report is not None
    assert len(report.recipients) <= 500
    assert classify(parse(mail(text, **{"from": "MAILER-DAEMON@x.example"}))).automatic == "a report of a mail system"
