"""Records of the CRM by the API: found, made and changed as by SQL, and never over what somebody else has changed."""

from uuid import UUID

import pytest

from router.operations import crm_records
from router.repository.database import Database
from tests.integration.test_api import NOBODY, check_problem
from tests.support.api import Answered, Api
from tests.support.crm import Crm
from tests.support.flood import cost_of

BERTA = {
    "kind": "contact",
    "name": "Berta Büro",
    "attributes": {"city": "Bonn", "tall": [1, 2.5, None]},
    "addresses": ["Berta@XN--BRO-HOA.example", "b.buero@kunde.test"],
}


async def change(api: Api, record: Answered, method: str, path: str = "", **document: object) -> Answered:
    """Change a record as it was read."""
    return await api.request(
        method,
        f"/records/{record.json['id']}{path}",
        headers={"If-Match": record.headers["ETag"]},
        json=document or None,
    )


async def test_a_record_is_made_read_and_changed_with_its_addresses(api: Api, crm: Crm) -> None:
    made = await api.post("/records", BERTA)
    assert made.status == 201
    assert made.json["addresses"] == ["b.buero@kunde.test", "berta@büro.example"]
    assert made.json["attributes"] == BERTA["attributes"]
    id_ = UUID(made.json["id"])
    assert await crm.sql.fetchval("SELECT name FROM crm.record WHERE id = $1 AND active", id_) == "Berta Büro"
    read = await api.get(f"/records/{id_}")
    assert (read.json, read.headers["ETag"]) == (made.json, made.headers["ETag"])

    changed = await change(api, read, "PATCH", name="Berta B.", remove_addresses=["B.Buero@kunde.test"])
    assert changed.status == 200
    assert (changed.json["name"], changed.json["kind"]) == ("Berta B.", "contact")
    assert changed.json["addresses"] == ["berta@büro.example"]
    assert changed.json["attributes"] == BERTA["attributes"]
    added = await change(api, changed, "PUT", "/addresses/Berta%2Fpost@kunde.test")
    assert added.json["addresses"] == ["berta/post@kunde.test", "berta@büro.example"]
    again = await change(api, added, "PUT", "/addresses/berta%2Fpost@kunde.test")
    assert (again.status, again.headers["ETag"]) == (200, added.headers["ETag"])
    removed = await change(api, again, "DELETE", "/addresses/BERTA@büro.example")
    assert removed.json["addresses"] == ["berta/post@kunde.test"]
    retired = await change(api, removed, "PATCH", active=False)
    assert retired.json["active"] is False
    noted = await crm.admin.fetch("SELECT by, action FROM router.audit_log WHERE subject = $1 ORDER BY id", str(id_))
    assert [tuple(one) for one in noted] == [("tests", "record-made"), *[("tests", "record-changed")] * 5]


async def test_what_somebody_else_has_changed_is_not_overwritten(api: Api, crm: Crm) -> None:
    read = await api.post("/records", BERTA)
    path = f"/records/{read.json['id']}"
    check_problem(await api.request("PATCH", path, json={"name": "x"}), 428)
    check_problem(await api.request("DELETE", f"{path}/addresses/b.buero@kunde.test"), 428)
    assert (await change(api, read, "PATCH", name="Berta Bau")).status == 200
    assert "another by now" in check_problem(await change(api, read, "PATCH", name="Berta Berg"), 412)
    # By SQL, too, and also where only an address is another.
    read = await api.get(path)
    await crm.sql.execute("DELETE FROM crm.address WHERE address = 'b.buero@kunde.test'")
    check_problem(await change(api, read, "PUT", "/addresses/new@kunde.test"), 412)
    now = (await api.get(path)).json
    assert (now["name"], now["addresses"]) == ("Berta Bau", ["berta@büro.example"])
    whatever = {"If-Match": "*"}
    assert (await api.request("PATCH", path, json={"name": "B."}, headers=whatever)).json["name"] == "B."
    check_problem(await api.request("PATCH", f"/records/{NOBODY}", json={"name": "B."}, headers=whatever), 404)
    check_problem(await api.request("PATCH", path, json={"name": "B."}, headers={"If-Match": "x"}), 412)


