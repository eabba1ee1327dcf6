"""People by commands, and the link that a router's log has for the first administrator."""

import json
import re

from router.operations import people
from router.repository.database import Database
from tests.servers.ports import free_port
from tests.support.console import get, wait_for
from tests.support.crm import Crm
from tests.support.router_process import NewRouter
from tests.support.traffic import Capture, outgoing


async def test_people_by_commands_and_the_first_by_the_log(
    crm: Crm, new_router: NewRouter, capture: Capture, database: str
) -> None:
    owner = await crm.owner("sales@in.test", "all")
    await crm.admin.execute("UPDATE crm.record SET kind = 'queue', name = 'Sales' WHERE id = $1", owner)
    port = free_port()
    router = await new_router(outgoing(capture.port), EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}")
    await wait_for(port, "/healthz", 200)
    await router.wait_for_log("/link/")
    (link,) = re.findall(rf"http://127\.0\.0\.1:{port}(/link/[A-Za-z0-9_-]+)", router.log())
    assert "The first administrator" in (await get(port, link)).body
    # Whoever could be listened to gets neither pages nor the API; health and numbers are for all.
    for path, status in ((link, 403), ("/api/v1/openapi.json", 403), ("/healthz", 200), ("/metrics", 200)):
        assert (await get(port, path, host="127.0.0.1", named="crm.example")).status == status
    status, printed = await router.ask("staff", "link")
    assert status == 0
    secret = printed.strip().rpartition("/")[2]
    async with Database(database, connections=2) as opened:
        await people.use_link(opened, secret, "ann", "correct horse battery", None)
    assert "not valid any more" in (await get(port, link)).body
    assert (await router.ask("staff", "link"))[0] == 1

    async def listed() -> dict[str, list[tuple[str, str | None]]]:
        status, printed = await router.ask("staff", "list", "--json")
        assert status == 0
        return {
            one["name"]: [(grant["role"], grant["owner"]) for grant in one["grants"]]
            for one in json.loads(printed)["people"]
        }

    status, printed = await router.ask("staff", "add", "ben", "--role", "decide", "--queue", "Sales")
    assert (status, printed.startswith(f"http://127.0.0.1:{port}/link/")) == (0, True)
    assert await listed() == {"ann": [("administer", None)], "ben": [("decide", "sales@in.test")]}
    assert (await router.ask("staff", "add", "ben"))[0] == 1
    assert (await router.ask("staff", "add", "carl", "--role", "reign"))[0] == 2
    assert (await router.ask("staff", "grant", "ben"))[0] == 0
    assert (await listed())["ben"] == [("view", None)]
    assert (await router.ask("staff", "disable", "ann"))[0] == 1
    assert (await router.ask("staff", "disable", "ben"))[0] == 0
    status, printed = await router.ask("staff", "list")
    assert (status, "disabled" in printed) == (0, True)
    assert (await router.ask("staff", "reset", "ben"))[0] == 0
    assert (await router.ask("staff", "sign-out", "ben"))[0] == 0
