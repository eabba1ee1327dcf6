"""What is given to whom: oauthlib asks, and we know the applications, the logins and what was given before."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from oauthlib.oauth2.rfc6749 import errors

from tests.servers.authorization.clients import DOMAIN, PUBLIC, SCOPE, Application, NotBelieved, ServiceAccount
from tests.servers.authorization.identity import Identity

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS = ("client_credentials", "authorization_code", "refresh_token", DEVICE_CODE, JWT_BEARER)


@dataclass
class Asked:
    """One request for a token: `said` is "ok", or the error that was answered."""

    grant: str
    client: str
    subject: str
    said: str


@dataclass(eq=False)
class Family:
    """The refresh tokens of one login, of which the last one is good."""

    client: str
    subject: str
    good: str = ""
    alive: bool = True


@dataclass
class Login:
    """A login that is under way: an authorization code, or a device that waits for `subject`."""

    client: str
    subject: str = ""
    redirect_uri: str = ""
    challenge: str | None = None
    method: str | None = None
    scopes: list[str] = field(default_factory=lambda: [SCOPE])
    nonce: str | None = None
    ends: float = field(default_factory=lambda: time.monotonic() + 60)
    denied: bool = False
    polled: float = 0.0


class Office:
    """Answers oauthlib's questions, as its `RequestValidator`. `seen` is every secret that was ever given or shown."""

    def __init__(
        self, application: Application, account: ServiceAccount, audiences: list[str], identity: Identity
    ) -> None:
        self.identity = identity
        self.application = application
        self.account = account
        self.audiences = audiences
        self.rotate = True
        self.interval = 1.0
        self.seen: set[str] = {application.secret}
        self.codes: dict[str, Login] = {}
        self.devices: dict[str, Login] = {}
        self.families: list[Family] = []
        self.given: list[str] = []
        self.gave_to = ("", "")
        self._family_of: dict[str, Family] = {}

    # Who asks

    def client_authentication_required(self, request: Any, *_: Any, **__: Any) -> bool:
        return self.application.shown_in(request.headers, _form(request))[0] != PUBLIC

    def authenticate_client(self, request: Any, *_: Any, **__: Any) -> bool:
        name, secret = self.application.shown_in(request.headers, _form(request))
        assertion = _form(request).get("client_assertion")
        request.client = _Client(name)
        request.client_id = name
        if name != self.application.client_id:
            return False
        if assertion is not None:
            try:
                self.application.believe(assertion, self.audiences)
            except NotBelieved as error:
                raise errors.InvalidClientError(description=str(error), request=request) from error
            return True
        if self.application.expired:
            words = "AADSTS7000222: The provided client secret keys for app are expired."
            raise errors.InvalidClientError(description=words, request=request)
        return secrets.compare_digest(secret, self.application.secret)

    def authenticate_client_id(self, client_id: str, request: Any, *_: Any, **__: Any) -> bool:
        request.client = _Client(client_id)
        return client_id == PUBLIC

    def validate_client_id(self, client_id: str, _request: object, *_: Any, **__: Any) -> bool:
        return client_id in (PUBLIC, self.application.client_id)

    def validate_grant_type(self, client_id: str, grant_type: str, *_: Any, **__: Any) -> bool:
        return client_id == self.application.client_id or grant_type != "client_credentials"

    def get_default_scopes(self, *_: Any, **__: Any) -> list[str]:
        return [SCOPE]

    def validate_scopes(self, _client_id: str, scopes: list[str], *_: Any, **__: Any) -> bool:
        return set(scopes) <= {SCOPE, "offline_access", "openid", "email", "profile"}

    # A person logs in

    def validate_redirect_uri(self, _client_id: str, redirect_uri: str, *_: Any, **__: Any) -> bool:
        return redirect_uri.startswith(("http://127.0.0.1:", "http://localhost:", "http://localhost/", "http://[::1]:"))

    def get_default_redirect_uri(self, *_: Any, **__: Any) -> None:
        return None

    def validate_response_type(self, _client_id: str, response_type: str, *_: Any, **__: Any) -> bool:
        return response_type == "code"

    def is_pkce_required(self, *_: Any) -> bool:
        return True

    def save_authorization_code(self, client_id: str, code: Any, request: Any, *_: Any, **__: Any) -> None:
        self.seen.add(code["code"])
        self.codes[code["code"]] = Login(
            client_id,
            request.user,
            request.redirect_uri,
            request.code_challenge,
            request.code_challenge_method,
            request.scopes,
            request.nonce,
        )

    def validate_code(self, client_id: str, code: str, _client: Any, request: Any, *_: Any, **__: Any) -> bool:
        login = self.codes.get(code)
        if login is None or login.client != client_id or time.monotonic() > login.ends:
            return False
        request.user, request.scopes = login.subject, login.scopes
        return True

    def get_code_challenge(self, code: str, _request: object) -> str | None:
        return self.codes[code].challenge

    def get_code_challenge_method(self, code: str, _request: object) -> str | None:
        return self.codes[code].method

    def confirm_redirect_uri(self, _client_id: str, code: str, redirect_uri: str, *_: Any, **__: Any) -> bool:
        return self.codes[code].redirect_uri == redirect_uri

    def invalidate_authorization_code(self, _client_id: str, code: str, *_: Any, **__: Any) -> None:
        del self.codes[code]

    # Who that is

    def get_authorization_code_scopes(self, _client_id: str, code: str, *_: Any) -> list[str]:
        return self.codes[code].scopes if code in self.codes else []

    def get_authorization_code_nonce(self, _client_id: str, code: str, *_: Any) -> str | None:
        return self.codes[code].nonce

    def validate_user_match(self, *_: Any) -> bool:
        return True

    def get_id_token(self, *_: Any) -> None:
        return None

    def finalize_id_token(self, id_token: Any, _token: object, _handler: object, request: Any) -> str:
        return self.identity.token_of(request.user, id_token)

    def validate_device_code(self, client_id: str, device_code: str, request: Any) -> str | None:
        login = self.devices.get(device_code)
        if login is None or login.client != client_id:
            return None
        now, earlier = time.monotonic(), login.polled
        login.polled = now
        if now > login.ends:
            return "expired_token"
        if login.denied:
            return "access_denied"
        if earlier and now - earlier < self.interval * 0.9:
            return "slow_down"
        if not login.subject:
            return "authorization_pending"
        request.user, request.scopes = login.subject, [SCOPE]
        return "authorized"

    # What was given

    def save_token(self, token: Any, request: Any, *_: Any, **__: Any) -> None:
        self.seen.add(token["access_token"])
        self.given.append(token["access_token"])
        self.gave_to = request.client_id, request.user or ""
        if request.grant_type == DEVICE_CODE:
            del self.devices[request.device_code]
        refresh = token.get("refresh_token")
        if refresh is not None:
            family = self._family_of.get(request.refresh_token or "")
            self.keep(family or Family(request.client_id, request.user), refresh)

    def keep(self, family: Family, refresh_token: str) -> None:
        """Go on with a login, or begin it, with this refresh token."""
        if family not in self.families:
            self.families.append(family)
        family.good = refresh_token
        self._family_of[refresh_token] = family
        self.seen.add(refresh_token)

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *_: Any, **__: Any) -> bool:
        family = self._family_of.get(refresh_token)
        if family is None or family.client != client.client_id:
            return False
        request.user = family.subject
        if family.good != refresh_token:
            family.alive = False  # somebody has stolen one: it cannot be told who (RFC 9700 §4.14)
        return family.alive

    def get_original_scopes(self, *_: Any, **__: Any) -> list[str]:
        return [SCOPE, "offline_access"]

    def refresh_id_token(self, _request: object) -> bool:
        return False  # none comes with a refreshed token: OpenID Connect Core 12.2 leaves it open

    def rotate_refresh_token(self, _request: object) -> bool:
        return self.rotate

    def revoke_token(self, token: str, *_: Any, **__: Any) -> None:
        if token in self._family_of:
            self._family_of[token].alive = False


