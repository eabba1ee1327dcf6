"""One person's way to the provider and back, all of which is made from a secret that only the browser has.

A cookie holds the secret; `state`, `nonce` and the verifier of PKCE are derived from it. So what comes back belongs to
the browser in which it began (RFC 6749 §10.12), the ID token to this attempt (OpenID Connect Core §3.1.2.1), and the
code is of no use elsewhere (RFC 7636). The router remembers nothing: any process may take what another began, and
nobody fills a table by beginning. The cookie goes when the browser comes back, so that an attempt is made once.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

LASTS: Final = 600
"""Seconds in which a person has to be back."""

_SECRET: Final = 43  # characters: 256 bits in base64url


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to sign in that began at `began` (seconds since 1970), to go on at the path `to` afterwards."""

    secret: str = field(repr=False)
    began: int
    to: str

    @classmethod
    def begin(cls, to: str, now: float) -> Self:
        """Begin another."""
        return cls(secrets.token_urlsafe(32), int(now), to)

    @classmethod
    def read(cls, kept: str, state: str, now: float) -> Self | None:
        """Find the attempt that came back with this state, in a browser that kept this.

        None where it began in another browser, or too long ago, or has ended.
        """
        secret, _, path = kept.partition(".")
        began = state.partition(".")[0]
        if len(secret) != _SECRET or not (began.isascii() and began.isdigit() and len(began) < 12):
            return None
        attempt = cls(secret, int(began), _unpacked(path))
        fresh = -60 <= now - attempt.began <= LASTS
        return attempt if fresh and hmac.compare_digest(attempt.state.encode(), state.encode()) else None

    @property
    def kept(self) -> str:
        """What the browser keeps meanwhile, in a cookie."""
        return f"{self.secret}.{base64.urlsafe_b64encode(self.to.encode()).rstrip(b'=').decode()}"

    @property
    def state(self) -> str:
        """What comes back with the browser."""
        return f"{self.began}.{self._derived('state')}"

    @property
    def nonce(self) -> str:
        """What comes back in the ID token."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What the code is redeemed with."""
        return self._derived("verifier")

    def _derived(self, what: str) -> str:
        digest = hmac.digest(self.secret.encode(), f"{what} {self.began}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _unpacked(path: str) -> str:
    try:
        return base64.urlsafe_b64decode(path + "=" * (-len(path) % 4)).decode()
    except ValueError:
        return "/"
