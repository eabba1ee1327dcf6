"""Tokens of one database, by several keepers: who asks, who waits, and what is told."""

import asyncio
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from router import metrics
from router.errors import DatabaseError
from router.oauth2.exchange import Granted
from router.oauth2.identity import identity_of
from router.oauth2.keeper import Keeper
from router.oauth2.vault import Secrets, Vault
from router.repository.oauth2 import tokens as rows
from router.repository.oauth2.kept_tokens import forget_login, list_tokens
from tests.support.console import parse, value
from tests.support.token_server import error, raw
from tests.unit.oauth2.conftest import REFRESH, SECRET, Office
from transports import NoToken
from transports.errors import Permanent, Temporary, Unauthorized, Unreachable

ANN, BEN = "ann@example.com", "ben@example.com"


class Clock:
    """The monotonic clock, which a test may advance."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


async def row_of(office: Office) -> dict[str, Any]:
    async with office.database.connection() as connection:
        [row] = await connection.fetch("SELECT * FROM router.token")
    return dict(row)


async def shift(office: Office, seconds: float) -> None:
    """Let so many seconds pass, as far as the database is concerned."""
    async with office.database.connection() as connection:
        await connection.execute(
            """
            UPDATE router.token SET granted_at = granted_at - $1 * interval '1 s',
                expires_at = expires_at - $1 * interval '1 s', next_try_at = next_try_at - $1 * interval '1 s',
                invalidated_at = invalidated_at - $1 * interval '1 s',
                refreshing_until = refreshing_until - $1 * interval '1 s'
            """,
            seconds,
        )


async def test_two_keepers_with_fifty_logins_each_ask_once(office: Office) -> None:
    profile = office.application()
    async with office.keeper() as one, office.keeper() as other:
        got = await asyncio.gather(*(keeper.get(profile, f"{n}@x.org") for n in range(50) for keeper in (one, other)))
    assert set(got) == {"access-token-1"}
    assert len(office.server.forms) == 1


async def test_fifty_mailboxes_of_a_login_ask_once(office: Office) -> None:
    profile = office.login()
    office.server.rotates = True
    async with office.keeper() as one, office.keeper() as other:
        got = await asyncio.gather(*(keeper.get(profile, f"{n}@x.org") for n in range(50) for keeper in (one, other)))
    assert set(got) == {"access-token-1"}
    assert [form["refresh_token"] for form in office.server.forms] == [REFRESH]


async def test_a_token_that_lasts_costs_no_query(office: Office) -> None:
    async with office.keeper() as keeper:
        await keeper.get(office.application(), ANN)
        async with office.database.connection() as connection:
            await connection.execute("ALTER TABLE router.token RENAME TO gone")
        assert await keeper.get(office.application(), BEN) == "access-token-1"


async def test_the_old_token_is_given_while_one_task_renews(office: Office) -> None:
    clock = Clock()
    profile = office.application()
    async with office.keeper(clock=clock) as keeper:
        await keeper.get(profile, ANN)
        clock.ahead = 3400
        await shift(office, 3400)
        office.server.gate.clear()
        assert {await keeper.get(profile, ANN) for _ in range(5)} == {"access-token-1"}
        while len(office.server.forms) < 2:  # the renewal has begun
            await asyncio.sleep(0.01)
        # Another process, which knows nothing yet, has the old one, too.
        async with office.keeper() as other:
            assert await other.get(profile, ANN) == "access-token-1"
        office.server.gate.set()
        while await keeper.get(profile, ANN) != "access-token-2":
            await asyncio.sleep(0.01)
    assert len(office.server.forms) == 2


async def test_an_expired_token_is_given_to_nobody(office: Office) -> None:
    clock = Clock()
    async with office.keeper(clock=clock) as keeper:
        await keeper.get(office.application(), ANN)
        clock.ahead = 3600
        await shift(office, 3600)
        assert await keeper.get(office.application(), ANN) == "access-token-2"


async def test_a_token_that_ended_while_it_could_not_be_renewed_is_given_to_nobody(office: Office) -> None:
    clock = Clock()
    profile = office.application()
    async with office.keeper(clock=clock) as keeper:
        first = await keeper.get(profile, ANN)
        office.server.answer = error("server_error", status=503)
        clock.ahead = 3600
        await shift(office, 3600)
        for _ in range(3):
            with pytest.raises(Temporary, match="HTTP 503"):
                await keeper.get(profile, ANN)
        assert await keeper.refused(profile, ANN, first) is True  # so that why there is no other is told
        with pytest.raises(Temporary, match="HTTP 503"):
            await keeper.get(profile, ANN)


async def test_a_short_token_is_renewed_in_its_last_quarter(office: Office) -> None:
    clock = Clock()
    office.server.lasts = 100
    async with office.keeper(clock=clock) as keeper:
        await keeper.get(office.application(), ANN)
        clock.ahead = 70
        assert await keeper.get(office.application(), ANN) == "access-token-1"
        assert len(office.server.forms) == 1
        clock.ahead = 95
        await shift(office, 95)
        assert await keeper.get(office.application(), ANN) == "access-token-2"


async def test_a_clock_of_the_database_that_is_set_back_stops_nobody(office: Office) -> None:
    profile = office.application()
    async with office.keeper() as keeper:
        await keeper.get(profile, ANN)
    await shift(office, -7200)
    async with office.keeper() as keeper:
        assert await keeper.get(profile, ANN) == "access-token-2"  # who knows when the first one ends
        [held] = keeper._held.values()
        assert held.ends_at <= time.monotonic() + 3600
    await rows.take_lease(office.database, identity_of(profile, ""), uuid4(), 30, fence=4)
    await shift(office, -7200)
    async with office.keeper() as keeper:
        assert await keeper.get(profile, ANN) == "access-token-3"
    office.server.answer = error("invalid_client")
    await shift(office, 3600)
    async with office.keeper() as keeper:
        with pytest.raises(Unauthorized):
            await keeper.get(profile, ANN)
        office.server.answer = None
        await shift(office, -7200)
        assert await keeper.get(profile, ANN) == "access-token-4"


async def test_a_token_lasts_from_when_it_was_asked_for(office: Office) -> None:
    clock = Clock()

    async def slow(_: object) -> web.StreamResponse:
        clock.ahead = 4  # seconds that the answer takes
        return office.server.give()

    office.server.answer = slow
    async with office.keeper(clock=clock) as keeper:
        await keeper.get(office.application(), ANN)
    row = await row_of(office)
    left = row["expires_at"] - datetime.now(UTC)
    assert timedelta(seconds=3590) < left <= timedelta(seconds=3596)


async def test_429_is_temporary_and_pauses_all_for_as_long_as_it_says(office: Office) -> None:
    office.server.answer = error("slow_down", "wait", 429, **{"Retry-After": "120"})
    async with office.keeper() as one, office.keeper() as other:
        for keeper in (one, other, one):
            with pytest.raises(Temporary) as raised:
                await keeper.get(office.application(), ANN)
            assert 110 < (raised.value.retry_after or 0) <= 120
    assert len(office.server.forms) == 1


async def test_no_server_makes_us_wait_longer_than_an_hour(office: Office) -> None:
    office.server.answer = error("slow_down", "wait", 503, **{"Retry-After": "999999"})
    async with office.keeper() as keeper:
        for _ in range(2):
            with pytest.raises(Temporary) as raised:
                await keeper.get(office.application(), ANN)
            assert 3500 < (raised.value.retry_after or 0) <= 3600


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw(b"oops", "text/plain", 500), "HTTP 500"),
        (raw(b"<html><title>Sign in to the network</title>", "text/html"), "no JSON, but text/html"),
        (raw(b"{" + b" " * 70_000), "more than 64 KB"),
        (raw(b'{"access_token": '), "JSON that is broken"),
        (raw(b'["access_token"]'), "JSON that is broken"),
        (raw(b"{}"), "no answer of a token server"),
        (raw(b'{"access_token": {"a": 1}, "expires_in": 5}'), "no answer of a token server"),
        (raw(b'{"access_token": "a\\r\\nb", "expires_in": 5}'), "no answer of a token server"),
        (error("temporarily_unavailable"), "out of order"),
    ],
)
async def test_what_is_no_answer_is_temporary(office: Office, answer: Any, words: str) -> None:
    office.server.answer = answer
    async with office.keeper() as keeper:
        with pytest.raises(Temporary, match=words):
            await keeper.get(office.application(), ANN)
        office.server.answer = None
        with pytest.raises(Temporary, match=words):  # the pause
            await keeper.get(office.application(), ANN)
        await shift(office, 61)
        assert await keeper.get(office.application(), ANN) == office.server.given[-1]


async def test_a_server_that_is_not_there_is_temporary(office: Office) -> None:
    profile = office.application(token_url="http://localhost:9/token")
    async with office.keeper() as keeper:
        with pytest.raises(Unreachable, match="cannot connect to http://localhost:9: Connection refused"):
            await keeper.get(profile, ANN)


async def test_a_server_that_is_silent_is_temporary(office: Office) -> None:
    office.server.gate.clear()
    async with office.keeper() as keeper:
        with pytest.raises(Unreachable, match=r"did not answer within 0.3 s"):
            await keeper.get(office.application(timeout=0.3), ANN)


async def test_a_redirect_is_not_followed(office: Office) -> None:
    office.server.answer = raw(b"", "text/html", 302, Location="https://elsewhere.example/token?x=1")
    async with office.keeper() as keeper:
        with pytest.raises(Permanent, match="sends elsewhere, to https://elsewhere"):
            await keeper.get(office.application(), ANN)


async def test_pauses_grow(office: Office) -> None:
    office.server.answer = error("server_error", status=500)
    async with office.keeper() as keeper:
        pauses = []
        for _ in range(9):
            with pytest.raises(Temporary):
                await keeper.get(office.application(), ANN)
            row = await row_of(office)
            pauses.append((row["next_try_at"] - datetime.now(UTC)).total_seconds())
            await shift(office, 61)
    assert len(office.server.forms) == 9
    assert pauses[0] <= 1
    assert 29 < pauses[-1] <= 60


async def test_invalid_client_is_tried_again_when_the_secret_is_another(office: Office) -> None:
    office.server.answer = error("invalid_client", "no such secret")
    async with office.keeper() as keeper:
        for _ in range(3):
            with pytest.raises(Unauthorized, match=r"its secret is wrong: .*\(invalid_client: no such secret\)"):
                await keeper.get(office.application(), ANN)
        assert len(office.server.forms) == 1
        office.server.answer = None
        (office.folder / "secret").write_text("another-secret")
        assert await keeper.get(office.application(), ANN) == "access-token-1"


async def test_profiles_with_different_secrets_do_not_end_each_others_pause(office: Office) -> None:
    (office.folder / "other").write_text("another-secret")
    one, other = office.application(), office.application(client_secret={"file": office.folder / "other"})
    office.server.answer = error("invalid_client")
    async with office.keeper() as keeper:
        for _ in range(5):
            for profile in (one, other):
                with pytest.raises(Unauthorized, match="invalid_client"):
                    await keeper.get(profile, ANN)
        assert len(office.server.forms) == 2


async def test_processes_with_different_keys_do_not_end_each_others_pause(office: Office) -> None:
    office.server.answer = error("invalid_client")
    vaults = [Vault(office.folder / name, make=True) for name in ("one", "other")]
    async with Keeper(office.database, vaults[0]) as one, Keeper(office.database, vaults[1]) as other:
        for _ in range(5):
            for keeper in (one, other):
                with pytest.raises(Unauthorized, match="invalid_client"):
                    await keeper.get(office.application(), ANN)
        assert len(office.server.forms) == 2


async def test_a_missing_secret_is_told_and_nobody_is_asked(office: Office) -> None:
    (office.folder / "secret").unlink()
    async with office.keeper() as keeper:
        with pytest.raises(Permanent, match="cannot be read: No such file"):
            await keeper.get(office.application(), ANN)
    assert not office.server.forms


async def test_without_a_login_it_says_what_to_do(office: Office) -> None:
    async with office.keeper() as keeper:
        with pytest.raises(Permanent, match="email-router oauth login") as raised:
            await keeper.get(office.application(grant="authorization_code"), ANN)
    assert type(raised.value) is Permanent  # nobody refused: it is tried again soon
    assert not office.server.forms


async def test_the_owners_own_login_goes_before_that_of_the_profile(office: Office) -> None:
    profile = office.application(grant="authorization_code")
    async with office.keeper() as keeper:
        await keeper.keep_login(profile, "", Granted("of-all", "r1", 3600, None, None), 0)
        await keeper.keep_login(profile, ANN, Granted("of-ann", "r2", 3600, None, None), 0)
        assert await keeper.get(profile, ANN) == "of-ann"
        assert await keeper.get(profile, BEN) == "of-all"


@pytest.mark.parametrize(("owner", "mailbox"), [("", ANN), ("", ""), (ANN, ANN)])
async def test_by_a_login_that_was_forgotten_nobody_logs_in_any_more(office: Office, owner: str, mailbox: str) -> None:
    profile, clock = office.application(grant="authorization_code"), Clock()
    async with office.keeper(clock=clock) as keeper:
        await keeper.keep_login(profile, owner, Granted("the-token", "r", 3600, None, None), 0)
        assert await keeper.get(profile, mailbox) == "the-token"
        assert await forget_login(office.database, identity_of(profile, owner))
        assert not await forget_login(office.database, identity_of(profile, owner))
        clock.ahead = 61
        with pytest.raises(Permanent, match="nobody has logged in"):
            await keeper.get(profile, mailbox)
        # A login is never taken for the one before.
        await keeper.keep_login(profile, owner, Granted("another", "s", 3600, None, None), 0)
        assert (await row_of(office))["fence"] > 1_000_000
        assert await keeper.get(profile, mailbox) == "another"
    assert not office.server.forms


async def test_a_login_that_is_forgotten_while_it_is_renewed_stays_forgotten(office: Office) -> None:
    profile = office.application(grant="authorization_code")
    office.server.rotates = True
    async with office.keeper() as keeper:
        await keeper.keep_login(profile, "", Granted("the-token", "r", 0.001, None, None), 0)
        office.server.gate.clear()
        asks = asyncio.create_task(keeper.get(profile, ANN))
        async with asyncio.timeout(10):
            while not office.server.forms:
                await asyncio.sleep(0.01)
        assert await forget_login(office.database, identity_of(profile, ""))
        office.server.gate.set()
        with pytest.raises(Permanent, match="nobody has logged in"):
            await asks
    assert not await list_tokens(office.database)


async def test_what_is_of_one_mailbox_is_told_so(office: Office) -> None:
    profile = office.application(grant="authorization_code")
    office.server.answer = error("slow_down", "wait", 429, **{"Retry-After": "120"})
    async with office.keeper() as keeper:
        for owner in ("", ANN):
            await keeper.keep_login(profile, owner, Granted("a", "r", 0.001, None, None), 0)
        with pytest.raises(NoToken) as of_ann:
            await keeper.get(profile, ANN)
        assert of_ann.value.retry_after == 120
        with pytest.raises(Temporary) as of_all:
            await keeper.get(profile, BEN)
        assert not isinstance(of_all.value, NoToken)


async def test_a_login_ends_the_pause(office: Office) -> None:
    profile = office.application(grant="authorization_code")
    async with office.keeper() as keeper, office.keeper() as other:
        await keeper.keep_login(profile, "", Granted("a", "refresh-a", 0.001, None, None), 0)
        office.server.answer = error("invalid_grant", "revoked")
        with pytest.raises(Unauthorized, match="oauth login"):
            await keeper.get(profile, ANN)
        await other.keep_login(profile, "", Granted("b", "refresh-b", 3600, None, None), 0)
        assert await keeper.get(profile, ANN) == "b"
    assert len(office.server.forms) == 1


async def test_a_rotated_refresh_token_is_used_next(office: Office) -> None:
    office.server.rotates = True
    for _ in range(3):
        async with office.keeper() as keeper:
            await keeper.get(office.login(), ANN)
        await shift(office, 3600)
    assert [form["refresh_token"] for form in office.server.forms] == [REFRESH, "refresh-token-1", "refresh-token-2"]


async def test_another_first_refresh_token_begins_anew(office: Office) -> None:
    office.server.rotates = True
    async with office.keeper() as keeper:
        await keeper.get(office.login(), ANN)
    await shift(office, 3600)
    office.server.answer = error("invalid_grant", "revoked")
    async with office.keeper() as keeper:
        with pytest.raises(Unauthorized, match="put a new refresh token where refresh_token says"):
            await keeper.get(office.login(), ANN)
        (office.folder / "refresh").write_text("the-second-refresh-token")
        office.server.answer = None
        await keeper.get(office.login(), ANN)
    assert office.server.forms[-1]["refresh_token"] == "the-second-refresh-token"


async def test_each_refresh_token_of_an_application_has_its_own_tokens(office: Office) -> None:
    office.server.rotates = True
    (office.folder / "bens").write_text("the-refresh-token-of-ben")
    of_ann, of_ben = office.login(), office.login(refresh_token={"file": office.folder / "bens"})
    for _ in range(2):
        async with office.keeper() as keeper:
            assert await keeper.get(of_ann, ANN) != await keeper.get(of_ben, BEN)
        await shift(office, 3600)
    used = [form["refresh_token"] for form in office.server.forms]
    assert used == [REFRESH, "the-refresh-token-of-ben", "refresh-token-1", "refresh-token-2"]


@pytest.fixture
def refused_to_store(monkeypatch: pytest.MonkeyPatch) -> list[DatabaseError]:
    """What the database said each time that it did not store a token."""
    refused: list[DatabaseError] = []
    store = rows.store_token

    async def tried(*arguments: Any, **more: Any) -> bool:
        try:
            return await store(*arguments, **more)
        except DatabaseError as error:
            refused.append(error)
            raise

    monkeypatch.setattr("router.oauth2.renewal.store_token", tried)
    return refused


async def test_a_rotation_is_stored_before_the_token_is_used(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends between the answer and the update leaves the row as it was; another goes on afterwards."""
    office.server.rotates = True
    stored = rows.store_token
    reached = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> bool:
        reached.set()
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr("router.oauth2.renewal.store_token", hang)
    monkeypatch.setattr("router.oauth2.keeper._LEAVING", 0)
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(office.login(), ANN))
        await reached.wait()
        assert not waiting.done()
    with pytest.raises(Temporary, match="the router stops"):
        await waiting
    row = await row_of(office)
    assert row["sealed"] is None
    assert row["refreshing_by"] is not None
    monkeypatch.setattr("router.oauth2.renewal.store_token", stored)
    async with office.keeper() as other:
        going_on = asyncio.create_task(other.get(office.login(), ANN))
        await asyncio.sleep(0)
        await shift(office, 15)  # the lease's end
        assert await going_on == "access-token-2"
    assert [form["refresh_token"] for form in office.server.forms] == [REFRESH, REFRESH]


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from router.oauth2.keeper import Keeper
from router.oauth2.vault import Vault
from router.repository.database import Database
from transports import OAuth2

