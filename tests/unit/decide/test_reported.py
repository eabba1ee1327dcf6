"""What becomes of reports and automatic mail."""

import pytest

from router.model import Decision, Disposition, Rule
from tests.support.build import World, mail, record

OUR_ID = "0195a1b2-0000-7000-8000-000000000001@example.com"
TOKEN = "k3m9x2p7"


def bounce(original: str, recipient: str = "ann@client.example", **headers: str) -> bytes:
    text = f"<{recipient}>: 550 5.1.1 unknown user\r\n\r\n--- Below this line is a copy.\r\n\r\n{original}\r\n"
    return mail(text, **({"from": "MAILER-DAEMON@client.example", "subject": "failure notice"} | headers))


def flags(decision: Decision) -> tuple[str, ...]:
    assert decision.email is not None
    return decision.email.flags


@pytest.mark.parametrize("rule", [Rule.ALL, Rule.REPLIES, Rule.KNOWN, Rule.EMAIL_ENABLED])
def test_t71_a_report_on_a_crm_email_is_attached_to_it_whatever_the_rule(world: World, rule: Rule) -> None:
    case = record("case").id
    sent = world.email(OUR_ID, regarding=case)
    decision = world.decide(bounce(f"Message-ID: <{OUR_ID}>"), rule)
    assert decision.disposition is Disposition.PROMOTED
    assert decision.email is not None
    assert (decision.email.correlated_id, decision.email.method, decision.email.regarding_id) == (
        sent.id,
        "report",
        case,
    )
    assert flags(decision) == ("automatic", "bounce")
    assert decision.report is not None
    assert [(one.address, one.code) for one in decision.report.recipients] == [("ann@client.example", "5.1.1")]


def test_t71_under_the_rule_none_a_report_is_not_read(world: World) -> None:
    world.email(OUR_ID)
    decision = world.decide(bounce(f"Message-ID: <{OUR_ID}>"), Rule.NONE)
    assert (decision.disposition, decision.report) == (Disposition.IGNORED, None)


def test_t72_a_report_is_found_by_our_id_in_its_body_or_our_token_in_the_return_path(world: World) -> None:
    sent = world.email(OUR_ID, TOKEN)
    for raw in (bounce(f"your message {OUR_ID}"), bounce("nothing", to=f"sales+crm-{TOKEN}@example.com")):
        decision = world.decide(raw, Rule.REPLIES)
        assert decision.email is not None
        assert decision.email.correlated_id == sent.id


def test_t72_a_token_counts_only_in_a_report_on_a_recipient_of_that_email(world: World) -> None:
    world.email(token=TOKEN)
    decision = world.decide(bounce(f"Subject: Offer CRM:{TOKEN}", "eve@elsewhere.example"), Rule.ALL)
    assert decision.disposition is Disposition.IGNORED


@pytest.mark.parametrize("rule", [Rule.ALL, Rule.REPLIES])
def test_t73_a_bounce_of_mail_we_never_sent_is_ignored_with_the_reason(world: World, rule: Rule) -> None:
    decision = world.decide(bounce("Message-ID: <never@seen.example>"), rule)
    assert decision.disposition is Disposition.IGNORED
    assert decision.reasons == ("a report on mail that the CRM never sent: bounce",)


def test_t70_an_out_of_office_is_attached_as_automatic(world: World) -> None:
    sent = world.email(OUR_ID)
    raw = mail(auto_submitted="auto-replied", in_reply_to=f"<{OUR_ID}>", subject="Automatic reply: Offer")
    decision = world.decide(raw, Rule.REPLIES)
    assert decision.email is not None
    assert decision.email.correlated_id == sent.id
    assert flags(decision) == ("automatic",)
    assert "automatic, so no answer: Auto-Submitted: auto-replied" in decision.reasons


def test_t70_an_out_of_office_that_names_nothing_is_judged_by_the_rule(world: World) -> None:
    raw = mail(auto_submitted="auto-replied", subject="Automatic reply: Offer")
    assert world.decide(raw, Rule.REPLIES).disposition is Disposition.IGNORED


def test_t54_bulk_mail_is_flagged(world: World) -> None:
    assert flags(world.decide(mail(list_id="<chairs.example.com>"))) == ("list",)
    assert flags(world.decide()) == ()


@pytest.mark.parametrize(
    ("rule", "disposition"), [(Rule.ALL, Disposition.PROMOTED), (Rule.REPLIES, Disposition.IGNORED)]
)
def test_t80_an_invitation_is_promoted_by_rule(world: World, rule: Rule, disposition: Disposition) -> None:
    event = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    decision = world.decide(mail(event, content_type="text/calendar; method=REQUEST"), rule)
    assert decision.disposition is disposition
    if decision.email is not None:
        assert decision.email.calendar is not None
        assert (decision.email.calendar.method, decision.email.calendar.uid) == ("request", "1")
