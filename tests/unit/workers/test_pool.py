import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from router.metrics.process import METRICS
from router.read import read
from router.workers import fork_server
from router.workers.pool import Fault, Workers
from tests.support.paths import ROOT
from tests.support.pieces import work


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    async with Workers(work, limit=1, size=2) as workers:
        yield workers


def given(answers: list[tuple[str, int] | Fault]) -> list[str]:
    """What was answered, without who did it; of a fault its words."""
    return [answer.words if isinstance(answer, Fault) else answer[0] for answer in answers]


def processes(answers: list[tuple[str, int] | Fault]) -> set[int]:
    return {answer[1] for answer in answers if not isinstance(answer, Fault)}


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def sockets(pid: int) -> list[str]:
    opened = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    return [name for name in opened if name.startswith("socket:")]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def test_answers_come_in_order_from_as_many_processes_as_are_allowed(workers: Workers) -> None:
    answers = await workers.map(work, [("say", str(number)) for number in range(100)])
    assert given(answers) == [str(number) for number in range(100)]
    assert len(processes(answers)) == 2
    assert os.getpid() not in processes(answers)
    assert await workers.map(work, []) == []


async def test_one_piece_after_another_needs_one_process(workers: Workers) -> None:
    assert len({pid for _ in range(5) for pid in processes(await workers.map(work, [("say", "x")]))}) == 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("hang", "it took longer than 1 s"),
        ("exit", "the process that did it ended (status 3)"),
        ("crash", "the process that did it ended (Segmentation fault)"),
        ("eat", "MemoryError in <lambda>, line "),
        ("fail", "ValueError in fail, line "),
        ("answer oddly", "ValueError in __reduce__, line "),
    ],
)
async def test_t96_what_cannot_be_done_is_a_fault_and_its_neighbors_are_done(
    workers: Workers, tmp_path: Path, what: str, words: str
) -> None:
    argument = str(tmp_path / "private")
    pieces = [("say", "first"), (what, argument), ("say", "between"), (what, argument), *[("say", "after")] * 40]
    answers = given(await workers.map(work, pieces))
    assert [answers[0], answers[2], *answers[4:]] == ["first", "between", *["after"] * 40]
    assert [answer[: len(words)] for answer in (answers[1], answers[3])] == [words] * 2
    assert argument not in str(answers)  # it may be of a private message
    assert given(await workers.map(work, [("say", "next")])) == ["next"]


async def test_a_process_killed_from_outside_is_no_fault_of_its_piece(workers: Workers, tmp_path: Path) -> None:
    once = str(tmp_path / "once")
    assert given(await workers.map(work, [("crash once", once), ("say", "after")])) == [once, "after"]
    # So is one that is killed while it has nothing to do.
    for pid in processes(await workers.map(work, [("say", "x")])):
        os.kill(pid, signal.SIGKILL)
    assert given(await workers.map(work, [("say", "x")])) == ["x"]


async def test_workers_that_were_killed_with_nothing_to_do_are_no_fault_of_what_comes_next(workers: Workers) -> None:
    for many in (1, 16):
        pids = processes(await workers.map(work, [("say", "x")] * 2))
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await until(lambda pids=pids: not any(map(alive, pids)))  # type: ignore[misc]  # a lambda's defaults
        assert given(await workers.map(work, [("say", "y")] * many)) == ["y"] * many


async def test_the_one_that_ends_its_process_is_blamed_and_not_the_one_before(workers: Workers) -> None:
    answers = given(await workers.map(work, [("say", "x"), ("crash", "")] * 50))
    assert [answer for answer in answers[::2] if answer != "x"] == []
    assert [answer for answer in answers[1::2] if not answer.startswith("the process")] == []


async def test_what_a_lost_worker_had_answered_is_asked_again_and_no_more(workers: Workers, tmp_path: Path) -> None:
    said = [("say", str(number)) for number in range(20)]
    pieces = [*said[:5], ("crash once", str(tmp_path / "once")), *said[5:], ("hang", str(tmp_path / "hang"))]
    answers = given(await workers.map(work, pieces))
    assert answers[:5] + answers[6:-1] == [argument for _, argument in said]
    assert [answers[5], answers[-1]] == [str(tmp_path / "once"), "it took longer than 1 s"]


async def test_what_a_library_prints_is_no_answer(workers: Workers) -> None:
    assert given(await workers.map(work, [("print", "hello"), ("say", "x")])) == ["hello", "x"]


async def test_signals_for_all_processes_of_a_service_leave_the_workers_to_the_router(workers: Workers) -> None:
    [pid] = processes(await workers.map(work, [("say", "x")]))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert processes(await workers.map(work, [("say", "x")])) == {pid}
    assert os.getsid(pid) == pid


@pytest.mark.parametrize("uncounted", [False, True])
async def test_the_metrics_count_pieces_that_are_messages_alone(uncounted: bool) -> None:
    def counted() -> float:
        return sum(
            one.value
            for one in [samples for metric in pieces.collect() for samples in metric.samples]
            if one.name.endswith("_total")
        )

    [pieces] = (
        one for one in METRICS if [described.name for described in one.describe()] == ["email_router_worker_pieces"]
    )
    before = counted()
    async with Workers(work, limit=30, size=1, uncounted=[work] if uncounted else []) as workers:
        assert given(await workers.map(work, [("say", "x"), ("say", "y")])) == ["x", "y"]
    assert counted() - before == (0 if uncounted else 2)


