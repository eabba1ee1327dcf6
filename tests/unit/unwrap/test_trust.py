"""Whose forwards are believed: anyone can write to a forward mailbox."""

import pytest

from router.unwrap import Trust, unwrap
from tests.support.forwards import forwarding, journal
from tests.support.letters import letter

OURS = "mail.in.test"
TRUST = Trust(("*@in.test", "boss@other.test"), OURS)
ULLA = "ulla@in.test"
INNER = letter("karl@kunde.test", ULLA)

NOBODY = "who sent it is none of the forwarders that the profile believes"
SILENT = "our mail server did not say who sent it: it has no Authentication-Results of ours on top"
UNVOUCHED = "our mail server's Authentication-Results do not vouch for the forwarder's address"


def held(results: str, mail: bytes | None = None, trust: Trust = TRUST) -> str | None:
    mail = forwarding(f"Ulla <{ULLA}>", [INNER]) if mail is None else mail
    return unwrap((f"Authentication-Results: {results}\r\n".encode() if results else b"") + mail, trust).held


@pytest.mark.parametrize(
    "results",
    [
        f"{OURS}; dmarc=pass (p=none dis=none) header.from=in.test",
        f"{OURS}; spf=fail smtp.mailfrom=elsewhere.test; dkim=pass (2048-bit key) header.d=IN.test header.s=one",
        f"{OURS}; spf=pass (sender allowed) smtp.mailfrom=bounces@in.test",
        f"{OURS}; auth=pass smtp.auth={ULLA} smtp.mailfrom={ULLA}",
        f"{OURS}; auth=pass (plain) smtp.auth=Ulla",
    ],
)
def test_t88_our_server_vouches_by_any_method_that_passed_for_the_forwarders_own(results: str) -> None:
    assert held(results) is None


@pytest.mark.parametrize("forwarder", [ULLA, "*@in.test"])
def test_t88_no_user_says_by_a_journal_report_whose_mail_it_was(forwarder: str) -> None:
    report = journal("boss@in.test", ["To: otto@in.test"], INNER, reporter=forwarder)
    vouched = f"Authentication-Results: {OURS}; dmarc=pass header.from=in.test\r\n".encode() + report
    found = unwrap(vouched, TRUST)
    assert (found.form, found.mailboxes, found.sender) == ("attached", (forwarder,), "")
    assert found.doubt == "it is a journal report, and the forwarders of the profile do not name who sent it in full"
    named = unwrap(vouched, Trust((ULLA, "*@in.test"), OURS))
    assert named.form == ("journal" if forwarder == ULLA else "attached")


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ("", SILENT),
        ("mx.elsewhere.test; dmarc=pass header.from=in.test", SILENT),
        (f"mx.elsewhere.test; spf=pass\r\nAuthentication-Results: {OURS}; dmarc=pass header.from=in.test", SILENT),
        (f"{OURS}; none", UNVOUCHED),
        (f"{OURS}; dmarc=fail header.from=in.test; spf=softfail smtp.mailfrom={ULLA}", UNVOUCHED),
        (f"{OURS}; dmarc=pass header.from=kunde.test", UNVOUCHED),
        (f"{OURS}; dkim=pass header.d=kunde.test; dkim=fail header.d=in.test", UNVOUCHED),
        (f"{OURS}; spf=pass smtp.mailfrom=spam@evil.test", UNVOUCHED),
        (f"{OURS}; auth=pass smtp.auth=otto@in.test", UNVOUCHED),
        (f"{OURS}; dmarc=pass", UNVOUCHED),
        # What a sender can put into the server's words.
        (f'{OURS}; spf=pass smtp.mailfrom="x@in.test"@evil.test', UNVOUCHED),
        (f'{OURS}; spf=pass smtp.mailfrom="x header.from=in.test"@evil.test', UNVOUCHED),
        (f'{OURS}; dkim=pass reason="good header.d=in.test" header.d=evil.test', UNVOUCHED),
        (f'{OURS}; spf=pass (of "a) ; dmarc=pass header.from=in.test ("@evil.test) smtp.mailfrom=evil.test', UNVOUCHED),
        (f'{OURS}; spf=none (of "a (b)) ; auth=pass smtp.auth={ULLA} ("@evil.test)', UNVOUCHED),
        (f"{OURS}; dmarc=fail (dmarc=pass header.from=in.test) header.from=in.test", UNVOUCHED),
    ],
)
def test_t88_without_our_servers_word_for_the_address_a_forward_is_held(results: str, why: str) -> None:
    assert held(results) == why


def test_t88_only_who_is_registered_is_believed() -> None:
    for sender, why in {
        "karl@kunde.test": NOBODY,
        "ann@other.test": NOBODY,
        "boss@other.test": None,
        "ulla@sub.in.test": NOBODY,
    }.items():
        domain = sender.partition("@")[2]
        assert held(f"{OURS}; dmarc=pass header.from={domain}", forwarding(sender, [INNER])) == why


def test_t88_of_several_authors_nobody_is_believed() -> None:
    mail = forwarding(f"{ULLA}, karl@kunde.test", [INNER])
    words = "it names several authors, so nobody can vouch for the forwarder"
    assert held(f"{OURS}; dmarc=pass header.from=in.test", mail) == words
    twice = b"From: ulla@in.test\r\n" + forwarding("karl@kunde.test", [INNER])
    assert held(f"{OURS}; dmarc=pass header.from=kunde.test", twice) == words


def test_t88_a_profile_can_trust_the_headers() -> None:
    assert held("", trust=Trust(("*@in.test",), None)) is None
    assert held("", forwarding("karl@kunde.test", [INNER]), Trust(("*@in.test",), None)) == NOBODY


@pytest.mark.parametrize(
    ("results", "believed"),
    [
        (f"spf=pass smtp.mailfrom={ULLA}", True),
        (f"auth=pass smtp.auth={ULLA}", True),
        # These are the author's: whoever got a mail of ulla's could send it on, and write that ulla did.
        ("dmarc=pass header.from=in.test", False),
        ("dkim=pass header.d=in.test", False),
        ("spf=pass smtp.mailfrom=karl@kunde.test", False),
    ],
)
def test_t90_what_was_redirected_is_believed_by_the_way_that_it_came(results: str, *, believed: bool) -> None:
    mail = letter(ULLA, "karl@kunde.test", Resent_From=ULLA)
    assert held(f"{OURS}; {results}", mail) == (None if believed else UNVOUCHED)


MICROSOFT = "spf=pass (sender IP is 192.0.2.1) smtp.mailfrom={0}; dkim=none header.d=none;dmarc={1} header.from={0}"


@pytest.mark.parametrize(
    ("results", "why"),
    [
        (MICROSOFT.format("in.test", "pass"), None),
        (MICROSOFT.format("elsewhere.test", "pass"), UNVOUCHED),
        (f"{OURS}; dmarc=pass header.from=in.test", SILENT),
        ("microsoft365; dmarc=pass header.from=in.test", SILENT),
        (f"{OURS}; none\r\nAuthentication-Results: {MICROSOFT.format('in.test', 'pass')}", SILENT),
    ],
)
def test_t88_microsoft_365_vouches_without_a_name_in_the_topmost_header(results: str, why: str | None) -> None:
    assert held(results, trust=Trust(("*@in.test",), "microsoft365")) == why
