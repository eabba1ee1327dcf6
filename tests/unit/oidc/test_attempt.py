"""An attempt to sign in is of one browser, lasts ten minutes, and is made of a secret that nobody else has."""

import pytest

from router.oidc import LASTS, Attempt

NOW = 1_800_000_000.0


def test_what_comes_back_is_found_by_what_the_browser_kept() -> None:
    attempt = Attempt.begin("/queue?sender=ä", NOW)
    found = Attempt.read(attempt.kept, attempt.state, NOW + LASTS)
    assert found == attempt
    assert (found.nonce, found.verifier, found.to) == (attempt.nonce, attempt.verifier, "/queue?sender=ä")
    told = [attempt.state, attempt.nonce, attempt.verifier]
    assert len({one.rpartition(".")[2] for one in told}) == 3
    assert not any(attempt.secret in one for one in told)
    assert attempt.secret not in repr(attempt)


def test_another_browser_another_time_and_another_state_are_none_of_it() -> None:
    attempt, other = Attempt.begin("/", NOW), Attempt.begin("/", NOW)
    assert Attempt.read(other.kept, attempt.state, NOW) is None
    assert Attempt.read(attempt.kept, attempt.state, NOW + LASTS + 1) is None
    assert Attempt.read(attempt.kept, attempt.state, NOW - 61) is None
    # The time in it is part of what is derived.
    later = f"{attempt.began + 1}.{attempt.state.partition('.')[2]}"
    assert Attempt.read(attempt.kept, later, NOW) is None


@pytest.mark.parametrize("state", ["", ".", "x", "1800000000", "-1.x", "١.x", "9" * 4000 + ".x", "1800000000.ä\0"])
def test_nonsense_is_none_of_it(state: str) -> None:
    attempt = Attempt.begin("/", NOW)
    assert Attempt.read(attempt.kept, state, NOW) is None


@pytest.mark.parametrize("kept", ["", ".", "short.", "x" * 43, "x" * 44 + ".", "é" * 43 + ".Lw"])
def test_nonsense_that_a_browser_kept_is_none_of_it(kept: str) -> None:
    assert Attempt.read(kept, Attempt.begin("/", NOW).state, NOW) is None


def test_a_path_that_cannot_be_read_is_the_start() -> None:
    attempt = Attempt.begin("/", NOW)
    found = Attempt.read(f"{attempt.secret}._w", attempt.state, NOW)
    assert found is not None
    assert found.to == "/"
