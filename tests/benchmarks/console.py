"""The console's speed: each request by how much waits, the first paint, and from a delivery to the row on a page.

python -m tests.benchmarks.console [--waiting 1000,100000] [--records N] [--pages N] [--arrivals N] [--burst N]

A router serves the console as `email-router run` does, on a database of its own for each number of waiting emails (see
`office`), and is asked by HTTP on this machine. With --records there are as many records of the CRM, among which is
searched as one types. With --pages so many browsers keep the queue open and read again what changes, as queue.js does;
mail comes once a second, and then --burst at once.
"""

import argparse
import asyncio
import json
import re
import smtplib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Final, Protocol, Self

import aiohttp
import asyncpg
from playwright.async_api import Page, async_playwright

from router import log
from router.model.viewer import Grant, StaffRole
from router.operations import people, sign_in
from router.operations.sign_in import Client
from router.postgres.embedded import EmbeddedServer
from router.repository.connect import accepts_sessions
from router.repository.database import Database
from router.repository.migrate import migrate
from router.web.console.guard import SESSION_COOKIE
from tests.benchmarks import office
from tests.benchmarks.cpu import Cpu
from tests.benchmarks.stage import HERE, program
from tests.servers.ports import free_port
from tests.support.browser import CHROMIUM
from tests.support.console import wait_for

PROFILE: Final = """
[incoming.office]
transport = "lmtp"
listen = "127.0.0.1:{port}"
owners = ["*@in.test"]
rule = "all"
"""

PAGES: Final = (
    "/well", "/queue?view=machines", "/queue?age=day", "/held", "/outbox", "/outbox?state=failed", "/dead-letters",
    "/sources", "/owners", "/profiles", "/rulings", "/rulings/log", "/why", "/why?message_id=7@waits.test",
    "/why?sender=flood@flood.test", "/people", "/account",
)  # fmt: skip
"""Every page that lists something, the queue apart."""

_NUMBERS: Final = count(int(time.time()))
"""Of senders who write for the first time."""

TYPED: Final = (
    "f", "fl", "le", "len", "lena", "müller", "muller", "zoë ö", "anna müller", "gmbh", "firm7", "u77@firm",
    "u77@firm12.test", "%", "_", "петр", "王", "👍", "x" * 300, "no such name", "a b c d e f g h",
)  # fmt: skip
"""What people type in the search for records, and what they type by mistake."""


@dataclass(frozen=True, slots=True)
class Served:
    """A router that serves the console, and a session of an administrator."""

    port: int
    lmtp: int
    pid: int
    dsn: str
    session: str
    postmaster: int

    @property
    def cpu(self) -> Cpu:
        """What the router, its workers and PostgreSQL have used so far, in seconds of processor time."""
        return Cpu.now([self.pid], self.postmaster, self.postmaster)

    @property
    def origin(self) -> str:
        """Where the console is."""
        return f"http://localhost:{self.port}"

    @property
    def cookie(self) -> dict[str, str]:
        """By what it knows the administrator."""
        return {"Cookie": f"{SESSION_COOKIE}={self.session}"}


@asynccontextmanager
async def served(folder: Path, dsn: str, postmaster: int) -> AsyncIterator[Served]:
    """Run a router on this database."""
    port, lmtp = free_port(), free_port()
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "bench.toml").write_text(PROFILE.format(port=lmtp), encoding="utf-8")
    async with Database(dsn, connections=1) as database:
        await people.add(database, "ann", [Grant(StaffRole.ADMINISTER)], "bench")
        [ann] = await people.list_all(database)
        session, _ = await sign_in.begin(database, ann.person.id, "ann", Client("127.0.0.1", "bench"))
    variables = {"DATABASE_URL": dsn, "PROFILES": str(folder / "profiles"), "LOG_LEVEL": "error"}
    async with program(HERE, ["run"], CONSOLE=f"127.0.0.1:{port}", **variables) as process:
        await wait_for(port, "/readyz", 200, timeout=60)
        await _listens(lmtp)
        found = Served(port, lmtp, process.pid, dsn, session, postmaster)
        yield found


