"""What goes wrong is told by the contract's errors only, in words, and without the secret."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conformance.kinds import every_way
from tests.conformance.post import SECRET, Post
from tests.conformance.reading import fetched, message, subjects
from tests.servers.imap_server import HOST
from tests.servers.ports import free_port
from transports.base import Account, After, Place, Settlement
from transports.errors import TransportError, Unauthorized, Unreachable

NEEDING_THE_SERVER = ("list", "the present", "fetch", "headers", "settle")
"""What asks the server also where a kind asks it only now and then."""

CALLS: dict[str, Callable[[Account, Place], Awaitable[Any]]] = {
    "list": lambda account, _: account.folder("INBOX").list(None, 10),
    "the present": lambda account, _: account.folder("INBOX").list(None, 0),
    "fetch": lambda account, place: fetched(account.folder("INBOX"), [place]),
    "headers": lambda account, place: fetched(account.folder("INBOX"), [place], "headers"),
    "settle": lambda account, place: account.folder("INBOX").settle([Settlement(place, After("delete"))]),
    "folders": lambda account, _: account.folders(),
    "changed": lambda account, _: account.changed(),
    "wait": lambda account, _: account.wait(600),
}


async def refusal(account: Account) -> TransportError:
    """What entering raises."""
    with pytest.raises(TransportError) as caught:
        async with account:
            pass
    return caught.value


@every_way("login")
async def test_a_wrong_password(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "not-the-password")

    error = await refusal(post.open())
    assert isinstance(error, Unauthorized)
    assert post.mailbox in str(error)
    assert HOST in str(error)
    assert "not-the-password" not in str(error)
    assert error.__cause__ is None or "not-the-password" not in str(error.__cause__)


@every_way("login")
async def test_a_certificate_of_nobody_known(post: Post) -> None:
    error = await refusal(post.open(ca_file=None))
    assert isinstance(error, Unreachable)
    assert HOST in str(error)
    assert "certificate" in str(error)


@every_way("login")
async def test_nobody_there(post: Post) -> None:
    port = free_port()
    error = await refusal(post.open(port=port))
    assert isinstance(error, Unreachable)
    assert f"{HOST}:{port}" in str(error)


@every_way("login")
async def test_the_wrong_security_for_the_port(post: Post) -> None:
    other = "starttls" if post.way.security == "tls" else "tls"
    # Each side waits for the other to begin, where TLS is spoken from the start.
    error = await refusal(post.open(security=other, timeout=1))
    assert isinstance(error, Unreachable)
    assert HOST in str(error)
    speaks = {"tls": "it begins in clear text", "starttls": "it speaks TLS from the start"}
    assert speaks[other].removeprefix("it ") in str(error)


@every_way("login", "told", fixture="own_post")
async def test_a_killed_server_ends_the_waiting(own_post: Post) -> None:
    async with own_post.open() as account:
        await account.folder("INBOX").list(None, 10)
        waiting = asyncio.create_task(account.wait(600))
        await asyncio.sleep(0)
        await asyncio.to_thread(own_post.server.kill)
        with pytest.raises(Unreachable, match=HOST):
            await asyncio.wait_for(waiting, 30)
        # What is lost stays lost.
        for call in ("folders", "changed", "wait"):
            with pytest.raises(Unreachable, match=HOST):
                await asyncio.wait_for(CALLS[call](account, Place("", "1")), 30)


@every_way("login", fixture="own_post")
async def test_a_killed_server(own_post: Post) -> None:
    own_post.put(message("one"), message("two"))

    async with own_post.open() as account:
        box = account.folder("INBOX")
        listing = await box.list(None, 10)
        await asyncio.to_thread(own_post.server.kill)
        for call in NEEDING_THE_SERVER:
            with pytest.raises(Unreachable, match=HOST):
                await asyncio.wait_for(CALLS[call](account, listing.copies[0].place), 30)
    assert isinstance(await refusal(own_post.open()), Unreachable)

    own_post.server.start()
    own_post.put(message("three"))
    async with own_post.open() as account:
        box = account.folder("INBOX")
        assert await subjects(box, listing.cursor) == ["three"]
        assert [copy.place for copy in await fetched(box, [one.place for one in listing.copies])] == [
            one.place for one in listing.copies
        ]


@pytest.mark.parametrize("call", CALLS)
@every_way("login")
async def test_an_account_that_is_closed(post: Post, call: str) -> None:
    post.put(message("one"))
    async with post.open() as account:
        place = (await account.folder("INBOX").list(None, 1)).copies[0].place

    with pytest.raises(TransportError, match=r"\w \w"):
        await asyncio.wait_for(CALLS[call](account, place), 30)
