"""What cannot be sent or stored is refused when the CRM writes it, in words that say what to do instead."""

import json
from uuid import UUID

import asyncpg
import pytest

from router.model.token import ALPHABET, new_token
from tests.support.crm import Crm, Parcel

ULLA, KARL = "ulla@in.test", "karl@kunde.test"

INSERT = "INSERT INTO crm.email (direction, status, {}) VALUES ('out', 'draft', $1)"
SET = "UPDATE crm.email SET {} = $2 WHERE id = $1"
INSERT_PARTY = "INSERT INTO crm.party (email_id, role, address)"
ATTACH = "INSERT INTO crm.attachment (email_id, position, filename, size, sha256)"
QUEUE = "UPDATE crm.email SET status = 'pending_send' WHERE id = $1"


@pytest.fixture
async def draft(crm: Crm) -> UUID:
    await crm.owner(ULLA)
    return await crm.draft(ULLA, KARL, "Offer", "Chairs", attachments=[Parcel("a.txt", "text/plain", b"a")])


async def refused(crm: Crm, statement: str, *arguments: object) -> tuple[str, str]:
    """Return the words of the refusal, and the hint; there is always one."""
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await crm.sql.execute(statement, *arguments)
    assert caught.value.hint
    return caught.value.args[0], caught.value.hint


# --- Times -----------------------------------------------------------------------------------------------------------

TIMES = ["-infinity", "infinity", "0044-03-15 12:00:00 BC", "1969-12-31 23:59:59+00", "2200-01-01 00:00:00+00"]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("column", ["send_after", "dated_at", "sent_at", "received_at"])
async def test_no_email_has_a_time_that_no_calendar_shows(crm: Crm, column: str, time: str) -> None:
    words, hint = await refused(
        crm, f"INSERT INTO crm.email (direction, status, {column}) VALUES ('out', 'sent', '{time}')"
    )
    assert words.startswith(f"{column} is ")
    assert hint.startswith("A time of an email is from 1970 to 2199.")


@pytest.mark.parametrize("time", TIMES)
async def test_send_after_is_checked_when_it_changes_too(crm: Crm, draft: UUID, time: str) -> None:
    await crm.move(draft, "pending_send")
    words, _ = await refused(crm, f"UPDATE crm.email SET send_after = '{time}' WHERE id = $1", draft)
    assert words.startswith("send_after is ")


async def test_what_a_trigger_of_the_crms_makes_of_it_is_refused_as_well(crm: Crm, draft: UUID) -> None:
    await crm.admin.execute(
        """
        CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NEW.send_after := 'infinity'; RETURN NEW; END $$;
        CREATE TRIGGER zzz BEFORE UPDATE ON crm.email FOR EACH ROW EXECUTE FUNCTION public.late();
        """
    )
    with pytest.raises(asyncpg.CheckViolationError, match="email_fits"):
        await crm.sql.execute(QUEUE, draft)


