"""Every route of the console, asked by everybody who might: of another's mail nobody is told, not that it is there.

The routes are those that the application has. A new one without a line in `ROUTES` fails here.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

import aiohttp
import pytest
from starlette.routing import Route

from router.app import parsers_of
from router.errors import DatabaseAway
from router.model.viewer import Grant, StaffRole
from router.operations import people, unresolved
from router.operations.backing import Backing
from router.profile import Profiles
from router.repository.rulings import ruling_walks
from router.repository.senders import fold
from router.settings import Settings
from router.web.console import link, passkey, sign_in, start
from router.web.console.guard import SESSION_COOKIE
from router.web.console.pages import PAGES
from tests.support.crm import Crm
from tests.support.pages import ServedConsole, serving
from tests.support.senders import Senders
from tests.support.shown import PNG, bring_in, html_mail

SALES = "sales@in.test"
ANYBODY, VIEW, DECIDE, ADMINISTER = "anybody", "view", "decide", "administer"

ROUTES: Mapping[str, str] = {
    "GET /": ANYBODY,
    "GET /sign-in": ANYBODY,
    "POST /sign-in": ANYBODY,
    "POST /sign-out": ANYBODY,
    "GET /signed-out": ANYBODY,
    "POST /sign-in/passkey": ANYBODY,
    "POST /sign-in/passkey/options": ANYBODY,
    "POST /theme": ANYBODY,
    "GET /link/{secret}": ANYBODY,
    "POST /link/{secret}": ANYBODY,
    "GET /queue": VIEW,
    "GET /queue/list": VIEW,
    "GET /queue/part": VIEW,
    "GET /queue/rows": VIEW,
    "GET /queue/sender": VIEW,
    "GET /queue/panel": VIEW,
    "GET /queue/records": VIEW,
    "GET /queue/events": VIEW,
    "POST /queue/rule": VIEW,
    "POST /queue/undo": VIEW,
    "POST /queue/snooze": VIEW,
    "POST /queue/assign": VIEW,
    "POST /queue/split": VIEW,
    "POST /queue/look": VIEW,
    "GET /held": VIEW,
    "GET /held/news": VIEW,
    "POST /held": VIEW,
    "POST /held/{number:int}/mail": VIEW,
    "GET /why": VIEW,
    "GET /account": VIEW,
    "POST /account/password": VIEW,
    "POST /account/sessions/end": VIEW,
    "POST /account/passkeys/options": VIEW,
    "POST /account/passkeys/add": VIEW,
    "POST /account/passkeys/remove": VIEW,
    "GET /mail/{email:uuid}/body": VIEW,
    "GET /mail/{email:uuid}/html": VIEW,
    "GET /mail/{email:uuid}/attachments/{number:int}": VIEW,
    "GET /mail/{email:uuid}/cid/{number:int}": VIEW,
    "GET /rulings": DECIDE,
    "POST /rulings/undo": DECIDE,
    "GET /rulings/log": ADMINISTER,
    "GET /mail/{email:uuid}/source": ADMINISTER,
    "GET /mail/{email:uuid}/source.eml": ADMINISTER,
    "GET /well": ADMINISTER,
    "GET /outbox": ADMINISTER,
    "POST /outbox/all": ADMINISTER,
    "POST /outbox/sending": ADMINISTER,
    "GET /outbox/{email}": ADMINISTER,
    "POST /outbox/{email}": ADMINISTER,
    "GET /dead-letters": ADMINISTER,
    "POST /dead-letters/all": ADMINISTER,
    "GET /dead-letters/{number:int}": ADMINISTER,
    "POST /dead-letters/{number:int}": ADMINISTER,
    "GET /dead-letters/{number:int}/source": ADMINISTER,
    "GET /sources": ADMINISTER,
    "GET /owners": ADMINISTER,
    "POST /owners/approve": ADMINISTER,
    "POST /owners/rule": ADMINISTER,
    "GET /owners/simulate": ADMINISTER,
    "POST /owners/simulate": ADMINISTER,
    "GET /profiles": ADMINISTER,
    "GET /profiles/templates": ADMINISTER,
    "GET /profiles/templates/preview": ADMINISTER,
    "GET /profiles/templates/html": ADMINISTER,
    "GET /people": ADMINISTER,
    "POST /people/add": ADMINISTER,
    "POST /people/grant": ADMINISTER,
    "POST /people/reset": ADMINISTER,
    "POST /people/disable": ADMINISTER,
}
"""The least that a person needs, for somebody's mail; to administer, for all."""

