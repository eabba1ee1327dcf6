"""What proves that a message is poison, whichever way it was asked for."""

from transports._poison import FULL_PACKETS, least_bytes, unproven
from transports.base import Unreachable


def test_after_silence_only_what_fills_packets_as_well_proves_anything() -> None:
    assert least_bytes(1 << 30, silent=True) == FULL_PACKETS
    assert least_bytes(100, silent=True) == 100
    assert least_bytes(1 << 30, silent=False) == 0


def test_the_connection_holds_so_that_other_folders_are_read() -> None:
    error = unproven("message 4 of INBOX", "no answer")
    assert str(error).startswith("message 4 of INBOX does not come, nor does another like it: no answer; ")
    assert not isinstance(error, Unreachable)
