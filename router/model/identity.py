"""For whom a token server gives tokens."""

import hashlib
import json
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """One application, or one of its users, at one token server.

    `issuer` names the server in words that stay: "microsoft (contoso.example)", a URL. `client` is the application's
    id. `subject` is the mailbox whose tokens these are, or empty for those of all mailboxes.
    """

    issuer: str
    client: str
    scope: str
    grant: str
    subject: str = ""

    @property
    def key(self) -> bytes:
        """By which the database knows it: 32 bytes."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).digest()