PEOPLE: Mapping[str, tuple[str, bool]] = {
    "view-one": (VIEW, False),
    "decide-one": (DECIDE, False),
    "view-all": (VIEW, True),
    "decide-all": (DECIDE, True),
    "administer": (ADMINISTER, True),
}
"""Who asks: the role, and whether it is for all mail, or for that of SALES alone."""

_RANKS = (ANYBODY, VIEW, DECIDE, ADMINISTER)


@dataclass
class Hidden:
    """What is about mail that those for SALES may not see; or the same about nothing at all."""

    sender: str
    email: UUID
    message_id: str
    held: int
    ruling: int
    recipient: str
    word: str


@dataclass
class World:
    """A console, with mail of SALES, and mail of another that is `hidden`; `nothing` is there of nobody."""

    console: ServedConsole
    http: aiohttp.ClientSession
    crm: Crm
    hidden: Hidden
    nothing: Hidden
    own: UUID
    sessions: dict[str, str]
    forms: dict[str, str]

    async def ask(
        self, who: str | None, path: str, form: Mapping[str, str] | None = None, *, part: bool = False
    ) -> tuple[int, str, Mapping[str, str]]:
        """Status, text and headers of an answer; of a stream, its first piece."""
        headers = {"Sec-Fetch-Site": "same-origin"} | ({"HX-Request": "true"} if part else {})
        if who is not None:
            headers |= {"Cookie": f"{SESSION_COOKIE}={self.sessions[who]}", "X-CSRF-Token": self.forms[who]}
        url = f"{self.console.origin}{path}"
        method = "GET" if form is None else "POST"
        async with self.http.request(method, url, headers=headers, data=form, allow_redirects=False) as answer:
            streams = answer.content_type == "text/event-stream"
            content = await (answer.content.readany() if streams else answer.read())
            return answer.status, content.decode(errors="replace"), answer.headers

    async def state(self) -> list[Any]:
        """All that a person could have changed."""
        tables = (
            "router.ruling", "router.never_track", "router.sender_care", "router.sender_look", "router.decision",
            "router.person_grant", "router.outbox", "crm.record", "crm.email",
        )  # fmt: skip
        return [
            sorted(map(str, await self.crm.admin.fetch(f"SELECT t::text FROM {one} AS t")))  # constants
            for one in tables
        ] + [await self.crm.admin.fetch("SELECT name, password, disabled_at FROM router.person ORDER BY name")]


