"""How long a password takes tells nothing of whose it is."""

from typing import Any

import pytest

from router.operations import passwords


@pytest.mark.parametrize("has_one", [True, False])
async def test_the_first_attempt_of_a_process_takes_as_much_for_a_name_as_for_none(
    monkeypatch: pytest.MonkeyPatch, has_one: bool
) -> None:
    kept = await passwords.hashed("correct horse battery staple")
    done = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            done.append(name)
            return getattr(hasher, name)

    hasher = passwords._hasher
    monkeypatch.setattr(passwords, "_hasher", Counted())
    passwords._nobodys.cache_clear()
    for _ in range(2):
        assert not await passwords.is_right("another", kept if has_one else None)
    assert done == ["hash", "verify", "verify"]