# --- What the router makes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["token", "defects", "text_marks", "raw_headers"])
async def test_what_the_router_makes_the_crm_cannot_insert(crm: Crm, column: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await crm.sql.execute(f"INSERT INTO crm.email (direction, status, {column}) VALUES ('out', 'draft', NULL)")


@pytest.mark.parametrize("token", ["abc\r\nBcc: evil@in.test", "abcdefg", "abcdefgh2", "ABCDEFGH", "abcdefgl", ""])
async def test_a_token_is_one_whoever_writes_it(crm: Crm, draft: UUID, token: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="is no token"):
        await crm.admin.execute(SET.format("token"), draft, token)


async def test_every_token_that_the_router_makes_is_one(crm: Crm, draft: UUID) -> None:
    for token in [new_token(), *(letter * 8 for letter in ALPHABET)]:
        await crm.admin.execute(SET.format("token"), draft, token)


@pytest.mark.parametrize(
    "message_id",
    ["<a@in.test>", "a@in.test\r\nBcc: evil@in.test", "a b@in.test", "nothing", "", "a" * 900 + "@in.test"],
)
async def test_the_ids_of_a_draft_are_message_ids(crm: Crm, message_id: str) -> None:
    for column in ("message_id", "in_reply_to"):
        words, hint = await refused(crm, INSERT.format(column), message_id)
        assert words.endswith("is no Message-ID")
        assert hint.startswith("Write it without angle brackets")
    await refused(crm, INSERT.format("thread_ids"), ["fine@in.test", message_id])


async def test_history_is_imported_with_its_ids_and_times(crm: Crm) -> None:
    owner = await crm.owner(ULLA)
    for direction, status in (("out", "sent"), ("out", "canceled"), ("in", "received")):
        await crm.sql.execute(
            """
            INSERT INTO crm.email (id, direction, status, status_reason, message_id, in_reply_to, thread_ids, subject,
                text_body, html_body, owner_id, send_after, dated_at, sent_at, received_at, created_at, flags, calendar,
                correlation_method)
            VALUES (gen_random_uuid(), $1, $2, 'as it was', 'No domain', 'a@in.test', '{a@in.test}', 'Offer',
                'Chairs', '<p>', $3, '1970-01-01+00', '1999-01-01', '1999-01-01', '1999-01-01', '1999-01-01', '{}',
                '{}', 'references')
            """,
            direction,
            status,
            owner,
        )


# --- Headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [["X-Case", "4711"], ["Importance", "high"], ["List-Id", "Prices <prices.in.test>"]],
        [["x-size", "5 m² ☀"]],
        [[f"X-{number}", "a"] for number in range(50)],
        [["X-Long", "a" * 900]],
    ],
)
async def test_headers_that_the_crm_may_set(crm: Crm, draft: UUID, headers: list[list[str]]) -> None:
    await crm.sql.execute(SET.format("headers"), draft, json.dumps(headers))
    await crm.move(draft, "pending_send")


OURS = [
    "From", "To", "CC", "bcc", "Subject", "Date", "Message-ID", "References", "In-Reply-To", "MIME-Version", "Sender",
    "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Received", "Return-Path", "Reply-To",
    "DKIM-Signature", "Resent-To", "Authentication-Results", "ARC-Seal", "X-CRM-Email-Router", "x-crm-email-router-id",
    "Precedence", "Errors-To",
]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
async def test_headers_that_are_ours_or_another_servers(crm: Crm, draft: UUID, name: str) -> None:
    words, hint = await refused(crm, SET.format("headers"), draft, json.dumps([["X-Fine", "a"], [name, "a@in.test"]]))
    assert words == f"the header {name} is not the CRM's to set"
    assert hint.startswith("It may set X-…, List-…, and archived-at, ")


@pytest.mark.parametrize(
    ("headers", "told", "advice"),
    [
        ([["List-Unsubscribe", "<https://in.test>"]], "made by the router", "Set unsubscribe_url."),
        ([["list-unsubscribe-post", "List-Unsubscribe=One-Click"]], "made by the router", "Set unsubscribe_url."),
        ([["Auto-Submitted", "auto-generated"]], "made by the router", "Set automatic."),
        ([["X-A", "a"], ["x-a", "b"]], "is there twice", "once"),
        ([["X-A", "a\r\nBcc: evil@in.test"]], "line break", "in one line"),
        ([["X-A", "a\tb"]], "control character", "in one line"),
        ([["X-A", "a\u0085b"]], "control character", "in one line"),
        ([["X-A", "a\u2028b"]], "control character", "in one line"),
        ([["X-A", ""]], "is empty", "in one line"),
        ([["X-A", " a"]], "a blank", "in one line"),
        ([["X-A", "a" * 901]], "has 901 bytes", "900"),
        ([["X-A: b", "a"]], "no name of a header", "no colon"),
        ([["X-A\r\nBcc", "a"]], "no name of a header", "no colon"),
        ([["X-Größe", "a"]], "no name of a header", "ASCII"),
        ([["", "a"]], "no name of a header", "1 to 70"),
        ([["X-" + "a" * 69, "a"]], "no name of a header", "1 to 70"),
        ([["X-", "a"]], "not the CRM's to set", "It may set"),
        ([[f"X-{number}", "a"] for number in range(51)], "51 headers are too many", "50"),
        ({"X-A": "a"}, "headers are no list", "Write them as"),
        ("X-A: a", "headers are no list", "Write them as"),
        (None, "headers are no list", "Write them as"),
        (["X-A"], "is no pair", "Write it as"),
        ([["X-A"]], "is no pair", "Write it as"),
        ([["X-A", "a", "b"]], "is no pair", "Write it as"),
        ([["X-A", 1]], "is no pair", "Write it as"),
        ([["X-A", None]], "is no pair", "Write it as"),
        ([{"X-A": "a"}], "is no pair", "Write it as"),
    ],
)
async def test_headers_that_are_none(crm: Crm, draft: UUID, headers: object, told: str, advice: str) -> None:
    words, hint = await refused(crm, SET.format("headers"), draft, json.dumps(headers))
    assert told in words
    assert advice in hint


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("unsubscribe_url", "http://in.test/u"),
        ("unsubscribe_url", "https://in.test/u>, <mailto:evil@in.test"),
        ("unsubscribe_url", "https://in.test/u\r\nBcc: evil@in.test"),
        ("unsubscribe_url", "https://in.test/" + "a" * 900),
        ("unsubscribe_url", "https://"),
        ("batch", ""),
        ("batch", "a" * 201),
        ("batch", "a\nb"),
        ("lane", "express"),
        ("priority", 101),
        ("priority", -101),
    ],
)
async def test_what_else_an_email_to_be_sent_may_not_say(crm: Crm, draft: UUID, column: str, value: object) -> None:
    await refused(crm, SET.format(column), draft, value)


