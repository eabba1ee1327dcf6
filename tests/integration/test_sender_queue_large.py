"""A hundred thousand who wait cost a page what a hundred do: what each query visits is read from its plan."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from router.operations.queue import Seen, pages, ruling
from router.repository.database import Database
from router.repository.senders import fold, mail, search
from router.repository.senders.fold import EVERYBODY
from router.repository.senders.pages import Place
from tests.support.crm import Crm
from tests.support.flood import Lent, cost, cost_of
from tests.support.senders import Senders

ONE, HALF = "one@one.test", "@half.test"
FEW, MANY = 200, 8_000
OTHER = UUID(int=7)

# One sender with as many emails as there are senders; half of the senders of one domain, the others each of another.
_FILL = """
    TRUNCATE router.sender_mail, router.sender_waiting, router.sender_part, router.sender_total, router.sender_words;
    CREATE TEMPORARY TABLE filled AS
        SELECT o.owner_id, lpad(to_hex(n), 32, '0')::uuid AS email_id, now() - n * interval '1 second' AS at, n,
            CASE k WHEN 1 THEN 'one@one.test' WHEN 2 THEN 's' || n || '@half.test'
                ELSE 's' || n || '@d' || n || '.test' END AS address, k
        FROM unnest($owners::uuid[]) AS o (owner_id), generate_series(1, $number) AS n
        CROSS JOIN LATERAL (SELECT CASE WHEN n % 2 = 0 THEN 1 WHEN n % 4 = 1 THEN 2 ELSE 3 END AS k) AS k;
    INSERT INTO router.sender_mail (email_id, owner_id, address, received_at, machine)
        SELECT email_id, owner_id, address, at, false FROM filled;
    INSERT INTO router.sender_waiting (owner_id, address, domain, part, number, latest_at, latest_id, oldest_at)
        SELECT owner_id, address, router.domain_of(address), '@' || router.domain_of(address), count(*), max(at),
            (array_agg(email_id ORDER BY at DESC))[1], min(at) FROM filled GROUP BY owner_id, address;
    INSERT INTO router.sender_part (owner_id, part, aside, senders, number, latest_at, oldest_at)
        SELECT owner_id, part, false, count(*), sum(number), max(latest_at), min(oldest_at)
        FROM router.sender_waiting GROUP BY owner_id, part;
    INSERT INTO router.sender_total (owner_id, part, senders, number)
        SELECT owner_id, '', count(*), sum(number) FROM router.sender_waiting GROUP BY owner_id;
    INSERT INTO router.sender_words (email_id, words)
        SELECT DISTINCT email_id,
            to_tsvector('simple', 'common n' || n || CASE WHEN n > $number / 2 THEN ' old' ELSE '' END)
        FROM filled;
    DROP TABLE filled;
    ANALYZE router.sender_mail; ANALYZE router.sender_waiting; ANALYZE router.sender_part; ANALYZE router.sender_words;
