"""What a CRM developer may not do in SQL, and the words that say what to do instead."""

from uuid import UUID

import asyncpg
import pytest

from tests.support.crm import Crm, Parcel

ULLA, KARL = "ulla@in.test", "karl@kunde.test"


@pytest.fixture
async def draft(crm: Crm) -> UUID:
    await crm.owner(ULLA)
    return await crm.draft(ULLA, KARL, "Offer", "Chairs", attachments=[Parcel("a.txt", "text/plain", b"a")])


async def refused(crm: Crm, statement: str, *arguments: object) -> tuple[str, str]:
    """Return the words of the refusal, and the hint."""
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await crm.sql.execute(statement, *arguments)
    return caught.value.args[0], caught.value.hint or ""


@pytest.mark.parametrize("status", ["pending_send", "sending", "failed", "unknown"])
async def test_an_email_does_not_begin_in_the_middle(crm: Crm, status: str) -> None:
    words, hint = await refused(crm, "INSERT INTO crm.email (direction, status) VALUES ('out', $1)", status)
    assert words == f"an outgoing email cannot begin as {status}"
    assert hint == "Insert it as draft, then its crm.party rows, then set status = 'pending_send'."


@pytest.mark.parametrize("status", ["sending", "sent", "failed", "unknown"])
async def test_a_draft_can_only_be_queued_or_canceled(crm: Crm, draft: UUID, status: str) -> None:
    words, hint = await refused(crm, "UPDATE crm.email SET status = $2 WHERE id = $1", draft, status)
    assert words == f"email {draft} cannot go from draft to {status}"
    assert hint == "From here it can go to: canceled, pending_send"


@pytest.mark.parametrize("status", ["sending", "sent", "failed", "unknown"])
async def test_a_pending_email_can_only_be_taken_back(crm: Crm, draft: UUID, status: str) -> None:
    await crm.move(draft, "pending_send")
    words, hint = await refused(crm, "UPDATE crm.email SET status = $2 WHERE id = $1", draft, status)
    assert words == f"email {draft} cannot go from pending_send to {status}"
    assert hint == "From here it can go to: canceled, draft"


@pytest.mark.parametrize("status", ["draft", "pending_send", "sending"])
async def test_sent_is_the_end(crm: Crm, draft: UUID, status: str) -> None:
    for step in ("pending_send", "sending", "sent"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    _, hint = await refused(crm, "UPDATE crm.email SET status = $2 WHERE id = $1", draft, status)
    assert hint == "From here it can go to: nowhere"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE crm.email SET subject = 'Another' WHERE id = $1",
        "UPDATE crm.email SET text_body = 'Another' WHERE id = $1",
        "UPDATE crm.email SET html_body = 'Another' WHERE id = $1",
        "UPDATE crm.email SET correlated_id = gen_random_uuid() WHERE id = $1",
        "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'bcc', 'more@kunde.test')",
        "UPDATE crm.party SET address = 'other@kunde.test' WHERE email_id = $1 AND role = 'to'",
        "DELETE FROM crm.party WHERE email_id = $1 AND role = 'to'",
        "UPDATE crm.attachment SET filename = 'b.txt' WHERE email_id = $1",
        "DELETE FROM crm.attachment WHERE email_id = $1",
    ],
)
async def test_what_is_sent_does_not_change_once_it_is_pending(crm: Crm, draft: UUID, change: str) -> None:
    await crm.move(draft, "pending_send")
    words, hint = await refused(crm, change, draft)
    assert f"email {draft} is pending_send" in words
    assert words.endswith("cannot change any more")
    assert hint == "A pending email can be set back to draft."
    await crm.move(draft, "draft")
    await crm.sql.execute(change, draft)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("sending", "Only a draft can be changed: write another email."),
        ("sent", "Only a draft can be changed: write another email."),
        ("failed", "A failed email can be set back to draft."),
    ],
)
async def test_the_hint_is_true_for_what_was_sent_too(crm: Crm, draft: UUID, status: str, advice: str) -> None:
    await crm.move(draft, "pending_send")
    for step in dict.fromkeys(("sending", status)):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    for change in (
        "UPDATE crm.email SET subject = 'Another' WHERE id = $1",
        "DELETE FROM crm.party WHERE email_id = $1",
    ):
        _, hint = await refused(crm, change, draft)
        assert hint == advice


