"""The other side of the pool: a fork server, and the workers that it forks.

    router ──▶ fork server: the functions, pickled; then a byte with the socket and file of each worker that is wanted
    router ◀── fork server: a `REPORT` when it is ready, of each worker that was forked, and of each that ended

    router ──▶ worker: a function and arguments for each piece of a share, pickled
    router ◀── worker: (answer, fault) for each piece, pickled together behind their length

The fork server loads the modules that the functions are in, once. It has one thread and never touches mail, so what it
forks is sound. A worker does one piece after another, and ends with the one that it cannot do. The file in memory that
it shares with the router tells how many it has begun by then: most shares cross in one message each way.

It is the kernel that ends a worker, whatever it is doing, in whichever language: when a piece takes longer than the
limit (SIGALRM), and when the router is gone (SIGKILL). It holds no password and no connection but that to its router.
"""

import ctypes
import gc
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from typing import Any, BinaryIO, Final, NoReturn

from router.errors import whereabouts

LENGTH: Final = struct.Struct("!Q")
REPORT: Final = struct.Struct("!?ii")
"""Whether a worker ended; its process id, 0 where none could be forked; its exit status, or why not (errno)."""

BEGUN: Final = struct.Struct("!I")
"""How many pieces of its share a worker has begun, in the file that it shares with the router."""

Answer = tuple[Any, str | None]
"""What a function answered for one piece; or why there is no answer, in words."""

MOST_FUNCTIONS: Final = 65_536
"""Bytes of the pickled functions."""

_MOST_MEMORY: Final = 2 << 30  # bytes; beyond them Python raises MemoryError, which is a fault like any other
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Fork workers until the router closes the connection, on standard input.

    Called as `-m router.workers.worker ROUTER LIMIT`: ROUTER is the router's process id, LIMIT the seconds that a piece
    may take.
    """
    router, limit = int(sys.argv[1]), float(sys.argv[2])
    _tie_to(router)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # systemd sends it to all: the router still needs its answers
    _limit_memory()
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    pickle.loads(control.recv(MOST_FUNCTIONS))  # noqa: S301  from our router
    gc.collect()
    gc.freeze()  # what is loaded stays in memory that the workers share
    control.send(REPORT.pack(False, os.getpid(), 0))
    workers: set[int] = set()
    with suppress(ConnectionError):  # the router is gone
        _serve(control, limit, workers)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)


def _serve(control: socket.socket, limit: float, workers: set[int]) -> None:
    """Fork a worker for each socket that comes, and report those that end; `workers` are those that have not."""
    woken, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # it only wakes
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid, status in _ended():
                workers.discard(pid)
                control.send(REPORT.pack(True, pid, status))
        if control.fileno() in ready:
            asked, files, _, _ = socket.recv_fds(control, 1, 2)
            if not asked:
                return
            with socket.socket(fileno=files[0]) as connection, FileIO(files[1], "w") as begun:
                try:
                    pid = os.fork()
                except OSError as error:
                    control.send(REPORT.pack(False, 0, error.errno))
                    continue
                if pid == 0:
                    control.close()
                    _become_worker(connection, begun, limit)
            workers.add(pid)
            control.send(REPORT.pack(False, pid, 0))


def _ended() -> list[tuple[int, int]]:
    """The workers that ended by now, and how: their exit statuses, or minus the signals that ended them."""
    found = []
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            found.append((ended[0], os.waitstatus_to_exitcode(ended[1])))
    return found


def _become_worker(connection: socket.socket, begun: FileIO, limit: float) -> NoReturn:
    """Work until the router closes the connection."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    server = os.getppid()
    os.setsid()
    _tie_to(server)
    status = 1
    try:
        _work(connection, begun, limit)
        status = 0
    finally:
        os._exit(status)  # it is no fork server, so nothing of one is to be run


def _work(connection: socket.socket, begun: FileIO, limit: float) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    shares, answers = connection.makefile("rb"), connection.makefile("wb")
    while True:
        try:
            function, pieces = pickle.load(shares)  # noqa: S301  from our router
        except EOFError:
            return
        found = []
        for number, arguments in enumerate(pieces, 1):
            os.pwrite(begun.fileno(), BEGUN.pack(number), 0)
            signal.setitimer(signal.ITIMER_REAL, limit)
            found.append(_do(function, arguments))
            signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, _pickled(found))
        del pieces, found, arguments  # a large message is not kept until the next comes


def _tie_to(parent: int) -> None:
    """End when the parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked to hear of it


def _limit_memory() -> None:
    _, allowed = resource.getrlimit(resource.RLIMIT_DATA)
    if allowed == resource.RLIM_INFINITY or allowed > _MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold private mail


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(LENGTH.pack(len(answer)))
    answers.write(answer)
    answers.flush()


def _do(function: Callable[..., object], arguments: Sequence[Any]) -> Answer:
    try:
        return function(*arguments), None
    except Exception as error:  # noqa: BLE001  # a bug in what is done must not end who does it
        return None, whereabouts(error)


def _pickled(answers: Sequence[Answer]) -> bytes:
    try:
        return pickle.dumps(answers, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  # nor may an answer that cannot cross
        return pickle.dumps([_crossing(answer) for answer in answers], pickle.HIGHEST_PROTOCOL)


def _crossing(answer: Answer) -> Answer:
    try:
        pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  # see above
        return None, whereabouts(error)
    return answer


if __name__ == "__main__":
    main()