"""


async def fill(crm: Crm, owners: list[UUID], number: int) -> None:
    written = "'{" + ",".join(map(str, owners)) + "}'"
    await crm.admin.execute(_FILL.replace("$owners", written).replace("$number", str(number)))


Work = Callable[[Database], Awaitable[object]]


def work_of(number: int, owner_id: UUID) -> dict[str, Work]:
    """What pages ask, from the beginning and from the middle, by all filters and limits."""
    middle = datetime.now(UTC) - timedelta(seconds=number // 2)
    found: dict[str, Work] = {}
    views: dict[str, Seen] = {"all": None, "own": frozenset((owner_id,)), "two": frozenset((owner_id, OTHER))}
    for name, seen in views.items():
        found |= {
            f"groups {name}": partial(pages.groups, seen=seen),
            f"groups on {name}": partial(pages.groups, seen=seen, after=Place(middle, "@d7.test")),
            f"old {name}": partial(pages.groups, seen=seen, older_than=timedelta(seconds=number // 2)),
            f"senders {name}": partial(pages.senders, seen=seen, part=HALF),
            f"senders on {name}": partial(pages.senders, seen=seen, part=HALF, after=Place(middle, "s7@half.test")),
            f"domain {name}": partial(pages.senders_of, seen=seen, domain="half.test"),
            f"reason {name}": partial(pages.senders_of, seen=seen, reason="nobody"),
            f"reason on {name}": partial(
                pages.senders_of, seen=seen, reason="nobody", after=Place(middle, "s7@half.test")
            ),
            f"mails {name}": partial(
                mail.list_of_sender, seen=seen, address=ONE, before=(middle, UUID(int=7)), limit=20
            ),
            f"counts {name}": partial(
                pages.counts, seen=seen, ages=[timedelta(0), timedelta(seconds=number // 2), timedelta(days=1)]
            ),
            f"rare {name}": partial(search.search_mail, seen=seen, text="n77", before=None, limit=50),
            f"ask {name}": partial(ruling.ask, seen=seen, subject=ONE),
        }
    return found


async def test_a_page_costs_the_same_however_many_wait(crm: Crm, senders: Senders) -> None:
    owners = [EVERYBODY, senders.owner_id, OTHER]
    costs: list[dict[str, int]] = []
    for number in (FEW, MANY):
        await fill(crm, owners, number)
        costs.append({})
        for what, work in work_of(number, senders.owner_id).items():
            found = await cost_of(senders.database, work)
            costs[-1][what] = found.pages
            scans = {scan for scan, rows in found.rows.items() if scan.startswith("Seq Scan") and rows > FEW}
            assert number == FEW or not scans, (what, found.rows)
            # A search, and what a ruling touches, read up to 2,000; any page but a hundred of each owner.
            assert max(found.rows.values()) <= (3000 if what.split()[0] in ("ask", "rare") else 700), (what, found.rows)
    few, many = costs
    assert {what: (few[what], many[what]) for what in few if many[what] > few[what] * 2 + 1500} == {}


async def test_a_sender_costs_the_same_however_many_mailboxes_and_emails_of_others_there_are(
    crm: Crm, senders: Senders
) -> None:
    """Put in order, few rows are as quickly found in an index of the whole table, the planner believes."""
    [email_id] = await senders.write(ONE)
    await senders.write("two@one.test")
    await fold.fold(senders.database)
    asked: dict[str, Work] = {
        "ask": partial(ruling.ask, seen=None, subject=ONE),
        "ask of the domain": partial(ruling.ask, seen=None, subject="@one.test"),
        "mail": partial(mail.read_mail, seen=None, email_id=email_id),
        "groups": partial(pages.groups, seen=None),
        "changed": partial(pages.changed, seen=None, addresses=[ONE]),
    }
    few = {what: await cost_of(senders.database, work) for what, work in asked.items()}
    await crm.admin.execute(
        """
        ALTER TABLE crm.email DISABLE TRIGGER USER;
        ALTER TABLE crm.party DISABLE TRIGGER USER;
        INSERT INTO crm.record (id, kind) SELECT md5(n::text)::uuid, 'user' FROM generate_series(1, 3000) AS n;
        INSERT INTO crm.owner (record_id, mailbox) SELECT md5(n::text)::uuid, 'a' || n || '@in.test'
            FROM generate_series(1, 3000) AS n;
        CREATE TEMPORARY TABLE filled AS SELECT gen_random_uuid() AS id, n FROM generate_series(1, 5000) AS n;
        INSERT INTO crm.email (id, direction, status, subject) SELECT id, 'in', 'received', 'other' FROM filled;
        INSERT INTO crm.party (email_id, role, position, address) SELECT id, 'from', 0, 'o' || n || '@other.test'
            FROM filled;
        ANALYZE crm.owner; ANALYZE crm.email; ANALYZE crm.party;
        """
    )
    for what, work in asked.items():
        many = await cost_of(senders.database, work)
        # Indexes are deeper by a level.
        assert many.pages <= few[what].pages * 1.5 + 60, (what, few[what], many)
        assert max(many.rows.values()) <= max(few[what].rows.values()) + 10, (what, many.rows)


async def test_of_a_long_text_a_page_has_the_beginning(senders: Senders) -> None:
    """Made into a page, megabytes would hold up whatever else the router does."""
    [email_id] = await senders.write(ONE, text="word " * 1_000_000)
    [short] = await senders.write(ONE, text="word")
    found = await mail.read_mail(senders.database, None, email_id)
    assert found is not None
    assert (len(found.text or ""), found.is_cut) == (200_000, True)
    found = await mail.read_mail(senders.database, None, short)
    assert found is not None
    assert (found.text, found.is_cut) == ("word", False)


async def test_a_common_word_is_looked_for_among_a_bounded_number_at_once(crm: Crm, senders: Senders) -> None:
    await fill(crm, [EVERYBODY], MANY)

    async def find(text: str, before: tuple[datetime, UUID] | None = None) -> search.FoundPage:
        return await search.search_mail(senders.database, None, text, before=before, limit=50)

    first = await find("common")
    assert [one.email_id for one in first.mails] == [UUID(int=n) for n in range(1, 51)]
    assert (await find("common", first.goes_on)).mails[0].email_id == UUID(int=51)
    # In many emails, and in none of the newest: pages are short until it is found.
    page, asked = await find("old"), 1
    while not page.mails:
        assert page.goes_on is not None
        page, asked = await find("old", page.goes_on), asked + 1
    assert page.mails[0].email_id == UUID(int=MANY // 2 + 1)
    assert asked == MANY // 2 // 3000 + 1
    found = await cost_of(
        senders.database, lambda database: search.search_mail(database, None, "old", before=None, limit=50)
    )
    assert max(found.rows.values()) <= 3001, found.rows


async def visited(database: Database, work: Work) -> tuple[Counter[str], int]:
    """What all statements of some work visit, those that write, too; it is rolled back."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    async with database.rolled_back() as connection:
        with connection.query_logger(lambda record: asked.append((record.query, record.args))):
            await work(Lent(connection))
            await asyncio.sleep(0)  # the loggers are called then
    rows, read = Counter[str](), 0
    async with database.rolled_back() as connection:
        for query, arguments in asked:
            if query.lstrip().startswith("SET"):
                await connection.execute(query)
            else:
                found = await cost(connection, query, *arguments)
                rows += found.rows
                read += found.pages
    return rows, read


