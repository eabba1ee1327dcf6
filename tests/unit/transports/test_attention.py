"""Which folders are worth looking into."""

from transports._attention import Attention


def test_what_was_never_listed_is_urgent() -> None:
    attention = Attention()
    assert attention.dirty
    assert attention.urgent


def test_what_could_not_be_read_is_listed_again_and_not_at_once() -> None:
    attention = Attention()
    attention.dirty = False
    attention.note_failure()
    assert attention.dirty
    assert not attention.urgent
    attention.troubled = False
    assert attention.urgent
