"""A private Dovecot 2.3: IMAP, POP3 and LMTP on free loopback ports, every mailbox there for the asking.

`MAILBOX*MASTER_USER` with `MASTER_PASSWORD` opens any mailbox; `token(MAILBOX)` is an OAuth2 access token for it, and
`token("*@DOMAIN")` one for each mailbox of a domain. It runs as root with service users of its own, or as ourselves.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path

from tests.servers.dovecot_conf import ALL_OF, NOBODY, ONE, configuration, oauth2, users
from tests.servers.imap_server import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, ImapServer
from tests.servers.installed import program, require_file
from tests.servers.tls import Tls

__all__ = ["HOST", "MASTER_PASSWORD", "MASTER_USER", "PASSWORD", "Dovecot"]


class Dovecot(ImapServer):
    """`imap` and `pop3` speak in clear and STARTTLS, `imaps` and `pop3s` TLS, `lmtp` in clear: ports on `HOST`."""

    name = "Dovecot"
    _kept = ("mail",)

    def __init__(self, tls: Tls, *, fsync: bool = False) -> None:
        """`fsync`: what it takes is on disk when it answers, as Dovecot does by default."""
        self._fsync = self._on_disk = fsync
        self._program = program("dovecot")
        for part in ("imap", "pop3", "lmtp"):
            require_file(Path("/usr/lib/dovecot") / part)
        super().__init__(tls)
        self.auth_socket = self._folder / "run" / "auth-relay"
        self._key = os.urandom(32)
        self._write_folder()
        self.start()

    def kill(self) -> None:
        super().kill()
        # Until init has taken note of their death, a master looks alive to its successor, and a lock looks held.
        (self._folder / "run" / "master.pid").unlink(missing_ok=True)
        for lock in (self._folder / "mail").rglob("*.lock"):
            lock.unlink()

    def maildir(self, mailbox: str, folder: str = "INBOX") -> Path:
        """Where the mail of a folder lies; its name as IMAP writes it."""
        inbox = self._folder / "mail" / mailbox / "Maildir"
        return inbox if folder == "INBOX" else inbox / f".{folder}"

    def token(self, mailbox: str, lifetime: float = 3600) -> str:
        """Return an access token for XOAUTH2 and OAUTHBEARER (JWT, RFC 7519); already expired if `lifetime` < 0.

        Each is another one. `*@in.test` is each mailbox of a domain, as an application may open at Microsoft.
        """
        now = int(time.time())
        one, domain = (NOBODY, mailbox) if mailbox.startswith("*@") else (mailbox, NOBODY)
        whose = {"sub": mailbox, ONE: one, ALL_OF: domain, "jti": secrets.token_hex(8)}
        claims = {**whose, "iat": now - 7200, "nbf": now - 7200, "exp": int(now + lifetime)}
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return (signed + b"." + _base64url(hmac.digest(self._key, signed, hashlib.sha256))).decode()

    def _command(self) -> list[str]:
        return [self._program, "-F", "-c", str(self._folder / "dovecot.conf")]

    def _write_folder(self) -> None:
        mail = self._folder / "mail"
        mail.mkdir()
        mail.chmod(0o1777)
        (self._folder / "masters").write_text(f"{MASTER_USER}:{{PLAIN}}{MASTER_PASSWORD}\n")
        (self._folder / "users").write_text(users())
        key = self._folder / "keys" / "default" / "HS256" / "default"
        key.parent.mkdir(parents=True)
        key.write_bytes(base64.b64encode(self._key))
        for file, lines in oauth2(self._folder).items():
            (self._folder / file).write_text(lines)
        (self._folder / "dovecot.conf").write_text(
            configuration(self._folder, self.ports, PASSWORD, self._tls, fsync=self._fsync)
        )


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
