"""The API of a real router: who may use it, and what it answers in bad times."""

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from router.errors import DatabaseAway, DatabaseError
from router.health import Health
from router.operations.backing import Backing
from router.operations.staff_tokens import SCOPES
from router.profile import Profiles
from router.repository.database import Database
from tests.servers.ports import free_port
from tests.support.api import Answered, Api
from tests.support.console import get, wait_for
from tests.support.crm import Crm
from tests.support.databases import Postgres
from tests.support.paths import ROOT
from tests.support.router_process import NewRouter
from tests.support.traffic import outgoing

NOBODY = "00000000-0000-0000-0000-000000000000"
EMAIL = f"/emails/{NOBODY}"


def check_problem(answered: Answered, status: int) -> str:
    """It is a problem as RFC 9457 has it; returns its words."""
    assert answered.status == status, answered
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert answered.headers["Cache-Control"] == "no-store"
    assert answered.json["status"] == status
    assert (
        {"type", "title", "status", "detail"} <= set(answered.json) <= {"type", "title", "status", "detail", "errors"}
    )
    detail: str = answered.json["detail"]
    assert "Traceback" not in detail
    return detail


async def test_who_has_no_token_or_not_the_scope_gets_nothing(api: Api, crm: Crm) -> None:
    for token in (None, "ert_", "ert_" + "x" * 43, "ä", api.token + " "):
        expected = 404 if token == api.token + " " else 401
        answered = await api.get(EMAIL, token=token)
        check_problem(answered, expected)
        if expected == 401:
            assert answered.headers["WWW-Authenticate"].startswith("Bearer")
    check_problem(await api.get(EMAIL, token=None, headers={"Authorization": f"Basic {api.token}"}), 401)
    reader = await api.token_of("reader", "emails:read")
    check_problem(await api.get(EMAIL, token=reader), 404)
    words = check_problem(await api.post("/emails", {"from": "staff@in.test"}, token=reader), 403)
    assert words == "the token reader does not allow emails:send"
    await crm.admin.execute("UPDATE router.staff_token SET expires_at = now() WHERE name = 'reader'")
    check_problem(await api.get(EMAIL, token=reader), 401)
    sender = await api.token_of("sender", "emails:send")
    check_problem(await api.get(EMAIL, token=sender), 403)
    assert (await api.router.ask("staff", "end", "sender"))[0] == 0
    check_problem(await api.get(EMAIL, token=sender), 401)
    assert "ert_" not in api.router.log()


async def test_no_answer_is_kept_or_taken_for_a_page(api: Api) -> None:
    answers = [await api.get(path) for path in ("/emails", "/owners", "/openapi.json", EMAIL, "/nothing")]
    answers.append(await api.get("/emails", token=None))
    answers.append(await api.post("/webhooks", {"url": "https://crm.example.com/", "name": "one"}))
    assert [one.status for one in answers] == [200, 200, 200, 404, 404, 401, 201]
    headers = [one.headers for one in answers]
    headers.append((await get(api.port, "/metrics")).headers)
    headers.append((await get(api.port, "/queue", named="elsewhere.example")).headers)
    for one in headers:
        found = {name.lower(): value for name, value in one.items()}
        assert found["cache-control"] == "no-store"
        assert found["x-content-type-options"] == "nosniff"
        assert found["content-security-policy"].startswith("default-src 'none'")


async def test_each_operation_takes_the_scope_that_it_names_and_no_other_will_do(api: Api) -> None:
    document = (await api.get("/openapi.json", token=None)).json
    others = {
        scope: await api.token_of(f"all-but-{number}", *(set(SCOPES) - {scope})) for number, scope in enumerate(SCOPES)
    }
    asked = set()
    for path, operations in document["paths"].items():
        filled = re.sub(r"\{[a-z_]+\}", lambda found: {"{number}": "1"}.get(found[0], str(NOBODY)), path)
        for method, operation in operations.items():
            named = re.match(r"Scope `([a-z:]+)`\.", operation["description"])
            assert named is not None, f"{method} {path} names no scope"
            body: dict[str, str] | None = {} if "requestBody" in operation else None
            answered = await api.request(method.upper(), filled, token=others[named[1]], json=body)
            assert check_problem(answered, 403).endswith(f"does not allow {named[1]}")
            asked.add(named[1])
    assert asked == set(SCOPES)


