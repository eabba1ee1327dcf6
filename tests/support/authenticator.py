"""An authenticator without hardware (WebAuthn): makes passkeys and signs with them, rightly or as a test wants it."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT: Final = 0x01
VERIFIED: Final = 0x04
_ATTESTED: Final = 0x40


class Authenticator:
    """Has one passkey. `origin`, `host` and `flags` are what it says that it saw; `count`, how often it was used."""

    def __init__(self, origin: str, host: str = "localhost") -> None:
        self.origin = origin
        self.host = host
        self.flags = PRESENT | VERIFIED
        self.count = 0
        self.id = secrets.token_bytes(32)
        self.handle: bytes | None = None
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: Mapping[str, Any], **changes: Any) -> str:
        """Make the passkey, as `navigator.credentials.create` does; `changes` are of the client data."""
        self.handle = _bytes(options["user"]["id"])
        public = self._key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32, "big"), -3: public.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose
        data = self._data(self.flags | _ATTESTED) + attested
        client = self._client("webauthn.create", options, changes)
        made = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._told({"clientDataJSON": _text(client), "attestationObject": _text(made)})

    def get(self, options: Mapping[str, Any], **changes: Any) -> str:
        """Sign, as `navigator.credentials.get` does."""
        self.count += 1
        data, client = self._data(self.flags), self._client("webauthn.get", options, changes)
        signature = self._key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        told = {"clientDataJSON": _text(client), "authenticatorData": _text(data), "signature": _text(signature)}
        return self._told(told | ({"userHandle": _text(self.handle)} if self.handle is not None else {}))

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.host.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, options: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin, **changes}).encode()

    def _told(self, response: Mapping[str, str]) -> str:
        named = _text(self.id)
        return json.dumps({"id": named, "rawId": named, "type": "public-key", "response": response})


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
