import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.build import World

settings.register_profile("router", deadline=None)  # the machine may be busy
settings.load_profile("router")

_NOBODY = 65534


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not enter, root or not."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    user = os.geteuid()
    if user == 0:
        os.seteuid(_NOBODY)
    yield folder
    if user == 0:
        os.seteuid(user)
    folder.chmod(0o700)


@pytest.fixture
def world() -> World:
    return World()
