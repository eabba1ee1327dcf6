"""SASL mechanisms (RFC 4422): what a client says, as bytes. How these travel is each protocol's own matter.

mechanism = choose(offered, credential, encrypted=True)
answer = mechanism.respond(b"")          goes with the command, where the protocol allows an initial response
answer = mechanism.respond(challenge)    to each challenge; None: there is nothing left to say
"""

import base64
import json
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from scramp import ScramClient, ScramException

from transports._net.credentials import Credential, Password, Token
from transports.errors import Permanent, Unauthorized

_MOST_ITERATIONS: Final = 50_000
"""Of a hash, that a server may ask for: some 30 ms of the processor's time, for which all others wait."""

_WORDS: Final = 300  # characters of a refusal


class Mechanism(Protocol):
    """A mechanism, ready to be used once. The client speaks first.

    `refusal` is why the login fails, as a challenge or the mechanism itself tells it; `said` are our responses that
    hold a secret.
    A login counts only once the mechanism is `complete`: a server that has to know the password, too, must have proven
    it.
    """

    name: str
    said: Collection[bytes]
    refusal: str
    complete: bool

    def respond(self, challenge: bytes, /) -> bytes | None:
        """Answer a challenge, the first of which is empty."""
        ...


class _FixedResponses:
    """A mechanism whose responses are known before it begins, whatever the server says."""

    def __init__(self, name: str, *responses: bytes) -> None:
        self.name = name
        self.refusal = ""
        self.complete = True
        self.said: Collection[bytes] = responses
        self._responses = deque(responses)

    def respond(self, _: bytes, /) -> bytes | None:
        return self._responses.popleft() if self._responses else None


class _Bearer:
    """XOAUTH2 and OAUTHBEARER: one response, and where the server tells in a challenge what is wrong, another."""

    def __init__(self, name: str, response: bytes, acknowledgment: bytes) -> None:
        self.name = name
        self.refusal = ""
        self.complete = True
        self.said: Collection[bytes] = (response,)
        self._responses = deque([response, acknowledgment])

    def respond(self, challenge: bytes, /) -> bytes | None:
        if challenge:
            self.refusal = _bearer_error(challenge)
        return self._responses.popleft() if self._responses else None


class _Scram:
    """SCRAM-SHA-256 (RFC 7677): the password is not said, and the server has to know it, too."""

    def __init__(self, name: str, user: str, password: str) -> None:
        self.name = name
        self.refusal = ""
        self.complete = False
        self.said: Collection[bytes] = ()
        self._client = ScramClient([name], user, password)
        self._steps = deque[Callable[[str], str]]([self._first, self._final, self._end])

    def respond(self, challenge: bytes, /) -> bytes | None:
        if not self._steps:
            return None
        try:
            return self._steps.popleft()(challenge.decode()).encode()
        except (ScramException, ValueError) as error:
            self._steps.clear()
            self.refusal = f"{self.name}: {str(error)[:200]}"
            return None

    def _first(self, _: str) -> str:
        first: str = self._client.get_client_first()
        return first

    def _final(self, challenge: str) -> str:
        iterations = dict(part.partition("=")[::2] for part in challenge.split(",")).get("i", "0")
        if not iterations.isdecimal() or len(iterations) > 9 or int(iterations) > _MOST_ITERATIONS:
            raise ValueError(f"it asks for {iterations[:20]} iterations")
        self._client.set_server_first(challenge)
        final: str = self._client.get_client_final()
        return final

    def _end(self, challenge: str) -> str:
        self._client.set_server_final(challenge)
        self.complete = True
        return ""


def plain(user: str, password: str, act_as: str = "") -> Mechanism:
    """PLAIN (RFC 4616). `act_as` is the authorization identity: in whose name `user` comes, if not in its own.

    Raises Permanent for a NUL, which separates the three.
    """
    _require_none_of("\0", act_as, user, password)
    return _FixedResponses("PLAIN", f"{act_as}\0{user}\0{password}".encode())


def login(user: str, password: str) -> Mechanism:
    """LOGIN (draft-murchison-sasl-login), for servers that have no PLAIN. Raises Permanent for a NUL."""
    _require_none_of("\0", user, password)
    return _FixedResponses("LOGIN", user.encode(), password.encode())


def scram(user: str, password: str) -> Mechanism:
    """SCRAM-SHA-256 (RFC 7677). Raises Permanent for characters that it does not carry (RFC 4013), such as emoji."""
    try:
        return _Scram("SCRAM-SHA-256", user, password)
    except ScramException as error:
        raise Permanent(f"SCRAM-SHA-256 does not carry this user or password: {error}") from None