async def test_what_else_it_may_say(crm: Crm, draft: UUID) -> None:
    for column, value in (
        ("unsubscribe_url", "https://in.test/u?who=1&of=%7Bx%7D"),
        ("batch", "Prices of März 2030"),
        ("automatic", True),
        ("lane", "bulk"),
        ("priority", -100),
    ):
        await crm.sql.execute(SET.format(column), draft, value)
    await crm.move(draft, "pending_send")
    await crm.sql.execute(
        "UPDATE crm.email SET lane = 'normal', priority = 100, send_after = now() WHERE id = $1", draft
    )
    for change in ("automatic = false", """headers = '[["X-A", "a"]]'""", "unsubscribe_url = NULL"):
        words, _ = await refused(crm, f"UPDATE crm.email SET {change} WHERE id = $1", draft)
        assert words.endswith("cannot change any more")


# --- Recipients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "bob@my/bank.example", "ann@exam,ple.com", "ann@exam ple.com", "ann@exam_ple.com", "ann@-a.test", "ann@a-.test",
        "ann@a..test", "ann@a.test.", "ann@.test", "ann@" + "a" * 64 + ".test", "ann@" + "a." * 127 + "test",
        "a" * 65 + "@a.test", "ann@a＆b.test", "ann@a\u200bb.test", "a\u00adnn@a.test",
        "ann@a\u00a0b.test", "a nn@a.test", "ann,bob@a.test",
        "ann<bob@a.test", "ann;bob@a.test", "ann@bob@a.test", "ann", "@a.test", "ann@",
        '"ann@a.test', '""@a.test', "ann@[a.test]", "ann@[1.2.3.4", "ann:bob@a.test",
    ],
)  # fmt: skip
async def test_an_address_that_is_none_is_refused_and_never_repaired(crm: Crm, draft: UUID, address: str) -> None:
    await crm.sql.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', $2)", draft, address)
    words, hint = await refused(crm, QUEUE, draft)
    assert words == f"a recipient of email {draft} has no address that mail can be sent to: '{address}'"
    assert hint.startswith("Set the right address, or delete the party.")
    await crm.sql.execute("UPDATE crm.party SET role = 'reply_to' WHERE role = 'cc'")
    words, _ = await refused(crm, QUEUE, draft)
    assert words.startswith(f"answers to email {draft} cannot be sent to its reply_to")


@pytest.mark.parametrize(
    "address",
    [
        "ann@a.test", "o'hara+x=y&z/w@a.test", "ann..x@a.test", '"a b"@a.test', '"a\\"@b"@a.test',
        "jörg@bücher.example", "ann@例え.テスト", "ann@localhost", "ann@3com.test", "ann@[192.0.2.1]",
        "ann@[ipv6:2001:db8::1]",
        "ann@xn--99999999.test", "ann@a--b.test", "a" * 64 + "@" + "b" * 63 + ".test",
    ],
)  # fmt: skip
async def test_an_address_may_be_unusual(crm: Crm, draft: UUID, address: str) -> None:
    await crm.sql.execute(
        "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', crm.normalise($2))", draft, address
    )
    await crm.move(draft, "pending_send")


