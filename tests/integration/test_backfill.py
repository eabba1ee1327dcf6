"""Backfill: the past of a mailbox is judged by today's rule, once, and by nobody who did not ask."""

import asyncio
import imaplib
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from router.incoming import backfill as incoming_backfill
from router.incoming.backfill import Backfill, Backfilled
from router.operations import backfill as operation
from router.profile import read_folder
from router.read import read
from router.repository.database import Database
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter
from transports.imap import walk

KARL = "karl@kunde.test"
LONG_AGO = datetime(2024, 3, 1, 12, tzinfo=UTC)
BEFORE = datetime(2023, 11, 1, 12, tzinfo=UTC)
SINCE = "2024-01-01"

BringIn = Callable[..., Awaitable[Backfilled]]


@pytest.fixture
async def bring_in(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`await bring_in(profiles, mailbox)` brings in its past since 2024, in the test's own process."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "backfilled"
    folder.mkdir()

    async with Database(database) as opened, Workers(read, unwrap, limit=30, size=1) as workers:

        async def bring_in(profiles: str, mailbox: str, **more: Any) -> Backfilled:
            (folder / "all.toml").write_text(profiles)
            found = await operation.find(opened, read_folder(folder), "staff", mailbox)
            since = date.fromisoformat(SINCE)
            [one] = [one async for one in operation.backfill(opened, workers, found, since, "ann", **more)]
            return one

        yield bring_in


def append(dovecot: Dovecot, mailbox: str, message: bytes, at: datetime, folder: str = "INBOX") -> None:
    with dovecot.connect(mailbox) as imap:
        imap.create(folder)
        assert imap.append(folder, "", imaplib.Time2Internaldate(at), message)[0] == "OK"


async def begin(crm: Crm, sources: int = 1) -> None:
    await crm.wait_for(sources, "SELECT count(*) FROM router.source WHERE begins_at < 'infinity'")


async def test_t16_a_wider_rule_holds_for_new_mail_and_backfill_applies_it_to_what_was_ignored(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    owner = await crm.owner(mailbox, "replies")
    await crm.record("contact", "Karl", KARL)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "ignored first"))
    router = await new_router(incoming(start="all", poll=1))
    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"ignored": 1}
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all' WHERE record_id = $1", owner)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "new"))
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"ignored": 1, "promoted": 1}

    said = await ask(router, "backfill", "staff", "--since", SINCE, "--yes", "--by", "ann")
    assert (said.status, said.err) == (0, "")
    assert said.out == f"{mailbox}: 2 messages: 1 promoted, 1 with a disposition already\n"
    assert await crm.dispositions() == {"promoted": 2}
    await crm.check_balance()
    reasons = await crm.admin.fetchval(
        "SELECT d.reasons FROM router.decision AS d JOIN crm.email AS e ON e.id = d.email_id "
        "WHERE e.subject = 'ignored first'"
    )
    assert "backfilled by ann" in reasons
    parties = await crm.rows(
        "SELECT record_id FROM crm.party JOIN crm.email AS e ON e.id = email_id "
        "WHERE role = 'from' AND e.subject = 'ignored first'"
    )
    assert [row["record_id"] for row in parties] != [None]


async def test_what_came_before_reading_began_is_brought_in_as_far_back_as_asked_and_once(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    append(dovecot, mailbox, letter(KARL, mailbox, "older"), BEFORE)
    append(dovecot, mailbox, letter(KARL, mailbox, "long ago"), LONG_AGO)
    append(dovecot, mailbox, letter("stranger@out.test", mailbox, "private"), LONG_AGO)
    router = await new_router(incoming(poll=1))
    await begin(crm)
    assert await crm.dispositions() == {}
    dovecot.deliver(mailbox, letter(KARL, mailbox, "new"))
    await crm.wait_for_decisions(1)

    said = await ask(router, "backfill", "staff", "--since", SINCE, "--dry-run")
    numbers = "4 messages, would be: 1 promoted, 1 ignored, 1 with a disposition already, 1 from before 2024-01-01"
    assert (said.status, said.out, said.err) == (0, f"{mailbox}: {numbers}\n", "")
    assert await crm.dispositions() == {"promoted": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.backfill") == 0

    said = await ask(router, "backfill", "staff", "--since", SINCE, "--yes", "--json")
    [one] = said.json["mailboxes"]
    assert [one[name] for name in ("promoted", "ignored", "decided_before", "older")] == [1, 1, 1, 1]
    rows = await crm.rows("SELECT subject, received_at FROM crm.email ORDER BY received_at")
    assert [row["subject"] for row in rows] == ["long ago", "new"]
    assert rows[0]["received_at"] == LONG_AGO
    # Again it finds all as it is, and leaves private mail where it is.
    said = await ask(router, "backfill", "staff", "--since", SINCE, "--yes")
    assert f"{mailbox}: 4 messages: 1 ignored, 2 with a disposition already, 1 from before" in said.out
    assert await crm.dispositions() == {"promoted": 2, "ignored": 1}
    await crm.check_balance()


@pytest.mark.parametrize("kind", ["pop3", "maildir"])
async def test_it_goes_by_what_each_server_tells_of_dates(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    bring_in: BringIn,
    kind: str,
) -> None:
    await crm.owner(mailbox, "all")
    append(dovecot, mailbox, letter(KARL, mailbox, "long ago", Date="Fri, 01 Mar 2024 12:00:00 +0000"), LONG_AGO)
    keys: dict[str, Any] = {"transport": "pop3", "port": dovecot.pop3s}
    if kind == "maildir":
        keys = {"transport": "maildir", "path": str(dovecot.maildir("{mailbox}"))}
        keys |= dict.fromkeys(("host", "port", "ca_file", "auth"))
    profile = incoming(**keys, start="now", poll=1)
    await new_router(profile)
    await begin(crm)
    assert (await bring_in(profile, mailbox)).counts == {"promoted": 1}
    assert (await bring_in(profile, mailbox)).counts == {"decided_before": 1}


async def test_nobody_is_told_that_mail_of_the_past_was_received(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, bring_in: BringIn
) -> None:
    owner = await crm.owner(mailbox, "all", kind="queue")
    await crm.sql.execute("INSERT INTO crm.template (name, subject, text_body) VALUES ('thanks', 'Re', 'We have it.')")
    await crm.sql.execute("UPDATE crm.owner SET acknowledgement = 'thanks' WHERE record_id = $1", owner)
    profile = incoming(start="all", poll=1)
    await new_router(profile)
    await begin(crm)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "acknowledged"))
    acknowledged = (
        "SELECT (SELECT count(*) FROM router.acknowledgement) + count(*) FROM crm.email WHERE direction = 'out'"
    )
    await crm.wait_for(1, acknowledged)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'replies'")
    dovecot.deliver(mailbox, letter("ben@kunde.test", mailbox, "ignored"))
    await crm.wait_for_decisions(2)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    assert (await bring_in(profile, mailbox)).counts["promoted"] == 1
    assert await crm.admin.fetchval(acknowledged) == 1