@pytest.fixture
async def world(crm: Crm, senders: Senders) -> AsyncIterator[World]:
    database = senders.database
    sales = await crm.owner(SALES, "all", kind="queue", name="Sales")
    [own] = await bring_in(database, sales, SALES, [html_mail("<p>offer</p>")])
    parts = [("marker.png", "image/png", PNG, "logo"), ("marker.pdf", "application/pdf", b"%PDF-1.7 marker", None)]
    raw = html_mail("<p>marker</p><img src=cid:logo>", parts, "marker subject", "marker text")
    raw = raw.replace(b"lena@kestrel.test", b"hilda@marker.test").replace(b"Lena Kestrel", b"Hilda Marker")
    [secret] = await bring_in(database, senders.owner_id, "staff@in.test", [raw])
    # Numbers that stand nowhere else on a page.
    await crm.admin.execute("ALTER TABLE router.decision ALTER COLUMN id RESTART WITH 700000001")
    await crm.admin.execute("ALTER TABLE router.ruling ALTER COLUMN id RESTART WITH 800000001")
    held = await crm.admin.fetchval(
        """
        INSERT INTO router.decision (source_id, validity, place, owner_id, disposition, rule, reasons, received_at)
        SELECT min(id), '1', 'held', $1, 'held', 'all', ARRAY['marker reason'], now() FROM router.source RETURNING id
        """,
        senders.owner_id,
    )
    # A ruling of another's, on other mail of the same owner.
    await senders.write("ruled@marker.test", subject="marker")
    ruling = await senders.rule("ruled@marker.test", await crm.record("contact", "Marker Ruled"), by="administer")
    message_id = await crm.admin.fetchval("SELECT message_id FROM crm.email WHERE id = $1", secret)
    hidden = Hidden("hilda@marker.test", secret, message_id, held, ruling, "staff@in.test", "marker")
    nothing = Hidden(
        "hilda@tinker.test", uuid4(), "x" + message_id[1:], 900_000_001, 900_000_005, "stuff@in.test", "tinker"
    )
    while await fold.fold(database) or await fold.read_words(database):
        pass
    settings = Settings()
    async with (
        parsers_of(settings) as workers,
        serving(database, settings=settings, workers=workers) as console,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        made = World(console, http, crm, hidden, nothing, own, {}, {})
        for name, (role, for_all) in PEOPLE.items():
            await console.add(name, role, () if for_all else [sales])
            made.sessions[name], made.forms[name] = await console.session(name), ""
            found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await made.ask(name, "/account"))[1])
            assert found is not None
            made.forms[name] = found[1]
        yield made


def served() -> list[str]:
    """Each method and path that the console serves."""
    backing = Backing(lambda: Profiles((), ()), Settings())
    routes: list[Route] = [route for page in PAGES for route in page.routes(backing)]
    routes += [*sign_in.routes(backing), *passkey.routes(backing), *link.routes(backing), *start.routes(PAGES)]
    return sorted(f"{method} {one.path}" for one in routes for method in (one.methods or ()) if method != "HEAD")


def asked(route: str, of: Hidden) -> list[tuple[str, dict[str, str] | None]]:
    """What of a route could tell of something: paths, and forms that are posted there."""
    method, _, path = route.partition(" ")
    path = path.replace("{email:uuid}", str(of.email)).replace("{email}", str(of.email)).replace("{secret}", "none")
    if method == "GET":
        numbers = (0, 1) if "{number:int}" in path and "/mail/" in path else (of.held,)
        queries = {
            "/queue": [
                "", f"?sender={of.sender}", f"?q={of.word}", f"?q={of.word}&sender={of.sender}", "?view=mine",
                f"?sender=lena@kestrel.test&email={of.email}", f"?done={of.ruling}",
                f"?sender=ruled@{of.word}.test", "?at=2099-01-01T00:00:00Z&key=z",
            ],
            "/queue/list": ["", f"?q={of.word}", "?view=machines", "?view=snoozed", "?age=day"],
            "/queue/part": [f"?part=@{of.word}.test", f"?part={of.sender}", "?part=machines"],
            "/queue/rows": [f"?address={of.sender}&address=ruled@{of.word}.test"],
            "/queue/sender": [f"?sender={of.sender}", f"?sender=lena@kestrel.test&email={of.email}"],
            "/queue/panel": [
                f"?sender={of.sender}&panel={one}" for one in ("new", "find", "domain", "snooze", "assign")
            ],
            "/queue/records": ["?name=", "?panel=domain"],
            "/held": ["", f"?before={of.held + 1}"],
            "/why": [
                f"?message_id={of.message_id}", f"?sender={of.sender}", f"?email={of.email}", f"?subject={of.word}",
                f"?sender=@{of.word}.test&days=90", f"?recipient={of.recipient}", f"?sender=ruled@{of.word}.test",
            ],
            "/rulings": ["", "?by=administer", f"?before={of.ruling + 1}"],
        }.get(path, [""])  # fmt: skip
        return [(path.replace("{number:int}", str(n)) + query, None) for n in numbers for query in queries]
    record = str(uuid4())
    forms: Sequence[dict[str, str]] = {
        "/queue/rule": [
            {"subject": subject, "do": do, "confirmed": "1", "kind": "contact", "name": "x"}
            for subject in (of.sender, f"@{of.word}.test")
            for do in ("ignore", "never", "create", f"link {record}")
        ],
        "/queue/undo": [{"ruling": str(of.ruling)}, {"ruling": str(of.ruling), "subject": of.sender}],
        "/queue/snooze": [{"subject": of.sender, "for": "a day"}, {"subject": of.sender}],
        "/queue/assign": [{"subject": of.sender, "to": "administer"}],
        "/queue/split": [
            {"subject": of.sender, "email": str(of.email)}, {"subject": "", "email": str(of.email), "back": "1"},
        ],
        "/queue/look": [{"address": of.sender}],
        "/held": [
            {"held": str(of.held), "do": do, "confirmed": confirmed}
            for do in ("drop", "release") for confirmed in ("1", "")
        ],
        "/rulings/undo": [{"ruling": str(of.ruling)}],
        "/people/add": [{"name": "eve", "role": "administer"}],
        "/people/grant": [{"name": "view-one", "role": "administer"}],
        "/people/reset": [{"name": "administer"}],
        "/people/disable": [{"name": "administer"}],
        "/account/sessions/end": [{"session": str(number)} for number in range(1, 9)],
    }.get(path, [{}])  # fmt: skip
    return [(path.replace("{number:int}", str(of.held)), form) for form in forms]


