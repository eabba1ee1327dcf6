import base64
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.model import Mention, Message
from router.parse.addresses import read_addresses
from router.parse.message import parse
from router.parse.text import safe_filename
from tests.support.build import mail
from tests.support.paths import CORPORA


def multipart(*parts: str, kind: str = "mixed", end: str = "--b--\r\n") -> bytes:
    body = "".join(f"--b\r\n{part}\r\n" for part in parts) + end
    return mail(body, content_type=f'multipart/{kind}; boundary="b"')


def storable(message: Message) -> bool:
    """Whether PostgreSQL could hold every text of it."""
    texts = [message.subject, message.text or "", message.html or "", message.message_id or "", *message.defects]
    texts += [*message.in_reply_to, *message.references, *message.tokens]
    texts += [text for mention in message.mentions for text in (mention.address, mention.name)]
    for attachment in message.attachments:
        texts += [attachment.filename, attachment.media_type, attachment.content_id or ""]
        texts.append(attachment.original_filename or "")
    return all("\0" not in text and text.encode("utf-8") is not None for text in texts)


# --- Real mail -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
def test_t95_every_message_of_the_corpora_is_read() -> None:
    files = [path for path in CORPORA.rglob("*") if path.is_file()]
    assert len(files) > 500
    for path in files:
        message = parse(path.read_bytes())
        assert storable(message), path
        assert len(message.key) == 32
        assert not any("could not be read (" in defect for defect in message.defects), (path, message.defects)


# --- Headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"=?utf-8?b?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ==?=", "Grüße"),  # split inside a character
        (b"=?utf-8?q?Gr=C3?=\r\n =?UTF-8?Q?=BC=C3=9Fe?=", "Grüße"),
        (b"=?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?q?_=E2=82=AC?=", "Grüße €"),
        (b"=?iso-8859-1*de?q?Gr=FC=DFe?=", "Grüße"),
        (b"=?x-unknown?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?utf-8?b?R3LDvMOfZQ?= and more", "Grüße and more"),
        (b"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
        (b"\x81\x8d", None),
        (b"folded\r\n  over\r\n\tlines", "folded  over lines"),
        (b"a * b {5} :-)", "a * b {5} :-)"),
        (b"nul\0 and \x07bell", "nul  and  bell"),
        (b"=?utf-8?q?a=0D=0ABcc:_x@y.example?=", "a Bcc: x@y.example"),
        (b"=?utf-8?q??=", ""),
        (b"=?utf-7?q?+2AA-?=", "\ufffd"),
        (b"=?idna?q?abc?= =?zlib?b?eJwDAAAAAAE=?=", None),
    ],
)
def test_t95_subjects_are_decoded(raw: bytes, subject: str | None) -> None:
    message = parse(b"Subject: " + raw + b"\r\n\r\nbody")
    assert storable(message)
    if subject is not None:
        assert message.subject == subject


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Ann Smith <Ann@Client.Example>", [("Ann Smith", "ann@client.example")]),
        ("ann@client.example (Ann Smith)", [("Ann Smith", "ann@client.example")]),
        ('"Smith, Ann" <a@x.example>, b@x.example', [("Smith, Ann", "a@x.example"), ("", "b@x.example")]),
        ("Smith, Ann <a@x.example>, b@x.example", [("Smith, Ann", "a@x.example"), ("", "b@x.example")]),
        (r'"Ann \"A\" Smith" <a@x.example>', [('Ann "A" Smith', "a@x.example")]),
        ("undisclosed-recipients:;", []),
        (
            "Team: a@x.example, B <b@x.example>; c@x.example",
            [("", "a@x.example"), ("B", "b@x.example"), ("", "c@x.example")],
        ),
        ("=?utf-8?q?J=C3=BCrgen,_M?= <j@x.example>, k@x.example", [("Jürgen, M", "j@x.example"), ("", "k@x.example")]),
        ("=?utf-8?b?SsO8cmdlbiA8akB4LmV4YW1wbGU+?=", [("Jürgen", "j@x.example")]),
        ('"=?utf-8?q?J=C3=BCrgen?=" <j@x.example>', [("Jürgen", "j@x.example")]),
        ("Jürgen <j@x.example>", [("Jürgen", "j@x.example")]),
        ("a@x.example; b@x.example", [("", "a@x.example"), ("", "b@x.example")]),
        ("a@x.example b@x.example", [("", "a@x.example"), ("", "b@x.example")]),
        ("A <a@x.example> B <b@x.example>", [("A", "a@x.example"), ("B", "b@x.example")]),
        ("Ann a@x.example", [("Ann", "a@x.example")]),
        ("<@relay.example,@other.example:a@x.example>", [("", "a@x.example")]),
        ("A (comment, with (nested) comma) <a@x.example>", [("A", "a@x.example")]),
        ("A (unbalanced <a@x.example>, b@x.example", [("A unbalanced", "a@x.example"), ("", "b@x.example")]),
        ("'a@x.example' <a@x.example>", [("'a@x.example'", "a@x.example")]),
        ("a @ x . example", [("", "a@x.example")]),
        ("a@x   . example, b@x . y.example", [("", "a@x.example"), ("", "b@x.y.example")]),
        ("<a @ x . example>", [("", "a@x.example")]),
        ('"a b"@x.example', [("", '"a b"@x.example')]),
        ("a@[IPv6:2001:db8::1]", [("", "a@[ipv6:2001:db8::1]")]),
        ("root", [("", "root")]),
        ("b\u00fccher@xn--mnchen-3ya.example", [("", "bücher@münchen.example")]),
        ("ann@client.example,,,", [("", "ann@client.example")]),
        ("Ann <ann@client.example", [("Ann", "ann@client.example")]),
        (f"{'a' * 400}@x.example, b@x.example", [("", "b@x.example")]),
        ("not an address, b@x.example", [("", "b@x.example")]),
    ],
)
def test_t57_addresses_and_names(written: str, expected: list[tuple[str, str]]) -> None:
    message = parse(mail(to=written))
    assert [(mention.name, mention.address) for mention in message.of("to")] == expected


