"""JWTs: by which we show a token server who we are (RFC 7523), and what a token says of itself."""

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from transports import OAuth2
from transports.errors import Permanent

_LASTS: Final = 300  # seconds that an assertion is good
_OF_ACCOUNT: Final = 3600  # seconds; what Google's documents use
_EARLIER: Final = 10  # seconds that a clock may differ


def client_assertion(oauth2: OAuth2, audience: str) -> str:
    """Sign who the application is with the key of its certificate (private_key_jwt); blocking.

    The header names the certificate by x5t#S256, as Microsoft wants it, and x5t. Raises Permanent.
    """
    certificate = oauth2.client_certificate
    assert certificate is not None
    shown = _certificate(certificate.file)
    key = _private_key(certificate.key or certificate.file)
    now = int(time.time())
    claims = {
        "iss": oauth2.client_id,
        "sub": oauth2.client_id,
        "aud": audience,
        "jti": str(uuid4()),
        "iat": now,
        "nbf": now - _EARLIER,
        "exp": now + _LASTS,
    }
    thumbprints = {"x5t#S256": shown.fingerprint(hashes.SHA256()), "x5t": shown.fingerprint(hashes.SHA1())}  # noqa: S303  # names a certificate
    header = {name: base64.urlsafe_b64encode(value).rstrip(b"=").decode() for name, value in thumbprints.items()}
    return _signed({"alg": "PS256" if isinstance(key, RSAKey) else "ES256", **header}, claims, key)


def account_assertion(oauth2: OAuth2, mailbox: str, audience: str) -> str:
    """Sign, as a service account, that we come in the name of a user; blocking. Raises Permanent, NoSecret.

    Source: developers.google.com, "Using OAuth 2.0 for Server to Server Applications".
    """
    assert oauth2.service_account is not None
    where = oauth2.service_account.where()
    try:
        account = json.loads(oauth2.service_account.reveal())
        name, key_id, pem = (str(account[field]) for field in ("client_email", "private_key_id", "private_key"))
        key = _imported(pem.encode(), where)
    except (ValueError, KeyError, TypeError):
        raise Permanent(f"{where} does not hold the JSON key of a service account") from None
    now = int(time.time())
    claims = {
        "iss": name,
        "scope": oauth2.effective_scope,
        "aud": audience,
        "iat": now - _EARLIER,
        "exp": now - _EARLIER + _OF_ACCOUNT,
        **({"sub": mailbox} if mailbox else {}),
    }
    return _signed({"alg": "RS256", "kid": key_id}, claims, key)


def claims_of(token: str) -> Mapping[str, Any]:
    """Read what an access token says of itself, without verifying it; nothing where it is not a JWT (RFC 7519)."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(file))
    except ValueError:
        raise Permanent(f"{file} holds no certificate in PEM form") from None


def _private_key(file: Path) -> RSAKey | ECKey:
    return _imported(_read(file), str(file))


def _imported(pem: bytes, where: str) -> RSAKey | ECKey:
    """Import the first private key; there may be certificates before it."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        plain = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return RSAKey.import_key(plain) if isinstance(key, rsa.RSAPrivateKey) else ECKey.import_key(plain)
    except (ValueError, TypeError, UnsupportedAlgorithm, JoseError):  # their words may quote the key
        raise Permanent(f"{where} holds no private key (RSA or EC, PEM) without a passphrase") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Permanent(f"{file} cannot be read: {error.strerror}") from None


def _signed(header: dict[str, Any], claims: dict[str, Any], key: RSAKey | ECKey) -> str:
    try:
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])
    except (JoseError, ValueError) as error:
        raise Permanent(f"the assertion cannot be signed ({type(error).__name__})") from None
