"""An issuer's endpoints, by its discovery document (OpenID Connect Discovery 1.0 §4, RFC 8414 §3)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit, urlunsplit

from router.http import Answer, Http
from transports import OAuth2
from transports.errors import Permanent, Temporary


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where an issuer is asked; None where it does not say.

    `posts_secret`: it takes the client's secret in the form (client_secret_post); otherwise in the header
    (client_secret_basic), which every server has to take (RFC 6749 §2.3.1). `keys_url` and `end_url` are for signing
    people in: its keys, and where a session there is ended. `names_itself`: what it sends browsers back with has its
    issuer (RFC 9207).
    """

    token_url: str
    authorization_url: str | None = None
    device_url: str | None = None
    posts_secret: bool = False
    keys_url: str | None = None
    end_url: str | None = None
    names_itself: bool = False


async def endpoints_of(oauth2: OAuth2, http: Http) -> Endpoints:
    """Name the endpoints that a profile says, and of an issuer those of its document. Raises Temporary, Permanent."""
    written = {which: oauth2.url(which) for which in ("token_url", "authorization_url", "device_url")}
    token_url = written.pop("token_url")
    if oauth2.issuer is None:
        assert token_url is not None
        return Endpoints(
            token_url,
            written["authorization_url"],
            written["device_url"],
            posts_secret=oauth2.provider is not None,
        )
    found = await _discovered(oauth2, oauth2.issuer, http)
    return replace(
        found,
        authorization_url=written["authorization_url"] or found.authorization_url,
        device_url=written["device_url"] or found.device_url,
    )


async def _discovered(oauth2: OAuth2, issuer: str, http: Http) -> Endpoints:
    answers = []
    for url in documents_of(issuer):
        answer = await http.get(url, ca_file=oauth2.ca_file, timeout=oauth2.timeout)
        if answer.status == 200:
            return read_document(issuer, answer)
        answers.append(f"{url} answers {answer.status}")
        if answer.status == 429 or answer.status >= 500:
            raise Temporary(f"the discovery document cannot be had now: {answers[-1]}", answer.retry_after)
    raise Permanent(f"the issuer {issuer} has no discovery document: {', '.join(answers)}; is it the issuer's address?")


def documents_of(issuer: str) -> Sequence[str]:
    """Say where an issuer's document may lie."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        urlunsplit((parts.scheme, parts.netloc, f"{path}/.well-known/openid-configuration", "", "")),
        urlunsplit((parts.scheme, parts.netloc, f"/.well-known/oauth-authorization-server{path}", "", "")),
    )


def read_document(issuer: str, answer: Answer) -> Endpoints:
    """Read a document; that of another issuer is not believed (RFC 8414 §3.3). Raises Permanent."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Permanent(f"the discovery document of {issuer} is not JSON, but {answer.content_type}")
    if document.get("issuer") != issuer:
        told = str(document.get("issuer"))[:200]
        raise Permanent(f'the discovery document of {issuer} is that of another issuer, "{told}": write it just so')
    urls = {
        name: _usable(issuer, document.get(key))
        for name, key in (
            ("token_url", "token_endpoint"),
            ("authorization_url", "authorization_endpoint"),
            ("device_url", "device_authorization_endpoint"),
        )
    }
    token_url = urls.pop("token_url")
    if token_url is None:
        raise Permanent(f"the discovery document of {issuer} names no token_endpoint")
    methods = document.get("token_endpoint_auth_methods_supported")
    posts = isinstance(methods, list) and "client_secret_post" in methods
    return Endpoints(
        token_url,
        urls["authorization_url"],
        urls["device_url"],
        posts_secret=posts,
        keys_url=_if_usable(issuer, document.get("jwks_uri")),
        end_url=_if_usable(issuer, document.get("end_session_endpoint")),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _if_usable(issuer: str, url: object) -> str | None:
    """Take an endpoint that tokens for mail do without."""
    try:
        return _usable(issuer, url)
    except Permanent:
        return None


def _usable(issuer: str, url: object) -> str | None:
    """Take an endpoint as a profile might name it: over TLS, or where the issuer is on this machine, there."""
    if url is None:
        return None
    try:
        usable = OAuth2(token_url=str(url), client_id="-", scope="-").token_url or ""
    except ValueError:
        usable = ""
    # Nobody elsewhere has a say in what is asked on this machine.
    if not usable or (issuer.startswith("https:") and not usable.startswith("https:")):
        raise Permanent(f"the discovery document of {issuer} names an endpoint that is not https")
    return usable
