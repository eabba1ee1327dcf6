import email
import email.policy
import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import ContentRefused
from router.html.text import html_to_text
from router.model import Attachment, Mention, Message, Outgoing, Role, normalize
from router.outgoing.compose import compose
from router.parse.message import parse
from tests.support.other_parsers import check, shown

TOKEN = "k3m9x2p7"
BASE = Outgoing(
    id=UUID(int=7),
    attempt_id=UUID(int=8),
    attempt_number=1,
    owner_id=UUID(int=1),
    mailbox="sales@example.com",
    message_id="7@example.com",
    token=TOKEN,
    date=datetime(2026, 11, 21, 1, 0, 7, 123456, tzinfo=UTC),
    subject="Offer",
    text="Hello\n",
    html=None,
    in_reply_to=None,
    thread_ids=(),
    mentions=(
        Mention("from", 0, "sales@example.com", "Sales"),
        Mention("to", 0, "ann@client.example", "Ann"),
        Mention("bcc", 0, "boss@example.com", "Boss"),
    ),
    recipients=("ann@client.example", "boss@example.com"),
)
PDF = Attachment("offer.pdf", "application/pdf", bytes(range(256)) * 40)
LOGO = Attachment("logo.png", "image/png", b"PNG", "logo@example.com", inline=True)


def outgoing(**changes: object) -> Outgoing:
    return replace(BASE, **changes)  # type: ignore[arg-type]  # whatever the test names


def sent(**changes: object) -> Message:
    """Compose, have others read it, and read it as its recipient does."""
    email = outgoing(**changes)
    raw = compose(email)
    check(raw, email)
    message = parse(raw)
    assert message.defects == ()
    return message


def header_names(raw: bytes) -> list[str]:
    return [name.lower() for name in email.message_from_bytes(raw, policy=email.policy.compat32).keys()]  # noqa: SIM118  # repeated names count


def tree(part: email.message.Message) -> object:
    kind = part.get_content_type()
    return (kind, [tree(child) for child in part.get_payload()]) if part.is_multipart() else kind  # type: ignore[arg-type]  # a multipart's payload is its parts


def test_the_headers_of_a_plain_email() -> None:
    raw = compose(BASE)
    assert header_names(raw) == [
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "x-crm-email-router",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    ]
    assert raw.startswith(
        b"From: Sales <sales@example.com>\r\n"
        b"To: Ann <ann@client.example>\r\n"
        b"Subject: Offer CRM:k3m9x2p7\r\n"
        b"Date: Sat, 21 Nov 2026 01:00:07 +0000\r\n"
        b"Message-ID: <7@example.com>\r\n"
        b"X-CRM-Email-Router: <7@example.com>\r\n"
    )
    assert b"boss" not in raw.lower()


def test_composing_twice_gives_the_same_bytes() -> None:
    everything = outgoing(html="<p>Hello</p>", attachments=(LOGO, PDF))
    assert compose(everything) == compose(everything)


def test_t18_what_is_sent_has_the_key_of_its_date_in_whole_seconds() -> None:
    whole = replace(BASE, date=BASE.date.replace(microsecond=0))
    assert parse(compose(BASE)).key == Message(message_id=whole.message_id, date=whole.date).key


def test_t22_the_token_is_appended_once() -> None:
    assert sent().tokens == (TOKEN,)
    assert sent(subject=f"Re: Offer CRM:{TOKEN}").subject == f"Re: Offer CRM:{TOKEN}"
    message = sent(subject="Angebot für Bücher" * 20)
    assert (message.tokens, message.subject) == ((TOKEN,), "Angebot für Bücher" * 20 + f" CRM:{TOKEN}")
    assert f"CRM:{TOKEN}".encode() in compose(outgoing(subject="für"))


def test_t22_the_token_has_the_prefix_that_is_set_or_is_not_there() -> None:
    assert sent(token_prefix="Ref#").subject == f"Offer Ref#{TOKEN}"
    assert sent(token_prefix=None).subject == "Offer"


