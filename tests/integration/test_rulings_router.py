"""Routers carry rulings out: whoever is killed is followed by another, and new mail comes in meanwhile."""

import asyncio
import smtplib
from uuid import UUID

from router.repository.rulings.ruling_walks import PIECE
from router.repository.senders.fold import EVERYBODY
from tests.servers.ports import free_port
from tests.support.crm import Crm
from tests.support.holds import RULING, holding
from tests.support.letters import letter
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.senders import flood_of

KARL, ULLA = "karl@kunde.test", "ulla@in.test"
LISTENER = """
[incoming.drop]
transport = "lmtp"
listen = "127.0.0.1:{port}"
owners = ["*@in.test"]
rule = "all"
"""


async def _hand_over(port: int, subject: str) -> None:
    def work() -> None:
        with smtplib.LMTP("127.0.0.1", port) as lmtp:
            lmtp.sendmail(KARL, [ULLA], letter(KARL, ULLA, subject))

    await asyncio.to_thread(work)


async def _killed_in_the_midst(crm: Crm, router: RouterProcess, port: int, ruling: str, *arguments: object) -> None:
    """Rule, kill the router in a transaction that carries it out, after new mail came in, and start it again."""
    async with holding(crm, RULING) as hold:
        await crm.sql.fetchval(ruling, *arguments)
        await hold.reached()
        await _hand_over(port, f"meanwhile {ruling}")
        await router.kill()
        await hold.undo()
    await router.start("listening")
    await crm.wait_for(0, "SELECT count(*) FROM router.ruling_work")


async def test_t114_who_is_killed_while_a_ruling_is_carried_out_or_undone_is_followed_by_another(
    crm: Crm, new_router: NewRouter
) -> None:
    owner_id = await crm.owner(ULLA, "all")
    karl = await crm.record("contact", "Karl")
    await flood_of(crm, owner_id, KARL, 2 * PIECE)
    port = free_port()
    router = await new_router(LISTENER.format(port=port), says=("listening",))

    async def senders() -> set[UUID | None]:
        rows = await crm.rows("SELECT record_id FROM crm.party WHERE role = 'from' AND address = $1", KARL)
        return {row["record_id"] for row in rows}

    await _killed_in_the_midst(crm, router, port, "SELECT crm.resolve($1, $2)", KARL, karl)
    assert await senders() == {karl}
    assert await crm.sql.fetchval("SELECT touched FROM crm.ruling") == 2 * PIECE
    await _killed_in_the_midst(crm, router, port, "SELECT crm.unresolve($1)", KARL)
    assert await senders() == {None}
    assert await crm.sql.fetchval("SELECT count(*) FROM crm.unresolved") == 2 * PIECE + 2
    # And as pages show it.
    everybody = f"owner_id = '{EVERYBODY}' AND address = '{KARL}'"
    await crm.wait_for(2 * PIECE + 2, f"SELECT sum(number)::bigint FROM router.sender_waiting WHERE {everybody}")
    await crm.wait_for(0, "SELECT count(*) FROM router.sender_words WHERE words IS NULL")
