"""The address on loopback to which a browser comes back."""

import asyncio
import socket
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from router.oauth2 import loopback
from router.oauth2.loopback import Loopback
from transports.errors import Permanent

STATE = "the-state"


async def ask(url: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    async with aiohttp.ClientSession() as http, http.request(method, URL(url, encoded=True)) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def test_a_browser_is_waited_for_on_both_addresses() -> None:
    for host in ("127.0.0.1", "[::1]"):
        async with Loopback() as listening:
            port = urlsplit(listening.redirect_uri).port
            came = asyncio.create_task(listening.come_back(STATE))
            await asyncio.sleep(0)
            status, page, headers = await ask(f"http://{host}:{port}/?code=a%2Bb%26%2F&state={STATE}")
            assert status == 200
            assert await came == f"http://localhost:{port}/?code=a%2Bb%26%2F&state={STATE}"
        assert "You may close this window" in page
        assert "a%2B" not in page
        assert "a+b" not in page
        assert "<script" not in page
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert "aiohttp" not in headers["Server"]
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(f"http://{host}:{port}/")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/?code=theirs"),
        ("GET", "/?code=theirs&state=another"),
        ("GET", "/?code=theirs&state="),
        ("GET", f"/?code=theirs&state={STATE}&state=another"),
        ("GET", "/?state=%C3%A9%00"),
        ("GET", f"/favicon.ico?state={STATE}"),
        ("POST", f"/?code=theirs&state={STATE}"),
        ("HEAD", f"/?code=theirs&state={STATE}"),
    ],
)
async def test_nobody_else_is_taken_for_the_browser(method: str, path: str) -> None:
    async with Loopback() as listening:
        came = asyncio.create_task(listening.come_back(STATE))
        await asyncio.sleep(0)
        status, _, headers = await ask(listening.redirect_uri.rstrip("/") + path, method)
        assert status == 404
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert not came.done()
        assert (await ask(f"{listening.redirect_uri}?error=access_denied&state={STATE}"))[0] == 200
        assert (await came).endswith(f"?error=access_denied&state={STATE}")
        # Who loads the page again sees it again.
        assert (await ask(f"{listening.redirect_uri}?code=second&state={STATE}"))[0] == 200
        assert (await came).endswith(f"?error=access_denied&state={STATE}")


async def test_before_there_is_a_state_nobody_is_the_browser() -> None:
    async with Loopback() as listening:
        assert (await ask(f"{listening.redirect_uri}?code=theirs&state="))[0] == 404


async def test_who_connects_and_says_nothing_keeps_nobody() -> None:
    async with Loopback() as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(listening.redirect_uri).port)
        writer.write(b"GET /?state=")
        came = asyncio.create_task(listening.come_back(STATE))
        await asyncio.sleep(0)
        assert (await ask(f"{listening.redirect_uri}?code=a&state={STATE}"))[0] == 200
        await came
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_port_that_is_taken_of_one_family_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = loopback._bound
    taken: list[socket.socket | None] = []

    def bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket | None:
        if family == socket.AF_INET6 and len(taken) < 2:
            taken.append(bound(family, host, port))  # somebody was faster
        return bound(family, host, port)

    monkeypatch.setattr(loopback, "_bound", bind)
    async with Loopback() as listening:
        assert urlsplit(listening.redirect_uri).port not in [one.getsockname()[1] for one in taken if one]
    for one in taken:
        assert one is not None
        one.close()


async def test_a_machine_without_loopback_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "_bound", lambda *_: None)
    with pytest.raises(Permanent, match="--paste does without"):
        async with Loopback():
            pass
