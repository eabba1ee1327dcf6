"""`email-router trace`: where a message is, what became of it; and of what the CRM does not have, why."""

import imaplib
import re
import smtplib
import sys
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from router.model import Likeness
from router.operations.trace import Sought
from router.repository.database import Database
from router.repository.trace.trace import find_emails
from router.repository.trace.unseen import (
    kinds_of,
    known_messages,
    known_places,
    owners_of,
    readers_of,
    refused,
    seen_id,
)
from tests.integration.test_audit import KINDS, lose, profile_of, read_all
from tests.integration.test_forward import Sink
from tests.integration.test_forward import sink as sink  # noqa: PLC0414  # a fixture
from tests.integration.test_status import Lent
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.command import Said, type_command
from tests.support.crm import Crm
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter, RouterProcess
from transports.base import Place

KARL, ANN = "karl@kunde.test", "ann@in.test"
DENIED = b"Authentication-Results: mail.in.test 1;\r\n\tdmarc=fail (p=reject dis=none) header.from=kunde.test\r\n"
STAFF = """[incoming.staff]
transport = "imap"
host = "127.0.0.1"
port = 1
owners = ["*@in.test"]
auth = { user = "{mailbox}", password = { env = "MAILBOX_PASSWORD" } }
"""


class Traced(Said):
    """What the command came to."""

    @property
    def answer(self) -> str:
        """The first line."""
        return self.out.partition("\n")[0]

    def clues(self, mailbox: str | None = None) -> Mapping[str, str]:
        """The clues of a mailbox, or the general ones, by kind."""
        of = self.json if mailbox is None else next(one for one in self.json["owners"] if one["mailbox"] == mailbox)
        return {one["kind"]: one["words"] for one in of["clues"]}


Trace = Callable[..., Coroutine[Any, Any, Traced]]


@pytest.fixture
def trace(database: str) -> Trace:
    """`await trace(router, "--to", mailbox)`: with the profiles of this router, or of a folder."""

    async def trace(profiles: RouterProcess | str, *arguments: str) -> Traced:
        folder = profiles if isinstance(profiles, str) else str(profiles.profiles)
        said = await type_command(database, "trace", *arguments, profiles=folder)
        return Traced(*said)

    return trace


