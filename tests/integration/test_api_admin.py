"""What administers a router, by the API: owners, how sources and relays are, and what was done."""

from typing import Any

import pytest

from router.operations.emails import list_before
from router.repository.database import Database
from router.web.api import cursor as cursors
from tests.integration.test_api import check_problem
from tests.integration.test_api_emails import written
from tests.support.api import Api
from tests.support.crm import Crm
from tests.support.flood import Lent, crowd, flood


async def test_owners_sources_relays_and_what_was_done(api: Api, crm: Crm) -> None:
    await crm.owner("new@in.test", approved=False)
    found = (await api.get("/owners")).json["owners"]
    assert [(one["mailbox"], one["approved"], one["rule"]) for one in found] == [
        ("new@in.test", False, None),
        ("staff@in.test", True, "all"),
    ]
    assert found[1]["profiles"]
    approved = await api.post("/owners/New@In.test/approve")
    assert approved.json["approved"] is True
    assert (await api.request("PUT", "/owners/new@in.test/rule", json={"rule": "known"})).json["rule"] == "known"
    set_now = "SELECT tracking_rule FROM crm.owner WHERE mailbox = 'new@in.test' AND approved"
    assert await crm.admin.fetchval(set_now) == "known"
    assert (await api.request("PUT", "/owners/new@in.test/rule", json={"rule": None})).json["rule"] is None
    check_problem(await api.request("PUT", "/owners/new@in.test/rule", json={"rule": "some"}), 422)
    check_problem(await api.request("PUT", "/owners/nobody@in.test/rule", json={"rule": "all"}), 422)
    check_problem(await api.post("/owners/nobody@in.test/approve"), 404)
    assert (await api.post("/owners/new@in.test/withdraw")).json["approved"] is False
    noted = await crm.admin.fetch("SELECT by, action FROM router.audit_log WHERE subject = 'new@in.test' ORDER BY id")
    assert {row["by"] for row in noted} == {"tests"}
    assert [row["action"] for row in noted] == ["owner-approved", "rule-set", "rule-set", "owner-disapproved"]
    reader = await api.token_of("reader", "owners:read", "status:read")
    check_problem(await api.post("/owners/new@in.test/approve", token=reader), 403)
    check_problem(await api.get("/audit", token=reader), 403)

    await crm.admin.execute(
        "INSERT INTO router.source (profile, mailbox, folder, account, begins_at, fault) "
        "VALUES ('mail', 'staff@in.test', 'INBOX', 'x', now(), 'it is away')"
    )
    [source] = (await api.get("/sources", token=reader)).json["sources"]
    assert (source["mailbox"], source["fault"], source["seen"]) == ("staff@in.test", "it is away", 0)
    assert sum(source["dispositions"].values()) == 0
    relays = (await api.get("/relays", token=reader)).json["relays"]
    assert [one["state"] for one in relays] == ["working"]

    await crm.admin.execute("DELETE FROM router.audit_log")
    for number in ("a", "b", "c"):
        await crm.admin.execute("INSERT INTO router.audit_log (by, action) VALUES ('ann', $1)", f"done-{number}")
    page = (await api.get("/audit", params={"limit": "2"})).json
    assert [one["action"] for one in page["entries"]] == ["done-c", "done-b"]
    page = (await api.get("/audit", params={"limit": "2", "cursor": page["cursor"]})).json
    assert [one["action"] for one in page["entries"]] == ["done-a"]
    check_problem(await api.get("/audit", params={"cursor": "x"}), 422)


async def all_of(api: Api, path: str, name: str) -> list[Any]:
    """Read a list by pages of one."""
    found: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(10):
        page = (await api.get(path, params={"limit": "1", **cursor})).json
        found += page[name]
        if page["cursor"] is None:
            return found
        cursor = {"cursor": page["cursor"]}
    raise AssertionError(f"{path} does not end")


