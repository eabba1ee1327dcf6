"""Signatures as Standard Webhooks has them (version 1.0: "v1", symmetric)."""

import base64
import hashlib
import hmac
import secrets
from typing import Final

PREFIX: Final = "whsec_"
"""How a secret begins; what follows is Base64 of its bytes."""


def new_secret() -> str:
    """Make a secret of 256 bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signed(secret: str, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """Make the headers that sign a request; `at` is in seconds since 1970, `message_id` has no full stop."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signature = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