WRITTEN = [
    "a",
    "Ann",
    " ",
    "\t",
    ",",
    "<",
    ">",
    '"',
    "'",
    "a@b.example",
    "<a@b.example>",
    "=?utf-8?q?Gr=C3=BC?=",
    "=?utf-8?q?a,b?=",
]
WRITTEN += [
    "(c)",
    ":",
    ";",
    "\\",
    "@",
    ".",
    "é",
    "\u00a0",
    "\0",
    "mailto:",
    "xn--mnchen-3ya",
    "é@b.example",
    "?",
    "=",
    "\n ",
]


@given(st.lists(st.sampled_from(WRITTEN), max_size=9).map("".join))
def test_t57_simple_addresses_are_read_as_all_are(written: str) -> None:
    read = read_addresses(written.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("router.parse.addresses._read_simple", lambda _: None)
        assert read_addresses(written.encode()) == read


def test_t57_every_address_field_of_a_message() -> None:
    raw = mail(cc="c@x.example", bcc="b@x.example", reply_to="r@x.example") + b""
    assert {(m.role, m.address) for m in parse(raw).mentions} >= {
        ("cc", "c@x.example"),
        ("bcc", "b@x.example"),
        ("reply_to", "r@x.example"),
    }
    twice = b"To: a@x.example\r\nTo: b@x.example\r\n\r\n"
    assert parse(twice).mentions == (Mention("to", 0, "a@x.example"), Mention("to", 1, "b@x.example"))


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("Sat, 21 Nov 2026 02:00:00 +0100", datetime(2026, 11, 21, 1, tzinfo=UTC)),
        ("21 Nov 26 01:00 GMT (Greenwich)", datetime(2026, 11, 21, 1, tzinfo=UTC)),
        ("Sat, 21 Nov 2026 01:00:00", datetime(2026, 11, 21, 1, tzinfo=UTC)),
        ("2026", None),
        ("x" * 100_000, None),
    ],
)
def test_t98_dates(written: str, date: datetime | None) -> None:
    message = parse(mail(date=written))
    assert message.date == date
    assert ("the date could not be read" in message.defects) == (date is None)


def test_headers_without_anything_else_and_an_mbox_line() -> None:
    assert parse(b"From ann Sat Nov 21 01:00:00 2026\r\nSubject: one\r\n").subject == "one"
    assert parse(b"  Subject: indented\r\n\r\n").subject == "indented"
    assert parse(b"Subject: one\rTo: a@x.example\r\rbody\r").text == "body\n"
    assert parse(b"") == Message(text="")


def test_a_header_block_that_breaks_off_is_said() -> None:
    message = parse(b"Subject: one\r\nno header at all\r\nmore")
    assert (message.subject, message.text) == ("one", "no header at all\nmore")
    assert message.defects == ("there is no empty line between the headers and the text",)


