"""A source is what is read, whatever its profile is called, and on whatever server it lies by now: no mail is lost."""

import imaplib
import json
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest

from tests.integration.test_forward import Sink
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.tls import Tls
from tests.support.crm import Crm
from tests.support.forwards import forwarding
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter, RouterProcess

NewMailbox = Callable[[str], str]

KARL = "karl@kunde.test"
READS_ON = "reads on where another profile stopped"
SAME = "the account goes by another name, and is the same"
OTHER = "another account than before"


@pytest.fixture
def new_server(tls: Tls) -> Iterator[Dovecot]:
    """The mail server to which a company moves."""
    server = Dovecot(tls)
    yield server
    server.close()


@pytest.fixture
def sink(dovecot: Dovecot, incoming: Profile, new_mailbox: NewMailbox) -> Sink:
    return Sink(dovecot, incoming, new_mailbox("sink"))


async def sources(crm: Crm) -> list[asyncpg.Record]:
    """The sources that are to be read, by folder."""
    return await crm.admin.fetch(
        "SELECT id, profile, cursor, begins_at, folder FROM router.source WHERE identity IS NOT NULL ORDER BY folder"
    )


async def subjects(crm: Crm) -> list[str]:
    return [row["subject"] for row in await crm.rows("SELECT subject FROM crm.email ORDER BY subject")]


def rewrite(router: RouterProcess, profiles: str) -> None:
    (router.profiles / "all.toml").write_text(profiles)


async def known(crm: Crm, mailbox: str) -> None:
    """Let the mailbox be an owner's, and what Karl writes be the CRM's."""
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", KARL)


def copy_mail(old: Dovecot, new: Dovecot, mailbox: str) -> None:
    """Copy an INBOX as imapsync does: with the dates of arrival, and other UIDs."""
    with old.connect(mailbox) as source, new.connect(mailbox) as target:
        source.select("INBOX", readonly=True)
        for uid in source.uid("SEARCH", "ALL")[1][0].split():
            ((head, content), _) = source.uid("FETCH", uid.decode(), "(INTERNALDATE BODY.PEEK[])")[1]
            at = imaplib.Internaldate2tuple(head)
            assert at is not None
            target.append("INBOX", "", imaplib.Time2Internaldate(at), content)


def replicate(old: Dovecot, new: Dovecot, mailbox: str) -> None:
    """Copy a mailbox as dsync does: with UIDVALIDITY and UIDs."""
    subprocess.run(["cp", "-a", old.maildir(mailbox).parent, new.maildir(mailbox).parent], check=True)


async def reads_on_as(crm: Crm, router: RouterProcess, name: str, before: list[asyncpg.Record]) -> None:
    """Check that the same sources are read under another name, and that this was told."""
    now = await sources(crm)
    assert [row["id"] for row in now] == [row["id"] for row in before]
    assert {row["profile"] for row in now} == {name}
    assert [row["begins_at"] for row in now] == [row["begins_at"] for row in before]
    assert router.log().count(READS_ON) == 1


@pytest.mark.parametrize("transport", ["imap", "pop3", "maildir"])
async def test_t16c_a_profile_that_is_renamed_between_two_runs_reads_on(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, transport: str
) -> None:
    keys: dict[str, Any] = {"transport": transport}
    if transport == "pop3":
        keys |= {"port": dovecot.pop3s, "poll": 1}
    if transport == "maildir":
        path = str(dovecot.maildir("{mailbox}"))
        keys |= {"path": path, "after": "keep", "host": None, "port": None, "ca_file": None, "auth": None}
    await known(crm, mailbox)
    dovecot.deliver(mailbox, letter("friend@home.test", mailbox, "warm-up"))
    router = await new_router(incoming("staff", start="now", **keys))
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "before"))
    dovecot.deliver(mailbox, letter("friend@home.test", mailbox, "private"))
    await crm.wait_for_decisions(2)
    before = await sources(crm)
    await router.stop()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "between"))
    rewrite(router, incoming("people", start="now", **keys))
    await router.start(READS_ON)
    await crm.wait_for_emails(2)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "after"))
    await crm.wait_for_emails(3)
    assert await subjects(crm) == ["after", "before", "between"]
    assert await crm.dispositions() == {"promoted": 3, "ignored": 1}
    await reads_on_as(crm, router, "people", before)
    told = json.loads(next(line for line in router.log().splitlines() if READS_ON in line))
    assert (told["level"], told["profile"], told["mailbox"]) == ("warning", "people", mailbox)
    assert (told["former"], told["removed"], told["rule"]) == ("staff", True, "known")
    assert await crm.admin.fetchval("SELECT promoted FROM router.source_count") == 3
    assert await crm.admin.fetchval("SELECT count(*) FROM router.source") == 1


