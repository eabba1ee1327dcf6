"""Who the authorization server knows: an application with a secret or a certificate, and a service account."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

DOMAIN = "in.test"
SCOPE = "mail"
PUBLIC = "the-application-without-a-secret"

_ALGORITHMS = ["RS256", "PS256", "ES256"]


class NotBelieved(Exception):
    """An assertion that is not good; the words are those of the answer."""


@dataclass
class Application:
    """A registered application; `certificate` is a PEM file, for private_key_jwt. The secret ends with `expired`."""

    client_id: str
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    certificate: Path | None = None
    expired: bool = False

    def shown_in(self, headers: dict[str, str], form: dict[str, str]) -> tuple[str, str]:
        """Return the client's id and secret as a request shows them (RFC 6749 §2.3.1); empty where it does not."""
        kind, _, pair = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            return unquote_plus(name), unquote_plus(secret)
        return form.get("client_id", ""), form.get("client_secret", "")

    def believe(self, assertion: str, audiences: list[str]) -> None:
        """Check a client assertion (RFC 7523 §3), which names the certificate as Microsoft wants it."""
        if self.certificate is None:
            raise NotBelieved("the application has no certificate")
        shown = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        pem = shown.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key = RSAKey.import_key(pem) if isinstance(shown.public_key(), rsa.RSAPublicKey) else ECKey.import_key(pem)
        header = claims_of(assertion, key, iss=self.client_id, sub=self.client_id, aud=audiences).header
        thumbprint = base64.urlsafe_b64encode(shown.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
        if header.get("x5t#S256") != thumbprint:
            raise NotBelieved("the assertion does not name the certificate")


class ServiceAccount:
    """Google's kind: `key_file` is the JSON key that an admin downloads."""

    def __init__(self, folder: Path, token_url: str) -> None:
        self.email = "crm-router@project.iam.gserviceaccount.test"
        self._key = RSAKey.generate_key(2048, private=True)
        self.key_file = folder / "service-account.json"
        private = self._key.as_pem(private=True).decode()
        self.private_key = private
        self.key_file.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "client_email": self.email,
                    "private_key_id": "first",
                    "private_key": private,
                    "token_uri": token_url,
                }
            )
        )
        self.key_file.chmod(0o600)

    def subject_of(self, assertion: str, audiences: list[str]) -> tuple[str, str]:
        """Check an assertion, and return in whose name it comes, and for which scope; the account's own without one."""
        claims = claims_of(assertion, self._key, iss=self.email, aud=audiences).claims
        if claims["exp"] - claims["iat"] > 3600:
            raise NotBelieved("Invalid JWT: Token must be a short-lived token (60 minutes)")
        return claims.get("sub", self.email), claims.get("scope", "")


def claims_of(assertion: str, key: RSAKey | ECKey, **wanted: Any) -> jwt.Token:
    """Verify a JWT: its signature, its times, and who says what to whom."""
    try:
        token = jwt.decode(assertion, key, algorithms=_ALGORITHMS)
        needed: Any = {
            name: {"essential": True, "values": value}
            if isinstance(value, list)
            else {"essential": True, "value": value}
            for name, value in wanted.items()
        }
        jwt.JWTClaimsRegistry(exp={"essential": True}, iat={"essential": True}, **needed).validate(token.claims)
    except (JoseError, ValueError) as error:
        raise NotBelieved(f"Invalid JWT: {error}") from error
    return token