async def main(dsn, keys, profile):
    async with Database(dsn) as database, Keeper(database, Vault(Path(keys), make=True)) as keeper:
        await keeper.get(OAuth2.model_validate_json(profile), "")

asyncio.run(main(*sys.argv[1:]))
"""


async def test_where_a_process_is_killed_while_it_asks_another_goes_on(office: Office, database: str) -> None:
    profile = office.login()
    office.server.gate.clear()
    arguments = (database, str(office.keys), profile.model_dump_json())
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER_PROCESS, *arguments)
    try:
        while not office.server.forms:
            await asyncio.sleep(0.01)
    finally:
        process.kill()
        await process.wait()
    office.server.gate.set()
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(profile, ANN))
        await asyncio.wait([waiting], timeout=0.5)
        assert not waiting.done()
        assert len(office.server.forms) == 1  # the lease of the dead one lasts
        await shift(office, 15)
        await waiting
    assert [form["refresh_token"] for form in office.server.forms] == [REFRESH, REFRESH]


async def test_who_lost_a_rotation_is_told_so(office: Office) -> None:
    office.server.answer = error("invalid_grant", "used before")
    profile = office.application(grant="authorization_code")
    async with office.keeper() as keeper:
        await keeper.keep_login(profile, "", Granted("a", "r", 0.001, None, None), 0)
        identity = identity_of(profile, "")
        await rows.take_lease(office.database, identity, keeper._id, -1, fence=(await row_of(office))["fence"])
        with pytest.raises(Unauthorized, match=r"a process ended in the midst of renewing it.*oauth login"):
            await keeper.get(profile, ANN)


async def test_who_lost_the_lease_writes_nothing(office: Office) -> None:
    """The answer comes late: the lease was taken by another, whose token is the one that counts."""
    profile = office.application()
    async with office.keeper() as slow, office.keeper() as fast:
        office.server.gate.clear()
        first = asyncio.create_task(slow.get(profile, ANN))
        while not office.server.forms:
            await asyncio.sleep(0.01)
        await shift(office, 15)
        second = asyncio.create_task(fast.get(profile, ANN))
        while len(office.server.forms) < 2:
            await asyncio.sleep(0.01)
        office.server.gate.set()
        got = await asyncio.gather(first, second)
    assert got[0] == got[1]
    row = await row_of(office)
    assert row["fence"] == 3  # two asked, and one stored
    assert Vault(office.keys, make=False).open(row["sealed"]).secrets.access_token == got[0]  # type: ignore[union-attr]


class Rotating:
    """Gives a refresh token with each token; who shows one that was used before ends them all (RFC 9700 §4.14.2)."""

    def __init__(self) -> None:
        self.good = REFRESH
        self.refused = 0
        self.given = 0

    async def __call__(self, form: Mapping[str, str]) -> web.StreamResponse:
        if form["refresh_token"] != self.good:
            self.good = ""
            self.refused += 1
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.given += 1
        self.good = f"rotated-{self.given}"
        return web.json_response({"access_token": f"token-{self.given}", "refresh_token": self.good})


async def kept(office: Office) -> Secrets:
    opened = Vault(office.keys, make=False).open((await row_of(office))["sealed"])
    assert opened is not None
    return opened.secrets


async def test_what_was_granted_is_kept_though_another_asked_in_vain_meanwhile(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a process was stopped between the answer and the update, until its lease ended."""
    office.server.answer = rotating = Rotating()
    stored = rows.store_token
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def late(*arguments: Any, **more: Any) -> bool:
        reached.set()
        await go_on.wait()
        return await stored(*arguments, **more)

    monkeypatch.setattr("router.oauth2.renewal.store_token", late)
    async with office.keeper() as stopped, office.keeper() as other:
        first = asyncio.create_task(stopped.get(office.login(), ANN))
        await reached.wait()
        await shift(office, 15)
        with pytest.raises(Unauthorized):
            await other.get(office.login(), ANN)
        go_on.set()
        assert await first == "token-1"
        assert await other.get(office.login(), ANN) == "token-1"
    assert rotating.refused == 1
    row = await row_of(office)
    assert (row["fault"], (await kept(office)).refresh_token) == (None, "rotated-1")


