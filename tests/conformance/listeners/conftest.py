"""What a test serves: `intake` takes the mail, `serve(**settings)` opens a listener for it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conformance.listeners.ways import Intake, Served, Way, serving
from tests.servers.tls import Tls


class Serve(Protocol):
    def __call__(self, **settings: Any) -> AbstractAsyncContextManager[Served]: ...


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """Unix socket names end at 107 bytes, and pytest's own folders are long."""
    with tempfile.TemporaryDirectory(prefix="er-") as folder:
        yield Path(folder)


@pytest.fixture
def serve(intake: Intake, way: Way, tls: Tls, socket_folder: Path) -> Serve:
    return lambda **settings: serving(intake, way, tls, socket_folder, **settings)


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    async with serve() as served:
        yield served
