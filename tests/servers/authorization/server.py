"""The authorization server itself: HTTP in a thread of its own, and the knobs by which it misbehaves."""

import asyncio
import html
import json
import secrets
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from oauthlib.oauth2 import OAuth2Error
from oauthlib.oauth2.rfc8628.endpoints import DeviceAuthorizationEndpoint
from oauthlib.openid import Server

from tests.servers.authorization.clients import DOMAIN, Application, ServiceAccount
from tests.servers.authorization.grants import (
    GRANTS,
    JWT_BEARER,
    Asked,
    Family,
    JwtBearer,
    Login,
    Office,
    TokenOf,
)
from tests.servers.authorization.identity import Identity
from tests.servers.ports import free_port
from tests.servers.tls import Tls

_SHOWN: Final = (
    "client_secret",
    "client_assertion",
    "assertion",
    "refresh_token",
    "code",
    "code_verifier",
    "device_code",
)
"""The fields of a request that nobody else may read."""

_PAGE: Final = """<!doctype html><title>Log in</title><form method="post">
<p><label>Mailbox <input name="user" autofocus></label><button>Log in</button></form>{}"""


class AuthorizationServer:
    """Runs from its making until `close`; `token_of` makes its access tokens (`Dovecot.token`).

    `issuer`, `token_url` … are its addresses. `asked` are the requests for tokens that it answered, in order, `given`
    the access tokens, `seen` every secret that it gave or was shown. `lifetime` is that of access tokens in seconds;
    `rotate`: a refresh token is good once, and its second use ends the login. `spoils`: it gives access tokens that no
    mail server takes. `identity` says who people are (OpenID Connect); `document` is added to the discovery document.
    """

    def __init__(
        self, folder: Path, token_of: TokenOf, *, tls: Tls | None = None, certificate: Path | None = None
    ) -> None:
        """`tls`: it speaks https. `certificate` (PEM) is the application's."""
        self._tls = tls
        self._port = free_port()
        self.issuer = f"{'https' if tls else 'http'}://localhost:{self._port}"
        self.token_url, self.authorization_url = f"{self.issuer}/token", f"{self.issuer}/authorize"
        self.device_url, self.login_url = f"{self.issuer}/device", f"{self.issuer}/login"
        self.lifetime = 3600.0
        self.spoils = False
        self.application = Application("crm-router", certificate=certificate)
        self.account = ServiceAccount(folder, self.token_url)
        self.asked: list[Asked] = []
        self.identity = Identity(self.issuer)
        self.document: dict[str, Any] = {}
        self._office = Office(self.application, self.account, [self.token_url, self.issuer], self.identity)
        self._token_of = token_of
        answers: Any = self._office
        self._oauth = self._make_protocol(answers)
        self._devices = DeviceAuthorizationEndpoint(
            answers,
            verification_uri=self.login_url,
            interval=1,
            expires_in=60,
            verification_uri_complete=self.login_url + "?user_code={user_code}",
            user_code_generator=_user_code,
        )
        self._user_codes: dict[str, Login] = {}
        self._fault: Callable[[], Awaitable[web.StreamResponse]] | None = None
        self._withheld: set[str] = set()
        self._held = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="authorization server", daemon=True)
        self._thread.start()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.start()

    # Life

    def start(self) -> None:
        """Listen, on the same port as before, with all that was given before."""
        self._run(self._start())

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        self._run(self._stop())

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # What it did

    @property
    def given(self) -> list[str]:
        """The access tokens, in order."""
        return self._office.given

    @property
    def seen(self) -> set[str]:
        """Every token, secret, code, assertion and verifier that it gave or was shown, and the account's key."""
        return self._office.seen | {line for line in self.account.private_key.splitlines() if len(line) > 40}

    def count(self, grant: str = "", subject: str = "", said: str = "") -> int:
        """How many requests for tokens were answered: all, or of this grant, for this mailbox, with this answer."""
        return sum(
            grant in ("", one.grant) and subject in ("", one.subject) and said in ("", one.said) for one in self.asked
        )

    # What it does on command

    def throttle(self, seconds: int) -> None:
        """Answer each request for a token with 429, and Retry-After, until `mend`."""

        async def answer() -> web.StreamResponse:
            return web.json_response({"error": "slow_down"}, status=429, headers={"Retry-After": str(seconds)})

        self._fault = answer

    def break_with(self, status: int, body: str = "", content_type: str = "text/html") -> None:
        """Answer each request for a token with these words, until `mend`."""

        async def answer() -> web.StreamResponse:
            return web.Response(status=status, text=body, content_type=content_type)

        self._fault = answer

    def hang(self) -> None:
        """Take requests for tokens, do nothing with them, and answer none, until `mend`."""

        async def answer() -> web.StreamResponse:
            self._held.set()
            await self._released.wait()
            return web.Response(status=503)

        self._hold()
        self._fault = answer

    def withhold(self, grant: str = "") -> None:
        """Do what is asked, and keep back the answers, of one grant or all, until `mend`: what rotates is rotated."""
        self._hold()
        self._withheld = {grant} if grant else set(GRANTS)

    def wait_until_held(self, timeout: float = 20) -> None:
        """Return once a request hangs, or its answer is withheld."""
        if not self._held.wait(timeout):
            raise TimeoutError(f"nobody asked within {timeout:g} s")

    def mend(self) -> None:
        """Do as one should, and answer what hangs."""
        self._fault, self._withheld = None, set()
        self._loop.call_soon_threadsafe(self._released.set)

    def revoke(self, subject: str = "") -> None:
        """End the logins of a user, or all; access tokens that were given go on until their end."""
        for family in self._office.families:
            if subject in ("", family.subject):
                family.alive = False

    def expire_secret(self) -> None:
        """End the application's secret."""
        self.application.expired = True

    @property
    def rotate(self) -> bool:
        """Whether a refresh token is good only once."""
        return self._office.rotate

    @rotate.setter
    def rotate(self, does: bool) -> None:
        self._office.rotate = does

    @property
    def interval(self) -> float:
        """Seconds between two questions of a device; who asks earlier is told to slow down."""
        return self._office.interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        self._office.interval = seconds

    # Logins

    def first_refresh_token(self, subject: str) -> str:
        """Give a refresh token to the application, as after a login somewhere else."""
        token = _random(None)
        self._office.keep(Family(self.application.client_id, subject), token)
        return token

    def approve(self, user_code: str, user: str) -> None:
        """Log in as a user, with the code that a device shows; as nobody: deny it."""
        login = self._user_codes[user_code.upper()]
        login.subject, login.denied = user, not user

    # Inside

    def _hold(self) -> None:
        self._held.clear()
        self._released = asyncio.Event()

    def _make_protocol(self, answers: Any) -> Any:
        def access_token(request: Any) -> str:
            subject = request.user if request.grant_type != "client_credentials" else f"*@{DOMAIN}"
            # Dovecot counts in whole seconds: no token ends there before its time.
            return self._token_of(subject, -60 if self.spoils else self.lifetime + 1)

        server: Any = Server(answers, token_expires_in=lambda _: int(self.lifetime), token_generator=access_token)
        server.bearer.refresh_token_generator = _random
        del server.grant_types["password"]
        server.grant_types[JWT_BEARER] = JwtBearer(self._office)
        return server

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discover)
        app.router.add_get("/.well-known/oauth-authorization-server", self._discover)
        app.router.add_post("/token", self._token)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/authorize", self._authorize)
        app.router.add_post("/device", self._device)
        app.router.add_get("/login", self._login)
        app.router.add_post("/login", self._login)
        app.router.add_post("/revoke", self._revoke)
        app.router.add_get("/keys", self._keys)
        app.router.add_get("/logout", self._logout)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = None
        if self._tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._tls.certificate, self._tls.key)
        await web.TCPSite(self._runner, "localhost", self._port, ssl_context=context, reuse_address=True).start()

    async def _stop(self) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _discover(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "issuer": self.issuer,
                "token_endpoint": self.token_url,
                "authorization_endpoint": self.authorization_url,
                "device_authorization_endpoint": self.device_url,
                "revocation_endpoint": f"{self.issuer}/revoke",
                "grant_types_supported": list(GRANTS),
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "client_secret_basic",
                    "private_key_jwt",
                    "none",
                ],
                "jwks_uri": f"{self.issuer}/keys",
                "end_session_endpoint": f"{self.issuer}/logout",
                "id_token_signing_alg_values_supported": ["RS256", "ES256"],
                "subject_types_supported": ["public"],
                "authorization_response_iss_parameter_supported": True,
                **self.document,
            }
        )

    async def _keys(self, _: web.Request) -> web.StreamResponse:
        if self._fault is not None:
            return await self._fault()
        return web.json_response(self.identity.as_json())

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.query["post_logout_redirect_uri"])

    async def _token(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        form = dict(parse_qsl(body))
        self._note_secrets(request, form)
        if self._fault is not None:
            answer = await self._fault()
            self.asked.append(Asked(form.get("grant_type", ""), "", "", str(answer.status)))
            return answer
        self._office.gave_to = ("", "")
        headers, text, status = self._oauth.create_token_response(
            self.token_url, "POST", body, {name.title(): value for name, value in request.headers.items()}
        )
        answer = web.Response(status=status, text=text, headers=headers)
        client, subject = self._office.gave_to
        said = "ok" if status == 200 else _error_in(text)
        if said not in ("authorization_pending", "slow_down"):
            self.asked.append(Asked(form.get("grant_type", ""), client, subject, said))
        if form.get("grant_type") in self._withheld:
            self._held.set()
            await self._released.wait()
        return answer

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        """Show a page on which one logs in by naming the mailbox; its answer sends the browser back."""
        url = f"{self.issuer}{request.path_qs}"
        try:
            self._oauth.validate_authorization_request(url)
            if request.method == "GET":
                return web.Response(text=_PAGE.format(""), content_type="text/html")
            user = str((await request.post()).get("user", ""))
            headers, text, status = self._oauth.create_authorization_response(
                url, scopes=None, credentials={"user": user}
            )
        except OAuth2Error as error:
            return web.Response(status=400, text=_PAGE.format(html.escape(str(error))), content_type="text/html")
        if "Location" in headers:  # RFC 9207
            headers["Location"] += f"&{urlencode({'iss': self.issuer})}"
        return web.Response(status=status, text=text, headers=headers)

    async def _device(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self._note_secrets(request, dict(parse_qsl(body)))
        headers = {name.title(): value for name, value in request.headers.items()}
        try:
            _, told, status = self._devices.create_device_authorization_response(self.device_url, "POST", body, headers)
        except OAuth2Error as error:
            return web.Response(status=error.status_code, text=error.json, content_type="application/json")
        user_code, device_code = str(told["user_code"]), str(told["device_code"])
        client = self.application.shown_in(headers, dict(parse_qsl(body)))[0]
        self._user_codes[user_code] = self._office.devices[device_code] = Login(client)
        self._office.seen.add(device_code)
        return web.json_response(told, status=status)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(text=_PAGE.format(""), content_type="text/html")
        form = await request.post()
        code = str(form.get("user_code", request.query.get("user_code", ""))).upper()
        if code not in self._user_codes:
            return web.Response(status=400, text=_PAGE.format("This code is not known."), content_type="text/html")
        self.approve(code, str(form.get("user", "")))
        return web.Response(text="You are logged in. Close this window.")

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        headers, text, status = self._oauth.create_revocation_response(
            f"{self.issuer}/revoke", "POST", await request.text(), dict(request.headers)
        )
        return web.Response(status=status, text=text, headers=headers)

    def _note_secrets(self, request: web.Request, form: dict[str, str]) -> None:
        self._office.seen |= {form[name] for name in _SHOWN if form.get(name)}
        if kept := request.headers.get("Authorization", "").partition(" ")[2]:
            self._office.seen.add(kept)


def _random(_: object) -> str:
    return secrets.token_urlsafe(32)


def _user_code(*_: None) -> str:
    return secrets.token_hex(4).upper()


def _error_in(text: str) -> str:
    return str(json.loads(text)["error"])
