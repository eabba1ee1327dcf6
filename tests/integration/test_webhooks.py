"""Webhooks: a subscriber that misbehaves on command is told of each event, in order, signed; and holds up no other."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from aiohttp import web
from standardwebhooks import Webhook

from router.health import Health
from router.model.event import BEGINNING
from router.oauth2.vault import Vault
from router.operations import webhooks as operation
from router.operations.backing import Conflict, Refused
from router.operations.status import read
from router.repository import processes
from router.repository.api import webhooks as repository
from router.repository.database import Database
from router.repository.retention import Retention, take_piece
from router.webhooks.run import tell_webhooks
from router.webhooks.tell import LADDER, MOST_BYTES, body_of
from tests.servers.ports import free_port
from tests.support.crm import Crm

LEASE = timedelta(seconds=30)
Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A server that answers as it is told: `answers` by path, in turn, and then 204."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answers: dict[str, list[Answers]] = {}
        self.got: dict[str, list[tuple[dict[str, str], bytes]]] = {}
        self.taken: dict[str, list[str]] = {}
        self._news = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.got.setdefault(request.path, []).append((headers, body))
        script = self.answers.get(request.path, [])
        answer: web.StreamResponse = await script.pop(0)(request) if script else web.Response(status=204)
        if answer.status < 300:
            self.taken.setdefault(request.path, []).append(json.loads(body)["data"]["details"].get("n"))
        async with self._news:
            self._news.notify_all()
        return answer

    async def wait_for(self, path: str, *numbers: object) -> None:
        """Wait until exactly these were taken, in this order."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(self.taken.get(path, [])) >= len(numbers))
        assert self.taken[path] == list(numbers)


def status(code: int, **headers: str) -> Answers:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers=headers, text="the words of a server, with secrets")

    return answer


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def breaks(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=500)


async def talks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(100):
            await response.write(b"x" * 65536)
    return response


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    port = free_port()
    made = Receiver(port)
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", made.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made
    await runner.cleanup()


class Hooks:
    """Webhooks of a database, and processes that tell them."""

    def __init__(self, database: Database, crm: Crm, receiver: Receiver, vault: Vault) -> None:
        self.database = database
        self.crm = crm
        self.receiver = receiver
        self.vault = vault

    async def add(self, name: str, *kinds: str) -> str:
        _, secret = await operation.add(
            self.database, self.vault, f"{self.receiver.url}/{name}", kinds, name, "tests", here=True
        )
        return secret

    async def happens(self, *numbers: int, kind: str = "sent", email_id: UUID | None = None) -> None:
        for number in numbers:
            await self.crm.admin.execute(
                "INSERT INTO crm.event (kind, email_id, details) VALUES ($1, $2, $3)",
                kind,
                email_id,
                json.dumps({"n": number, "by": "router"}),
            )

    @asynccontextmanager
    async def told(self, vault: Vault | None = None, process_id: UUID | None = None) -> AsyncIterator[UUID]:
        """Tell them meanwhile, as a router does."""
        process_id = process_id or uuid4()
        await processes.beat(self.database, process_id)

        async def note(*_: object) -> None:
            pass

        health = Health("webhooks", note, structlog.get_logger())
        run = tell_webhooks(self.database, process_id, LEASE, lambda: vault or self.vault, health)
        task = asyncio.create_task(run)
        try:
            yield process_id
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, name: str, is_so: Callable[[operation.Webhook], bool]) -> operation.Webhook:
        async with asyncio.timeout(20):
            while not is_so(found := await operation.find(self.database, name)):
                await asyncio.sleep(0.02)
            return found


@pytest.fixture
async def hooks(database: str, crm: Crm, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Hooks]:
    async with Database(database, connections=4) as opened:
        yield Hooks(opened, crm, receiver, Vault(tmp_path / "keys", make=True))


