"""Whatever a server says, it is read for what it is, or refused; it never hangs, grows without limit, or fails us."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from transports.errors import Permanent
from transports.imap.decode import (
    _FETCH,
    MalformedError,
    Response,
    Splitter,
    Value,
    fetched,
    internal_date,
    searched,
    status,
    values,
    vanished,
)
from transports.imap.encode import folder_name, seen_name
from transports.imap.folders import listed_folder
from transports.imap.reply import backoff, response_code

_WORDS = [
    b"* ", b"1", b" FETCH (", b"UID 7", b"BODY[] ", b"BODY[HEADER.FIELDS (TO)] ", b"FLAGS (\\Seen)", b"INTERNALDATE ",
    b"NIL", b'" 1-Jan-2026 10:00:00 +0100"', b'"', b"\\", b"(", b")", b"{3}", b"~{2}", b"{0}",
    b"{99999999999999999999}", b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"OK", b"NO", b"BYE", b"[UIDNEXT 4]", b"[", b"]",
    b"SEARCH 1 2", b"STATUS INBOX (UIDNEXT 3)", b'LIST (\\Sent) "/" "Sent"', b"VANISHED 1:99999999999999999999",
    b"EXISTS", b"999999999999999999999", b"A1 OK", b"+ ", b" ",
]  # fmt: skip
_noise = st.lists(st.sampled_from(_WORDS) | st.binary(max_size=8), max_size=40).map(b"".join)
_atom = st.sampled_from([b"UID", b"X-GM-MSGID", b"RFC822.SIZE", b"MODSEQ", b"FLAGS", b"ENVELOPE", b"X.Y"])
_value: st.SearchStrategy[Value] = st.recursive(
    st.none()
    | st.integers(0, 10**12).map(lambda number: b"%d" % number)
    | st.binary(max_size=30)
    | st.binary(max_size=30).map(lambda content: b"* 1 FETCH (" + content + b"{3}"),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def said(value: Value) -> bytes:
    """Say a value as a server would: what can be a quoted string is one, the rest are literals."""
    if value is None:
        return b"NIL"
    if isinstance(value, list):
        return b"(" + b" ".join(map(said, value)) + b")"
    if value.isdigit():
        return value
    if all(32 <= byte < 127 for byte in value):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%s" % (len(value), value)


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({0, len(stream), *(place % (len(stream) + 1) for place in cuts)})
    return [stream[start:end] for start, end in pairwise(ends)]


def read(pieces: Sequence[bytes]) -> tuple[list[Response], bool]:
    splitter, responses = Splitter(line_limit=500, literal_limit=100), []
    try:
        for piece in pieces:
            for response in splitter.feed(piece):
                responses.append(response)  # noqa: PERF402  # those before the fault count
    except MalformedError:
        return responses, True
    assert len(splitter._line) <= 501
    assert len(splitter._literal.getvalue()) <= 100
    return responses, False


@settings(max_examples=400, deadline=None)
@given(_noise, st.lists(st.integers(0, 1000), max_size=10))
def test_noise_is_read_the_same_however_it_is_cut_and_breaks_no_reader(stream: bytes, cuts: list[int]) -> None:
    responses, malformed = read([stream])
    assert read(cut(stream, cuts)) == (responses, malformed)
    for response in responses:
        fetched(response)
        searched(response)
        vanished(response)
        status(response)
        listed_folder(response, utf8=False)
        listed_folder(response, utf8=True)
        words = response[0].decode(errors="replace")
        response_code(words)
        backoff(words)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(_atom, _value), min_size=1, max_size=5, unique_by=lambda pair: pair[0]), st.integers(1, 9))
def test_what_is_said_is_what_is_read(pairs: list[tuple[bytes, Value]], size: int) -> None:
    line = b"* 1 FETCH (" + b" ".join(name + b" " + said(value) for name, value in pairs) + b")\r\n"
    (response,) = [
        response
        for splitter in [Splitter()]
        for start in range(0, len(line), size)
        for response in splitter.feed(line[start : start + size])
    ]
    assert fetched(response) == {name.upper(): value for name, value in pairs}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(_atom, _value), max_size=4, unique_by=lambda pair: pair[0]),
    st.binary(max_size=20),
    st.sampled_from([b"BODY[]", b"BODY[1.2]"]),
)
def test_the_short_way_reads_what_the_long_way_reads(
    pairs: list[tuple[bytes, Value]], content: bytes, item: bytes
) -> None:
    line = b"* 1 FETCH (" + b"".join(name + b" " + said(value) + b" " for name, value in pairs)
    line += item + b" {%d}\r\n%s)\r\n" % (len(content), content)
    (response,) = Splitter().feed(line)
    (long,) = values(response, _FETCH) or [None]
    assert isinstance(long, list)
    assert fetched(response) == {
        name.upper(): value for name, value in zip(long[::2], long[1::2], strict=True) if isinstance(name, bytes)
    }


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_dates_and_names_of_noise(noise: bytes) -> None:
    internal_date(noise)
    seen_name(noise, utf8=False)
    seen_name(noise, utf8=True)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30), st.booleans())
def test_names_come_back(name: str, utf8: bool) -> None:  # hypothesis gives it
    try:
        quoted = folder_name(name, utf8=utf8)
    except Permanent:
        return
    (response,) = Splitter().feed(b"* LIST () NIL " + quoted.encode() + b"\r\n")
    found = listed_folder(response, utf8=utf8)
    assert found is not None
    assert found.name == ("INBOX" if name.upper() == "INBOX" else name)
