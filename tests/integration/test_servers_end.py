"""Servers never outlive the test process that started them, even when it is killed."""

import subprocess
import sys
from pathlib import Path

from tests.servers.ports import free_port
from tests.servers.process import end, spawn, wait_until


def test_a_server_ends_when_its_test_process_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    ended = tmp_path / "ended"
    server = f"trap 'touch {ended}; exit' TERM; touch {started}; while :; do sleep 0.01; done"
    starter = (
        "import os, pathlib, signal\n"
        "from tests.servers.process import spawn, wait_until\n"
        f"spawn(['sh', '-c', {server!r}], pathlib.Path({str(tmp_path / 'log')!r}))\n"
        f"wait_until(pathlib.Path({str(started)!r}).exists, 'the server is there')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", starter], check=False, cwd=Path(__file__).parents[2])

    wait_until(ended.exists, "the server was told to end")


def test_a_server_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    process = spawn(["sh", "-c", "echo no; exit 3"], tmp_path / "log")

    assert process.wait(20) is not None
    end(process, [free_port()])
    assert (tmp_path / "log").read_text() == "no\n"
