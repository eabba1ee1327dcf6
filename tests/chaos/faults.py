"""The faults of a chaos run. Each is in force for a while, and ends by itself; most while others' mail goes on."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.chaos.server import ENDINGS, left_open
from tests.chaos.world import LEASE, World
from tests.servers.dovecot import PASSWORD
from tests.servers.proxy import Proxy

Fault = Callable[[World, float, Random], Awaitable[None]]


async def _kill(world: World, lasts: float, dice: Random) -> None:
    """Kill -9, and a new process after a while."""
    router = dice.choice(world.routers)
    async with router.harmed():
        await router.process.kill()
        await asyncio.sleep(dice.choice([0.0, lasts]))
        await router.process.start()


async def _hang(world: World, lasts: float, dice: Random) -> None:
    """SIGSTOP beyond the lease: the other takes over."""
    router = dice.choice(world.routers)
    async with world.stopping, router.harmed():
        os.kill(router.process.pid, signal.SIGSTOP)
        try:
            await asyncio.gather(asyncio.sleep(LEASE + lasts), world.others_go_on("a router that hangs"))
        finally:
            os.kill(router.process.pid, signal.SIGCONT)


async def _end_in_order(world: World, lasts: float, dice: Random) -> None:
    """SIGTERM, as at each update."""
    router = dice.choice(world.routers)
    async with router.harmed():
        await router.process.stop()
        await asyncio.sleep(dice.choice([0.0, lasts]))
        await router.process.start()


async def _kill_worker(world: World, _lasts: float, dice: Random) -> None:
    """A process that reads mail is killed, as by a kernel that is out of memory."""
    router = dice.choice(world.routers)
    async with router.turn:
        if below := _below(router.process.pid):
            with suppress(ProcessLookupError):
                os.kill(dice.choice(below), signal.SIGKILL)


async def _restart_database(world: World, lasts: float, dice: Random) -> None:
    """PostgreSQL ends, in one of three ways, and is there again after a while."""
    async with world.restarting:
        await world.server.end(dice.choice(ENDINGS))
        await asyncio.sleep(min(lasts, 5) * dice.random())
        await world.server.start()


async def _drop_connections(world: World, _lasts: float, dice: Random) -> None:
    """The database drops connections of the routers."""
    rows = await world.sql.fetch("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'email-router%'")
    for row in rows:
        if dice.random() < 0.7:
            await world.sql.fetch("SELECT pg_terminate_backend($1)", row["pid"])


async def _lose_database(world: World, lasts: float, dice: Random) -> None:
    """The way from one router to PostgreSQL is interrupted beyond the lease: the other takes over."""
    router = dice.choice(world.routers)
    async with world.stopping, router.harmed():
        router.wire.stall()
        try:
            await asyncio.gather(asyncio.sleep(LEASE + lasts), world.others_go_on("a router without its database"))
        finally:
            router.wire.resume()


async def _silent_connections(world: World, _lasts: float, dice: Random) -> None:
    """The connections of one router to PostgreSQL die in silence, as behind a firewall that forgets; new ones work."""
    router = dice.choice(world.routers)
    async with router.turn:
        router.wire.freeze()


async def _restart_mail_server(world: World, lasts: float, dice: Random) -> None:
    """Dovecot is killed, and is there again after a while."""
    async with world.restarting:
        await asyncio.to_thread(world.dovecot.kill)
        await asyncio.sleep(min(lasts, 5) * dice.random())
        await asyncio.to_thread(world.dovecot.start)


async def _leave_open(world: World, lasts: float, dice: Random) -> None:
    """A transaction of the CRM has changed what mail is about to touch, and stays open."""
    message_id = f"{dice.randbytes(8).hex()}@crm.test"
    customer = "SELECT record_id FROM crm.address WHERE address = 'karl@kunde.test'"
    statements = [
        (
            "INSERT INTO crm.email (direction, status, message_id, subject) VALUES ('out', 'sent', $1, 'Imported')",
            [message_id],
        ),
        dice.choice(
            [
                ("UPDATE crm.email SET regarding_id = NULL WHERE direction = 'in'", []),
                ("DELETE FROM crm.email WHERE direction = 'in'", []),
                (f"UPDATE crm.record SET name = 'Karl!' WHERE id IN ({customer})", []),
                ("DELETE FROM crm.address WHERE address = 'karl@kunde.test'", []),
                ("UPDATE crm.email SET status = 'canceled' WHERE status = 'pending_send'", []),
            ]
        ),
    ]
    async with left_open(world.server, statements):
        world.send(world.writer.answer(message_id))
        await asyncio.gather(asyncio.sleep(lasts), world.others_go_on("a transaction that is left open"))


async def _slow_mail(world: World, _lasts: float, _dice: Random) -> None:
    """Mail that takes long to read."""
    for _ in range(3):
        world.send(world.writer.slow())


async def _poison(world: World, _lasts: float, _dice: Random) -> None:
    """Mail that the database refuses, and mail that is hardly any."""
    world.send(world.writer.poison())
    world.send(world.writer.broken())


async def _unreadable(world: World, lasts: float, _dice: Random) -> None:
    """A file that the mail server cannot read for a while."""
    letter = world.writer.unreadable()
    (mailbox,) = letter.becomes
    letter.tries[mailbox] = 1
    inbox = world.dovecot.maildir(mailbox)
    name = f"{letter.message_id}.host"
    async with world.restarting:
        await asyncio.to_thread(world.dovecot.count, mailbox)  # so that there is a Maildir
    await asyncio.to_thread(_write_unreadable, inbox, name, letter.content)
    try:
        await asyncio.gather(asyncio.sleep(lasts), world.others_go_on("a file that cannot be read"))
    finally:
        for file in [*inbox.glob(f"new/{name}*"), *inbox.glob(f"cur/{name}*")]:
            with suppress(FileNotFoundError):
                file.chmod(0o600)


async def _refuse(world: World, lasts: float, dice: Random) -> None:
    """A server ends every connection at once."""
    name, proxy = _some_proxy(world, dice)
    proxy.refusing = True
    proxy.cut()
    try:
        await asyncio.gather(asyncio.sleep(lasts), world.others_go_on(f"{name} that refuses"))
    finally:
        proxy.refusing = False


async def _refuse_logins(world: World, lasts: float, _dice: Random) -> None:
    """A password is wrong for a while, and connections are opened anew."""
    world.secret.write_text("not this")
    world.proxies["moved"].cut()
    try:
        await asyncio.gather(asyncio.sleep(lasts), world.others_go_on("a wrong password"))
    finally:
        world.secret.write_text(PASSWORD)


async def _be_silent(world: World, lasts: float, dice: Random) -> None:
    """A server says nothing any more, and goes on after a while; or only new connections work."""
    name, proxy = _some_proxy(world, dice)
    if dice.random() < 0.5:
        proxy.freeze()
        return
    proxy.stall()
    try:
        await asyncio.gather(asyncio.sleep(lasts), world.others_go_on(f"{name} that is silent"))
    finally:
        proxy.resume()


async def _cut(world: World, _lasts: float, dice: Random) -> None:
    """All connections to a server break."""
    _, proxy = _some_proxy(world, dice)
    proxy.cut()


async def _cut_in_mid_command(world: World, _lasts: float, dice: Random) -> None:
    """A connection breaks when something was just asked for."""
    name, proxy = _some_proxy(world, dice)
    words = {
        "seen": [b" FETCH ", b" STORE "],
        "moved": [b" FETCH ", b" MOVE "],
        "popped": [b"RETR ", b"DELE ", b"QUIT"],
    }
    proxy.cut_after(dice.choice(words.get(name, [b"\r\n.\r\n"])))
    struck = proxy.struck
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while proxy.struck == struck:
                await asyncio.sleep(0.05)
    proxy.cut_after(b"")


async def _answer_slowly(world: World, lasts: float, dice: Random) -> None:
    """A server, or the way to it, is slow."""
    name, proxy = _some_proxy(world, dice)
    proxy.delay = dice.uniform(0.05, 0.3)
    try:
        await asyncio.gather(asyncio.sleep(lasts), world.others_go_on(f"{name} that is slow"))
    finally:
        proxy.delay = 0


async def _change_profiles(world: World, _lasts: float, dice: Random) -> None:
    """The profiles are changed: connections are opened anew."""
    world.write_profiles(poll=dice.randrange(3, 8))


FAULTS: Mapping[str, Fault] = {
    "a router is killed": _kill,
    "a router hangs": _hang,
    "a router ends in order": _end_in_order,
    "a worker is killed": _kill_worker,
    "PostgreSQL is restarted": _restart_database,
    "PostgreSQL drops connections": _drop_connections,
    "Dovecot is restarted": _restart_mail_server,
    "a transaction is left open": _leave_open,
    "slow mail": _slow_mail,
    "poison mail": _poison,
    "a file cannot be read": _unreadable,
    "a server refuses": _refuse,
    "a login is refused": _refuse_logins,
    "a server is silent": _be_silent,
    "connections break": _cut,
    "a connection breaks in mid-command": _cut_in_mid_command,
    "a server is slow": _answer_slowly,
    "profiles change": _change_profiles,
}

LONG_FAULTS: Mapping[str, Fault] = {
    **FAULTS,
    "a router loses PostgreSQL": _lose_database,
    "connections to PostgreSQL die in silence": _silent_connections,
}
"""With what it takes a minute to get over, which is for long runs."""


def _some_proxy(world: World, dice: Random) -> tuple[str, Proxy]:
    return dice.choice(sorted(world.proxies.items(), key=lambda one: one[0]))


def _below(pid: int) -> list[int]:
    """The processes that it has started, and those that they have."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *_below(child)]
    return found


def _write_unreadable(inbox: Path, name: str, content: bytes) -> None:
    owner = inbox.stat()
    file = inbox / "tmp" / name
    file.write_bytes(content.replace(b"\r\n", b"\n"))
    file.chmod(0)
    os.chown(file, owner.st_uid, owner.st_gid)
    file.rename(inbox / "new" / name)
