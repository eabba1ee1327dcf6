"""What a CRM developer writes by mistake, beside and under the router, costs no mail and gives none away."""

import asyncio
import hashlib
import json
import smtplib
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from uuid import uuid4

import asyncpg
import pytest

from router.errors import DatabaseError, MessageWaits, OwnerGone
from router.incoming.promote import Promoter
from router.model import Attachment, Decision, Mention, Message, Rule
from router.repository import upkeep
from router.repository.database import Database
from router.repository.incoming.batch import Batch
from router.repository.incoming.sources import Lease
from tests.integration.test_promote import Crm, copies, message
from tests.servers.dovecot import MASTER_PASSWORD, Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm as Developer
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter
from tests.support.traffic import Post, incoming
from transports.base import Cursor

# Times that PostgreSQL has, and Python has not.
TIMES = ["-infinity", "0044-03-15 12:00:00 BC", "99999-01-01", "0001-01-01 00:00:00+14", "9999-12-31 23:59:59-12"]

LOGO = Attachment("logo.png", "image/png", b"logo")
STORED = "INSERT INTO crm.blob (sha256, content) VALUES ($1, $2)"

TRIGGER = """
    CREATE FUNCTION public.careless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;
    CREATE TRIGGER careless AFTER INSERT ON crm.email FOR EACH ROW EXECUTE FUNCTION public.careless();
"""


def lmtp(port: int) -> str:
    return f"""
[incoming.drop]
transport = "lmtp"
listen = "127.0.0.1:{port}"
owners = ["*@in.test"]
rule = "all"

"""


def hand_over(port: int) -> None:
    with smtplib.LMTP("127.0.0.1", port) as client:
        client.sendmail("karl@kunde.test", ["ulla@in.test"], b"From: karl@kunde.test\r\nMessage-ID: <1@x.test>\r\n\r\n")


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database, connections=1) as pool:
        yield pool


@pytest.fixture
def sql(opened: Database) -> Crm:
    return Crm(opened)


@pytest.fixture
async def lease(sql: Crm) -> Lease:
    return await sql.source(await sql.owner("ulla@example.com", "all"), "ulla@example.com")


async def _bring_in(sql: Crm, lease: Lease, messages: list[Message], first: int = 1) -> list[Decision]:
    owner_id = await sql.value("SELECT record_id FROM crm.owner")
    return await Promoter(sql.database).promote(Batch(copies(lease, owner_id, messages, first), lease, Cursor("1:9")))


@pytest.mark.parametrize("time", TIMES)
async def test_records_and_emails_of_any_time_kill_no_mail(sql: Crm, lease: Lease, database: str, time: str) -> None:
    named = ("offer1@example.com", "offer2@example.com")
    developer = await asyncpg.connect(database)
    for message_id in named:  # of two records, the older one is the sender
        record_id = await developer.fetchval(
            f"INSERT INTO crm.record (kind, created_at) VALUES ('contact', '{time}') RETURNING id"
        )
        await developer.execute("INSERT INTO crm.address VALUES ($1, $2)", "karl@kunde.test", record_id)
        await developer.execute(
            f"INSERT INTO crm.email (direction, status, message_id, created_at) VALUES ('out', 'sent', $1, '{time}')",
            message_id,
        )
    await developer.close()
    (decision,) = await _bring_in(sql, lease, [message(1, in_reply_to=named[:1], references=named)])
    assert decision.disposition == "promoted"
    assert decision.email is not None
    assert decision.email.correlated_id is not None