async def test_an_older_grant_does_not_take_the_place_of_a_newer_one(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.server.rotates = True
    stored = rows.store_token
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def late(*arguments: Any, **more: Any) -> bool:
        reached.set()
        await go_on.wait()
        return await stored(*arguments, **more)

    monkeypatch.setattr("router.oauth2.renewal.store_token", late)
    async with office.keeper() as stopped, office.keeper() as other:
        first = asyncio.create_task(stopped.get(office.login(), ANN))
        await reached.wait()
        await shift(office, 15)
        monkeypatch.setattr("router.oauth2.renewal.store_token", stored)
        assert await other.get(office.login(), ANN) == "access-token-2"
        go_on.set()
        assert await first == "access-token-2"
    assert (await kept(office)).refresh_token == "refresh-token-2"


async def test_a_database_that_is_away_for_long_loses_no_rotation(
    office: Office, postgres: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.oauth2.renewal.STORING", 0.5)
    office.server.answer = rotating = Rotating()
    office.server.gate.clear()
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(office.login(), ANN))
        while not office.server.forms:
            await asyncio.sleep(0.01)
        async with postgres.away(database):
            office.server.gate.set()
            with pytest.raises(Temporary, match="the tokens are kept in the database"):
                await waiting
        assert await keeper.get(office.login(), ANN) == "token-1"
    await shift(office, 3600)
    async with office.keeper() as another:
        assert await another.get(office.login(), ANN) == "token-2"
    assert rotating.refused == 0


async def test_a_database_that_refuses_to_store_is_asked_again(
    office: Office, refused_to_store: list[DatabaseError]
) -> None:
    office.server.answer = rotating = Rotating()
    office.server.gate.clear()
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(office.login(), ANN))
        while not office.server.forms:
            await asyncio.sleep(0.01)
        async with office.database.connection() as connection:
            await connection.execute("ALTER TABLE router.token RENAME TO gone")
            office.server.gate.set()
            while not rotating.given:
                await asyncio.sleep(0.01)
            while not refused_to_store:
                await asyncio.sleep(0.01)
            await connection.execute("ALTER TABLE router.gone RENAME TO token")
        assert await waiting == "token-1"
    assert (await kept(office)).refresh_token == "rotated-1"