# --- Bodies and attachments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "raw", "text", "defect"),
    [
        ("utf-8", "Grüße".encode(), "Grüße", ""),
        ("iso-8859-1", b"\x93quoted\x94", "“quoted”", ""),
        ("gb2312", "朱镕基".encode("gb18030"), "朱镕基", ""),
        ("x-made-up", "Grüße".encode(), "Grüße", "a charset that is not known, x-made-up"),
        ("utf-8", "Grüße".encode("cp1252"), "Grüße", "not in the charset that it names, utf-8"),
        ("us-ascii", "Grüße".encode(), "Grüße", ""),
        ("base64", b"abc", "abc", "a charset that is not known, base64"),
        ("../../etc/passwd", b"abc", "abc", "a charset that is not known, ../../etc/passwd"),
        ("utf-8", b"a\0b", "ab", ""),
        ("utf-16-le", b"\x00\xd8", None, "not in the charset that it names"),
    ],
)
def test_t95_charsets(charset: str, raw: bytes, text: str | None, defect: str) -> None:
    head = f'Content-Type: text/plain; charset="{charset}"\r\n\r\n'.encode()
    message = parse(head + raw)
    assert storable(message)
    if text is not None:
        assert message.text == text
    assert defect in " ".join(message.defects)
    assert bool(defect) == bool(message.defects)


@pytest.mark.parametrize(
    ("encoded", "decoded", "whole"),
    [
        (b"SGVsbG8=", b"Hello", True),
        (b"SGVs\r\nbG8=\r\n", b"Hello", True),
        (b"SGVsbG8", b"Hello", False),
        (b"SGVs*bG8=", b"Hello", False),
        (b"SGVsb", b"Hel", False),
        (b"SGVsbG8=\r\n-- \r\nThe list's footer", b"Hello", False),
        (b"SGVsbG8=SGVsbG8=", b"Hello", False),
        (b"", b"", True),
    ],
)
def test_t95_broken_base64_gives_what_can_be_decoded(encoded: bytes, decoded: bytes, whole: bool) -> None:
    head = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    message = parse(head + encoded)
    assert message.attachments[0].content == decoded
    assert (message.defects == ()) == whole


def test_bodies_are_what_is_no_attachment() -> None:
    message = parse(
        multipart(
            "Content-Disposition: attachment\r\n\r\nattached text",
            "\r\nfirst text",
            "Content-Type: text/html\r\n\r\n<p>html</p>",
            'Content-Type: text/plain; name="notes.txt"\r\n\r\nnamed text',
            "\r\nsecond text",
        )
    )
    assert message.text == "first text\nsecond text"
    assert message.html == "<p>html</p>\n<div>second text</div>"
    assert [(a.filename, a.content) for a in message.attachments] == [
        ("part-1.txt", b"attached text"),
        ("notes.txt", b"named text"),
    ]


def test_a_stray_mark_in_a_media_type_is_left_out() -> None:
    message = parse(mail("text", content_type="text/plain>; charset=utf-8"))
    assert (message.text, message.attachments) == ("text", ())


def test_t85_an_attached_message_stays_whole() -> None:
    inner = mail("inner body", subject="Inner")
    message = parse(multipart("\r\nouter", "Content-Type: message/rfc822\r\n\r\n" + inner.decode()))
    assert (message.subject, message.text) == ("Offer", "outer")
    assert [(a.filename, a.media_type, a.content) for a in message.attachments] == [
        ("Inner.eml", "message/rfc822", inner)
    ]


def test_an_inline_image_keeps_its_content_id() -> None:
    part = (
        "Content-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Disposition: inline; filename=logo.png\r\n\r\nPNG"
    )
    [image] = parse(multipart("Content-Type: text/html\r\n\r\n<img src='cid:logo@x'>", part)).attachments
    assert (image.filename, image.content_id, image.inline, image.original_filename) == (
        "logo.png",
        "logo@x",
        True,
        None,
    )


def test_t95_a_missing_end_boundary_loses_nothing() -> None:
    message = parse(multipart("\r\ntext", "Content-Type: application/pdf\r\n\r\nPDF", end=""))
    assert (message.text, message.attachments[0].content) == ("text", b"PDF\r\n")
    assert message.defects == ("the last of its parts has no end",)


