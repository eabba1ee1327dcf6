"""Webhooks by the API and the commands, with a real router that tells them."""

import asyncio
import json

from aiohttp import web
from standardwebhooks import Webhook

from tests.integration.test_api import check_problem
from tests.integration.test_api_emails import written
from tests.servers.ports import free_port
from tests.support.api import Api


async def test_a_webhook_is_added_told_steered_and_removed(api: Api) -> None:
    got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def handle(request: web.Request) -> web.Response:
        got.put_nowait(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response()

    port = free_port()
    application = web.Application()
    application.router.add_post("/hook", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{port}/hook"

    # By the API: nothing of this machine, and what may be seen and done goes by scopes.
    assert "command" not in check_problem(await api.post("/webhooks", {"url": "http://crm.test/"}), 422)
    assert "email-router webhooks add" in check_problem(await api.post("/webhooks", {"url": url}), 422)
    reader = await api.token_of("reader", "webhooks:read")
    crm = {"url": "https://crm.invalid/hook", "kinds": ["failed"], "name": "crm"}
    check_problem(await api.post("/webhooks", crm, token=reader), 403)
    answered = await api.post("/webhooks", crm)
    assert answered.status == 201
    assert answered.json["secret"].startswith("whsec_")
    check_problem(await api.post("/webhooks", crm), 409)

    # By the command, on this machine.
    status, printed = await api.router.ask("webhooks", "add", url, "--kind", "pending_send", "--name", "here")
    assert status == 0
    assert (await api.post("/emails", written())).status == 201
    async with asyncio.timeout(20):
        headers, body = await got.get()
    document = Webhook(printed.strip().splitlines()[0]).verify(body, headers)
    assert document["type"] == "pending_send"
    assert document["data"]["email_id"]

    found = (await api.get("/webhooks", token=reader)).json["webhooks"]
    assert [(one["name"], one["state"]) for one in found] == [("crm", "working"), ("here", "working")]
    assert "secret" not in json.dumps(found)
    paused = await api.post("/webhooks/here/pause")
    assert paused.json["paused_by"] == "tests"
    status, printed = await api.router.ask("webhooks", "list")
    assert "paused by tests" in printed
    status, _ = await api.router.ask("webhooks", "replay", "here", "--from", "beginning")
    assert status == 0
    async with asyncio.timeout(20):
        assert (await got.get())[0]["webhook-id"] == headers["webhook-id"]
    answered = await api.post("/webhooks/here/replay", {"after": headers["webhook-id"]})
    assert answered.json["state"] == "working"
    assert answered.json["cursor"] == headers["webhook-id"]
    check_problem(await api.post("/webhooks/here/replay", {"after": "x"}), 422)
    assert (await api.request("DELETE", "/webhooks/here")).status == 204
    check_problem(await api.get("/webhooks/here"), 404)
    check_problem(await api.post("/webhooks/here/resume"), 404)
    assert (await api.router.ask("webhooks", "remove", "crm"))[0] == 0
    assert (await api.get("/webhooks")).json == {"webhooks": []}
    assert "whsec_" not in api.router.log()
    await runner.cleanup()
