"""A worker: a process that does one piece of work after another for the router, and ends with it.

    router ──▶ the functions, then (function, arguments) for each piece, pickled
    router ◀── None when it is ready, then (answer, fault) for each piece, pickled, each behind its length

It is the kernel that ends it, whatever it is doing, in whichever language: when a piece takes longer than the limit
(SIGALRM), and when the router is gone (SIGKILL). It holds no password and no connection but the one to its router.
"""

import ctypes
import os
import pickle
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final

from router.errors import whereabouts

LENGTH: Final = struct.Struct("!Q")

_MOST_MEMORY: Final = 2 << 30  # bytes; beyond them Python raises MemoryError, which is a fault like any other
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Work until the router closes the connection, on standard input and output.

    Called as `-m router.workers.worker ROUTER LIMIT`: ROUTER is the router's process id, LIMIT the seconds that a piece
    may take.
    """
    router, limit = int(sys.argv[1]), float(sys.argv[2])
    _tie_to(router)
    pieces, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    pickle.load(pieces)  # noqa: S301  from our router; loads the modules that the functions are in
    _send(answers, pickle.dumps(None))
    while True:
        try:
            function, arguments = pickle.load(pieces)  # noqa: S301
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, limit)
        answer = _do(function, arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, answer)
        del arguments, answer  # a large message is not kept until the next comes


def _tie_to(router: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # systemd sends it to all: the router still needs its answers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _, allowed = resource.getrlimit(resource.RLIMIT_DATA)
    if allowed == resource.RLIM_INFINITY or allowed > _MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold private mail
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != router:
        sys.exit()  # it died before we asked to hear of it


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(LENGTH.pack(len(answer)))
    answers.write(answer)
    answers.flush()


def _do(function: Callable[..., object], arguments: Sequence[Any]) -> bytes:
    try:
        return pickle.dumps((function(*arguments), None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  # a bug in what is done must not end who does it
        return pickle.dumps((None, whereabouts(error)))


if __name__ == "__main__":
    main()