@pytest.mark.parametrize(
    ("kind", "created_at"),
    [
        ("'contact'::public.kind", "now()"),
        ("NULL::text", "now()"),
        ("'contact'", "NULL::timestamptz"),
        ("'contact'", "current_date"),
        ("'contact'", "localtimestamp"),
    ],
)
async def test_views_with_types_of_their_own_that_name_a_record_twice(
    sql: Crm, lease: Lease, kind: str, created_at: str
) -> None:
    await sql.execute("CREATE TYPE public.kind AS ENUM ('contact')")
    await sql.execute("CREATE TABLE public.customer (id uuid DEFAULT gen_random_uuid(), email text)")
    await sql.execute("INSERT INTO public.customer (email) VALUES ('karl@kunde.test'), ('kati@kunde.test')")
    await sql.execute(
        f"""
        DROP TABLE crm.record, crm.address;
        CREATE VIEW crm.record AS
            SELECT id, {kind} AS kind, '' AS name, NULL::uuid AS owner_id, true AS active,
                '{{}}'::jsonb AS attributes, {created_at} AS created_at
            FROM public.customer CROSS JOIN generate_series(1, 2);
        CREATE VIEW crm.address AS
            SELECT email AS address, id AS record_id FROM public.customer CROSS JOIN generate_series(1, 2);
        """
    )
    mentions = (Mention("from", 0, "karl@kunde.test"), Mention("to", 0, "kati@kunde.test"))
    (decision,) = await _bring_in(sql, lease, [message(1, mentions=mentions)])
    assert decision.disposition == "promoted"
    linked = (
        "SELECT count(*) FROM crm.party AS p JOIN public.customer AS c ON (c.id, c.email) = (p.record_id, p.address)"
    )
    assert await sql.value(linked) == 2


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM crm.owner", "UPDATE crm.owner SET mailbox = 'otto@example.com'"],
)
async def test_mail_under_way_to_who_is_no_owner_any_more_is_not_judged_by_another_rule(
    sql: Crm, lease: Lease, change: str
) -> None:
    owner_id = await sql.value("SELECT record_id FROM crm.owner")
    other_id = await sql.owner("anna@example.com", "all")
    await sql.execute("UPDATE crm.owner SET tracking_rule = 'none' WHERE record_id = $1", owner_id)
    await sql.execute(f"{change} WHERE record_id = $1", owner_id)
    private = [replace(copy, default_rule=Rule.ALL) for copy in copies(lease, owner_id, [message(1), message(2)])]
    with pytest.raises(OwnerGone):
        await Promoter(sql.database).promote(Batch(private, lease, Cursor("1:2")))
    shared = private + copies(lease, other_id, [message(3), message(4)], 3)
    with pytest.raises(OwnerGone):
        await Promoter(sql.database).promote(Batch(shared, lease, Cursor("1:4")))
    places = await sql.rows("SELECT place FROM router.decision ORDER BY place")
    assert [row["place"] for row in places] == ["3", "4"]
    assert await sql.value("SELECT cursor FROM router.source") is None


async def test_mail_that_needs_what_the_crm_has_locked_waits_and_is_not_dead(
    sql: Crm, lease: Lease, database: str
) -> None:
    owner_id = await sql.value("SELECT record_id FROM crm.owner")
    batch = Batch(copies(lease, owner_id, [message(1, attachments=(LOGO,)), message(2)]), lease, Cursor("1:2"))
    promoter = Promoter(sql.database, patience=0)
    developer = await asyncpg.connect(database)
    try:
        await developer.execute("BEGIN")
        await developer.execute(STORED, hashlib.sha256(LOGO.content).digest(), LOGO.content)
        for _ in range(2):
            with pytest.raises(DatabaseError, match="another session has locked it"):
                await promoter.promote(batch)
        for _ in range(2):  # by now it is known which message it is
            with pytest.raises(MessageWaits, match="another session has locked it"):
                await promoter.promote(batch)
        assert [row["place"] for row in await sql.rows("SELECT place FROM router.decision")] == ["2"]
    finally:
        await developer.close()
    first, _ = await promoter.promote(batch)
    assert first.disposition == "promoted"
    assert await sql.value("SELECT cursor FROM router.source") == "1:2"


async def test_what_a_trigger_sets_for_the_session_ends_with_the_trigger(sql: Crm, lease: Lease) -> None:
    body = "SET default_transaction_read_only = on;"
    await sql.execute(TRIGGER.format(body=body))
    await _bring_in(sql, lease, [message(1)])
    with pytest.raises(DatabaseError, match="read-only"):
        await sql.execute("DROP TRIGGER careless ON crm.email")
    await sql.execute("DROP TRIGGER careless ON crm.email")
    (decision,) = await _bring_in(sql, lease, [message(2)], 2)
    assert decision.disposition == "promoted"


async def test_an_email_that_a_trigger_inserts_while_mail_comes_in_is_found_by_its_id(sql: Crm, lease: Lease) -> None:
    body = """
        IF NEW.subject = 'Number 1' THEN
            INSERT INTO crm.email (direction, status, message_id) VALUES ('out', 'sent', 'receipt@example.com');
        END IF;
    """
    await sql.execute(TRIGGER.format(body=body))
    await _bring_in(sql, lease, [message(1)])
    await upkeep.move_known_ids(sql.database)
    (answer,) = await _bring_in(sql, lease, [message(2, in_reply_to=("receipt@example.com",))], 2)
    assert answer.email is not None
    assert answer.email.correlated_id == await sql.value("SELECT id FROM crm.email WHERE direction = 'out'")


async def test_what_a_trigger_says_that_a_thread_is_about_counts(sql: Crm, lease: Lease) -> None:
    former, latter = uuid4(), uuid4()
    body = f"""
        IF NEW.subject = 'Number 2' THEN UPDATE crm.email SET regarding_id = '{latter}' WHERE id = NEW.id; END IF;
    """
    await sql.execute(TRIGGER.format(body=body))
    await _bring_in(sql, lease, [message(1)])
    await sql.execute("UPDATE crm.email SET regarding_id = $1", former)
    await _bring_in(sql, lease, [message(2, in_reply_to=("1@kunde.test",))], 2)
    (answer,) = await _bring_in(sql, lease, [message(3, in_reply_to=("1@kunde.test",))], 3)
    assert answer.email is not None
    assert answer.email.regarding_id == latter