async def test_what_is_none_is_said_as_a_problem(api: Api) -> None:
    nothing = await api.get("/nothing")
    check_problem(nothing, 404)
    assert nothing.json["detail"] == "there is no such path: /api/v1/openapi.json names those that there are"
    check_problem(await api.get("/emails/"), 404)
    check_problem(await api.get("/docs"), 404)
    check_problem(await api.request("DELETE", EMAIL), 405)
    check_problem(await api.get("/emails/xyz"), 422)
    answered = await api.post("/emails", {"from": "staff@in.test", "too": ["karl@kunde.test"], "cc": "x"})
    check_problem(answered, 422)
    assert {one["where"] for one in answered.json["errors"]} == {"body.too", "body.cc"}
    json_type = {"Content-Type": "application/json"}
    broken = await api.request("POST", "/emails", data=b'{"from":', headers=json_type)
    check_problem(broken, 422)
    assert broken.json["detail"] == "body: it is not JSON, from character 8 on: Expecting value"
    for unread in (b"[" * 60_000, "{}".encode("utf-16")):
        assert (await api.request("POST", "/emails", data=unread, headers=json_type)).status in (400, 422)
    # As curl sends it, where nobody says what it is; or nothing at all.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for data, sent_as in ((b"{}", {"Content-Type": "text/plain"}), (b"{}", form), (b"", json_type)):
        answered = await api.request("POST", "/emails", data=data, headers=sent_as)
        check_problem(answered, 422)
        assert answered.json["detail"] == "body: a JSON object is needed, sent with Content-Type: application/json"


async def test_a_body_that_is_too_large_is_not_read(api: Api) -> None:
    large = {"Content-Type": "application/json", "Content-Length": str(1 << 40)}
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in large.items())
    writer.write(
        f"POST /api/v1/emails HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.token}\r\n{head}\r\n".encode()
    )
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"413"
    writer.close()

    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65536

    answered = await api.request("POST", "/emails", data=chunks(), headers={"Content-Type": "application/json"})
    check_problem(answered, 413)


async def test_a_body_of_more_values_than_an_email_has_is_not_parsed(api: Api) -> None:
    """Names and braces cost a hundred times their bytes, and seconds in which nothing else runs."""
    reader = await api.token_of("reader", "events:read")
    json_type = {"Content-Type": "application/json"}
    for many in (
        b"{" + b",".join(b'"%d": 0' % number for number in range(20_001)) + b"}",
        b'{"to": [' + b"{}," * 30_000 + b"{}]}",
        b'{"to": ["\\"", "\\\\"' + b", 0" * 30_000 + b"]}",
        b"[" * 100_000,
    ):
        for token in (api.token, reader):
            check_problem(await api.request("POST", "/emails", data=many, headers=json_type, token=token), 413)
    # In a text they are no values.
    text = {"from": "staff@in.test", "to": ["karl@kunde.test"], "text": '\\",[{' * 20_000}
    assert (await api.post("/emails", text)).status == 201


async def test_where_the_database_is_away_it_says_when_to_come_again(
    api: Api, postgres: Postgres, database: str
) -> None:
    async with postgres.away(database):
        answered = await api.get(EMAIL)
        assert "try again" in check_problem(answered, 503)
        assert int(answered.headers["Retry-After"]) > 0
        assert (await api.get("/openapi.json", token=None)).status == 200
    async with asyncio.timeout(20):
        while (await api.get(EMAIL)).status == 503:
            await asyncio.sleep(0.05)
    check_problem(await api.get(EMAIL), 404)