async def test_t16c_a_profile_that_is_renamed_while_the_router_runs_reads_on_with_all_folders(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    dovecot.append(mailbox, letter(KARL, mailbox, "of old"), "Kunden")
    router = await new_router(incoming(folders=["INBOX", "Kunden"], poll=1))
    await crm.wait_for_sources(2)
    before = await sources(crm)
    rewrite(router, incoming("people", folders=["INBOX", "Kunden"], poll=1))
    for number in range(20):
        dovecot.append(mailbox, letter(KARL, mailbox, f"{number}"), ("INBOX", "Kunden")[number % 2])
    await crm.wait_for_emails(20)
    await crm.wait_for(2, "SELECT count(process_id) FROM router.source WHERE profile = 'people'")
    await reads_on_as(crm, router, "people", before)
    assert await crm.dispositions() == {"promoted": 20}


async def test_t16c_an_owner_who_goes_to_another_profile_of_the_same_server_is_read_on(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox
) -> None:
    ann, bob = new_mailbox("ann"), new_mailbox("bob")
    await known(crm, ann)
    await crm.owner(bob, "known")
    router = await new_router(incoming())
    await crm.wait_for_sources(2)
    dovecot.deliver(ann, letter(KARL, ann, "before"))
    await crm.wait_for_emails(1)
    epoch = "SELECT epoch FROM router.source WHERE mailbox = $1"
    bobs = await crm.admin.fetchval(epoch, bob)
    # Held until somebody decides: it stays the source's.
    await crm.admin.execute("UPDATE router.decision SET disposition = 'held', email_id = NULL, reasons = '{by hand}'")
    rewrite(router, incoming() + incoming("ann", owners=[ann], after="seen"))
    dovecot.deliver(ann, letter(KARL, ann, "between"))
    await crm.wait_for_emails(2)
    await crm.wait_for("ann", "SELECT profile FROM router.source WHERE mailbox = $1 AND process_id IS NOT NULL", ann)
    held = await crm.admin.fetch(
        "SELECT s.profile FROM router.decision AS d JOIN router.source AS s ON s.id = source_id "
        "WHERE disposition = 'held' AND s.process_id IS NOT NULL"
    )
    assert [row["profile"] for row in held] == ["ann"]
    assert await crm.admin.fetchval(epoch, bob) == bobs
    assert await crm.admin.fetchval("SELECT count(*) FROM router.source") == 2


async def test_t16c_a_server_by_another_name_is_recognized_by_its_mail(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    dovecot.append(mailbox, letter(KARL, mailbox, "of old"), "Kunden")
    folders = ["INBOX", "Kunden"]
    router = await new_router(incoming(folders=folders))
    await crm.wait_for_sources(2)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "before"))
    dovecot.deliver(mailbox, letter("friend@home.test", mailbox, "private"))
    await crm.wait_for_decisions(2)
    before = await sources(crm)
    await router.stop()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "between"))
    dovecot.append(mailbox, letter(KARL, mailbox, "between, in a folder"), "Kunden")
    rewrite(router, incoming(folders=folders, host="localhost", port=dovecot.imap, security="starttls"))
    await router.start(SAME)
    await crm.wait_for_emails(3)
    # Nothing was decided on in one of the folders: it is recognized with the other.
    assert [row["id"] for row in await sources(crm)] == [row["id"] for row in before]
    assert await crm.dispositions() == {"promoted": 3, "ignored": 1}
    assert OTHER not in router.log()
    # From now on it goes by that name.
    await router.stop()
    await router.start()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "after"))
    await crm.wait_for_emails(4)
    assert router.log().count(SAME) == 1