async def test_owners_and_sources_come_in_pages(api: Api, crm: Crm) -> None:
    for mailbox in ("ann@in.test", "zoe@in.test"):
        await crm.owner(mailbox)
        for folder in ("Archive", "INBOX"):
            await crm.admin.execute(
                "INSERT INTO router.source (profile, mailbox, folder, account, begins_at) "
                "VALUES ('mail', $1, $2, 'x', now())",
                mailbox,
                folder,
            )
    owners = await all_of(api, "/owners", "owners")
    assert [one["mailbox"] for one in owners] == ["ann@in.test", "staff@in.test", "zoe@in.test"]
    sources = await all_of(api, "/sources", "sources")
    assert [(one["mailbox"], one["folder"]) for one in sources] == [
        ("ann@in.test", "Archive"),
        ("ann@in.test", "INBOX"),
        ("zoe@in.test", "Archive"),
        ("zoe@in.test", "INBOX"),
    ]
    for cursor in ("x", cursors.write("a", "b"), cursors.write("a\0"), cursors.write("a", "b", "\0")):
        for path in ("/owners", "/sources"):
            check_problem(await api.get(path, params={"cursor": cursor}), 422)


@pytest.mark.parametrize("others", ["placeholder", "nothing"])
async def test_a_page_of_emails_costs_the_same_with_many(crm: Crm, database: str, others: str) -> None:
    [owner] = await crowd(crm, 1)
    await flood(crm, [owner], 30_000, "now()")
    await crm.admin.execute(
        """
        ALTER TABLE crm.email DISABLE TRIGGER USER;
        UPDATE crm.email SET private = hashtext(id::text) % 10 <> 0,
            created_at = now() - (hashtext(id::text) % 1000) * interval '1 second';
        ALTER TABLE crm.email ENABLE TRIGGER USER;
        ANALYZE crm.email
        """
    )
    setting = "INSERT INTO crm.setting (name, value) VALUES ('private_emails', to_jsonb($1::text))"
    await crm.admin.execute(setting, others)
    place = await crm.admin.fetchrow("SELECT created_at, id FROM crm.email ORDER BY 1, 2 OFFSET 15000 LIMIT 1")
    assert place is not None
    async with Database(database) as pool:
        for before in (None, tuple(place)):
            async with pool.rolled_back() as connection:
                found = await list_before(Lent(connection), before, 100)
                read = await connection.fetchval(
                    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables "
                    "WHERE relid = 'crm.email'::regclass"
                )
            assert len(found) == 100
            assert read <= 8 * 100, read  # by an index once for each way to see it, and once to show it


async def test_an_email_is_tried_again(api: Api) -> None:
    posted = (await api.post("/emails", written())).json["id"]
    assert "later" in check_problem(await api.post(f"/emails/{posted}/retry"), 409)
    await api.post(f"/emails/{posted}/cancel")
    assert "canceled" in check_problem(await api.post(f"/emails/{posted}/retry"), 409)
    check_problem(await api.post("/emails/00000000-0000-0000-0000-000000000000/retry"), 404)


async def test_emails_are_listed_by_pages_and_by_thread(api: Api, crm: Crm) -> None:
    made = [(await api.post("/emails", written(subject=name))).json["id"] for name in ("a", "b", "c")]
    await crm.admin.execute("UPDATE crm.email SET correlated_id = $2 WHERE id = $1", made[1], made[0])
    await crm.admin.execute("UPDATE crm.email SET private = true WHERE id = $1", made[2])
    page = (await api.get("/emails", params={"limit": "2"})).json
    assert [(one["id"], one["subject"]) for one in page["emails"]] == [(made[2], None), (made[1], "b")]
    page = (await api.get("/emails", params={"limit": "2", "cursor": page["cursor"]})).json
    assert [one["id"] for one in page["emails"]] == [made[0]]
    assert page["cursor"] is None
    for one in made[:2]:
        found = (await api.get(f"/emails/{one}/thread")).json["emails"]
        assert [one["id"] for one in found] == made[:2]
    assert [one["id"] for one in (await api.get(f"/emails/{made[2]}/thread")).json["emails"]] == [made[2]]
    check_problem(await api.get("/emails", params={"cursor": "x"}), 422)
    check_problem(await api.get("/emails/00000000-0000-0000-0000-000000000000/thread"), 404)


async def test_a_path_with_a_line_feed_is_refused_as_a_problem(api: Api) -> None:
    check_problem(await api.get("/webhooks/a%0Ab"), 422)
    check_problem(await api.get("/x%0Ay"), 404)