def test_t24_the_private_header_names_our_message_id() -> None:
    assert b"\r\nX-CRM-Email-Router: <7@example.com>\r\n" in compose(BASE)


def test_an_answer_names_its_thread() -> None:
    message = sent(in_reply_to="2@x", thread_ids=("1@x", "2@x", "3@x"))
    assert message.in_reply_to == ("2@x",)
    assert message.references == ("1@x", "3@x", "2@x")


def test_a_long_thread_keeps_its_first_and_its_last() -> None:
    message = sent(in_reply_to="last@x", thread_ids=tuple(f"{number:060}@x" for number in range(500)))
    assert len(message.references) == 20
    assert (message.references[0], message.references[-1]) == (f"{0:060}@x", "last@x")


@pytest.mark.parametrize("message_id", ["a b@x", "a\r\nBcc: b@x", "a>b@x", "ü@x", "x" * 2_000, ""])
def test_ids_that_no_header_can_hold_are_left_out(message_id: str) -> None:
    message = sent(in_reply_to=message_id, thread_ids=(message_id, "1@x"))
    assert message.in_reply_to == ()
    assert message.references == ("1@x",)
    with pytest.raises(ContentRefused, match="Message-ID"):
        compose(outgoing(message_id=message_id))


def test_without_to_nobody_is_named() -> None:
    raw = compose(outgoing(mentions=(Mention("bcc", 0, "boss@example.com"),)))
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in raw
    assert parse(raw).mentions == (Mention("from", 0, "sales@example.com"),)


def test_t50_domains_go_out_in_punycode() -> None:
    mentions = (Mention("to", 0, "bucher@münchen.example", "Bücher"), Mention("cc", 0, "straße@x.example"))
    raw = compose(outgoing(mentions=mentions))
    assert b"<bucher@xn--mnchen-3ya.example>" in raw
    assert parse(raw).of("to") + parse(raw).of("cc") == mentions


@pytest.mark.parametrize(
    ("attachments", "html", "expected"),
    [
        ((), None, "text/plain"),
        ((), "<p>", ("multipart/alternative", ["text/plain", "text/html"])),
        ((PDF,), None, ("multipart/mixed", ["text/plain", "application/pdf"])),
        ((LOGO,), None, ("multipart/mixed", ["text/plain", "image/png"])),
        (
            (PDF, LOGO),
            "<p>",
            (
                "multipart/mixed",
                [
                    (
                        "multipart/alternative",
                        ["text/plain", ("multipart/related", ["text/html", "image/png"])],
                    ),
                    "application/pdf",
                ],
            ),
        ),
    ],
)
def test_the_parts_are_nested_as_clients_expect(
    attachments: tuple[Attachment, ...], html: str | None, expected: object
) -> None:
    raw = compose(outgoing(attachments=attachments, html=html))
    assert tree(email.message_from_bytes(raw)) == expected


def test_html_alone_and_nothing_at_all() -> None:
    message = sent(text=None, html="<p>ü</p>\n")
    assert (message.text, message.html, message.text_from) == ("ü\n", "<p>ü</p>\n", "plain")
    assert tree(email.message_from_bytes(compose(outgoing(text=" \n", html="<p>ü</p>")))) == (
        "multipart/alternative",
        ["text/plain", "text/html"],
    )
    assert sent(text=None).text == "\n"


@pytest.mark.parametrize(
    "text",
    [
        "plain\n",
        "no end of line",
        "x" * 5_000,
        "ü" * 5_000,
        "朱镕基" * 500,
        "a line\r\nanother\rthird\n",
        "From the start\n.\n..\n--=_00000000000000000000000000000007_a\n",
        "trailing spaces   \n\ttabs\t\n= equals =20\n",
        "",
    ],
)
def test_bodies_arrive_as_they_were(text: str) -> None:
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    message = sent(text=text, html=text, attachments=(PDF,))
    assert (message.text, message.html) == (expected, expected)
    assert (sent(text=text).text or "").removesuffix("\n") == expected.removesuffix("\n")