async def test_who_has_little_to_do_does_not_wait_for_all_that_others_have() -> None:
    done: list[str] = []

    async def has(name: str, workers: Workers, count: int) -> None:
        await workers.map(work, [("say", name)] * count)
        done.append(name)

    async with Workers(work, limit=30, size=1) as workers:
        await asyncio.gather(has("much", workers, 100), has("little", workers, 1))
    assert done == ["little", "much"]


async def test_who_no_longer_waits_for_an_answer_costs_no_process(tmp_path: Path) -> None:
    running = tmp_path / "running"
    async with Workers(work, limit=30, size=1) as workers:
        asking = asyncio.create_task(workers.map(work, [("hang", str(running)), ("say", "x")]))
        await until(lambda: running.exists() and running.read_text() != "")
        pid = int(running.read_text())
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        running.unlink()
        assert processes(await workers.map(work, [("say", "y")])) == {pid}


async def test_where_no_process_can_be_started_the_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Workers(work, limit=30, size=1) as workers:
        for wrong in ("/nowhere/python", "/bin/false"):
            with monkeypatch.context() as context:
                context.setattr(sys, "executable", wrong)
                asking = asyncio.create_task(workers.map(work, [("say", "x")]))
                await asyncio.wait([asking], timeout=0.2)
                assert not asking.done()
            assert given(await asking) == ["x"]
            for worker in processes(await workers.map(work, [("say", "x")])):
                server = parent(worker)
                os.kill(server, signal.SIGKILL)
                await until(lambda pids=(server, worker): not any(map(alive, pids)))  # type: ignore[misc]  # a lambda's defaults


async def test_none_is_left_in_the_end(tmp_path: Path) -> None:
    running = tmp_path / "running"
    async with Workers(work, limit=30, size=2) as workers:
        [idle] = processes(await workers.map(work, [("say", "x")]))
        asking = asyncio.create_task(workers.map(work, [("hang", str(running))]))
        await until(lambda: running.exists() and running.read_text() != "")
        pids = {idle, int(running.read_text())}
    assert not [pid for pid in pids if alive(pid)]
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_worker_that_hangs_does_not_outlive_a_router_that_is_killed(tmp_path: Path) -> None:
    running = tmp_path / "running"
    router = f"""
import asyncio
from router.workers.pool import Workers
from tests.support.pieces import work

async def main():
    async with Workers(work, limit=300, size=1) as workers:
        await workers.map(work, [("hang", {str(running)!r})])

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", router, cwd=ROOT)
    try:
        await until(lambda: running.exists() and running.read_text() != "")
    finally:
        process.kill()
        await process.wait()
    await until(lambda: not alive(int(running.read_text())))


def test_a_worker_starts_fast_since_it_loads_little() -> None:
    program = "import router.workers.worker, router.read, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert read.__module__ in loaded
    assert not {"pydantic", "asyncio", "asyncpg", "structlog"} & set(loaded)


async def test_a_worker_that_cannot_be_started_is_tried_again_and_told(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = fork_server.ForkServer.fork
    refusals = iter([OSError(11, "Resource temporarily unavailable"), OSError(24, "Too many open files")])

    async def refused(*arguments: Any) -> fork_server.Worker:
        for error in refusals:
            raise error
        return await fork(*arguments)

    monkeypatch.setattr(fork_server.ForkServer, "fork", refused)
    with structlog.testing.capture_logs() as log:
        assert given(await workers.map(work, [("say", "x")])) == ["x"]
    assert [(line["event"], line["reason"]) for line in log] == [
        ("no worker can be started, so no mail is read", "[Errno 11] Resource temporarily unavailable"),
        ("no worker can be started, so no mail is read", "[Errno 24] Too many open files"),
    ]


async def test_a_lost_worker_is_replaced_without_loading_anything_anew(workers: Workers) -> None:
    servers = set()
    for _ in range(3):
        [pid] = processes(await workers.map(work, [("say", "x")]))
        servers.add(parent(pid))
        os.kill(pid, signal.SIGKILL)
    assert len(servers) == 1


async def test_a_fork_server_that_is_lost_costs_no_piece(workers: Workers, tmp_path: Path) -> None:
    once = tmp_path / "once"
    asking = asyncio.create_task(workers.map(work, [("hang once", str(once)), ("say", "after")]))
    await until(lambda: once.exists() and once.read_text() != "")
    os.kill(parent(int(once.read_text())), signal.SIGKILL)
    assert given(await asking) == [str(once), "after"]


async def test_a_worker_has_no_connection_but_its_own(workers: Workers) -> None:
    answers = await workers.map(work, [("say", "x")] * 20)
    assert len(processes(answers)) == 2
    for pid in processes(answers):
        assert len(sockets(pid)) == 1
