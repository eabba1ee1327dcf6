import pytest

from router.unwrap import Trust, unwrap
from tests.support.build import mail

TRUST = Trust(("*@example.com",), None, catches_all=True)


@pytest.mark.parametrize(
    ("delivered", "whose"),
    [
        (["ann@example.com", "ben@example.com"], ("ann@example.com",)),
        ([" <Ann@Example.com> "], ("ann@example.com",)),
        (["ann+crm-0f8fad5bd9cb469fa16570867728950e@example.com"], ("ann@example.com",)),
        (["ann@other.example", "ann@example.com"], ()),
        (["", "ann@example.com"], ()),
        ([], ()),
    ],
)
def test_t12_the_topmost_delivered_to_alone_tells_whose_mail_it_is(
    delivered: list[str], whose: tuple[str, ...]
) -> None:
    lines = "".join(f"Delivered-To: {line}\r\n" for line in delivered).encode()
    found = unwrap(lines + mail(to="ben@example.com"), TRUST)
    assert (found.form, found.mailboxes, len(found.originals)) == ("delivered", whose, len(whose))


def test_t12_what_is_attached_in_a_catch_all_is_no_original() -> None:
    raw = b"Delivered-To: ann@example.com\r\n" + mail(content_type="message/rfc822", subject="Fwd: it")
    [original] = unwrap(raw, TRUST).originals
    assert original.reading.message.subject == "Fwd: it"
