"""What open pages of the queue are told as mail comes: read once for all who see the same, and of no other mail."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import pytest

from router.errors import DatabaseAway
from router.operations.backing import Backing
from router.operations.queue import pages
from router.profile import Profiles
from router.repository.senders import fold
from router.web.app import console_app
from router.web.console import make_console
from router.web.console.guard import SESSION_COOKIE
from tests.support.crm import Crm
from tests.support.pages import ServedConsole, serving
from tests.support.senders import Senders

LENA = "lena@kestrel.test"
PAGES = 19  # of one person, who has one more that searches: twenty are the most


async def opened(stack: AsyncExitStack, console: ServedConsole, name: str, query: str = "") -> AsyncIterator[Any]:
    """Open a page's stream; what it is told, one by one: the name of each event with its data, None for a heartbeat."""
    headers = {"Cookie": f"{SESSION_COOKIE}={await console.session(name)}"}
    http = await stack.enter_async_context(aiohttp.ClientSession())
    answer = await stack.enter_async_context(http.get(f"{console.origin}/queue/events{query}", headers=headers))
    assert answer.status == 200

    async def told() -> AsyncIterator[Any]:
        event = ""
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                yield event, json.loads(value)
            elif name == ":":
                yield None

    stream = told()
    assert await anext(stream) == ("many", None)
    return stream


async def listening(stack: AsyncExitStack, console: ServedConsole) -> None:
    """Open a first page, for which the console begins to listen: what was said before that is unknown."""
    await console.add("first")
    assert await anext(await opened(stack, console, "first")) == ("many", None)


async def test_what_changes_is_read_once_for_all_pages_and_told_to_those_who_see_it(
    crm: Crm, senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales = await crm.owner("sales@in.test", "all")
    read = pages.changed
    asked: list[object] = []

    async def changed(database: Any, seen: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(seen)
        return await read(database, seen, *arguments, **more)

    monkeypatch.setattr(pages, "changed", changed)
    async with serving(senders.database) as console, AsyncExitStack() as stack:
        await listening(stack, console)
        await console.add("ann")
        await console.add("ben", "decide", [sales])
        open_pages = [await opened(stack, console, "ann") for _ in range(PAGES)]
        others = await opened(stack, console, "ben")
        searched = await opened(stack, console, "ann", "?q=hello")
        await senders.write(LENA, 2, subject="Frames for <spring>")
        await fold.fold(senders.database)
        async with asyncio.timeout(30):
            events = [await anext(one) for one in open_pages]
            _, found = await anext(searched)
            assert await anext(others) is None
    [told] = {json.dumps(event) for event in events}
    name, changes = json.loads(told)
    assert (name, changes["senders"]) == ("senders", [LENA])
    assert 'data-part="@kestrel.test"' in changes["html"]
    assert changes["html"].count(f'data-address="{LENA}"') == 1
    assert "Frames for &lt;spring&gt;" in changes["html"]
    # What is searched for is a list of emails, in which no group belongs.
    assert "data-part" not in found["html"]
    assert f'data-address="{LENA}"' in found["html"]
    # Two views of the same mail, not one read for each page.
    assert set(asked) == {None}
    assert len(asked) < PAGES / 2


async def test_who_cannot_be_read_now_is_asked_for_by_the_page(
    senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseAway("it is away")

    async with serving(senders.database) as console, AsyncExitStack() as stack:
        await listening(stack, console)
        await console.add("ann")
        page = await opened(stack, console, "ann")
        monkeypatch.setattr(pages, "changed", away)
        await senders.write(LENA)
        await fold.fold(senders.database)
        async with asyncio.timeout(30):
            assert await anext(page) == ("senders", {"senders": [LENA], "html": None})


async def test_a_slow_page_is_told_what_is_so_when_there_is_room(crm: Crm, senders: Senders) -> None:
    begun, waits, room, told = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    rows = b""

    async def receive() -> Any:
        await told.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        # As uvicorn does: what is sent waits until the browser has taken what came before.
        nonlocal rows
        if begun.is_set():
            waits.set()
            await room.wait()
        if message.get("body", b"").startswith(b"event: senders"):
            begun.set()
            if LENA.encode() in message["body"]:
                rows = message["body"]
                told.set()

    async def none() -> list[str]:
        return []

    backing = Backing(lambda: Profiles((), ()))
    async with serving(senders.database, backing=backing) as console, AsyncExitStack() as stack:
        await listening(stack, console)
        await console.add("ann")
        cookie = f"{SESSION_COOKIE}={await console.session('ann')}".encode()
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/queue/events",
            "raw_path": b"/queue/events", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
            "server": ("localhost", 80), "headers": [(b"host", b"localhost"), (b"cookie", cookie)],
        }  # fmt: skip
        async with asyncio.timeout(30):
            app = console_app(none, None, make_console(backing))
            page = asyncio.ensure_future(app(scope, receive, send))
            while not begun.is_set():  # it is told first that it knows nothing, and rests a while
                await senders.write("jo@kestrel.test")
                await fold.fold(senders.database)
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await begun.wait()
            [email] = await senders.write(LENA, subject="Frames for spring")
            await fold.fold(senders.database)
            await waits.wait()
            await crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", email)
            while await fold.fold(senders.database):
                pass
            room.set()
            await page
    assert LENA.encode() in rows
    assert b"Frames" not in rows
