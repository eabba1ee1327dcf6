"""What to ask a token server for each grant, and what its answer means (RFC 6749 §4 to §6). Does no I/O."""

import base64
import html
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from oauthlib.oauth2 import OAuth2Error
from oauthlib.oauth2.rfc6749.parameters import parse_token_response, prepare_token_request

from router.http import Answer, server_of
from router.model.token_fault import FaultKind
from router.oauth2.causes import TOO_OFTEN, Cause, cause_of
from router.oauth2.discovery import Endpoints
from transports import OAuth2
from transports.base import storable
from transports.errors import Permanent, Temporary, TransportError, Unauthorized

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_UNTOLD: Final = 3600  # seconds that a token lasts whose server does not say
_LONGEST: Final = 86400  # seconds for which one is believed to
_SHORTEST_SECRET: Final = 6  # characters: what is shorter would be found in any words
_WORDS: Final = 300  # characters of what a server says
_OF_LITTLE_WEIGHT: Final = ("expires_in", "expires_at", "scope")
_TAG: Final = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Request:
    """What to post. `secrets` are those in it, which no error may quote."""

    url: str
    form: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: Collection[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token server gave; durations are in seconds since the request began.

    `id_token` says who logged in, where the scope has openid; nothing of it is verified yet.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lasts: float
    refresh_lasts: float | None
    scope: str | None
    id_token: str | None = field(default=None, repr=False)


class Refused(Exception):
    """What a token server said in place of a token; `cause` tells what that means."""

    def __init__(self, cause: Cause, said: str, retry_after: float | None = None, error: str = "") -> None:
        self.cause = cause
        self.said = said
        self.retry_after = retry_after
        self.error = error
        super().__init__(f"{cause.words}: {said}" if said else cause.words)


def error_of(kind: FaultKind, words: str, retry_after: float | None = None) -> TransportError:
    """Make the error that says what to do next."""
    if kind == "temporary":
        return Temporary(words, retry_after)
    return Unauthorized(words) if kind == "refused" else Permanent(words)


def request_of(
    oauth2: OAuth2,
    endpoints: Endpoints,
    *,
    secret: str | None = None,
    client_assertion: str | None = None,
    **grant: str,
) -> Request:
    """Say what to post for a token.

    `grant` has what the grant needs: `refresh_token`; `assertion` of a service account; `code`, `redirect_uri` and
    `code_verifier`; `device_code`; nothing for client_credentials.
    """
    kinds = {
        "refresh_token": "refresh_token",
        "assertion": JWT_BEARER,
        "code": "authorization_code",
        "device_code": "urn:ietf:params:oauth:grant-type:device_code",
    }
    grant_type = next((known for name, known in kinds.items() if name in grant), "client_credentials")
    authentication, headers = _client_authentication(oauth2, endpoints, secret, client_assertion)
    fields: dict[str, Any] = grant | authentication
    if grant_type == "client_credentials" or (grant_type == "refresh_token" and oauth2.provider == "microsoft"):
        fields["scope"] = oauth2.effective_scope
    # Who says it in the header does not say it again: some servers refuse that.
    named = "Authorization" not in headers and oauth2.client_id is not None and grant_type != JWT_BEARER
    form = prepare_token_request(grant_type, include_client_id=named, client_id=oauth2.client_id, **fields)
    told = [value for name, value in grant.items() if name != "redirect_uri"]
    return Request(endpoints.token_url, form, headers, _secrets_of(secret, client_assertion, headers, *told))


def device_request_of(
    oauth2: OAuth2,
    endpoints: Endpoints,
    *,
    secret: str | None = None,
    client_assertion: str | None = None,
) -> Request:
    """Say what to post for a login on another device (RFC 8628 §3.1)."""
    authentication, headers = _client_authentication(oauth2, endpoints, secret, client_assertion)
    fields = {"client_id": oauth2.client_id or "", "scope": oauth2.effective_scope, **authentication}
    return Request(
        endpoints.device_url or "", urlencode(fields), headers, _secrets_of(secret, client_assertion, headers)
    )


def _secrets_of(
    secret: str | None, client_assertion: str | None, headers: Mapping[str, str], *told: str
) -> Collection[str]:
    """List the secrets of a request, each as it is and as a form has it, so that no error quotes them."""
    secrets = [one for one in (secret, client_assertion, *told) if one]
    return [*secrets, *map(quote_plus, secrets), *headers.values()]


def _client_authentication(
    oauth2: OAuth2, endpoints: Endpoints, secret: str | None, client_assertion: str | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Authenticate the application (RFC 6749 §2.3, RFC 7521 §4.2): by fields of the form, or by headers."""
    if client_assertion is not None:
        return {"client_assertion_type": _CLIENT_ASSERTION, "client_assertion": client_assertion}, {}
    if secret is None:
        return {}, {}
    if endpoints.posts_secret:
        return {"client_secret": secret}, {}
    return {}, {"Authorization": _basic(oauth2.client_id or "", secret)}


def read_answer(answer: Answer, request: Request, oauth2: OAuth2, grant: str) -> Granted:
    """Read what came back. Raises Refused."""
    server = server_of(request.url)
    told = _json(answer.body)
    said = said_of(answer, request)
    if answer.status == 429:
        raise Refused(TOO_OFTEN, said, answer.retry_after)
    if answer.status in (408, 425) or answer.status >= 500:
        cause = Cause(f"{server} is out of order (HTTP {answer.status})", "nothing: it is tried again", "temporary")
        raise Refused(cause, said, answer.retry_after)
    if 300 <= answer.status < 400:
        to = server_of(answer.location) if answer.location else "nowhere"
        raise Refused(Cause(f"{server} sends elsewhere, to {to}", "name the token server itself", "permanent"), "")
    if told is None:
        # A proxy, or a page for people: what it is about may well pass.
        kind: FaultKind = "temporary" if answer.status == 200 else "permanent"
        what = "JSON that is broken" if "json" in answer.content_type else f"no JSON, but {answer.content_type}"
        words = f"{server} answered HTTP {answer.status} and {what}"
        raise Refused(Cause(words, "is this the token server, and no proxy between?", kind), said, answer.retry_after)
    try:
        # How long it lasts, and for what, is read with more patience: what comes with it may be had only once.
        token: Mapping[str, Any] = parse_token_response(
            json.dumps({name: value for name, value in told.items() if name not in _OF_LITTLE_WEIGHT})
        )
    except OAuth2Error as error:
        if "error" in told:
            name = str(told["error"])
            described = str(told.get("error_description") or "")
            raise Refused(cause_of(name, described, oauth2.provider, grant), said, answer.retry_after, name) from None
        raise Refused(_senseless(server), error.error or "") from None
    except (ValueError, TypeError, AttributeError, LookupError):
        raise Refused(_senseless(server), "") from None
    return _granted({**told, **token}, server)


def _granted(token: Mapping[str, Any], server: str) -> Granted:
    access = token["access_token"]
    # It goes into a line of IMAP, POP3 or SMTP (RFC 6750 §2.1: b64token).
    if not isinstance(access, str) or not access.isascii() or not access.isprintable() or not access or " " in access:
        raise Refused(_senseless(server), "the access token is none")
    refresh = token.get("refresh_token")
    scope, id_token = token.get("scope"), token.get("id_token")
    return Granted(
        access,
        refresh if isinstance(refresh, str) and refresh else None,
        _seconds(token.get("expires_in")) or _UNTOLD,
        _seconds(token.get("refresh_token_expires_in") or token.get("refresh_expires_in"), longest=10 * 365 * _LONGEST),
        " ".join(map(str, scope)) if isinstance(scope, list) else scope if isinstance(scope, str) else None,
        id_token if isinstance(id_token, str) else None,
    )


def _senseless(server: str) -> Cause:
    return Cause(f"what {server} answered is no answer of a token server", "is this the token server?", "temporary")


def _seconds(told: object, longest: int = _LONGEST) -> float | None:
    """Read a duration; nothing where none is told, or nonsense."""
    if isinstance(told, str) and told.isascii() and told.isdigit():
        told = int(told[:12])
    if isinstance(told, bool) or not isinstance(told, int | float) or not told > 0:
        return None
    return float(int(min(told, longest)))


def _json(body: bytes) -> Mapping[str, Any] | None:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def said_of(answer: Answer, request: Request) -> str:
    """Quote a server, without our secrets and what else might be one."""
    told = _json(answer.body)
    if told is None:
        words = html.unescape(_TAG.sub(" ", answer.body[:4000].decode("utf-8", "replace")))
    else:
        words = ": ".join(str(told[name]) for name in ("error", "error_description") if told.get(name))
    for one in sorted(request.secrets, key=len, reverse=True):
        if len(one) >= _SHORTEST_SECRET:
            words = words.replace(one, "…")
    return on_one_line(words)


def on_one_line(words: str) -> str:
    """Take a server's words for a log or a terminal: shortened, and without control characters."""
    words = "".join(character if character.isprintable() else " " for character in words)
    return storable(" ".join(words.split())[:_WORDS])


def _basic(client_id: str, secret: str) -> str:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
