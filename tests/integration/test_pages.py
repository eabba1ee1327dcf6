"""What every page of the console has and refuses, as HTTP says it."""

import gzip
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from router.operations import people
from router.repository.database import Database
from router.web.console.guard import SESSION_COOKIE, browser_of
from router.web.console.sign_in import within
from tests.support.databases import Postgres
from tests.support.pages import ServedConsole, serving

HERE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def console(database: str) -> AsyncIterator[ServedConsole]:
    async with Database(database, connections=4) as opened, serving(opened) as served:
        yield served


@pytest.fixture
async def client(console: ServedConsole) -> AsyncIterator[aiohttp.ClientSession]:
    """Who is not signed in."""
    async with aiohttp.ClientSession(console.origin, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


class Answered:
    """What was answered."""

    def __init__(self, response: aiohttp.ClientResponse, text: str) -> None:
        self.status, self.headers, self.text = response.status, response.headers, text

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.text)
        assert found is not None
        return found[1]


async def ask(client: aiohttp.ClientSession, path: str, session: str = "", **more: Any) -> Answered:
    headers = {"Cookie": f"{SESSION_COOKIE}={session}", **more.pop("headers", {})}
    method = "POST" if "data" in more else more.pop("method", "GET")
    async with client.request(method, path, headers=headers, allow_redirects=False, **more) as response:
        return Answered(response, await response.text())


async def test_every_answer_keeps_strangers_out(console: ServedConsole, client: aiohttp.ClientSession) -> None:
    await console.add("ann")
    session = await console.session("ann")
    answers = [await ask(client, path) for path in ("/", "/sign-in", "/nothing", "/link/none", "/people")]
    answers += [await ask(client, path, session) for path in ("/", "/people", "/account", "/static/none.css")]
    answers += [await ask(client, "/people", session, method="PUT"), await ask(client, "/sign-in", data={"name": "x"})]
    assert [one.status for one in answers] == [303, 200, 404, 404, 303, 303, 200, 200, 404, 405, 403]
    for one in answers:
        policy = one.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert one.headers["Referrer-Policy"] == "no-referrer"
        assert one.headers["X-Content-Type-Options"] == "nosniff"
        assert one.headers["Cross-Origin-Opener-Policy"] == one.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in one.headers
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", one.text)
        if one.status == 200:
            assert one.headers["Cache-Control"] == "no-store"


async def test_what_another_site_sends_does_nothing(console: ServedConsole, client: aiohttp.ClientSession) -> None:
    await console.add("ann")
    await console.add("ben", "view")
    session = await console.session("ann")
    page = await ask(client, "/people", session)
    again = await ask(client, "/people", session)
    assert page.csrf != again.csrf  # beside words of a stranger's, compressed, it cannot be guessed
    form = {"csrf": page.csrf, "name": "ben"}
    other = (await ask(client, "/account", await console.session("ann"))).csrf
    for headers, data in (
        ({"Sec-Fetch-Site": "cross-site"}, form),
        ({"Sec-Fetch-Site": "same-site"}, form),
        ({"Sec-Fetch-Site": "none"}, form),
        ({}, form),
        ({"Origin": "null"}, form),
        ({"Origin": "https://elsewhere.example"}, form),
        ({"Origin": f"https://localhost:{console.port}"}, form),
        (HERE, {"name": "ben"}),
        (HERE, {**form, "csrf": "0" * 128}),
        (HERE, {**form, "csrf": "no"}),
        (HERE, {**form, "csrf": other}),
    ):
        refused = await ask(client, "/people/disable", session, headers=headers, data=data)
        assert refused.status == 403, (headers, data)
        assert "Nothing was done" in refused.text
    assert (await ask(client, "/people/disable", session, headers=HERE, data=b"x" * 70_000)).status == 413
    assert all(one.person.disabled_at is None for one in await people.list_all(console.database))
    # A browser that says nothing of itself says the Origin; htmx sends the token as a header.
    accepted = await ask(
        client, "/people/disable", session,
        headers={"Origin": console.origin, "X-CSRF-Token": again.csrf}, data={"name": "ben"},
    )  # fmt: skip
    assert (accepted.status, accepted.headers["Location"]) == (303, "/people")
    assert [one.person.disabled_at is None for one in await people.list_all(console.database)] == [True, False]


