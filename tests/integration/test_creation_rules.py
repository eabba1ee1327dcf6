"""T120, T124: rules for records from mail that the database keeps: whose they are, what they say, and their order."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from router.commands.creation_rules import _document
from router.decide import decide_batch
from router.model import CreationRule, Decision
from router.operations import check, creation_rules, status
from router.operations.creation_rules import ListedRule, list_rules
from router.operations.doctor import mail as checks
from router.operations.doctor.patient import Patient
from router.profile.rules_file import read_rules
from router.repository.database import Database
from router.repository.incoming import inbox
from router.repository.incoming.batch import Batch
from router.repository.records.creation_rules import add_creation_rules
from router.repository.round_trip import Reads
from router.settings import Settings
from tests.integration.test_records import KARL, Records
from tests.integration.test_records import records as records  # noqa: PLC0414  # a fixture
from tests.support.senders import STAFF

QUEUE = "support@in.test"
PROFILE = CreationRule("on_new", "case", owners=(STAFF,), kept_in="profile staff")


class Rules:
    """Rules as the CRM writes them, and what becomes of mail by them."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.crm = records.crm

    async def write(self, name: str, position: int, makes: str, **more: Any) -> None:
        """Write a rule, as the CRM's own role."""
        row = {"name": name, "position": position, "makes": makes, **more}
        await self.crm.sql.execute(
            f"INSERT INTO crm.creation_rule ({', '.join(json.dumps(key) for key in row)}) "
            f"VALUES ({', '.join(f'${number}' for number in range(1, len(row) + 1))})",
            *(json.dumps(value) if isinstance(value, dict) else value for value in row.values()),
        )

    async def decide(
        self, *rules: CreationRule, by: Database | None = None, sender: str = KARL, **more: Any
    ) -> Decision:
        """Bring a message in, by a profile with these rules and one of the processes."""
        copy = replace(self.records.senders.copy(self.records.senders.message(sender, **more)), creation_rules=rules)
        [decision] = await inbox.promote(by or self.records.database, Batch([copy]), decide_batch)
        return decision

    async def said(self, *rules: CreationRule, by: Database | None = None, **more: Any) -> str:
        """Bring a message in, and say what was decided about a record."""
        return (await self.decide(*rules, by=by, **more)).reasons[-1]

    async def listed(self, folder: Path, mailbox: str | None = None) -> list[ListedRule]:
        """List the rules."""
        return list((await list_rules(self.records.database, folder, mailbox)).rules)


@pytest.fixture
def rules(records: Records) -> Rules:
    return Rules(records)


@pytest.fixture
async def other(database: str) -> AsyncIterator[Database]:
    """Another process."""
    async with Database(database) as opened:
        yield opened


async def test_t124_rules_of_the_database_come_in_their_order_and_before_those_of_profiles(
    rules: Rules, other: Database
) -> None:
    await rules.crm.record("contact", "Karl", KARL)
    assert await rules.said(PROFILE) == "rule 'on_new' of profile staff wants a case"
    await rules.write("orders", 20, "case", owners=[STAFF.upper()], subject=["ORDER"], priority="high")
    await rules.write("shop", 10, "nothing", owners=["other@in.test", STAFF], **{"from": ["Shop.test"]})
    await rules.write("also orders", 20, "case", owners=[STAFF], subject=["order"])
    # What was written counts for the next mail, whoever brings it.
    for process in (rules.records.database, other):
        assert await rules.said(PROFILE, by=process, subject="hello") == "rule 'on_new' of profile staff wants a case"
        of_shop = await rules.said(PROFILE, by=process, sender="a@shop.test", subject="Your order")
        assert of_shop == "no record is made of it: rule 'shop' of the database wants nothing"
        decision = await rules.decide(PROFILE, by=process, subject="My order")
        assert decision.reasons[-1] == "rule 'also orders' of the database wants a case"
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET active = false WHERE name = 'also orders'")
    for process in (rules.records.database, other):
        decision = await rules.decide(by=process, subject="My order")  # of a profile that has no rules
        assert (decision.creation and decision.creation.rule, decision.creation and decision.creation.priority) == (
            "orders",
            "high",
        )
    await rules.records.make()
    assert {case["priority"] for case in await rules.records.cases()} == {"normal", "high"}
    await rules.crm.sql.execute("DELETE FROM crm.creation_rule")
    assert "record" not in " ".join((await rules.decide(by=other, subject="My order")).reasons)


