"""Whom the server says that somebody is (OpenID Connect): its keys, and ID tokens, right or as a test wants them."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, KeySet, RSAKey

Claims = dict[str, Any]


class Identity:
    """Signs ID tokens. `people` has claims of users beyond the usual ones; `asked` counts who read the keys.

    What it does on command: `change` makes other claims of those that it would sign, `sign` another token of header and
    claims.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.people: dict[str, Claims] = {}
        self.keys: list[Key] = [_new_key("first")]
        self.asked = 0
        self.change: Callable[[Claims], Claims] = lambda claims: claims
        self.sign: Callable[[dict[str, Any], Claims], str] = self.signed

    def claims_of(self, user: str) -> Claims:
        """What it says of a user, who may have been given another name since: `sub` stays."""
        usual = {
            "sub": hashlib.sha256(user.encode()).hexdigest()[:24],
            "email": user,
            "email_verified": True,
            "preferred_username": user,
        }
        return usual | self.people.get(user, {})

    def token_of(self, user: str, told: Claims) -> str:
        """Make the ID token of a user; `told` is what the protocol has for it: aud, iat, nonce."""
        now = int(time.time())
        claims = {**told, **self.claims_of(user), "iss": self.issuer, "exp": now + 300}
        key = self.keys[-1]
        return self.sign({"alg": "RS256" if isinstance(key, RSAKey) else "ES256", "kid": key.kid}, self.change(claims))

    def signed(self, header: dict[str, Any], claims: Claims) -> str:
        """Sign by the newest key."""
        return jwt.encode(header, claims, self.keys[-1], algorithms=[header["alg"]])

    def forged(self, header: dict[str, Any], claims: Claims, key: Key) -> str:
        """Sign by another key, in any way that there is."""
        registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
        return jwt.encode(header, claims, key, algorithms=[header["alg"]], registry=registry)

    def rotate(self, name: str, *, curve: bool = False) -> None:
        """Make another key, and forget those before."""
        self.keys = [ECKey.generate_key("P-256", {"kid": name, "use": "sig"}) if curve else _new_key(name)]

    def as_json(self) -> Any:
        """The keys, as everybody may read them."""
        self.asked += 1
        return KeySet(self.keys).as_dict(private=False)

    def mend(self) -> None:
        """Do as one should."""
        self.change, self.sign = lambda claims: claims, self.signed


def _new_key(name: str) -> Key:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"})