def plain(text: str, of: Hidden) -> str:
    """Take out of an answer what was asked, what is of the session, and what the clock says."""
    text = re.sub(r"[0-9a-f]{128}", "CSRF", text)
    text = re.sub(r"<time .*?</time>", "TIME", text)
    numbers = (of.held + 1, of.held, of.ruling + 1, of.ruling)
    for one in (of.message_id, quote(of.message_id), of.sender, of.recipient, *map(str, (of.email, *numbers))):
        text = text.replace(one, "ASKED")
    text = re.sub(r"\b\d+ ms\b", "MS", text)
    return text.replace(f"{of.word}.test", "ASKED").replace(of.word, "ASKED")


def test_every_route_has_a_rule() -> None:
    assert served() == sorted(ROUTES)


async def test_nobody_is_served_what_the_role_does_not_cover(world: World) -> None:
    askers: list[tuple[str | None, tuple[str, bool]]] = [(None, (ANYBODY, False)), *PEOPLE.items()]
    before = await world.state()
    for route, least in ROUTES.items():
        for path, form in asked(route, world.hidden):
            for who, (role, for_all) in askers:
                covers = _RANKS.index(role) >= _RANKS.index(least) and (least != ADMINISTER or for_all)
                if covers:
                    continue
                for part in (False, True):
                    status, text, headers = await world.ask(who, path, form, part=part)
                    assert "marker" not in plain(text, world.hidden), (route, who)
                    if who is None:
                        told = headers.get("Location", "") + headers.get("HX-Redirect", "")
                        assert (status, told.startswith("/sign-in")) == (401 if part else 303, True), (route, who)
                    else:
                        assert status == 403, (route, who)
    assert await world.state() == before


async def test_of_anothers_mail_nothing_is_told_not_even_that_it_is_there(world: World) -> None:
    before = await world.state()
    for route, least in ROUTES.items():
        if least in (ANYBODY, ADMINISTER) or route == "POST /account/password":
            continue
        for (path, form), (other, other_form) in zip(
            asked(route, world.hidden), asked(route, world.nothing), strict=True
        ):
            for who in ("view-one", "decide-one"):
                if least == DECIDE and who == "view-one":
                    continue
                for part in (False, True):
                    status, text, _ = await world.ask(who, path, form, part=part)
                    expected, none, _ = await world.ask(who, other, other_form, part=part)
                    told, nothing = plain(text, world.hidden), plain(none, world.nothing)
                    assert "marker" not in told.lower(), (route, who, path, form)
                    assert (status, told) == (expected, nothing), (route, who, path, form)
    assert await world.state() == before


