"""The console of a real router: what it tells in good times and bad, and that its numbers are those of the database."""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

from router.operations import status
from router.operations.ready import Readiness
from router.profile import Profiles
from router.repository.database import Connection, Database
from router.repository.outgoing.queue import Queue, read_queue
from tests.servers.dovecot import MASTER_PASSWORD, Dovecot
from tests.servers.ports import free_port
from tests.support.claims import carry
from tests.support.console import Series, get, value, wait_for, wait_for_numbers
from tests.support.crm import Crm
from tests.support.databases import Postgres
from tests.support.forked import email_router
from tests.support.paths import ROOT
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import CONNECTIONS, Capture, Post, check_promoted, incoming, outgoing, queue

MESSAGES = 60
EMAILS = 40

LISTENER = """
    [incoming.copies]
    transport = "lmtp"
    listen = "127.0.0.1:{port}"
    owners = ["*@in.test"]
    copy = true
"""


class Lent(Database):
    """Lends this one connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__("")
        self._lent = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        yield self._lent


def profiles_of(router: RouterProcess) -> Path:
    return router.log_file.parent / "profiles" / "all.toml"


async def image_is_healthy(console: str, folder: Path) -> tuple[int, str]:
    """The exit status of the image's health check, and what it says; it must not begin a database."""
    (check,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    program, *arguments = json.loads(check)
    assert program == "email-router"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMAIL_ROUTER_")}
    process = await email_router(
            *arguments,
        env=inherited | {"EMAIL_ROUTER_CONSOLE": console, "EMAIL_ROUTER_DATA": str(folder / "healthz")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert not (folder / "healthz").exists()
    assert process.returncode is not None
    return process.returncode, said.decode().strip()


# --- The numbers -----------------------------------------------------------------------------------------------------


async def test_its_numbers_are_those_of_the_database_while_mail_flows_both_ways(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, capture: Capture, new_mailbox: Callable[[str], str]
) -> None:
    mailboxes = [new_mailbox(f"owner{number}") for number in range(3)]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    post, port = Post(dovecot, mailboxes, Random(4)), free_port()
    await new_router(
        incoming(dovecot.imap) + outgoing(capture.port),
        IMAP_PASSWORD=MASTER_PASSWORD,
        EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}",
    )
    await wait_for_numbers(port, lambda series: value(series, "email_router_mailboxes", profile="staff") == 3)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(post.deliver, MESSAGES))
        tasks.create_task(queue(crm, EMAILS, mailboxes[:2]))
    await check_promoted(crm, post)
    await crm.wait_for(EMAILS, "SELECT count(*) FROM crm.email WHERE status = 'sent'")
    became = Counter(await crm.dispositions())
    assert became.total() == post.copies
    addresses = await crm.admin.fetch("SELECT mailbox FROM crm.owner UNION SELECT address FROM crm.party")

    def told(series: Series) -> bool:
        return (
            all(
                value(series, "email_router_copies_total", profile="staff", disposition=disposition)
                == became[disposition]
                for disposition in ("promoted", "duplicate", "ignored", "held", "dead")
            )
            and value(series, "email_router_attempts_total", profile="relay", outcome="sent") == EMAILS
        )

    # What was committed is counted a moment later.
    series = await wait_for_numbers(port, told)
    assert value(series, "email_router_recipients_total", profile="relay", outcome="accepted") == EMAILS
    for outcome in ("deferred", "failed", "unknown"):
        assert value(series, "email_router_attempts_total", profile="relay", outcome=outcome) == 0
    assert value(series, "email_router_relay_connections_limit", profile="relay") == CONNECTIONS
    assert value(series, "email_router_relay_connections_in_use", profile="relay") == 0
    assert (
        value(series, "email_router_arrival_to_commit_seconds_count", profile="staff")
        == became.total() - became["duplicate"]
    )
    assert value(series, "email_router_batch_copies_sum") == post.copies
    assert value(series, "email_router_worker_pieces_total", outcome="answered") >= post.copies
    assert value(series, "email_router_workers_busy") == 0
    assert value(series, "email_router_copy_bytes_total", profile="staff") > 100 * post.copies
    assert value(series, "email_router_database_connection_wait_seconds_count") > 0
    assert {value_ for (name, _), value_ in series.items() if name == "email_router_faults"} == {0}
    exposition = (await get(port, "/metrics")).body
    assert not [row[0] for row in addresses if row[0] in exposition]
    assert "@" not in exposition


async def test_a_profile_that_is_removed_takes_its_numbers_along(
    crm: Crm, new_router: NewRouter, capture: Capture
) -> None:
    await crm.owner("ulla@in.test")
    port = free_port()
    listener = LISTENER.format(port=free_port())
    router = await new_router(
        listener + outgoing(capture.port), says=("listening",), EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}"
    )
    await queue(crm, 5, ["ulla@in.test"])
    await wait_for_numbers(
        port, lambda series: value(series, "email_router_attempts_total", profile="relay", outcome="sent") == 5
    )
    profiles_of(router).write_text(listener)

    def profiles(series: Series) -> set[str]:
        return {label[1] for _, labels in series for label in labels if label[0] == "profile"} - {""}

    await wait_for_numbers(port, lambda series: profiles(series) == {"copies"})
    profiles_of(router).write_text(listener + outgoing(capture.port))
    begun = ("email_router_attempts_total", frozenset({("profile", "relay"), ("outcome", "sent")}))
    series = await wait_for_numbers(port, lambda series: profiles(series) == {"copies", "relay"} and begun in series)
    assert series[begun] == 0


