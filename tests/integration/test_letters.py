"""Dead letters are replayed, held mail is released or dropped: each copy has one disposition, and comes once."""

import asyncio
import json
import os
import smtplib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from router.incoming.promote import Promoter
from router.incoming.replay import LetterReader
from router.model import Disposition, Ruling
from router.operations import letters as operation
from router.operations.letters import Selection
from router.profile import Profiles, load
from router.read import read
from router.repository.database import Database
from router.repository.incoming.letters import drop, list_letters
from router.unwrap import unwrap
from router.workers.pool import Workers
from tests.integration.test_forward import Sink
from tests.integration.test_forward import sink as sink  # noqa: PLC0414  # a fixture
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.api import Api
from tests.support.command import Said, type_command
from tests.support.crm import Crm, Parcel
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter, RouterProcess

KARL = "karl@kunde.test"
DENIED = b"Authentication-Results: mail.in.test 1;\r\n\tdmarc=fail (p=reject dis=none) header.from=kunde.test\r\n"


Ask = Callable[..., Any]


@pytest.fixture
def ask(database: str) -> Ask:
    """`await ask(router, "dead-letters", "list")`: with the profiles of this router."""

    async def ask(router: RouterProcess, *arguments: str) -> Said:
        return await type_command(database, *arguments, profiles=router.profiles)

    return ask


async def _start(database: str, router: RouterProcess, arguments: Sequence[str]) -> asyncio.subprocess.Process:
    environment = {"EMAIL_ROUTER_DATABASE_URL": database, "EMAIL_ROUTER_PROFILES": str(router.profiles)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | SECRETS | environment,
    )  # fmt: skip


async def _break(crm: Crm) -> None:
    """From now on a message is a dead letter whose subject begins so."""
    await crm.admin.execute("ALTER TABLE crm.email ADD CONSTRAINT broken CHECK (subject NOT LIKE 'broken%')")


async def _mend(crm: Crm) -> None:
    await crm.admin.execute("ALTER TABLE crm.email DROP CONSTRAINT broken")


async def balanced(crm: Crm) -> dict[str, int]:
    """The dispositions, of which `router.source_count` has as many."""
    [counts] = await crm.admin.fetch(
        "SELECT sum(promoted)::int AS promoted, sum(duplicate)::int AS duplicate, sum(ignored)::int AS ignored, "
        "sum(held)::int AS held, sum(dead)::int AS dead FROM router.source_count"
    )
    dispositions = await crm.dispositions()
    assert {name: number for name, number in counts.items() if number} == dispositions
    return dispositions


def _listener(port: int, rule: str = "known") -> str:
    return (
        f'[incoming.copies]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n'
        f'rule = "{rule}"\nauthserv = "mail.in.test"\n'
    )


async def _hand_over(port: int, mails: Sequence[bytes], *recipients: str) -> None:
    def work() -> None:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            for mail in mails:
                smtp.sendmail(KARL, list(recipients), mail)

    await asyncio.to_thread(work)