def xoauth2(user: str, token: str) -> Mechanism:
    """XOAUTH2 (developers.google.com: "The SASL XOAUTH2 Mechanism"). Raises Permanent for what separates its parts."""
    _require_none_of("\1", user, token)
    return _Bearer("XOAUTH2", f"user={user}\1auth=Bearer {token}\1\1".encode(), b"")


def oauthbearer(user: str, token: str, host: str = "", port: int = 0) -> Mechanism:
    """OAUTHBEARER (RFC 7628). Raises Permanent for what separates its parts."""
    _require_none_of("\1\0", user, token)
    name = user.replace("=", "=3D").replace(",", "=2C")
    server = f"host={host}\1port={port}\1" if host else ""
    return _Bearer("OAUTHBEARER", f"n,a={name},\1{server}auth=Bearer {token}\1\1".encode(), b"\1")


def choose(
    offered: Collection[str], credential: Credential, *, encrypted: bool, host: str = "", port: int = 0
) -> Mechanism | None:
    """Choose among the mechanisms that a server offers, in upper case; None if none of them will do.

    Over TLS PLAIN comes first: a server may offer SCRAM, and have some passwords only as hashes that do not fit it. In
    clear, which is on this machine as a rule, the password is rather not said. SCRAM as we have it knows no `act_as`.
    What one cannot carry is said by the next; raises Permanent where there is none.
    """
    unfit: Permanent | None = None
    for name in _preferred(credential, encrypted=encrypted):
        if name in offered:
            try:
                return _made(name, credential, host, port)
            except Permanent as error:
                unfit = unfit or error
    if unfit is not None:
        raise unfit
    return None


def require_complete(mechanism: Mechanism, peer: str) -> None:
    """Raise Unauthorized where a login is said to have worked, and the server has not proven who it is."""
    if not mechanism.complete:
        told = mechanism.refusal or mechanism.name
        raise Unauthorized(f"{peer} has not proven that it knows the password ({told}): is it the right server?")


def redact(words: str, secret: str, mechanism: Mechanism | None = None) -> str:
    """Replace the secret, and responses that hold it, by "…" in a server's words; append the mechanism's refusal."""
    said = [] if mechanism is None else [base64.b64encode(one).decode() for one in mechanism.said]
    refusal = "" if mechanism is None else mechanism.refusal
    for one in sorted({secret, *said} - {""}, key=len, reverse=True):
        words, refusal = words.replace(one, "…"), refusal.replace(one, "…")
    return f"{words} ({refusal[:_WORDS]})" if refusal else words


def names(credential: Credential) -> str:
    """List the mechanisms that we speak, for words."""
    return ", ".join(sorted(_preferred(credential, encrypted=True)))


def _preferred(credential: Credential, *, encrypted: bool) -> Collection[str]:
    if isinstance(credential, Token):
        return ("OAUTHBEARER", "XOAUTH2")
    if credential.act_as:
        return ("PLAIN",)
    return ("PLAIN", "SCRAM-SHA-256", "LOGIN") if encrypted else ("SCRAM-SHA-256", "PLAIN", "LOGIN")


def _made(name: str, credential: Credential, host: str, port: int) -> Mechanism:
    if isinstance(credential, Token):
        if name == "XOAUTH2":
            return xoauth2(credential.user, credential.secret)
        return oauthbearer(credential.user, credential.secret, host, port)
    makers: Mapping[str, Callable[[Password], Mechanism]] = {
        "PLAIN": lambda one: plain(one.user, one.secret, one.act_as),
        "SCRAM-SHA-256": lambda one: scram(one.user, one.secret),
        "LOGIN": lambda one: login(one.user, one.secret),
    }
    return makers[name](credential)


def _bearer_error(challenge: bytes) -> str:
    """Read why a token is refused: JSON, of which `status` says what kind of refusal it is."""
    try:
        told = json.loads(challenge)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return challenge.decode(errors="replace")
    return ", ".join(
        f"{key} {told[key]}" for key in ("status", "error", "scope") if isinstance(told.get(key), (str, int))
    )


def _require_none_of(characters: str, *texts: str) -> None:
    if any(character in text for text in texts for character in characters):
        raise Permanent("user and password cannot hold a control character" if characters != "\0" else _NUL)


_NUL: Final = "user and password cannot hold a NUL"
