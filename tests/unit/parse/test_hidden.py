"""What bytes say once they are decoded, in whatever order they were encoded and wherever they were cut."""

import base64
import quopri
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.parse.hidden import has_words, layers, packing_of, texts

WHO = "berta@büro.test"
ENCODINGS: list[Callable[[bytes], bytes]] = [base64.encodebytes, base64.b64encode, quopri.encodestring]


def says(content: bytes) -> bool:
    return any(WHO in text for layer in layers(content) for text in texts(layer))


@settings(deadline=None)
@given(
    before=st.binary(max_size=400),
    after=st.binary(max_size=400),
    charset=st.sampled_from(["utf-8", "latin-1", "utf-16-le", "utf-16-be"]),
    encodings=st.lists(st.sampled_from(ENCODINGS), max_size=3),
)
def test_a_text_is_found_in_whatever_order_it_was_encoded(
    before: bytes, after: bytes, charset: str, encodings: list[Callable[[bytes], bytes]]
) -> None:
    content = before + b"<" + WHO.encode(charset) + b">" + after
    if charset == "utf-8":
        content = f"{before.hex(' ')} <{WHO}> {after.hex(' ')}".encode()
    for encode in encodings:
        content = b"Content-Type: x\r\n\r\n" + encode(content)
    if charset in ("utf-16-le", "utf-16-be") and b"\0" not in content and not encodings:
        return
    assert says(content)


@pytest.mark.parametrize("encode", [base64.encodebytes, base64.b64encode])
def test_a_text_is_found_wherever_its_base64_was_cut(encode: Callable[[bytes], bytes]) -> None:
    content = encode(b"x" * 400 + WHO.encode() + b"y" * 99)
    for cut in range(250):
        assert says(content[cut:]), cut


def test_a_stranger_is_not_found() -> None:
    assert not says(base64.encodebytes(b"berta at home, and nobody else " * 99))
    assert has_words(b"Subject: =?utf-8?q?x?=")
    assert not has_words(b"x=?y")


def test_a_content_that_cannot_be_read_says_what_it_is() -> None:
    assert packing_of(b"%PDF-1.7") == "PDFs"
    assert packing_of(b"PK\x03\x04...") == "zip archives and office documents"
    assert packing_of(b"hello") is None


@pytest.mark.parametrize(
    "piece", [b"a", b"abcdefghijklmnop ", b"abcd\r\n", b"=41", b"=\r\n", b"=?", b"QUFB" * 99 + b" "]
)
def test_what_is_made_of_a_content_grows_with_its_length(piece: bytes) -> None:
    assert sum(map(len, layers(piece * 9_000))) < 12 * 9_000 * len(piece)