async def test_what_was_interrupted_goes_on_where_it_was(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    bring_in: BringIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walk, "PAGE", 2)
    await crm.owner(mailbox, "all")
    for number in range(7):
        append(dovecot, mailbox, letter(KARL, mailbox, f"{number}"), LONG_AGO + timedelta(days=number))
    profile = incoming(poll=1)
    await new_router(profile)
    await begin(crm)

    class Killed(Exception):
        """The command ends here."""

    def stop_after_two_pages(one: Backfilled) -> None:
        if one.looked_at >= 4:
            raise Killed

    with pytest.raises(Killed):
        await bring_in(profile, mailbox, tell=stop_after_two_pages)
    assert await crm.dispositions() == {"promoted": 4}

    fetched: list[int] = []
    page = Backfill._page

    async def noted(self: Backfill, *arguments: Any) -> Any:
        fetched.append(len(arguments[-1]))
        return await page(self, *arguments)

    monkeypatch.setattr(Backfill, "_page", noted)
    found = await bring_in(profile, mailbox)
    assert found.counts == {"promoted": 7}
    assert list(found.resumed) == ["INBOX"]
    assert sum(fetched) == 3
    assert await crm.dispositions() == {"promoted": 7}
    await crm.check_balance()
    # It came to its end, so the next begins at the beginning.
    assert (await bring_in(profile, mailbox)).counts == {"decided_before": 7}


async def test_two_at_once_beside_a_router_bring_in_each_message_once(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, bring_in: BringIn
) -> None:
    await crm.owner(mailbox, "replies")
    for number in range(30):
        append(dovecot, mailbox, letter(KARL, mailbox, f"old {number}"), LONG_AGO)
    profile = incoming(poll=1)
    await new_router(profile)
    await begin(crm)
    for number in range(30):
        dovecot.deliver(mailbox, letter(KARL, mailbox, f"ignored {number}"))
    await crm.wait_for_decisions(30)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all'")
    both = asyncio.gather(bring_in(profile, mailbox), bring_in(profile, mailbox))
    for number in range(10):
        dovecot.deliver(mailbox, letter(KARL, mailbox, f"new {number}"))
    first, second = await both
    await crm.wait_for_emails(70)
    assert first.counts["promoted"] + second.counts["promoted"] == 60
    assert await crm.dispositions() == {"promoted": 70}
    assert await crm.admin.fetchval("SELECT count(DISTINCT subject) FROM crm.email") == 70
    await crm.check_balance()


async def test_held_mail_stays_held_and_what_is_held_elsewhere_too(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, bring_in: BringIn
) -> None:
    await crm.owner(mailbox, "all")
    await crm.record("contact", "Karl", KARL)
    denied = "mail.in.test; dmarc=fail header.from=kunde.test"
    forged = letter(KARL, mailbox, "forged", Authentication_Results=denied)
    dovecot.deliver(mailbox, forged)
    profile = incoming(start="all", authserv="mail.in.test", poll=1)
    await new_router(profile)
    await crm.wait_for_decisions(1)
    assert (await bring_in(profile, mailbox)).counts == {"decided_before": 1}
    assert await crm.dispositions() == {"held": 1}


async def test_a_mailbox_that_was_never_read_says_so(
    crm: Crm, incoming: Profile, mailbox: str, bring_in: BringIn
) -> None:
    await crm.owner(mailbox, "all")
    found = await bring_in(incoming(), mailbox)
    assert found.faults == {"INBOX": incoming_backfill._NEVER_READ}


async def test_what_cannot_be_asked_for_is_told(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "none")
    router = await new_router(incoming())
    for arguments, words in {
        ("staff", "--since", SINCE): "the rule is none",
        ("nobody", "--since", SINCE): "there is no incoming profile 'nobody'",
        ("staff", "--owner", "x@in.test", "--since", SINCE): "no owner has the mailbox x@in.test",
        ("staff", "--since", "2999-01-01"): "lies in the future",
        ("staff", "--since", "yesterday"): "does not match the format",
    }.items():
        said = await ask(router, "backfill", *arguments, "--yes")
        assert (said.status, words in " ".join(said.err.split())) == (2, True), said