# --- Ready, and alive ------------------------------------------------------------------------------------------------


async def test_it_lives_and_says_what_it_waits_for(
    crm: Crm, new_router: NewRouter, postgres: Postgres, database: str, tmp_path: Path
) -> None:
    await crm.owner("ulla@in.test")
    port = free_port()
    router = await new_router(outgoing(free_port()), EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
    await wait_for(port, "/readyz", 200)
    async with postgres.away(database):
        answer = await wait_for(port, "/readyz", 503)
        assert answer.json["reasons"] == ["the database does not answer"]
        assert (await get(port, "/healthz")).status == 200
        assert await image_is_healthy(f"127.0.0.1:{port}", tmp_path) == (
            0,
            f"alive: a router answers at http://127.0.0.1:{port}/healthz",
        )
    await wait_for(port, "/readyz", 200)

    await router.stop()
    no_answer = f"no router answers at http://127.0.0.1:{port}/healthz"
    assert await image_is_healthy(f"127.0.0.1:{port}", tmp_path) == (1, no_answer)
    aside = profiles_of(router).rename(profiles_of(router).with_suffix(".aside"))
    async with postgres.away(database):
        await router.launch("--wait")
        await wait_for(port, "/healthz", 200)
        answer = await wait_for(port, "/readyz", 503)
        assert answer.json["reasons"] == ["the database is not open yet", "no profile is served yet"]
    # The database is back, and no profile there.
    async with asyncio.timeout(20):
        while (await get(port, "/readyz")).json["reasons"] != ["no profile is served yet"]:
            await asyncio.sleep(0.05)
    assert await image_is_healthy(f"0.0.0.0:{port}", tmp_path) == (
        0,
        f"alive: a router answers at http://0.0.0.0:{port}/healthz",
    )
    aside.rename(profiles_of(router))
    await wait_for(port, "/readyz", 200)


async def test_it_is_ready_while_one_of_its_profiles_works(crm: Crm, new_router: NewRouter, capture: Capture) -> None:
    await crm.owner("ulla@in.test")
    port, taken = free_port(), free_port()
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", taken):
        router = await new_router(LISTENER.format(port=taken), EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
        answer = await wait_for(port, "/readyz", 503)
        assert answer.json["reasons"] == ["profile copies: every listener of it is at fault"]
        await wait_for_numbers(
            port, lambda series: value(series, "email_router_faults", kind="listener", profile="copies") == 1
        )
        profiles_of(router).write_text(LISTENER.format(port=taken) + outgoing(capture.port))
        await wait_for(port, "/readyz", 200)
        profiles_of(router).write_text(LISTENER.format(port=taken))
        await wait_for(port, "/readyz", 503)
    await wait_for(port, "/readyz", 200)
    await wait_for_numbers(
        port, lambda series: value(series, "email_router_faults", kind="listener", profile="copies") == 0
    )


async def test_a_profile_that_is_broken_is_a_fault_with_a_beginning(
    crm: Crm, new_router: NewRouter, database: str
) -> None:
    port = free_port()
    sound = outgoing(free_port())
    router = await new_router(sound, EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
    profiles_of(router).with_name("new.toml").write_text("[incoming.new]\n")
    profiles_of(router).with_name("none.toml").write_text("[incoming\n")
    profiles_of(router).write_text(sound + "x = 1\n")

    def faults(series: Series) -> dict[str, float]:
        labels = {name: ("email_router_faults", frozenset({("kind", "profile"), ("profile", name)})) for name in names}
        return {name: series[label] for name, label in labels.items() if label in series}

    names = ("relay", "new", "none.toml")
    await wait_for_numbers(port, lambda series: faults(series) == dict.fromkeys(names, 1))
    told = (
        "SELECT count(*) FROM router.process, jsonb_array_elements(profiles) AS p WHERE p ->> 'fault_since' IS NOT NULL"
    )
    await crm.wait_for(2, told)
    async with Database(database, connections=1) as ours:
        report = await status.read(ours, timedelta(seconds=2), router.profiles)
    since = {one.name: one.since for one in report.faults if one.part == "profile"}
    assert since.keys() == {"[outgoing.relay]", "[incoming.new]", "none.toml"}
    assert None not in since.values()
    profiles_of(router).write_text(sound)
    await wait_for_numbers(port, lambda series: faults(series) == {"relay": 0, "new": 1, "none.toml": 1})


async def test_a_database_that_hangs_makes_it_not_ready_within_seconds(database: str) -> None:
    async with Database(database, connections=1) as ours:
        readiness = Readiness()
        readiness.database = ours
        readiness.serve(Profiles((), ()))
        assert await readiness.reasons() == ["no profile is served yet"]
        async with ours.connection(), asyncio.timeout(10):  # there is no other
            assert (await readiness.reasons())[0] == "the database does not answer"
        assert await readiness.reasons() == ["no profile is served yet"]


async def test_clients_that_dawdle_do_not_delay_the_end_of_the_router(crm: Crm, new_router: NewRouter) -> None:
    await crm.owner("ulla@in.test")
    port = free_port()
    router = await new_router(outgoing(free_port()), EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
    await wait_for(port, "/healthz", 200)
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    clients[1][1].write(b"GET /metr")
    clients[2][1].write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await router.stop()
    for _, writer in clients:
        writer.close()


async def test_two_routers_of_a_machine_and_one_without_a_console(
    crm: Crm, new_router: NewRouter, tmp_path: Path
) -> None:
    await crm.owner("ulla@in.test")
    port = free_port()
    console = f"127.0.0.1:{port}"
    first = await new_router(outgoing(free_port()), says=("the console is served",), EMAIL_ROUTER_CONSOLE=console)
    second = await new_router(outgoing(free_port()), EMAIL_ROUTER_CONSOLE=console)
    await second.wait_for_log("another router serves the console")
    silent = await new_router(outgoing(free_port()), EMAIL_ROUTER_CONSOLE="off")
    await first.stop()
    await second.wait_for_log("the console is served")
    await wait_for(port, "/readyz", 200)
    assert second.log().count("another router serves the console") == 1
    assert "console" not in silent.log()
    assert await image_is_healthy("off", tmp_path) == (0, "the console is off: nothing to ask")


# --- The queue -------------------------------------------------------------------------------------------------------


async def test_what_is_due_is_counted_for_approved_owners_and_found_by_an_index(crm: Crm, database: str) -> None:
    await crm.owner("ulla@in.test")
    await crm.owner("otto@in.test")
    await crm.owner("nobody@in.test", approved=False)
    async with Database(database) as ours:
        empty = await read_queue(ours)
        assert empty == Queue((), 0, None, empty.at)
        assert empty.oldest == 0
        await carry(ours)
        await queue(crm, 6, ["ulla@in.test", "otto@in.test", "nobody@in.test"])
        found = await read_queue(ours)
        assert found.due() == found.count("turn") == 4
        assert found.count("approval") == 2
        assert 0 <= found.oldest < 60
        await crm.admin.execute(
            "UPDATE router.outbox SET next_at = now() - interval '1 hour' WHERE owner_id = (SELECT record_id FROM "
            "crm.owner WHERE mailbox = 'otto@in.test')"
        )
        await crm.admin.execute(
            "UPDATE router.outbox SET next_at = now() + interval '1 hour' WHERE owner_id = (SELECT record_id FROM "
            "crm.owner WHERE mailbox = 'ulla@in.test')"
        )
        found = await read_queue(ours)
        assert found.due() == 2
        assert 3600 <= found.oldest < 3660
        async with ours.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL enable_seqscan = off")
            queries: list[str] = []
            with connection.query_logger(lambda record: queries.append(record.query)):
                await read_queue(Lent(connection))
                await asyncio.sleep(0)  # the loggers are called then
            asked = [query.replace("$1", "10000") for query in queries]
            plan = "\n".join([row[0] for query in asked for row in await connection.fetch("EXPLAIN " + query)])
        assert "outbox_due" in plan
        assert "Seq Scan" not in plan
