"""The process that the tests fork `email-router` from; `forked` is the tests' side.

    tests ──▶ fork server: an `Ask` as JSON, with stdin, stdout, stderr, and a socket for reports
    tests ◀── fork server: over that socket a `REPORT` of the process id, and one of the exit status once it has ended

It has loaded all of the router, has one thread, and has no connection but that to the tests, so what it forks is as one
that was started anew.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import time
import traceback
from contextlib import suppress
from typing import Final, NoReturn, TypedDict

import router
import router.__main__

REPORT: Final = struct.Struct("!i")
MOST: Final = 1 << 17
"""Bytes of an `Ask`."""


class Ask(TypedDict):
    """What is to run."""

    arguments: list[str]
    environment: dict[str, str]
    new_session: bool


def serve(control: socket.socket) -> list[str] | None:
    """Fork for each ask until the tests close the connection: None. In what was forked, return its arguments."""
    woken, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # it only wakes
    reports: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_ended(reports)
        if control.fileno() in ready:
            words, files, _, _ = socket.recv_fds(control, MOST, 4)
            if not words:
                return None
            pid = os.fork()
            if pid == 0:
                for open_socket in (control, *reports.values()):
                    open_socket.detach()  # closed as a number, with all others
                _become_new(json.loads(words), files)
                return [router.__main__.__file__, *json.loads(words)["arguments"]]
            for file in files[:3]:
                os.close(file)
            reports[pid] = socket.socket(fileno=files[3])
            reports[pid].send(REPORT.pack(pid))


def _report_ended(reports: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            with reports.pop(pid) as report, suppress(ConnectionError):
                report.send(REPORT.pack(os.waitstatus_to_exitcode(status)))


def _become_new(ask: Ask, files: list[int]) -> None:
    """Be as a process is that was just started: nothing but these files is open, and no signal is handled."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if ask["new_session"]:
        os.setsid()
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  they are open to the end
        for number, mode in enumerate("rww")
    )
    os.environ.clear()
    os.environ.update(ask["environment"])
    time.tzset()


def main() -> None:
    """Load the router, and serve; standard input is the connection to the tests."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for module in pkgutil.walk_packages(router.__path__, "router."):
        if not module.name.startswith("router.demo."):  # some of those are programs of their own
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # what is loaded stays in memory that all of them share
    arguments = serve(control)
    if arguments is not None:
        sys.argv = arguments
        sys.modules["__main__"] = router.__main__
        _run()


def _run() -> NoReturn:
    """Run the router to its end, but leave out what Python does at the end: to free all that is loaded takes long."""
    status: int | str | None = 1
    try:
        router.__main__.main()
        status = 0
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            sys.stderr.write(f"{status}\n")
    except BaseException:  # noqa: BLE001  # it is shown, as Python shows it
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1 if status else 0)


if __name__ == "__main__":
    main()