class JwtBearer:
    """A service account asks in a user's name (RFC 7523 §2.1, as Google has it)."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def create_token_response(self, request: Any, token_handler: Any) -> Any:
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        try:
            try:
                subject, scope = self._office.account.subject_of(request.assertion or "", self._office.audiences)
            except NotBelieved as error:
                raise errors.InvalidGrantError(description=str(error), request=request) from error
            request.client_id = self._office.account.email
            request.user, request.scopes = subject, scope.split()
            if request.scopes != [SCOPE]:
                words = (
                    "Client is unauthorized to retrieve access tokens using this method, or for the scopes requested."
                )
                raise errors.UnauthorizedClientError(description=words, request=request)
            if not subject.endswith(f"@{DOMAIN}"):
                raise errors.InvalidGrantError(description="Invalid email or User ID", request=request)
        except errors.OAuth2Error as error:
            return headers, error.json, error.status_code
        token = token_handler.create_token(request, refresh_token=False)
        token.pop("scope")
        self._office.save_token(token, request)
        return headers, json.dumps(token), 200


class _Client:
    """What oauthlib wants of a client."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id


def _form(request: Any) -> dict[str, str]:
    return dict(request.decoded_body or ())


TokenOf = Callable[[str, float], str]
"""Makes an access token for a mailbox, or for `*@DOMAIN`, that lasts so many seconds."""
