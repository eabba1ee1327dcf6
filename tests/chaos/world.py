"""All that a chaos run needs: servers behind proxies, two routers, the CRM with its owners, and a post."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

from router.postgres.cluster import DATABASE
from tests.chaos.mail import CUSTOMER, POISON, Letter, Writer
from tests.chaos.mailboxes import CALM, OWNERS, RULES, Ports, profiles
from tests.chaos.post import Post
from tests.chaos.server import Server, Sql
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy
from tests.servers.tls import make_tls
from tests.support.maildirs import make_maildir
from tests.support.profiles import SECRETS
from tests.support.router_process import RouterProcess
from tests.support.traffic import Capture

LEASE = 3.0
"""Seconds."""

_PATIENCE = 90.0  # seconds for which mail that nothing is the matter with may be under way
_SENDERS = ("seen1@seen.test", "seen2@seen.test", "moved1@moved.test")

_TRIGGER = f"""
    CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.subject = '{POISON}' THEN RAISE EXCEPTION 'a trigger of the CRM refuses this'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER zz_refuse BEFORE INSERT ON crm.email FOR EACH ROW EXECUTE FUNCTION public.refuse()
"""


class Router:
    """One of the two; `turn` is had by whoever does something to its process, `wire` is its way to PostgreSQL."""

    def __init__(self, process: RouterProcess, wire: Proxy) -> None:
        self.process = process
        self.wire = wire
        self.turn = asyncio.Lock()
        self.well_since = float("inf")
        """Since when nothing was done to it, by the loop's clock."""

    @asynccontextmanager
    async def harmed(self) -> AsyncIterator[None]:
        """Do something to its process: it is excused meanwhile."""
        async with self.turn:
            self.well_since = float("inf")
            yield
            self.well_since = asyncio.get_running_loop().time()


class World:
    """What a run is about. `async with world(folder, dice) as opened` makes it."""

    def __init__(self, dice: Random) -> None:
        self.writer = Writer(dice)
        self.sent: set[UUID] = set()
        """The emails that the CRM queued."""
        self.stopping = asyncio.Lock()
        """Had by whoever makes a router hang: never both at once, so that there is somebody to take over."""
        self.restarting = asyncio.Lock()
        """Had by whoever ends a server for all."""

    server: Server
    sql: Sql
    crm: Sql
    dovecot: Dovecot
    proxies: dict[str, Proxy]
    captures: dict[str, Capture]
    routers: list[Router]
    post: Post
    maildirs: Path
    secret: Path
    ports: Ports

    def send(self, letter: Letter) -> Letter:
        self.post.send(letter)
        return letter

    async def queue(self, sender: str | None = None) -> UUID:
        """Queue an email of the CRM, once, whatever happens to the session."""
        email_id = uuid4()
        mailbox = sender or _SENDERS[len(self.sent) % len(_SENDERS)]
        self.sent.add(email_id)
        await self.crm.fetch(
            """
            WITH e AS (
                INSERT INTO crm.email (id, direction, status, subject, text_body)
                VALUES ($1, 'out', 'draft', 'An offer', 'hello') ON CONFLICT DO NOTHING RETURNING id
            )
            INSERT INTO crm.party (email_id, role, address)
            SELECT id, role, address FROM e, (VALUES ('from', $2), ('to', $3)) AS p (role, address)
            """,
            email_id,
            mailbox,
            CUSTOMER,
        )
        await self.crm.fetch(
            "UPDATE crm.email SET status = 'pending_send' WHERE id = $1 AND status = 'draft'", email_id
        )
        return email_id

    async def others_go_on(self, fault: str) -> None:
        """Send mail with which nothing is the matter, both ways, and return when it has come through.

        Whoever waits for this lets a fault of somebody else be in force meanwhile.
        """
        letter = self.send(self.writer.calm())
        email_id = await self.queue(CALM[0])
        arrived = (
            "SELECT (SELECT count(*) FROM crm.email AS e JOIN crm.receipt AS r ON r.email_id = e.id "
            "WHERE e.message_id = $1) = $2 AND status IN ('sent', 'unknown') FROM crm.email WHERE id = $3"
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                while not await self.sql.value(arrived, letter.message_id, len(CALM), email_id):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{fault!r} holds up mail that it has nothing to do with") from None

    def write_profiles(self, poll: int) -> None:
        """Let both routers go by profiles that say how often they poll."""
        for router in self.routers:
            written = router.process.profiles / "new"
            written.write_text(profiles(self.ports, self.maildirs, self.secret, poll))
            written.rename(router.process.profiles / "all.toml")


@asynccontextmanager
async def world(folder: Path, dice: Random) -> AsyncIterator[World]:
    """Make all, and stop it all at the end."""
    made = World(dice)
    async with AsyncExitStack() as stack:
        made.server = await stack.enter_async_context(Server())
        made.sql, made.crm = Sql(made.server), Sql(made.server, as_crm=True)
        stack.callback(made.sql.close)
        stack.callback(made.crm.close)
        await _make_owners(made)
        made.maildirs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="er-chaos-")))
        made.dovecot = await asyncio.to_thread(Dovecot, make_tls(folder))
        stack.callback(made.dovecot.close)
        made.captures = {name: Capture() for name in ("relay", "calm_relay")}
        for capture in made.captures.values():
            capture.start()
            stack.callback(capture.stop)
        targets = {
            "seen": made.dovecot.imap,
            "moved": made.dovecot.imap,
            "popped": made.dovecot.pop3,
            "relay": made.captures["relay"].port,
        }
        made.proxies = {name: await stack.enter_async_context(Proxy(port)) for name, port in targets.items()}
        made.ports = Ports(
            calm=made.dovecot.imap,
            calm_relay=made.captures["calm_relay"].port,
            listener=free_port(),
            **{name: proxy.port for name, proxy in made.proxies.items()},
        )
        made.post = await stack.enter_async_context(Post(made.dovecot.lmtp, made.ports.listener, made.maildirs))
        for mailbox in (*OWNERS["kept"], *OWNERS["quiet"]):
            make_maildir(made.post.maildir(mailbox))
        made.secret = folder / "secret"
        made.secret.write_text(PASSWORD)
        wires = [await stack.enter_async_context(Proxy(made.server.socket)) for _ in range(2)]
        made.routers = [
            Router(_router(made, folder / f"router-{number}", wire), wire) for number, wire in enumerate(wires, 1)
        ]
        for router in made.routers:
            stack.push_async_callback(router.process.kill)
            await router.process.start()
            router.well_since = asyncio.get_running_loop().time()
        yield made