async def test_who_sees_all_is_told_of_it(world: World) -> None:
    """Else the test above would see nothing."""
    for route in (
        "GET /queue", "GET /queue/list", "GET /queue/part", "GET /queue/rows", "GET /queue/sender", "GET /held",
        "GET /why", "GET /mail/{email:uuid}/body", "GET /mail/{email:uuid}/html",
        "GET /mail/{email:uuid}/attachments/{number:int}",
    ):  # fmt: skip
        answers = [await world.ask("view-all", path, part=True) for path, _ in asked(route, world.hidden)]
        others = [await world.ask("view-all", path, part=True) for path, _ in asked(route, world.nothing)]
        assert [
            plain(a[1], world.hidden) != plain(b[1], world.nothing) for a, b in zip(answers, others, strict=True)
        ].count(True), route


async def test_no_answer_with_mail_is_kept_by_anybody(world: World) -> None:
    for route, least in ROUTES.items():
        if route.startswith("POST") or least == ANYBODY or "source" in route:
            continue
        for path, _ in asked(route, world.hidden):
            status, _, headers = await world.ask("administer", path)
            assert headers["Cache-Control"] == "no-store", (route, status)
            assert headers["Content-Security-Policy"].startswith("default-src 'none'"), route
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["X-Content-Type-Options"] == "nosniff"


async def test_when_others_rule_is_told_to_nobody_else(world: World) -> None:
    assert "settled by administer" in (await world.ask("view-all", "/queue"))[1]
    for who in ("view-one", "decide-one"):
        assert "settled by" not in (await world.ask(who, "/queue"))[1]


async def test_who_does_not_decide_any_more_undoes_nothing(world: World, senders: Senders) -> None:
    form = {"subject": "lena@kestrel.test", "do": "ignore", "confirmed": "1"}
    assert (await world.ask("decide-one", "/queue/rule", form, part=True))[0] == 200
    number = str(await world.crm.admin.fetchval("SELECT id FROM router.ruling WHERE by = 'decide-one'"))
    sales = await world.crm.admin.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", SALES)
    await people.grant(senders.database, "decide-one", [Grant(StaffRole.VIEW, sales)])
    before = await world.state()
    for path in ("/queue/undo", "/rulings/undo"):
        assert (await world.ask("decide-one", path, {"ruling": number}))[0] in (403, 409)
    assert await world.state() == before


@pytest.mark.parametrize("how", ["signed out", "disabled", "granted other mail", "password changed"])
async def test_an_open_page_hears_nothing_more_once_its_session_has_ended(
    world: World, senders: Senders, how: str
) -> None:
    database = senders.database
    headers = {"Cookie": f"{SESSION_COOKIE}={world.sessions['view-all']}"}
    async with world.http.get(f"{world.console.origin}/queue/events", headers=headers) as stream:
        heard = b""
        while b"event: many" not in heard:
            heard += await stream.content.readany()
        match how:
            case "signed out":
                await world.ask("view-all", "/sign-out", {"csrf": world.forms["view-all"]})
            case "disabled":
                await people.disable(database, "view-all")
            case "granted other mail":
                await people.grant(database, "view-all", [Grant(StaffRole.VIEW, uuid4())])
            case _:
                await people.use_link(database, await people.reset(database, "view-all"), "", "a new password", None)
        await senders.write("later@marker.test")
        while await fold.fold(database):
            pass
        async with asyncio.timeout(20):
            rest = await stream.content.read()
    assert b"later@marker.test" not in rest


async def test_a_page_that_is_open_does_not_make_its_session_last(world: World) -> None:
    used = "SELECT count(*) FROM router.person_session WHERE used_at > now() - interval '1 minute'"
    await world.crm.admin.execute("UPDATE router.person_session SET used_at = now() - interval '1 hour'")
    for path, form in (
        ("/queue/events", None), ("/queue/look", {"address": "lena@kestrel.test"}), ("/queue/list", None),
        ("/queue/rows?address=lena@kestrel.test", None),
    ):  # fmt: skip
        assert (await world.ask("view-one", path, form))[0] in (200, 204)
        assert await world.crm.admin.fetchval(used) == 0, path
    assert (await world.ask("view-one", "/queue"))[0] == 200
    assert await world.crm.admin.fetchval(used) == 1


