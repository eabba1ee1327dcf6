"""What a test does when a server it needs is not on this machine: it fails, unless told to go without."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

# An ordinary user's PATH often lacks the folders where servers live.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def program(name: str) -> str:
    """Where `name` is; the test fails (or skips, if told to go without) when it is not installed."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        missing(f"{name} is not installed")
    return found


def require_file(path: Path) -> None:
    """The same for a part of a server that is a package of its own."""
    if not path.exists():
        missing(f"{path} is not installed")


def as_root() -> list[str]:
    """What to put before a command that only root may run: nothing, or sudo without a password."""
    if os.geteuid() == 0:
        return []
    if not _sudo_without_password():
        missing("Postfix needs root, or sudo without a password")
    return ["sudo", "-n"]


@cache
def _sudo_without_password() -> bool:
    sudo = shutil.which("sudo")
    return sudo is not None and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0


def missing(what: str) -> NoReturn:
    """Skip if `TESTS_WITHOUT_SERVERS=1`, which continuous integration must not use; else fail."""
    words = f"{what}: run tests/install-servers"
    if os.environ.get("TESTS_WITHOUT_SERVERS") == "1" and os.environ.get("CI") != "true":
        pytest.skip(words)
    pytest.fail(words, pytrace=False)