async def test_t118_a_dead_letter_is_fetched_again_from_its_mailbox_and_settled_by_the_router(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    await _break(crm)
    for subject in ("one", "broken", "three"):
        dovecot.deliver(mailbox, letter(KARL, mailbox, subject))
    router = await new_router(incoming(start="all", after="seen", poll=1))
    await crm.wait_for_decisions(3)
    await router.wait_for_log("mail could not be read or stored")
    assert await balanced(crm) == {"promoted": 2, "dead": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0
    [dead] = (await ask(router, "dead-letters", "list", "--json")).json["letters"]
    assert (dead["mailbox"], dead["owner"], dead["kept_until"]) == (mailbox, mailbox, None)
    before = await crm.admin.fetchrow("SELECT id, place, received_at FROM router.decision WHERE disposition = 'dead'")

    # As long as it breaks, it is dead again, and the same letter.
    said = await ask(router, "dead-letters", "replay", "--all", "--by", "ann")
    assert (said.status, said.err) == (1, "")
    assert "dead (replayed by ann; it could not be stored:" in said.out
    assert await balanced(crm) == {"promoted": 2, "dead": 1}
    await _mend(crm)
    said = await ask(router, "dead-letters", "replay", str(dead["number"]), "--by", "ann")
    assert (said.status, said.err) == (0, "")
    assert "promoted (replayed by ann; the sender is a contact, lead or account)" in said.out
    assert await balanced(crm) == {"promoted": 3}
    after = await crm.admin.fetchrow(
        "SELECT d.id, d.place, d.received_at FROM router.decision AS d JOIN crm.email AS e ON e.id = d.email_id "
        "WHERE e.subject = 'broken' AND e.received_at = d.received_at"
    )
    assert before == after
    receipts = await crm.rows("SELECT DISTINCT owner_id, profile FROM crm.receipt")
    assert [row["profile"] for row in receipts] == ["staff"]
    assert len(await crm.rows("SELECT FROM crm.event WHERE kind = 'promoted'")) == 3
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert list(dovecot.flags(mailbox).values()) == [{"\\Seen"}] * 3
    said = await ask(router, "dead-letters", "replay", "--all")
    assert (said.status, said.out) == (0, "there is no dead letter\n")


async def test_one_that_is_gone_from_its_mailbox_is_told_and_the_others_are_replayed(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    await _break(crm)
    for subject in ("broken 1", "broken 2"):
        dovecot.deliver(mailbox, letter(KARL, mailbox, subject))
    router = await new_router(incoming(start="all"))
    await crm.wait_for_decisions(2)
    await router.stop()
    await _mend(crm)
    with dovecot.connect(mailbox) as imap:
        imap.select()
        imap.uid("STORE", "1", "+FLAGS", r"(\Deleted)")
        imap.expunge()
    said = await ask(router, "dead-letters", "replay", "--all", "--json")
    assert said.status == 1
    faults = [one["fault"] for one in said.json["letters"]]
    assert faults == ["its bytes are not kept, and it is no longer where it lay on the server", None]
    assert await balanced(crm) == {"promoted": 1, "dead": 1}
    assert (await ask(router, "dead-letters", "drop", "--all", "--yes")).status == 0
    assert await balanced(crm) == {"promoted": 1, "ignored": 1}


async def test_what_a_listener_took_is_replayed_from_its_bytes_with_its_envelope(
    crm: Crm, new_router: NewRouter, ask: Ask
) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "known")
    contact = await crm.record("contact", "Karl", KARL)
    await _break(crm)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [letter(KARL, "undisclosed@in.test", "broken")], f"{ulla}")
    await crm.wait_for_decisions(1)
    [dead] = (await ask(router, "dead-letters", "list", "--owner", ulla, "--json")).json["letters"]
    assert dead["kept_until"]
    assert (await ask(router, "dead-letters", "list", "--owner", "nobody@in.test", "--json")).json["letters"] == []
    shown = await ask(router, "dead-letters", "show", str(dead["number"]))
    assert shown.status == 0
    assert "broken" in shown.out
    raw = await ask(router, "dead-letters", "show", str(dead["number"]), "--raw")
    assert (raw.status, "\nSubject: broken\r\n" in raw.out) == (0, True)
    assert await crm.admin.fetchval("SELECT recipients FROM router.kept_content") == [ulla]
    await _mend(crm)
    await router.stop()  # no router is needed
    assert (await ask(router, "dead-letters", "replay", "--all")).status == 0
    assert await balanced(crm) == {"promoted": 1}
    assert await crm.admin.fetchval("SELECT record_id FROM crm.party WHERE role = 'from'") == contact
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0


async def test_under_the_rule_none_a_listener_keeps_no_bytes_of_a_dead_letter(crm: Crm, new_router: NewRouter) -> None:
    port = free_port()
    await crm.owner("ulla@in.test", "none")
    await crm.owner("otto@in.test", "known")
    await crm.admin.execute(
        """
        CREATE FUNCTION public.break() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- The rule all: a plain message, by which the router finds out whose fault it is.
            IF NEW.disposition <> 'dead' AND NEW.rule <> 'all' THEN
                RAISE EXCEPTION 'broken' USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER zz_break BEFORE INSERT ON router.decision FOR EACH ROW EXECUTE FUNCTION public.break();
        """
    )
    await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [letter(KARL, "ulla@in.test", "private")], "ulla@in.test", "otto@in.test")
    await crm.wait_for_decisions(2)
    kept = await crm.admin.fetch(
        "SELECT d.rule, k.decision_id IS NOT NULL AS kept FROM router.decision AS d "
        "LEFT JOIN router.kept_content AS k ON k.decision_id = d.id WHERE disposition = 'dead' ORDER BY 1"
    )
    assert [tuple(row) for row in kept] == [("known", True), ("none", False)]