async def test_what_else_a_sender_wrote_to_others_is_told_nowhere(world: World, senders: Senders) -> None:
    """Of two who wrote the same to SALES, one has written to others, too, and was written to: both look the same."""
    database, crm = senders.database, world.crm
    sales = await crm.admin.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", SALES)
    own: dict[str, UUID] = {}
    for name in ("alfred", "bertha"):
        raw = html_mail("<p>the same</p>").replace(b"lena@kestrel.test", f"{name}@{name}.test".encode())
        [own[name]] = await bring_in(database, sales, SALES, [raw])
    ids = {name: await crm.admin.fetchval("SELECT message_id FROM crm.email WHERE id = $1", own[name]) for name in own}
    answer = html_mail("<p>marker</p>", subject="marker").replace(b"lena@kestrel.test", b"alfred@alfred.test")
    answer = f"In-Reply-To: <{ids['alfred']}>\r\n".encode() + answer.replace(b"Lena Kestrel", b"Marker Name")
    record = await crm.record("contact", "Marker Name")
    [other] = await bring_in(database, senders.owner_id, "staff@in.test", [answer])
    await crm.draft("staff@in.test", "alfred@alfred.test", subject="marker", regarding_id=record)
    await crm.admin.execute("UPDATE crm.email SET regarding_id = $1 WHERE id = $2", record, other)
    while await fold.fold(database) or await fold.read_words(database):
        pass

    async def shown(name: str) -> list[tuple[int, str]]:
        """What each path says, without what was asked."""
        address, found = f"{name}@{name}.test", []
        for path in (
            f"/queue/sender?sender={address}",
            f"/queue/sender?sender={address}&email={own[name]}",
            f"/queue/panel?sender={address}&panel=domain",
            f"/queue/panel?sender={address}&panel=new",
            f"/queue/part?part=@{name}.test",
            f"/queue/rows?address={address}",
            f"/queue?q={name}",
            "/queue?q=marker",
            f"/why?sender={address}",
            f"/why?email={own[name]}",
            f"/mail/{own[name]}/body",
        ):
            status, text, _ = await world.ask("decide-one", path, part=True)
            text = re.sub(r"[0-9a-f]{128}|<time .*?</time>", "", text)
            assert "marker" not in text.lower().replace("q=marker", "").replace('value="marker"', ""), path
            for one in (address, name, str(own[name]), ids[name]):
                text = text.replace(one, "ASKED")
            found.append((status, text))
        return found

    a, b = await shown("alfred"), await shown("bertha")
    for one, same in zip(a, b, strict=True):
        assert (one[0], one[1].splitlines()) == (same[0], same[1].splitlines())