@pytest.mark.parametrize(
    "content_type", ["multipart/mixed", "multipart/mixed; boundary=other", 'multipart/mixed; boundary=""']
)
def test_t95_a_multipart_that_cannot_be_cut_is_kept_as_text(content_type: str) -> None:
    message = parse(mail("--b\r\n\r\ntext\r\n-- \r\nAnn", content_type=content_type))
    assert message.text == "--b\n\ntext\n-- \nAnn"
    assert len(message.defects) == 1


def test_a_boundary_counts_only_at_the_start_of_its_line() -> None:
    message = parse(multipart("\r\nquoted --b\r\n> --b--\r\n--bb\r\n--b c\r\nmore"))
    assert (message.text, message.attachments) == ("quoted --b\n> --b--\n--bb\n--b c\nmore", ())


def test_an_inner_boundary_may_begin_like_the_outer() -> None:
    inner = "Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\n\r\ntext\r\n--b2--"
    message = parse(multipart(inner, "Content-Type: application/pdf\r\n\r\nPDF"))
    assert (message.text, [a.content for a in message.attachments]) == ("text", [b"PDF"])


@pytest.mark.parametrize(
    ("parameter", "filename", "original"),
    [
        ('filename="offer.pdf"', "offer.pdf", None),
        ('filename="../../etc/passwd"', "passwd", "../../etc/passwd"),
        (r'filename="C:\\Users\\ann\\offer.pdf"', "offer.pdf", r"C:\Users\ann\offer.pdf"),
        ('filename="a\x07b\x1b.pdf"', "a b .pdf", "a\x07b\x1b.pdf"),
        ('filename="invoice\u202efdp.exe"', "invoicefdp.exe", "invoice\u202efdp.exe"),
        ("filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf", None),
        ("filename*0=offer; filename*1=-2026.pdf", "offer-2026.pdf", None),
        ("filename*0*=utf-8''Gr%C3%BC; filename*1*=%C3%9Fe; filename*2=.pdf", "Grüße.pdf", None),
        ('filename="=?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?="', "Grüße.pdf", None),
        ('filename=".."', "part-2.pdf", ".."),
        (f'filename="{"x" * 300}.pdf"', f"{'x' * 146}.pdf", f"{'x' * 300}.pdf"),
        ("", "part-2.pdf", None),
    ],
)
def test_t99_attachment_names(parameter: str, filename: str, original: str | None) -> None:
    part = f"Content-Type: application/pdf\r\nContent-Disposition: attachment; {parameter}\r\n\r\nPDF"
    [attachment] = parse(multipart("\r\ntext", part)).attachments
    assert (attachment.filename, attachment.original_filename) == (filename, original)


@given(st.text())
def test_t99_any_name_becomes_safe(name: str) -> None:
    safe = safe_filename(name)
    assert len(safe) <= 150
    assert len(safe.encode()) <= 240
    assert not set(safe) & set('/\\\0\r\n:*?"<>|')
    assert safe not in {".", ".."}
    assert safe_filename(safe) == safe


# --- Hostile ---------------------------------------------------------------------------------------------------------


def test_t96_a_thousand_nested_parts_are_bounded() -> None:
    raw = b"text"
    for level in range(1_000):
        raw = (
            f"Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n".encode()
            + raw
            + f"\r\n--b{level}--".encode()
        )
    message = parse(raw)
    assert "parts lie in more than 50 others: they were not taken apart" in message.defects
    assert len(message.attachments) == 1


def test_t96_large_parts_are_nested_less_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.parse.structure._MOST_SEARCHED", 1_000)
    raw = b"x" * 300
    for level in range(10):
        head = f"Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n".encode()
        raw = head + raw + f"\r\n--b{level}--".encode()
    message = parse(raw)
    assert "parts are too large for how many others they lie in: they were not taken apart" in message.defects
    assert b"x" * 300 in message.attachments[0].content


def test_t96_200000_parts_are_bounded() -> None:
    raw = mail("--b\r\n\r\nx\r\n" * 200_000 + "--b--", content_type="multipart/mixed; boundary=b")
    message = parse(raw)
    assert message.text == "x\n" * 999 + "x"
    assert "more than 1000 parts: the rest was left out" in message.defects


NO_HEADER = "a line among the headers is not a header: it was passed over"
BEFORE = "there is an empty line or a mark before the headers"
HEADERS = b"From: Ann <ann@client.example>\r\nTo: sales@example.com\r\nSubject: Offer\r\n"


