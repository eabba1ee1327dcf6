"""What the provider says about a person, verified as OpenID Connect Core §3.1.3.7 asks. Does no I/O."""

import hmac
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from router.http import Answer

_ALGORITHMS: Final[Mapping[str, type[Key]]] = {
    "RS256": RSAKey, "RS384": RSAKey, "RS512": RSAKey, "PS256": RSAKey, "PS384": RSAKey, "PS512": RSAKey,
    "ES256": ECKey, "ES384": ECKey, "ES512": ECKey, "Ed25519": OKPKey,
}  # fmt: skip
"""Signatures by a private key of the provider's, and the keys that they take; never a secret that we have, too."""

_SKEW: Final = 60  # seconds that the provider's clock may differ from ours
_OLDEST: Final = 3600  # seconds: the nonce is of an attempt of the last ten minutes, and some date it from the login
_SHORTEST_RSA: Final = 2048  # bits (RFC 7518 §3.3)
_MOST_KEYS: Final = 100


class NotBelieved(Exception):
    """An ID token that is not good; the words say why, and quote nothing of it."""


class UnknownKey(NotBelieved):
    """None of the keys has signed it: the provider may have made another since."""


def keys_of(answer: Answer) -> Sequence[Key]:
    """Read the keys of a provider (RFC 7517 §5); those that sign nothing, or cannot be read, are left out."""
    try:
        found = json.loads(answer.body)["keys"]
        listed = [one for one in found if isinstance(one, dict)][:_MOST_KEYS]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise NotBelieved(f"the provider's keys are no key set, but {answer.content_type}") from None
    return [key for one in listed if (key := _key(one)) is not None]


def _key(written: dict[str, Any]) -> Key | None:
    if written.get("use", "sig") != "sig" or written.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        key = JWKRegistry.import_key({name: value for name, value in written.items() if name != "d"})
        # What is too short is warned of by the library, and taken.
        short = isinstance(key, RSAKey) and key.public_key.key_size < _SHORTEST_RSA
    except (JoseError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return None if short else key


def claims_of(
    token: str, keys: Sequence[Key], *, issuer: str, client_id: str, nonce: str, now: float
) -> Mapping[str, Any]:
    """Verify an ID token, and return its claims; `sub` is a string that is not empty.

    Raises UnknownKey where another key may be that of the signature, and NotBelieved.
    """
    claims = _signed(token, keys)
    if claims.get("iss") != issuer:
        raise NotBelieved("the ID token is of another issuer")
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    if client_id not in listed:
        raise NotBelieved("the ID token is for another application (aud)")
    party = claims.get("azp")
    if (party is not None or len(listed) > 1) and party != client_id:
        raise NotBelieved("the ID token was given to another application (azp)")
    ends, made = _moment(claims, "exp"), _moment(claims, "iat")
    if ends is None or ends <= now - _SKEW:
        raise NotBelieved("the ID token has expired: compare the clocks of this machine and the provider")
    if made is None or not now - _OLDEST - _SKEW <= made <= now + _SKEW:
        raise NotBelieved(
            "the ID token was not made within this hour: compare the clocks of this machine and the provider"
        )
    begins = _moment(claims, "nbf")
    if "nbf" in claims and (begins is None or begins > now + _SKEW):
        raise NotBelieved("the ID token is not good yet: compare the clocks of this machine and the provider")
    if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
        raise NotBelieved("the ID token belongs to another attempt (nonce)")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise NotBelieved("the ID token names nobody (sub)")
    return claims


def _signed(token: str, keys: Sequence[Key]) -> Mapping[str, Any]:
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError):
        raise NotBelieved("the ID token is no signed JWT") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    kind = _ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
    if kind is None:
        raise NotBelieved("the ID token is not signed in a way that is taken (alg)")
    assert isinstance(algorithm, str)
    # By its header the token chooses among the provider's keys, and never brings one of its own.
    fitting = [
        key
        for key in keys
        if isinstance(key, kind) and key_id in (None, key.get("kid")) and key.get("alg") in (None, algorithm)
    ]
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    for key in fitting:
        try:
            return jwt.decode(token, key, algorithms=[algorithm], registry=registry).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    raise UnknownKey("the ID token is not signed by a key of the provider's")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    moment = claims.get(name)
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not math.isfinite(moment):
        return None
    return moment
