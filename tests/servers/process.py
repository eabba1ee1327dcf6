"""Server processes that never outlive the test process, and waiting for conditions."""

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Linux sends the parent-death signal when the *thread* that started the child ends, so one thread that lives as long
# as the process starts them all; a test may then restart a server from any thread.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="servers")


def spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own; what it prints is added to `log`. It is ended when we are."""

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    return _starter.submit(start).result()


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    """Return as soon as `condition()` holds; TimeoutError, saying `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)


def wait_until_closed(*ports: int) -> None:
    """Return once nothing listens on `ports`: a server's last process can outlive its first."""
    wait_until(lambda: not any(_listens(port) for port in ports), "the ports are closed")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