@pytest.mark.parametrize(
    ("raw", "defect"),
    [
        (
            b"Received: from a by b\r\n\t; now\r\nno field\r\n" + HEADERS,
            NO_HEADER,
        ),
        (b"no field\r\n and its fold\r\n" + HEADERS, NO_HEADER),
        (b"a name: with spaces\r\n" + HEADERS, NO_HEADER),
        ("Schlüssel: x\r\n".encode() + HEADERS, NO_HEADER),
        (
            HEADERS.replace(b"\r\n", b"\r\n>From here\r\n", 1),
            NO_HEADER,
        ),
        (b"\xef\xbb\xbf" + HEADERS, BEFORE),
        (b"\r\n\r\n" + HEADERS, BEFORE),
        (b"\n \n" + HEADERS, BEFORE),
    ],
)
def test_what_is_no_field_does_not_hide_those_that_are(raw: bytes, defect: str) -> None:
    message = parse(raw + b"\r\nbody")
    assert (message.sender, message.subject, message.text) == ("ann@client.example", "Offer", "body")
    assert [mention.address for mention in message.of("to")] == ["sales@example.com"]
    assert message.defects == (defect,)


@pytest.mark.parametrize(
    "body",
    [b"Hello.\r\n\r\nDate: tomorrow\r\n", b"Hello.\r\nFrom: us\r\nSubject: this\r\n", b"Hello.\r\n--b\r\nDate: x\r\n"],
)
def test_a_body_without_an_empty_line_above_it_is_no_header(body: bytes) -> None:
    message = parse(HEADERS + body)
    assert message.text == body.decode().replace("\r\n", "\n")
    assert message.defects == ("there is no empty line between the headers and the text",)


def test_t96_many_lines_that_are_no_fields_are_bounded() -> None:
    for junk in (b"no field\r\n" * 90_000, b"no field\r\nReceived: x\r\n" * 40_000):
        message = parse(HEADERS + junk + b"Date: x\r\n\r\nbody")
        assert message.subject == "Offer"


def test_t96_100000_header_lines_are_bounded() -> None:
    lines = b"".join(b"X-Junk-%d: some text\r\n" % number for number in range(100_000))
    message = parse(b"Subject: kept\r\n" + lines + b"\r\nbody")
    assert (message.subject, message.text) == ("kept", "body")
    assert message.defects == ("the headers are longer than 1,000,000 bytes: the rest of them was not read",)
    folded = parse(b"Subject: kept\r\n" + b" and more\r\n" * 100_000 + b"\r\nbody")
    assert folded.subject.startswith("kept and more")
    assert folded.text == "body"


def test_t96_the_headers_of_all_parts_together_are_bounded() -> None:
    part = "".join(f"X-{number}: x\r\n" for number in range(20_000)) + "\r\nx"
    message = parse(multipart(*[part] * 20))
    assert "the headers are longer than 65,536 bytes: the rest of them was not read" in message.defects
    assert message.text == "x\n" * 19 + "x"


def test_t96_lines_that_look_like_boundaries_are_bounded() -> None:
    message = parse(mail("--bx\r\n" * 300_000 + "--b\r\n\r\ntext", content_type="multipart/mixed; boundary=b"))
    assert message.defects == ("its header says that it has parts, but none can be found in it",)


def test_t96_a_part_of_60_mb_is_kept_whole_and_its_text_is_cut() -> None:
    raw = mail("x" * 75 + "\r\n", content_type="text/plain; charset=x-unknown") + (b"\xe4" * 75 + b"\r\n") * 780_000
    message = parse(raw)
    assert message.text is not None
    assert len(message.text) <= 5_000_000
    assert len(message.attachments[0].content) > 60_000_000
    assert "part 1 is longer than 5,000,000 bytes: whole only as an attachment" in message.defects


@pytest.mark.parametrize("piece", ["<div>", "<b><p>", "<table><tr><td>", "<blockquote>", "<!--", "<a b='"])
def test_t96_deep_and_broken_html_is_read_in_bounds(piece: str) -> None:
    message = parse(mail("before" + piece * 100_000 + "after", content_type="text/html"))
    assert message.text is not None
    assert message.text.startswith("before")


def test_t57_a_surname_before_a_comma_is_cleaned() -> None:
    assert parse(b"To: Smith\0\x01, Ann <a@x.example>\r\n\r\n").mentions == (
        Mention("to", 0, "a@x.example", "Smith , Ann"),
    )


