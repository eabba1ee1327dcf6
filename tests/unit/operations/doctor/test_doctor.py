"""Each check stands alone: one that fails, breaks or hangs is a finding, and the others are made."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from router.errors import DatabaseError
from router.operations import doctor
from router.operations.doctor import Check, machine
from router.operations.doctor.patient import NoDatabase, Patient
from router.repository.database import Database
from router.settings import Settings
from transports.base import Finding


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", profiles=tmp_path / "profiles", database_url=None)


@asynccontextmanager
async def nowhere() -> AsyncIterator[Database]:
    raise DatabaseError("cannot connect to 127.0.0.1:5432")
    yield


async def sound(_: Patient) -> AsyncIterator[Finding]:
    yield Finding("", "ok", "fine")


async def doubtful(_: Patient) -> AsyncIterator[Finding]:
    yield Finding("", "warning", "so so")


async def broken(_: Patient) -> AsyncIterator[Finding]:
    yield Finding("", "ok", "said before it broke")
    raise ZeroDivisionError("private words")


async def refused(_: Patient) -> AsyncIterator[Finding]:
    raise DatabaseError("permission denied")
    yield


async def hangs(_: Patient) -> AsyncIterator[Finding]:
    yield Finding("", "ok", "said before it hung")
    await asyncio.Event().wait()


async def needs(patient: Patient) -> AsyncIterator[Finding]:
    patient.need_database()
    yield Finding("", "failed", "never said")


async def test_none_stops_another_and_the_worst_comes_first(settings: Settings) -> None:
    checks = [
        Check("sound", sound),
        Check("doubtful", doubtful),
        Check("broken", broken),
        Check("refused", refused),
        Check("hangs", hangs, limit=0.05),
        Check("needs", needs),
    ]
    found = await doctor.examine(settings, nowhere, checks)
    where = f"ZeroDivisionError in broken, line {broken.__code__.co_firstlineno + 2}"
    assert [(one.step, one.state, one.words) for one in found] == [
        ("broken", "failed", f"this check broke by a mistake of the router: {where}"),
        ("refused", "failed", "permission denied"),
        ("hangs", "failed", "this check did not end within 0.05 s"),
        ("doubtful", "warning", "so so"),
        ("sound", "ok", "fine"),
        ("broken", "ok", "said before it broke"),
        ("hangs", "ok", "said before it hung"),
    ]


async def test_without_a_database_the_rest_is_asked(settings: Settings) -> None:
    settings.profiles.mkdir()
    (settings.profiles / "a.toml").write_text("nonsense")
    found = await doctor.examine(settings, nowhere)
    failed = {one.step: one for one in found if one.state == "failed"}
    assert set(failed) == {"database", "profiles"}
    assert failed["database"].words == "cannot connect to 127.0.0.1:5432"
    assert failed["profiles"].words.startswith("a.toml:1: ")
    assert all(one.advice for one in failed.values())
    assert failed["database"].advice == "do as it says"  # there is no data folder yet, and no log in it
    assert [(one.step, one.words) for one in found if one.state == "ok"] == [("servers", "there is no profile to try")]


async def test_a_database_that_never_answers_is_a_finding(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def silent() -> AsyncIterator[Database]:
        await asyncio.Event().wait()
        yield Database("")

    monkeypatch.setattr(doctor, "_OPENING", 0.05)
    found = await doctor.examine(settings, silent, [Check("database", machine.database), Check("sound", sound)])
    assert [one.words for one in found] == ["the database did not answer within 0.05 s", "fine"]


@pytest.mark.parametrize(
    ("megabytes", "used", "state"),
    [
        (4000, 50, "ok"),
        (4000, 95, "warning"),
        (4000, 98, "failed"),
        (4000, 100, "failed"),
        (200, 95, "failed"),  # 10 MB are free: PostgreSQL stops
    ],
)
async def test_the_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, megabytes: int, used: int, state: str
) -> None:
    def full(folder: Path) -> os.statvfs_result:
        assert folder == settings.data
        blocks = megabytes * 256
        free = blocks * (100 - used) // 100
        return os.statvfs_result((4096, 4096, blocks, free, free, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", full)
    [found] = [one async for one in machine.disk(Patient(settings))]
    assert (found.state, bool(found.advice)) == (state, state != "ok")
    assert f"{used}% used" in found.words


async def test_of_a_database_elsewhere_no_disk_is_told(settings: Settings) -> None:
    assert [one async for one in machine.disk(Patient(settings))] == []  # there is no data folder yet
    elsewhere = Settings(data=Path("/"), profiles=settings.profiles, database_url=SecretStr("postgresql://db/crm"))
    assert [one async for one in machine.disk(Patient(elsewhere))] == []


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"console": "0.0.0.0:8025"}, "warning"),
        ({"console": "0.0.0.0:8025", "trusted_proxies": "10.0.0.1"}, None),
        ({"console_url": "http://crm.example/mail"}, "failed"),
        ({"console_url": "http://localhost:9000"}, None),
        ({"console_url": "https://crm.example/mail"}, None),
        ({"console": "off"}, None),
        ({}, None),
    ],
)
async def test_a_console_that_serves_nobody_is_told(
    settings: Settings, more: dict[str, str], state: str | None
) -> None:
    patient = Patient(Settings.model_validate(settings.model_dump() | more))
    found = [one async for one in _each(machine.console(patient))]
    assert [(one.state, bool(one.advice)) for one in found] == ([(state, True)] if state else [])


async def _each(findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """Those before there is no database."""
    with suppress(NoDatabase):
        async for one in findings:
            yield one
