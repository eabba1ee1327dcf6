"""What `status` tells of logins by access token: what has a fault, and what ends soon."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from router import metrics
from router.model.identity import Identity
from router.operations import ready
from router.operations import status as operation
from router.operations.status import Only, Report
from router.profile.served import read_clear
from router.profile.tokens import oauth2_of
from router.repository.database import Database
from router.repository.incoming.registry import Source, register
from router.repository.oauth2.kept_tokens import summarize
from tests.support.console import parse, value
from tests.support.crm import Crm

LEASE = timedelta(seconds=10)
TODAY = datetime.now(UTC).date()
WORDS = "the token server gives no token: the login was revoked"
IDENTITY = Identity("https://login.example.com/token", "the-client", "mail", "authorization_code", "")

PROFILES = f"""
[incoming.staff]
transport = "imap"
host = "imap.example.com"
owners = ["*@in.test"]
auth.user = "{{mailbox}}"
auth.oauth2.token_url = "https://login.example.com/token"
auth.oauth2.client_id = "the-client"
auth.oauth2.client_secret = {{ env = "A_SECRET_THAT_THIS_SHELL_LACKS" }}
auth.oauth2.client_secret_expires = {TODAY + timedelta(days=9)}
auth.oauth2.grant = "authorization_code"
auth.oauth2.scope = "mail"
"""


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "all.toml").write_text(PROFILES)
    return tmp_path / "profiles"


async def keep(crm: Crm, subject: str, fault: str | None = None, ends: timedelta | None = None) -> None:
    identity = replace(IDENTITY, subject=subject)
    await crm.admin.execute(
        "INSERT INTO router.token (id, issuer, client, scope, grant_type, subject, granted_at, fault, fault_kind, "
        "fault_since, refresh_expires_at) VALUES ($1, $2, $3, $4, $5, $6, now(), $7, $8, $9, now() + $10)",
        *(identity.key, identity.issuer, identity.client, identity.scope, identity.grant, identity.subject),
        *((fault, "refused", datetime.now(UTC)) if fault else (None, None, None)),
        ends,
    )


def logins(report: Report) -> list[tuple[str, str, str | None]]:
    return [(one.name, one.words, one.cure) for one in report.faults if one.part == "login"]


def ends(report: Report) -> list[tuple[str, str, str]]:
    return [(one.profile, one.mailbox, one.what) for one in report.endings]


async def test_what_has_a_fault_and_what_ends_soon(crm: Crm, opened: Database, folder: Path) -> None:
    [profile] = read_clear(folder)
    assert [one.where for one in oauth2_of(profile)] == [IDENTITY.issuer]
    for mailbox in ("ann@in.test", "ben@in.test"):
        await crm.owner(mailbox)
    await keep(crm, "", ends=timedelta(days=20))
    await keep(crm, "ann@in.test", fault=WORDS, ends=timedelta(days=200))
    await keep(crm, "ben@in.test", ends=timedelta(days=-1))
    await keep(crm, "gone@in.test", fault="of no owner any more", ends=timedelta(days=1))
    report = await operation.read(opened, LEASE, folder)
    cure = "email-router oauth login incoming.staff"
    assert logins(report) == [
        (
            "[incoming.staff] for ann@in.test",
            f"there is no new access token: {WORDS}",
            f"{cure} --owner ann@in.test",
        )
    ]
    assert ends(report) == [
        ("[incoming.staff]", "ben@in.test", "login"),
        ("[incoming.staff]", "", "client secret"),
        ("[incoming.staff]", "", "login"),
    ]
    assert [one.cure for one in report.endings][0::2] == [f"{cure} --owner ben@in.test", cure]
    [summary] = await summarize(opened)
    assert (summary.whole, summary.at_fault) == (IDENTITY, 1)
    assert summary.login_ends_at == report.endings[0].at

    await ready.sample_logins(opened, [profile])
    series = parse(metrics.exposition().decode())
    assert value(series, "email_router_login_faults", profile="staff") == 1
    ended = value(series, "email_router_login_end_timestamp_seconds", profile="staff", what="login")
    assert ended == report.endings[0].at.timestamp()
    secret = value(series, "email_router_login_end_timestamp_seconds", profile="staff", what="client secret")
    assert secret == report.endings[1].at.timestamp()
    await ready.sample_logins(opened, [])
    assert "email_router_login_faults{" not in metrics.exposition().decode()

    of_ben = await operation.read(opened, LEASE, folder, Only("staff", "ben@in.test"))
    assert not logins(of_ben)
    assert len(ends(of_ben)) == 3
    of_ann = await operation.read(opened, LEASE, folder, Only(mailbox="ann@in.test"))
    assert len(logins(of_ann)) == 1
    assert ("[incoming.staff]", "ben@in.test", "login") not in ends(of_ann)


async def test_what_a_source_tells_is_not_told_again(crm: Crm, opened: Database, folder: Path) -> None:
    owner = await crm.owner("ann@in.test")
    await keep(crm, "", fault=WORDS)
    assert len(logins(await operation.read(opened, LEASE, folder))) == 1
    source = Source("staff", "ann@in.test", "imap:ann", "INBOX", owner, "all")
    number = (await register(opened, [source]))[source]
    await crm.admin.execute("UPDATE router.source SET fault = $1, fault_since = now() WHERE id = $2", WORDS, number)
    report = await operation.read(opened, LEASE, folder)
    assert not logins(report)
    assert sum(WORDS in one.words for one in report.faults) == 1


async def test_where_all_is_well_nothing_is_told(crm: Crm, opened: Database, folder: Path) -> None:
    (folder / "all.toml").write_text(PROFILES.replace(f"{TODAY + timedelta(days=9)}", "2099-01-01"))
    await keep(crm, "", ends=timedelta(days=100))
    report = await operation.read(opened, LEASE, folder)
    assert not logins(report)
    assert not report.endings
    # A folder that cannot be read tells of no login, and hides nothing else.
    assert not (await operation.read(opened, LEASE, folder / "nowhere")).endings
