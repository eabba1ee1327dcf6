"""Unresolved senders by the API: who waits, who each may be, and what is ruled, once and undone."""

import asyncio

from router.operations import never_track
from router.operations.queue import pages, ruling
from tests.integration.test_api import check_problem
from tests.integration.test_sender_queue import folded
from tests.support.api import Api
from tests.support.crm import Crm
from tests.support.senders import Senders

KARL, BERTA = "karl@kunde.test", "berta@kunde.test"


async def test_the_emails_that_wait_are_listed_in_pages_the_latest_first(senders: Senders, api: Api, crm: Crm) -> None:
    emails = [*await senders.write(KARL, 5, name="Karl"), *await senders.write("else@other.test", 2)]
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", emails[0])
    seen, cursor = [], None
    while True:
        page = (await api.get("/unresolved", params={"limit": "3"} | ({"cursor": cursor} if cursor else {}))).json
        seen += page["emails"]
        if cursor is None:
            await senders.write(BERTA)  # what comes meanwhile shifts nothing
        cursor = page["cursor"]
        if cursor is None:
            break
    assert [one["email_id"] for one in seen] == [str(one) for one in reversed(emails)]
    assert (seen[-1]["subject"], seen[-1]["name"], seen[-1]["address"]) == (None, "Karl", KARL)
    assert seen[-2]["subject"].startswith("number")
    assert {one["owner"] for one in seen} == {"staff@in.test"}
    for params, number in (
        ({"domain": "kunde.test"}, 6),
        ({"domain": "@KUNDE.test", "address": BERTA}, 1),
        ({"address": KARL.upper()}, 5),
        ({"owner": "staff@in.test", "domain": "other.test"}, 2),
        ({"owner": "nobody@in.test"}, 0),
    ):
        assert len((await api.get("/unresolved", params=params)).json["emails"]) == number, params
    for params in ({"cursor": "x"}, {"cursor": "WyJ4IiwieSJd"}, {"limit": "0"}, {"limit": "1001"}, {"owner": "a\0"}):
        check_problem(await api.get("/unresolved", params=params), 422)


async def test_senders_who_wait_are_listed_by_domain_as_the_console_has_them(
    senders: Senders, api: Api, crm: Crm
) -> None:
    await senders.write(KARL, 2, name="Karl")
    await senders.write(BERTA)
    [latest] = await senders.write("else@other.test")
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", latest)
    async with asyncio.timeout(20):  # the router is a moment behind the mail
        while (counted := (await api.get("/unresolved/counts")).json)["waiting"]["emails"] < 4:
            pass
    assert counted["waiting"] == {"senders": 3, "emails": 4}
    assert counted["owners"] == [{"mailbox": "staff@in.test", "kind": "user", "senders": 3, "emails": 4}]
    assert counted["machines"] == counted["snoozed"] == {"senders": 0, "emails": 0}
    first = (await api.get("/unresolved/groups", params={"limit": "1"})).json
    rest = (await api.get("/unresolved/groups", params={"cursor": first["cursor"]})).json
    assert [(one["group"], one["senders"], one["emails"]) for one in [*first["groups"], *rest["groups"]]] == [
        ("@other.test", 1, 1),
        ("@kunde.test", 2, 3),
    ]
    assert rest["cursor"] is None
    group = {"group": "@kunde.test", "owner": "staff@in.test"}
    first = (await api.get("/unresolved/senders", params=group | {"limit": "1"})).json
    rest = (await api.get("/unresolved/senders", params=group | {"cursor": first["cursor"]})).json
    assert [(one["address"], one["emails"]) for one in [*first["senders"], *rest["senders"]]] == [(BERTA, 1), (KARL, 2)]
    assert (rest["senders"][0]["name"], rest["senders"][0]["reason"]) == ("Karl", "no record has the address")
    assert rest["senders"][0]["owners"] == ["staff@in.test"]
    [private] = (await api.get("/unresolved/senders", params={"group": "@other.test"})).json["senders"]
    assert (private["subject"], private["latest_id"]) == (None, str(latest))
    longest = (await api.get("/unresolved/groups", params={"hours": "0"})).json["groups"]
    assert [one["group"] for one in longest] == ["@kunde.test", "@other.test"]
    assert (await api.get("/unresolved/groups", params={"hours": "100000"})).json == {"groups": [], "cursor": None}
    longest = (await api.get("/unresolved/senders", params=group | {"hours": "0"})).json["senders"]
    assert [one["address"] for one in longest] == [KARL, BERTA]
    check_problem(await api.get("/unresolved/counts", params={"owner": "nobody@in.test"}), 404)
    check_problem(await api.get("/unresolved/groups", params={"cursor": "x"}), 422)


