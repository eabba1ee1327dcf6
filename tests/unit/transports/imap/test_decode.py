"""What an IMAP server says, read without any connection."""

from transports.imap.decode import Splitter, Value, internal_date, searched, vanished


def test_internal_dates() -> None:
    date = internal_date(b" 1-jan-2026 00:30:00 +0130")
    assert date is not None
    assert date.isoformat() == "2025-12-31T23:00:00+00:00"
    unreadable: tuple[Value, ...] = (b"31-Feb-2026 10:00:00 +0000", b"01-Xyz-2026 10:00:00 +0000", b"", None, [])
    assert [internal_date(value) for value in unreadable] == [None] * 5


def test_every_cut_of_the_stream_gives_the_same_responses() -> None:
    stream = b"* 1 FETCH (UID 7 BODY[] {4}\r\n\r\n) X {0}\r\n Y ~{2}\r\nab)\r\n* SEARCH 1 2\r\nA1 OK {3}\r\n"
    expected = [
        (b"* 1 FETCH (UID 7 BODY[] ", b"\r\n) ", b"X ", b"", b" Y ", b"ab", b")"),
        (b"* SEARCH 1 2",),
        (b"A1 OK {3}",),
    ]
    assert list(Splitter().feed(stream)) == expected
    for size in range(1, 12):
        splitter = Splitter()
        pieces = (stream[start : start + size] for start in range(0, len(stream), size))
        assert [response for piece in pieces for response in splitter.feed(piece)] == expected
    assert searched(expected[1]) == [1, 2]


def test_vanished() -> None:
    assert vanished((b"* VANISHED 5,9:7,1",)) == [range(5, 6), range(7, 10), range(1, 2)]
    assert vanished((b"* vanished (EARLIER) 4:6",)) == [range(4, 7)]
    assert vanished((b"* VANISHED 1:*,x,3",)) == [range(3, 4)]
    assert vanished((b"* VANISHED " + b"9" * 5000,)) == []
    assert vanished((b"* SEARCH 4 5",)) == vanished((b"* VANISHED",)) == []
