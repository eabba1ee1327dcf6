"""A person's content is erased everywhere: it is in no dump and in no file of the server, and the search says so."""

import asyncio
import json
import os
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from router.errors import UnknownName
from router.model import Attachment, Mention
from router.operations.backing import Refused
from router.operations.erase import Asked, Report, erase
from router.repository.database import Database
from router.repository.erasure import mentions
from router.repository.erasure.named import Named
from router.repository.erasure.taken_back import restore, take_back
from tests.integration.test_private import dump, found
from tests.integration.test_promote import Crm
from tests.integration.test_taken_back import Mailbox, mailbox, promoted
from tests.support.databases import Postgres
from tests.support.forked import email_router

BERTA: Final = "berta@büro.test"
THIRD: Final = "third@other.test"
SECRET: Final = "unmistakablegout"
TRACES: Final = {"address": BERTA, "coded": "berta@xn--bro-hoa.test", "in a URL": "berta%40büro.test", "secret": SECRET}

FREE: Final = {
    "crm.attachment": "filename original_filename content_id",
    'crm."case"': "subject priority requester_address",
    "crm.complaint": "address kind",
    "crm.delivery": "address code text",
    "crm.email": "status_reason message_id in_reply_to thread_ids subject text_body html_body flags defects calendar "
    "raw_headers unsubscribe_url batch",
    "crm.event": "details",
    "crm.party": "name",
    "crm.receipt": "profile folder place forward",
    "router.acknowledgement": "fault",
    "router.attempt": "profile outcome relay replies",
    "router.audit": "fault validity place tally",
    "router.backfill": "by_name validity place counts",
    "router.creation": "rule sender sender_name priority fields fault",
    "router.decide_again": "reason",
    "router.decision": "validity place reasons outer_place forward",
    "router.installation": "reason changed_by",
    "router.merge": "by fault",
    "router.merge_refused": "key fault",
    "router.process": "host profiles faults",
    "router.pruning": "after",
    "router.rate": "profile",
    "router.relay": "profile fault",
    "router.route": "profile domain",
    "router.ruling": "subject by",
    "router.ruling_work": "subject after_address fault",
    "router.sent_copy": "profile fault",
    "router.sent_folder": "profile",
    "router.simulation": "mailbox fault found",
    "router.source": "profile mailbox folder cursor fault identity account",
    "router.split": "split_by",
    "router.taken_back": "by_name receipt",
    "router.unrecorded": "result reason",
}
"""Columns that the test fills: an address can come into them, if only by a fault in somebody's words."""

FIXED: Final = {
    # Whole rows of these go: the test fills them by hand.
    "crm.address_state": "address state code text",
    "router.kept_content": "recipients",
    "router.sealed_rows": "relation rows",
    # Words of the schema, names of profiles and templates, what constraints give a form.
    "crm.attachment": "media_type",
    "crm.blob": "encoding",
    'crm."case"': "status",
    "crm.delivery": "state",
    "crm.email": "direction status correlation_method token legacy_token lane headers text_marks template "
    "tracking_rule",
    "crm.email_move": "old new",
    "crm.event": "kind",
    "crm.party": "role address",
    "router.acknowledgement": "",
    "router.creation": "makes unknown_sender state outcome",
    "router.decision": "disposition rule candidates verdict",
    "router.audit_log": "by action subject details",  # of people of the house
    "router.merge_refused": "kind",
    "router.migration": "name checksum",
    "router.outbox": "profile lane",
    "router.person": "name password",
    "router.person_grant": "role",
    "router.person_identity": "issuer subject",
    "router.person_passkey": "name",
    "router.person_session": "browser way",
    "router.pruning": "what",
    "router.relay": "state",
    "router.route": "reason",
    "router.ruling": "kept kind undone_by",
    "router.ruling_work": "phase",
    "router.sealed_content": "encoding",
    "router.simulation": "id rule by",
    "router.split": "method",
    "router.staff_token": "name scopes",
    "router.webhook": "name url kinds made_by paused_by fault",
    "router.template": "name",
    "router.thread_index": "position",
    "router.token": "issuer client scope grant_type subject granted_scope fault fault_kind",
    "router.unsent": "status",
    "router.waiting_answer": "method",
    # What follows a party.
    "router.ruled_party": "role address",
    "router.unresolved_email": "address domain",
    "router.sender_mail": "address",
    "router.sender_waiting": "address domain part reason",
    "router.sender_part": "part",
    "router.sender_total": "part",
    "router.sender_change": "address",
    "router.sender_care": "address assigned_to assigned_by snoozed_by",
    "router.sender_look": "address by",
    # What is kept on purpose.
    "crm.public_domain": "domain",
    "crm.setting": "name value by",
    "router.never_track": "pattern by",
    # What the CRM says of its own records.
    "crm.address": "address",
    "crm.creation_rule": "name makes owners to from subject headers sender unknown_sender priority fields by",
    "crm.owner": "mailbox tracking_rule settings settings_by acknowledgement signature_text signature_html",
    "crm.record": "kind name attributes",
    "crm.template": "name subject text_body html_body fault",
}

