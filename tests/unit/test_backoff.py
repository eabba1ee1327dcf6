from random import Random

from router.backoff import Backoff


def test_backoff_grows_is_bounded_heeds_the_server_and_is_reset() -> None:
    backoff = Backoff(first=1, longest=8, dice=Random(1))
    pauses = [backoff.next() for _ in range(10)]
    assert 0.5 <= pauses[0] <= 1
    assert all(4 <= pause <= 8 for pause in pauses[3:])
    assert backoff.next(at_least=30) == 30
    backoff.reset()
    assert backoff.next() <= 1
