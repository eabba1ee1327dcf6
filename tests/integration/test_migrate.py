import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from router.errors import DatabaseError, MigrationError
from router.model import message_id_hash
from router.repository import migrate as migrating
from router.repository.migrate import _LOCK, migrate
from router.repository.schema import MIGRATIONS
from tests.support.databases import Postgres


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    """The DSN of a database that was never migrated."""
    name = postgres.clone("template0", original=False)
    yield postgres.dsn(name)
    postgres.drop(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE router.a (n int);\nINSERT INTO router.a VALUES (1);\n")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO router.a VALUES (2);\n")
    return tmp_path


async def numbers(dsn: str) -> list[int]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch("SELECT n FROM router.a ORDER BY n")]
    finally:
        await connection.close()


async def test_applies_what_is_missing_in_order(empty: str, folder: Path) -> None:
    assert await migrate(empty, folder) == ["0001_first", "0002_second"]
    assert await migrate(empty, folder) == []
    (folder / "0003_third.sql").write_text("INSERT INTO router.a SELECT max(n) + 1 FROM router.a")
    assert await migrate(empty, folder) == ["0003_third"]
    connection = await asyncpg.connect(empty)
    rows = await connection.fetch("SELECT version, name, applied_at <= now() AS past FROM router.migration ORDER BY 1")
    await connection.close()
    assert [tuple(row) for row in rows] == [(1, "first", True), (2, "second", True), (3, "third", True)]
    assert await numbers(empty) == [1, 2, 3]


async def test_of_a_new_database_one_line_is_told_and_later_one_for_each_migration(empty: str, folder: Path) -> None:
    told = []
    for more in (None, "INSERT INTO router.a VALUES (3);\n"):
        if more:
            (folder / "0003_third.sql").write_text(more)
        with structlog.testing.capture_logs() as log:
            await migrate(empty, folder)
        told.append([one for one in log if (one["event"], one["log_level"]) == ("migrated", "info")])
    [[new], [later]] = told
    assert (new["migrations"], new["last"]) == (2, "0002_second")
    assert later["migration"] == "0003_third"


async def test_many_at_once_apply_each_migration_once(empty: str, folder: Path) -> None:
    applied = await asyncio.gather(*(migrate(empty, folder) for _ in range(8)))
    assert sorted(name for names in applied for name in names) == ["0001_first", "0002_second"]
    assert await numbers(empty) == [1, 2]


async def test_a_failing_migration_leaves_nothing_and_names_its_line(empty: str, folder: Path) -> None:
    (folder / "0003_bad.sql").write_text("INSERT INTO router.a VALUES (3);\n\nINSERT INTO router.b VALUES (3);\n")
    with pytest.raises(MigrationError, match=r"migration 0003_bad, line 3: .*router\.b.* \(SQLSTATE 42P01\)"):
        await migrate(empty, folder)
    assert await numbers(empty) == [1, 2]
    (folder / "0003_bad.sql").write_text("INSERT INTO router.a VALUES (4);")
    assert await migrate(empty, folder) == ["0003_bad"]
    assert await numbers(empty) == [1, 2, 4]


async def test_after_a_failure_nobody_holds_the_lock(empty: str, folder: Path) -> None:
    (folder / "0003_bad.sql").write_text("SELECT nothing()")
    with pytest.raises(MigrationError):
        await migrate(empty, folder)
    (folder / "0003_bad.sql").unlink()
    assert await asyncio.wait_for(migrate(empty, folder), 30) == []
    connection = await asyncpg.connect(empty)
    await asyncio.wait_for(connection.execute("SELECT pg_advisory_lock($1)", _LOCK), 30)
    await connection.close()


async def test_refuses_a_database_newer_than_the_program(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match="is at migration 0002_second, and this program knows 1"):
        await migrate(empty, folder)


async def test_refuses_a_changed_file(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE router.a (n bigint);")
    with pytest.raises(MigrationError, match="0001_first was changed after it was applied"):
        await migrate(empty, folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("0004_gap.sql", "0003 is missing, or there twice: the next one is 0004_gap"),
        ("0002_twice.sql", "0003 is missing, or there twice: the next one is 0002_twice"),
        ("3_short.sql", r"3_short\.sql is not a migration's name"),
    ],
)
async def test_refuses_files_that_are_not_a_sequence(empty: str, folder: Path, name: str, words: str) -> None:
    (folder / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=words):
        await migrate(empty, folder)


