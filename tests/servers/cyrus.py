"""A private Cyrus IMAP 3: IMAP, POP3 and LMTP on free loopback ports, every mailbox there for the asking.

Debian lets only one IMAP server be installed, so `tests/install-servers` unpacks Cyrus beside Dovecot, into `UNPACKED`.
`MASTER_USER` with `MASTER_PASSWORD` opens any mailbox by SASL PLAIN with the mailbox as authorization identity, and by
itself is an administrator. It refuses passwords in clear, and says that something is new at once (idled). Its syslog
goes nowhere: `log()` is only what it says to whoever starts it.
"""

import os
import pwd
import shutil
from pathlib import Path

from tests.servers.cyrus_conf import imapd_conf, services
from tests.servers.imap_server import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, ImapServer
from tests.servers.installed import require_file
from tests.servers.saslauthd import Saslauthd
from tests.servers.tls import Tls

__all__ = ["HOST", "MASTER_PASSWORD", "MASTER_USER", "PASSWORD", "Cyrus"]

UNPACKED = Path("/var/cache/email-router-tests/cyrus")
_PROGRAMS = UNPACKED / "usr/lib/cyrus/bin"


class Cyrus(ImapServer):
    """`imap` and `pop3` speak STARTTLS, `imaps` and `pop3s` TLS, `lmtp` in clear: ports on `HOST`."""

    name = "Cyrus"
    _kept = ("mail", "conf")

    def __init__(self, tls: Tls) -> None:
        for part in ("imapd", "pop3d"):
            require_file(_PROGRAMS / part)
        super().__init__(tls)
        # It will not be root.
        self._user = pwd.getpwnam("mail") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self._passwords = Saslauthd(self._folder / "saslauthd", lambda user, password: password == _password(user))
        self._write_folder()
        self.start()

    def close(self) -> None:
        super().close()
        self._passwords.close()

    def _command(self) -> list[str]:
        libraries = ":".join(str(folder) for folder in (UNPACKED / "usr/lib").glob("*-linux-gnu*"))
        return [
            *("env", f"LD_LIBRARY_PATH={libraries}"),
            *self._as_user(),
            *(str(_PROGRAMS / "master"), "-D"),  # -D: its output stays ours
            *("-C", str(self._folder / "imapd.conf"), "-M", str(self._folder / "cyrus.conf")),
            *("-p", str(self._folder / "conf" / "master.pid")),
        ]

    def _as_user(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]

    def _write_folder(self) -> None:
        # Its user cannot look into pytest's folder, and must read the key.
        tls = Tls(self._tls.ca_file, self._folder / "server.pem", self._folder / "server.key")
        shutil.copy(self._tls.certificate, tls.certificate)
        shutil.copy(self._tls.key, tls.key)
        folders = [self._folder / name for name in ("mail", "conf", "conf/socket")]
        for folder in folders:
            folder.mkdir()
        for path in (tls.key, *folders):
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        (self._folder / "imapd.conf").write_text(imapd_conf(self._folder, self._user.pw_name, MASTER_USER, tls))
        (self._folder / "cyrus.conf").write_text(services(self._folder, _PROGRAMS, self.ports))


def _password(user: str) -> str:
    return MASTER_PASSWORD if user == MASTER_USER else PASSWORD