BYTES: Final = {
    # Hashes, and what is encrypted.
    "crm.attachment": "sha256",
    "router.acknowledged": "sender domain",
    "router.decision": "key content gist sender_gist",
    "router.known_id": "hash",
    "router.message": "key content gist",
    "router.message_id": "hash",
    "router.person_device": "hash",
    "router.passkey_challenge": "challenge",
    "router.person_link": "hash",
    "router.person_passkey": "id public_key",
    "router.person_session": "hash",
    "router.posted_email": "key body",
    "router.sign_in_attempt": "key",
    "router.staff_token": "hash",
    "router.webhook": "secret",
    "router.token": "id sealed",
    "router.waiting_answer": "hash",
    # What is unpacked and searched.
    "crm.blob": "sha256 content",
    "router.kept_content": "content",
    "router.sealed_content": "sha256 content",
}


@pytest.fixture
async def crm(database: str) -> AsyncIterator[Crm]:
    async with Database(database) as opened:
        yield Crm(opened)


async def erased(crm: Crm, address: str = BERTA, **asked: Any) -> Report:
    return await erase(crm.database, Asked(address, "ann", **asked))


def to(*others: str) -> tuple[Mention, ...]:
    """Berta writes to Ulla, and others have a copy."""
    copied = [Mention("cc", place, other) for place, other in enumerate(others)]
    return (Mention("from", 0, BERTA, "Berta Büro"), Mention("to", 0, "ulla@example.com"), *copied)


async def _columns(crm: Crm, condition: str) -> dict[str, set[str]]:
    rows = await crm.rows(
        f"""
        SELECT c.oid::regclass::text AS name, a.attname, t.typname
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE c.relnamespace IN ('crm'::regnamespace, 'router'::regnamespace) AND c.relkind IN ('r', 'p')
            AND {condition}
        """
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["name"], set()).add(row["attname"])
    return found


async def test_every_column_that_can_hold_an_address_is_known(crm: Crm) -> None:
    known: dict[str, set[str]] = {}
    for columns in (FREE, FIXED):
        for table, names in columns.items():
            known.setdefault(table, set()).update(names.split())
    texts = await _columns(
        crm, "typname IN ('text', '_text', 'varchar', '_varchar', 'bpchar', 'name', 'json', 'jsonb', 'xml')"
    )
    assert texts == {table: names for table, names in known.items() if names}
    binary = await _columns(crm, "typname IN ('bytea', '_bytea')")
    assert binary == {table: set(names.split()) for table, names in BYTES.items()}


