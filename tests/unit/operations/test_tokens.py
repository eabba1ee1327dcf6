"""The tokens of all profiles, as a person looks at them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from router.oauth2.exchange import Granted
from router.oauth2.keeper import Keeper
from router.oauth2.vault import Vault
from router.operations.tokens import token_states
from router.profile import load
from router.profile.tokens import oauth2_of, uses_tokens
from router.repository.database import Database

PROFILES = """
[incoming.staff]
transport = "imap"
host = "imap.example.com"
owners = ["*@example.com"]
auth.user = "{mailbox}"
auth.oauth2.token_url = "https://login.example.com/token"
auth.oauth2.client_id = "c"
auth.oauth2.client_secret = { env = "OFFICE_SECRET" }
auth.oauth2.client_secret_expires = 2027-01-31
auth.oauth2.grant = "authorization_code"
auth.oauth2.scope = "mail"

[outgoing.relay]
transport = "smtp"
host = "smtp.example.com"
senders = ["*@example.com"]
auth.user = "router"
auth.password = { env = "OFFICE_SECRET" }
"""


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database) as one:
        yield one


async def test_what_a_profile_has(opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFICE_SECRET", "secret")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "all.toml").write_text(PROFILES)
    profiles = load(tmp_path / "profiles")
    assert uses_tokens(profiles)
    [state] = await token_states(opened, profiles.by_key.values())
    assert (state.profile, state.subject, state.expires_at, state.fault) == ("[incoming.staff]", "", None, None)
    assert state.waits_for_login
    assert state.ends == {"client secret": datetime(2027, 1, 31, tzinfo=UTC)}

    [oauth2] = oauth2_of(profiles.incoming[0])
    async with Keeper(opened, Vault(tmp_path / "keys", make=True)) as keeper:
        await keeper.keep_login(oauth2, "", Granted("a", "r", 3600, 86400, "mail"), 0)
        await keeper.keep_login(oauth2, "ann@example.com", Granted("b", "s", 3600, None, "mail"), 0)
    whole, own = await token_states(opened, profiles.by_key.values())
    assert (whole.subject, own.subject) == ("", "ann@example.com")
    assert whole.expires_at is not None
    assert not whole.waits_for_login
    left = whole.ends["login"] - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    assert own.ends == state.ends
