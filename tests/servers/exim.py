"""A private Exim, as a second relay: all that it takes goes to a sink.

`smtp` takes mail from anyone and offers STARTTLS; `certified` speaks TLS from the start, and wants a client certificate
of the tests' authority. It takes 20 recipients at once. `refused…@` and `deferred…@` are what they say.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.installed import as_root, require_file
from tests.servers.ports import free_port
from tests.servers.process import end, spawn, wait_until
from tests.servers.sink import Delivered, Sink
from tests.servers.tls import Tls

PROGRAM = Path("/var/cache/email-router-tests/exim/usr/sbin/exim4")
HOST = "127.0.0.1"
MOST_RECIPIENTS = 20
MOST_BYTES = 2_000_000

_CONFIGURATION = """
exim_path = {program}
primary_hostname = exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path =
keep_environment =
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = {smtp} : {certified}
tls_advertise_hosts = *
tls_on_connect_ports = {certified}
tls_certificate = {folder}/certificate.pem
tls_privatekey = {folder}/key.pem
tls_verify_certificates = {folder}/ca.pem
tls_verify_hosts = ${{if eq{{$received_port}}{{{certified}}}{{*}}{{}}}}
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
message_size_limit = {most_bytes}
recipients_max = {most_recipients}
recipients_max_reject = false
dsn_advertise_hosts = *
pipelining_advertise_hosts = *
smtputf8_advertise_hosts = *
smtp_enforce_sync = false
qualify_domain = exim.test
acl_smtp_mail = accept
acl_smtp_rcpt = recipient
acl_smtp_data = accept

begin acl

recipient:
  deny local_parts = ^refused
       message = 5.1.1 No such user here
  defer local_parts = ^deferred
       message = 4.2.1 Busy
  accept

begin routers

all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  host_find_failed = defer
  transport = sink

begin transports

sink:
  driver = smtp
  protocol = lmtp
  port = {sink}
  allow_localhost
  hosts_override

begin retry

* * F,1h,1s
"""


class Exim:
    """Started when it is made; `close` ends it for good."""

    def __init__(self, tls: Tls) -> None:
        require_file(PROGRAM)
        self._root = as_root()
        self.smtp, self.certified = free_port(), free_port()
        self._sink = Sink()
        self._folder = Path(tempfile.mkdtemp(prefix="er-exim-"))
        self._folder.chmod(0o755)
        for name, file in (("ca", tls.ca_file), ("certificate", tls.certificate), ("key", tls.key)):
            shutil.copy(file, self._folder / f"{name}.pem")
        configuration = self._folder / "conf"
        configuration.write_text(
            _CONFIGURATION.format(
                program=PROGRAM,
                folder=self._folder,
                smtp=self.smtp,
                certified=self.certified,
                sink=self._sink.port,
                most_bytes=MOST_BYTES,
                most_recipients=MOST_RECIPIENTS,
            )
        )
        owner = ["-o", "Debian-exim", "-g", "Debian-exim"]
        for made in ("spool", "log"):
            self._as_root("install", "-d", "-m", "755", *owner, str(self._folder / made))
        for made in ("mainlog", "paniclog", "rejectlog"):  # it would make them readable for itself alone
            self._as_root("install", "-m", "644", *owner, "/dev/null", str(self._folder / "log" / made))
        self._as_root("chown", "Debian-exim", str(self._folder / "key.pem"))
        self._as_root("chown", "root", str(configuration))
        self._output = self._folder / "output"
        self._process = spawn([str(PROGRAM), "-C", str(configuration), "-bdf", "-q10s"], self._output, self._root)
        wait_until(lambda: self._process.poll() is not None or self._listens(), "Exim listens")
        if self._process.poll() is not None:
            raise RuntimeError(f"Exim did not start:\n{self.log()}")

    def _listens(self) -> bool:
        return "listening for" in self.log()

    def received(self, address: str = "") -> list[Delivered]:
        """Return what it delivered so far, in order; with `address`, only what has it as sender or recipient."""
        return self._sink.received(address)

    def wait_for(self, count: int, address: str = "", timeout: float = 20.0) -> list[Delivered]:
        """As `received`, once there are at least `count`; TimeoutError after `timeout` seconds."""
        return self._sink.wait_for(count, address, timeout)

    def queued(self) -> int:
        """How many messages it has taken and not delivered yet."""
        command = [str(PROGRAM), "-C", str(self._folder / "conf"), "-bpc"]
        return int(subprocess.run([*self._root, *command], check=True, capture_output=True).stdout)

    def log(self) -> str:
        """What it logged and printed."""
        files = [self._output, *sorted((self._folder / "log").glob("*log"))]
        return "".join(one.read_text(errors="replace") for one in files if one.exists())

    def close(self) -> None:
        """Stop, and remove its folder with the queue."""
        end(self._process, [self.smtp, self.certified])
        self._sink.close()
        # What still delivers writes into its folder.
        wait_until(self._removed, "its folder is gone")

    def _removed(self) -> bool:
        return (
            subprocess.run([*self._root, "rm", "-rf", str(self._folder)], capture_output=True, check=False).returncode
            == 0
        )

    def _as_root(self, *command: str) -> None:
        subprocess.run([*self._root, *command], check=True, capture_output=True)