async def test_a_database_that_hangs_is_not_waited_for(api: Api, crm: Crm) -> None:
    async with crm.admin.transaction():
        await crm.admin.execute("LOCK TABLE router.staff_token")
        answered = await api.get(EMAIL)
        check_problem(answered, 503)
    check_problem(await api.get(EMAIL), 404)


async def test_the_document_names_what_is_served_and_nothing_elsewhere(api: Api) -> None:
    answered = await api.get("/openapi.json", token=None)
    document = answered.json
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/api/v1"}]
    assert document["security"] == [{"token": []}]
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for path, operations in document["paths"].items():
        for method, one in operations.items():
            assert f"`{method.upper()} {path}" in page
            assert one["summary"]
            assert one["operationId"].startswith(f"{path.split('/')[1]}_")
            assert {"401", "403", "422", "503"} <= set(one["responses"])
            assert one["description"].startswith("Scope `")
    assert "http" not in json.dumps(document).replace('"type": "http"', "").replace("HTTP", "")


async def test_before_the_database_is_there_the_api_says_so(
    new_router: NewRouter, postgres: Postgres, database: str
) -> None:
    port = free_port()
    router = await new_router(outgoing(free_port()))
    await router.stop()
    router._environment = {**router._environment, "EMAIL_ROUTER_CONSOLE": f"127.0.0.1:{port}"}
    async with postgres.away(database):
        await router.launch()
        answer = await wait_for(port, "/healthz", 200)
        assert answer.json["status"] == "alive"
        answer = await wait_for(port, "/api/v1/emails/x", 401)
        assert answer.headers["content-type"] == "application/problem+json"
    await wait_for(port, "/readyz", 200)


async def test_the_api_waits_alone_where_it_gets_no_connections(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_note(*_: object) -> None:
        pass

    health = Health("no share", no_note, structlog.get_logger())
    backing = Backing(lambda: Profiles((), ()))
    async with Database(database, connections=1) as ours:
        shares = [Database("postgresql://127.0.0.1:1/none", connections=1), ours.share(1)]
        monkeypatch.setattr(ours, "share", lambda *_, **__: shares.pop(0))
        keeping = asyncio.create_task(backing.keep(ours, health))
        async with asyncio.timeout(20):
            while shares:
                with pytest.raises(DatabaseAway, match="not open yet"):
                    _ = backing.database
                await asyncio.sleep(0.01)
            while True:
                with suppress(DatabaseAway):
                    await backing.database.ping()
                    break
                await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.wait([keeping])
        with pytest.raises(DatabaseAway):
            _ = backing.database


async def test_what_nobody_waits_for_any_more_ends_in_the_database_too(database: str) -> None:
    """Else each retry of a client leaves a session behind whose trigger hangs, until the database has no more."""

    async def no_note(*_: object) -> None:
        pass

    backing = Backing(lambda: Profiles((), ()))
    async with Database(database, connections=1) as ours:
        keeping = asyncio.create_task(backing.keep(ours, Health("no share", no_note, structlog.get_logger())))
        async with asyncio.timeout(20):
            while not keeping.done():
                with suppress(DatabaseAway):
                    async with backing.database.connection() as connection:
                        assert await connection.fetchval("SHOW statement_timeout") == "10s"
                        break
                await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.wait([keeping])
        async with ours.share(1, statement=0.05) as shared:
            with pytest.raises(DatabaseError, match="57014"):
                async with shared.connection() as connection:
                    await connection.execute("SELECT pg_sleep(60)")


@pytest.mark.parametrize("code", ["import router.app", "import router.workers.worker, router.read, router.unwrap"])
def test_only_who_serves_the_api_loads_what_it_needs(code: str, tmp_path: Path) -> None:
    program = f"import sys; {code}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT,
        env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert "fastapi" not in done.stdout.split()
