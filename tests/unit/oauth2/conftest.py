from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from router.oauth2.keeper import Keeper
from router.oauth2.vault import Vault
from router.repository.database import Database
from tests.support.token_server import TokenServer, token_server
from transports import OAuth2

SECRET = "the-secret-of-the-application"
REFRESH = "the-first-refresh-token"


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with token_server() as running:
        yield running


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database) as one:
        yield one


class Office:
    """What is needed to have tokens: profiles, keys, and keepers on one database."""

    def __init__(self, folder: Path, server: TokenServer, database: Database) -> None:
        self.folder = folder
        self.server = server
        self.database = database
        self.keys = folder / "token-keys"
        (folder / "secret").write_text(SECRET)
        (folder / "refresh").write_text(REFRESH)

    def application(self, **more: Any) -> OAuth2:
        """As the application itself."""
        return OAuth2.model_validate(
            {
                "token_url": self.server.url,
                "client_id": "the-client",
                "client_secret": {"file": self.folder / "secret"},
                "scope": "mail",
                "timeout": 5,
                **more,
            }
        )

    def login(self, **more: Any) -> OAuth2:
        """By a person's login, or its refresh token."""
        return self.application(
            **{"grant": "refresh_token", "refresh_token": {"file": self.folder / "refresh"}, **more}
        )

    def keeper(self, **more: Any) -> Keeper:
        return Keeper(self.database, Vault(self.keys, make=True), **more)


@pytest.fixture
def office(tmp_path: Path, server: TokenServer, opened: Database) -> Office:
    return Office(tmp_path, server, opened)
