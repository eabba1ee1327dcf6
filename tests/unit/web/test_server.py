"""The console's server: its answers, and that neither a taken address nor a client can do harm."""

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from router import __version__, metrics
from router.group import Group
from router.health import parts, parts_at_fault
from router.settings import ConsoleAddress
from router.web import server
from router.web.ask import is_alive
from router.web.server import Console
from tests.servers.ports import free_port
from tests.support.console import get, parse, value, wait_for

Reasons = Callable[[], Awaitable[Sequence[str]]]


@asynccontextmanager
async def console(port: int, *reasons: str, host: str = "127.0.0.1") -> AsyncIterator["asyncio.Task[None]"]:
    """A console that gives these reasons why it is not ready, once it answers."""

    async def answer() -> Sequence[str]:
        return reasons

    async with serving(port, answer, host) as task:
        await wait_for(port, "/healthz", 200, host=host)
        yield task


@asynccontextmanager
async def serving(
    port: int, reasons: Reasons, host: str = "127.0.0.1", app: ASGIApp | None = None
) -> AsyncIterator["asyncio.Task[None]"]:
    """A console; `app` is both its API and its pages."""
    served = Console(ConsoleAddress(host, port), reasons, app, app)

    async def run() -> None:
        with served.health:
            await served.run()

    task = asyncio.create_task(run())
    try:
        yield task
    finally:
        await end(task)


async def end(task: "asyncio.Task[None]") -> None:
    """Stop it, and expect that it takes about half a second; the machine may be busy."""
    task.cancel()
    async with asyncio.timeout(3):
        await asyncio.wait([task])
    assert task.cancelled()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


# --- Answers ---------------------------------------------------------------------------------------------------------


async def test_it_says_that_it_lives_whether_ready_or_not() -> None:
    port = free_port()
    async with console(port, "the database does not answer"):
        answer = await get(port, "/healthz")
        assert (answer.status, answer.json) == (200, {"status": "alive", "version": __version__})
        assert answer.headers["cache-control"] == "no-store"
        assert await is_alive(ConsoleAddress("127.0.0.1", port))
        assert await is_alive(ConsoleAddress("0.0.0.0", port))


async def test_it_is_ready_or_says_why_not() -> None:
    port = free_port()
    async with console(port):
        assert (await get(port, "/readyz"))[::2] == (200, '{"status":"ready"}')
    async with console(port, "no profile is served yet"):
        answer = await get(port, "/readyz")
        assert answer.status == 503
        assert answer.json == {"status": "not ready", "reasons": ["no profile is served yet"]}


