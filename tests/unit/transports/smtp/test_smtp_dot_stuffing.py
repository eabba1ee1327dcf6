from hypothesis import given
from hypothesis import strategies as st

from transports.smtp.dot_stuffing import DotStuffer


def on_the_wire(content: bytes, size: int = 65536) -> bytes:
    stuffer = DotStuffer()
    pieces = [stuffer.stuff(content[start : start + size]) for start in range(0, len(content), size)]
    return b"".join(pieces) + stuffer.end()


def test_lines_that_begin_with_a_dot_get_another() -> None:
    assert on_the_wire(b".a\r\n..\r\nb.\r\n.\r\n") == b"..a\r\n...\r\nb.\r\n..\r\n.\r\n"


def test_bare_line_ends_cannot_end_the_data() -> None:
    for smuggled in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\r\n.\r\r\n"):
        sent = on_the_wire(b"a" + smuggled + b"MAIL FROM:<x@y>\r\n")
        body = sent.removesuffix(b"\r\n.\r\n")
        assert b"\r\n.\r\n" not in body
        assert not body.replace(b"\r\n", b"").strip(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.<>:@ ")


def test_content_without_a_last_line_end_gets_one() -> None:
    assert on_the_wire(b"a") == b"a\r\n.\r\n"
    assert on_the_wire(b"") == b".\r\n"


@given(st.text("a.\r\n", max_size=40).map(str.encode), st.integers(1, 7))
def test_where_the_content_is_cut_makes_no_difference(content: bytes, size: int) -> None:
    assert on_the_wire(content, size) == on_the_wire(content)


@given(st.text("a.\r\n", max_size=40).map(str.encode))
def test_the_receiver_reads_the_same_lines(content: bytes) -> None:
    sent = on_the_wire(content, 5)
    lines = sent.split(b"\r\n")
    end = lines.index(b".")
    assert lines[end + 1 :] == [b""]
    assert b"\r" not in b"".join(lines)
    assert b"\n" not in b"".join(lines)
    read = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    expected = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert read == expected + (b"" if expected.endswith(b"\r\n") or not expected else b"\r\n")


def test_only_the_end_ends_the_data() -> None:
    stuffer = DotStuffer()
    assert [stuffer.stuff(b"0123456789\r\n") for _ in range(3)] == [b"0123456789\r\n"] * 3
    assert stuffer.end() == b".\r\n"


def test_an_empty_piece_changes_nothing() -> None:
    stuffer = DotStuffer()
    assert [stuffer.stuff(piece) for piece in (b"a\r", b"", b"\n", b"", b".")] == [b"a", b"", b"\r\n", b"", b".."]
    assert stuffer.end() == b"\r\n.\r\n"
