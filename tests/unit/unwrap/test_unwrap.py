"""What is found in mail that was forwarded, form by form. Whether it is believed: test_unwrap_trust.py."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Unwrapped
from router.unwrap import Trust, unwrap
from router.unwrap.attached import MOST
from tests.support.forwards import as_file, forwarding, journal
from tests.support.letters import letter

ANYBODY = Trust(("*@in.test", "exchange@in.test"), None)
ULLA = "ulla@in.test"
INNER = letter("karl@kunde.test", ULLA, "inner", Message_ID="<inner@kunde.test>")


def subjects(unwrapped: Unwrapped) -> list[str]:
    return [original.reading.message.subject for original in unwrapped.originals]


def test_t85_the_original_is_read_whole_and_the_outer_envelope_is_kept_beside_it() -> None:
    date = "Sat, 21 Nov 2026 10:00:00 +0100"
    found = unwrap(forwarding(f"Ulla <{ULLA}>", [INNER], Message_ID="<outer@in.test>", Date=date), ANYBODY)
    assert (found.form, found.forwarder, found.mailboxes, found.held) == ("attached", ULLA, (ULLA,), None)
    assert (found.message_id, found.date and found.date.isoformat()) == ("outer@in.test", "2026-11-21T10:00:00+01:00")
    [original] = found.originals
    assert original.content == INNER
    assert original.reading.message.message_id == "inner@kunde.test"
    assert (original.reading.message.sender, original.reading.message.text) == ("karl@kunde.test", "Hello.\n")


def test_t86_several_are_found_in_their_order() -> None:
    found = unwrap(
        forwarding(ULLA, [letter("a@b.test", ULLA, subject) for subject in ["one", "two", "three"]]), ANYBODY
    )
    assert subjects(found) == ["one", "two", "three"]


def test_t86_too_many_are_held() -> None:
    assert len(unwrap(forwarding(ULLA, [INNER] * MOST), ANYBODY).originals) == MOST
    found = unwrap(forwarding(ULLA, [INNER] * (MOST + 1)), ANYBODY)
    assert (found.originals, found.held) == ((), f"more than {MOST} messages are attached to one")


def test_t87_a_file_that_is_a_message_is_one_whatever_its_type() -> None:
    found = unwrap(as_file(ULLA, INNER, "Angebot.EML"), ANYBODY)
    assert subjects(found) == ["inner"]
    assert found.originals[0].content == INNER


@pytest.mark.parametrize(
    ("name", "content"), [("mail.eml", b"no headers at all"), ("mail.txt", INNER), ("mail.eml", b"")]
)
def test_t87_a_file_that_only_looks_alike_is_none(name: str, content: bytes) -> None:
    assert unwrap(as_file(ULLA, content, name), ANYBODY).form is None


def test_t87_base64_is_not_allowed_for_a_message_and_yet_people_use_it() -> None:
    encoded = base64.encodebytes(INNER).replace(b"\n", b"\r\n")
    outer = forwarding(ULLA, [encoded]).replace(
        b"Content-Disposition: attachment", b"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64"
    )
    assert subjects(unwrap(outer, ANYBODY)) == ["inner"]


def test_t88_authentication_results_within_the_forwarded_mail_never_count() -> None:
    vouching = b"Authentication-Results: mail.in.test; dmarc=pass header.from=in.test\r\n"
    found = unwrap(forwarding(ULLA, [vouching + INNER]), ANYBODY)
    assert found.originals[0].reading.classification.verdict is None
    assert unwrap(forwarding(ULLA, [vouching + INNER]), Trust(("*@in.test",), "mail.in.test")).held


@pytest.mark.parametrize(
    "headers",
    [
        {"Resent_From": "Ulla <ulla@in.test>", "Resent_To": "sink@in.test"},
        {"X_Forwarded_To": "sink@in.test", "X_Forwarded_For": "ulla@in.test sink@in.test"},
        {"X_Sieve_Redirected_From": "ulla@in.test"},
    ],
)
def test_t90_a_redirected_mail_is_itself_the_original(headers: dict[str, str]) -> None:
    raw = letter("karl@kunde.test", "list@kunde.test", "redirected", **headers)  # type: ignore[arg-type]  # headers only
    found = unwrap(raw, ANYBODY)
    assert (found.form, found.forwarder, found.mailboxes) == ("redirected", ULLA, (ULLA,))
    assert subjects(found) == ["redirected"]
    assert found.originals[0].content == raw


def test_t90_what_a_customer_attached_to_a_redirected_mail_is_the_customers() -> None:
    raw = forwarding("karl@kunde.test", [INNER], Resent_From=ULLA)
    assert subjects(unwrap(raw, ANYBODY)) == ["Fwd: see there"]


def test_t90_a_redirected_mail_that_does_not_say_by_whom_is_held() -> None:
    held = unwrap(letter("karl@kunde.test", ULLA, X_Forwarded_To="sink@in.test"), ANYBODY).held
    assert held == "it does not say who forwarded it"


def test_t90_a_journal_report_names_who_sent_it_and_all_who_got_it() -> None:
    lines = [
        "On-Behalf-Of: boss@in.test",
        "To: Otto <otto@in.test>",
        "Cc: karl@kunde.test, Forwarded: other@kunde.test",
        "Bcc: ben@in.test, Expanded: team@in.test",
        "Recipient: eva@in.test",
    ]
    found = unwrap(journal(ULLA, lines, INNER), ANYBODY)
    assert (found.form, found.forwarder, found.sender) == ("journal", "exchange@in.test", "boss@in.test")
    assert found.mailboxes == ("otto@in.test", "karl@kunde.test", "ben@in.test", "eva@in.test")
    assert subjects(found) == ["inner"]


def test_t90_a_journal_report_without_its_original_is_held() -> None:
    report = letter("exchange@in.test", "journal@in.test", X_MS_Journal_Report="")
    assert unwrap(report, ANYBODY).held == "a journal report without its one original"


def test_t91_what_is_forwarded_within_is_part_of_the_original() -> None:
    found = unwrap(forwarding(ULLA, [forwarding("karl@kunde.test", [INNER])]), ANYBODY)
    assert subjects(found) == ["Fwd: see there"]
    assert [one.media_type for one in found.originals[0].reading.attachments] == ["message/rfc822"]


def test_a_mail_without_a_forward_says_so() -> None:
    held = unwrap(letter(ULLA, "sink@in.test", "Hello"), ANYBODY).held
    assert held is not None
    assert held.startswith("no forwarded mail was found in it")


def test_a_bomb_of_forwards_in_forwards_is_one_original() -> None:
    bomb = INNER
    for _ in range(60):
        bomb = forwarding(ULLA, [bomb])
    assert len(unwrap(bomb, ANYBODY).originals) == 1


@given(st.binary(max_size=400), st.sampled_from(["Resent-From", "X-MS-Journal-Report", "X-Forwarded-For", "Subject"]))
def test_whatever_somebody_writes_becomes_originals_or_a_reason(junk: bytes, header: str) -> None:
    for raw in (junk, header.encode() + b": " + junk, forwarding(ULLA, [junk]), as_file(ULLA, junk)):
        found = unwrap(raw, ANYBODY)
        assert bool(found.originals) != bool(found.held)