def test_attachments_arrive_byte_for_byte() -> None:
    names = ["offer.pdf", "Grüße 2026.pdf", 'quo"te.pdf', "x" * 146 + ".pdf", "朱镕基" * 20 + ".pdf", "a;b=c.pdf"]
    attachments = tuple(replace(PDF, filename=name, content=name.encode()) for name in names)
    arrived = sent(attachments=attachments).attachments
    assert [attachment.original_filename or attachment.filename for attachment in arrived] == names
    assert [attachment.content for attachment in arrived] == [name.encode() for name in names]
    [logo] = sent(html="<img src='cid:logo@example.com'>", attachments=(LOGO,)).attachments
    assert logo == LOGO


def test_an_attached_message_is_sent_as_a_message_only_if_it_needs_no_encoding() -> None:
    plain = Attachment("inner.eml", "message/rfc822", compose(replace(BASE, id=UUID(int=9), html="<p>")))
    broken = Attachment("inner.eml", "message/rfc822", "Subject: ü\n\n\r".encode())
    arrived = sent(attachments=(plain, broken)).attachments
    assert arrived[0] == plain
    assert (arrived[1].media_type, arrived[1].content) == ("application/octet-stream", broken.content)


EVIL = "a\r\nBcc: evil@x.example\r\n\r\n<b>\0\u2028X-Evil: 1\x85é"


def test_nothing_that_a_person_types_makes_a_header_of_its_own() -> None:
    raw = compose(
        outgoing(
            subject=EVIL,
            mentions=(
                Mention("from", 0, "sales@example.com", EVIL),
                Mention("to", 0, "a@x.example", EVIL),
                Mention("to", 1, "b@x.example", EVIL.replace("é", "")),
                Mention("to", 2, "b@x.example\r\nBcc: evil@x.example", EVIL),
                Mention("cc", 0, "a@x.example", EVIL),
                Mention("reply_to", 0, "a@x.example", EVIL),
            ),
            attachments=(
                Attachment(EVIL, "text/plain; x=y", b"x", "<a b>"),
                Attachment(EVIL.replace("é", ""), "text/plain", b"x"),
            ),
        )
    )
    message = email.message_from_bytes(raw)
    for part in message.walk():
        assert not [name for name in part.keys() if name.lower() in {"bcc", "x-evil"}]  # noqa: SIM118  # repeated names count
    assert len(header_names(raw)) == len(set(header_names(raw)))
    assert parse(raw).of("bcc") == ()
    assert len(parse(raw).of("to")) == 2
    for value in email.message_from_bytes(raw, policy=email.policy.compat32).values():
        shown_value = str(make_header(decode_header(value))).replace("\r\n ", " ")
        assert not [character for character in shown_value if unicodedata.category(character) in {"Cc", "Zl"}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": "abc\r\nBcc: evil@x.example"}, "its token is not"),
        ({"token": ""}, "its token is not"),
        ({"token": "k3m9x2p7\n"}, "its token is not"),
        ({"message_id": "a\r\nBcc: b@x"}, "its Message-ID is not"),
        ({"mailbox": "a@x.example\r\nBcc: evil@x.example"}, "is no valid address"),
        ({"mentions": (Mention("reply_to", 0, "a@x,example"),)}, "'a@x,example' is no valid address"),
        ({"attachments": (replace(PDF, media_type="text/plain\r\nX-Evil: 1"),)}, "its media type of an attachment has"),
        ({"attachments": (replace(LOGO, content_id="a>\r\nX-Evil: 1"),)}, "its Content-ID of an attachment has"),
        ({"headers": (("X-Evil\r\nBcc", "1"),)}, "is no name of a header"),
        ({"headers": (("X Evil", "1"),)}, "is no name of a header"),
        ({"headers": (("", "1"),)}, "is no name of a header"),
        ({"headers": (("X-Evil", "1\r\nBcc: evil@x.example"),)}, "its header X-Evil has a control character"),
        ({"headers": (("X-Evil", "1\tb"),)}, "its header X-Evil has a control character"),
        ({"headers": (("X-Evil", "\ud800"),)}, "its header X-Evil has a control character"),
        ({"headers": (("X-Evil", " "),)}, "the value of the header X-Evil is empty"),
        ({"headers": (("X-Evil", "ü" * 451),)}, "longer than 900 bytes"),
        ({"headers": (("X-Case", "1"), ("x-case", "2"))}, "the header x-case is there twice"),
        ({"headers": tuple((f"X-{number}", "1") for number in range(51))}, "more than 50"),
        ({"unsubscribe_url": "http://x.example/"}, "its unsubscribe_url is not https"),
        ({"unsubscribe_url": "https://x.example/>\r\nBcc: b@x"}, "its unsubscribe_url is not https"),
        *(
            ({"headers": ((name, "1"),)}, f"the header {name} is not the CRM's to set")
            for name in (
                "Bcc",
                "FROM",
                "Subject",
                "Received",
                "Return-Path",
                "Content-Type",
                "MIME-Version",
                "DKIM-Signature",
                "Resent-To",
                "Auto-Submitted",
                "Precedence",
                "List-Unsubscribe",
                "x-crm-email-router",
                "X-CRM-Email-Router-2",
            )
        ),
    ],
)
def test_o15_what_the_crm_sets_and_no_header_can_hold_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ContentRefused, match=re.escape(words)):
        compose(outgoing(**changes))


