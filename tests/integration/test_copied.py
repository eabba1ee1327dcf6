"""A copy of the database neither sends, nor reads, nor takes what is handed to it, until an admin starts it."""

import asyncio
import shutil
import smtplib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from router.repository.database import Database
from router.repository.migrate import migrate
from router.repository.outgoing.sending import read_sending, set_sending
from router.repository.schema import MIGRATIONS
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.support import console
from tests.support.crm import Crm, opened_crm
from tests.support.databases import Postgres
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

WORDS = "this database is a copy of another"


def name_of(dsn: str) -> str:
    return urlsplit(dsn).path.removeprefix("/")


async def test_o13_a_template_s_copy_sends_nothing_and_reads_nothing_until_it_is_started(
    postgres: Postgres,
    crm: Crm,
    database: str,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    postfix: Postfix,
    mailbox: str,
) -> None:
    other = mailbox.replace("@in.test", "@kunde.test")
    port = free_port()
    drop = (
        f'[incoming.drop]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n'
        "copy = true\n"
    )
    profiles = incoming(after="delete", rule="all") + outgoing() + drop
    await crm.owner(mailbox)
    router = await new_router(profiles)
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "in the original"))
    await crm.wait_for_emails(1)
    await crm.wait_for_status(await crm.send(mailbox, other, "sent by the original"), "sent")
    await router.stop()
    pending = await crm.send(mailbox, other, "pending when it was copied")
    # The first was decided on, and the mail server was not told of it yet.
    await crm.admin.execute("UPDATE router.decision SET settled_at = NULL, place = '2'")
    for subject in ("is to be deleted", "is to be read"):
        dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, subject))
    await crm.sql.close()
    await crm.admin.close()  # nobody may be in a template

    dsn = postgres.dsn(postgres.clone(name_of(database), original=False))
    console_port = free_port()
    staging = await new_router(
        profiles,
        says=("listening", WORDS),
        EMAIL_ROUTER_DATABASE_URL=dsn,
        EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{console_port}",
    )
    async with opened_crm(postgres, dsn) as copy:
        await copy.wait_for_beats(3)
        with pytest.raises(smtplib.SMTPDataError) as refused, smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("karl@kunde.test", [mailbox], letter("karl@kunde.test", mailbox, "handed over"))
        assert refused.value.smtp_code in range(400, 500)
        assert (await copy.email(pending))["status"] == "pending_send"
        assert dovecot.count(mailbox) == 2
        assert await copy.admin.fetchval("SELECT count(*) FROM router.decision") == 1
        assert await copy.admin.fetchval("SELECT count(*) FROM router.attempt WHERE email_id = $1", pending) == 0
        assert await copy.admin.fetchval("SELECT count(*) FROM router.source WHERE process_id IS NOT NULL") == 0

        # It says so everywhere.
        answer = await console.get(console_port, "/readyz")
        assert answer.status == 503
        assert any("is a copy of another" in one for one in answer.json["reasons"])
        series = console.parse((await console.get(console_port, "/metrics")).body)
        assert series["email_router_database_is_copy", frozenset()] == 1
        assert series["email_router_sending", frozenset()] == 0
        status, told = await staging.ask("status")
        assert status == 1
        assert f"sending     off: {WORDS}" in told
        assert f": {WORDS}" in told.partition("at fault")[2]
        assert "so nothing is sent or read" in (await staging.ask("doctor"))[1]

        status, told = await staging.ask("sending", "start")
        assert status == 0
        assert "this copy of the database is the real one from now on" in told
        assert "1 email due now" in told
        await copy.wait_for_status(pending, "sent")
        await copy.wait_for_emails(2)
        await asyncio.to_thread(dovecot.wait_for, mailbox, 0)
        assert [one.message for one in await asyncio.to_thread(postfix.wait_for, 2, other)]
        await console.wait_for(console_port, "/readyz", 200)
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("karl@kunde.test", [mailbox], letter("karl@kunde.test", mailbox, "handed over"))
        await copy.wait_for_emails(3)
    await staging.stop()
    postgres.drop(name_of(dsn))


async def test_a_running_router_lets_go_when_a_copy_takes_the_place_of_the_database(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str, database: str
) -> None:
    """As where a dump is restored under the same name while a router waits for the database."""
    await crm.owner(mailbox)
    router = await new_router(incoming(after="delete", rule="all") + outgoing())
    await crm.wait_for_sources(1)
    await crm.admin.execute("UPDATE router.installation SET database_oid = database_oid::int8 + 1")
    await router.wait_for_log(WORDS)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "for the original"))
    pending = await crm.send(mailbox, mailbox, "of the copy")
    await crm.wait_for(0, "SELECT count(*) FROM router.source WHERE process_id IS NOT NULL")
    await crm.wait_for_beats(2)
    assert dovecot.count(mailbox) == 1
    assert (await crm.email(pending))["status"] == "pending_send"
    async with Database(database, 1) as admin:
        assert await set_sending(admin, on=True)
    await crm.wait_for_status(pending, "sent")
    await crm.wait_for_emails(1)


async def test_sending_stops_and_starts_at_once_in_all_processes(
    crm: Crm, new_router: NewRouter, outgoing: Profile, mailbox: str, database: str
) -> None:
    await crm.owner(mailbox)
    routers = [await new_router(outgoing()) for _ in range(2)]
    async with Database(database, 1) as admin:
        await set_sending(admin, on=False, reason="we move house")
        for router in routers:
            await router.wait_for_log('"sending is off"', timeout=3)
            assert "we move house" in router.log()
        pending = await crm.send(mailbox, mailbox, "later")
        await crm.wait_for_beats(2)
        assert (await crm.email(pending))["status"] == "pending_send"
        await set_sending(admin, on=True)
        await crm.wait_for_status(pending, "sent", timeout=3)


async def test_the_upgrade_takes_the_database_for_the_original_and_a_template_s_copy_for_a_copy(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Both may be upgraded in any order: what was copied before the database's number was remembered is told, too."""
    [upgrade] = MIGRATIONS.glob("*_copied.sql")
    for file in MIGRATIONS.glob("*.sql"):
        if file.name < upgrade.name:
            shutil.copy(file, tmp_path)
    older = postgres.clone("template0", original=False)
    await migrate(postgres.dsn(older), tmp_path)
    younger = postgres.clone(older, original=False)
    for name, copied in ((younger, True), (older, False)):
        await migrate(postgres.dsn(name))
        async with Database(postgres.dsn(name), 1) as database:
            assert (await read_sending(database)).copied is copied
            assert (await read_sending(database)).on is not copied
            assert await set_sending(database, on=True) is copied
            assert not (await read_sending(database)).copied
        postgres.drop(name)
