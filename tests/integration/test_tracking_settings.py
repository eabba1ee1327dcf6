"""Settings of tracking, through the database: whose choice counts, and what becomes of mail by it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from router import log
from router.cli import app
from router.errors import DatabaseError, UnknownName
from router.model import Disposition, Rule
from router.model.settings import SETTINGS, Number, Switch, Texts, Words
from router.operations import check, never_track, owners, settings
from router.repository.incoming import audit
from router.repository.owners.choices import read_stored
from tests.support.build import copy, mail
from tests.support.crm import Crm
from tests.support.flood import cost
from tests.support.promoting import Promoting, promoting

ANN, BEN, SALES = "ann@example.com", "ben@example.com", "sales@example.com"
LEASE = timedelta(seconds=15)
PROMOTED, DUPLICATE, IGNORED = Disposition.PROMOTED, Disposition.DUPLICATE, Disposition.IGNORED


@pytest.fixture
async def way(database: str) -> AsyncIterator[Promoting]:
    async with promoting(database) as made:
        yield made


def internal(to: str = BEN, sender: str = ANN, **more: str) -> bytes:
    return mail(**{"from": sender, "to": to}, **more)


async def organization(way: Promoting, name: str, value: str, *, locked: bool = False) -> None:
    await settings.choose(way.database, name, value, "the test", locked=locked)


async def offices(crm: Crm, rule: str = "all") -> None:
    for mailbox in (ANN, BEN):
        await crm.owner(mailbox, rule)
    await crm.owner(SALES, rule, kind="queue")


async def emails(crm: Crm) -> list[tuple[str, str]]:
    rows = await crm.rows("SELECT direction, tracking_rule FROM crm.email ORDER BY direction")
    return [(row["direction"], row["tracking_rule"]) for row in rows]


async def receipts(crm: Crm) -> set[tuple[str, str]]:
    rows = await crm.rows(
        "SELECT e.direction, o.mailbox FROM crm.receipt AS r JOIN crm.email AS e ON e.id = r.email_id "
        "JOIN crm.owner AS o ON o.record_id = r.owner_id"
    )
    return {(row["direction"], row["mailbox"]) for row in rows}


# --- Whose choice counts ---------------------------------------------------------------------------------------------


async def test_the_first_of_lock_owner_profile_organization_and_default_decides(crm: Crm, way: Promoting) -> None:
    await offices(crm)

    async def becomes(choices: dict[str, str] | None = None) -> Disposition:
        return (await way.promote(BEN, internal(), choices=choices)).disposition

    assert await becomes() is PROMOTED
    await organization(way, "internal_mail", "none")
    assert await becomes() is IGNORED
    assert await becomes({"internal_mail": "one"}) is PROMOTED
    await settings.choose(way.database, "internal-mail", "none", "the test", BEN)
    assert await becomes({"internal_mail": "one"}) is IGNORED
    await organization(way, "internal_mail", "one", locked=True)
    assert await becomes({"internal_mail": "none"}) is PROMOTED
    with pytest.raises(DatabaseError, match="the organization has locked internal_mail: it is one"):
        await settings.choose(way.database, "internal_mail", "two", "the test", BEN)


async def test_a_decision_names_the_setting_that_decided_and_whose_it_is(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await organization(way, "internal_mail", "none", locked=True)
    decision = await way.promote(BEN, internal())
    assert decision.reasons == ("internal: internal_mail is none, by the organization, which locks it",)


@pytest.fixture(autouse=True)
def _log_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in the tests' own process leave its log alone, which other tests read."""
    monkeypatch.setattr(log, "configure", lambda *_: None)