async def test_without_keys_nobody_is_asked_for_what_could_not_be_kept(office: Office) -> None:
    async with Keeper(office.database, Vault(office.keys, make=False)) as keeper:
        with pytest.raises(Permanent, match=r"there is no file .* with the keys of the tokens"):
            await keeper.get(office.login(), ANN)
        with pytest.raises(Permanent, match=r"there is no file .* with the keys of the tokens"):
            await keeper.require_place_for_login()
    assert not office.server.forms


async def test_keys_that_vanish_while_a_token_is_asked_for_lose_nothing(office: Office) -> None:
    office.server.rotates = True
    office.server.gate.clear()
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(office.login(), ANN))
        while not office.server.forms:
            await asyncio.sleep(0.01)
        keys = office.keys.read_bytes()
        office.keys.write_bytes(b"")
        office.server.gate.set()
        assert await waiting == "access-token-1"
    office.keys.write_bytes(keys)
    assert (await kept(office)).refresh_token == "refresh-token-1"


async def test_what_was_read_before_a_token_came_is_not_written_after_it(office: Office) -> None:
    """Who hears that a token is refused, or finds a lease at its end, has read a refresh token that is used by now."""
    profile = office.application()
    identity = identity_of(profile, "")
    holder = uuid4()
    lease = await rows.take_lease(office.database, identity, holder, 30, fence=0)
    assert lease is not None
    assert await rows.store_token(
        office.database, identity, lease.fence, b"new", lasts=3600, scope=None, refresh_lasts=None
    )
    assert not await rows.note_refusal(office.database, identity, lease.fence)
    assert await rows.take_lease(office.database, identity, holder, 30, fence=lease.fence) is None
    assert (await row_of(office))["sealed"] == b"new"