async def _listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


class Browser:
    """Asks as a browser does, on one connection."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._session = aiohttp.ClientSession(served.origin, headers=served.cookie)
        self.csrf = ""

    async def __aenter__(self) -> Self:
        page = await self.get("/queue")
        found = re.search(r"X-CSRF-Token&#34;: &#34;(\w+)|X-CSRF-Token\": \"(\w+)", page)
        assert found
        self.csrf = found[1] or found[2]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str, **params: str) -> str:
        """Read a page or a part of one."""
        async with self._session.get(path, params=params or None) as answer:
            text = await answer.text()
            assert answer.status < 400 or answer.status == 422, (path, answer.status)
            return text

    async def events(self, path: str) -> AsyncIterator[tuple[str, str]]:
        """Listen to server-sent events: the name and the words of each."""
        async with self._session.get(path, timeout=aiohttp.ClientTimeout(None), read_bufsize=1 << 20) as answer:
            assert answer.status == 200, (path, answer.status)
            event = ""
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, value

    async def post(self, path: str, **form: str) -> str:
        """Send a form."""
        headers = {"X-CSRF-Token": self.csrf, "Sec-Fetch-Site": "same-origin", "HX-Request": "true"}
        async with self._session.post(path, data=form, headers=headers) as answer:
            text = await answer.text()
            assert answer.status in (200, 204), (path, answer.status, text)
            return text


async def timed(on: Served, what: str, ask: Callable[[int], Awaitable[object]], number: int = 40) -> None:
    """Ask so often, after a few that do not count; print the median and what 95 of 100 keep to, in milliseconds."""
    for n in range(3):
        await ask(n)
    times, used = [], on.cpu
    for n in range(3, 3 + number):
        began = time.perf_counter()
        await ask(n)
        times.append((time.perf_counter() - began) * 1000)
    used = on.cpu - used
    most = quantiles(times, n=20, method="inclusive")[-1]
    say(
        f"  {what:<34} {median(times):7.1f} ms   95 of 100 within {most:7.1f} ms   processor: "
        f"router {used.ours / number * 1000:5.1f} ms, PostgreSQL {used.postgresql / number * 1000:5.1f} ms"
    )


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def ask_queue(on: Served) -> None:
    """What one does at the queue."""
    sql = await asyncpg.connect(on.dsn)
    senders = [
        row["address"]
        for row in await sql.fetch(
            """
            SELECT DISTINCT address FROM router.sender_waiting
            WHERE address LIKE 's%' AND owner_id = '00000000-0000-0000-0000-000000000000' ORDER BY address LIMIT 100
            """
        )
    ]
    await sql.close()
    async with Browser(on) as ann:

        async def rule(n: int) -> None:
            await ann.post("/queue/rule", do="ignore", subject=senders[n], confirmed="1")

        await timed(on, "the whole page", lambda _: ann.get("/queue"))
        await timed(on, "the list", lambda _: ann.get("/queue/list"))
        await timed(on, "one sender", lambda n: ann.get("/queue/sender", sender=senders[n]))
        await timed(on, "the one who has written most", lambda _: ann.get("/queue/sender", sender="flood@flood.test"))
        await timed(on, "a search that finds one", lambda n: ann.get("/queue/list", q=f"Question {n}"))
        await timed(on, "a search that finds all", lambda _: ann.get("/queue/list", q="frames"))
        await timed(on, "a search that finds nothing", lambda _: ann.get("/queue/list", q="nowhere"))
        await timed(on, "rows that have changed, and counts", lambda n: ann.get("/queue/rows", address=senders[n]))
        await timed(on, "a search for a record", lambda _: ann.get("/queue/records", panel="find", name="kestrel"))
        await timed(on, "a ruling", rule, 20)


async def ask_pages(on: Served) -> None:
    """What the other pages take."""
    async with Browser(on) as ann:
        for path in PAGES:
            await timed(on, path, lambda _, path=path: ann.get(path), 15)  # type: ignore[misc]  # bound at once


async def type_records(on: Served) -> None:
    """Search for a record by all that one may type."""
    async with Browser(on) as ann:
        for text in TYPED:
            shown = text if len(text) < 20 else f"{text[:8]}… of {len(text)}"
            await timed(on, f"“{shown}”", lambda _, text=text: ann.get("/queue/records", panel="find", name=text), 15)  # type: ignore[misc]  # bound at once


def deliver(on: Served, *senders: str) -> None:
    """Hand a letter of each sender over, as a mail server does."""
    with smtplib.LMTP("127.0.0.1", on.lmtp) as lmtp:
        for sender in senders:
            letter = EmailMessage()
            letter["From"], letter["To"], letter["Subject"] = sender, "box1@in.test", "A letter"
            letter["Message-ID"], letter["Date"] = make_msgid(domain="bench.test"), localtime()
            letter.set_content("The quick brown fox jumps over the lazy dog. " * 40)
            lmtp.send_message(letter)


class NewPage(Protocol):
    """Opens a page of a browser that has been nowhere."""

    async def __call__(self, *, signed_in: bool = True) -> Page:
        """Open it."""


@asynccontextmanager
async def chromium(on: Served) -> AsyncIterator[NewPage]:
    """Start Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )

        async def new_page(*, signed_in: bool = True) -> Page:
            context = await browser.new_context(base_url=on.origin, viewport={"width": 1280, "height": 800})
            if signed_in:
                await context.add_cookies(
                    [{"name": SESSION_COOKIE, "value": on.session, "url": "https://localhost/", "httpOnly": True}]
                )
            return await context.new_page()

        yield new_page
        await browser.close()