@pytest.mark.parametrize("name", SETTINGS)
async def test_sql_and_code_know_the_same_settings_and_values(crm: Crm, name: str) -> None:
    setting = SETTINGS[name]

    async def fault(value: object) -> str | None:
        found = await crm.sql.fetchval("SELECT crm.setting_fault($1, $2::jsonb)", name, json.dumps(value))
        assert found is None or isinstance(found, str)
        return found

    values: dict[type, list[object]] = {
        Switch: [True, False],
        Number: [50, 70, 100],
        Texts: [["Ref#", "CRM:"] if name == "token_prefixes" else ["CRM:0001001"]],
    }
    sound = values.get(type(setting.values), [])
    wrongs: list[object] = ["wrong", [], {}, 1, None, 101, [7], "true", 70.5]
    if isinstance(setting.values, Words):
        sound = [[one] if setting.values.several else one for one in setting.values.choices]
        wrongs += [["wrong"], True, ["all", "wrong"], setting.values.choices[0] + " "]
    for value in sound:
        assert await fault(value) is None
        assert setting.values.parse(value) is not None
    for wrong in wrongs:
        assert await fault(wrong) is not None, wrong
        assert setting.values.parse(wrong) is None
    if isinstance(setting.values, Words):
        words = await crm.sql.fetchval("SELECT crm.setting_fault($1, '\"wrong\"')", name)
        assert all(choice in words for choice in setting.values.choices)


@pytest.mark.parametrize(
    "value",
    [
        '{"internal_mail": "three"}',
        '{"internal_mial": "one"}',
        '{"rule": "all"}',
        '{"private_emails": "nothing"}',
        "[]",
    ],
)
async def test_a_wrong_setting_of_an_owner_is_refused_in_words(crm: Crm, value: str) -> None:
    await crm.owner(ANN)
    with pytest.raises(asyncpg.CheckViolationError, match=r"setting|internal_mail|rule|private_emails"):
        await crm.sql.execute("UPDATE crm.owner SET settings = $1::jsonb", value)


async def test_what_was_stored_before_is_passed_over_and_told(crm: Crm, way: Promoting, tmp_path: Path) -> None:
    await offices(crm)
    await crm.admin.execute("ALTER TABLE crm.owner DISABLE TRIGGER guard_settings")
    stored = '{"internal_mail": ["none"], "rule": "none", "theirs": 1}'
    await crm.admin.execute("UPDATE crm.owner SET settings = $1::jsonb", stored)
    await crm.admin.execute("ALTER TABLE crm.owner ENABLE TRIGGER guard_settings")
    assert (await way.promote(BEN, internal())).disposition is PROMOTED
    await crm.sql.execute("""UPDATE crm.owner SET settings = settings || '{"several_matches": "oldest"}'""")
    [listed] = [one for one in await settings.list_all(way.database, BEN, LEASE, tmp_path) if one.fault]
    assert listed.fault == f"owner {BEN} has internal_mail = ['none'], which is passed over"
    assert listed.chosen.place == "default"
    noted = await owners.list_all(way.database, LEASE, tmp_path)
    assert listed.fault in [str(note) for note in noted.notes]