async def test_t110_t111_held_mail_is_released_or_dropped(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    for subject in ("release", "drop", "over HTTP", "wait"):
        dovecot.deliver(mailbox, DENIED + letter(KARL, mailbox, subject))
    port = free_port()
    router = await new_router(
        incoming(start="all", authserv="mail.in.test", after="seen", poll=1), EMAIL_ROUTER_CONSOLE=f"127.0.0.1:{port}"
    )
    await crm.wait_for_decisions(4)
    assert await balanced(crm) == {"held": 4}
    # Each was held before in this mailbox, which must not hold the one that is released.
    first, second, third, _ = (one["number"] for one in (await ask(router, "held", "list", "--json")).json["letters"])
    wrong = await ask(router, "dead-letters", "replay", str(first))
    assert wrong.status == 2
    assert "it is held" in wrong.err
    said = await ask(router, "held", "release", str(first), "--by", "ann", "--json")
    assert said.status == 0
    [decision] = said.json["letters"][0]["decisions"]
    assert decision["disposition"] == "promoted"
    assert decision["reasons"][0] == "released by ann"
    assert await crm.admin.fetchval("SELECT flags FROM crm.email") == ["dmarc-fail"]
    said = await ask(router, "held", "drop", str(second), "--by", "ann", "--yes")
    assert said.status == 0
    assert "ignored (" in said.out
    assert await balanced(crm) == {"promoted": 1, "ignored": 1, "held": 2}
    async with aiohttp.ClientSession() as session:
        api = Api(router, port, session, "")
        api.token = await api.token_of("support", "letters:read", "letters:decide")
        found = (await api.get("/held", params={"limit": "1"})).json
        assert [one["number"] for one in found["letters"]] == [third]
        assert found["letters"][0]["owner"] == mailbox
        assert len((await api.get("/held", params={"cursor": found["cursor"]})).json["letters"]) == 1
        assert (await api.post(f"/dead-letters/{third}/replay")).status == 404
        answered = await api.post(f"/held/{third}/release")
        assert answered.status == 200, answered
        [decision] = answered.json["decisions"]
        assert decision["disposition"] == "promoted"
        assert decision["reasons"][0] == "released by support"
        assert await crm.admin.fetchval("SELECT true FROM crm.email WHERE id = $1", UUID(decision["email_id"]))
        assert (await api.post(f"/held/{third}/release")).status == 404
        assert (await api.post(f"/held/{third}/drop")).status == 404
    assert await balanced(crm) == {"promoted": 2, "ignored": 1, "held": 1}
    reasons = await crm.admin.fetchval("SELECT reasons FROM router.decision WHERE disposition = 'ignored'")
    assert reasons[-1] == "dropped by ann"
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    # What was dropped stays where it is, as all that is ignored.
    assert sorted(map(sorted, dovecot.flags(mailbox).values())) == [[], [], ["\\Seen"], ["\\Seen"]]


async def test_t110_what_is_released_is_promoted_with_everything(crm: Crm, new_router: NewRouter, ask: Ask) -> None:
    ulla = "ulla@in.test"
    owner_id = await crm.owner(ulla, "known")
    contact = await crm.record("contact", "Karl", KARL)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    parcel = Parcel("offer.txt", "text/plain", b"ten bicycles\n")
    held = DENIED + letter(KARL, ulla, "The offer", attachments=[parcel], Message_ID="<offer@kunde.test>")
    await _hand_over(port, [held], ulla)
    await crm.wait_for_decisions(1)
    assert await balanced(crm) == {"held": 1}
    # Its answer is there first, and waits.
    await _hand_over(port, [letter(KARL, ulla, "Re: The offer", In_Reply_To="<offer@kunde.test>")], ulla)
    await crm.wait_for_decisions(2)
    assert await crm.admin.fetchval("SELECT correlated_id FROM crm.email") is None
    before = await crm.admin.fetchrow("SELECT id, received_at FROM router.decision WHERE disposition = 'held'")
    assert before is not None
    said = await ask(router, "held", "release", str(before["id"]), "--by", "ann", "--json")
    [decision] = said.json["letters"][0]["decisions"]
    assert (decision["disposition"], decision["reasons"][0]) == ("promoted", "released by ann")
    email = await crm.admin.fetchrow("SELECT * FROM crm.email WHERE id::text = $1", decision["email_id"])
    assert email is not None
    assert (email["subject"], email["received_at"]) == ("The offer", before["received_at"])
    parties = await crm.rows("SELECT role, record_id FROM crm.party WHERE email_id = $1 ORDER BY role", email["id"])
    assert [tuple(row) for row in parties] == [("from", contact), ("to", owner_id)]
    receipts = await crm.rows("SELECT owner_id, profile FROM crm.receipt WHERE email_id = $1", email["id"])
    assert [tuple(row) for row in receipts] == [(owner_id, "copies")]
    assert (
        await crm.admin.fetchval("SELECT filename FROM crm.attachment WHERE email_id = $1", email["id"]) == "offer.txt"
    )
    events = await crm.rows("SELECT kind FROM crm.event WHERE email_id = $1", email["id"])
    assert [row["kind"] for row in events] == ["promoted"]
    await crm.wait_for(email["id"], "SELECT correlated_id FROM crm.email WHERE subject = 'Re: The offer'")
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0
    assert await balanced(crm) == {"promoted": 2}


async def test_t110_what_is_gone_from_its_mailbox_cannot_be_released_and_says_so(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    for subject in ("gone", "there"):
        dovecot.deliver(mailbox, DENIED + letter(KARL, mailbox, subject))
    router = await new_router(incoming(start="all", authserv="mail.in.test"))
    await crm.wait_for_decisions(2)
    await router.stop()
    # Only their places are kept.
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0
    with dovecot.connect(mailbox) as imap:
        imap.select()
        imap.uid("STORE", "1", "+FLAGS", r"(\Deleted)")
        imap.expunge()
    said = await ask(router, "held", "release", "--all", "--json")
    assert said.status == 1
    faults = [one["fault"] for one in said.json["letters"]]
    assert faults == ["its bytes are not kept, and it is no longer where it lay on the server", None]
    assert await balanced(crm) == {"promoted": 1, "held": 1}


async def test_t111_what_is_dropped_says_who_and_when_and_its_bytes_are_gone(
    crm: Crm, new_router: NewRouter, ask: Ask
) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "known")
    await crm.record("contact", "Karl", KARL)
    await _break(crm)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [DENIED + letter(KARL, ulla, "held"), letter(KARL, ulla, "broken")], ulla)
    await crm.wait_for_decisions(2)
    assert await balanced(crm) == {"held": 1, "dead": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 2
    held_at = await crm.admin.fetchval("SELECT max(decided_at) FROM router.decision")
    for letters, kept in (("held", 2), ("dead-letters", 1)):
        # Nobody answers, so nothing is dropped; who answers hears first how many there are.
        asked = await ask(router, letters, "drop", "--all", "--by", "ann")
        assert asked.status == 2
        assert "dropping 1 " in asked.err
        assert "say --yes" in " ".join(asked.err.replace("│", " ").split())
        assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == kept
        assert (await ask(router, letters, "drop", "--all", "--by", "ann", "--yes")).status == 0
    dropped = await crm.admin.fetch("SELECT disposition, reasons, decided_at FROM router.decision")
    assert {(row["disposition"], row["reasons"][-1]) for row in dropped} == {("ignored", "dropped by ann")}
    assert all(row["decided_at"] > held_at for row in dropped)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0
    assert (await ask(router, "held", "release", "--all")).out == "there is no held mail\n"


async def test_t118_a_dead_letter_is_decided_by_todays_rule_with_its_own_received_time(
    crm: Crm, new_router: NewRouter, ask: Ask
) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "all")
    await crm.record("contact", "Karl", KARL)
    await _break(crm)
    port = free_port()
    router = await new_router(_listener(port, "all"), says=("listening",))
    mails = [letter(KARL, ulla, "broken by Karl"), letter("friend@home.test", ulla, "broken by a friend")]
    await _hand_over(port, mails, ulla)
    await crm.wait_for_decisions(2)
    assert await balanced(crm) == {"dead": 2}
    await crm.admin.execute(
        "UPDATE router.decision SET received_at = '2026-01-02 10:00Z', decided_at = '2026-01-02 10:01Z'"
    )
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'known'")
    await _mend(crm)
    said = await ask(router, "dead-letters", "replay", "--all", "--by", "ann")
    assert said.status == 0
    assert await balanced(crm) == {"promoted": 1, "ignored": 1}
    rows = await crm.admin.fetch("SELECT disposition, rule, received_at, decided_at FROM router.decision")
    received = datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert {(row["rule"], row["received_at"]) for row in rows} == {("known", received)}
    assert all(row["decided_at"] > received + timedelta(days=1) for row in rows)
    email = await crm.admin.fetchrow("SELECT subject, received_at FROM crm.email")
    assert email is not None
    assert tuple(email) == ("broken by Karl", received)