_PAINTED: Final = """() => new Promise(done => {
    const told = {};
    const tell = list => {
        for (const one of list.getEntries()) told[one.name || one.entryType] = one.startTime;
        if ("first-paint" in told && "largest-contentful-paint" in told) {
            const [asked] = performance.getEntriesByType("navigation");
            done([asked.responseStart, asked.domContentLoadedEventEnd,
                told["first-paint"], told["largest-contentful-paint"]]);
        }
    };
    for (const type of ["paint", "largest-contentful-paint"])
        new PerformanceObserver(tell).observe({type, buffered: true});
})"""


async def load_first(on: Served) -> None:
    """Bytes of the queue with all its files in a browser that has none."""
    async with chromium(on) as new_page:
        page = await new_page()
        await page.goto("/queue")
        await page.locator("main[data-live=yes]").wait_for()
        size = await page.evaluate(
            """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                .filter(one => !one.name.includes("/events")).reduce((sum, one) => sum + one.transferSize, 0)"""
        )
        say(f"  the first load has {size / 1000:.1f} KB")


async def paint(on: Served, loads: int = 15) -> None:
    """Print when pages are painted, in milliseconds from the click: the router is warm, the browser has been there.

    The medians, and of the first paint what 95 of 100 keep to.
    """
    async with chromium(on) as new_page:
        for path, before, signed_in in (
            ("/queue", "/account", True),
            ("/well", "/account", True),
            ("/sign-in", "/sign-in?to=%2Fheld", False),
        ):
            page = await new_page(signed_in=signed_in)
            times = []
            for _ in range(loads + 3):
                await page.goto(before, wait_until="networkidle")  # the browser has rested when one clicks
                await page.goto(path)
                times.append(await page.evaluate(_PAINTED))
            answered, ready, first, largest = zip(*times[3:], strict=True)
            most = quantiles(first, n=20, method="inclusive")[-1]
            say(
                f"  {path:<10} first paint {median(first):4.0f} ms   95 of 100 within {most:4.0f} ms   largest "
                f"{median(largest):4.0f} ms   (answered {median(answered):4.0f} ms, ready {median(ready):4.0f} ms)"
            )
            await page.context.close()