async def _fill(crm: Crm) -> Mailbox:
    """An email of each kind, a row in each table, and the address in each column that takes it."""
    ulla = await mailbox(crm, "ulla")
    file = Attachment(f"{SECRET}.txt", "text/plain", f"{SECRET} says {BERTA}".encode() * 20)
    for number, who in enumerate((to(), to(THIRD), to()), 1):
        await ulla.receive(number, mentions=who, text=f"{SECRET} {number}", subject=SECRET, attachments=(file,))
    await take_back(crm.database, await promoted(crm, 3), ulla.owner_id, "ann")
    theirs = (Mention("from", 0, THIRD), Mention("to", 0, "ulla@example.com"), Mention("cc", 0, BERTA))
    await ulla.receive(4, mentions=theirs, text=f"Ask Berta <{BERTA.upper()}>, berta@xn--bro-hoa.test.")
    about = Attachment("about.txt", "text/plain", b"x" * 300_000 + f"({BERTA})".encode())
    await ulla.receive(5, sender=THIRD, text="hello", attachments=(about,))
    kept = await promoted(crm, 5)
    await crm.execute(
        """
        INSERT INTO crm.complaint (email_id, address, kind) VALUES ($1, 'x@x.test', 'abuse');
        """.replace("$1", f"'{kept}'")
        + f"""
        INSERT INTO crm.delivery (email_id, address, state) VALUES ('{kept}', 'x@x.test', 'refused');
        INSERT INTO crm.address_state (address, state, code, text, since, last_at, hard_bounces, soft_bounces)
            VALUES ('{BERTA}', 'bounced', '5.1.1', '{BERTA} is unknown', now(), now(), 1, 0);
        INSERT INTO router.acknowledgement (email_id, owner_id) VALUES ('{kept}', '{ulla.owner_id}');
        INSERT INTO router.attempt (id, email_id, number, process_id, resend, claimed_at)
            VALUES ('{uuid4()}', '{kept}', 1, '{uuid4()}', false, now());
        INSERT INTO router.unrecorded (attempt_id, result, reason) SELECT id, '', '' FROM router.attempt;
        INSERT INTO router.sent_copy (email_id, owner_id, profile) VALUES ('{kept}', '{ulla.owner_id}', '');
        INSERT INTO router.sent_folder (owner_id) VALUES ('{ulla.owner_id}');
        INSERT INTO router.audit (source_id) VALUES ({ulla.lease.source_id});
        INSERT INTO router.backfill (source_id, since, by_name, begun_at, counts)
            VALUES ({ulla.lease.source_id}, now(), '', now(), '{{}}');
        INSERT INTO router.ruling (kind, subject, by) VALUES ('ignore-sender', 'x@x.test', 'x');
        INSERT INTO router.ruling_work (subject) VALUES ('x@x.test');
        INSERT INTO router.merge (from_id, into_id, by) VALUES (gen_random_uuid(), gen_random_uuid(), 'x');
        INSERT INTO router.merge_refused (from_id, kind, key, try_at, fault)
            SELECT from_id, 'crm.address.record_id', 'x', now(), 'x' FROM router.merge;
        INSERT INTO router.split (email_id, correlated_id, split_by) VALUES ('{kept}', '{kept}', 'x');
        INSERT INTO router.simulation (id, mailbox, rule, by, begun_at) VALUES ('x', '', 'all', 'x', now());
        INSERT INTO router.rate (profile) VALUES ('');
        INSERT INTO router.relay (profile, fault, fault_since, state) VALUES ('', '', now(), 'paused');
        INSERT INTO router.route (owner_id, profile, domain) VALUES ('{ulla.owner_id}', '', '')
            ON CONFLICT (owner_id) DO UPDATE SET profile = '', reason = NULL;
        """
    )
    message = b"From: Berta <" + BERTA.encode() + b">\r\n\r\n" + SECRET.encode()
    await ulla.receive(6)
    await crm.execute(
        """
        WITH held AS (
            UPDATE router.decision SET disposition = 'held', email_id = NULL WHERE email_id = (
                SELECT id FROM crm.email WHERE message_id = '6@kunde.test'
            ) RETURNING id, source_id
        ), again AS (
            INSERT INTO router.decide_again (decision_id, source_id, reason) SELECT id, source_id, '' FROM held
        )
        INSERT INTO router.kept_content (decision_id, content, recipients, sent, expires_at)
        SELECT id, $1, '{ulla@example.com}', false, now() + interval '1 day' FROM held
        """,
        zlib.compress(message),
    )
    await crm.execute(
        """
        INSERT INTO router.creation (
            email_id, owner_id, rule, makes, sender, sender_name, unknown_sender, reopen_days, priority, fields
        ) SELECT id, owner_id, '', 'case', '', '', 'wait', 14, '', '{}' FROM crm.email WHERE direction = 'in'
        """
    )
    await crm.execute(
        "INSERT INTO crm.case (record_id, email_id) SELECT gen_random_uuid(), id FROM crm.email WHERE direction = 'in'"
    )
    for table, names in FREE.items():
        for name in names.split():
            await _write(crm, table, name)
    return ulla