async def test_t120_a_rule_of_the_database_without_owners_is_for_every_queue(rules: Rules) -> None:
    await rules.write("all", 1, "case")
    await rules.write("of others", 0, "lead", owners=[QUEUE])
    assert (await rules.decide()).creation is None  # the owner is a user
    await rules.crm.admin.execute("UPDATE crm.record SET kind = 'queue' WHERE id = $1", rules.records.senders.owner_id)
    assert await rules.said(PROFILE) == "rule 'all' of the database wants a case"


async def test_t124_a_row_says_what_a_table_of_a_profile_says(rules: Rules, tmp_path: Path) -> None:
    """The same words, by one validation; and what SQL lets in, Python understands."""
    row = {
        "owners": ["Support@in.test"],
        "to": ["Help@in.test", " *.in.test "],
        "from": ["münchen.test", "a@xn--bcher-kva.test", "*.shop.test"],
        "subject": ["Request", "é" * 200],
        "headers": {"X-Form": "contact {"},
        "sender": "unknown",
        "internal": True,
        "unknown_sender": "wait",
        "reopen_days": 0,
        "priority": "very high",
        "fields": {"subject": "{{{subject}}} of {sender_name}", "_a1": "{sender_address}{sender_domain}}}"},
    }
    await rules.write("web form", 10, "case", **row)
    await rules.write("é" * 60, 20, "nothing")
    toml = '[[create]]\nname = "web form"\nmakes = "case"\n'
    for key, value in row.items():
        shown = json.dumps(value) if not isinstance(value, dict) else json.dumps(value).replace('": ', '" = ')
        toml += f"{key} = {shown}\n"
    [written] = read_rules("a.toml", toml.encode(), "staff")
    [stored, plain] = await rules.listed(tmp_path)
    assert stored.rule is not None
    assert dict(stored.rule.fields) == dict(written.fields)
    assert replace(stored.rule, fields=written.fields, kept_in="the file") == written
    assert (stored.kept_in, plain.rule) == ("the database", CreationRule("é" * 60, "nothing", kept_in="the database"))
    assert [one.note for one in (stored, plain)] == ["no owner has the mailbox support@in.test", None]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name must be 1 to 60 characters in one line"),
    ({"name": "x" * 61}, "name must be 1 to 60 characters in one line"),
    ({"name": "a\nb"}, "name must be 1 to 60 characters in one line"),
    ({"name": "a\u200b"}, "name must be 1 to 60 characters in one line"),
    ({"makes": "cases"}, "makes must be case, contact, lead or nothing"),
    ({"owners": []}, "owners must be a list of 1 to 200, or null"),
    ({"owners": ["x"]}, "owners must be addresses of mailboxes, such as support@example.com"),
    ({"owners": ["*@in.test"]}, "owners must be addresses of mailboxes"),
    ({"owners": [None]}, "owners must be addresses of mailboxes"),
    ({"to": ["a b"]}, "to must be patterns such as ann@example.com, example.com and *.example.com"),
    ({"from": ["*@a.test"]}, "from must be patterns"),
    ({"from": ["..."]}, "from must be patterns"),
    ({"from": ["a.test"] * 201}, "from must be a list of 1 to 200, or null"),
    ({"subject": [" "]}, "subject must be texts of 1 to 200 characters"),
    ({"subject": ["x" * 201]}, "subject must be texts of 1 to 200 characters"),
    ({"headers": {}}, "headers must be an object of 1 to 50 texts"),
    ({"headers": {"X Form": "a"}}, "headers must be names of headers with texts"),
    ({"headers": {"X-Form": 1}}, "headers must be texts of 1 to 200 characters"),
    ({"sender": "some"}, "sender must be any, known or unknown"),
    ({"unknown_sender": "case"}, "unknown_sender must be open, contact, lead or wait"),
    ({"reopen_days": -1}, "reopen_days must be between 0 and 3650"),
    ({"priority": " "}, "priority must be 1 to 60 characters in one line"),
    ({"fields": {"a b": "c"}}, "fields must have names of letters, digits and _"),
    ({"fields": {"a": "{name}"}}, "fields: in braces stand {subject}, {sender_name}"),
    ({"fields": {"a": "{{}"}}, "fields: in braces stand {subject}, {sender_name}"),
    ({"fields": {"a": None}}, "fields must be texts of 1 to 200 characters"),
    ({"makes": "lead", "priority": "high"}, "priority means nothing here: it belongs to a rule that makes a case"),
    ({"makes": "nothing", "reopen_days": 3}, "reopen_days means nothing here"),
    ({"makes": "nothing", "fields": {"a": "b"}}, "fields means nothing here: the rule makes nothing that has fields"),
    ({"makes": "contact", "sender": "known"}, "sender must be unknown or any: a contact is made only of a sender"),
    ({"from": ["x" * 190 + ".test"] * 150}, "the rule must be at most 10,000 characters: make two of it"),
]