async def test_what_is_refused_is_told_in_words_and_leaves_nothing(api: Api, crm: Crm) -> None:
    for wrong, words in (
        ({"kind": ""}, "body.kind"),
        ({"addresses": ["Berta"]}, "body.addresses.0"),
        ({"addresses": ["Berta <berta@kunde.test>"]}, "body.addresses.0"),
        ({"attributes": {"a": "\0"}}, "unsupported Unicode escape sequence"),
        ({"name": "\ud800"}, "cannot be stored"),
        ({"id": NOBODY}, "body.id"),
    ):
        assert words in check_problem(await api.post("/records", BERTA | wrong), 422)
    await crm.admin.execute(
        """
        CREATE FUNCTION crm.no_doubles() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.address = 'taken@kunde.test' THEN
                RAISE EXCEPTION 'taken@kunde.test is another''s' USING HINT = 'Ask the office.';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER no_doubles BEFORE INSERT ON crm.address FOR EACH ROW EXECUTE FUNCTION crm.no_doubles();
        """
    )
    words = "taken@kunde.test is another's. Ask the office."
    assert check_problem(await api.post("/records", BERTA | {"addresses": ["Taken@kunde.test"]}), 422) == words
    assert await crm.sql.fetchval("SELECT count(*) FROM crm.record WHERE kind = 'contact'") == 0
    made = await api.post("/records", BERTA)
    assert check_problem(await change(api, made, "PATCH", name="x", add_addresses=["taken@kunde.test"]), 422) == words
    assert (await api.get(f"/records/{made.json['id']}")).json == made.json
    reader = await api.token_of("reader", "records:read")
    check_problem(await api.post("/records", BERTA, token=reader), 403)
    check_problem(await api.get("/records", token=await api.token_of("writer", "records:write")), 403)


async def test_records_are_listed_and_searched(api: Api, crm: Crm) -> None:
    made = {
        name: str(await crm.record(kind, name, f"{name.lower()}@kunde.test", "office@kunde.test"))
        for kind, name in (("contact", "Anna"), ("account", "Annahof"), ("contact", "Carl"))
    }
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/records", params={"limit": "1", **cursor})).json
        found += [one["id"] for one in page["records"]]
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
    staff = await crm.sql.fetchval("SELECT record_id::text FROM crm.owner")
    assert found == sorted([staff, *made.values()])

    async def names(**asked: str) -> list[str]:
        return [one["name"] for one in (await api.get("/records", params=asked)).json["records"]]

    assert sorted(await names(kind="contact")) == ["Anna", "Carl"]
    assert sorted(await names(address="Office@Kunde.test")) == ["Anna", "Annahof", "Carl"]
    assert await names(address="office@kunde.test", kind="account") == ["Annahof"]
    assert await names(search="anna") == ["Anna", "Annahof"]
    assert await names(search="annahof@kunde") == ["Annahof"]
    assert await names(search="ann", kind="account") == ["Annahof"]
    assert await names(search="-") == []
    check_problem(await api.get("/records", params={"search": "x", "address": "x"}), 422)
    check_problem(await api.get("/records", params={"cursor": "x"}), 422)


async def test_records_behind_views_are_read_and_not_written(api: Api, crm: Crm) -> None:
    await crm.admin.execute(
        """
        CREATE TABLE public.customers AS
            SELECT gen_random_uuid() AS id, 'Ann'::text AS name, 'ann@kunde.test'::text AS email;
        DROP TABLE crm.address, crm.record;
        CREATE VIEW crm.record AS SELECT id, 'contact' AS kind, name, NULL::uuid AS owner_id, true AS active,
            '{}'::jsonb AS attributes, now() AS created_at FROM public.customers;
        CREATE VIEW crm.address AS SELECT crm.normalise(email) AS address, id AS record_id FROM public.customers;
        """
    )
    [record] = (await api.get("/records")).json["records"]
    assert (record["name"], record["addresses"]) == ("Ann", ["ann@kunde.test"])
    assert "elsewhere" in check_problem(await api.post("/records", BERTA), 422)
    path, whatever = f"/records/{record['id']}", {"If-Match": "*"}
    assert "elsewhere" in check_problem(await api.request("PATCH", path, json={"name": "x"}, headers=whatever), 422)


@pytest.mark.parametrize("asked", [{"kind": "rare"}, {"address": "office@kunde.test"}, {}])
async def test_a_page_of_many_records_is_found_by_indexes(crm: Crm, database: str, asked: dict[str, str]) -> None:
    await crm.admin.execute(
        """
        WITH made AS (
            INSERT INTO crm.record (kind, name)
            SELECT CASE WHEN n % 10000 = 17 THEN 'rare' ELSE 'contact' END, 'Customer ' || n
            FROM generate_series(1, 30000) AS n RETURNING id
        )
        INSERT INTO crm.address (record_id, address) SELECT id, 'office@kunde.test' FROM made
        """
    )
    await crm.admin.execute("ANALYZE crm.record, crm.address")

    async def page(pool: Database) -> object:
        return await crm_records.list_page(pool, asked.get("kind"), asked.get("address"), None, 100)

    async with Database(database) as pool:
        told = await cost_of(pool, page)
    for scan, rows in told.rows.items():
        assert not scan.startswith("Seq Scan"), scan
        assert rows <= 3001, (scan, rows)