async def test_who_waits_may_go_and_the_token_comes_all_the_same(office: Office) -> None:
    office.server.gate.clear()
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(office.application(), ANN))
        while not office.server.forms:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        office.server.gate.set()
        assert await keeper.get(office.application(), BEN) == "access-token-1"
    assert len(office.server.forms) == 1


async def test_a_database_that_is_away_is_temporary(office: Office, postgres: Any, database: str) -> None:
    async with office.keeper() as keeper:
        async with postgres.away(database):
            with pytest.raises(Temporary, match="the tokens are kept in the database"):
                await keeper.get(office.application(), ANN)
            assert await keeper.refused(office.application(), ANN, "x") is False
        assert await keeper.get(office.application(), ANN) == "access-token-1"


async def test_what_is_granted_outlives_a_database_that_is_away_for_a_moment(
    office: Office, postgres: Any, database: str, refused_to_store: list[DatabaseError]
) -> None:
    office.server.rotates = True
    office.server.gate.clear()
    async with office.keeper() as keeper:
        waiting = asyncio.create_task(keeper.get(office.login(), ANN))
        while not office.server.forms:
            await asyncio.sleep(0.01)
        async with postgres.away(database):
            office.server.gate.set()
            while not office.server.given:
                await asyncio.sleep(0.01)
            while not refused_to_store:
                await asyncio.sleep(0.01)
        assert await waiting == "access-token-1"
    row = await row_of(office)
    assert Vault(office.keys, make=False).open(row["sealed"]).secrets.refresh_token == "refresh-token-1"  # type: ignore[union-attr]


