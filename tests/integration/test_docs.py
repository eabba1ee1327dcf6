"""The SQL of the pages runs as it stands, as the CRM's role, from top to bottom, and does what they say."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).parents[2]


def examples(page: str, language: str = "sql") -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found
    return found


@pytest.fixture
async def crm(database: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """A connection with the rights of a CRM, where the README's examples were run and Ann was approved."""
    connection = await asyncpg.connect(database)
    await connection.execute("GRANT email_router_crm TO CURRENT_USER")
    naming, sending = examples("README.md")
    for example in (naming, sending):
        await connection.execute("SET ROLE email_router_crm")
        await connection.execute(example)
        await connection.execute("RESET ROLE; UPDATE crm.owner SET approved = true")
    await connection.execute("SET ROLE email_router_crm")
    yield connection
    await connection.close()


async def test_the_readme_names_an_owner_and_sends(crm: "asyncpg.Connection[asyncpg.Record]") -> None:
    assert await crm.fetchval("SELECT mailbox FROM crm.owner") == "ann@example.com"
    addresses = await crm.fetch("SELECT address FROM crm.address ORDER BY address")
    assert [row["address"] for row in addresses] == ["ann@example.com", "karl@kunde.example"]
    assert await crm.fetchval("SELECT status FROM crm.email") == "pending_send"


async def test_the_examples_for_developers_run(crm: "asyncpg.Connection[asyncpg.Record]") -> None:
    read = []
    for example in examples("docs/database.md"):
        if example.startswith("SELECT"):
            read.append([tuple(row) for row in await crm.fetch(example.rstrip(";\n"))])
        else:
            await crm.execute(example)
    moves, progress, batch, bounced, parties, of_record, thread, attachments, receipts, unresolved, candidates = read
    assert ("draft", "pending_send", True) in moves
    assert progress == [("pending_send", 2, 0, 0, 0, 0, 0, 0, "turn", "its turn comes", None)]
    assert batch == [(1, 1, 0, 0, 0, 0, 0, 0, False, 0, 0)]
    assert bounced == []
    assert [role for role, *_ in parties] == ["cc", "from", "to"]
    assert [subject for *_, subject in of_record] == ["The prices"]
    assert [(subject, text) for _, _, subject, text in thread] == [
        ("The prices", "Dear Berta, here they are."),
        ("Re: The prices", "One more thing: …"),
    ]
    assert attachments == [("prices.csv", "text/csv", 24, "identity", b"item,price\nbicycle,1190\n")]
    assert receipts == []  # it was sent
    assert unresolved == candidates == []
    rulings = await crm.fetch("SELECT kind, in_force FROM crm.ruling ORDER BY id")
    assert [tuple(row) for row in rulings] == [("resolve", False), ("ignore-sender", True)]
    assert await crm.fetchval("SELECT count(*) FROM crm.email WHERE status = 'pending_send'") == 3


async def test_records_and_addresses_may_be_views(crm: "asyncpg.Connection[asyncpg.Record]") -> None:
    await crm.execute("""
        RESET ROLE;
        CREATE TABLE public.customers (id uuid DEFAULT gen_random_uuid(), full_name text, email text,
            archived boolean DEFAULT false, created_at timestamptz DEFAULT now());
        INSERT INTO public.customers (full_name, email) VALUES ('Carla', 'Carla@Kunde.example'), ('Nobody', NULL);
    """)
    for example in examples("docs/database.md", "postgresql"):
        await crm.execute(example)
    await crm.execute("SET ROLE email_router_crm")
    found = await crm.fetch("SELECT r.name, a.address FROM crm.record AS r JOIN crm.address AS a ON a.record_id = r.id")
    assert [tuple(row) for row in found] == [("Carla", "carla@kunde.example")]