async def test_prometheus_can_read_its_numbers() -> None:
    port = free_port()
    async with console(port):
        answer = await get(port, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert value(parse(answer.body), "email_router_faults", kind="console", profile="") == 0


async def test_signals_are_left_to_the_router() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with console(free_port()):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_nothing_else_is_there() -> None:
    port = free_port()
    async with console(port):
        assert (await get(port, "/")).status == 404
        assert (await get(port, "/metrics/../etc")).status == 404
        assert (await get(port, "/healthz", method="POST")).status == 405
        head = await get(port, "/healthz", method="HEAD")
        assert (head.status, head.body) == (200, "")
        assert "server" not in head.headers


async def test_ipv6() -> None:
    port = free_port()
    async with console(port, host="::1"):
        assert await is_alive(ConsoleAddress("::1", port))
        assert await is_alive(ConsoleAddress("::", port))


async def test_however_many_ask_at_once_the_work_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    port, asked, go_on = free_port(), 0, asyncio.Event()

    async def slow() -> Sequence[str]:
        nonlocal asked
        asked += 1
        await go_on.wait()
        return []

    made, may_end, joined = 0, threading.Event(), 0

    def exposition() -> bytes:
        nonlocal made
        made += 1
        assert may_end.wait(20)  # in a thread
        return b"x 1\n"

    class Counted(Group[Any, Any]):
        async def add(self, item: Any) -> Any:
            nonlocal joined
            joined += 1
            return await super().add(item)

    monkeypatch.setattr(metrics, "exposition", exposition)
    monkeypatch.setattr("router.web.app.Group", Counted)
    async with serving(port, slow):
        await wait_for(port, "/healthz", 200)
        askers = [asyncio.create_task(get(port, path)) for path in ("/readyz", "/metrics") for _ in range(10)]
        await until(lambda: joined == 20)
        # Whoever only wants to know that it lives waits for none of it.
        assert (await get(port, "/healthz")).status == 200
        may_end.set()
        go_on.set()
        assert {one.status for one in await asyncio.gather(*askers)} == {200}
    assert asked <= 2
    assert made <= 2


# --- The address -----------------------------------------------------------------------------------------------------


async def test_another_program_at_its_address_is_a_fault_until_it_is_gone() -> None:
    port = free_port()
    taken = socket.create_server(("127.0.0.1", port))
    with capture_logs() as lines:
        async with serving(port, no_reasons):
            await until(lambda: parts_at_fault().get(("console", "")))
            taken.close()
            await wait_for(port, "/healthz", 200)
            assert parts_at_fault()["console", ""] == 0
    assert parts()["console", ""] == 0
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert warning["event"] == "the console cannot be served now"
    assert warning["reason"] == (
        f"cannot listen at 127.0.0.1:{port}: another program listens there; EMAIL_ROUTER_CONSOLE names another "
        "address, or off"
    )
    assert [line["event"] for line in lines if line["log_level"] == "info"] == ["works again", "the console is served"]


async def test_another_router_at_its_address_is_none_and_is_followed_by_this_one() -> None:
    port = free_port()
    with capture_logs() as lines:
        async with console(port) as first, serving(port, no_reasons):
            await until(lambda: any(line["event"] == "another router serves the console" for line in lines))
            await end(first)
            await until(lambda: [line["event"] for line in lines].count("the console is served") == 2)
            assert (await get(port, "/healthz")).status == 200
            assert parts_at_fault().get(("console", ""), 0) == 0
    assert {line["log_level"] for line in lines} == {"info"}
    assert [line["event"] for line in lines].count("another router serves the console") == 1


async def test_an_address_that_is_not_this_machines_is_a_fault() -> None:
    with capture_logs() as lines:
        async with serving(free_port(), no_reasons, "192.0.2.1"):
            await until(lambda: parts_at_fault().get(("console", "")))
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert "cannot listen at 192.0.2.1:" in warning["reason"]
    assert "assign requested address" in warning["reason"]


async def test_what_answers_otherwise_or_not_at_all_is_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.web.ask._PATIENCE", 0.2)
    port = free_port()
    answers = {
        "silence": None,
        "nothing": b"",
        "another": b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":"up"}',
        "refusal": b'HTTP/1.1 503 No\r\nContent-Length: 18\r\n\r\n{"status":"alive"}',
        "endless": b"x" * 200_000,
    }
    for answer in answers.values():

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes | None = answer
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", port):
            assert not await is_alive(ConsoleAddress("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        await is_alive(ConsoleAddress("127.0.0.1", free_port()))


# --- Clients ---------------------------------------------------------------------------------------------------------


async def no_reasons() -> Sequence[str]:
    return []


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHo", b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_client_that_dawdles_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 600)
    port, asked = free_port(), asyncio.Event()

    async def hangs() -> Sequence[str]:
        asked.set()
        await asyncio.Event().wait()
        return []

    async with serving(port, hangs) as task:
        await wait_for(port, "/healthz", 200)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(sent)
            if sent.endswith(b"\r\n\r\n"):
                await asked.wait()
            await end(task)
            async with asyncio.timeout(20):
                assert await hung_up(reader)


async def test_a_client_that_takes_no_answer_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(metrics, "exposition", lambda: b"x" * 20_000_000)
    async with console(port) as task:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.to_thread(client.recv, 10)
            await end(task)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHo", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_who_takes_too_long_to_ask_or_to_listen_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    ended: list[object] = []  # by the addresses of the clients
    connection_lost = server._Connection.connection_lost

    def noted(connection: server._Connection, error: Exception | None) -> None:
        ended.append(connection.client)
        connection_lost(connection, error)

    monkeypatch.setattr(server._Connection, "connection_lost", noted)
    monkeypatch.setattr(server, "_PATIENCE", 0.1)
    monkeypatch.setattr(metrics, "exposition", lambda: b"x" * 20_000_000)
    port = free_port()
    async with console(port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(sent)
            client.settimeout(20)
            await until(lambda: client.getsockname() in ended)  # it begins to read when it is too late
            assert await asyncio.to_thread(received, client) < 20_000_000
        assert (await get(port, "/healthz")).status == 200


async def test_a_client_that_takes_its_answer_slowly_is_given_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[server._Connection] = []
    connection_made = server._Connection.connection_made

    def noted(connection: server._Connection, transport: asyncio.Transport) -> None:
        made.append(connection)
        connection_made(connection, transport)

    monkeypatch.setattr(server._Connection, "connection_made", noted)
    monkeypatch.setattr(server, "_PATIENCE", 600)  # the test looks by itself
    monkeypatch.setattr(metrics, "exposition", lambda: b"x" * 20_000_000)
    port = free_port()
    async with console(port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            client.settimeout(20)
            first = len(await asyncio.to_thread(client.recv, 1))
            connection = made[-1]
            taken = connection._counted.taken
            while connection._counted.taken == taken:
                first += len(await asyncio.to_thread(client.recv, 1_000_000))
            connection._look(connection.cycle, taken)
            assert first + await asyncio.to_thread(received, client) > 20_000_000


def received(client: socket.socket) -> int:
    """How many bytes come until the other side hangs up."""
    count = 0
    with suppress(ConnectionError):
        while more := client.recv(1_000_000):
            count += len(more)
    return count


async def hung_up(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hangs up, and has said nothing."""
    with suppress(ConnectionError):
        return not await reader.read()
    return True


async def test_however_many_wait_a_probe_gets_in_and_no_more_files_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PATIENCE", 600)  # none of them has been here too long
    port, joined, go_on = free_port(), 0, asyncio.Event()

    async def slow() -> Sequence[str]:
        await go_on.wait()
        return []

    class Counted(Group[Any, Any]):
        async def add(self, item: Any) -> Any:
            nonlocal joined
            joined += 1
            return await super().add(item)

    monkeypatch.setattr("router.web.app.Group", Counted)
    async with serving(port, slow):
        await wait_for(port, "/healthz", 200)
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server._MOST)]
        for _, one in clients:
            one.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: joined == server._MOST)
        # A probe that finds no room has the process killed: it gets in, and whoever is here for longest makes room.
        assert (await get(port, "/healthz")).status == 200
        async with asyncio.timeout(20):
            assert await hung_up(clients[0][0])
        # The others have their answers, and go on holding their connections.
        go_on.set()
        for answers, _ in clients[1:]:
            async with asyncio.timeout(20):
                await answers.readuntil(b"\r\n\r\n")
        assert (await get(port, "/healthz")).status == 200
        for _, one in clients:
            one.close()


@pytest.mark.parametrize(("path", "other"), [("/api/v1/events", "/queue"), ("/queue/events", "/api/v1/events")])
async def test_who_waits_keeps_neither_probes_nor_the_other_half_from_being_served(path: str, other: str) -> None:
    """A process whose probe is not answered is killed: because of pages that are open."""
    port, waiting = free_port(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal waiting
        if scope["path"] == path:
            waiting += 1
            await asyncio.Event().wait()
        await PlainTextResponse("served")(scope, receive, send)

    async def reasons() -> Sequence[str]:
        return []

    async with serving(port, reasons, app=app):
        await wait_for(port, "/healthz", 200)
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server._MOST)]
        for _, one in clients:
            one.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answers = [asyncio.ensure_future(one.readuntil(b"\r\n\r\n")) for one, _ in clients]
        await until(lambda: waiting + sum(one.done() for one in answers) == server._MOST)
        refused = [one.result().decode().lower() for one in answers if one.done()]
        assert refused
        assert all(one.startswith("http/1.1 503 ") and "retry-after: 5" in one for one in refused)
        for probe in ("/healthz", "/readyz", "/metrics"):
            assert (await get(port, probe)).status == 200
        assert (await get(port, other, named="localhost")).body == "served"
        for answer in answers:
            answer.cancel()
        for _, one in clients:
            one.close()


async def test_clients_who_ask_for_nothing_make_room_for_who_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe of Kubernetes that finds no room has the process killed."""
    monkeypatch.setattr(server, "_PATIENCE", 600)
    port = free_port()
    async with console(port):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server._MOST)]
        assert (await get(port, "/healthz")).status == 200
        for _, one in clients:
            one.close()


async def test_a_mistake_of_ours_is_one_answer_and_no_more() -> None:
    port = free_port()

    async def breaks() -> Sequence[str]:
        raise RuntimeError("a mistake")

    async with serving(port, breaks):
        await wait_for(port, "/healthz", 200)
        assert (await get(port, "/readyz")).status == 500
        assert (await get(port, "/healthz")).status == 200
