"""`kill -9` of a router whose PostgreSQL is its own child: it starts again on the same data and goes on."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import asyncpg
import pytest

from router.postgres.cluster import SUPERUSER, Cluster
from tests.servers.dovecot import MASTER_PASSWORD, Dovecot
from tests.support.crm import Crm
from tests.support.router_process import NewRouter
from tests.support.traffic import CONNECTIONS, Capture, Post, check_received, incoming, outgoing, queue, statuses


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that PostgreSQL's user can enter, with a path short enough for a socket.

    A test asks for it before its routers: so it is removed only when they have ended.
    """
    folder = Path(tempfile.mkdtemp(prefix="er-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def connected(data: Path) -> AsyncIterator[Crm]:
    cluster = Cluster(data)
    sql = await asyncpg.connect(cluster.dsn(SUPERUSER))
    admin = await asyncpg.connect(cluster.dsn())
    try:
        await sql.execute("SET ROLE email_router_crm")
        yield Crm(sql, admin)
    finally:
        sql.terminate()
        admin.terminate()


async def test_killed_with_its_own_database_it_goes_on(
    data: Path, new_router: NewRouter, dovecot: Dovecot, capture: Capture, new_mailbox: Callable[[str], str]
) -> None:
    mailboxes = [new_mailbox("ulla"), new_mailbox("otto")]
    post = Post(dovecot, mailboxes, Random(1))
    router = await new_router(
        incoming(dovecot.imap) + outgoing(capture.port),
        lease=1,
        IMAP_PASSWORD=MASTER_PASSWORD,
        EMAIL_ROUTER_DATABASE_URL="",
        EMAIL_ROUTER_DATA=str(data),
    )
    async with connected(data) as crm:
        for mailbox in mailboxes:
            await crm.owner(mailbox, "all")
        delivery = asyncio.create_task(asyncio.to_thread(post.deliver, 100))
        await queue(crm, 200, mailboxes)
        await crm.wait_for(True, "SELECT count(*) >= 20 FROM router.decision")
        await crm.wait_for(True, "SELECT count(*) >= 20 FROM router.attempt WHERE finished_at IS NOT NULL")
        await router.kill()
    await delivery
    await router.start()
    async with connected(data) as crm:
        await check_received(crm, dovecot, post)
        await crm.wait_for(0, "SELECT count(*) FROM router.outbox")
        found = await statuses(crm)
        assert found["sent"] + found["unknown"] == 200
        assert found["unknown"] <= CONNECTIONS
        sent = {row["message_id"] for row in await crm.rows("SELECT message_id FROM crm.email WHERE status = 'sent'")}
        assert sent <= capture.accepted.keys()
        assert set(capture.accepted.values()) == {1}
