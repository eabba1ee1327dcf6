"""By hand: `python -m tests.servers.authorization` runs it beside Dovecot and Postfix until Ctrl-C.

What it prints is a profile for each direction, for the router to be tried with.
"""

import argparse
import signal
import sys
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path

from tests.servers.authorization.server import AuthorizationServer
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.tls import make_tls

_PROFILES = """\
# Any address in in.test is a mailbox; LMTP at 127.0.0.1, port {lmtp}, delivers into it.
# A person logs in at {login} by naming the mailbox. The service account's key: {account}

[incoming.office]
transport = "imap"
host      = "localhost"
port      = {imaps}
ca_file   = "{ca}"
auth      = {{ user = "{{mailbox}}", oauth2 = {oauth2} }}
owners    = ["*@in.test"]

[outgoing.office]
transport = "smtp"
host      = "localhost"
port      = {submission}
security  = "starttls"
ca_file   = "{ca}"
auth      = {{ user = "{{mailbox}}", oauth2 = {oauth2} }}
senders   = ["*@in.test"]
"""


def main() -> None:
    """Run the servers, and print the profiles for them, until Ctrl-C."""
    argparse.ArgumentParser(
        prog="python -m tests.servers.authorization",
        description="Run an OAuth2 authorization server on loopback, with a Dovecot and a Postfix that take its "
        "tokens, until Ctrl-C, and print profiles for the router to be tried with. What they store goes with them.",
    ).parse_args()
    with tempfile.TemporaryDirectory(prefix="er-authorization-") as name:
        folder = Path(name)
        tls = make_tls(folder)
        dovecot = Dovecot(tls)
        with closing(dovecot), closing(Postfix(tls, dovecot)) as postfix:
            server = AuthorizationServer(folder, dovecot.token, tls=tls, certificate=tls.certificate)
            with closing(server):
                secret = folder / "client-secret"
                secret.touch(mode=0o600)
                secret.write_text(server.application.secret)
                oauth2 = (
                    f'{{ issuer = "{server.issuer}", client_id = "{server.application.client_id}", '
                    f'client_secret = {{ file = "{secret}" }}, scope = "mail", ca_file = "{tls.ca_file}" }}'
                )
                sys.stdout.write(
                    _PROFILES.format(
                        lmtp=dovecot.lmtp,
                        imaps=dovecot.imaps,
                        submission=postfix.submission,
                        login=server.login_url,
                        account=server.account.key_file,
                        ca=tls.ca_file,
                        oauth2=oauth2,
                    )
                )
                sys.stdout.flush()
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
