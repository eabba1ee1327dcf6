"""The content of mail over HTTP: who is handed what, and how."""

import asyncio
import random
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from uuid import UUID

import aiohttp
import pytest

from router.app import parsers_of
from router.errors import DatabaseAway
from router.model.outgoing import Stored
from router.operations import audit_log, mail_content
from router.operations.backing import Backing
from router.operations.original import Original
from router.repository.database import Database
from router.repository.incoming.attachments import read_content
from router.settings import Settings
from router.web.console import guard
from router.web.console.guard import SESSION_COOKIE
from router.workers.pool import Workers
from tests.support import pieces
from tests.support.crm import Crm
from tests.support.pages import ServedConsole, serving
from tests.support.shown import PNG, bring_in, html_mail

ANNA, SALES = "anna@in.test", "sales@in.test"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
BIG = random.Random(1).randbytes(3 << 20)  # bytes that do not compress
HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 65535, 65535, 8, 2, 0, 0, 0) + bytes(4)


class Client:
    """Asks a console as a person."""

    def __init__(self, console: ServedConsole, http: aiohttp.ClientSession) -> None:
        self.console = console
        self._http = http

    async def get(self, path: str, as_: str | None = "ann", *, hx: bool = False) -> tuple[int, dict[str, str], bytes]:
        headers = {"HX-Request": "true"} if hx else {}
        if as_ is not None:
            headers["Cookie"] = f"{SESSION_COOKIE}={await self.console.session(as_)}"
        async with self._http.get(f"{self.console.origin}{path}", headers=headers, allow_redirects=False) as answer:
            return answer.status, dict(answer.headers), await answer.read()


@pytest.fixture
async def client(database: str) -> AsyncIterator[Client]:
    async with (
        Database(database, connections=4) as opened,
        parsers_of(Settings()) as workers,
        serving(opened, workers=workers) as console,
        aiohttp.ClientSession() as http,
    ):
        await console.add("ann")
        yield Client(console, http)


@pytest.fixture
async def email_id(client: Client, crm: Crm) -> UUID:
    """An email with HTML, pictures and files."""
    owner_id = await crm.owner(ANNA, "all")
    parts = [
        ("logo.png", "image/png", PNG, "logo"),
        ("drawing.svg", "image/svg+xml", SVG, "drawing"),
        ("liar.png", "image/png", HTML, "liar"),
        ("huge.png", "image/png", HUGE, "huge"),
        ("Angebot für Kästrel.pdf", "application/pdf", b"%PDF-1.7", None),
        ("page.html", "text/html", HTML, None),
        ("plan.bin", "application/octet-stream", BIG, None),
        ("words.csv", "text/csv", b"a,b\n" * 500_000, None),
    ]
    [found] = await bring_in(client.console.database, owner_id, ANNA, [html_mail("<img src=cid:logo>", parts)])
    return found


async def test_files_are_handed_over_and_never_shown(client: Client, email_id: UUID) -> None:
    async def file(number: int) -> tuple[str, str, bytes]:
        status, headers, content = await client.get(f"/mail/{email_id}/attachments/{number}")
        assert status == 200
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Content-Security-Policy"].endswith("; sandbox")
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Length"] == str(len(content))
        return headers["Content-Type"], headers["Content-Disposition"], content

    assert await file(0) == ("image/png", 'attachment; filename="logo.png"', PNG)
    assert await file(1) == ("application/octet-stream", 'attachment; filename="drawing.svg"', SVG)
    assert await file(2) == ("application/octet-stream", 'attachment; filename="liar.png"', HTML)
    assert await file(4) == (
        "application/pdf",
        "attachment; filename=\"Angebot f_r K_strel.pdf\"; filename*=UTF-8''Angebot%20f%C3%BCr%20K%C3%A4strel.pdf",
        b"%PDF-1.7",
    )
    assert (await file(5))[:2] == ("application/octet-stream", 'attachment; filename="page.html"')
    assert (await file(6))[2] == BIG
    assert (await file(7))[2] == b"a,b\n" * 500_000
    assert (await client.get(f"/mail/{email_id}/attachments/99999999999999"))[0] == 404
    assert (await client.get("/mail/x/attachments/0"))[0] == 404