async def test_the_crms_role_can_choose_neither_for_the_organization_nor_a_rule(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    for sql in (
        """INSERT INTO crm.setting (name, value) VALUES ('internal_mail', '"none"')""",
        "UPDATE crm.setting SET locked = false",
        "DELETE FROM crm.setting",
        "UPDATE crm.owner SET tracking_rule = 'all'",
        "INSERT INTO router.never_track VALUES ('x.example', NULL, 'me')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await crm.sql.execute(sql)
    await organization(way, "internal_mail", "none")
    assert await crm.sql.fetchval("SELECT value #>> '{}' FROM crm.setting") == "none"
    # What it may choose, it chooses in its own name, whatever name it gives.
    await crm.sql.execute("SELECT set_config('router.chosen_by', 'boss', false)")
    await crm.sql.execute("""UPDATE crm.owner SET settings = '{"internal_mail": "two"}' WHERE mailbox = $1""", BEN)
    by = await crm.admin.fetchval(
        "SELECT settings_by -> 'internal_mail' ->> 'by' FROM crm.owner WHERE mailbox = $1", BEN
    )
    assert by == await crm.sql.fetchval("SELECT current_user")
    await settings.choose(way.database, "several_matches", "oldest", "ops", BEN)
    stored = await read_stored(way.database, [BEN])
    assert {name: who for own in stored.own.values() for name, (who, _) in own.items()} == {
        "rule": await crm.admin.fetchval("SELECT current_user"),
        "internal_mail": by,
        "several_matches": "ops",
    }
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await crm.sql.execute("UPDATE crm.owner SET settings_by = '{}'")


# --- Internal mail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent_first", [True, False])
async def test_t13_user_to_user_is_one_email_by_default(crm: Crm, way: Promoting, sent_first: bool) -> None:
    await offices(crm)
    raw = internal()
    for sent in (sent_first, not sent_first):
        await way.promote(ANN if sent else BEN, raw, sent=sent)
    assert await emails(crm) == [("out" if sent_first else "in", "all")]
    assert {mailbox for _, mailbox in await receipts(crm)} == {ANN, BEN}


async def test_t13_an_audit_of_a_restored_mailbox_knows_the_senders_copy(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await organization(way, "internal_mail", "two")
    raw = internal()
    await way.promote(BEN, raw)
    await way.promote(ANN, raw, sent=True)
    ann = await crm.admin.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", ANN)
    again = copy(raw, Rule.ALL, ann, sent=True)
    assert await audit.known(way.database, ann, [again]) == {again.place: PROMOTED}


@pytest.mark.parametrize("sent_first", [True, False])
async def test_t13_two_makes_an_outgoing_and_an_incoming_email(crm: Crm, way: Promoting, sent_first: bool) -> None:
    await offices(crm)
    await organization(way, "internal_mail", "two")
    raw = internal(f"{BEN}, {SALES}")
    for sent in (sent_first, not sent_first):
        decision = await way.promote(ANN if sent else BEN, raw, sent=sent)
        assert decision.disposition is PROMOTED
    third = await way.promote(SALES, raw)
    again = await way.promote(ANN, raw, sent=True)
    assert (third.disposition, again.disposition) == (DUPLICATE, DUPLICATE)
    assert await emails(crm) == [("in", "all"), ("out", "all")]
    assert await receipts(crm) == {("out", ANN), ("in", BEN), ("in", SALES)}


async def test_t13_two_leaves_alone_what_goes_to_others_and_what_is_there(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    before = internal()
    await way.promote(ANN, before, sent=True)
    await organization(way, "internal_mail", "two")
    assert (await way.promote(BEN, before)).disposition is DUPLICATE
    assert (await way.promote(ANN, before, sent=True)).disposition is DUPLICATE
    to_others = internal(f"{BEN}, carl@client.example")
    assert (await way.promote(ANN, to_others, sent=True)).disposition is PROMOTED
    assert (await way.promote(BEN, to_others)).disposition is DUPLICATE


@pytest.mark.parametrize("sent_first", [True, False])
async def test_t13_with_two_an_ignored_sent_copy_stays_ignored(crm: Crm, way: Promoting, sent_first: bool) -> None:
    await crm.owner(ANN, "known")
    await crm.owner(BEN, "all")
    await organization(way, "internal_mail", "two")
    raw = internal()
    for sent in (sent_first, not sent_first):
        await way.promote(ANN if sent else BEN, raw, sent=sent)
    assert await receipts(crm) == {("in", BEN)}
    assert await crm.dispositions() == {"promoted": 1, "ignored": 1}


async def test_t13_none_ignores_internal_mail_under_every_rule_also_an_answer(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    offer = mail(**{"from": "carl@client.example", "to": ANN}, message_id="<offer@client.example>")
    assert (await way.promote(ANN, offer)).disposition is PROMOTED
    await organization(way, "internal_mail", "none")
    for rule in ("all", "replies", "known", "email-enabled"):
        await crm.admin.execute("UPDATE crm.owner SET tracking_rule = $1", rule)
        answer = internal(in_reply_to="<offer@client.example>")
        for mailbox, sent in ((ANN, True), (BEN, False)):
            assert (await way.promote(mailbox, answer, sent=sent)).disposition is IGNORED, rule
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    assert (await way.promote(BEN, internal(f"{BEN}, carl@client.example"))).disposition is PROMOTED


async def test_t14_user_to_queue_is_promoted_even_when_internal_mail_is_ignored(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await organization(way, "internal_mail", "none")
    assert (await way.promote(SALES, internal(SALES))).disposition is PROMOTED
    assert (await way.promote(BEN, internal(BEN, SALES))).disposition is IGNORED  # T126: queue to user
    await organization(way, "internal_mail_to_queues", "ignore")
    decision = await way.promote(SALES, internal(SALES))
    assert decision.reasons == ("internal: internal_mail_to_queues is ignore, by the organization",)


# --- The sender among several records --------------------------------------------------------------------------------


async def test_t46_of_several_records_the_first_by_kind_or_the_oldest_is_the_sender(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    lead = await crm.record("lead", "old", "ann@client.example")
    contact = await crm.record("contact", "new", "ann@client.example")

    async def sender() -> object:
        decision = await way.promote(BEN, mail(to=BEN))
        return await crm.sql.fetchval(
            "SELECT record_id FROM crm.party WHERE email_id = $1 AND role = 'from'", decision.email_id
        )

    assert await sender() == contact
    await organization(way, "several_matches", "oldest")
    assert await sender() == lead


async def test_t47_of_several_records_none_is_the_sender_and_the_candidates_are_kept(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await organization(way, "several_matches", "unresolved")
    lead = await crm.record("lead", "old", "ann@client.example")
    contact = await crm.record("contact", "new", "ann@client.example")
    decision = await way.promote(BEN, mail(to=BEN))
    rows = await crm.rows("SELECT role, record_id, candidates FROM crm.party WHERE email_id = $1", decision.email_id)
    by_role = {row["role"]: (row["record_id"], row["candidates"]) for row in rows}
    assert by_role["from"] == (None, [contact, lead])
    assert by_role["to"][1] == []
    assert (
        "an address in From belongs to 2 records: several_matches is unresolved, by the organization"
        in decision.reasons
    )
    await crm.sql.execute("UPDATE crm.record SET active = false WHERE id = $1", lead)
    decision = await way.promote(BEN, mail(to=BEN))
    assert [party.record_id for party in decision.parties if party.role == "from"] == [contact]


# --- Never tracked ---------------------------------------------------------------------------------------------------

TOKEN = "k3m9x2p7"


@pytest.mark.parametrize("pattern", ["ann@client.example", "Client.example.", "*.client.example"])
async def test_t100_who_is_never_tracked_is_ignored_also_as_an_answer_and_by_token(
    crm: Crm, way: Promoting, pattern: str
) -> None:
    await offices(crm)
    sent = await crm.send(BEN, "ann@client.example", "Offer")
    await crm.admin.execute(
        "UPDATE crm.email SET token = $2, message_id = 'offer@example.com' WHERE id = $1", sent, TOKEN
    )
    await never_track.add(way.database, pattern, None, "the test")
    for more in ({}, {"in_reply_to": "<offer@example.com>"}, {"subject": f"Re: Offer CRM:{TOKEN}"}):
        decision = await way.promote(BEN, mail(to=BEN, **more))
        assert decision.disposition is IGNORED
        assert decision.reasons == ("the sender is on the never-track list of the organization",)
    kept = await crm.admin.fetch("SELECT gist, sender_gist, content, forward FROM router.decision")
    assert len(kept) == 3
    assert all(row["gist"] is None and row["forward"] is None for row in kept)
    assert (await way.promote(BEN, mail(**{"from": "x@other.test"}, to=BEN))).disposition is PROMOTED


@pytest.mark.parametrize("listed_first", [True, False])
async def test_t100_an_owners_list_is_for_that_owner_and_touches_nothing_of_others(
    crm: Crm, way: Promoting, listed_first: bool
) -> None:
    await offices(crm)
    await never_track.add(way.database, "client.example", BEN, "the test")
    raw = mail(to=f"{ANN}, {BEN}")
    for mailbox in (BEN, ANN) if listed_first else (ANN, BEN):
        await way.promote(mailbox, raw)
    assert await receipts(crm) == {("in", ANN)}
    assert await crm.dispositions() == {"promoted": 1, "ignored": 1}


@pytest.mark.parametrize("pattern", ["ann@client.example", "client.example", "*.client.example"])
async def test_t100_nobody_escapes_a_list_by_how_an_address_is_written(crm: Crm, way: Promoting, pattern: str) -> None:
    await offices(crm)
    await never_track.add(way.database, pattern, None, "the test")
    for sender in (
        "ann@client.example.",
        '"ann"@client.example',
        '"a\\nn"@Client.example',
        "\uff41nn@client.example",
        "ann@\uff43lient.example",
        "ann@client\uff0eexample",
        "ann@client\u3002example",
    ):
        assert (await way.promote(BEN, mail(**{"from": sender}, to=BEN))).disposition is IGNORED, sender


@pytest.mark.parametrize(
    "written", ['"Ann"@client.example', "\uff21nn@client\u3002example", "\uff43lient\uff0eexample"]
)
async def test_t100_a_list_is_the_same_however_it_is_written(crm: Crm, way: Promoting, written: str) -> None:
    await offices(crm)
    pattern, is_new = await never_track.add(way.database, written, None, "the test")
    assert is_new
    assert pattern in ("ann@client.example", "client.example")
    assert (await way.promote(BEN, mail(to=BEN))).disposition is IGNORED


async def test_t100_what_a_rule_ignored_before_stays_so_for_whom_the_list_is(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await settings.choose(way.database, "rule", "replies", "the test", BEN)
    await settings.choose(way.database, "rule", "replies", "the test", SALES)
    raw = mail(to=f"{ANN}, {BEN}, {SALES}")
    for mailbox in (BEN, SALES):
        assert (await way.promote(mailbox, raw)).disposition is IGNORED
    await never_track.add(way.database, "*.client.example", BEN, "the test")
    assert (await way.promote(ANN, raw)).disposition is PROMOTED
    assert await receipts(crm) == {("in", ANN), ("in", SALES)}
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 1, "ignored": 1}


async def test_t100_of_what_an_owner_sent_every_recipient_must_be_on_the_list(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await never_track.add(way.database, "doctor@client.example", ANN, "the test")
    both = internal("doctor@client.example, carl@client.example")
    assert (await way.promote(ANN, both, sent=True)).disposition is PROMOTED
    assert (await way.promote(ANN, internal("doctor@client.example"), sent=True)).disposition is IGNORED


async def test_t100_a_domain_alone_is_not_what_is_below_it_and_rows_know_who(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    await never_track.add(way.database, "client.example", None, "eve")
    below = mail(**{"from": "ann@sub.client.example"}, to=BEN)
    assert (await way.promote(BEN, below)).disposition is PROMOTED
    assert await never_track.add(way.database, "Client.EXAMPLE", None, "bob") == ("client.example", False)
    [listed] = await never_track.list_all(way.database, None)
    assert (listed.pattern, listed.mailbox, listed.by) == ("client.example", None, "eve")
    assert await never_track.remove(way.database, "client.example", None) == ("client.example", True)
    for wrong in ("", "*", "*.", "a*b.example", "@", "x y@z.example", "*@client.example", "a..b.example", "*..", "@."):
        with pytest.raises(UnknownName, match="is none of"):
            await never_track.add(way.database, wrong, None, "the test")
    for wide in ("com", "@com", "*.com", "\uff43\uff4f\uff4d", "co.uk", "*.co.uk", "*.com.br."):
        with pytest.raises(UnknownName, match="would be whoever has a domain there"):
            await never_track.add(way.database, wide, None, "the test")
    assert await never_track.remove(way.database, "*.com", None) == ("*.com", False)  # one of an older list can go
    await never_track.add(way.database, "root@localhost", None, "the test")


# --- Rules -----------------------------------------------------------------------------------------------------------


async def test_t101_a_locked_rule_holds_for_all_and_another_is_refused_in_words(crm: Crm, way: Promoting) -> None:
    await offices(crm, "none")
    await organization(way, "rule", "all", locked=True)
    assert (await way.promote(BEN, mail(to=BEN))).rule is Rule.ALL
    with pytest.raises(DatabaseError, match="the organization has locked the rule all"):
        await settings.refuse_rule(way.database, Rule.KNOWN)
    with pytest.raises(asyncpg.CheckViolationError, match="the organization has locked the rule all"):
        await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'known'")
    with pytest.raises(UnknownName, match="can only lock the rule"):
        await organization(way, "rule", "all")


async def test_t101_a_rule_that_the_organization_does_not_name_is_refused(crm: Crm, way: Promoting) -> None:
    await offices(crm, "none")
    await organization(way, "allowed_rules", "replies, known")
    with pytest.raises(DatabaseError, match="does not allow the rule all, only replies, known"):
        await settings.refuse_rule(way.database, Rule.ALL)
    with pytest.raises(asyncpg.CheckViolationError, match="does not allow the rule all"):
        await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    await settings.choose(way.database, "rule", "known", "the test", BEN)
    assert (await way.promote(BEN, mail(to=BEN))).rule is Rule.KNOWN


async def test_t101_owners_list_shows_what_is_locked_and_check_and_list_tell_what_is_outside(
    crm: Crm, way: Promoting, tmp_path: Path
) -> None:
    await offices(crm, "all")
    (tmp_path / "a.toml").write_text(
        '[incoming.archive]\ntransport = "maildir"\npath = "/m/{mailbox}"\nowners = ["*@example.com"]\n'
    )
    await organization(way, "allowed_rules", "known")
    outside = "which the organization does not allow, only known"
    listed = await owners.list_all(way.database, LEASE, tmp_path)
    notes = {str(note) for note in listed.notes}
    assert {f"owner {BEN} has the rule all, {outside}", f"[incoming.archive] has the rule replies, {outside}"} <= notes
    checked = await check.with_owners(check.check(tmp_path), way.database)
    assert [str(one) for one in checked.rules] == [f"[incoming.archive] has the rule replies, {outside}"]
    await organization(way, "rule", "known", locked=True)
    listed = await owners.list_all(way.database, LEASE, tmp_path)
    assert (listed.locked_rule, listed.allowed_rules, list(listed.notes)) == ("known", ("known",), [])
    assert {one.rule for one in listed.owners} == {Rule.KNOWN}


# --- Private emails --------------------------------------------------------------------------------------------------


async def test_t102_a_private_email_is_seen_by_the_owners_of_its_receipts(crm: Crm, way: Promoting) -> None:
    await offices(crm)
    decision = await way.promote(BEN, mail(to=BEN, subject="Salary"))
    await way.promote(BEN, mail(to=BEN, subject="Chairs"))
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", decision.email_id)

    async def seen(mailbox: str) -> list[tuple[str | None, bool]]:
        rows = await crm.rows(
            "SELECT v.* FROM crm.owner AS o, crm.visible_emails(o.record_id) AS v WHERE o.mailbox = $1", mailbox
        )
        assert all(row["id"] and row["created_at"] for row in rows)
        return [(row["subject"], row["hidden"]) for row in rows]

    assert await seen(BEN) == [("Chairs", False), ("Salary", False)]
    assert await seen(ANN) == [("Chairs", False), (None, True)]
    # Who is no owner is nobody's, not that of mail without one.
    await crm.admin.execute("UPDATE crm.email SET owner_id = NULL WHERE private")
    nobody = await crm.rows("SELECT subject, hidden FROM crm.visible_emails(NULL)")
    assert [tuple(row) for row in nobody] == [("Chairs", False), (None, True)]
    await organization(way, "private_emails", "nothing")
    assert await seen(ANN) == [("Chairs", False)]


@pytest.mark.parametrize("others", ["placeholder", "nothing"])
async def test_t102_a_page_of_the_newest_is_bound_to_indexes(crm: Crm, way: Promoting, others: str) -> None:
    owner_id, ben = await crm.owner(ANN, "all"), await crm.owner(BEN, "all")
    await organization(way, "private_emails", others)
    # A few that Ann may see, and then nothing but private ones of Ben's; of which she received a few, too.
    await crm.admin.execute(
        f"""
        INSERT INTO crm.email (direction, status, subject, owner_id, created_at, private)
            SELECT 'in', 'received', n::text, CASE WHEN n % 500 = 2 THEN '{owner_id}' ELSE '{ben}' END::uuid,
                timestamptz '2026-01-01Z' + (n / 7) * interval '1 s', n > 300 OR n % 3 = 0
            FROM generate_series(1, 10000) AS n;
        INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at)
            SELECT id, '{owner_id}', 'staff', 'INBOX', subject, created_at FROM crm.email WHERE subject LIKE '%77';
        ANALYZE crm.email, crm.receipt, router.private_receipt;
        """
    )
    expected = await crm.rows(
        """
        SELECT e.id FROM crm.email AS e WHERE $2 OR NOT e.private OR e.owner_id = $1
            OR EXISTS (SELECT FROM crm.receipt AS r WHERE r.email_id = e.id AND r.owner_id = $1)
        ORDER BY e.created_at DESC, e.id DESC LIMIT 300
        """,
        owner_id,
        others == "placeholder",
    )
    pages: list[UUID] = []
    last = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")
    page = "SELECT id, created_at::text FROM crm.visible_emails($1, 50, $2::text::timestamptz, $3::text::uuid)"
    async with way.database.rolled_back() as connection:
        await connection.fetch(page, owner_id, *last)  # the catalogs are read once
        for _ in range(6):
            assert (await cost(connection, page, owner_id, *last)).pages < 1000
            rows = await crm.rows(page, owner_id, *last)
            last = rows[-1]["created_at"], str(rows[-1]["id"])
            pages += [row["id"] for row in rows]
    assert pages == [row["id"] for row in expected]


@pytest.mark.parametrize("is_first", [True, False])
async def test_t102_whoever_receives_an_email_at_the_moment_at_which_it_becomes_private_sees_it(
    crm: Crm, way: Promoting, database: str, *, is_first: bool
) -> None:
    ann, _ = await crm.owner(ANN, "all"), await crm.owner(BEN, "all")
    await organization(way, "private_emails", "nothing")
    raw = mail(to=BEN, subject="Salary")
    email_id = (await way.promote(BEN, raw)).email_id

    async def seen() -> list[str]:
        rows = await crm.rows("SELECT subject FROM crm.visible_emails($1)", ann)
        return [row["subject"] for row in rows]

    receipt = f"""
        INSERT INTO crm.receipt (email_id, owner_id, profile, folder, place, received_at)
        VALUES ('{email_id}', '{ann}', 'staff', 'INBOX', '7', now())
    """
    statements = [receipt, f"UPDATE crm.email SET private = true WHERE id = '{email_id}'"]
    first, second = statements if is_first else reversed(statements)
    other = await asyncpg.connect(database)
    async with crm.admin.transaction():
        await crm.admin.execute(first)
        task = asyncio.ensure_future(other.execute(second))
        while not await crm.admin.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)
    await task
    await other.close()
    assert await seen() == ["Salary"]
    await crm.sql.execute("UPDATE crm.email SET private = false WHERE id = $1", email_id)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.private_receipt") == 0
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
    assert await seen() == ["Salary"]
    await crm.admin.execute("DELETE FROM crm.receipt WHERE owner_id = $1", ann)
    assert await seen() == []


# --- Who decided -----------------------------------------------------------------------------------------------------


async def test_t103_an_email_tells_whose_copy_by_which_rule_in_which_mailboxes_and_what_it_answers(
    crm: Crm, way: Promoting, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    ben = await crm.owner(BEN, "known")
    await crm.owner(ANN, "all")
    await crm.record("contact", "Ann", "ann@client.example")
    first = await way.promote(BEN, mail(to=BEN, message_id="<offer@client.example>"))
    raw = mail(to=BEN, references="<offer@client.example>", subject="Re: Offer")
    answer = await way.promote(BEN, raw)
    await way.promote(ANN, raw)
    assert answer.email_id is not None
    row = await crm.email(answer.email_id)
    assert (row["owner_id"], row["tracking_rule"], row["correlation_method"], row["correlated_id"]) == (
        ben,
        "known",
        "references",
        first.email_id,
    )
    monkeypatch.setenv("EMAIL_ROUTER_DATABASE_URL", database)
    found = await asyncio.to_thread(CliRunner().invoke, app, ["explain", "--email", str(answer.email_id)])
    assert found.exit_code == 0, found.output
    assert f"the copy of {BEN}, by the rule known" in found.output
    assert f"{ANN} (profile staff, folder INBOX" in found.output
    assert f"email {first.email_id}: Offer, found by references" in found.output


def test_t103_explain_asks_for_files_or_an_email() -> None:
    assert CliRunner().invoke(app, ["explain"]).exit_code == 2
    assert CliRunner().invoke(app, ["explain", "a.eml", "--email", str(uuid4())]).exit_code == 2


async def test_settings_and_never_track_as_an_admin_types_them(
    crm: Crm, monkeypatch: pytest.MonkeyPatch, database: str, tmp_path: Path
) -> None:
    await crm.owner(BEN, "known")
    monkeypatch.setenv("EMAIL_ROUTER_DATABASE_URL", database)
    monkeypatch.setenv("EMAIL_ROUTER_PROFILES", str(tmp_path))

    async def typed(*words: str, status: int = 0) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, list(words))
        assert done.exit_code == status, done.output
        return done.output

    assert await typed("settings", "set", "internal-mail", "two", "--lock") == (
        "internal_mail is two for the organization, locked\n"
    )
    assert "locked" in await typed("settings", "set", "internal_mail", "one", "--owner", BEN, status=1)
    assert "must be none | one | two" in await typed("settings", "set", "internal_mail", "three", status=2)
    assert "there is no setting 'colour'" in await typed("settings", "set", "colour", "red", status=2)
    await typed("settings", "set", "several_matches", "oldest", "--owner", BEN, "--by", "ops")
    await typed("owners", "set", BEN, "--rule", "all", "--by", "boss")
    await typed("owners", "set", BEN, "--rule", "known", "--by", "ops")
    listed = json.loads(await typed("settings", "list", "--owner", BEN, "--json"))["settings"]
    found = {one["name"]: (one["value"], one["from"], one["locked"]) for one in listed}
    assert found["internal_mail"] == ("two", "organization", True)
    assert found["several_matches"] == ("oldest", "owner", False)
    assert found["rule"] == ("known", "owner", False)
    told = {one["name"]: one["by"] for one in listed if one["from"] == "owner"}
    assert told == {"several_matches": "ops", "rule": "ops"}
    assert "owner (by ops, " in await typed("settings", "list", "--owner", BEN)
    file = tmp_path / "one.eml"
    file.write_bytes(mail(to=BEN))
    assert f"{BEN} has chosen rule known (by ops, " in await typed("explain", str(file), "--owner", BEN)
    listed = await typed("settings", "list")
    assert "[organization, locked (by " in listed
    assert "private_emails: placeholder [default]\n    What others see of an email that is private: " in listed
    assert max(map(len, listed.splitlines())) <= 80
    assert await typed("settings", "reset", "internal_mail") == (
        "the organization has not chosen internal_mail any more\n"
    )
    assert await typed("never-track", "add", "*.Kunde.example", "--owner", BEN) == (
        f"*.kunde.example is never tracked for {BEN}\n"
    )
    assert "*.kunde.example" in await typed("never-track", "list")
    assert await typed("never-track", "remove", "*.kunde.example", "--owner", BEN) == (
        f"*.kunde.example is off the list of {BEN}\n"
    )
    assert await typed("never-track", "list") == "nobody's mail is never tracked\n"
