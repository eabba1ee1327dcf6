"""Headers that every answer has: nobody keeps it, nobody takes it for what it is not, and no page can use it."""

from collections.abc import Mapping
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What is right for an answer that is no page."""

_LASTING_TLS: Final = "max-age=31536000"


class Headed:
    """An application whose every answer has these headers; what it has set itself stays."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = ALWAYS) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", _LASTING_TLS)
            await send(message)

        await self._app(scope, receive, send_on)
