"""Mail by OAuth2: profiles whose logins are tokens of the tests' authorization server, and what nobody may read."""

import asyncio
import base64
import json
import smtplib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.fernet import Fernet

from router.postgres import binaries
from tests.servers.authorization import DOMAIN, SCOPE, AuthorizationServer
from tests.servers.dovecot import HOST, Dovecot
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter, RouterProcess

COMMANDS: Final = (
    "status",
    "status --json",
    "doctor",
    "test",
    "test --json",
    "check",
    "oauth list",
    "oauth list --json",
)
"""What tells of logins, and never of secrets."""

EVERYBODY = f"*@{DOMAIN}"
"""The user whose login opens each mailbox."""


class Office:
    """The servers, and what a router needs to log in to them; `keys` is the file of keys that its processes share.

    `auth()` is a profile's login as the application; `auth(grant="refresh_token")` by a login somewhere else;
    `auth(grant="jwt_bearer")` as a service account; `auth(certificate=tls)` as the application by its certificate.
    """

    def __init__(
        self,
        folder: Path,
        server: AuthorizationServer,
        dovecot: Dovecot,
        postfix: Postfix,
        incoming: Profile,
        outgoing: Profile,
        ca_file: Path,
    ) -> None:
        self.server = server
        self.dovecot = dovecot
        self.postfix = postfix
        self._incoming = incoming
        self._outgoing = outgoing
        self.timeout = 5
        """Seconds that the profiles wait for the token server."""
        self._ca_file = ca_file
        self.keys = folder / "token-keys"
        self._secret, self._refresh_token = folder / "client-secret", folder / "refresh-token"
        for file, text in (
            (self.keys, Fernet.generate_key().decode()),
            (self._secret, server.application.secret),
            (self._refresh_token, server.first_refresh_token(EVERYBODY)),
        ):
            file.touch(mode=0o600)
            file.write_text(text)

    def auth(self, grant: str = "client_credentials", certificate: Tls | None = None) -> dict[str, Any]:
        oauth2: dict[str, Any] = {"issuer": self.server.issuer, "scope": SCOPE, "grant": grant, "timeout": self.timeout}
        oauth2["ca_file"] = str(self._ca_file)
        if grant == "jwt_bearer":
            oauth2["service_account"] = {"file": str(self.server.account.key_file)}
        else:
            oauth2 |= {"client_id": "crm-router", "client_secret": {"file": str(self._secret)}}
        if grant == "refresh_token":
            oauth2["refresh_token"] = {"file": str(self._refresh_token)}
        if certificate is not None:
            del oauth2["client_secret"]
            oauth2["client_certificate"] = {"file": str(certificate.certificate), "key": str(certificate.key)}
        return {"user": "{mailbox}", "oauth2": oauth2}

    def incoming(
        self, transport: str = "imap", *, name: str = "staff", grant: str = "client_credentials", **more: Any
    ) -> str:
        """A profile that reads; POP3 logs in anew for each look, and looks each second."""
        port = {"imap": self.dovecot.imaps, "pop3": self.dovecot.pop3s}[transport]
        keys = {"transport": transport, "port": port, "auth": self.auth(grant), "poll": 1, **more}
        return self._incoming(name, **keys)

    def outgoing(self, *, name: str = "relay", grant: str = "client_credentials", **more: Any) -> str:
        """A profile that sends, each mailbox by a login of its own."""
        return self._outgoing(name, port=self.postfix.submission, auth=self.auth(grant), **more)

    def log_in_again(self) -> None:
        """Do as an admin does, whose login has ended: put another refresh token where the profile says."""
        self._refresh_token.write_text(self.server.first_refresh_token(EVERYBODY))

    def deliver(self, mailboxes: Sequence[str]) -> None:
        """Put one more message into each mailbox."""
        with smtplib.LMTP(HOST, self.dovecot.lmtp) as lmtp:
            for mailbox in mailboxes:
                lmtp.sendmail("karl@kunde.test", [mailbox], letter("karl@kunde.test", mailbox))

    async def router(self, new_router: NewRouter, profiles: str, **more: Any) -> RouterProcess:
        return await new_router(profiles, EMAIL_ROUTER_TOKEN_KEYS=str(self.keys), **more)

    async def check_secrets(self, crm: Crm, database: str, *routers: RouterProcess) -> None:
        """No secret or token that was ever given or shown is in a log, in what commands print, or in the database."""
        said = {f"the log of router {number}": one.log() for number, one in enumerate(routers, 1)}
        for command in COMMANDS:
            said[command] = "\n".join((await routers[0].ask_for_all(*command.split()))[1:])
        program = binaries.find().folder / "pg_dump"
        dump = await asyncio.create_subprocess_exec(program, database, stdout=asyncio.subprocess.PIPE)
        said["the database"] = (await dump.communicate())[0].decode()
        assert "router.token" in said["the database"]
        assert await crm.admin.fetchval("SELECT count(*) FROM router.token WHERE sealed IS NOT NULL") > 0
        assert len(self.server.seen) > 2
        for where, words in said.items():
            found = [secret for secret in self.server.seen if any(form in words for form in forms_of(secret))]
            assert not found, f"{len(found)} of {len(self.server.seen)} secrets are in {where}"


def forms_of(secret: str) -> Iterator[str]:
    """Yield a secret as it is, in JSON, in hexadecimal, and as it is within what is in base64, wherever it begins."""
    raw = secret.encode()
    yield from (secret, json.dumps(secret)[1:-1], raw.hex())
    for before in range(3):
        whole = base64.b64encode(bytes(before) + raw)
        # Of the first and the last characters, others have a part.
        piece = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6].decode()
        yield from {piece, piece.translate(str.maketrans("+/", "-_"))}


@pytest.fixture
def office(
    authorization: AuthorizationServer,
    dovecot: Dovecot,
    postfix: Postfix,
    incoming: Profile,
    outgoing: Profile,
    ca_file: Path,
    tmp_path: Path,
) -> Iterator[Office]:
    yield Office(tmp_path, authorization, dovecot, postfix, incoming, outgoing, ca_file)
    authorization.mend()  # what hangs ends with the routers