async def test_o4_an_address_is_no_longer_than_an_index_takes_and_in_the_one_form(crm: Crm, draft: UUID) -> None:
    insert = "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', $2)"
    words, hint = await refused(crm, insert, draft, "a" * 8000 + "@kunde.test")
    assert (words, hint) == ("an address of 8011 characters is none", "It has at most 320.")
    words, hint = await refused(crm, insert, draft, "Karl@Kunde.test")
    assert words == "'Karl@Kunde.test' is not in the one form of addresses"
    assert hint == "Write crm.normalise(…), which is 'karl@kunde.test'."
    with pytest.raises(asyncpg.CheckViolationError, match="party_address_length"):
        await crm.admin.execute(insert, draft, "a" * 321)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE crm.email SET subject = repeat('a', 10001)", "subject of email .* has 10001 characters"),
        ("UPDATE crm.email SET html_body = repeat('a', 50000000)", "bodies of email .* have 50000006 bytes"),
        (
            f"{INSERT_PARTY} SELECT id, 'bcc', n || '@kunde.test' FROM crm.email, generate_series(1, 2000) AS n",
            "has 2001 recipients",
        ),
        (
            f"{ATTACH} SELECT email_id, 1, 'b', 250000000, sha256 FROM crm.attachment",
            "has 2 attachments with 250000001 bytes",
        ),
        (
            f"{ATTACH} SELECT email_id, n, 'b', 0, sha256 FROM crm.attachment, generate_series(1, 1000) AS n",
            "has 1001 attachments",
        ),
    ],
)
async def test_an_email_has_a_size_that_can_be_sent(crm: Crm, draft: UUID, change: str, told: str) -> None:
    await crm.sql.execute(change)
    with pytest.raises(asyncpg.CheckViolationError, match=told) as caught:
        await crm.sql.execute(QUEUE, draft)
    assert caught.value.hint


# --- Parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["party", "attachment"])
async def test_o10_parts_are_not_moved_off_or_onto_a_pending_email(crm: Crm, draft: UUID, table: str) -> None:
    other = await crm.draft(ULLA, [], "Other")
    await crm.sql.execute(f"DELETE FROM crm.{table} WHERE email_id = $1", other)
    await crm.move(draft, "pending_send")
    words, hint = await refused(crm, f"UPDATE crm.{table} SET email_id = $2 WHERE email_id = $1", draft, other)
    assert words == f"email {draft} is pending_send, so its {table} cannot change any more"
    assert hint == "A pending email can be set back to draft."
    if table == "party":
        await crm.sql.execute("INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', 'x@in.test')", other)
        words, _ = await refused(crm, f"UPDATE crm.{table} SET email_id = $1 WHERE email_id = $2", draft, other)
        assert words == f"email {draft} is pending_send, so its {table} cannot change any more"


async def test_who_a_party_is_may_be_said_of_what_is_sent(crm: Crm, draft: UUID) -> None:
    for step in ("pending_send", "sending", "sent"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    karl = await crm.record("contact", "Karl", KARL)
    set_record = "UPDATE crm.party SET record_id = $1{} WHERE address = $2 AND record_id IS NULL"
    words, _ = await refused(crm, set_record.format(", name = 'Karl'"), karl, KARL)
    assert words == f"email {draft} is sent, so its party cannot change any more"
    assert await crm.sql.execute(set_record.format(""), karl, KARL) == "UPDATE 1"


# --- What a person says afterwards -----------------------------------------------------------------------------------


async def test_o18_a_failed_email_goes_back_to_draft_and_is_sent_again(crm: Crm, draft: UUID) -> None:
    for step in ("pending_send", "sending", "failed"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    await crm.admin.execute("DELETE FROM router.outbox")
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state) VALUES ($1, $2, 'given_up')", draft, KARL
    )
    await crm.move(draft, "draft")
    await crm.sql.execute("UPDATE crm.party SET address = 'new@kunde.test' WHERE role = 'to'")
    await crm.move(draft, "pending_send")
    assert await crm.rows("SELECT FROM crm.delivery") == []


async def test_an_email_is_not_deleted_in_mid_send(crm: Crm, draft: UUID) -> None:
    for step in ("pending_send", "sending"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", draft, step)
    words, hint = await refused(crm, "DELETE FROM crm.email WHERE id = $1", draft)
    assert words == f"email {draft} is being sent and cannot be deleted now"
    assert hint == "It has another status soon: delete it then."