def test_the_crms_own_headers() -> None:
    own = (
        ("X-Case", "4711"),
        ("List-Id", "Bücher und mehr <books.example.com>"),
        ("X-" + "n" * 68, "v" * 400),
        ("X-Long", "several words " * 50),
    )
    raw = compose(outgoing(headers=own, automatic=True, lane="bulk", unsubscribe_url="https://x.example/u?id=1"))
    check(raw, BASE)
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert [read[name].strip() for name, _ in own[:3]] == [value for _, value in own[:3]]
    assert read["X-Long"] == own[3][1].strip()
    assert b"<books.example.com>\r\n" in raw
    assert read["Auto-Submitted"] == "auto-generated"
    assert read["Precedence"] == "bulk"
    assert b"\r\nList-Unsubscribe: <https://x.example/u?id=1>\r\n" in raw
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw


def test_an_automatic_answer_says_that_it_is_one() -> None:
    read = email.message_from_bytes(compose(outgoing(automatic=True, in_reply_to="1@x.example")))
    assert read["Auto-Submitted"] == "auto-replied"


def test_mail_that_a_person_wrote_says_nothing_of_itself() -> None:
    assert not {"auto-submitted", "precedence", "list-unsubscribe"} & set(header_names(compose(BASE)))


@pytest.mark.parametrize("length", [0, 1, 37, 38, 39, 40, 41, 42, 65, 66, 67, 100, 1000])
@pytest.mark.parametrize("letter", ["a", "ü", "朱", "😀"])
def test_o17_no_line_with_an_encoded_word_is_longer_than_76(letter: str, length: int) -> None:
    long = letter * length
    for text in (long, f"{long} ü", f"ü {long}", f"a {long} b  {long}", f'"{long}"', f"{long} =?x?="):
        people = tuple(Mention(role, 0, f"{'x' * 40}@{'y' * 40}.example", text) for role in ("to", "cc", "reply_to"))
        sent(subject=text, mentions=(Mention("from", 0, "sales@example.com", text), *people))


def test_a_thousand_recipients() -> None:
    people = tuple(Mention("to", number, f"someone{number}@client.example", f"Jörg {number}") for number in range(1000))
    assert sent(mentions=people).of("to") == people


