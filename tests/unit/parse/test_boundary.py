"""Multiparts whose boundary is wrong or missing, parts below their end, and headers below an empty line."""

from base64 import b64encode, encodebytes

import pytest

from router.parse.message import parse
from tests.support.build import mail

WORDS = "Guten Tag,\n\nanbei das Angebot, wie gewünscht.\n"
PDF = b"%PDF-1.7\0" + bytes(range(256)) * 3


def parts(boundary: str = "x1", end: str = "--x1--") -> str:
    encoded = encodebytes(WORDS.encode()).decode().replace("\n", "\r\n")
    return (
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n"
        f"--{boundary}\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nPDF\r\n{end}\r\n"
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/mixed; boundary=other",
        "multipart/mixed; boundary=X1",
        'multipart/mixed; boundary="x1;"',
        "multipart/mixed; boundary=x\r\n 1",
        "multipart/mixed;\r\nboundary=x1",
        'multipart/mixed boundary="other"',
        'multipart/mixed boundary="x1"',
        "multipart/mixed",
        "multipart/mixed; boundary=",
    ],
)
@pytest.mark.parametrize("preamble", ["", "\r\n", "This is a multi-part message in MIME format.\r\n\r\n"])
def test_t95_the_bodys_own_boundary_counts_where_the_header_gives_none_that_is_in_it(
    content_type: str, preamble: str
) -> None:
    message = parse(mail(preamble + parts(), content_type=content_type))
    assert message.text == WORDS
    assert [(one.filename, one.content) for one in message.attachments] == [("a.pdf", b"PDF")]


@pytest.mark.parametrize("above", ["", "\r\n"])
def test_t95_a_body_that_begins_with_parts_has_parts_although_no_header_says_so(above: str) -> None:
    message = parse(mail(above + parts()))
    assert (message.text, [one.filename for one in message.attachments]) == (WORDS, ["a.pdf"])
    assert message.defects == ("its header does not name the boundary between its parts",)


def test_t95_a_boundary_that_is_folded_in_the_body_as_in_the_header() -> None:
    body = parts("==_x\r\n   12(3)", end="--==_x\r\n   12(3)--")
    message = parse(mail(body, content_type='multipart/mixed; boundary="==_x\r\n   12(3)"'))
    assert (message.text, message.attachments[0].content) == (WORDS, b"PDF")


def test_t95_a_wrong_boundary_is_said() -> None:
    message = parse(mail(parts(), content_type="multipart/mixed; boundary=other"))
    assert message.defects == ("its header names another boundary than its parts have",)
    message = parse(mail(parts(), content_type="multipart/mixed"))
    assert message.defects == ("its header does not name the boundary between its parts",)


def test_t95_the_boundary_of_the_inner_parts_may_be_wrong_too() -> None:
    inner = f"--out\r\nContent-Type: multipart/alternative; boundary=wrong\r\n\r\n{parts()}--out--\r\n"
    assert parse(mail(inner, content_type="multipart/mixed; boundary=out")).text == WORDS


@pytest.mark.parametrize(
    "text",
    [
        "Hello\r\n-- \r\nAnn\r\n",
        "Hello\r\n--Ann\r\n",
        "----\r\nContent\r\n----\r\n",
        "Hello\r\n--x\r\nContent-Type: text/plain\r\n\r\nas an example\r\n",
        "--x\r\nContent-Type: text/plain\r\nas a question\r\n",
    ],
)
def test_a_text_that_looks_alike_stays_a_text(text: str) -> None:
    message = parse(mail(text))
    assert message.text == text.replace("\r\n", "\n")
    assert message.defects == ()


def test_t95_parts_below_the_end_are_kept_and_that_is_said() -> None:
    more = "--x1\r\nContent-Type: text/csv; name=b.csv\r\n\r\n1;2\r\n--x1--\r\n"
    other = "\r\n--y2\r\nContent-Type: text/csv; name=b.csv\r\n\r\n1;2\r\n--y2--\r\n"
    for late in (more, other):
        message = parse(mail(parts() + late, content_type="multipart/mixed; boundary=x1"))
        assert [one.filename for one in message.attachments] == ["a.pdf", "b.csv"]
        assert message.attachments[1].content == b"1;2"
        assert message.defects == ("parts come after the end of its parts: they were kept",)


def test_t95_a_text_below_the_end_is_said() -> None:
    message = parse(mail(parts() + "\r\nSent by a scanner\r\n", content_type="multipart/mixed; boundary=x1"))
    assert (message.text, message.defects) == (WORDS, ("a text below the last of its parts is not shown",))
    assert parse(mail(parts() + "\r\n \r\n", content_type="multipart/mixed; boundary=x1")).defects == ()


@pytest.mark.parametrize("encoding", ["", "7bit", "8bit", "quoted-printable", "x-unknown"])
@pytest.mark.parametrize("words", [WORDS * 4, WORDS, "Guten Tag, es passt."])
def test_base64_is_never_shown_as_text(encoding: str, words: str) -> None:
    body = encodebytes(words.encode()).decode().replace("\n", "\r\n")
    message = parse(mail(body, content_type="text/plain; charset=utf-8", content_transfer_encoding=encoding))
    assert message.text == words
    assert message.defects == ("part 1 is base64 without saying so: it was decoded",)


def test_a_file_in_base64_that_lost_its_headers_is_an_attachment() -> None:
    message = parse(mail(encodebytes(PDF).decode()))
    assert (message.text, [one.content for one in message.attachments]) == (None, [PDF])


@pytest.mark.parametrize(
    "text",
    [
        "Donaudampfschifffahrtsgesellschaft\n",
        b64encode(bytes(range(40))).decode(),
        "+" * 60 + "\n" + "+" * 60 + "\n",
        "https://example.com/" + "a" * 40 + "\n" + "b" * 60,
        "abcd" * 4,
    ],
)
def test_what_only_looks_like_base64_stays_as_it_is(text: str) -> None:
    assert parse(mail(text)).text == text


@pytest.mark.parametrize(
    "first", ["X-Mailer: x", "DKIM-Signature: v=1;\r\n b=x", "Return-Receipt-To: ann@client.example", "List-Id: <x.y>"]
)
@pytest.mark.parametrize("above", ["\r\n", "\r\n\r\n", "\n", "\xef\xbb\xbf\r\n", " \r\n"])
def test_t95_headers_below_an_empty_line_may_begin_with_any_field(first: str, above: str) -> None:
    message = parse(above.encode("latin-1") + first.encode() + b"\r\n" + mail("Hello"))
    assert (message.subject, message.sender, message.text) == ("Offer", "ann@client.example", "Hello")
    assert message.defects == ("there is an empty line or a mark before the headers",)


@pytest.mark.parametrize("text", ["Note: this is a text\nHello\n", "Price: 5\n\nFrom: Berlin\n"])
def test_a_text_below_an_empty_line_stays_a_text(text: str) -> None:
    assert parse(b"\n" + text.encode()).text == text


def test_t96_boundaries_are_sought_in_time_that_grows_with_the_message() -> None:
    names = "".join(f"--x{number}\r\n" for number in range(100_000))
    closed = "".join(f"--x{number}\r\n--x{number}--\r\n" for number in range(50_000))
    for body in (names, closed, "--x\r\n" * 200_000, "x" * 5_000_000):
        for content_type in ("multipart/mixed", "multipart/mixed; boundary=y", ""):
            assert parse(mail(body, content_type=content_type)).subject == "Offer"