async def test_who_a_sender_may_be_is_shown_with_why(senders: Senders, api: Api, crm: Crm) -> None:
    karl = await crm.record("contact", "Karl Kunde", "karl.kunde@kunde.test")
    await senders.write(KARL, 2, name="Karl Kunde")
    shown = (await api.get(f"/unresolved/{KARL}")).json
    assert (shown["address"], shown["waiting"], shown["reason"]) == (KARL, 2, "no record has the address")
    assert shown["in_force"] == []
    assert [(one["record_id"], one["name"]) for one in shown["candidates"]] == [(str(karl), "Karl Kunde")]
    assert shown["candidates"][0]["why"]


async def test_one_ruling_settles_what_waits_and_is_undone(senders: Senders, api: Api, crm: Crm) -> None:
    karl = await crm.record("contact", "Karl")
    await senders.write(KARL, 3)
    ruling = {"kind": "resolve", "subject": KARL, "record_id": str(karl)}
    tried = await api.post("/rulings", ruling | {"dry_run": True})
    assert (tried.status, tried.json) == (200, {"subject": KARL, "waiting": 3, "parties": 3, "in_force": None})
    assert set(await senders.senders(KARL)) == {None}
    ruled = await api.post("/rulings", ruling)
    assert ruled.status == 201
    assert (ruled.json["by"], ruled.json["record"], ruled.json["touched"]) == ("tests", "Karl", 3)
    assert set(await senders.senders(KARL)) == {karl}
    assert (await api.get("/unresolved")).json["emails"] == []
    again = await api.post("/rulings", ruling)
    assert (again.status, again.json["id"]) == (201, ruled.json["id"])

    other = await crm.record("contact", "Other")
    ann = await api.token_of("ann", "unresolved:decide")
    words = check_problem(await api.post("/rulings", ruling | {"record_id": str(other)}, token=ann), 409)
    assert words.startswith("tests ruled on")
    check_problem(await api.post("/rulings", {"kind": "ignore-sender", "subject": KARL}, token=ann), 409)
    replaced = await api.post("/rulings", ruling | {"record_id": str(other), "replaces": ruled.json["id"]}, token=ann)
    assert (replaced.status, replaced.json["by"]) == (201, "ann")
    assert set(await senders.senders(KARL)) == {other}

    for one in (replaced, ruled):
        undone = await api.post(f"/rulings/{one.json['id']}/undo")
        assert (undone.status, undone.json["undone_by"], undone.json["in_force"]) == (200, "tests", False)
    assert set(await senders.senders(KARL)) == {None}
    assert "undid ruling" in check_problem(await api.post(f"/rulings/{ruled.json['id']}/undo"), 409)
    check_problem(await api.post("/rulings/4711/undo"), 404)
    check_problem(await api.post("/rulings/0/undo"), 422)
    reader = await api.token_of("reader", "unresolved:read")
    check_problem(await api.post("/rulings", ruling, token=reader), 403)
    check_problem(await api.post(f"/rulings/{ruled.json['id']}/undo", token=reader), 403)


async def test_what_cannot_be_ruled_is_refused_in_words(api: Api, crm: Crm) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    for wrong, words in (
        ({"kind": "resolve", "subject": KARL, "record_id": nobody}, "there is no active record"),
        ({"kind": "resolve", "subject": KARL}, "record_id is for resolve"),
        ({"kind": "ignore-sender", "subject": "Karl"}, "name an address, or @ and a domain"),
        ({"kind": "ignore", "subject": KARL}, "body.kind"),
    ):
        assert words in check_problem(await api.post("/rulings", wrong), 422), wrong
    gone = await api.post("/rulings", {"kind": "ignore-sender", "subject": KARL, "replaces": 7})
    assert "is not in force any more" in check_problem(gone, 409)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.ruling") == 0