@pytest.mark.parametrize("name", ["staff", "moved"])
async def test_t16c_on_another_server_no_mail_between_is_passed_over_and_none_is_judged_again(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_server: Dovecot, mailbox: str, name: str
) -> None:
    await known(crm, mailbox)
    with dovecot.connect(mailbox) as imap:
        imap.append("INBOX", "", '"01-Feb-2024 12:00:00 +0000"', letter(KARL, mailbox, "from before the start"))
    folders = ["INBOX", "Kunden"]
    dovecot.append(mailbox, letter(KARL, mailbox, "of old"), "Kunden")
    router = await new_router(incoming(folders=folders))
    await crm.wait_for_sources(2)
    for subject, sender in (("one", KARL), ("two", KARL), ("private", "friend@home.test")):
        dovecot.deliver(mailbox, letter(sender, mailbox, subject))
    await crm.wait_for_decisions(3)
    before = await sources(crm)
    await router.stop()
    # It came to the old server and nobody read it there; the mail is copied; more comes to the new one.
    dovecot.deliver(mailbox, letter(KARL, mailbox, "between"))
    copy_mail(dovecot, new_server, mailbox)
    new_server.deliver(mailbox, letter(KARL, mailbox, "at the new server"))
    new_server.append(mailbox, letter(KARL, mailbox, "in a folder"), "Kunden")
    rewrite(router, incoming(name, folders=folders, port=new_server.imaps))
    await router.start(OTHER)
    await crm.wait_for_emails(5)
    new_server.deliver(mailbox, letter(KARL, mailbox, "later"))
    await crm.wait_for_emails(6)
    assert await subjects(crm) == ["at the new server", "between", "in a folder", "later", "one", "two"]
    # What the CRM had by then stays one email; what was ignored stays ignored.
    assert await crm.dispositions() == {"promoted": 6, "duplicate": 2, "ignored": 2}
    now = await sources(crm)
    assert {row["id"] for row in now}.isdisjoint(row["id"] for row in before)
    assert [row["begins_at"] for row in now] == [row["begins_at"] for row in before]
    assert {row["profile"] for row in now} == {name}
    assert router.log().count(OTHER) == 1
    # The former source is kept with what became of its copies, unless there was none.
    former = await crm.admin.fetch("SELECT id, process_id FROM router.source WHERE identity IS NULL")
    assert [tuple(row) for row in former] == [(before[0]["id"], None)]


async def test_t16c_another_server_with_the_same_uidvalidity_is_not_taken_for_the_same(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_server: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    router = await new_router(incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "one"))
    await crm.wait_for_emails(1)
    replicate(dovecot, new_server, mailbox)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "at the old server"))
    await crm.wait_for_emails(2)
    new_server.deliver(mailbox, letter(KARL, mailbox, "with the same UID"))
    assert dovecot.flags(mailbox).keys() == new_server.flags(mailbox).keys()
    rewrite(router, incoming(port=new_server.imaps))
    await router.wait_for_log(OTHER)
    await crm.wait_for_emails(3)
    assert await subjects(crm) == ["at the old server", "one", "with the same UID"]
    assert await crm.dispositions() == {"promoted": 3, "duplicate": 1}


async def test_t16c_from_pop3_to_imap_no_mail_between_is_passed_over(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    router = await new_router(incoming(transport="pop3", port=dovecot.pop3s, poll=1))
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "before"))
    await crm.wait_for_emails(1)
    await router.stop()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "between"))
    rewrite(router, incoming())
    await router.start(OTHER)
    await crm.wait_for_emails(2)
    assert await crm.dispositions() == {"promoted": 2, "duplicate": 1}
    # And back.
    await router.stop()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "after"))
    rewrite(router, incoming(transport="pop3", port=dovecot.pop3s, poll=1))
    await router.start()
    await crm.wait_for_emails(3)
    assert await subjects(crm) == ["after", "before", "between"]


async def test_t16c_a_mailbox_that_nobody_could_read_yet_begins_at_the_present(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "of old"))
    router = await new_router(incoming(port=free_port()))
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
    rewrite(router, incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "new"))
    await crm.wait_for_emails(1)
    assert await subjects(crm) == ["new"]


async def test_t16c_a_router_with_the_new_name_waits_for_one_that_still_reads_under_the_old(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    old = await new_router(incoming())
    await crm.wait_for_sources(1)
    new = await new_router(incoming("people", folders=["Kunden", "INBOX"]))
    held = "SELECT count(*) FROM router.source WHERE process_id IS NOT NULL"
    await crm.wait_for_beats(3)
    assert await crm.admin.fetchval(held) == 1
    dovecot.deliver(mailbox, letter(KARL, mailbox, "read by the old"))
    await crm.wait_for_emails(1)
    assert [row["profile"] for row in await sources(crm) if row["folder"] == "INBOX"] == ["staff"]
    assert "let go" not in old.log() + new.log()
    await old.stop()
    dovecot.deliver(mailbox, letter(KARL, mailbox, "read by the new"))
    await crm.wait_for_emails(2)
    await crm.wait_for(2, "SELECT count(process_id) FROM router.source WHERE profile = 'people'")
    assert await crm.dispositions() == {"promoted": 2}
    inbox = "SELECT count(*) FROM router.source WHERE folder = 'INBOX'"
    assert await crm.admin.fetchval(inbox) == 1


async def test_a_router_that_finds_nothing_new_only_reads_its_sources(
    crm: Crm, new_router: NewRouter, incoming: Profile, sink: Sink, mailbox: str
) -> None:
    await crm.owner(mailbox)
    await new_router(incoming(folders=["INBOX", "Kunden"]) + sink.profile())
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE folder = 'Kunden' AND fault IS NOT NULL")
    # Each of the others notes once where it begins.
    await crm.wait_for(2, "SELECT count(*) FROM router.source WHERE cursor IS NOT NULL")
    versions = "SELECT array_agg(ctid::text || xmin::text || xmax::text ORDER BY id) FROM router.source"
    before = await crm.admin.fetchval(versions)
    await crm.wait_for_beats(3)
    assert await crm.admin.fetchval(versions) == before


async def test_t16c_sources_from_before_accounts_were_noted_are_read_on(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, sink: Sink, mailbox: str
) -> None:
    await known(crm, mailbox)
    profiles = sink.profile(start="now")
    router = await new_router(incoming() + profiles)
    await crm.wait_for_sources(2)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "before"))
    sink.deliver(forwarding(mailbox, [letter(KARL, mailbox, "forwarded before")]))
    await crm.wait_for_emails(2)
    before = await sources(crm)
    await router.stop()
    # As the migration leaves them.
    await crm.admin.execute(
        """
        UPDATE router.source SET account = 'incoming.' || profile;
        UPDATE router.source SET identity = account WHERE mailbox = '';
        """
    )
    dovecot.deliver(mailbox, letter(KARL, mailbox, "between"))
    sink.deliver(forwarding(mailbox, [letter(KARL, mailbox, "forwarded between")]))
    await router.start()
    await crm.wait_for_emails(4)
    assert await crm.dispositions() == {"promoted": 4}
    assert {row["id"] for row in await sources(crm)} == {row["id"] for row in before}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.source WHERE account LIKE 'incoming.%'") == 0
    assert READS_ON not in router.log()
    assert SAME not in router.log()


