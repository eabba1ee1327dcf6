"""What happens, by the API: in one order, without a gap, and as soon as it happens."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import pytest

from router.operations.backing import Backing
from router.operations.events import MOST_CLIENTS, Events
from router.operations.queue.live import MOST_PAGES
from router.profile import Profiles
from router.repository.database import Database
from router.web.api.events import Stream
from router.web.console.guard import SESSION_COOKIE
from tests.integration.test_api import check_problem
from tests.integration.test_api_emails import written
from tests.support.api import Api
from tests.support.console import wait_for
from tests.support.crm import Crm
from tests.support.databases import Postgres
from tests.support.pages import ServedConsole

LISTENERS = """
    SELECT count(*) FROM pg_stat_activity WHERE application_name = 'email-router listen' AND query LIKE '%crm_event%'
        AND datname = current_database()
"""


async def follow(api: Api, **params: str) -> Any:
    answered = await api.get("/events", params=params)
    assert answered.status == 200, answered
    return answered.json


async def test_events_are_read_page_by_page_each_once(api: Api, crm: Crm) -> None:
    emails = [(await api.post("/emails", written())).json["id"] for _ in range(3)]
    await api.post(f"/emails/{emails[0]}/cancel")
    await crm.wait_for(4, "SELECT count(*) FROM crm.event")
    seen: list[Any] = []
    after = ""
    async with asyncio.timeout(20):
        while len(seen) < 4:
            page = await follow(api, after=after, limit="3", wait="2")
            seen += page["events"]
            after = page["cursor"]
    assert [(one["kind"], one["email_id"]) for one in seen] == [
        *(("pending_send", email_id) for email_id in emails),
        ("canceled", emails[0]),
    ]
    assert seen[-1]["details"]["reason"] == "canceled by tests"
    assert seen[-1]["cursor"] == after
    assert await follow(api, after=after) == {"events": [], "cursor": after}
    assert await follow(api, after="now") == {"events": [], "cursor": after}
    assert (await follow(api, after=seen[1]["cursor"], limit="1"))["events"] == [seen[2]]
    for wrong in ({"after": "x"}, {"after": "-1-1"}, {"after": "9" * 30 + "-1"}, {"wait": "9"}, {"limit": "0"}):
        check_problem(await api.get("/events", params=wrong), 422)
    reader = await api.token_of("reader", "emails:read")
    check_problem(await api.get("/events", token=reader), 403)


async def test_of_a_private_email_no_event_tells_who_is_on_it(api: Api, crm: Crm) -> None:
    email_id = (await api.post("/emails", written())).json["id"]
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state, code, text) "
        "VALUES ($1::text::uuid, 'karl@kunde.test', 'refused', '5.1.1', 'karl moved')",
        email_id,
    )
    page = await follow(api, wait="8")
    while len(page["events"]) < 2:
        page = await follow(api)
    assert [one["details"].get("address") for one in page["events"]] == [None, "karl@kunde.test"]
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1::text::uuid", email_id)
    told = (await follow(api))["events"]
    assert [(one["kind"], one["email_id"]) for one in told] == [("pending_send", email_id), ("refused", email_id)]
    assert set(told[0]["details"]) <= {"old", "by", "send_after"}
    assert told[1]["details"] == {}
    # When it is gone, nobody knows any more that it was private.
    await crm.admin.execute("DELETE FROM crm.email WHERE id = $1::text::uuid", email_id)
    assert (await follow(api))["events"][:2] == told


async def test_fifty_clients_who_wait_cost_one_connection_and_all_are_told(api: Api, crm: Crm) -> None:
    """More than fifty are turned away meanwhile: there is room for who only looks, and for probes."""
    assert await crm.admin.fetchval(LISTENERS) == 0
    after = (await follow(api, after="now"))["cursor"]
    turned_away, written_one = asyncio.Event(), asyncio.Event()

    async def until_told() -> Any:
        while True:
            answered = await api.get("/events", params={"after": after, "wait": "8"})
            if answered.status == 503:
                assert "50 clients wait" in check_problem(answered, 503)
                turned_away.set()
                await written_one.wait()
            elif answered.json["events"]:
                return answered.json["events"][0]

    waiting = [asyncio.create_task(until_told()) for _ in range(55)]
    await crm.wait_for(1, LISTENERS)
    async with asyncio.timeout(20):
        await turned_away.wait()
    assert await follow(api, after=after) == {"events": [], "cursor": after}
    await wait_for(api.port, "/healthz", 200)
    made = (await api.post("/emails", written())).json["id"]
    written_one.set()
    async with asyncio.timeout(20):
        told = await asyncio.gather(*waiting)
    assert {(one["kind"], one["email_id"]) for one in told} == {("pending_send", made)}
    assert await crm.admin.fetchval(LISTENERS) == 1


async def test_open_pages_and_clients_with_streams_leave_room_for_others(api: Api, database: str) -> None:
    async with AsyncExitStack() as stack:
        console = ServedConsole(await stack.enter_async_context(Database(database, connections=1)), api.port)
        browsers = await stack.enter_async_context(
            aiohttp.ClientSession(console.origin, connector=aiohttp.TCPConnector(limit=0))
        )
        people = [f"person{number}" for number in range(10)]
        cookies = []
        for name in people:
            await console.add(name)
            cookies.append({"Cookie": f"{SESSION_COOKIE}={await console.session(name)}"})
        for number in range(MOST_PAGES):
            page = await stack.enter_async_context(browsers.get("/queue/events", headers=cookies[number % len(people)]))
            assert page.status == 200
            assert await page.content.readline() == b"retry: 2000\n"
        for _ in range(MOST_CLIENTS):
            assert (await stack.enter_async_context(api.stream("/events/stream?after=now"))).status == 200
        for path, status in (("/queue/events", 503), ("/queue", 200)):
            async with browsers.get(path, headers=cookies[0]) as answered:
                assert answered.status == status
        check_problem(await api.get("/events/stream"), 503)
        await follow(api, after="now")
        await wait_for(api.port, "/healthz", 200)


@pytest.mark.long
async def test_clients_who_take_nothing_are_cut_off_and_hold_no_place(api: Api, crm: Crm) -> None:
    await crm.admin.execute(
        "INSERT INTO crm.event (kind, details) "
        "SELECT 'sent', jsonb_build_object('reason', repeat('x', 10000)) FROM generate_series(1, 3000)"
    )

    async def is_full() -> bool:
        return (await api.get("/events", params={"after": "now", "wait": "0.1"})).status == 503

    async with AsyncExitStack() as stack:

        async def be_silent() -> None:
            silent = stack.enter_context(socket.socket())
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(silent, ("127.0.0.1", api.port))
            head = f"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\n\r\n"
            await loop.sock_sendall(silent, head.encode())

        for _ in range(MOST_CLIENTS):
            await be_silent()
        async with asyncio.timeout(60):
            while not await is_full():
                await be_silent()  # where the machine is slow, the first were cut off before the last came
            for _ in range(5):
                while await is_full():
                    await asyncio.sleep(0.05)
                reader = await stack.enter_async_context(api.stream("/events/stream"))
                assert len(await read_events(reader, 2)) == 2
    assert "without completing" not in api.router.log()


async def test_who_waits_in_vain_is_answered_in_time(api: Api) -> None:
    page = await follow(api, after="now", wait="0.5")
    assert page["events"] == []


async def test_who_waits_while_the_database_goes_away_goes_on_later(
    api: Api, crm: Crm, postgres: Postgres, database: str
) -> None:
    after = (await follow(api, after="now"))["cursor"]
    waiting = asyncio.create_task(api.get("/events", params={"after": after, "wait": "8"}))
    await crm.wait_for(1, LISTENERS)
    async with postgres.away(database):
        check_problem(await waiting, 503)
    async with asyncio.timeout(20):
        while (answered := await api.post("/emails", written())).status == 503:
            await asyncio.sleep(0.05)
        made = answered.json["id"]
        while not (page := await follow(api, after=after, wait="1"))["events"]:
            pass
    assert page["events"][0]["email_id"] == made


async def test_clients_who_wait_do_not_delay_the_end_of_the_router(api: Api, crm: Crm) -> None:
    waiting = [
        asyncio.create_task(api.get("/events", params={"after": "now", "wait": "8"}), name=f"client {number}")
        for number in range(5)
    ]
    await crm.wait_for(1, LISTENERS)
    async with api.stream("/events/stream?after=now") as response:
        await api.router.stop()
        async with asyncio.timeout(20):
            with suppress(aiohttp.ClientError):
                await response.content.read()
    await asyncio.gather(*waiting, return_exceptions=True)


async def read_events(response: aiohttp.ClientResponse, number: int) -> list[dict[str, str]]:
    """Read so many events of a stream."""
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    async with asyncio.timeout(20):
        while len(found) < number:
            line = (await response.content.readline()).decode().rstrip("\n")
            assert line or not response.content.at_eof(), f"the stream ended after {found}"
            name, _, value = line.partition(": ")
            if line and name:
                event[name] = value
                continue
            if "data" in event:
                found.append(event)
            event = {}
    return found


async def test_a_stream_tells_what_happens_as_it_happens_and_goes_on_where_it_was(api: Api, crm: Crm) -> None:
    first = (await api.post("/emails", written())).json["id"]
    async with api.stream("/events/stream") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        [told] = await read_events(response, 1)
        assert (told["event"], json.loads(told["data"])["email_id"]) == ("pending_send", first)
        more = [(await api.post("/emails", written())).json["id"] for _ in range(2)]
        told_more = await read_events(response, 2)
        assert [json.loads(one["data"])["email_id"] for one in told_more] == more
        assert await crm.admin.fetchval(LISTENERS) == 1
    async with api.stream("/events/stream?after=now", headers={"Last-Event-ID": told["id"]}) as response:
        assert await read_events(response, 2) == told_more
    assert [one["cursor"] for one in (await follow(api))["events"]] == [one["id"] for one in [told, *told_more]]
    assert (await api.get("/events/stream", params={"after": "nonsense"})).status == 422


async def test_a_stream_ends_with_its_token(api: Api) -> None:
    token = await api.token_of("follower", "events:read")
    async with api.stream("/events/stream", token=token) as response:
        assert response.status == 200
        assert (await api.router.ask("staff", "end", "follower"))[0] == 0
        async with asyncio.timeout(20):
            await response.content.read()
    assert (await api.get("/events/stream", token=token)).status == 401


async def test_a_stream_tells_nothing_of_what_came_after_its_token_ended(api: Api, crm: Crm) -> None:
    token = await api.token_of("reader", "events:read")
    async with api.stream("/events/stream?after=now", token=token) as response:
        assert (await response.content.readline()).startswith(b"retry:")
        await crm.admin.execute("UPDATE router.staff_token SET expires_at = now() WHERE name = 'reader'")
        await api.post("/emails", written())
        async with asyncio.timeout(20):
            assert b"event:" not in await response.content.read()


async def test_a_slow_stream_is_told_what_is_so_when_there_is_room(crm: Crm, database: str) -> None:
    await crm.owner("staff@in.test", "all")
    email_id = await crm.draft("staff@in.test", "karl@kunde.test", "Offer")
    told: list[bytes] = []
    first, waits, room, done = (asyncio.Event() for _ in range(4))

    async def receive() -> Any:
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        # As uvicorn does: what is sent waits until the client has taken what came before.
        if told:
            waits.set()
            await room.wait()
        if (body := message.get("body", b"")).startswith(b"id:"):
            told.append(body)
            first.set()
            if len(told) == 2:
                done.set()

    async def happens() -> None:
        await crm.admin.execute(
            "INSERT INTO crm.event (kind, email_id, details) VALUES ('refused', $1, $2)",
            email_id,
            json.dumps({"address": "karl@kunde.test"}),
        )

    async def valid() -> bool:
        return True

    async with Database(database, connections=2) as opened:
        backing = Backing(lambda: Profiles((), ()))
        backing.use(opened)
        events = Events(backing)
        following = events.follow(await events.last(), 100, 60)
        await anext(following)
        await happens()
        async with asyncio.timeout(20):
            stream = asyncio.create_task(Stream(following, valid)({"type": "http"}, receive, send))
            await first.wait()
            await happens()
            await waits.wait()
            await crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
            room.set()
            await stream
    assert [b"karl" in one for one in told] == [True, False]


async def test_a_stream_outlasts_a_request_and_holds_one_of_the_places(
    api: Api, postgres: Postgres, database: str
) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(api.stream("/events/stream?after=now")) for _ in range(50)]
        assert "50 clients wait" in check_problem(await api.get("/events/stream"), 503)
        await wait_for(api.port, "/healthz", 200)
        # Two beats come after any other request would have been ended.
        beats = 0
        async with asyncio.timeout(30):
            while beats < 2:
                beats += (await streams[0].content.readline()) == b":\n"
        made = (await api.post("/emails", written())).json["id"]
        for one in streams:
            [told] = await read_events(one, 1)
            assert json.loads(told["data"])["email_id"] == made
    # All places are free again, once the router knows that they are left; a stream ends where the database goes away.
    async with asyncio.timeout(30):
        status = 503
        while status == 503:
            async with api.stream("/events/stream?after=now") as response:
                status = response.status
                if status == 200:
                    async with postgres.away(database):
                        await response.content.read()
    assert status == 200