async def test_a_file_may_take_longer_than_a_page(
    client: Client, email_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[asyncio.Timeout] = []
    timeout = asyncio.timeout

    def noted(delay: float | None) -> asyncio.Timeout:
        limit = timeout(delay)
        if delay == 123.0:
            limits.append(limit)
        return limit

    monkeypatch.setattr(guard, "_PATIENCE", 123.0)
    monkeypatch.setattr(asyncio, "timeout", noted)
    blocks: list[float | None] = []

    async def read(database: Database, stored: Stored) -> AsyncIterator[bytes]:
        async for block in read_content(database, stored):
            blocks.append(limits[-1].when())
            yield block

    monkeypatch.setattr(mail_content, "read_content", read)
    assert (await client.get(f"/mail/{email_id}/attachments/6"))[2] == BIG
    # The first is read before the answer begins, while a page would still be given up.
    assert (blocks[0] is None, set(blocks[2:]), len(blocks) > 5) == (False, {None}, True)


async def test_only_rasters_of_a_sane_size_are_pictures(client: Client, email_id: UUID) -> None:
    status, headers, content = await client.get(f"/mail/{email_id}/cid/0")
    assert (status, headers["Content-Type"], content) == (200, "image/png", PNG)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].endswith("; sandbox")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    for number in (1, 2, 3, 4, 6):
        status, headers, content = await client.get(f"/mail/{email_id}/cid/{number}")
        assert (status, headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert b"alert" not in content


async def test_the_frame_has_a_policy_of_its_own(client: Client, email_id: UUID) -> None:
    status, headers, content = await client.get(f"/mail/{email_id}/html")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert f"img-src {client.console.origin}/mail/{email_id}/cid/;" in policy
    assert "script" not in policy.replace("allow-scripts", "!").replace("-src", "")
    assert "; sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox" in policy
    assert (headers["X-Frame-Options"], headers["Referrer-Policy"]) == ("SAMEORIGIN", "no-referrer")
    assert f'src="/mail/{email_id}/cid/0"'.encode() in content
    # What stands around it is a part of a page for htmx, and a page for everybody else.
    whole = (await client.get(f"/mail/{email_id}/body"))[2]
    part = (await client.get(f"/mail/{email_id}/body", hx=True))[2]
    assert [b"<html" in one for one in (whole, part)] == [True, False]
    assert all(f'src="/mail/{email_id}/html"'.encode() in one for one in (whole, part))


async def test_however_many_look_at_html_mail_has_processes(
    client: Client, email_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTML that takes long is a stranger's, and processes are few: mail that comes in would wait behind it."""
    under_way, most = 0, 0
    really = Workers.map

    async def counted(*arguments: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await really(*arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(Workers, "map", counted)
    answers = await asyncio.gather(*(client.get(f"/mail/{email_id}/html") for _ in range(8)))
    assert ({status for status, _, _ in answers}, most) == ({200}, 1)


async def test_nobody_is_handed_what_is_not_theirs(client: Client, crm: Crm, email_id: UUID) -> None:
    sales = await crm.owner(SALES, "all")
    await client.console.add("sam", "view", [sales])
    paths = [f"/mail/{email_id}/{one}" for one in ("html", "body", "cid/0", "attachments/0")]
    for path in paths:
        assert (await client.get(path, None))[0] == 303
        status, _, content = await client.get(path, "sam")
        assert (status, b"Offer" in content) == (404, False)
    assert (await client.get(f"/mail/{email_id}/source", "sam"))[0] == 403
    assert (await client.get(f"/mail/{email_id}/source.eml", "sam"))[0] == 403
    await crm.admin.execute(
        "INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at) "
        "VALUES ($1, $2, 'sales', 'INBOX', '1', now())",
        email_id,
        sales,
    )
    assert [(await client.get(path, "sam"))[0] for path in paths] == [200] * 4
    await crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
    for by in ("sam", "ann"):
        assert [(await client.get(path, by))[0] for path in paths] == [409, 409, 404, 404]
    status, _, content = await client.get(f"/mail/{email_id}/source")
    assert (status, b"is private" in content) == (409, True)
    assert [one.action for one in await audit_log.list_before(client.console.database) if one.email_id] == []


async def test_html_that_cannot_be_made_safe_in_time_is_not_shown_and_others_are(
    client: Client, email_id: UUID, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made safe in a process: what ends that is one page's, and the event loop goes on."""
    await crm.admin.execute("UPDATE crm.email SET html_body = 'ends' WHERE id = $1", email_id)
    monkeypatch.setattr(mail_content, "framed", pieces.crash)
    status, _, content = await client.get(f"/mail/{email_id}/body")
    assert (status, b"its HTML cannot be shown" in content or b"Its HTML cannot be shown" in content) == (409, True)
    monkeypatch.undo()
    await crm.admin.execute("UPDATE crm.email SET html_body = '<p>well' WHERE id = $1", email_id)
    status, _, content = await client.get(f"/mail/{email_id}/html")
    assert (status, b"<p>well</p>" in content) == (200, True)


async def test_the_source_is_for_administrators_and_each_look_is_noted(
    client: Client, email_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_yet(_: Backing) -> NoReturn:
        raise DatabaseAway("the router has not begun its work yet")

    monkeypatch.setattr(Backing, "workers", property(not_yet))
    status, _, content = await client.get(f"/mail/{email_id}/source")
    assert (status, b"still starting" in content or b"One moment" in content) == (503, True)
    raw = b"Subject: <b>x</b>\r\nX-A: \xe2\x80\xaeb\x00\r\n\r\n<script>alert(1)</script>"

    async def found(*_: object) -> Original:
        return Original(email_id, raw, "INBOX of anna@in.test")

    # Where it is found, and why not, is in test_original.
    monkeypatch.setattr(mail_content, "original", found)
    monkeypatch.setattr(Backing, "workers", None)
    status, headers, content = await client.get(f"/mail/{email_id}/source")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert "Subject: &lt;b&gt;x&lt;/b&gt;\nX-A: \u2039202E\u203ab\u203900\u203a</pre>".encode() in content
    assert b"&lt;script&gt;" in content
    assert b"<script>alert" not in content
    status, headers, content = await client.get(f"/mail/{email_id}/source.eml")
    assert (status, content, headers["Content-Type"]) == (200, raw, "message/rfc822")
    assert headers["Content-Disposition"] == 'attachment; filename="message.eml"'
    noted = [one for one in await audit_log.list_before(client.console.database) if one.email_id]
    assert [(one.by, one.action, one.email_id, one.address) for one in noted] == [
        ("ann", "source-saved", email_id, "127.0.0.1"),
        ("ann", "source-viewed", email_id, "127.0.0.1"),
    ]


async def test_what_the_crm_stored_wrong_is_said_and_not_handed_over(client: Client, crm: Crm) -> None:
    owner_id = await crm.owner(ANNA, "all")
    email_id = await crm.admin.fetchval(
        "INSERT INTO crm.email (direction, status, owner_id, subject) VALUES ('out', 'draft', $1, 'x') RETURNING id",
        owner_id,
    )
    for number, (encoding, content) in enumerate([("zlib", b"no zlib"), ("zlib", zlib.compress(b"a" * 5_000_000))]):
        await crm.admin.execute(
            "INSERT INTO crm.blob (sha256, encoding, content) VALUES (sha256($2), $1, $2)", encoding, content
        )
        await crm.admin.execute(
            "INSERT INTO crm.attachment (email_id, position, filename, size, sha256) "
            "VALUES ($1, $2, 'a', 7, sha256($3))",
            email_id, number, content,
        )  # fmt: skip
    status, _, content = await client.get(f"/mail/{email_id}/attachments/0")
    assert (status, b"is not zlib" in content) == (409, True)
    # The size that it says is wrong: it is handed over whole.
    status, headers, content = await client.get(f"/mail/{email_id}/attachments/1")
    assert (status, len(content), "Content-Length" in headers) == (200, 5_000_000, False)
