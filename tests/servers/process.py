"""Server processes that never outlive the test process, and waiting for conditions."""

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# A pipe from us ends when we do, however that happens. The kernel's parent-death signal would not serve: it is lost
# when a server changes its credentials, as Postfix does, and when sudo is between.
_UNTIL_THE_PIPE_ENDS = """
exec 3<&0 </dev/null
"$@" 3<&- & server=$!
(cat >/dev/null; kill -TERM $server) <&3 2>/dev/null & watcher=$!
exec 3<&-
wait $server
kill $watcher 2>/dev/null
"""


def spawn(command: Sequence[str], log: Path, root: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start `command`, after `root` (sudo), in a session of its own; what it prints is added to `log`.

    It gets SIGTERM when `stdin` of what is returned is closed, and so when we end. That process ends after it.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [*root, "sh", "-c", _UNTIL_THE_PIPE_ENDS, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], ports: Sequence[int]) -> None:
    """Stop what `spawn` started, in order, and return once nothing listens on `ports` any more."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(20)
    # A server's last process can outlive its first.
    wait_until(lambda: not any(_listens(port) for port in ports), "the ports are closed")


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    """Return as soon as `condition()` holds; TimeoutError, saying `what`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