def test_o7_a_recipient_whose_address_is_none_is_left_out() -> None:
    people = (Mention("to", 0, "bob@my/bank.example", "Bob"), Mention("to", 1, "ann@client.example", "Ann"))
    raw = compose(outgoing(mentions=people))
    assert b"\r\nTo: Ann <ann@client.example>\r\n" in raw
    assert b"bank" not in raw
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in compose(outgoing(mentions=people[:1]))


def test_o17_related_parts_name_the_type_of_their_root() -> None:
    raw = compose(outgoing(html="<img src='cid:logo@example.com'>", attachments=(LOGO,)))
    [related] = [
        part for part in email.message_from_bytes(raw).walk() if part.get_content_type() == "multipart/related"
    ]
    assert related.get_param("type") == "text/html"
    root = related.get_payload(0)
    assert isinstance(root, email.message.Message)
    assert related.get_param("start") == root["Content-ID"] == f"<html.{BASE.id.hex}@example.com>"


def printable(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=most)


ADDRESS = st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,20}[a-z0-9]@[a-zäöü]{1,20}\.example", fullmatch=True).filter(
    lambda address: ".." not in address and normalize(address) == address
)
ROLE: st.SearchStrategy[Role] = st.sampled_from(("to", "cc", "reply_to"))


@st.composite
def mentions(draw: st.DrawFn) -> tuple[Mention, ...]:
    drawn = draw(st.lists(st.tuples(ROLE, ADDRESS, printable(60)), min_size=1, max_size=6))
    counts: dict[Role, int] = {}
    named = []
    for role, address, name in drawn:
        named.append(Mention(role, counts.get(role, 0), address, name))
        counts[role] = counts.get(role, 0) + 1
    return tuple(named)


@settings(deadline=None)
@given(subject=printable(300), named=mentions(), text=st.text(), html=st.none() | st.text(), content=st.binary())
def test_what_is_composed_is_what_is_read(
    subject: str, named: tuple[Mention, ...], text: str, html: str | None, content: bytes
) -> None:
    attachment = Attachment("файл.bin", "application/x-thing", content)
    message = sent(subject=subject, mentions=named, text=text, html=html, attachments=(attachment,))
    assert shown(message.subject) == shown(f"{subject} CRM:{TOKEN}")
    assert message.tokens[-1:] == (TOKEN,)
    for role in ("to", "cc", "reply_to"):
        composed = [(shown(mention.name), mention.address) for mention in named if mention.role == role]
        assert [(shown(mention.name), mention.address) for mention in message.of(role)] == composed
    if html is not None and not text.replace("\0", "").strip():
        text = html_to_text(html)
    for written, read in ((text, message.text), (html, message.html)):
        expected = None if written is None else written.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
        assert read == expected or (read == message.text and message.text_from == "html" and not text.strip())
    assert message.attachments == (attachment,)
    assert message.message_id == BASE.message_id


@given(typed=st.text(), name=st.text(), filename=st.text())
def test_whatever_is_typed_the_headers_are_the_same(typed: str, name: str, filename: str) -> None:
    people = (Mention("from", 0, "sales@example.com", name), Mention("to", 0, "ann@client.example", name))
    email_ = outgoing(subject=typed, mentions=people, attachments=(replace(PDF, filename=filename, content=b"x"),))
    raw = compose(email_)
    assert header_names(raw) == [
        *("from", "to", "subject", "date", "message-id", "x-crm-email-router", "mime-version", "content-type"),
    ]
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii()


HEADER_NAME = st.from_regex(r"(?i)(x-|list-|)[!-~]{0,20}\n?", fullmatch=True) | st.text(max_size=10)


@given(name=HEADER_NAME, value=st.text() | printable(100))
def test_a_header_of_the_crm_is_written_as_it_is_or_refused(name: str, value: str) -> None:
    try:
        raw = compose(outgoing(headers=((name, value),)))
    except ContentRefused:
        return
    before = header_names(compose(BASE))
    assert [one for one in header_names(raw) if one not in before] == [name.lower()]
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert shown(read[name]) == shown(value)