async def test_what_the_crm_itself_knows_of_a_pending_email_may_change(crm: Crm, draft: UUID) -> None:
    await crm.move(draft, "pending_send")
    case = await crm.record("case", "Chairs")
    await crm.sql.execute("UPDATE crm.email SET regarding_id = $2, flags = '{urgent}' WHERE id = $1", draft, case)
    assert (await crm.email(draft))["regarding_id"] == case


async def test_an_email_needs_recipients_and_a_sender_whose_mailbox_it_is(crm: Crm, draft: UUID) -> None:
    queue = "UPDATE crm.email SET status = 'pending_send' WHERE id = $1"
    lonely = await crm.draft(ULLA, [], "Offer")
    words, hint = await refused(crm, queue, lonely)
    assert words == f"email {lonely} has no recipients"
    assert hint == "Insert crm.party rows with role 'to', 'cc' or 'bcc' first."
    strange = await crm.draft("stranger@in.test", KARL, "Offer")
    words, hint = await refused(crm, queue, strange)
    assert hint == "Insert a crm.party with role 'from' and the address of crm.owner.mailbox, or set owner_id."
    assert words == f"email {strange} has no owner: its from party is no owner's mailbox"
    other = await crm.owner("otto@in.test")
    await crm.sql.execute("UPDATE crm.email SET owner_id = $2 WHERE id = $1", draft, other)
    words, _ = await refused(crm, queue, draft)
    assert words == f"the from party of email {draft} is not the mailbox of its owner {other}"


async def test_an_address_is_normalized(crm: Crm) -> None:
    record = await crm.record("contact", "Karl")
    words, _ = await refused(crm, "INSERT INTO crm.address VALUES ('Karl@Kunde.test', $1)", record)
    assert "address_address_check" in words
    await crm.sql.execute("INSERT INTO crm.address VALUES (crm.normalise(' Karl@Kunde.test'), $1)", record)


async def test_who_changes_the_mailbox_loses_the_approval(crm: Crm) -> None:
    owner = await crm.owner(ULLA)
    await crm.sql.execute("UPDATE crm.owner SET mailbox = 'director@in.test' WHERE record_id = $1", owner)
    assert await crm.sql.fetchval("SELECT approved FROM crm.owner") is False


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE crm.owner SET approved = true",
        "UPDATE crm.owner SET tracking_rule = 'all'",
        "INSERT INTO crm.owner (record_id, mailbox, approved) VALUES (gen_random_uuid(), 'x@in.test', true)",
        "INSERT INTO crm.owner (record_id, mailbox, tracking_rule) VALUES (gen_random_uuid(), 'x@in.test', 'all')",
        "UPDATE crm.email SET token = 'aaaaaaaa'",
        "UPDATE crm.email SET sent_at = now()",
        "UPDATE crm.email_move SET by_crm = true",
        "UPDATE crm.blob SET content = ''",
        "INSERT INTO crm.receipt SELECT * FROM crm.receipt",
        "INSERT INTO crm.event (kind) VALUES ('sent')",
        "DELETE FROM crm.delivery",
        "SELECT * FROM router.outbox",
        "UPDATE router.installation SET sending = true",
        "INSERT INTO router.outbox (email_id, owner_id) VALUES (gen_random_uuid(), gen_random_uuid())",
        "SELECT router.may_send()",
        "CREATE TABLE crm.own (id int)",
        "ALTER TABLE crm.email DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
    ],
)
@pytest.mark.usefixtures("draft")
async def test_what_is_an_admins_or_the_routers_is_not_the_crms(crm: Crm, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await crm.sql.execute(statement)