async def test_what_nobody_can_be_found_by_is_no_fault(world: World) -> None:
    names = (
        "sender", "email", "q", "view", "owner", "age", "at", "key", "part", "address", "panel", "by", "before", "name",
        "days", "subject", "profile", "mailbox", "text", "after",
    )  # fmt: skip
    for odd in ("\0", "a\0b@x.test", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9" * 30):
        for route in ROUTES:
            if route.startswith("GET") and "events" not in route:
                path = asked(route, world.nothing)[0][0].partition("?")[0]
                status, _, _ = await world.ask("administer", f"{path}?{urlencode(dict.fromkeys(names, odd))}")
                assert status < 500, (path, odd)


async def test_who_turns_text_around_is_seen_as_such_and_ruled_on(world: World, senders: Senders) -> None:
    address = "ann\u202emoc.knab@x.test"
    await senders.write(address, name="Ann \u202e", subject="\u2067offer")
    while await fold.fold(senders.database) or await fold.read_words(senders.database):
        pass
    query = urlencode({"sender": address})
    for path in (
        "/queue",
        f"/queue?{query}",
        f"/queue/sender?{query}",
        f"/queue/panel?{query}&panel=new",
        "/queue?q=ann",
    ):
        status, text, _ = await world.ask("administer", path)
        assert status == 200
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", re.sub("<[^>]*>", "", text)), path
        assert "Ann \u2039202E\u203a" in text or "panel" in path
    form = {"subject": address, "do": "ignore"}
    assert (await world.ask("administer", "/queue/rule", form, part=True))[0] == 200
    assert await world.crm.admin.fetchval("SELECT count(*) FROM router.ruling WHERE subject = $1", address) == 1


async def test_a_ruling_in_force_is_told_so_though_the_database_goes_away_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise DatabaseAway("the connection was lost")

    monkeypatch.setattr(ruling_walks, "carry_out", gone)
    form = {"subject": "lena@kestrel.test", "do": "create", "kind": "lead", "name": "Lena"}
    status, text, _ = await world.ask("administer", "/queue/rule", form, part=True)
    assert (status, "Nothing was changed" in text) == (200, False)
    number = await world.crm.admin.fetchval("SELECT max(id) FROM router.ruling")
    status, text, _ = await world.ask("administer", "/queue/undo", {"ruling": str(number)}, part=True)
    assert (status, "Nothing was changed" in text) == (200, False)
    assert await world.crm.admin.fetchval("SELECT undone_by FROM router.ruling WHERE id = $1", number) == "administer"
    # Where it is not known, nothing is claimed.
    monkeypatch.setattr(unresolved, "rule", gone)
    form = {"subject": "lena@kestrel.test", "do": "ignore"}
    status, text, _ = await world.ask("administer", "/queue/rule", form, part=True)
    assert (status, "Nothing was changed" in text, "Look again" in text) == (409, False, True)


async def test_the_same_form_sent_many_times_at_once_does_one_thing(world: World) -> None:
    form = {"subject": "lena@kestrel.test", "do": "create", "kind": "contact", "name": "Lena Twice"}
    asking = [world.ask(who, "/queue/rule", form, part=True) for who in ("administer", "decide-one") for _ in range(6)]
    statuses = sorted(status for status, _, _ in await asyncio.gather(*asking))
    assert statuses == [200, *(11 * [409])]
    assert await world.crm.admin.fetchval("SELECT count(*) FROM crm.record WHERE name = 'Lena Twice'") == 1
    number = await world.crm.admin.fetchval("SELECT id FROM router.ruling WHERE subject = 'lena@kestrel.test'")
    undoing = [world.ask("administer", "/queue/undo", {"ruling": str(number)}, part=True) for _ in range(6)]
    statuses = sorted(status for status, _, _ in await asyncio.gather(*undoing))
    assert statuses == [200, *(5 * [409])]
    assert not await world.crm.admin.fetchval("SELECT active FROM crm.record WHERE name = 'Lena Twice'")


async def test_a_sender_is_given_to_somebody_who_is_there(world: World, senders: Senders) -> None:
    await people.disable(senders.database, "view-all")
    for to in ("nobody", "x" * 5000, "view-all"):
        form = {"subject": "lena@kestrel.test", "to": to}
        status, text, _ = await world.ask("decide-one", "/queue/assign", form, part=True)
        assert (status, "there is nobody of the name" in text.lower()) == (409, True)
    form = {"subject": "lena@kestrel.test", "to": "view-one"}
    assert (await world.ask("decide-one", "/queue/assign", form, part=True))[0] == 200


async def test_who_opens_very_many_pages_keeps_nobody_else_from_news(world: World) -> None:
    async with AsyncExitStack() as opened:

        async def opens(who: str) -> int:
            headers = {"Cookie": f"{SESSION_COOKIE}={world.sessions[who]}"}
            answer = await opened.enter_async_context(
                world.http.get(f"{world.console.origin}/queue/events", headers=headers)
            )
            if answer.status == 200:
                await answer.content.readany()
            return answer.status

        assert [await opens("view-one") for _ in range(21)] == [*(20 * [200]), 503]
        assert await opens("decide-one") == 200


async def test_who_decides_for_one_queue_does_not_ignore_a_domain_of_others(world: World) -> None:
    form = {"subject": "@kestrel.test", "do": "ignore", "confirmed": "1"}
    status, text, _ = await world.ask("decide-one", "/queue/rule", form, part=True)
    assert (status, "whom others see" in text) == (409, True)
    assert (await world.ask("decide-all", "/queue/rule", form, part=True))[0] == 200
