"""Tokens of the API, by commands: made and shown once, listed, and ended."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from router.operations import staff_tokens as operation
from router.repository.database import Database
from tests.support.command import Said, type_command
from tests.support.crm import Crm

Ask = Callable[..., Awaitable[Said]]


@pytest.fixture
def ask(database: str) -> Ask:
    """`await ask("list")`: what `email-router staff list` says."""

    async def ask(*arguments: str) -> Said:
        return await type_command(database, "staff", *arguments)

    return ask


async def test_a_token_is_printed_alone_and_only_its_hash_is_kept(crm: Crm, ask: Ask, database: str) -> None:
    said = await ask("token", "crm", "--scope", "emails:send", "--scope", "emails:read", "--days", "3")
    assert (said.status, said.err) == (0, "")
    token = said.out.removesuffix("\n")
    assert token.startswith("ert_")
    assert not token.strip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    row = await crm.admin.fetchrow("SELECT *, expires_at - made_at = '3 days' AS lasts FROM router.staff_token")
    assert row is not None
    assert (row["hash"], row["lasts"]) == (hashlib.sha256(token.encode()).digest(), True)
    assert token not in str(row)
    async with Database(database, connections=1) as ours:
        found = await operation.recognize(ours, token)
        assert found is not None
        assert (found.name, found.scopes) == ("crm", ("emails:read", "emails:send"))
        for wrong in ("", token[:-1], token + "x", "ert_" + "x" * 43, token.upper()):
            assert await operation.recognize(ours, wrong) is None
    [listed] = (await ask("list", "--json")).json["tokens"]
    assert (listed["name"], listed["is_valid"], "hash" in listed) == ("crm", True, False)


async def test_a_token_is_ended_or_expires_and_gives_its_name_away(crm: Crm, ask: Ask, database: str) -> None:
    assert (await ask("list")).out == "there is no token\n"
    first = (await ask("token", "crm", "--scope", "emails:read")).out.strip()
    again = await ask("token", "crm", "--scope", "emails:read")
    assert (again.status, again.out) == (1, "")
    assert "there is a token crm, and it is valid: end it first" in again.err
    async with Database(database, connections=1) as ours:
        assert (await ask("end", "crm")).out == "the token crm is ended\n"
        assert await operation.recognize(ours, first) is None
        assert (await ask("end", "crm")).status == 2
        second = (await ask("token", "crm", "--scope", "emails:read")).out.strip()
        assert await operation.recognize(ours, second) is not None
        await crm.admin.execute("UPDATE router.staff_token SET expires_at = now() - interval '1 s'")
        assert await operation.recognize(ours, second) is None
        assert "there is no valid token crm" in (await ask("end", "crm")).err
        assert (await ask("token", "crm", "--scope", "emails:read")).status == 0
    listed = (await ask("list")).out.splitlines()
    assert [("valid until" in line, "ended" in line) for line in listed[1:]] == [
        (True, False),
        (False, True),
        (False, True),
    ]


async def test_what_cannot_be_is_said_in_words(ask: Ask) -> None:
    unknown = await ask("token", "crm", "--scope", "emails:write")
    assert unknown.status == 2
    assert "emails:write" in unknown.err
    assert "unresolved:decide" in unknown.err
    assert (await ask("token", "crm")).status == 2
    assert (await ask("token", "crm", "--scope", "emails:read", "--days", "0")).status == 2
    named = await ask("token", "ann@example.com", "--scope", "emails:read")
    assert named.status == 1
    assert "is no name of a token" in named.err


async def test_the_last_use_is_written_once_an_hour(crm: Crm, database: str) -> None:
    last = "SELECT last_used_at FROM router.staff_token"
    async with Database(database, connections=4) as ours:
        lasts = timedelta(days=1)
        token = await operation.make(ours, "crm", ["emails:read"], lasts)
        await asyncio.gather(*(operation.recognize(ours, token) for _ in range(20)))
        used = await crm.admin.fetchval(last)
        assert used is not None
        written = "SELECT xmin::text FROM router.staff_token"
        before = await crm.admin.fetchval(written)
        await operation.recognize(ours, token)
        assert await crm.admin.fetchval(written) == before
        await crm.admin.execute("UPDATE router.staff_token SET last_used_at = now() - interval '61 minutes'")
        await operation.recognize(ours, token)
        assert await crm.admin.fetchval(last) > used
