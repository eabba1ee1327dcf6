import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.outgoing.compose.seven_bit import SevenBit


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (b"", True),
        (b"Subject: x\r\n\r\ntext\r\n", True),
        (b"no end of line", True),
        (b"x" * 998 + b"\r\n" + b"x" * 998, True),
        (b"x" * 999 + b"\r\n", False),
        (b"x" * 999, False),
        (b"\xff", False),
        (b"a\0b", False),
        (b"a\nb", False),
        (b"a\rb", False),
        (b"a\r", False),
        (b"a\r\r\n", False),
        (b"--=_7_a\r\n", False),
    ],
)
def test_a_message_is_attached_as_it_is_only_in_lines_of_seven_bits(content: bytes, holds: bool) -> None:
    assert SevenBit.of(content, "=_7") is holds


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"=_", b"7", b"x" * 500, b"x" * 499])), st.integers(1, 7))
def test_it_does_not_matter_how_a_message_is_cut(parts: list[bytes], size: int) -> None:
    content = b"".join(parts)
    look = SevenBit("=_7")
    for start in range(0, len(content), size):
        look.feed(content[start : start + size])
    assert look.end() == SevenBit.of(content, "=_7")