async def test_a_token_that_one_mailbox_is_refused_with_serves_others_until_there_is_another(office: Office) -> None:
    profile = office.application()
    async with office.keeper() as keeper:
        first = await keeper.get(profile, ANN)
        await shift(office, 61)
        office.server.answer = error("server_error", status=503)
        for _ in range(3):
            assert await keeper.refused(profile, ANN, first) is False
            assert await keeper.get(profile, BEN) == first
        assert len(office.server.forms) == 2  # there is a pause
        async with office.keeper() as later:
            assert await later.get(profile, BEN) == first
        # It is asked for again once the pause is over, though one was refused a moment ago.
        office.server.answer = None
        await shift(office, 2)
        assert await keeper.refused(profile, ANN, first) is True
        assert await keeper.get(profile, BEN) == "access-token-2"
        await shift(office, 61)
        assert await keeper.refused(profile, ANN, "access-token-2") is False
    assert len(office.server.forms) == 3


async def test_a_refused_token_is_replaced_once(office: Office) -> None:
    profile = office.application()
    clock = Clock()
    async with office.keeper(clock=clock) as keeper, office.keeper() as other:
        first = await keeper.get(profile, ANN)
        await other.get(profile, ANN)
        assert await keeper.refused(profile, ANN, first) is False  # it is new
        assert await keeper.get(profile, ANN) == first
        await shift(office, 61)
        assert await keeper.refused(profile, ANN, first) is True
        second = await keeper.get(profile, ANN)
        assert second == "access-token-2"
        # The other still has the old one, and hears of the new one.
        assert await other.refused(profile, ANN, first) is True
        assert await other.get(profile, ANN) == second
        await shift(office, 300)
        assert await keeper.refused(profile, ANN, second) is False  # one was replaced a while ago
        assert len(office.server.forms) == 2
        await shift(office, 300)
        assert await keeper.refused(profile, ANN, second) is True
    assert len(office.server.forms) == 3