async def test_folding_an_email_costs_the_same_however_many_wait(crm: Crm, senders: Senders) -> None:
    costs = []
    for number in (FEW, MANY):
        await fill(crm, [EVERYBODY, senders.owner_id], number)
        await senders.write(ONE)
        await senders.write("new@half.test")
        rows, read = await visited(senders.database, fold.fold)
        assert not {scan for scan, visits in rows.items() if visits > FEW}, rows
        costs.append(read)
        await crm.admin.execute("DELETE FROM router.sender_change")
    assert costs[1] <= costs[0] * 1.5 + 200, costs


async def test_a_record_is_found_by_an_index_however_many_there_are(crm: Crm, senders: Senders) -> None:
    await crm.admin.execute(
        """
        CREATE TEMPORARY TABLE filled AS
            SELECT lpad(to_hex(n), 32, '0')::uuid AS id, n FROM generate_series(1, 1500) AS n;
        INSERT INTO crm.record (id, kind, name) SELECT id, 'contact', 'Lena Kestrel n' || n || ' GmbH' FROM filled;
        INSERT INTO crm.address (address, record_id) SELECT 'u' || n || '@firm' || n % 100 || '.test', id FROM filled;
        ANALYZE crm.record; ANALYZE crm.address;
        """
    )
    for typed in ("l", "le", "lena", "lena kes", "firm7", "u77@firm", "gmbh n7", "no such"):
        for kinds in (None, ["contact"], ["lead"]):
            asked = partial(pages.records, text=typed, kinds=kinds)
            found = await cost_of(senders.database, asked)
            scans = {scan: rows for scan, rows in found.rows.items() if not scan.startswith("Bitmap Index")}
            assert not any(scan.startswith("Seq Scan on") for scan in scans), (typed, scans)
            most = 2000 if len(typed) < 3 else 250
            assert max(scans.values(), default=0) <= most, (typed, kinds, scans)


async def test_a_record_of_a_view_is_found_by_the_indexes_that_the_page_names(crm: Crm, senders: Senders) -> None:
    await crm.admin.execute(
        """
        CREATE TABLE public.customers (id uuid PRIMARY KEY, full_name text, email text);
        INSERT INTO public.customers
            SELECT lpad(to_hex(n), 32, '0')::uuid, 'Lena Kestrel n' || n, 'u' || n || '@firm.test'
            FROM generate_series(1, 1500) AS n;
        CREATE INDEX ON public.customers USING gin (crm.record_words(full_name, 'contact'));
        CREATE INDEX ON public.customers (crm.plain_words(left(full_name, 50)) COLLATE "C");
        CREATE INDEX ON public.customers USING gin (crm.address_words(crm.normalise(email)));
        DROP TABLE crm.address, crm.record;
        CREATE VIEW crm.record AS SELECT id, 'contact' AS kind, full_name AS name, NULL::uuid AS owner_id,
            true AS active, '{}'::jsonb AS attributes, now() AS created_at FROM public.customers;
        CREATE VIEW crm.address AS SELECT crm.normalise(email) AS address, id AS record_id FROM public.customers;
        ANALYZE public.customers;
        """
    )
    for typed, number in (("le", 10), ("lena n77", 10), ("u77@firm", 10), ("no such", 0)):
        asked = partial(pages.records, text=typed)
        assert len(await asked(senders.database)) == number, typed
        found = await cost_of(senders.database, asked)
        assert not any(scan.startswith("Seq Scan on") for scan in found.rows), (typed, found.rows)
    await senders.write(ONE)
    await fold.fold(senders.database)
    with pytest.raises(ruling.Refused, match="the CRM keeps its records elsewhere"):
        await ruling.create(senders.database, None, ONE, ruling.NewRecord("contact", "One"), "ann", None)
