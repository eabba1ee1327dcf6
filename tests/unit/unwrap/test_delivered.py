import pytest

from router.model import Unwrapped
from router.unwrap import Trust, unwrap
from tests.support.build import mail

TRUST = Trust(("*@example.com",), None, catches_all=True)
SENDERS = (
    b"Received: from client.example by mx.sender.example; Sat, 28 Nov 2026 08:59:00 +0000\r\n"
    b"X-Original-To: eve@example.com\r\nDelivered-To: eve@example.com\r\n"
)
TAKEN = b"Received: from mx.sender.example by mx.example.com (Postfix); Sat, 28 Nov 2026 09:00:00 +0000\r\n"
HANDED_ON = b"Received: from mx.example.com by imap.example.com with LMTP; Sat, 28 Nov 2026 09:00:01 +0000\r\n"


def opened(*headers: bytes, trust: Trust = TRUST) -> Unwrapped:
    return unwrap(b"".join(headers) + mail(to="ben@example.com"), trust)


@pytest.mark.parametrize(
    ("delivered", "whose"),
    [
        (["ann@example.com", "ben@example.com"], ("ann@example.com",)),
        ([" <Ann@Example.com> "], ("ann@example.com",)),
        (["ann+crm-0f8fad5bd9cb469fa16570867728950e@example.com"], ("ann@example.com",)),
        (["ann+news@example.com"], ("ann+news@example.com",)),
        (["ann@example.com, ben@example.com, ann@example.com"], ("ann@example.com", "ben@example.com")),
        (["", "ann@example.com"], ()),
        ([], ()),
    ],
)
def test_t12_the_topmost_delivered_to_alone_tells_whose_mail_it_is(
    delivered: list[str], whose: tuple[str, ...]
) -> None:
    found = opened(*(f"Delivered-To: {line}\r\n".encode() for line in delivered), TAKEN, SENDERS)
    assert (found.form, found.mailboxes, len(found.originals)) == ("delivered", whose, int(bool(whose)))


@pytest.mark.parametrize(
    "headers",
    [
        (TAKEN, SENDERS),
        (SENDERS,),
        # Without a Received of our server below it, nobody knows who wrote it.
        (b"Delivered-To: eve@example.com\r\n",),
        (b"Return-Path: <eve@sender.example>\r\n", TAKEN, b"Delivered-To: eve@example.com\r\n"),
    ],
)
def test_t12_the_sender_s_own_delivered_to_never_counts(headers: tuple[bytes, ...]) -> None:
    found = opened(*headers)
    assert (found.form, found.mailboxes, found.originals) == ("delivered", (), ())


def test_t12_a_header_that_another_server_of_ours_wrote_counts_where_the_profile_names_it() -> None:
    """Dovecot writes the shared mailbox on top, and its own Received; below that is what Postfix wrote."""
    trust = Trust(("*@example.com",), None, catches_all=True, envelope_header="x-original-to", envelope_below=1)
    top = b"Delivered-To: catchall@example.com\r\n"
    postfix = b"X-Original-To: ann@example.com\r\nDelivered-To: catchall@example.com\r\n"
    assert opened(top, HANDED_ON, postfix, TAKEN, SENDERS, trust=trust).mailboxes == ("ann@example.com",)
    assert opened(top, HANDED_ON, TAKEN, SENDERS, trust=trust).mailboxes == ()
    assert opened(top, HANDED_ON, postfix, trust=trust).mailboxes == ()


def test_t12_what_is_attached_in_a_catch_all_is_no_original() -> None:
    raw = b"Delivered-To: ann@example.com\r\n" + TAKEN + mail(content_type="message/rfc822", subject="Fwd: it")
    [original] = unwrap(raw, TRUST).originals
    assert original.reading.message.subject == "Fwd: it"