async def test_without_a_database_tokens_are_kept_in_memory(office: Office) -> None:
    clock = Clock()
    profile = office.application()
    async with Keeper(None, clock=clock) as keeper:
        token = await keeper.get(profile, ANN)
        assert await keeper.get(profile, BEN) == token
        assert await keeper.refused(profile, ANN, token) is False
        clock.ahead = 61
        assert await keeper.refused(profile, ANN, token) is True
        assert await keeper.get(profile, ANN) == "access-token-2"
        with pytest.raises(Permanent, match="kept in the database"):
            await keeper.get(office.login(), ANN)
    assert len(office.server.forms) == 2


async def test_a_key_can_be_replaced(office: Office) -> None:
    office.server.rotates = True
    async with office.keeper() as keeper:
        await keeper.get(office.login(), ANN)
    old = office.keys.read_bytes()
    office.keys.unlink()
    new = Vault(office.keys, make=True)
    new.seal(Secrets())
    first = office.keys.read_bytes()
    office.keys.write_bytes(first + old)
    async with office.keeper() as keeper:
        assert await keeper.get(office.login(), ANN) == "access-token-1"
    office.keys.write_bytes(first)  # what was read is sealed anew
    async with office.keeper() as keeper:
        assert await keeper.get(office.login(), ANN) == "access-token-1"
    assert len(office.server.forms) == 1


