"""A provider that signs people in to the console (OpenID Connect), and a browser without a screen that goes there."""

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from router.settings import Settings
from tests.servers.authorization import AuthorizationServer
from tests.support.pages import ServedConsole

USER: Final = "ann@in.test"


@contextmanager
def running_provider(folder: Path) -> Iterator[AuthorizationServer]:
    """Run a provider on loopback, whose access tokens open nothing."""
    server = AuthorizationServer(folder, lambda _mailbox, _lifetime: secrets.token_urlsafe(24))
    try:
        yield server
    finally:
        server.close()


def settings_of(provider: AuthorizationServer, folder: Path, port: int, **more: Any) -> Settings:
    """The settings of a console at this port that signs people in there."""
    secret = folder / "client-secret"
    secret.write_text(provider.application.secret + "\n")
    usual: dict[str, Any] = {
        "profiles": folder,
        "console_url": f"http://localhost:{port}",
        "oidc_issuer": provider.issuer,
        "oidc_client_id": provider.application.client_id,
        "oidc_client_secret": secret,
        "oidc_name": "Office",
    }
    return Settings(**(usual | more))


class Visitor:
    """A browser of one person, as HTTP sees it: what it keeps are cookies, and each site has its own."""

    def __init__(self, console: ServedConsole) -> None:
        self.console = console
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, **headers: str) -> tuple[int, str, Mapping[str, str]]:
        """Get a page of the console; returns status, text, and headers."""
        return await self._ask("GET", path, headers)

    async def post(self, path: str, page: str, **form: str) -> tuple[int, str, Mapping[str, str]]:
        """Post a form, with the token of the page that it stands on."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
        token = {"csrf": found[1]} if found else {}
        return await self._ask("POST", path, {"Sec-Fetch-Site": "same-origin"}, {**token, **form})

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> tuple[int, str, Mapping[str, str]]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with (
            aiohttp.ClientSession(self.console.origin, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method, path, headers={"Cookie": cookies, **headers}, data=form, allow_redirects=False
            ) as response,
        ):
            for name, morsel in response.cookies.items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
            return response.status, await response.text(), response.headers

    async def go(self, to: str = "/account") -> str:
        """Begin to sign in; returns where the console sends the browser."""
        status, text, headers = await self.get(f"/sign-in/provider?to={to}")
        assert status == 303, text
        return headers["Location"]

    async def log_in(self, there: str, user: str = USER) -> str:
        """Log in at the provider; returns the path and query of the console with which the browser is sent back."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(there, data={"user": user}, allow_redirects=False) as response,
        ):
            parts = urlsplit(response.headers["Location"])
        return f"{parts.path}?{parts.query}"

    async def sign_in(self, user: str = USER, to: str = "/account") -> tuple[int, str, Mapping[str, str]]:
        """Go the whole way; returns what the console answers who comes back."""
        return await self.get(await self.log_in(await self.go(to), user))