async def watch_arrivals(on: Served, arrivals: int) -> None:
    """Seconds from the beginning of a delivery to the row on a page that is open in Chromium."""
    times = []
    async with chromium(on) as new_page:
        page = await new_page()
        await page.goto("/queue")
        await page.locator("main[data-live=yes]").wait_for()
        for _ in range(arrivals + 1):
            await asyncio.sleep(1)  # the page has rested after the one before
            number = next(_NUMBERS)
            sender = f"arrives{number}@arrives{number}.test"
            began = time.perf_counter()
            await asyncio.to_thread(deliver, on, sender)
            await page.locator(f"li[data-address='{sender}']").wait_for()
            times.append(time.perf_counter() - began)
    del times[0]
    say(f"  from LMTP to the row on the page: median {median(times):.2f} s, longest {max(times):.2f} s of {arrivals}")


class OpenPage:
    """The queue as it is open in a browser: it listens, asks again as queue.js does, and says who looks at whom."""

    def __init__(self, on: Served, looks_at: str) -> None:
        self._browser = Browser(on)
        self._looks_at = looks_at
        self.live = asyncio.Event()
        self.asked = self.heard = self.bytes = 0

    async def run(self) -> None:
        """Listen until canceled."""
        async with self._browser, asyncio.TaskGroup() as tasks:
            await self._browser.get("/queue", sender=self._looks_at)
            tasks.create_task(self._look())
            async for event, words in self._browser.events("/queue/events"):
                self.live.set()
                self.heard += 1
                self.bytes += len(words)
                if event == "many":
                    self.asked += 1
                    await self._browser.get("/queue/list")
                else:
                    assert json.loads(words)["html"]

    async def _look(self) -> None:
        while True:
            await self._browser.post("/queue/look", address=self._looks_at)
            await asyncio.sleep(40)


async def keep_open(on: Served, number: int, burst: int) -> None:
    """So many pages are open: what that costs as mail comes once a second, and at once."""

    async def mail_comes(seconds: int) -> tuple[float, float]:
        """Return the part of a core that router and PostgreSQL use meanwhile."""
        began, until = cost(), time.perf_counter() + seconds
        at = time.perf_counter()
        for n in range(seconds):
            await asyncio.to_thread(deliver, on, f"once{next(_NUMBERS)}@once{n}.test")
            await asyncio.sleep(max(0.0, until - seconds + n + 1 - time.perf_counter()))
        took = time.perf_counter() - at
        return tuple((now - then) / took * 100 for now, then in zip(cost(), began, strict=True))  # type: ignore[return-value]

    def cost() -> tuple[float, float]:
        return on.cpu.ours, on.cpu.postgresql

    async def nothing_comes() -> tuple[float, float]:
        began, at = cost(), time.perf_counter()
        await asyncio.sleep(15)
        took = time.perf_counter() - at
        return tuple((now - then) / took * 100 for now, then in zip(cost(), began, strict=True))  # type: ignore[return-value]

    await mail_comes(5)
    idle = await nothing_comes()
    say(f"  no page, no mail: router {idle[0]:.1f}%, PostgreSQL {idle[1]:.1f}% of a core")
    none = await mail_comes(20)
    say(f"  no page, a mail a second: router {none[0]:.1f}%, PostgreSQL {none[1]:.1f}% of a core")
    sql = await asyncpg.connect(on.dsn)
    senders = await sql.fetch("SELECT address FROM router.sender_waiting ORDER BY latest_at DESC LIMIT $1", number)
    pages = [OpenPage(on, row["address"]) for row in senders]
    tasks = [asyncio.create_task(page.run()) for page in pages]
    await asyncio.gather(*(page.live.wait() for page in pages))
    await asyncio.sleep(3)
    idle = await nothing_comes()
    say(f"  {number} pages, no mail: router {idle[0]:.1f}%, PostgreSQL {idle[1]:.1f}% of a core")
    before = sum(page.asked for page in pages)
    some = await mail_comes(20)
    asked = sum(page.asked for page in pages) - before
    size = sum(page.bytes for page in pages) / sum(page.heard for page in pages)
    say(
        f"  {number} pages, a mail a second: router {some[0]:.1f}%, PostgreSQL {some[1]:.1f}% of a core; "
        f"the pages asked {asked} times; an event has {size:.0f} bytes"
    )
    listening = await sql.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%router_senders%'")
    say(f"  connections that listen for the queue: {listening}")
    before, began, at = sum(page.asked for page in pages), cost(), time.perf_counter()
    await asyncio.to_thread(deliver, on, *(f"burst@burst{next(_NUMBERS)}.test" for _ in range(burst)))
    handed_over = time.perf_counter() - at
    while await sql.fetchval("SELECT EXISTS (SELECT FROM router.sender_change)"):
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    took = time.perf_counter() - at
    spent = [now - then for now, then in zip(cost(), began, strict=True)]
    asked = sum(page.asked for page in pages) - before
    say(
        f"  a burst of {burst}: handed over in {handed_over:.1f} s; the pages asked {asked} times within {took:.1f} s; "
        f"router {spent[0]:.1f} s, PostgreSQL {spent[1]:.1f} s of processor time"
    )
    await sql.close()
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    faults = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
    if faults:
        say(f"  {len(faults)} pages were ended: {faults[0]!r}")