async def test_what_came_in_is_found_by_whatever_is_known_of_it(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    router = await new_router(incoming(start="all"))
    with dovecot.connect(mailbox) as imap:
        earlier = imaplib.Time2Internaldate(datetime.now(UTC) - timedelta(minutes=30))
        imap.append("INBOX", "", earlier, letter(KARL, mailbox, "Your Offer 100%", Message_ID="<one@kunde.test>"))
    dovecot.append(mailbox, letter(KARL, "list@else.test", "Other", Message_ID="<two@kunde.test>"))
    await crm.wait_for_emails(2)
    for known in (
        ("--from", "Karl@KUNDE.test", "--subject", "offer your"),
        ("--from", "@kunde.test", "--to", mailbox, "--subject", "100%"),
        ("--message-id", "<one@kunde.test>"),
        ("--subject", "YOUR", "--since", "1h"),
    ):
        said = await trace(router, *known)
        sys.stdout.write(said.out)
        assert (said.status, said.answer, said.err) == (0, "in the CRM", ""), known
        assert "one@kunde.test" in said.out
        assert f"{mailbox} INBOX (staff)" in said.out
        assert " (rule known): the sender is a contact, lead or account" in said.out
    # A mailing list's mail names nobody of ours, and is found all the same; of two there is a table.
    said = await trace(router, "--to", mailbox)
    sys.stdout.write(said.out)
    assert (said.status, said.answer) == (0, "in the CRM: 2 emails")
    assert said.out.index("Other") < said.out.index("Your Offer")
    email_id = said.out.splitlines()[-4].split()[-1]
    said = await trace(router, "--email", email_id)
    assert (said.status, said.answer, email_id in said.out, "Your Offer" in said.out) == (0, "in the CRM", True, True)
    assert (await trace(router, "--email", str(uuid4()))).status == 1
    said = await trace(router, "--to", mailbox, "--limit", "1", "--json")
    assert (said.json["more"], [one["subject"] for one in said.json["emails"]]) == (True, ["Other"])
    assert said.json["emails"][0]["copies"][0]["disposition"] == "promoted"


async def test_where_it_lies_and_is_not_read_its_server_tells(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    router = await new_router(incoming(start="all"))
    with dovecot.connect(mailbox) as imap:
        imap.create("Junk")
        imap.append("Junk", "", "", letter(KARL, mailbox, "Urgent matter", Message_ID="<junk@kunde.test>"))
    dovecot.append(mailbox, letter("friend@home.test", mailbox, "Private birthday", Message_ID="<p@home.test>"))
    await crm.wait_for_decisions(1)
    said = await trace(router, "--from", KARL, "--to", mailbox)
    sys.stdout.write(said.out)
    assert (said.status, said.err) == (1, "")
    assert said.answer.startswith(
        f"not in the CRM: it lies in Junk of {mailbox}: [incoming.staff] does not read this folder"
    )
    # Of other mail no more is told than its number and why.
    assert "ignored       1 message of that time, the last of" in said.out
    for private in ("friend", "home.test", "birthday", "Urgent"):
        assert private not in said.out
    said = await trace(router, "--message-id", "p@home.test", "--to", mailbox)
    sys.stdout.write(said.out)
    assert said.answer == (
        f"not in the CRM: it lies in INBOX of {mailbox}: it was ignored: the sender is no contact, lead or account"
    )
    assert "birthday" not in said.out
    said = await trace(router, "--subject", "birthday", "--to", mailbox, "--json")
    [owner] = said.json["owners"]
    assert [(one["folder"], one["disposition"]) for one in owner["asked"]["copies"]] == [("INBOX", "ignored")]
    # Nor does it tell its subject to who guesses a part of it.
    assert "Private" not in said.out
    said = await trace(router, "--subject", "b", "--to", mailbox, "--json")
    assert [owner["asked"]["copies"] for owner in said.json["owners"]] == [[]]
    # It is the same message where its owner has moved it to.
    with dovecot.connect(mailbox) as imap:
        imap.select("INBOX")
        imap.create("Family")
        imap.copy("1", "Family")
    said = await trace(router, "--message-id", "p@home.test", "--to", mailbox, "--json")
    [owner] = said.json["owners"]
    assert {(one["folder"], one["disposition"]) for one in owner["asked"]["copies"]} == {
        ("INBOX", "ignored"),
        ("Family", "ignored"),
    }
    said = await trace(router, "--to", mailbox, "--since", "1h", "--ask", "--json")
    assert said.json["owners"][0]["asked"]["fault"].startswith("say more of the message")
    said = await trace(router, "--from", "nobody@else.test", "--to", mailbox)
    sys.stdout.write(said.out)
    assert said.answer == "not in the CRM, and the mail server does not have it"
    assert (await trace(router, "--from", KARL, "--to", mailbox, "--no-ask")).answer == (
        "not in the CRM; it may be among the mail of that time that was ignored, is held or dead"
    )


async def test_of_email_that_the_crm_wrote_each_recipient_is_told(crm: Crm, trace: Trace) -> None:
    await crm.owner(ANN)
    email_id = await crm.send(f"Ann <{ANN}>", [KARL, "eve@kunde.test"], "Our offer", "text")
    said = await trace("/nowhere", "--from", ANN, "--to", "@kunde.test")
    assert (said.status, said.answer) == (
        0,
        'in the CRM, outgoing: pending_send, because no router process runs: "email-router run" starts one',
    )
    assert "due         " in said.out
    assert "no relay" in said.out
    for status in ("sending", "failed"):
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", email_id, status)
    await crm.admin.execute("UPDATE crm.email SET status_reason = 'no such user' WHERE id = $1", email_id)
    await crm.admin.execute(
        "INSERT INTO crm.delivery (email_id, address, state, code, text) VALUES ($1, $2, 'refused', '5.1.1', 'gone')",
        email_id,
        KARL,
    )
    said = await trace("/nowhere", "--to", KARL)
    assert said.answer == "in the CRM, outgoing: failed"
    assert "status      failed: no such user" in said.out
    assert f"recipient   {KARL}: refused 5.1.1 gone" in said.out
    assert (await trace("/nowhere", "--to", KARL, "--json")).json["emails"][0]["id"] == str(email_id)


async def test_a_mailbox_that_is_not_read_is_told_with_what_to_do(crm: Crm, trace: Trace, tmp_path: Path) -> None:
    """No process, no owner, not approved, broken, served by nobody, a rule that wants nothing."""
    (tmp_path / "staff.toml").write_text(STAFF)
    await crm.owner(ANN, approved=False)
    await crm.owner("bob@else.test", "none")
    folder = str(tmp_path)
    said = await trace(folder, "--from", KARL, "--to", "eve@in.test", "--json")
    assert said.status == 1
    assert set(said.clues()) == {"no process", "no owner"}
    assert said.json["answer"].startswith("not in the CRM, perhaps because of this: no owner has a mailbox eve@in.test")
    said = await trace(folder, "--from", KARL, "--to", ANN, "--no-ask", "--json")
    assert said.clues(ANN)["not approved"].endswith(f'"email-router owners approve {ANN}"')
    assert "not begun" not in said.clues(ANN)
    said = await trace(folder, "--from", KARL, "--to", ANN, "--ask", "--json")
    assert said.json["owners"][0]["asked"]["fault"] == "the mailbox is not approved, so nothing of it is looked at"
    said = await trace(folder, "--to", "bob@else.test", "--json")
    assert {"not served"} <= said.clues("bob@else.test").keys()
    await crm.admin.execute("UPDATE crm.owner SET approved = true")
    assert {"not begun"} <= (await trace(folder, "--to", ANN, "--json")).clues(ANN).keys()
    (tmp_path / "staff.toml").write_text(STAFF.replace("port = 1", "port = 0"))
    assert "[incoming.staff]" in (await trace(folder, "--to", ANN, "--json")).clues()["broken"]
    # An address of the owner's record is the owner's.
    record_id = await crm.admin.fetchval("SELECT record_id FROM crm.owner WHERE mailbox = $1", ANN)
    await crm.sql.execute("INSERT INTO crm.address VALUES ('a.smith@in.test', $1)", record_id)
    said = await trace(folder, "--to", "a.smith@in.test", "--json")
    assert [one["mailbox"] for one in said.json["owners"]] == [ANN]
    assert "no owner" not in said.clues()
    # Of a domain, all of its owners; with nothing known of whose it would be, nobody is asked.
    said = await trace(folder, "--to", "@in.test", "--json")
    assert [one["mailbox"] for one in said.json["owners"]] == [ANN]
    assert "say in whose mailbox it would be, by --to" in (await trace(folder, "--from", KARL)).out


async def test_that_a_server_could_not_be_asked_is_in_the_answer(crm: Crm, trace: Trace, tmp_path: Path) -> None:
    await crm.owner(ANN)
    (tmp_path / "staff.toml").write_text(STAFF)
    refused = "; whether it lies on the server is not known: cannot connect to 127.0.0.1:1: "
    said = await trace(str(tmp_path), "--from", KARL, "--to", ANN)
    assert re.search(f"not in the CRM, perhaps because of this: no router process runs.*{refused}", said.answer)
    # With nothing known of whose it would be, all are asked where that is wanted.
    said = await trace(str(tmp_path), "--from", KARL, "--ask", "--json")
    assert [one["mailbox"] for one in said.json["owners"]] == [ANN]
    assert refused in said.json["answer"]
    said = await trace(str(tmp_path), "--from", KARL, "--to", "nobody@else.test", "--ask")
    assert "  server        not asked: no owner has that mailbox\n" in said.out


async def test_a_hit_in_the_crm_hides_nothing_that_lies_on_the_server(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming(start="all"))
    dovecot.append(mailbox, letter(KARL, mailbox, "Your offer"))
    await crm.wait_for_emails(1)
    with dovecot.connect(mailbox) as imap:
        imap.create("Junk")
        imap.append("Junk", "", "", letter(KARL, mailbox, "Another offer", Message_ID="<junk@kunde.test>"))
    known = ("--from", KARL, "--to", mailbox)
    said = await trace(router, *known)
    assert said.answer == "in the CRM"
    assert said.out.endswith("\n  server        not asked for more that fits: --ask does so\n")
    said = await trace(router, *known, "--ask")
    assert said.answer == "in the CRM: 1 email; 1 more lie on the server, not in the CRM"
    assert re.search("has it in INBOX, since .*: it is the email above\n", said.out)
    assert re.search("has it in Junk, since .* does not read this folder", said.out)
    # A part of a word finds nothing on a server, by which nobody's mail is to be guessed; so that is not denied.
    await crm.sql.execute("DELETE FROM crm.email")
    said = await trace(router, *known, "--subject", "off")
    assert said.answer == "not in the CRM, and the mail server has nothing with these as whole words"
    assert "does not have it" not in said.out


async def test_of_a_domain_with_many_mailboxes_a_few_are_told(crm: Crm, trace: Trace) -> None:
    for number in range(25):
        await crm.owner(f"{number}@in.test", approved=number != 24)
    said = await trace("/nowhere", "--from", KARL, "--to", "@in.test", "--json")
    assert (len(said.json["owners"]), said.json["other_owners"]) == (20, 5)
    assert "and 5 more mailboxes" in (await trace("/nowhere", "--to", "@in.test")).out


async def test_a_source_at_fault_and_a_server_that_refuses_are_told_in_its_words(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox)
    await crm.owner("bob@in.test")
    wrong = incoming(auth={"user": "{mailbox}", "password": {"env": "WRONG"}})
    router = await new_router(wrong + incoming("other", owners=["bob@in.test"], port=0), WRONG="wrong")
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
    said = await trace(router, "--from", KARL, "--to", mailbox, "--json")
    clues = said.clues(mailbox)
    assert re.search("INBOX is at fault since .* next try .*: .* refuses the login of", clues["fault"])
    [owner] = said.json["owners"]
    # The secret is the router's and not this shell's: nobody is asked, and that is said.
    assert (owner["asked"]["folders"], owner["asked"]["certain"]) == ([], False)
    assert owner["asked"]["fault"]
    assert "perhaps because of this" in said.json["answer"]
    said = await trace(router, "--to", "bob@in.test", "--json")
    assert said.clues("bob@in.test")["broken"].startswith("[incoming.other], which would bring its mail, is broken: ")
    # Where nothing is known of the mailbox, all that is at fault is told.
    assert mailbox in (await trace(router, "--from", KARL, "--json")).clues()["fault"]


async def test_what_came_before_the_start_is_told_as_such(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox)
    past = datetime.now(UTC) - timedelta(days=3)
    with dovecot.connect(mailbox) as imap:
        imap.append("INBOX", "", imaplib.Time2Internaldate(past), letter(KARL, mailbox, "Old"))
    router = await new_router(incoming())
    await crm.wait_for_sources(1)
    said = await trace(router, "--from", KARL, "--to", mailbox, "--json")
    assert "INBOX is read from" in said.clues(mailbox)["before start"]
    [owner] = said.json["owners"]
    [copy] = owner["asked"]["copies"]
    assert copy["words"].startswith("it came before reading began, which was on ")
    assert said.json["answer"].startswith(f"not in the CRM: it lies in INBOX of {mailbox}: it came before")
    day = f"{past - timedelta(days=1):%Y-%m-%d}"
    said = await trace(router, "--from", KARL, "--to", mailbox, "--since", day, "--until", day, "--json")
    assert said.json["owners"][0]["asked"]["copies"] == []
    assert [one["blocks"] for one in said.json["owners"][0]["clues"] if one["kind"] == "before start"] == [True]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_router_is_past_and_does_not_know_is_told_as_an_audit_does(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace, kind: str
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(profile_of(kind, incoming, dovecot))
    dovecot.deliver(mailbox, letter(KARL, mailbox, "lost", Message_ID="<lost@kunde.test>"))
    await read_all(crm, 1)
    await lose(crm, "lost")
    said = await trace(router, "--message-id", "lost@kunde.test", "--to", mailbox)
    assert said.status == 1
    assert said.answer == (
        f"not in the CRM: it lies in INBOX of {mailbox}: the router is past it and knows nothing of it: "
        f'"email-router audit staff --owner {mailbox} --repair" brings it in'
    )
    # What is dated a few minutes after the beginning is not hidden by the allowance for slow clocks.
    if kind == "imap":
        await router.stop()
        await crm.admin.execute("UPDATE router.source SET begins_at = now() - interval '6 minutes', fault = 'old'")
        assert (await trace(router, "--message-id", "lost@kunde.test", "--to", mailbox)).answer == said.answer


async def test_where_nobody_reads_a_message_that_waits_that_is_told(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox)
    router = await new_router(incoming(start="all"))
    await crm.wait_for_sources(1)
    await router.stop()
    dovecot.append(mailbox, letter(KARL, mailbox, "=?utf-8?b?R3LDtsOfZQ==?="))
    said = await trace(router, "--subject", "größe", "--to", mailbox, "--json")
    [copy] = said.json["owners"][0]["asked"]["copies"]
    assert copy["words"] == "it is not read yet: no process reads this folder now"
    await crm.admin.execute("UPDATE router.source SET fault = 'the password is wrong', fault_since = now()")
    said = await trace(router, "--subject", "größe", "--to", mailbox, "--json")
    assert said.json["answer"].endswith(
        ": it is not read yet: no process reads this folder now; it was at fault when it was last read: "
        "the password is wrong"
    )
    assert said.clues(mailbox)["fault"] == "INBOX was at fault when it was last read: the password is wrong"
    assert {"not read"} <= said.clues(mailbox).keys()
    assert {"no process"} <= said.clues().keys()


async def test_held_and_dead_mail_is_told_by_number_and_listeners_by_their_servers_log(
    crm: Crm, new_router: NewRouter, trace: Trace
) -> None:
    await crm.owner(ANN, "all")
    await crm.owner("bob@in.test", "known")
    port = free_port()
    router = await new_router(
        f'[incoming.copies]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n'
        'rule = "known"\nauthserv = "mail.in.test"\n',
        says=("listening",),
    )
    await crm.record("contact", "Karl", KARL)
    await crm.admin.execute("ALTER TABLE crm.email ADD CONSTRAINT broken CHECK (subject NOT LIKE 'broken%')")
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail(KARL, [ANN], DENIED + letter(KARL, ANN, "Secret plan"))
        smtp.sendmail(KARL, [ANN], letter(KARL, ANN, "broken"))
        smtp.sendmail("x@home.test", ["bob@in.test"], letter("x@home.test", "bob@in.test", "Private"))
    numbers = {
        row["disposition"]: row["id"] for row in await crm.admin.fetch("SELECT id, disposition FROM router.decision")
    }
    said = await trace(router, "--from", KARL, "--to", ANN, "--json")
    clues = said.clues(ANN)
    assert f'"email-router held show {numbers["held"]}"' in clues["held"]
    assert said.json["answer"].startswith(f"not in the CRM: {ANN}: it is held for a person: ")
    assert "is dead" in clues
    assert f'"email-router dead-letters show {numbers["dead"]}"' in clues["dead"]
    assert clues["listener"] == (
        "its mail server hands mail to [incoming.copies]: the log of that server tells whether it did so"
    )
    assert {one["kind"] for one in said.json["owners"][0]["clues"] if one["blocks"]} == {"is held", "is dead"}
    # Bob's is Bob's.
    assert "ignored" not in clues
    assert "Secret" not in said.out
    # No server has it; and of what is kept, who knows of it is told.
    assert said.json["owners"][0]["asked"] is None
    assert (await trace(router, "--subject", "broken", "--to", ANN)).answer.startswith(
        f"not in the CRM: {ANN}: it is a dead letter: "
    )
    # Of whom nothing else is known, it may be any of them.
    assert "is held" not in (await trace(router, "--to", ANN, "--since", "1h", "--json")).clues(ANN)
    said = await trace(router, "--from", "eve@kunde.test", "--to", ANN)
    assert said.answer == "not in the CRM; it may be among the mail of that time that was ignored, is held or dead"
    assert "\n  server" not in said.out


async def test_mail_of_a_forward_mailbox_is_told_with_who_forwarded_it(
    crm: Crm, new_router: NewRouter, sink: Sink, trace: Trace
) -> None:
    await crm.owner(ANN, "known")
    await crm.record("contact", "Karl", KARL)
    router = await new_router(sink.profile())
    await crm.wait_for_sources(1)
    sink.deliver(forwarding(ANN, [letter(KARL, "whoever@else.test", "Passed on")]))
    await crm.wait_for_emails(1)
    said = await trace(router, "--to", ANN)
    assert f"forwarded by {ANN}" in said.out
    said = await trace(router, "--from", "eve@kunde.test", "--to", ANN, "--json")
    assert said.clues(ANN)["forward"] == "what its owner forwards comes in by [incoming.sink], and only that"


async def test_mail_that_an_owner_sent_is_looked_for_in_the_folder_of_sent_mail(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming(start="all"))
    dovecot.append(mailbox, letter(mailbox, KARL, "What I wrote"), "Sent")
    await crm.wait_for_sources(1)
    said = await trace(router, "--from", mailbox, "--to", KARL)
    assert said.answer.startswith(f"not in the CRM: it lies in Sent of {mailbox}: [incoming.staff] does not read")
    assert f"{mailbox} (as the sender)" in said.out


async def test_of_email_that_waits_it_tells_for_what(crm: Crm, trace: Trace) -> None:
    await crm.owner(ANN)
    await crm.send(ANN, [KARL], "Our offer", "text")
    await crm.admin.execute("UPDATE crm.owner SET approved = false")
    await crm.admin.execute("UPDATE router.installation SET sending = false, reason = 'moving'")
    said = await trace("/nowhere", "--to", KARL, "--json")
    clues = said.clues()
    assert list(clues) == ["no process", "sending off", "not approved", "no relay"]
    assert clues["sending off"] == 'sending is off: moving: "email-router sending start" starts it'


async def test_what_is_known_of_a_message_id_without_email_is_told(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)
    router = await new_router(incoming(start="all"))
    dovecot.append(mailbox, letter("x@home.test", mailbox, "Private", Message_ID="<ignored@home.test>"))
    dovecot.append(mailbox, letter(KARL, mailbox, "Erased", Message_ID="<erased@kunde.test>"))
    await crm.wait_for_decisions(2)
    said = await trace(router, "--message-id", "erased@kunde.test", "--ask", "--json")
    assert "the CRM has an email with this Message-ID" in said.clues()["seen"]
    await crm.sql.execute("DELETE FROM crm.email")
    for message_id, kind in (("ignored@home.test", "seen"), ("erased@kunde.test", "erased")):
        said = await trace(router, "--message-id", message_id, "--json")
        assert list(said.clues()) == [kind]
    assert (await trace(router, "--message-id", "never@home.test", "--json")).clues() == {}


async def test_what_the_crm_changed_or_erased_is_told_by_the_server_s_copy(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    """Under whichever key it is kept: of its Message-ID, of what it says, or of its sender's own copy."""
    await crm.owner(mailbox, "all")
    await crm.owner(ANN, "all")
    await crm.admin.execute("INSERT INTO crm.setting (name, value) VALUES ('internal_mail', '\"two\"')")
    router = await new_router(incoming(start="all", folders=["INBOX", "Sent"]))
    dovecot.append(mailbox, letter(KARL, mailbox, "Original"))
    dovecot.append(mailbox, letter(KARL, mailbox, "Without an id", Message_ID=None))
    dovecot.append(mailbox, letter(mailbox, ANN, "Among us"), "Sent")
    await crm.wait_for_emails(2)
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE direction = 'out'")
    email_id = await crm.admin.fetchval(
        "UPDATE crm.email SET subject = 'Renamed' WHERE subject = 'Original' RETURNING id"
    )
    said = await trace(router, "--to", mailbox, "--subject", "Original")
    assert (said.status, said.answer) == (0, f"in the CRM as email {email_id}, which does not say what was sought")
    # Also where its owner has moved it to.
    with dovecot.connect(mailbox) as imap:
        imap.create("Done")
        for folder in ("INBOX", "Sent"):
            imap.select(folder)
            imap.copy("1:*", "Done")
    await crm.sql.execute("DELETE FROM crm.email")
    erased = "it was in the CRM, and was erased or taken back there"
    for subject, where, folder in (
        ("Original", ("--to", mailbox), "INBOX"),
        ("Without an id", ("--to", mailbox), "INBOX"),
        ("Among us", ("--from", mailbox), "Sent"),
    ):
        said = await trace(router, *where, "--subject", subject, "--json")
        assert (said.status, said.json["in_crm"]) == (1, False)
        [owner] = (one for one in said.json["owners"] if one["mailbox"] == mailbox)
        copies = {(one["folder"], one["words"]) for one in owner["asked"]["copies"]}
        assert copies == {(folder, erased), ("Done", erased)}, subject


@pytest.mark.parametrize("rule", ["known", "all"])
async def test_a_forged_message_is_not_taken_for_the_true_one(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace, rule: str
) -> None:
    """It has the true one's Message-ID and Date, and was ignored, or is an email of its own."""
    await crm.owner(mailbox, rule)
    write = partial(letter, Message_ID="<order@kunde.test>", Date="Sat, 28 Nov 2026 09:00:00 +0000")
    router = await new_router(incoming(start="all"))
    for message in (write("eve@evil.test", mailbox, "Win", "Win.\n"), write(KARL, mailbox, "Order", "Chairs.\n")):
        dovecot.append(mailbox, message)
    await read_all(crm, 2)
    with dovecot.connect(mailbox) as imap:
        imap.select("INBOX")
        imap.create("Done")
        imap.copy("1:2", "Done")

    async def told(sender: str) -> Mapping[str, str]:
        said = await trace(router, "--to", mailbox, "--from", sender, "--json")
        return {one["folder"]: one["words"] for one in said.json["owners"][0]["asked"]["copies"]}

    ours = {"known": "it was ignored: ", "all": "it is in the CRM as email "}[rule]
    senders = ["eve@evil.test", KARL] if rule == "known" else [KARL]  # what the CRM has is not looked for elsewhere
    for sender in senders:
        assert {folder: words.startswith(ours) for folder, words in (await told(sender)).items()} == {
            "INBOX": True, "Done": True
        }  # fmt: skip
    await crm.admin.execute("DELETE FROM router.decision WHERE place = '2'")
    assert (await told(KARL))["INBOX"].startswith("the router is past it and knows nothing of it")
    assert (await told(KARL))["Done"].startswith("[incoming.staff] does not read this folder")
    if rule == "known":
        assert all(words.startswith(ours) for words in (await told("eve@evil.test")).values())


async def test_what_is_no_longer_kept_is_told_as_such(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, trace: Trace
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming(start="all"))
    dovecot.append(mailbox, letter(KARL, mailbox, "Kept"))
    await crm.wait_for_emails(1)
    await crm.admin.execute("DELETE FROM router.decision")
    said = await trace(router, "--from", KARL)
    assert f"{mailbox} INBOX (staff), came" in said.out
    assert "received; why is no longer kept" in said.out
    said = await trace(router, "--from", "eve@kunde.test", "--since", "2000d", "--json")
    assert "no longer kept" in said.clues()["pruned"]
    assert "pruned" not in (await trace(router, "--from", "eve@kunde.test", "--json")).clues()


async def test_every_query_is_bound_to_an_index(database: str) -> None:
    """However large the tables are that grow: each is looked into by conditions on an index, never read as a whole."""
    queries: list[str] = []
    now = datetime.now(UTC)
    owner_id = uuid4()
    async with Database(database) as opened, opened.connection() as connection:
        lent = Lent(connection)
        with connection.query_logger(lambda record: queries.append(record.query)):
            for sought, recipients in (
                (Sought(sender=KARL, since=now), ()),
                (Sought(recipient=KARL, since=now, until=now), (owner_id,)),
                (Sought(sender="@kunde.test", recipient="@in.test", words=("a", "b"), since=now), (owner_id,)),
                (Sought(message_id="1@kunde.test"), ()),
            ):
                await find_emails(lent, sought, recipients, 10)
            await owners_of(lent, KARL)
            await kinds_of(lent, KARL)
            await seen_id(lent, "1@kunde.test")
            await readers_of(lent, timedelta(seconds=10), [ANN], ["copies"])
            await refused(lent, [owner_id], now, None)
            await known_places(lent, 1, [Place("1", "2")])
            await known_messages(lent, owner_id, [[bytes(32)]], [Likeness()])
        await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        plans = []
        for query in queries:
            if re.search(r"\b(router|crm)\.", query):
                await connection.execute("PREPARE asked AS " + query)
                number = await connection.fetchval(
                    "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'"
                )
                rows = await connection.fetch(
                    f"EXPLAIN EXECUTE asked({', '.join(['NULL'] * number)})" if number else ""
                )
                plans.append("\n".join(row[0] for row in rows))
                await connection.execute("DEALLOCATE asked")
    assert len(plans) >= 12
    for plan in plans:
        assert "Seq Scan" not in plan, plan
        # Every look into these is by a condition.
        looks = re.findall(r" on (?:email|party|receipt|decision|message|message_id|source)\b.*\n(.*)", plan)
        assert all("Cond: " in condition for condition in looks), plan
    for index in ("party_address", "email_came", "decision_without_email", "source_shared"):
        assert any(f" {index} " in plan or f" {index}\n" in plan for plan in plans), index
