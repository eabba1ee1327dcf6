"""What proves that a message is poison, whichever way it was asked for."""

import pytest

from transports import _poison
from transports._poison import FULL_PACKETS, Patience, least_bytes, unproven
from transports.errors import Unreachable


def test_after_silence_only_what_fills_packets_as_well_proves_anything() -> None:
    assert least_bytes(1 << 30, silent=True) == FULL_PACKETS
    assert least_bytes(100, silent=True) == 100
    assert least_bytes(1 << 30, silent=False) == 0


def test_the_connection_holds_so_that_other_folders_are_read() -> None:
    error = unproven("message 4 of INBOX", "no answer")
    assert str(error).startswith("message 4 of INBOX does not come, nor does another like it: no answer; ")
    assert not isinstance(error, Unreachable)


def test_patience_begins_with_the_first_failure_and_anew_after_a_message_that_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(_poison, "_MOST", 3)
    patience = Patience()
    assert not patience.is_over("a@mail", "INBOX", "1")
    now = 86_401
    assert patience.is_over("a@mail", "INBOX", "1")
    assert not patience.is_over("a@mail", "INBOX", "2")
    patience.forget("a@mail", "INBOX", "1")
    assert not patience.is_over("a@mail", "INBOX", "1")
    # It grows no further: the oldest makes room.
    for number in range(10):
        patience.is_over("b@mail", str(number))
    now *= 2
    assert not patience.is_over("a@mail", "INBOX", "2")
    assert patience.is_over("b@mail", "9")
