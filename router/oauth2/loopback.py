"""Listens on loopback for the browser that comes back from a person's login (RFC 8252 §7.3).

Whoever asks for anything but this login's own address is answered 404, and waited on.
"""

import asyncio
import errno
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Final, Self

from aiohttp import web

from transports.errors import Permanent

_ATTEMPTS: Final = 10  # ports that may be free for one of the two families alone
_LEAVING: Final = 1.0  # seconds in which the page may still reach the browser
_BACKLOG: Final = 8

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>email-router</title>
<p>You may close this window: email-router goes on in the terminal.</p>
</html>
"""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address has the code
    "Server": "email-router",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Loopback:
    """Listens at a free port of 127.0.0.1 and ::1 while it is entered; raises Permanent where that cannot be.

    `redirect_uri` is known from then on; `come_back` waits for the browser.
    """

    def __init__(self) -> None:
        self.redirect_uri = ""
        self._state = ""
        self._came: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._runner = web.AppRunner(_application(self._answer), access_log=None, shutdown_timeout=_LEAVING)

    async def __aenter__(self) -> Self:
        try:
            sockets = _bound_alike()
        except OSError as error:
            words = f"cannot listen for the browser on this machine ({error.strerror})"
            raise Permanent(f"{words}: --paste does without") from error
        self.redirect_uri = f"http://localhost:{sockets[0].getsockname()[1]}/"
        await self._runner.setup()
        for one in sockets:
            await web.SockSite(self._runner, one, backlog=_BACKLOG).start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def come_back(self, state: str) -> str:
        """Return the address that the browser of the login with this state was sent to."""
        self._state = state
        return await asyncio.shield(self._came)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        told = request.query.getall("state", [])
        known = len(told) == 1 and secrets.compare_digest(told[0].encode(), self._state.encode())
        if request.method != "GET" or request.path != "/" or not self._state or not known:
            return web.Response(status=404, text="404: Not Found", headers=_HEADERS)
        answer = web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)
        answer.force_close()
        await answer.prepare(request)
        await answer.write_eof()
        # Only now, so that the page is there before we go.
        if not self._came.done():
            self._came.set_result(self.redirect_uri.rstrip("/") + request.raw_path)  # as it came, not decoded
        return answer


def _application(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application


def _bound_alike() -> Sequence[socket.socket]:
    """Bind one free port of both families, since either may be meant by localhost; or of the one there is."""
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            sockets: list[socket.socket] = []
            try:
                for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                    if (one := _bound(family, host, sockets[0].getsockname()[1] if sockets else 0)) is not None:
                        sockets.append(stack.enter_context(one))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            if sockets:
                stack.pop_all()
                return sockets
    raise OSError(errno.EADDRINUSE, "no port of this machine is free")


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket | None:
    """Bind; None where the machine has no such address."""
    try:
        one = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    return one