async def test_a_rule_that_does_not_want_it_any_more_ignores_what_is_released(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    dovecot.deliver(mailbox, DENIED + letter(KARL, mailbox, "held"))
    router = await new_router(incoming(start="all", authserv="mail.in.test"))
    await crm.wait_for_decisions(1)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'none'")
    assert "ignored (released by" in (await ask(router, "held", "release", "--all")).out
    assert await balanced(crm) == {"ignored": 1}
    await crm.admin.execute("UPDATE crm.owner SET approved = false; UPDATE router.decision SET disposition = 'held'")
    said = await ask(router, "held", "release", "--all")
    assert said.status == 1
    assert "its owner has no approved mailbox" in said.out


async def test_a_forward_of_nobody_is_released_once_its_forwarder_is_an_owner(
    crm: Crm, new_router: NewRouter, sink: Sink, ask: Ask
) -> None:
    ulla = "ulla@in.test"
    await crm.record("contact", "Karl", KARL)
    router = await new_router(sink.profile(after="delete", poll=1))
    await crm.wait_for_sources(1)
    originals = [letter(KARL, ulla, "one"), letter("friend@home.test", ulla, "two"), letter(KARL, ulla, "three")]
    sink.deliver(forwarding(ulla, originals), domain=None)  # nobody vouches for it
    await crm.wait_for_decisions(1)
    assert await balanced(crm) == {"held": 1}
    assert (await ask(router, "held", "release", "--all")).status == 1  # it is nobody's still
    assert await balanced(crm) == {"held": 1}
    await crm.owner(ulla, "known")
    said = await ask(router, "held", "release", "--all", "--json")
    assert said.status == 0
    assert [one["disposition"] for one in said.json["letters"][0]["decisions"]] == ["promoted", "ignored", "promoted"]
    assert await balanced(crm) == {"promoted": 2, "ignored": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE outer_place IS NULL") == 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert sink.left() == 0


async def test_a_forward_goes_only_when_no_letter_is_left_in_it(
    crm: Crm, new_router: NewRouter, sink: Sink, ask: Ask
) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "all")
    await _break(crm)
    router = await new_router(sink.profile(after="delete", poll=1))
    await crm.wait_for_sources(1)
    subjects = ["one", "broken 1", "broken 2"]
    sink.deliver(forwarding(ulla, [letter(KARL, ulla, one) for one in subjects], Message_ID="<outer@in.test>"))
    await crm.wait_for_decisions(3)
    await _mend(crm)
    first, second = (one["number"] for one in (await ask(router, "dead-letters", "list", "--json")).json["letters"])
    assert (await ask(router, "dead-letters", "replay", str(first))).status == 0
    assert await balanced(crm) == {"promoted": 2, "dead": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE settled_at IS NULL") == 0
    assert sink.left() == 1
    assert (await ask(router, "dead-letters", "replay", str(second))).status == 0
    assert await balanced(crm) == {"promoted": 3}
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert sink.left() == 0
    receipts = await crm.rows("SELECT forward FROM crm.receipt")
    assert {json.loads(row["forward"])["message_id"] for row in receipts} == {"outer@in.test"}


async def test_a_forward_that_somebody_dropped_meanwhile_brings_in_nothing(
    crm: Crm, new_router: NewRouter, sink: Sink, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ulla = "ulla@in.test"
    router = await new_router(sink.profile(after="delete", poll=1))
    await crm.wait_for_sources(1)
    sink.deliver(forwarding(ulla, [letter(KARL, ulla, "one"), letter(KARL, ulla, "two")]), domain=None)
    await crm.wait_for_decisions(1)
    await router.stop()
    await crm.owner(ulla, "all")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    async with Database(database) as ours, Workers(read, unwrap, limit=30, size=1) as workers:
        [held] = await list_letters(ours, Disposition.HELD)
        ruling = Ruling("ben", "released")
        reader = LetterReader(ours, workers, load(router.profiles), held.source, ruling)
        [found] = await reader.read([held])
        assert len(found.copies) == 2
        assert await drop(ours, [held.id], "dropped by ann", []) == [held.id]
        decisions = await Promoter(ours).promote(reader.batch_of([found]))
    assert [one.decided_before for one in decisions] == [True, True]
    assert await balanced(crm) == {"ignored": 1}


async def test_killed_at_any_moment_nothing_is_lost_or_doubled_and_it_goes_on(
    crm: Crm, new_router: NewRouter, ask: Ask, database: str
) -> None:
    ulla, number = "ulla@in.test", 150
    await crm.owner(ulla, "all")
    await _break(crm)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [letter(KARL, ulla, f"broken {n}") for n in range(number)], ulla)
    await crm.wait_for_decisions(number)
    await _mend(crm)
    left = [number]
    while len(left) < 6 and left[-1]:
        process = await _start(database, router, ["dead-letters", "replay", "--all"])
        assert process.stdout is not None
        for _ in range(3 * len(left)):
            await process.stdout.readline()
        process.kill()
        await process.communicate()
        dispositions = await balanced(crm)
        assert sum(dispositions.values()) == number
        assert dispositions.get("promoted", 0) == await crm.admin.fetchval("SELECT count(*) FROM crm.email")
        left.append(dispositions.get("dead", 0))
    assert left == sorted(left, reverse=True)
    assert left[0] > left[1]
    assert (await ask(router, "dead-letters", "replay", "--all")).status == 0
    assert await balanced(crm) == {"promoted": number}
    assert await crm.admin.fetchval("SELECT count(DISTINCT subject) FROM crm.email") == number


async def test_two_people_at_once_rule_on_each_letter_once(crm: Crm, new_router: NewRouter, ask: Ask) -> None:
    ulla, number = "ulla@in.test", 60
    await crm.owner(ulla, "all")
    await _break(crm)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [letter(KARL, ulla, f"broken {n}") for n in range(number)], ulla)
    await crm.wait_for_decisions(number)
    await _mend(crm)
    await asyncio.gather(*(ask(router, "dead-letters", "replay", "--all", "--by", by) for by in ("ann", "ben")))
    assert await balanced(crm) == {"promoted": number}
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == number
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.event") == number


async def test_a_letter_that_is_locked_holds_up_no_other(crm: Crm, new_router: NewRouter, database: str) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "all")
    await _break(crm)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [letter(KARL, ulla, f"broken {n}") for n in range(3)], ulla)
    await crm.wait_for_decisions(3)
    await router.stop()
    await _mend(crm)
    async with Database(database) as ours, Workers(read, unwrap, limit=30, size=1) as workers:
        first = (await list_letters(ours, Disposition.DEAD))[0].id
        async with crm.admin.transaction():
            await crm.admin.execute("SELECT FROM router.decision WHERE id = $1 FOR UPDATE", first)
            found = [one async for one in operation.replay(ours, workers, Profiles((), ()), "ann", Selection())]
    assert [bool(one.fault) for one in found] == [True, False, False]
    assert await balanced(crm) == {"promoted": 2, "dead": 1}


async def test_what_somebody_else_ruled_on_meanwhile_is_left_alone(
    crm: Crm, new_router: NewRouter, database: str
) -> None:
    ulla = "ulla@in.test"
    await crm.owner(ulla, "all")
    await crm.record("contact", "Karl", KARL)
    port = free_port()
    router = await new_router(_listener(port), says=("listening",))
    await _hand_over(port, [DENIED + letter(KARL, ulla, "held")], ulla)
    await crm.wait_for_decisions(1)
    await router.stop()
    async with Database(database) as ours:
        [held] = await list_letters(ours, Disposition.HELD)
        assert await drop(ours, [held.id], "dropped by ann", []) == [held.id]
        assert await drop(ours, [held.id], "dropped by ben", []) == []
    assert await balanced(crm) == {"ignored": 1}