async def test_events_are_told_in_order_signed_and_by_kind(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.happens(1)  # before it is there
    secret = await hooks.add("all")
    await hooks.add("some", "failed", "bounced")
    assert secret.startswith("whsec_")
    assert secret.encode() not in await hooks.crm.admin.fetchval("SELECT secret FROM router.webhook WHERE name = 'all'")
    await hooks.happens(2, 3)
    await hooks.happens(4, kind="bounced")
    async with hooks.told():
        await receiver.wait_for("/all", 2, 3, 4)
        await receiver.wait_for("/some", 4)
        await hooks.happens(*range(5, 25))
        await hooks.happens(25, kind="failed")
        await receiver.wait_for("/all", *range(2, 26))
        await receiver.wait_for("/some", 4, 25)
        found = await hooks.until("all", lambda one: one.delivered == 24 and not one.waiting)
    ids = []
    for headers, body in receiver.got["/all"]:
        document = Webhook(secret).verify(body, headers)
        assert set(document) == {"type", "timestamp", "data"}
        assert document["data"]["cursor"] == headers["webhook-id"]
        assert headers["content-type"] == "application/json"
        ids.append(headers["webhook-id"])
    assert len(set(ids)) == 24
    assert str(found.place) == ids[-1]
    assert found.state == "working"


async def test_what_is_committed_late_is_not_missed(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: asyncio.Queue[None] = asyncio.Queue()
    take = repository.take

    async def noted(*asked: Any) -> Any:
        taken = await take(*asked)
        looks.put_nowait(None)
        return taken

    monkeypatch.setattr(repository, "take", noted)
    await hooks.add("crm")
    async with hooks.told():
        async with hooks.database.transaction() as connection:
            await connection.execute("INSERT INTO crm.event (kind, details) VALUES ('sent', '{\"n\": 1}')")
            await hooks.happens(2)
            # The first look that is told of may have begun before; had the second found something, it would be told
            # before the third.
            looks = asyncio.Queue()
            async with asyncio.timeout(20):
                for _ in range(3):
                    await looks.get()
            assert receiver.got == {}
        await receiver.wait_for("/crm", 1, 2)


async def test_a_server_that_stumbles_is_tried_again_at_once(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.add("crm")
    receiver.answers["/crm"] = [status(500), breaks, talks, status(503), status(201)]
    await hooks.happens(1, 2)
    async with hooks.told():
        await hooks.until("crm", lambda one: one.delivered == 2)
    ids = [headers["webhook-id"] for headers, _ in receiver.got["/crm"]]
    assert ids == [ids[0]] * 3 + [ids[-1]] * 2


async def test_one_that_fails_or_hangs_waits_alone(hooks: Hooks, receiver: Receiver) -> None:
    for name in ("hangs", "refuses", "moved", "gone", "busy", "works"):
        await hooks.add(name)
    receiver.answers = {
        "/hangs": [hangs] * 9,
        "/refuses": [status(400)],
        "/moved": [status(302, Location=f"{receiver.url}/elsewhere")],
        "/gone": [status(410)],
        "/busy": [status(429, **{"Retry-After": "600"})],
    }
    await hooks.happens(1, 2, 3)
    async with hooks.told():
        await receiver.wait_for("/works", 1, 2, 3)
        refuses = await hooks.until("refuses", lambda one: one.failures == 1)
        moved = await hooks.until("moved", lambda one: one.failures == 1)
        gone = await hooks.until("gone", lambda one: one.paused_at is not None)
        busy = await hooks.until("busy", lambda one: one.failures == 1)
        assert await hooks.crm.admin.fetchval("SELECT process_id FROM router.webhook WHERE name = 'hangs'")
        assert refuses.fault == f"{receiver.url} answers 400 (Bad Request)"
        assert refuses.next_try_at
        assert refuses.fault_since
        assert moved.fault
        assert "redirects are not followed" in moved.fault
        assert "/elsewhere" not in receiver.got
        assert gone.paused_by == "router"
        assert busy.next_try_at
        assert busy.fault_since
        assert busy.next_try_at - busy.fault_since > timedelta(seconds=590)
        # It goes on with the event that it failed at, as soon as a person says so.
        await operation.resume(hooks.database, "refuses", "ann")
        await receiver.wait_for("/refuses", 1, 2, 3)
    report = await read(hooks.database, LEASE, Path("/nonexistent"))
    faults = {one.name: one for one in report.faults if one.part == "webhook"}
    assert set(faults) == {"moved", "gone", "busy"}
    assert faults["gone"].cure == "email-router webhooks resume gone"
    assert "secrets" not in str(faults)


async def test_the_ladder_ends_and_it_is_paused(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.add("crm")
    await hooks.happens(1)
    pauses = []
    async with hooks.told():
        for failures in range(len(LADDER) + 1):
            receiver.answers["/crm"] = [status(404)]
            await hooks.crm.admin.execute("UPDATE router.webhook SET next_try_at = NULL")
            await hooks.crm.admin.execute("NOTIFY crm_event")
            found = await hooks.until("crm", lambda one, failed=failures: one.failures > failed)  # type: ignore[misc]
            pauses.append(found.next_try_at)
    assert (await operation.find(hooks.database, "crm")).paused_by == "router"
    assert None not in pauses[:-1]
    assert pauses[-1] is None
    assert sum(LADDER, timedelta()) > timedelta(days=3)
    async with hooks.told():
        found = await operation.resume(hooks.database, "crm", "ann")
        assert found.paused_at is None
        assert found.fault is None
        await receiver.wait_for("/crm", 1)


async def test_one_process_at_a_time_tells_it(hooks: Hooks) -> None:
    await hooks.add("crm")
    await hooks.happens(1)
    first, second = uuid4(), uuid4()
    for one in (first, second):
        await processes.beat(hooks.database, one)
    [taken] = await repository.take(hooks.database, first, LEASE, ())
    assert await repository.take(hooks.database, second, LEASE, ()) == []
    # The first is thought dead, and the second takes over: what the first learns then is not written.
    await hooks.crm.admin.execute("UPDATE router.process SET seen_at = now() - interval '1 hour' WHERE id = $1", first)
    [again] = await repository.take(hooks.database, second, LEASE, ())
    assert not await repository.note_told(hooks.database, taken, taken.place, 1)
    assert not await repository.note_failed(hooks.database, taken, "x", None)
    await repository.let_go(hooks.database, taken)
    assert await repository.note_told(hooks.database, again, again.place, 0)
    # So it is where somebody changes it.
    await operation.pause(hooks.database, "crm", "ann")
    assert not await repository.note_told(hooks.database, again, again.place, 1)
    assert await repository.take(hooks.database, first, LEASE, ()) == []


async def test_a_copy_of_the_database_tells_nobody(hooks: Hooks) -> None:
    await hooks.add("crm")
    await hooks.happens(1)
    await hooks.crm.admin.execute("UPDATE router.installation SET database_oid = NULL")
    assert await repository.take(hooks.database, uuid4(), LEASE, ()) == []


async def test_it_can_be_replayed_and_what_it_cannot_take_passed_over(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.add("crm")
    await hooks.happens(1, 2, 3)
    async with hooks.told():
        await receiver.wait_for("/crm", 1, 2, 3)
        cursor = receiver.got["/crm"][0][0]["webhook-id"]
        await operation.replay(hooks.database, "crm", operation.place_of(cursor), "ann")
        await receiver.wait_for("/crm", 1, 2, 3, 2, 3)
        await operation.replay(hooks.database, "crm", BEGINNING, "ann")
        await receiver.wait_for("/crm", 1, 2, 3, 2, 3, 1, 2, 3)
        await operation.pause(hooks.database, "crm", "ann")
        await hooks.happens(4)
        await operation.replay(hooks.database, "crm", operation.place_of("now"), "ann")
        await hooks.happens(5)
        await receiver.wait_for("/crm", 1, 2, 3, 2, 3, 1, 2, 3, 5)
    with pytest.raises(Refused, match="no cursor"):
        operation.place_of("7")
    log = await hooks.crm.admin.fetch("SELECT by, action FROM router.audit_log ORDER BY id")
    assert [row["action"] for row in log] == [
        "webhook-added",
        *["webhook-replayed"] * 2,
        "webhook-paused",
        "webhook-replayed",
    ]


async def test_of_private_email_nothing_is_told_that_may_not_be(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.crm.owner("staff@in.test", "all")
    email_id = await hooks.crm.draft("staff@in.test", "karl@kunde.test", "Offer")
    await hooks.add("crm")
    await hooks.happens(1, email_id=email_id)
    await hooks.crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
    async with hooks.told():
        await receiver.wait_for("/crm", None)
        # When it is gone, nobody knows any more that it was private.
        await hooks.crm.admin.execute("DELETE FROM crm.email WHERE id = $1", email_id)
        await hooks.happens(2, email_id=email_id)
        await receiver.wait_for("/crm", None, None)
    told: list[dict[str, Any]] = [json.loads(body)["data"] for _, body, *_ in receiver.got["/crm"]]
    assert [(one["email_id"], one["details"]) for one in told] == [(str(email_id), {"by": "router"})] * 2


async def test_what_becomes_private_while_others_are_told_or_it_is_tried_again_is_told_without_details(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.crm.owner("staff@in.test", "all")
    email_id = await hooks.crm.draft("staff@in.test", "karl@kunde.test", "Offer")
    other_id = await hooks.crm.draft("staff@in.test", "karl@kunde.test", "Offer")

    async def makes_private(_: web.Request) -> web.StreamResponse:
        await hooks.crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
        return web.Response(status=204)

    async def deletes(request: web.Request) -> web.StreamResponse:
        await hooks.crm.admin.execute("DELETE FROM crm.email WHERE id = $1", other_id)
        return await breaks(request)

    await hooks.add("crm")
    await hooks.happens(1)
    await hooks.happens(2, email_id=email_id)
    await hooks.happens(3, email_id=other_id)
    receiver.answers["/crm"] = [makes_private, status(204), deletes]
    async with hooks.told():
        await receiver.wait_for("/crm", 1, None, None)
    told = [json.loads(body)["data"]["details"] for _, body in receiver.got["/crm"]]
    assert [one.get("n") for one in told] == [1, None, 3, None]


async def test_what_was_pruned_before_it_was_told_is_told(hooks: Hooks) -> None:
    await hooks.add("all")
    await hooks.add("some", "failed")
    await hooks.add("late")
    await hooks.happens(1, 2)
    await operation.replay(hooks.database, "late", None, "ann")
    await hooks.crm.admin.execute("UPDATE crm.event SET at = now() - interval '2 years'")
    assert (await take_piece(hooks.database, "events", Retention())).deleted == 2
    found = {one.name: one.missed for one in await operation.list_all(hooks.database)}
    assert found == {"all": 2, "some": 0, "late": 0}
    report = await read(hooks.database, LEASE, Path("/nonexistent"))
    [fault] = [one for one in report.faults if one.part == "webhook"]
    assert fault.words.startswith("2 events came and were pruned")
    assert (await operation.resume(hooks.database, "all", "ann")).missed == 0


async def test_a_process_without_its_key_leaves_it_to_others(hooks: Hooks, receiver: Receiver, tmp_path: Path) -> None:
    await hooks.add("crm")
    await hooks.happens(1)
    async with hooks.told(Vault(tmp_path / "other", make=True)):
        found = await hooks.until("crm", lambda one: one.fault is not None)
        assert found.fault
        assert "EMAIL_ROUTER_TOKEN_KEYS" in found.fault
        assert found.failures == 0
        async with hooks.told():
            await receiver.wait_for("/crm", 1)
            await hooks.until("crm", lambda one: one.fault is None)


async def test_what_is_wrong_with_a_new_one_is_said(hooks: Hooks) -> None:
    async def add(url: str, *kinds: str, name: str | None = None, here: bool = False) -> str:
        made, _ = await operation.add(hooks.database, hooks.vault, url, kinds, name, "tests", here=here)
        return made

    assert await add("https://crm.example.com/x") == "crm.example.com"
    with pytest.raises(Conflict, match=r"crm\.example\.com"):
        await add("https://crm.example.com/y")
    with pytest.raises(Refused, match="there is no kind opened; there are promoted"):
        await add("https://crm.example.com/y", "opened")
    with pytest.raises(Refused, match="no name"):
        await add("https://crm.example.com/y", name="a b")
    with pytest.raises(Refused, match="added on it"):
        await add("http://localhost:1/")
    await hooks.crm.admin.execute(
        "INSERT INTO router.webhook (name, url, kinds, secret, made_by, transaction, event_id) "
        "SELECT 'n' || n, 'https://x.example', '{}', '', '', '0', 0 FROM generate_series(1, 99) AS n"
    )
    with pytest.raises(Refused, match="100 webhooks"):
        await add("https://other.example.com/y")


async def test_the_kinds_are_those_of_the_database(hooks: Hooks) -> None:
    check = await hooks.crm.admin.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'event_kind'"
    )
    assert {part.split("'")[1] for part in check.split("[")[1].split("]")[0].split(",")} == set(operation.KINDS)


async def test_an_event_that_is_too_large_comes_without_its_details(hooks: Hooks) -> None:
    await hooks.crm.admin.execute(
        "INSERT INTO crm.event (kind, details) VALUES ('sent', jsonb_build_object('reason', repeat('x', $1)))",
        MOST_BYTES,
    )
    from router.repository.api.events import list_after  # noqa: PLC0415

    [event] = await list_after(hooks.database, BEGINNING, 1)
    data = json.loads(body_of(event))["data"]
    assert data["details"] == {}
    assert data["truncated"] is True
