"""Takes the pictures: a router with a PostgreSQL of its own reads the letters from Maildirs, and Chromium looks."""

import asyncio
import base64
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import asyncpg
from playwright.async_api import Page, ViewportSize, async_playwright, expect

from router.model.viewer import Grant, StaffRole
from router.operations import people
from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from router.repository.database import Database
from router.repository.migrate import migrate
from router.web.console.guard import SESSION_COOKIE
from tests.pictures import letters
from tests.servers.ports import free_port
from tests.support.browser import CHROMIUM
from tests.support.console import wait_for
from tests.support.pages import ServedConsole

_PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"
_WIDE: Final = ViewportSize(width=1120, height=700)
_LOW: Final = ViewportSize(width=1120, height=452)
_NARROW: Final = ViewportSize(width=320, height=640)
_LARGEST: Final = 150_000  # bytes of one

_PROFILE: Final = """
[incoming.staff]
transport = "maildir"
path = "{folder}/{{local}}/Maildir"
owners = ["*@velo.example"]
authserv = "mx.velo.example"
rule = "all"
"""


async def take() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)  # as root, the database is another user
        letters.write(folder / "mail")
        async with EmbeddedServer(folder / "data", accepts_sessions=accepts_sessions) as server:
            await migrate(server.dsn)
            admin = await asyncpg.connect(server.dsn)
            await _fill(admin)
            async with _router(folder, server.dsn) as port, Database(server.dsn) as database:
                await _until(admin, len(letters.LETTERS))
                await _past(admin)
                await _look(ServedConsole(database, port))
            await admin.close()


async def _fill(admin: asyncpg.Connection) -> None:
    insert = (
        "WITH made AS (INSERT INTO crm.record (kind, name) VALUES ($1, $2) RETURNING id) "
        "INSERT INTO crm.address (record_id, address) SELECT id, $3 FROM made RETURNING record_id"
    )
    for name, (kind, shown) in letters.OWNERS.items():
        record = await admin.fetchval(insert, kind, shown, f"{name}@velo.example")
        await admin.execute(
            "INSERT INTO crm.owner (record_id, mailbox, tracking_rule, approved) VALUES ($1, $2, 'all', true)",
            record,
            f"{name}@velo.example",
        )
    for kind, shown, address in letters.RECORDS:
        await admin.fetchval(insert, kind, shown, address)


async def _until(admin: asyncpg.Connection, number: int) -> None:
    async with asyncio.timeout(60):
        while await admin.fetchval("SELECT count(*) FROM crm.email") < number:
            await asyncio.sleep(0.1)


async def _past(admin: asyncpg.Connection) -> None:
    """Have a day behind it: numbers of each quarter of an hour, and an audit."""
    await admin.execute(
        """
        DELETE FROM router.sample;
        INSERT INTO router.sample
        SELECT date_bin('15 minutes', now(), 'epoch') - make_interval(mins => 15 * (100 - n)), sum(busy) OVER w * 4,
            sum(busy) OVER w, sum(busy) OVER w * 2, sum(busy / 8) OVER w, 0, sum(busy) OVER w * 2, n / 40, n / 90, 0,
            0.3 + busy / 5.0, greatest(0, busy - 7), 14 + round(4 * cos(n / 9.0))
        FROM (SELECT n, greatest(1, round(9 * sin(n / 14.0 - 1)))::int AS busy FROM generate_series(1, 100) AS n) AS s
        WINDOW w AS (ORDER BY n);
        INSERT INTO router.audit (source_id, audited_at, messages, waiting, missing)
            SELECT id, now() - interval '2 hours', 400, 0, 0 FROM router.source
            ON CONFLICT (source_id) DO UPDATE SET audited_at = excluded.audited_at;
        """
    )


@asynccontextmanager
async def _router(folder: Path, dsn: str) -> AsyncIterator[int]:
    """Run the router; the port of its console."""
    (folder / "profiles").mkdir()
    (folder / "profiles" / "staff.toml").write_text(_PROFILE.format(folder=folder / "mail"), encoding="utf-8")
    port = free_port()
    settings = {
        "DATABASE_URL": dsn,
        "PROFILES": str(folder / "profiles"),
        "CONSOLE": f"127.0.0.1:{port}",
        "LOG_LEVEL": "warning",
        "AUDIT": "off",
    }
    environment = os.environ | {f"EMAIL_ROUTER_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "router", "run", env=environment)
    try:
        await wait_for(port, "/readyz", 200, timeout=60)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _look(console: ServedConsole) -> None:
    await people.add(console.database, "ann", [Grant(StaffRole.ADMINISTER)], "pictures")
    secret = await console.session("ann")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        schemes: Sequence[Literal["light", "dark"]] = ("light", "dark")
        for scheme in schemes:
            context = await browser.new_context(
                base_url=console.origin, viewport=_WIDE, color_scheme=scheme, locale="en-US"
            )
            await context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": "https://localhost/"}])
            page = await context.new_page()
            await page.goto("/queue")
            await expect(page.locator("main[data-live=yes]")).to_be_visible()
            await page.keyboard.press("j")
            await expect(page.get_by_text("Who is this?")).to_be_visible()
            await _keep(page, f"queue-{scheme}")
            if scheme == "light":
                await page.set_viewport_size(_NARROW)
                await _keep(page, "queue-narrow")
                await page.set_viewport_size(_LOW)
                await page.goto("/well")
                await expect(page.get_by_text("Lag")).to_be_visible()
                await _keep(page, "all-well")
        await browser.close()


async def _keep(page: Page, name: str) -> None:
    path = _PICTURES / f"{name}.webp"
    session = await page.context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": 90})
    path.write_bytes(base64.b64decode(taken["data"]))
    size = path.stat().st_size
    assert size <= _LARGEST, f"{path} has {size} bytes"
    print(path, size)


if __name__ == "__main__":
    asyncio.run(take())