async def test_under_a_wrong_key_a_login_is_not_spent(office: Office) -> None:
    async with office.keeper() as keeper:
        await keeper.get(office.login(), ANN)
        await keeper.get(office.application(), ANN)
    office.keys.unlink()
    async with office.keeper() as keeper:
        with pytest.raises(Permanent, match=r"no key of EMAIL_ROUTER_TOKEN_KEYS opens .* put the key .* back"):
            await keeper.get(office.login(), ANN)
        assert await keeper.get(office.application(), ANN) == "access-token-3"  # what costs nothing is asked again


async def test_a_copy_of_the_database_does_not_renew_a_login(office: Office) -> None:
    async with office.database.connection() as connection:
        await connection.execute("UPDATE router.installation SET database_oid = 1")
    async with office.keeper() as keeper:
        with pytest.raises(Permanent, match="of which this one is a copy"):
            await keeper.get(office.login(), ANN)
    assert not office.server.forms


async def test_what_nobody_uses_is_forgotten_but_a_login(office: Office) -> None:
    async with office.keeper() as keeper:
        await keeper.get(office.application(), ANN)
        await keeper.get(office.login(), ANN)
    await shift(office, 29 * 86400)
    assert await rows.forget_unused(office.database) == 0
    await shift(office, 2 * 86400)
    assert await rows.forget_unused(office.database) == 1
    assert [one.identity.grant for one in await list_tokens(office.database)] == ["refresh_token"]


async def test_no_secret_is_in_the_clear(
    office: Office, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    office.server.rotates = True
    profile = office.login()
    said: list[str] = []
    async with office.keeper() as keeper:
        await keeper.get(profile, ANN)
        said += map(repr, (*keeper._held.values(), keeper, profile))
        said += [repr(finding) async for finding in keeper.examine(profile, ANN)]
        await shift(office, 3600)
        echo = f"bad: {SECRET} refresh-token-1"
        office.server.answer = error("invalid_grant", echo)
    async with office.keeper() as keeper:
        with pytest.raises(Unauthorized) as raised:
            await keeper.get(profile, ANN)
        said += [str(raised.value), repr(raised.value), repr(raised.value.__cause__)]
        said += [repr(finding) async for finding in keeper.examine(profile, ANN)]
    async with office.database.connection() as connection:
        said += [str(dict(row)) for row in await connection.fetch("SELECT * FROM router.token")]
        # As a dump has them.
        said += [str(await connection.fetchval("SELECT string_agg(t::text, ' ') FROM router.token AS t"))]
        said += [
            str(await connection.fetchval("SELECT string_agg(convert_from(sealed, 'UTF8'), '') FROM router.token"))
        ]
    captured = capfd.readouterr()
    said += [caplog.text, captured.out, captured.err]
    for one in said:
        for secret in (SECRET, REFRESH, "access-token-1", "refresh-token-1", "the-secret"):
            assert secret not in one, one
    assert any("bad: … …" in one for one in said)


async def test_requests_are_counted_by_how_the_token_server_answers(office: Office) -> None:
    def counted() -> list[float]:
        series = parse(metrics.exposition().decode())
        outcomes = ("granted", "refused", "away")
        return [value(series, "email_router_token_requests_total", outcome=one) for one in outcomes]

    before = counted()
    async with office.keeper() as keeper:
        await keeper.get(office.application(), ANN)
        await keeper.get(office.application(), BEN)
        for answer, scope in ((error("invalid_client"), "a"), (error("x", status=503), "b"), (raw(b"{"), "c")):
            office.server.answer = answer
            with pytest.raises((Unauthorized, Temporary)):
                await keeper.get(office.application(scope=scope), ANN)
        with pytest.raises(Unreachable):
            await keeper.get(office.application(token_url="http://localhost:9/token"), ANN)
        # Nobody was asked.
        (office.folder / "secret").unlink()
        with pytest.raises(Permanent):
            await keeper.get(office.application(scope="d"), ANN)
    assert [after - earlier for after, earlier in zip(counted(), before, strict=True)] == [1, 1, 3]