async def test_t124_a_wrong_row_is_refused_at_once_in_words(rules: Rules) -> None:
    for keys, words in WRONG:
        row: dict[str, Any] = {"name": "a", "position": 1, "makes": "case"} | keys
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await rules.write(**row)
        assert str(refused.value).startswith(words), keys
    await rules.write("a", 1, "case")
    with pytest.raises(asyncpg.CheckViolationError, match="makes must be"):
        await rules.crm.sql.execute("UPDATE crm.creation_rule SET makes = 'cases'")
    with pytest.raises(asyncpg.UniqueViolationError):
        await rules.write("a", 2, "lead")


async def test_t124_a_wrong_row_stops_no_mail_and_is_told(rules: Rules, tmp_path: Path) -> None:
    """As where an older version let it in, or somebody switched the trigger off."""
    database = rules.records.database
    await rules.write("good", 20, "case", owners=[STAFF])
    await rules.crm.admin.execute(
        f"""
        ALTER TABLE crm.creation_rule DISABLE TRIGGER guard_creation_rule;
        INSERT INTO crm.creation_rule (name, position, makes, owners, priority, fields)
            VALUES ('bad', 10, 'lead', '{{{STAFF}}}', 'high', '{{"a": "{{what}}"}}');
        ALTER TABLE crm.creation_rule ENABLE TRIGGER guard_creation_rule;
        """
    )
    decision = await rules.decide()
    assert decision.reasons[-2:] == (
        "rule 'bad' of the database is wrong, and passed over",
        "rule 'good' of the database wants a case",
    )
    words = "it is passed over: fields: in braces stand {subject}, {sender_name}, {sender_address} and {sender_domain}"
    [fault] = [one for one in (await status.read(database, timedelta(10), tmp_path)).faults if one.part == "rule"]
    assert (fault.name, fault.cure) == ("'bad'", "email-router records rules")
    assert fault.words.startswith(words)
    patient = Patient(Settings(data=tmp_path, profiles=tmp_path))
    patient.database = database
    assert [one.state async for one in checks.rules(patient)] == ["failed"]
    checked = await check.with_owners(check.Checked((), (), ()), database)
    assert [one.text.partition(": ")[0] for one in checked.rules] == ["rule 'bad' of the database"]
    # It can be switched off as it is, and then nothing is told any more.
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET active = false WHERE name = 'bad'")
    assert await rules.said() == "rule 'good' of the database wants a case"
    assert await creation_rules.wrong_rules(database) == []
    assert [one.state async for one in checks.rules(patient)] == ["ok"]
    with pytest.raises(asyncpg.CheckViolationError, match="in braces stand"):
        await rules.crm.sql.execute("UPDATE crm.creation_rule SET active = true WHERE name = 'bad'")


async def test_t124_it_is_known_who_changed_a_rule_and_when(rules: Rules, tmp_path: Path) -> None:
    await rules.write("a", 1, "case", by="ann")
    role = await rules.crm.sql.fetchval("SELECT session_user")
    [before] = await rules.listed(tmp_path)
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET makes = makes")
    assert await rules.listed(tmp_path) == [before]
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET priority = 'high'")
    [after] = await rules.listed(tmp_path)
    assert (before.by, after.by) == ("ann", role)
    assert before.at is not None
    assert after.at is not None
    assert before.at < after.at
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET priority = 'low', by = 'ben'")
    assert (await rules.listed(tmp_path))[0].by == "ben"
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET priority = 'high', by = 'ben', at = now()")
    assert (await rules.listed(tmp_path))[0].by == "ben"