@asynccontextmanager
async def database_of(server: EmbeddedServer, name: str) -> AsyncIterator[str]:
    """Make an empty database with our tables; give its DSN."""
    admin = await asyncpg.connect(server.superuser_dsn("postgres"))
    await admin.execute(f"CREATE DATABASE {name} OWNER email_router")
    dsn = server.dsn.replace("/email_router?", f"/{name}?")
    await migrate(dsn)
    yield dsn
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def measure(folder: Path, asked: argparse.Namespace) -> None:
    """Do all of it."""
    async with EmbeddedServer(
        folder / "data", settings={"max_connections": "200"}, accepts_sessions=accepts_sessions
    ) as server:
        for waiting in asked.waiting:
            async with database_of(server, f"waiting_{waiting}") as dsn:
                began = time.perf_counter()
                superuser = server.superuser_dsn(f"waiting_{waiting}")
                last = waiting == asked.waiting[-1]
                await office.fill(
                    superuser, waiting=waiting, records=asked.records if last else 1000, rest=waiting // 10
                )
                say(f"{waiting} emails wait (made in {time.perf_counter() - began:.0f} s)")
                assert server.pid is not None
                async with served(folder / f"router-{waiting}", dsn, server.pid) as on:
                    if asked.arrivals:
                        await load_first(on)
                        await paint(on)
                        await watch_arrivals(on, asked.arrivals)
                    await ask_queue(on)
                    await ask_pages(on)
                    if last and asked.records:
                        say(f"{asked.records} records, as one types")
                        await type_records(on)
                    if last and asked.pages:
                        await keep_open(on, asked.pages, asked.burst)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.console", description=__doc__)
    parser.add_argument("--waiting", type=lambda given: [*map(int, given.split(","))], default=[1000, 100_000])
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--arrivals", type=int, default=10)
    parser.add_argument("--pages", type=int, default=0)
    parser.add_argument("--burst", type=int, default=1000)
    asked = parser.parse_args()
    log.configure("warning", "console")
    with tempfile.TemporaryDirectory(prefix="er-") as folder:
        Path(folder).chmod(0o755)  # as root, the database is another user
        asyncio.run(measure(Path(folder), asked))


if __name__ == "__main__":
    main()