async def test_what_a_role_may_not_do_is_not_served(console: ServedConsole, client: aiohttp.ClientSession) -> None:
    await console.add("ben", "decide")
    session = await console.session("ben")
    csrf = (await ask(client, "/account", session)).csrf
    for path in ("/people/add", "/people/grant", "/people/reset", "/people/disable"):
        data = {"csrf": csrf, "name": "ben", "role": "administer"}
        assert (await ask(client, path, session, headers=HERE, data=data)).status == 403
        assert (await ask(client, path, headers=HERE, data=data)).headers["Location"] == "/sign-in"
    assert not (await people.list_all(console.database))[0].person.disabled_at
    part = await ask(client, "/people", headers={"HX-Request": "true"})
    assert (part.status, part.headers["HX-Redirect"]) == (401, "/sign-in")


async def test_a_person_who_is_not_added_stays_as_put_in(console: ServedConsole, client: aiohttp.ClientSession) -> None:
    """Also for whose mail: an empty field would grant that of everybody, as soon as the name is corrected."""
    await console.add("ann")
    session = await console.session("ann")
    csrf = (await ask(client, "/people", session)).csrf
    data = {"csrf": csrf, "name": "Ben Fold", "role": "decide", "owners": "Sales, Nobody"}
    refused = await ask(client, "/people/add", session, headers=HERE, data=data)
    assert refused.status == 422
    for put in ('value="ben fold"', "<option selected>decide</option>", 'value="Sales, Nobody"'):
        assert put in refused.text, put


async def test_files_are_kept_by_browsers_and_small(client: aiohttp.ClientSession) -> None:
    page = await ask(client, "/sign-in")
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    assert {re.sub(r"\.[0-9a-f]{16}\.", ".", one) for one in files} == {
        "/static/icon.svg", "/static/console.css", "/static/htmx.min.js", "/static/console.js",
    }  # fmt: skip
    total = len(gzip.compress(page.text.encode()))
    for file in files:
        async with client.get(file, headers={"Accept-Encoding": "gzip"}, auto_decompress=False) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            compressed = await response.read()
        assert (await ask(client, file, headers={"Accept-Encoding": ""})).text == gzip.decompress(compressed).decode()
        total += len(compressed)
    assert total < 60_000  # bytes, for the first load


async def test_without_its_database_it_says_so(
    console: ServedConsole, client: aiohttp.ClientSession, postgres: Postgres, database: str
) -> None:
    await console.add("ann")
    session = await console.session("ann")
    with capture_logs() as logs:
        async with postgres.away(database):
            answered = await ask(client, "/people", session)
    assert answered.status == 503
    assert "nothing is lost" in answered.text
    assert "Try again" in answered.text
    assert not [one for one in logs if one["log_level"] == "error"]
    assert (await ask(client, "/people", session)).status == 200


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "",
     "evil", "/\tx", "/\r\nSet-Cookie: a=b", "/é"],
)  # fmt: skip
def test_one_goes_on_only_within_the_console(to: str) -> None:
    assert within(to) == "/"
    assert within("/people?page=2&q=a%20b") == "/people?page=2&q=a%20b"


def test_a_browser_is_put_in_two_words() -> None:
    chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/150.0.0.0 Safari/537.36"
    assert browser_of(chrome) == "Chrome on Windows"
    assert browser_of(chrome + " Edg/150.0") == "Edge on Windows"
    assert browser_of("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0") == "Firefox on Linux"
    assert browser_of("<script>" * 1000) == "another program"