async def test_refuses_a_gap_in_the_database(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    connection = await asyncpg.connect(empty)
    await connection.execute("DELETE FROM router.migration WHERE version = 1")
    await connection.close()
    with pytest.raises(MigrationError, match="0001_first was never applied, but 0002_second was"):
        await migrate(empty, folder)


async def test_refuses_another_encoding(postgres: Postgres, folder: Path) -> None:
    admin = await asyncpg.connect(postgres.server.superuser_dsn("postgres"))
    await admin.execute(
        "CREATE DATABASE latin OWNER email_router TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    )
    with pytest.raises(MigrationError, match="encoded in LATIN1"):
        await migrate(postgres.dsn("latin"), folder)
    await admin.execute("DROP DATABASE latin")
    await admin.close()


async def test_refuses_an_old_server(empty: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no PostgreSQL 14 at hand; a future minimum stands for it.
    monkeypatch.setattr("router.repository.migrate.OLDEST", 99)
    with pytest.raises(MigrationError, match="99 is the oldest"):
        await migrate(empty, folder)


async def test_says_which_right_is_missing(postgres: Postgres, empty: str, folder: Path) -> None:
    admin = await asyncpg.connect(postgres.server.superuser_dsn("postgres"))
    name = empty.partition("///")[2].partition("?")[0]
    await admin.execute(f"ALTER DATABASE {name} OWNER TO postgres")
    with pytest.raises(MigrationError, match="making the schema router: permission denied"):
        await migrate(empty, folder)
    await admin.close()


async def test_a_schema_that_is_up_to_date_needs_no_right_to_change_it(
    postgres: Postgres, empty: str, folder: Path
) -> None:
    await migrate(empty, folder)
    name = empty.partition("///")[2].partition("?")[0]
    admin = await asyncpg.connect(postgres.server.superuser_dsn(name))
    await admin.execute(f"ALTER DATABASE {name} OWNER TO postgres")
    assert await migrate(empty, folder) == []
    await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)  # nor does it wait for another who migrates
    assert await asyncio.wait_for(migrate(empty, folder), 30) == []
    await admin.close()


async def waits_for_a_lock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Return once some session of this database waits for a lock on a table."""
    query = """SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
        WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()"""
    async with asyncio.timeout(30):
        while not await connection.fetchval(query):
            await asyncio.sleep(0.02)


async def test_a_migration_that_waits_for_a_lock_gives_way_and_is_tried_again(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    (folder / "0003_wider.sql").write_text("ALTER TABLE router.a ADD COLUMN m int")
    holder = await asyncpg.connect(empty, server_settings={"application_name": "a CRM"})
    other = await asyncpg.connect(empty)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM router.a")
    with structlog.testing.capture_logs() as log:
        task = asyncio.create_task(migrate(empty, folder))
        await waits_for_a_lock(other)
        # Whoever comes now waits behind the migration, and no longer than it does.
        async with asyncio.timeout(10):
            assert await other.fetchval("SELECT count(*) FROM router.a") == 2
        assert not task.done()
        async with asyncio.timeout(30):
            while not log:
                await asyncio.sleep(0.02)
        await transaction.rollback()
        assert await asyncio.wait_for(task, 60) == ["0003_wider"]
    told = next(line for line in log if line["log_level"] == "warning")
    assert told["event"] == "a migration gives way and is tried again: what it has to lock is held"
    assert told["migration"] == "0003_wider"
    assert (
        f"PostgreSQL process {holder.get_server_pid()} (email_router, a CRM, idle in transaction, since 2"
        in (told["held_by"])
    )
    await holder.close()
    await other.close()


async def test_a_migration_that_never_gets_its_lock_ends_and_names_who_holds_it(
    empty: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "_GIVES_WAY", "400ms")
    monkeypatch.setattr(migrating, "_LOOK", 0.05)
    monkeypatch.setattr(migrating, "_TRIES_FOR", 1.0)
    await migrate(empty, folder)
    (folder / "0003_wider.sql").write_text("ALTER TABLE router.a ADD COLUMN m int")
    holder = await asyncpg.connect(empty)
    async with holder.transaction():
        await holder.execute("SELECT FROM router.a")
        with pytest.raises(
            MigrationError,
            match=rf"migration 0003_wider gave way for .*, since what it has to lock is held by PostgreSQL process "
            rf"{holder.get_server_pid()} .*: end that, and try again .*SQLSTATE 55P03",
        ):
            await migrate(empty, folder)
    await holder.close()
    assert await migrate(empty, folder) == ["0003_wider"]


CONCURRENTLY = """\
-- no transaction
DROP INDEX CONCURRENTLY IF EXISTS router.a_n;

CREATE UNIQUE INDEX CONCURRENTLY a_n
    ON router.a (n);
"""


async def test_without_a_transaction_an_index_is_made_while_others_write(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    (folder / "0003_index.sql").write_text(CONCURRENTLY)
    connection = await asyncpg.connect(empty)
    await connection.execute("INSERT INTO router.a VALUES (1)")
    # What is broken off leaves an index that is not valid.
    with pytest.raises(
        MigrationError, match=r"migration 0003_index: could not create unique index .*\(SQLSTATE 23505\)"
    ):
        await migrate(empty, folder)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('router.a_n')"
    assert await connection.fetchval(valid) is False
    await connection.execute("DELETE FROM router.a WHERE ctid = (SELECT max(ctid) FROM router.a)")
    # The second who migrates waits for the first, which waits for all sessions with a snapshot: not for that one.
    applied = await asyncio.wait_for(asyncio.gather(migrate(empty, folder), migrate(empty, folder)), 60)
    assert sorted(applied) == [[], ["0003_index"]]
    assert await connection.fetchval(valid) is True
    await connection.close()


async def test_without_a_transaction_a_fault_has_its_line_too(empty: str, folder: Path) -> None:
    (folder / "0003_index.sql").write_text(CONCURRENTLY.replace("    ON router.a", "    ON router.none"))
    with pytest.raises(MigrationError, match=r'migration 0003_index: relation "router\.none" does not exist'):
        await migrate(empty, folder)
    (folder / "0003_index.sql").write_text(CONCURRENTLY.replace("    ON router.a", "    UPON router.a"))
    with pytest.raises(MigrationError, match=r'migration 0003_index, line 5: syntax error at or near "UPON"'):
        await migrate(empty, folder)


async def test_says_that_the_database_cannot_be_reached(postgres: Postgres, folder: Path) -> None:
    with pytest.raises(
        DatabaseError, match=r'cannot connect to the database: /.*/run:5432: database "absent" does not exist'
    ):
        await migrate(postgres.dsn("absent"), folder)


async def test_emails_that_were_imported_before_are_known_by_their_ids_after(empty: str, tmp_path: Path) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql")):
        if file.name.endswith("_known_ids.sql"):
            break
        shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    await connection.execute(
        """
        INSERT INTO crm.email (direction, status, subject, message_id, created_at) VALUES
            ('out', 'sent', 'first', 'a@example.com', '2026-01-01'),
            ('in', 'received', 'copy', 'a@example.com', '2026-01-02'),
            ('in', 'received', 'answer', 'b@example.com', now()), ('out', 'draft', 'draft', 'c@example.com', now()),
            ('out', 'sent', 'relayed', 'd@example.com', now()), ('out', 'sent', 'other', 'e@example.com', now())
        """
    )
    await connection.executemany(
        "INSERT INTO router.message_id (hash, email_id) SELECT $1, (SELECT id FROM crm.email WHERE subject = $2)",
        [(message_id_hash("b@example.com"), None), (message_id_hash("d@example.com"), "other")],
    )
    await migrate(empty)
    rows = await connection.fetch("SELECT subject FROM router.message_id JOIN crm.email AS e ON e.id = email_id")
    assert sorted(row["subject"] for row in rows) == ["answer", "first", "other", "other"]
    await connection.close()


async def test_t16c_sources_are_carried_over_to_what_they_are_known_by(empty: str, tmp_path: Path) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql")):
        if file.name < "0013":
            shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    await connection.execute(
        """
        INSERT INTO router.source (profile, mailbox, folder, begins_at, cursor, process_id, fault, changed_at) VALUES
            ('staff', 'ann@in.test', 'INBOX', now(), '1:1', gen_random_uuid(), 'away', '2026-01-01'),
            ('ann', 'ann@in.test', 'INBOX', now(), '1:2', gen_random_uuid(), 'away', '2026-02-01'),
            ('staff', 'ann@in.test', 'Kunden', now(), '1:3', NULL, NULL, '2026-01-01'),
            ('sink', '', 'INBOX', now(), '1:4', NULL, NULL, '2026-01-01'),
            ('copies', '', 'INBOX', now(), '1:5', NULL, NULL, '2026-01-01'),
            ('door', '', '', now(), NULL, NULL, NULL, '2026-01-01')
        """
    )
    await migrate(empty)
    rows = await connection.fetch(
        "SELECT identity, account, folder, cursor, process_id IS NOT NULL, fault FROM router.source ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        (None, "incoming.staff", "INBOX", "1:1", False, None),
        ("ann@in.test", "incoming.ann", "INBOX", "1:2", True, "away"),
        ("ann@in.test", "incoming.staff", "Kunden", "1:3", False, None),
        ("incoming.sink", "incoming.sink", "INBOX", "1:4", False, None),
        ("incoming.copies", "incoming.copies", "INBOX", "1:5", False, None),
        ("incoming.door", "incoming.door", "", None, False, None),
    ]
    await connection.close()


async def test_what_status_asks_is_counted_for_what_was_there_before_and_for_what_comes_meanwhile(
    empty: str, tmp_path: Path
) -> None:
    def copy(until: str) -> None:
        for file in sorted(MIGRATIONS.glob("*.sql")):
            if file.name > until:
                break
            shutil.copy(file, tmp_path)

    copy("0011")
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    await connection.execute(
        """
        INSERT INTO crm.record (kind, name) VALUES ('user', 'Ann');
        INSERT INTO crm.owner (record_id, mailbox) SELECT id, 'from@in.test' FROM crm.record;
        INSERT INTO router.source (profile, mailbox, folder, begins_at)
            SELECT 'p', '', f, now() FROM unnest('{a,b}'::text[]) AS f;
        INSERT INTO router.decision (source_id, validity, place, disposition, rule, reasons, received_at)
            SELECT id, '', n::text, CASE n WHEN 1 THEN 'dead' ELSE 'ignored' END, 'all', '{}', now()
            FROM router.source, generate_series(1, 3) AS n;
        INSERT INTO crm.email (direction, status, subject)
            SELECT 'out', 'draft', s FROM unnest('{u,f,s,g}'::text[]) AS s;
        INSERT INTO crm.party (email_id, role, address) SELECT id, r.role, r.role || '@in.test'
            FROM crm.email, (VALUES ('from'), ('to')) AS r (role);
        UPDATE crm.email SET status = 'pending_send';
        INSERT INTO router.attempt (id, email_id, number, process_id) SELECT id, id, 1, id FROM crm.email;
        UPDATE crm.email SET status = 'sending';
        UPDATE crm.email SET status = 'unknown' WHERE subject IN ('u', 'g', 's');
        """
    )
    copy("0012")
    await migrate(empty, tmp_path)
    await connection.execute(
        """
        UPDATE crm.email SET status = 'failed' WHERE subject = 'f';
        UPDATE crm.email SET status = 'sent' WHERE subject = 's';
        DELETE FROM crm.email WHERE subject = 'g';
        DELETE FROM router.decision USING router.source AS s WHERE s.id = source_id AND s.folder = 'b';
        DELETE FROM router.source WHERE folder = 'b';
        """
    )
    await migrate(empty)
    unsent = "SELECT e.subject, u.status FROM router.unsent AS u LEFT JOIN crm.email AS e ON e.id = email_id ORDER BY 1"
    assert [tuple(row) for row in await connection.fetch(unsent)] == [("f", "failed"), ("u", "unknown")]
    await connection.execute("UPDATE crm.email SET status = 'sent' WHERE subject = 'u'")
    assert [tuple(row) for row in await connection.fetch(unsent)] == [("f", "failed")]
    counts = await connection.fetch(
        "SELECT folder, ignored, dead FROM router.source_count JOIN router.source ON id = source_id"
    )
    assert [tuple(row) for row in counts] == [("a", 2, 1)]
    await connection.execute("DELETE FROM crm.email WHERE subject = 'f'")
    assert await connection.fetch(unsent) == []
    await connection.close()


async def test_each_test_has_a_database_of_its_own(database: str, empty: str) -> None:
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT to_regclass('router.migration')::text") == "router.migration"
    await connection.close()
    assert database != empty


async def test_an_invitation_of_before_names_its_organizer(empty: str, tmp_path: Path) -> None:
    files = sorted(MIGRATIONS.glob("*.sql"))
    before = next(number for number, file in enumerate(files) if file.stem.endswith("_organizer"))
    for file in files[:before]:
        shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            """INSERT INTO crm.email (subject, direction, status, calendar) VALUES
                ('a', 'in', 'received', '{"uid": "1", "organiser": "ann@a.example"}'),
                ('b', 'in', 'received', '{"uid": "2", "organiser": null}'),
                ('c', 'in', 'received', NULL),
                ('d', 'out', 'draft', '{"organiser": "of the CRM itself"}')"""
        )
        assert await migrate(empty)
        found = await connection.fetch("SELECT calendar::text FROM crm.email ORDER BY subject")
    finally:
        await connection.close()
    assert [json.loads(row[0]) if row[0] else None for row in found] == [
        {"uid": "1", "organizer": "ann@a.example"},
        {"uid": "2", "organizer": None},
        None,
        {"organiser": "of the CRM itself"},
    ]


async def test_what_was_stored_before_it_was_refused_is_put_right(empty: str, tmp_path: Path) -> None:
    files = sorted(MIGRATIONS.glob("*.sql"))
    before = next(number for number, file in enumerate(files) if file.stem.endswith("_refused"))
    for file in files[:before]:
        shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            """
            INSERT INTO crm.record (kind, name) VALUES ('user', 'Ann');
            INSERT INTO crm.owner (record_id, mailbox, approved) SELECT id, 'ann@in.test', true FROM crm.record;
            INSERT INTO crm.email (subject, direction, status, token, send_after, dated_at, sent_at, received_at) VALUES
                ('a', 'out', 'draft', E'a\r\nBcc: b@in.test', '-infinity', NULL, NULL, NULL),
                ('b', 'out', 'draft', 'abcdefgh', 'infinity', '0044-03-15 12:00 BC', NULL, NULL),
                ('c', 'out', 'sent', NULL, NULL, '2030-01-01 00:00+00', '99999-01-01 00:00+00', NULL),
                ('d', 'in', 'received', NULL, NULL, '9999-12-31 00:00+00', NULL, '2030-01-01 00:00+00');
            INSERT INTO crm.party (email_id, role, address) SELECT id, 'from', 'ann@in.test' FROM crm.email;
            INSERT INTO crm.party (email_id, role, address)
                SELECT id, 'to', repeat('a', 2000) || '@in.test' FROM crm.email;
            INSERT INTO crm.delivery (email_id, address, state) SELECT id, 'a@in.test', 'refused' FROM crm.email;
            """
        )
        await connection.execute("UPDATE crm.email SET status = 'pending_send' WHERE subject = 'b'")
        assert await migrate(empty)
        found = await connection.fetch(
            """
            SELECT e.subject, e.token, e.send_after::date::text, e.dated_at::date::text, e.sent_at::date::text,
                e.received_at::date::text, length(p.address), crm.is_sendable(p.address),
                p.address = crm.normalise(p.address)
            FROM crm.email AS e JOIN crm.party AS p ON p.email_id = e.id AND p.role = 'to' ORDER BY subject
            """
        )
        unchecked = await connection.fetch(
            "SELECT FROM pg_constraint WHERE NOT convalidated AND conname <> 'event_kind'"
        )
        await connection.execute("UPDATE crm.email SET status = 'sending' WHERE subject = 'b'")
    finally:
        await connection.close()
    party = (311, False, True)
    assert [tuple(row) for row in found] == [
        ("a", None, "1970-01-01", None, None, None, *party),
        ("b", "abcdefgh", "2199-12-31", "1970-01-01", None, None, *party),
        ("c", None, None, "2030-01-01", "2199-12-31", None, *party),
        ("d", None, None, "2199-12-31", None, "2030-01-01", *party),
    ]
    assert unchecked == []


async def test_addresses_that_were_stored_quoted_or_in_full_width_are_put_right(empty: str, tmp_path: Path) -> None:
    files = sorted(MIGRATIONS.glob("*.sql"))
    before = next(number for number, file in enumerate(files) if file.stem.endswith("_received_frozen"))
    for file in files[:before]:
        shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            """
            INSERT INTO crm.record (kind, name) VALUES ('user', 'Ann'), ('contact', 'Karl');
            INSERT INTO crm.owner (record_id, mailbox, approved)
                SELECT id, '"ann"@in.test', true FROM crm.record WHERE name = 'Ann';
            INSERT INTO crm.address (address, record_id)
                SELECT a, id FROM crm.record,
                    (VALUES ('"karl"@k.test'), ('karl@k.test'), ('\uff4barl@\uff4b.test')) AS v (a)
                WHERE name = 'Karl';
            INSERT INTO crm.email (subject, direction, status) VALUES ('a', 'in', 'received'), ('b', 'out', 'sent');
            INSERT INTO crm.party (email_id, role, address) SELECT id, 'from', '"karl"@k\u3002test' FROM crm.email;
            INSERT INTO crm.party (email_id, role, address) SELECT id, 'to', '"a b"@k.test' FROM crm.email;
            INSERT INTO crm.delivery (email_id, address, state)
                SELECT id, '"karl"@k.test', 'accepted' FROM crm.email WHERE subject = 'b';
            INSERT INTO router.never_track (pattern, by) VALUES ('"karl"@k.test', 'x'), ('karl@k.test', 'x');
            INSERT INTO router.ruling (kind, subject, by) VALUES ('ignore-sender', '"karl"@k.test', 'x');
            """
        )
        assert await migrate(empty)
        for table, column in (
            ("crm.owner", "mailbox"),
            ("crm.address", "address"),
            ("crm.party", "address"),
            ("crm.delivery", "address"),
            ("router.never_track", "pattern"),
            ("router.ruling", "subject"),
            ("router.unresolved_email", "address"),
        ):
            rows = await connection.fetch(f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")
            expected = {"crm.owner": ["ann@in.test"], "crm.party": ['"a b"@k.test', "karl@k.test"]}
            assert [row[0] for row in rows] == expected.get(table, ["karl@k.test"]), table
    finally:
        await connection.close()


async def test_senders_who_were_unresolved_before_wait_in_the_queue_and_the_crm_may_have_views(
    empty: str, tmp_path: Path
) -> None:
    files = sorted(MIGRATIONS.glob("*.sql"))
    before = next(number for number, file in enumerate(files) if file.stem.endswith("_rulings"))
    for file in files[:before]:
        shutil.copy(file, tmp_path)
    await migrate(empty, tmp_path)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            """
            INSERT INTO crm.email (id, direction, status, correlation_method) VALUES
                ('00000000-0000-0000-0000-000000000001', 'in', 'received', NULL),
                ('00000000-0000-0000-0000-000000000002', 'in', 'received', NULL),
                ('00000000-0000-0000-0000-000000000003', 'in', 'received', 'report'),
                ('00000000-0000-0000-0000-000000000004', 'out', 'draft', NULL);
            INSERT INTO crm.party (email_id, role, position, address, record_id)
                SELECT id, role, 0, 'karl@kunde.test',
                    CASE WHEN id = '00000000-0000-0000-0000-000000000002' THEN gen_random_uuid() END
                FROM crm.email, (VALUES ('from'), ('to')) AS p (role);
            DROP TABLE crm.record, crm.address;
            CREATE VIEW crm.record AS SELECT gen_random_uuid() AS id, 'contact' AS kind, 'Karl' AS name,
                NULL::uuid AS owner_id, true AS active, '{}'::jsonb AS attributes, now() AS created_at;
            CREATE VIEW crm.address AS SELECT 'karl@kunde.test' AS address, gen_random_uuid() AS record_id
            """
        )
        assert await migrate(empty)
        found = await connection.fetch("SELECT email_id::text, address, domain FROM router.unresolved_email")
        indexes = await connection.fetch(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid "
            "AND indexrelid IN (to_regclass('crm.party_unresolved_domain'), to_regclass('crm.record_plain_name'))"
        )
    finally:
        await connection.close()
    assert [tuple(row) for row in found] == [("00000000-0000-0000-0000-000000000001", "karl@kunde.test", "kunde.test")]
    assert [row[0] for row in indexes] == ["crm.party_unresolved_domain"]