@pytest.mark.parametrize("piece", ["<", "(", '"', "=?utf-8?q?", "a@b,", ";", "\\", ":", "=?a?b?c?=", "()", "<a@b>"])
@pytest.mark.parametrize(
    "header", ["To", "Subject", "References", "Message-ID", "Content-Type", "Content-Disposition", "Date"]
)
def test_t96_a_long_hostile_header_is_read_and_bounded(header: str, piece: str) -> None:
    message = parse(f"{header}: {piece * 20_000}\r\n\r\nbody".encode())
    assert storable(message)
    assert len(message.mentions) <= 1_000


def test_t96_a_header_of_60_mb_on_one_line_is_cut() -> None:
    message = parse(b"Subject: " + b"=?utf-8?q?x?= " * 4_000_000 + b"\r\nTo: a@x.example\r\n\r\nbody")
    assert message.subject.startswith("xxx")
    assert len(message.subject) < 20_000
    assert message.text == "body"
    assert "the header subject is longer than 200,000 bytes: not all of it was read" in message.defects


def test_t32_of_a_megabyte_of_references_the_last_count() -> None:
    message = parse(
        b"References:" + b"".join(b"\r\n <%d@x.example>" % number for number in range(45_000)) + b"\r\n\r\n"
    )
    assert message.references == tuple(f"{number}@x.example" for number in range(44_968, 45_000))


def test_t96_100000_pieces_of_a_file_name_are_bounded() -> None:
    pieces = "".join(f"; filename*{number}=a" for number in range(100_000))
    (attachment,) = parse(mail("x", content_disposition=f"attachment{pieces}")).attachments
    assert attachment.filename == "a" * 150


@pytest.mark.parametrize("piece", [",", ";", "=?", "?=", "(a)", "\\", "a@b.example: ", "=?koi8-r?b?w===?= "])
def test_t96_a_megabyte_of_addresses_that_are_none_is_read(piece: str) -> None:
    field = f"{piece * (190_000 // len(piece))}\r\n"
    message = parse(f"From: {field}To: {field}Cc: {field}Bcc: {field}Reply-To: {field}\r\nbody".encode())
    assert message.text == "body"


def test_t96_a_hundred_calendars_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    monkeypatch.setattr(sys.modules["router.parse.message"], "calendar_text", lambda text: looked_at.append(len(text)))
    calendar = "Content-Type: text/calendar\r\n\r\n" + "\xe4" * 60_000
    message = parse(multipart(*[calendar] * 100))
    assert len(message.attachments) == 100
    assert len(looked_at) == 10
    assert max(looked_at) <= 100_000


def test_t96_a_header_that_is_there_many_times_has_no_more_addresses_than_one() -> None:
    fields = "".join(f"To: {', '.join(f'{field}.{n}@out.test' for n in range(900))}\r\n" for field in range(50))
    message = parse(b"From: ann@out.test\r\nCc: bob@out.test\r\n" + fields.encode() + b"\r\nx")
    assert [mention.address for mention in message.mentions if mention.role != "to"] == ["ann@out.test", "bob@out.test"]
    to = [mention.address for mention in message.mentions if mention.role == "to"]
    assert to == [f"{n // 900}.{n % 900}@out.test" for n in range(1_000)]
    assert message.defects == ("the header to: more than 1000 addresses: the rest was left out",)


@pytest.mark.parametrize("step", ["read_addresses", "read_date", "read_text", "leaves", "read_part", "read_ids"])
@pytest.mark.parametrize("error", [RecursionError, LookupError, ValueError])
def test_t97_whatever_breaks_is_said_and_the_rest_is_kept(
    monkeypatch: pytest.MonkeyPatch, step: str, error: type[Exception]
) -> None:
    def broken(*_: object) -> Callable[[], None]:
        raise error("boom")

    monkeypatch.setattr(sys.modules["router.parse.message"], step, broken)
    message = parse(mail(references="<a@x>"))
    assert any(error.__name__ in defect for defect in message.defects)
    assert (message.message_id is not None) == (step != "read_part")


MUTATED = multipart(
    "\r\nGrüße",
    "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=C3=BC</p>",
    "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*0*=utf-8''a; filename*1=b\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(bytes(range(256))).decode(),
)


