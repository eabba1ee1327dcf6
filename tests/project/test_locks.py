"""The locks fit pyproject.toml: `make lock` was run after the last change, and everything is pinned with its hash."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN: list[str] = PROJECT["project"]["dependencies"]
BUILD: list[str] = PROJECT["dependency-groups"]["build"] + PROJECT["build-system"]["requires"]
CLIENT: list[str] = PROJECT["dependency-groups"]["client"]
DEV: list[str] = [line for line in PROJECT["dependency-groups"]["dev"] if isinstance(line, str)]

LOCKS = {
    "requirements.lock": RUN,
    "requirements-build.lock": BUILD,
    "requirements-dev.lock": RUN + BUILD + DEV,
    "requirements-client.lock": CLIENT,
}


def entries(lock: str) -> list[str]:
    """The lock's requirements, each with its hashes, on one line."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return [line for line in text.replace("\\\n", "").splitlines() if line and not line.lstrip().startswith("#")]


def pins(lock: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.partition(" --hash")[0])
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_is_asked_for(lock: str) -> None:
    locked = pins(lock)
    for requirement in map(Requirement, LOCKS[lock]):
        assert locked.get(canonicalize_name(requirement.name), "none") in requirement.specifier, (
            f"{lock} does not fit {requirement} of pyproject.toml: run make lock"
        )


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_has_its_hash_and_nothing_says_where_it_came_from(lock: str) -> None:
    for entry in entries(lock):
        assert re.search(r" --hash=sha256:[0-9a-f]{64}", entry), entry
        assert not re.search(r"--(?!hash=)|://| @ ", entry), entry


def test_what_is_tested_is_what_runs() -> None:
    everything = pins("requirements-dev.lock").items()
    assert pins("requirements.lock").items() <= everything
    assert pins("requirements-build.lock").items() <= everything