async def test_t16c_an_account_that_was_never_noted_is_not_another_where_promoted_mail_moves_away(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await known(crm, mailbox)
    router = await new_router(incoming(after="move:CRM"))
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(KARL, mailbox, "before"))
    await crm.wait_for_emails(1)
    await crm.wait_for(1, "SELECT count(*) FROM router.decision WHERE settled_at IS NOT NULL")
    before = await sources(crm)
    await router.stop()
    # As the migration leaves it where the profile had another name by then.
    await crm.admin.execute("UPDATE router.source SET account = 'incoming.former'")
    dovecot.deliver(mailbox, letter(KARL, mailbox, "between"))
    await router.start()
    await crm.wait_for_emails(2)
    assert [row["id"] for row in await sources(crm)] == [row["id"] for row in before]
    assert await crm.dispositions() == {"promoted": 2}
    assert OTHER not in router.log()


async def test_t16c_a_forward_mailbox_is_read_on_under_another_name_of_profile_or_server(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, sink: Sink, mailbox: str
) -> None:
    await known(crm, mailbox)

    def deliver(subject: str) -> None:
        sink.deliver(forwarding(mailbox, [letter(KARL, mailbox, subject)]))

    deliver("of old")
    router = await new_router(sink.profile(start="now"))
    await crm.wait_for_sources(1)
    deliver("before")
    await crm.wait_for_emails(1)
    before = await sources(crm)
    await router.stop()
    deliver("between")
    rewrite(router, sink.profile(name="forwards", start="now"))
    await router.start(READS_ON)
    await crm.wait_for_emails(2)
    await reads_on_as(crm, router, "forwards", before)
    rewrite(
        router, sink.profile(name="forwards", start="now", host="localhost", port=dovecot.imap, security="starttls")
    )
    await router.wait_for_log(SAME)
    deliver("after")
    await crm.wait_for_emails(3)
    assert await subjects(crm) == ["after", "before", "between"]
    assert await crm.dispositions() == {"promoted": 3}
    assert [row["id"] for row in await sources(crm)] == [row["id"] for row in before]


async def test_t16c_a_listener_stays_the_same_under_another_name_and_at_another_address(
    crm: Crm, new_router: NewRouter, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")

    def listens(name: str, port: int) -> str:
        keys = f'transport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n'
        return f"[incoming.{name}]\n{keys}"

    def hand_over(port: int, subject: str) -> None:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            smtp.sendmail(KARL, [mailbox], letter(KARL, mailbox, subject))

    first, second = free_port(), free_port()
    router = await new_router(listens("door", first), says=("listening",))
    hand_over(first, "before")
    rewrite(router, listens("gate", first))
    await router.wait_for_log("takes mail where another profile did")
    hand_over(first, "renamed")
    rewrite(router, listens("gate", second))
    await router.wait_for_log(f"listening.*{second}")
    hand_over(second, "moved")
    assert await subjects(crm) == ["before", "moved", "renamed"]
    rows = await crm.admin.fetch(
        "SELECT profile, identity, promoted FROM router.source LEFT JOIN router.source_count ON source_id = id"
    )
    assert [tuple(row) for row in rows] == [("gate", f"smtp:127.0.0.1:{second}", 3)]