@given(st.binary(max_size=2_000))
def test_parse_never_raises_on_bytes(raw: bytes) -> None:
    assert storable(parse(raw))


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_parse_never_raises_on_mutated_mail(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    raw = bytearray(MUTATED)
    for _ in range(changes):
        position = chance.randrange(len(raw))
        match chance.randrange(3):
            case 0:
                raw[position] = chance.randrange(256)
            case 1:
                del raw[position : position + chance.randrange(30)]
            case _:
                raw[position:position] = raw[chance.randrange(len(raw)) :][: chance.randrange(60)]
    message = parse(bytes(raw))
    assert storable(message)
    assert len(message.key) == 32


def test_t39_a_token_in_a_recipients_address_is_taken_off_it() -> None:
    raw = mail(to="Sales <sales+crm-k3m9x2p7@example.com>, a+b@example.com", reply_to="x+crm-zzzz3333@other.example")
    message = parse(raw, ["sales+crm-zzzz2222@example.com"])
    assert [one.address for one in message.of("to")] == ["sales@example.com", "a+b@example.com"]
    assert [one.address for one in message.of("reply_to")] == ["x+crm-zzzz3333@other.example"]
    assert message.tokens == ("zzzz2222", "k3m9x2p7")


def test_t96_tokens_and_private_headers_without_end_are_cut() -> None:
    tags = "".join(
        f"Delivered-To: a+crm-{'abcdefghjk'[n % 10] * 7}{'abcdefghjk'[n // 10]}@b.example\r\n" for n in range(90)
    )
    message = parse((tags + "X-CRM-Email-Router: <a@b.example> <b@b.example>\r\n" * 90).encode() + mail())
    assert len(message.tokens) == 32
    assert message.claims == ("a@b.example", "b@b.example") * 4


@pytest.mark.parametrize(
    ("written", "people"),
    [
        ("From: Ann Smith\r\nFrom: ann@client.example", [("Ann Smith", "ann@client.example")]),
        ("From: Ann Smith <>\r\nFrom: <ann@client.example>", [("Ann Smith", "ann@client.example")]),
        ("From: Ann Smith <ann>\r\nFrom: ann@client.example", [("Ann Smith", "ann@client.example")]),
        ("From: =?utf-8?q?S=C3=B8ren?=\r\nFrom: <s@client.example>", [("Søren", "s@client.example")]),
        ("From: ann\r\nFrom: Ann S <ann@client.example>", [("Ann S", "ann@client.example")]),
        ("From: a@client.example\r\nFrom: b@client.example", [("", "a@client.example"), ("", "b@client.example")]),
        ("From: Ann <ann>", [("Ann", "ann")]),
        ('From: "Smith, Ann" <ann>', [("Smith, Ann", "ann")]),
        ("From: =?utf-8?q?S=C3=B8ren?= <root>", [("Søren", "root")]),
        ("From: Mail System <MAILER-DAEMON>", [("Mail System", "mailer-daemon")]),
        ("From: Ann <ann>, Bob <bob@client.example>", [("Ann", "ann"), ("Bob", "bob@client.example")]),
        ("From: Smith, Ann <ann@client.example>", [("Smith, Ann", "ann@client.example")]),
    ],
)
def test_t95_a_name_is_kept_where_the_address_has_no_domain_or_stands_in_a_second_header(
    written: str, people: list[tuple[str, str]]
) -> None:
    message = parse(f"{written}\r\n\r\nHello".encode())
    assert [(one.name, one.address) for one in message.of("from")] == people


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("Offer 12", "Offer 12.eml"),
        ("=?utf-8?q?=C3=84nderung?=", "Änderung.eml"),
        ("Re: A/B \\ C?", "Re A-B - C.eml"),
        ("x" * 300, "x" * 146 + ".eml"),
        ("", "part-2.eml"),
    ],
)
def test_a_mail_that_is_attached_without_a_name_is_called_by_its_subject(subject: str, name: str) -> None:
    attached = f"Content-Type: message/rfc822\r\n\r\nFrom: bob@client.example\r\nSubject: {subject}\r\n\r\nHello"
    [attachment] = parse(multipart("\r\nSee below", attached)).attachments
    assert attachment.filename == name


def test_an_attached_mail_with_a_name_keeps_it() -> None:
    attached = "Content-Type: message/rfc822; name=old.eml\r\n\r\nSubject: Offer\r\n\r\nHello"
    assert [one.filename for one in parse(multipart("\r\nx", attached)).attachments] == ["old.eml"]