async def test_a_mailbox_in_which_a_message_waits_is_read_on(
    crm: Developer, new_router: NewRouter, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    record_id = await crm.record("contact", "Karl", "karl@kunde.test")
    await crm.admin.execute("ALTER TABLE crm.party ADD FOREIGN KEY (record_id) REFERENCES crm.record")
    post = Post(dovecot, [mailbox], Random(1))
    router = await new_router(incoming(dovecot.imap), IMAP_PASSWORD=MASTER_PASSWORD)
    async with crm.sql.transaction():  # left open
        await crm.sql.execute("SELECT FROM crm.record WHERE id = $1 FOR UPDATE", record_id)
        await asyncio.to_thread(post.deliver, 1)
        await router.wait_for_log("another session has locked it", timeout=30)
        others = range(120)  # more than one listing holds
        for number in others:
            await asyncio.to_thread(
                dovecot.deliver, mailbox, f"From: kati@kunde.test\r\nMessage-ID: <k{number}@x.test>\r\n\r\n".encode()
            )
        await crm.wait_for_decisions(len(others), timeout=60)
        assert set(await crm.dispositions()) == {"promoted"}
        # That mail comes in meanwhile hides neither that one waits nor since when.
        [noted] = await crm.admin.fetch(
            "SELECT fault, fault_since < (SELECT max(decided_at) FROM router.decision) AS before FROM router.source"
        )
        assert noted["before"]
        assert noted["fault"].startswith("1 message waits: another session has locked it")
    await crm.wait_for_decisions(len(others) + 1, timeout=40)
    assert set(await crm.dispositions()) == {"promoted"}
    await crm.wait_for(None, "SELECT fault FROM router.source")


async def test_status_tells_what_the_router_may_not_do_any_more(
    crm: Developer, new_router: NewRouter, outgoing: Profile
) -> None:
    await crm.owner("ulla@in.test", "all")
    port = free_port()
    router = await new_router(lmtp(port) + outgoing(), says=("listening",))

    async def faults() -> dict[str, str]:
        _, printed = await router.ask("status", "--json")
        return {one["name"].rpartition(" ")[2]: one["words"] for one in json.loads(printed)["faults"]}

    async def wait_for_faults(*parts: str) -> dict[str, str]:
        """Return the words of each part that is at fault, once it is these parts and no other."""
        async with asyncio.timeout(60):
            while sorted(found := await faults()) != list(parts):
                await asyncio.sleep(0.2)
        return found

    for revoked in ("INSERT ON crm.party", "UPDATE ON crm.email", "UPDATE ON router.source"):
        await crm.admin.execute(f"REVOKE {revoked} FROM CURRENT_USER")
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        await asyncio.to_thread(hand_over, port)
    found = await wait_for_faults("mailboxes", "sending")
    assert all("permission denied" in words for words in found.values())
    await crm.admin.execute("GRANT UPDATE ON router.source TO CURRENT_USER")
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        await asyncio.to_thread(hand_over, port)
    found = await wait_for_faults("(listener)", "sending")
    assert "permission denied for table party" in found["(listener)"]
    await crm.admin.execute("GRANT INSERT ON crm.party TO CURRENT_USER")
    await crm.admin.execute("GRANT UPDATE ON crm.email TO CURRENT_USER")
    await asyncio.to_thread(hand_over, port)
    await wait_for_faults()
    assert await crm.dispositions() == {"promoted": 1}


async def test_mail_of_owners_whom_a_policy_hides_waits_and_is_not_refused(
    crm: Developer, new_router: NewRouter
) -> None:
    await crm.owner("ulla@in.test", "all")
    port = free_port()
    router = await new_router(lmtp(port), says=("listening",))
    await crm.admin.execute("ALTER TABLE crm.owner ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="451"):
        await asyncio.to_thread(hand_over, port)
    await router.wait_for_log("affected by row-level security policy")
    await crm.admin.execute("ALTER TABLE crm.owner NO FORCE ROW LEVEL SECURITY")
    await asyncio.to_thread(hand_over, port)
    assert await crm.dispositions() == {"promoted": 1}


async def test_what_is_committed_lasts_though_the_database_would_not_wait_for_the_disk(database: str) -> None:
    developer = await asyncpg.connect(database)
    name = await developer.fetchval("SELECT current_database()")
    await developer.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    await developer.close()

    async with Database(database, connections=1) as opened:

        async def ask() -> str:
            async with opened.connection() as connection:
                return str(await connection.fetchval("SHOW synchronous_commit"))

        assert await ask() == "on"
        with pytest.raises(DatabaseError):
            async with opened.connection() as connection:
                await connection.execute("SELECT 1 / 0")
        assert await ask() == "on"


async def test_transactions_are_no_stricter_than_they_are_made_for_though_the_database_would_have_it(
    database: str,
) -> None:
    developer = await asyncpg.connect(database)
    name = await developer.fetchval("SELECT current_database()")
    await developer.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    await developer.close()
    async with Database(database, connections=1) as opened, opened.transaction() as connection:
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