async def test_of_many_who_rule_at_once_one_does_and_the_others_are_told(senders: Senders, api: Api, crm: Crm) -> None:
    await senders.write(KARL)
    records = [await crm.record("contact", f"number {number}") for number in range(5)]
    answers = await asyncio.gather(
        *(api.post("/rulings", {"kind": "resolve", "subject": KARL, "record_id": str(one)}) for one in records)
    )
    assert sorted(one.status for one in answers) == [201, 409, 409, 409, 409]
    rulings = (await api.get("/rulings")).json["rulings"]
    assert len(rulings) == 1


async def test_rulings_are_listed_in_pages(api: Api) -> None:
    made = [
        (await api.post("/rulings", {"kind": "ignore-sender", "subject": f"{number}@kunde.test"})).json["id"]
        for number in range(5)
    ]
    await api.post(f"/rulings/{made[0]}/undo")
    first = (await api.get("/rulings", params={"limit": "2"})).json
    second = (await api.get("/rulings", params={"limit": "2", "cursor": first["cursor"]})).json
    third = (await api.get("/rulings", params={"limit": "2", "cursor": second["cursor"]})).json
    assert [one["id"] for page in (first, second, third) for one in page["rulings"]] == made[:0:-1]
    assert third["cursor"] is None
    assert len((await api.get("/rulings", params={"undone": "true"})).json["rulings"]) == 5
    check_problem(await api.get("/rulings", params={"cursor": first["cursor"] + "!"}), 422)


async def both_wait(senders: Senders) -> None:
    """Wait until the queue has them: the router folds, too, and may be at what this one leaves to it."""
    async with asyncio.timeout(20):
        while len(await pages.senders_named(senders.database, None, [KARL, BERTA])) < 2:
            await folded(senders)


async def test_undoing_takes_back_what_was_made_together_with_the_ruling(senders: Senders, api: Api, crm: Crm) -> None:
    await senders.write(KARL)
    await senders.write(BERTA)
    await both_wait(senders)
    made = await ruling.create(senders.database, None, KARL, ruling.NewRecord("contact", "Karl"), "ann", None)
    never = await ruling.never_track(senders.database, None, BERTA, None, "ann", None)
    assert never.ruling is not None
    undone = (await api.post(f"/rulings/{made.id}/undo")).json
    assert (undone["made_record"], undone["kept"]) == (False, None)
    assert await crm.rows("SELECT FROM crm.address WHERE address = $1", KARL) == []
    await never_track.add(senders.database, BERTA, None, "bob")  # it is there: nothing changes
    assert (await api.post(f"/rulings/{never.ruling.id}/undo")).json["kept"] is None
    assert await never_track.list_all(senders.database, None) == []
    await both_wait(senders)
    made = await ruling.create(senders.database, None, BERTA, ruling.NewRecord("contact", "Berta"), "ann", None)
    await crm.sql.execute("UPDATE crm.record SET name = 'Berta B' WHERE id = $1", made.record_id)
    kept = (await api.post(f"/rulings/{made.id}/undo")).json["kept"]
    assert kept == "the record that it made stays: the CRM has changed it since"


async def test_a_ruling_that_cannot_be_carried_out_now_is_made_and_undone_all_the_same(
    senders: Senders, api: Api, crm: Crm
) -> None:
    """Who is told of a fault would rule again, and be told that somebody was first."""
    await senders.write(KARL)
    karl = await crm.record("contact", "Karl")
    await crm.admin.execute(
        """
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OF begun ON router.ruling_work
        FOR EACH ROW WHEN (NEW.begun > OLD.begun) EXECUTE FUNCTION public.refuse();
        """
    )
    made = await api.post("/rulings", {"kind": "resolve", "subject": KARL, "record_id": str(karl)})
    assert (made.status, made.json["in_force"], made.json["is_done"]) == (201, True, False)
    undone = await api.post(f"/rulings/{made.json['id']}/undo")
    assert (undone.status, undone.json["in_force"]) == (200, False)