async def _write(crm: Crm, table: str, column: str) -> None:
    type_ = await crm.value(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2",
        table,
        column,
    )
    # A row each, since some are keys.
    said = f"'of <' || '{BERTA}' || '> ' || row_number"
    if table == "crm.event":
        value = f"jsonb_build_object('address', '{BERTA}', 'reason', 'said:\nberta%40büro.test')"
    elif column == "raw_headers":
        value = f"""'[["From", "Berta Büro <{BERTA}>"], ["Subject", "kept"]]'::jsonb"""
    elif column == "unsubscribe_url":
        value = "'https://x.test/?to=berta%40xn--bro-hoa.test'"
    elif column in ("subject", "text_body"):
        value = f"coalesce({column}, '') || ' ' || {said} || ' berta@xn--bro-hoa.test'"
    elif column == "address":
        value = f"'{BERTA}'"
    elif column == "cursor":
        value = f"'1:{BERTA}'"
    elif type_ == "jsonb":
        value = f"jsonb_build_array({said})"
    elif type_ == "text[]":
        value = f"ARRAY[{said}, 'bounce-berta=büro.test@list.test']"
    else:
        value = said
    only = "AND status IN ('received', 'sent')" if table == "crm.email" else ""
    await crm.execute(
        f"UPDATE {table} AS t SET {column} = {value} "
        f"FROM (SELECT ctid AS place, row_number() OVER () FROM {table}) AS w WHERE t.ctid = w.place {only}"
    )
    assert await crm.value(f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL") > 0, f"{table}.{column} is empty"


async def test_nothing_is_left_of_who_was_erased_in_a_dump_and_in_the_files(
    crm: Crm, postgres: Postgres, database: str
) -> None:
    ulla = await _fill(crm)
    assert found(await asyncio.to_thread(dump, database), TRACES) == set(TRACES)
    await crm.execute("ANALYZE")  # PostgreSQL's statistics hold values, too
    assert await _in_files(postgres, database)
    report = await erased(crm)
    assert report.is_clean, report.left
    assert (report.emails["whole"], report.emails["part"]) == (1, 2)
    of_the_crm = {"crm.record", "crm.address", "crm.owner", "crm.template", "crm.creation_rule", "router.never_track"}
    searched = {*FREE, *FIXED} - of_the_crm
    assert searched <= {*report.left}
    assert {*FREE} - {"router.rate"} <= {table for table, number in report.removed.items() if number} | {
        "crm.attachment"
    }
    everything = await asyncio.to_thread(dump, database)
    assert found(everything, TRACES) == set()

    # What is others' stays.
    rows = await crm.rows("SELECT address, name FROM crm.party WHERE role = 'cc' ORDER BY address")
    assert [row["address"].partition("-")[0] for row in rows] == ["erased", THIRD]
    assert await crm.value("SELECT count(*) FROM crm.email WHERE text_body IS NOT NULL") == 3
    headers = await crm.rows("SELECT raw_headers FROM crm.email WHERE raw_headers IS NOT NULL")
    assert {row["raw_headers"] for row in headers} == {'[["Subject", "kept"]]'}
    events = await crm.rows("SELECT details FROM crm.event WHERE kind = 'erased'")
    assert sorted((json.loads(row["details"]) for row in events), key=str) == [
        {"by": "ann", "whole": whole} for whole in (False, False, True)
    ]
    assert await ulla.receive(1, mentions=to()) == "duplicate"  # its key stays

    assert await _in_files(postgres, database) == {}


async def _in_files(postgres: Postgres, database: str) -> dict[str, list[str]]:
    """What is in the files of a database, once the dead rows are gone from them."""
    name = urlsplit(database).path.removeprefix("/")
    admin = await asyncpg.connect(postgres.server.superuser_dsn(name))
    for table in ("", "pg_catalog.pg_statistic"):
        await admin.execute(f"VACUUM FULL {table}")
    await admin.execute("CHECKPOINT")
    folder = await admin.fetchval(
        "SELECT current_setting('data_directory') || '/base/' || oid FROM pg_database WHERE datname = $1", name
    )
    await admin.close()
    return await asyncio.to_thread(_files_with, Path(folder), list(TRACES.values()))


def _files_with(folder: Path, words: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    for file in folder.iterdir():
        content = file.read_bytes().lower()
        if inside := [word for word in words if word.encode() in content]:
            found[file.name] = inside
    return found


async def test_a_dry_run_tells_and_changes_nothing(crm: Crm, database: str) -> None:
    await _fill(crm)
    before = await asyncio.to_thread(dump, database)
    report = await erased(crm, dry_run=True)
    assert (report.emails["whole"], report.emails["part"]) == (1, 2)
    assert report.left["crm.party"]
    assert _rows(await asyncio.to_thread(dump, database)) == _rows(before)


def _rows(dumped: bytes) -> list[bytes]:
    return sorted(line for line in dumped.splitlines() if line.startswith(b"INSERT"))


async def test_what_is_the_crms_own_is_counted_and_kept(crm: Crm) -> None:
    await crm.record("contact", BERTA)
    report = await erased(crm)
    assert report.is_clean
    assert {table: number for table, number in report.crms.items() if number} == {"crm.address": 1, "crm.record": 1}
    assert await crm.value("SELECT count(*) FROM crm.address WHERE address = $1", BERTA) == 1


async def test_an_address_of_a_user_or_none_is_refused_in_words(crm: Crm) -> None:
    await mailbox(crm, "ulla")
    with pytest.raises(Refused, match=r"ulla@example\.com is the address of a user, queue or owner"):
        await erased(crm, "Ulla@example.com")
    with pytest.raises(UnknownName, match="berta is no address"):
        await erased(crm, "berta")


async def test_while_an_email_is_to_be_sent_it_is_refused_in_words(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    email_id = uuid4()
    await crm.execute(
        "INSERT INTO crm.email (id, direction, status, owner_id) VALUES ($1, 'out', 'draft', $2)",
        email_id,
        ulla.owner_id,
    )
    for role, address in (("from", "ulla@example.com"), ("to", BERTA)):
        await crm.execute(
            "INSERT INTO crm.party (email_id, role, address) VALUES ($1, $2, $3)", email_id, role, address
        )
    await crm.execute("UPDATE crm.email SET status = 'pending_send'")
    with pytest.raises(Refused, match=f"email-router outbox cancel {email_id}"):
        await erased(crm)
    await crm.execute("UPDATE crm.email SET status = 'canceled'")
    assert (await erased(crm)).is_clean
    assert await crm.value("SELECT count(*) FROM crm.email") == 0


async def test_with_its_hashes_the_next_copy_is_new(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, mentions=to())
    assert (await erased(crm, forget_hashes=True)).is_clean
    for table in ("message", "message_id", "known_id"):
        assert await crm.value(f"SELECT count(*) FROM router.{table} WHERE email_id IS NOT NULL") == 0
    assert await crm.value("SELECT count(*) FROM router.decision WHERE key IS NOT NULL") == 0
    assert await ulla.receive(1, mentions=to()) == "promoted"


async def test_what_comes_meanwhile_is_found_and_what_is_locked_is_said(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, sender=THIRD, text=f"ask {BERTA}")
    async with crm.database.transaction() as connection:
        await connection.execute("SELECT FROM crm.email FOR UPDATE")
        report = await erased(crm)
        assert not report.is_clean
        assert report.left["crm.email"] == 1
    assert (await erased(crm)).is_clean

    async def comes() -> None:
        for number in range(2, 12):
            await ulla.receive(number, mentions=to())

    task = asyncio.create_task(comes())
    await erased(crm)
    await task
    assert (await erased(crm)).is_clean
    assert await crm.value("SELECT count(*) FROM crm.email WHERE message_id <> '1@kunde.test'") == 0


async def test_what_the_crm_needs_is_told_and_keeps_nothing_else_from_going(crm: Crm) -> None:
    ulla = await mailbox(crm, "ulla")
    for number in (1, 2, 3):
        await ulla.receive(number, mentions=to())
    for number in (4, 5):
        await ulla.receive(number, sender=THIRD, text=f"ask {BERTA}")
    await crm.execute("CREATE TABLE public.note (email_id uuid REFERENCES crm.email)")
    await crm.execute("INSERT INTO public.note VALUES ($1)", await promoted(crm, 2))
    await crm.execute(
        "ALTER TABLE crm.email ADD CONSTRAINT held CHECK (message_id <> '4@kunde.test' OR text_body ~ 'ask b')"
    )
    await crm.execute(
        f"INSERT INTO crm.event (kind, details) SELECT 'promoted', '[\"{BERTA}\"]' FROM generate_series(1, 9)"
    )
    report = await erased(crm)
    assert not report.is_clean
    assert report.left == {**dict.fromkeys(report.left, 0), "crm.party": 1, "crm.email": 2}
    assert len(report.faults) == 2
    assert "note_email_id_fkey" in str(report.faults)
    await crm.execute("DELETE FROM public.note; ALTER TABLE crm.email DROP CONSTRAINT held")
    assert (await erased(crm)).is_clean


async def test_by_command(crm: Crm, database: str, tmp_path: Path) -> None:
    ulla = await mailbox(crm, "ulla")
    await ulla.receive(1, mentions=to())
    await crm.record("contact", BERTA)

    async def ask(*arguments: str) -> tuple[int | None, str]:
        environment = {"EMAIL_ROUTER_DATABASE_URL": database, "EMAIL_ROUTER_PROFILES": str(tmp_path)}
        process = await email_router(
            "erase", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=os.environ | environment,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    status, out = await ask("Berta@XN--BRO-HOA.test", "--dry-run")
    assert status == 0
    assert "1 email would go whole, of 0 emails a part" in out
    assert (await ask(BERTA))[0] == 2  # nobody said yes
    assert await crm.value("SELECT count(*) FROM crm.email") == 1
    status, out = await ask(BERTA, "--yes")
    assert status == 0
    assert "1 email went whole, of 0 emails a part" in out
    assert "crm.address: 1 row still names it, kept on purpose" in out
    assert await crm.value("SELECT count(*) FROM crm.email") == 0
    status, out = await ask(BERTA, "--yes", "--json")
    assert status == 0
    assert json.loads(out)["removed"] == {}
    assert "crm.email" in json.loads(out)["searched"]
    status, out = await ask("ulla@example.com", "--yes")
    assert status == 1
    assert "erase is for people outside" in out


async def test_an_attachment_that_comes_behind_the_search_is_found(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    ulla = await mailbox(crm, "ulla")
    about = Attachment("about.txt", "text/plain", f"ask {BERTA}".encode())
    count = mentions.count

    async def comes(*arguments: Any) -> int:
        if not await crm.value("SELECT count(*) FROM router.decision"):
            await ulla.receive(1, sender=THIRD, attachments=(about,))
        return await count(*arguments)

    monkeypatch.setattr(mentions, "count", comes)
    report = await erased(crm)
    assert report.is_clean
    assert report.removed["crm.blob"] == 1
    assert await crm.value("SELECT count(*) FROM crm.blob") == 0


async def test_broken_off_it_is_taken_up(crm: Crm) -> None:
    ulla = await _fill(crm)
    for steps in range(1, 60, 7):
        left = steps

        def stop(_: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise asyncio.CancelledError

        try:
            await erase(crm.database, Asked(BERTA, "ann"), stop)
        except asyncio.CancelledError:
            continue
        break
    report = await erased(crm)
    assert report.is_clean
    email_id = await crm.value("SELECT email_id FROM router.taken_back")
    assert "too late" in str((await restore(crm.database, email_id, ulla.owner_id, "ann")).fault)


@pytest.mark.parametrize(
    ("text", "names_it"),
    [
        ("berta@büro.test", True),
        ("<BERTA@BÜRO.test>", True),
        ("mailto:berta@büro.test.", True),
        ("to=berta%40büro.test&x", True),
        ("%3Cberta%40xn--bro-hoa.test%3E", True),
        ("to=berta%40b%C3%BCro.test", True),
        ("berta&#64;büro.test", True),
        ("<bounce-berta=büro.test@list.test>", True),
        ("„berta@büro.test“", True),
        ("\nberta@büro.test\n", True),
        ("berta@xn--bro-hoa.test", True),
        ("a_berta@büro.test", False),
        ("alberta@büro.test", False),
        ("x.berta@büro.test", False),
        ("überta@büro.test", False),
        ("berta+x@büro.test", False),
        ("berta@büro.test.net", False),
        ("berta@büro.tests", False),
        ("berta@büro.test-site.net", False),
        ("berta at büro.test", False),
    ],
)
async def test_an_address_is_found_as_a_whole_in_python_and_in_sql(crm: Crm, text: str, *, names_it: bool) -> None:
    named = Named(BERTA)
    assert named.in_text(text) is names_it
    for written in (text, f"so {text} so", f'"{text}"'):
        assert named.in_text(written) is names_it, written
        for value in ("$1::text", "to_jsonb($1::text)::text", "ARRAY[$1::text]::text"):
            sql = f"SELECT strpos(lower({value}), $3) > 0 AND {value} ~* $2"
            assert await crm.value(sql, written, named.pattern, named.part) is names_it, (written, value)


@pytest.mark.parametrize("address", ['"a b"@x.test', "o'hara+x@x.test", "a.b*c@x-y.test", "info@x.test"])
async def test_any_address_is_found_in_json(crm: Crm, address: str) -> None:
    named = Named(address)
    assert await crm.value("SELECT jsonb_build_object('k', $1::text)::text ~* $2", f"<{address}>", named.pattern)
    assert named.in_text(json.dumps(f"<{address}>"))