def _router(made: World, folder: Path, wire: Proxy) -> RouterProcess:
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "all.toml").write_text(profiles(made.ports, made.maildirs, made.secret))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMAIL_ROUTER_")}
    settings = {
        "EMAIL_ROUTER_DATABASE_URL": f"postgresql://{DATABASE}@127.0.0.1:{wire.port}/{DATABASE}",
        "EMAIL_ROUTER_PROFILES": str(folder / "profiles"),
        "EMAIL_ROUTER_DATA": str(folder / "data"),
        "EMAIL_ROUTER_LEASE": str(LEASE),
        "EMAIL_ROUTER_LOG_FORMAT": "json",
        "EMAIL_ROUTER_CONSOLE": "off",
        "EMAIL_ROUTER_AUDIT": "0.002",  # hours, so that mailboxes are audited while all goes wrong
    }
    return RouterProcess(inherited | settings | SECRETS, folder / "log")


async def _make_owners(made: World) -> None:
    for mailbox, rule in RULES.items():
        record_id = await made.crm.value(
            "INSERT INTO crm.record (kind, name) VALUES ('user', $1) RETURNING id", mailbox
        )
        await made.crm.fetch("INSERT INTO crm.address (address, record_id) VALUES ($1, $2)", mailbox, record_id)
        await made.crm.fetch("INSERT INTO crm.owner (record_id, mailbox) VALUES ($1, $2)", record_id, mailbox)
        await made.sql.fetch(
            "UPDATE crm.owner SET approved = true, tracking_rule = $2 WHERE record_id = $1", record_id, rule
        )
    customer = await made.crm.value("INSERT INTO crm.record (kind, name) VALUES ('contact', 'Karl') RETURNING id")
    await made.crm.fetch("INSERT INTO crm.address (address, record_id) VALUES ($1, $2)", CUSTOMER, customer)
    connection = await made.sql.connected()
    await connection.execute(_TRIGGER)
