"""What a person is shown one below the other is the text; what stands for something else, or is used by it, is not."""

import pytest

from router.parse.body import LONGEST
from router.parse.message import parse
from tests.unit.parse.test_message import multipart

PICTURE = "Content-Type: image/jpeg; name=a.jpg\r\nContent-Disposition: inline; filename=a.jpg\r\n\r\nx"


def html(text: str) -> str:
    return f"Content-Type: text/html\r\n\r\n{text}"


def nested(kind: str, *parts: str) -> str:
    body = "".join(f"--{kind}\r\n{part}\r\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={kind}\r\n\r\n{body}--{kind}--\r\n"


def test_the_text_below_a_picture_is_read() -> None:
    message = parse(multipart("\r\nFirst half\r\n", PICTURE, "\r\nThe price is 500."))
    assert (message.text, message.html) == ("First half\nThe price is 500.", None)
    assert [attachment.filename for attachment in message.attachments] == ["a.jpg"]


def test_the_html_below_a_picture_is_read_once_with_its_text() -> None:
    message = parse(
        multipart(
            "\r\nHi\r\nand more", nested("mixed", html("<p>Hi"), PICTURE, html("<p>and more")), kind="alternative"
        )
    )
    assert (message.text, message.html) == ("Hi\nand more", "<p>Hi\n<p>and more")
    assert [attachment.filename for attachment in message.attachments] == ["a.jpg"]


def test_the_footer_of_a_mailing_list_is_below_the_text_and_below_the_html() -> None:
    message = parse(multipart(nested("alternative", "\r\nHello", html("<p>Hello")), "\r\n____\r\n<list>"))
    assert message.text == "Hello\n____\n<list>"
    assert message.html == "<p>Hello\n<div>____<br>\n&lt;list&gt;</div>"
    assert message.attachments == ()


def test_a_lone_footer_does_not_hide_the_html() -> None:
    message = parse(multipart(html("<p>Hello"), "\r\n____\r\nlist\r\n"))
    assert (message.text, message.text_from) == ("Hello\n____\nlist\n", "html")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (multipart("\r\none", "\r\nother", kind="alternative"), "one"),
        (multipart("\r\none", nested("mixed", "\r\none", PICTURE), kind="alternative"), "one"),
        (multipart(nested("alternative", html("<p>one"), "\r\none")), "one"),
        (multipart(nested("related", "\r\none", "Content-ID: <a>\r\n\r\nused")), "one"),
        (multipart("\r\none", "Content-Type: text/plain; name=a.txt\r\n\r\nfile"), "one"),
        (multipart("\r\none", "Content-Disposition: attachment\r\n\r\nfile"), "one"),
        (multipart("\r\none", "\r\n" + "x" * LONGEST), "one"),
    ],
)
def test_what_stands_for_it_is_used_by_it_or_is_too_long_is_not_read_below_it(raw: bytes, text: str) -> None:
    message = parse(raw)
    assert message.text == text
    assert message.html in {None, "<p>one"}