async def test_t124_the_rules_in_force_for_an_owner_are_listed_in_their_order(rules: Rules, tmp_path: Path) -> None:
    await rules.crm.owner(QUEUE, "all", kind="queue")
    await rules.write("every", 30, "case")
    await rules.write("own", 10, "nothing", owners=[QUEUE], **{"from": ["shop.test"]})
    await rules.write("of staff", 20, "lead", owners=[STAFF])
    await rules.write("off", 5, "case", active=False)
    (tmp_path / "a.toml").write_text(
        '[incoming.support]\ntransport = "imap"\nhost = "a.test"\nowners = ["*@in.test"]\non_new = "case"\n'
        'auth = { user = "a", password = { env = "NO_SUCH_SECRET" } }\n'
        f'[[incoming.support.create]]\nname = "ours"\nmakes = "lead"\nowners = ["{STAFF}"]\n'
    )
    (tmp_path / "b.toml").write_text('[incoming.broken]\ntransport = "imap"\ncreate = 1\n')

    async def names(mailbox: str | None) -> list[tuple[str, str]]:
        return [(one.name, one.kept_in) for one in await rules.listed(tmp_path, mailbox)]

    assert await names(QUEUE) == [
        ("own", "the database"),
        ("every", "the database"),
        ("on_new", "profile support"),
    ]
    assert await names(STAFF) == [("of staff", "the database"), ("ours", "profile support")]
    assert [name for name, _ in await names(None)] == ["off", "own", "of staff", "every", "ours", "on_new"]
    listed = await list_rules(rules.records.database, tmp_path, None)
    assert {Path(one.file).name for one in listed.mistakes} == {"b.toml"}
    document = _document(listed.rules[1])
    assert (document["from"], document["position"], document["kept_in"]) == (("shop.test",), 10, "the database")


async def test_t124_two_hundred_rules_are_enough_and_those_of_others_cost_nothing(rules: Rules) -> None:
    await rules.crm.admin.execute(
        f"""
        ALTER TABLE crm.creation_rule DISABLE TRIGGER guard_creation_rule;
        INSERT INTO crm.creation_rule (name, position, makes)
            SELECT 'all ' || n, n, 'case' FROM generate_series(1, 200) AS n;
        INSERT INTO crm.creation_rule (name, position, makes, owners)
            SELECT 'own ' || n, n, 'case', '{{{STAFF}}}' FROM generate_series(1, 200) AS n;
        INSERT INTO crm.creation_rule (name, position, makes, owners)
            SELECT 'other ' || n, n, 'case', ARRAY['queue-' || n || '@in.test'] FROM generate_series(1, 20000) AS n;
        ALTER TABLE crm.creation_rule ENABLE TRIGGER guard_creation_rule;
        ANALYZE crm.creation_rule;
        """
    )
    with pytest.raises(asyncpg.CheckViolationError, match="there are 200 rules for every queue already"):
        await rules.write("a", 1, "case")
    with pytest.raises(asyncpg.CheckViolationError, match=f"there are 200 rules for {STAFF} already"):
        await rules.write("a", 1, "case", owners=[STAFF])
    await rules.write("a", 1, "case", owners=[QUEUE])
    await rules.crm.sql.execute("UPDATE crm.creation_rule SET priority = 'high' WHERE name = 'all 7'")
    reads = Reads()
    add_creation_rules(reads, [rules.records.senders.copy(rules.records.senders.message(KARL))])
    sql = f"EXPLAIN WITH asked AS ({reads._parts['creation_rules']}) SELECT * FROM asked"
    plan = "\n".join(row[0] for row in await rules.crm.admin.fetch(sql, *reads._arguments))
    assert "creation_rule_all" in plan, plan
    assert "creation_rule_owners" in plan, plan
    assert "Seq Scan on creation_rule" not in plan, plan
