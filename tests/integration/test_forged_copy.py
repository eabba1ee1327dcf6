"""A stranger who knows Message-ID and Date of a mail sends another one with them: neither takes the other's place.

T61 is about the Message-ID alone; whoever has seen a mail, or waits for its copy, knows its Date, too.
"""

import smtplib
import zlib
from collections.abc import Callable
from uuid import UUID

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm
from tests.support.letters import letter, new_id
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

DATE = "Sat, 28 Nov 2026 09:00:00 +0000"
DENIED = b"Authentication-Results: mail.in.test 1;\r\n\tdmarc=fail (p=reject dis=none) header.from=kunde.test\r\n"
TRACE = b"Received: from mx.out.test by mail.in.test; Sat, 28 Nov 2026 09:00:01 +0000\r\nX-Spam: no\r\n"
CIRCLES = TRACE * 101
WORDS = "Two hundred chairs.\n"

Write = Callable[..., bytes]


@pytest.fixture
def write(mailbox: str) -> Write:
    """Write a message, which has one Message-ID and Date whatever else it says."""
    message_id = new_id()

    def write(sender: str = "karl@kunde.test", subject: str = "Order", text: str = WORDS) -> bytes:
        return letter(sender, mailbox, subject, text, Message_ID=message_id, Date=DATE)

    return write


@pytest.fixture
async def owner(crm: Crm, mailbox: str) -> UUID:
    """One who wants mail of Karl."""
    await crm.record("contact", "Karl", "karl@kunde.test")
    return await crm.owner(mailbox, "known")


async def reasons(crm: Crm) -> list[str]:
    """The last reason of each decision, in their order."""
    return [
        row[0]
        for row in await crm.admin.fetch("SELECT reasons[array_upper(reasons, 1)] FROM router.decision ORDER BY id")
    ]


async def test_a_forged_message_that_was_ignored_does_not_make_the_true_one_ignored(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, owner: UUID, write: Write
) -> None:
    await new_router(incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, write("eve@evil.test", "Win", "Win.\n"))
    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"ignored": 1}
    dovecot.deliver(mailbox, write())
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"ignored": 1, "promoted": 1}
    assert [row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")] == ["Order"]
    assert await crm.rows("SELECT FROM crm.receipt WHERE owner_id <> $1", owner) == []
    await crm.check_balance()


async def test_neither_does_one_with_the_true_ones_words(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, owner: UUID, write: Write
) -> None:
    """A mailing list's copy, which names the list as its sender, may come first as well."""
    await new_router(incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, write("eve@evil.test"))
    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"ignored": 1}
    dovecot.deliver(mailbox, write())
    await crm.wait_for_decisions(2)
    # Now that the true one is the CRM's, the other is a copy of it in another form (T62).
    assert await crm.dispositions() == {"duplicate": 1, "promoted": 1}
    assert await crm.rows("SELECT subject FROM crm.email WHERE owner_id = $1", owner)
    await crm.check_balance()


async def test_the_forged_one_that_comes_last_is_told_and_flagged(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, owner: UUID, write: Write
) -> None:
    await new_router(incoming())
    await crm.wait_for_sources(1)
    for number, raw in enumerate((write(), write("eve@evil.test", "Win", "Win.\n")), 1):
        dovecot.deliver(mailbox, raw)
        await crm.wait_for_decisions(number)
    assert await crm.dispositions() == {"duplicate": 1, "promoted": 1}
    [email] = await crm.rows("SELECT subject, flags FROM crm.email WHERE owner_id = $1", owner)
    assert (email["subject"], "other-copy" in email["flags"]) == ("Order", True)


async def test_the_true_one_that_comes_last_is_told_and_kept_though_the_forged_one_has_its_words(
    crm: Crm, new_router: NewRouter, write: Write
) -> None:
    """What a list may add below a text, a stranger can write as well."""
    port = free_port()
    await crm.owner("otto@in.test", "all")
    await new_router(
        f'[incoming.drop]\ntransport = "lmtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n',
        says=("listening",),
    )
    forged, true = write("eve@evil.test", text=f"{WORDS}{'_' * 10}\nPay to account 2\n"), write()
    for raw in (forged, true, TRACE + true):
        with smtplib.LMTP("127.0.0.1", port) as client:
            client.sendmail("karl@kunde.test", ["otto@in.test"], raw)
    assert await crm.dispositions() == {"promoted": 1, "duplicate": 2}
    told = "in another form and from somebody else: from a list, or one of them is forged"
    assert (await reasons(crm))[1:] == [f"the same message is an email of the CRM already, {told}"] * 2
    [email] = await crm.rows("SELECT flags FROM crm.email")
    assert email["flags"] == ["other-copy"]
    kept = await crm.admin.fetch("SELECT content FROM router.kept_content")
    assert len(kept) == 2
    assert all(b"Two hundred chairs." in zlib.decompress(row["content"]) for row in kept)
    await crm.check_balance()


async def test_t64_what_is_moved_or_restored_stays_ignored_beside_a_forged_one(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, owner: UUID, write: Write
) -> None:
    await new_router(incoming())
    await crm.wait_for_sources(1)
    private, forged = write("friend@home.test"), write("eve@evil.test", "Win", "Win.\n")
    for number, raw in enumerate((private, forged), 1):
        dovecot.deliver(mailbox, raw)
        await crm.wait_for_decisions(number)
    assert await crm.dispositions() == {"ignored": 2}
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all' WHERE record_id = $1", owner)
    # Neither which of them came last, nor what transport adds, nor a footer makes old mail new.
    dovecot.deliver(mailbox, TRACE + private)
    dovecot.deliver(mailbox, write("friend@home.test", "[home] Order", f"{WORDS}{'_' * 40}\nthe list\n"))
    await crm.wait_for_decisions(4)
    assert await crm.dispositions() == {"ignored": 4}
    assert (await reasons(crm))[2:] == ["the same message was ignored in this mailbox before, and stays so"] * 2


@pytest.mark.parametrize(
    "older",
    ["gist = NULL, sender_gist = NULL, gist_version = NULL", "gist_version = 0"],
    ids=["of before it was kept", "worked out in another way"],
)
async def test_t64_what_was_ignored_by_an_older_version_stays_so(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    owner: UUID,
    write: Write,
    older: str,
) -> None:
    await new_router(incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, write("friend@home.test"))
    await crm.wait_for_decisions(1)
    await crm.admin.execute(f"UPDATE router.decision SET {older}")
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all' WHERE record_id = $1", owner)
    dovecot.deliver(mailbox, write("friend@home.test", "Another"))
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"ignored": 2}


async def test_a_forged_message_that_is_held_does_not_make_the_true_one_held(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, owner: UUID, write: Write
) -> None:
    await new_router(incoming(authserv="mail.in.test"))
    await crm.wait_for_sources(1)
    held = DENIED + write(text="Pay to account 1.\n")
    # What is held stays so in another place.
    for number, raw in enumerate((held, held, write(text="Pay to account 2.\n")), 1):
        dovecot.deliver(mailbox, raw)
        await crm.wait_for_decisions(number)
    assert await crm.dispositions() == {"held": 2, "promoted": 1}
    [email] = await crm.rows("SELECT text_body FROM crm.email WHERE owner_id = $1", owner)
    assert "account 2" in email["text_body"]
    [said] = await crm.admin.fetch("SELECT reasons FROM router.decision WHERE disposition = 'promoted'")
    assert said["reasons"][0] == (
        "another message with the same Message-ID and Date is held in this mailbox, and says something else, is "
        "from somebody else or came another way: one of them may be forged"
    )


@pytest.mark.parametrize("doubt", [DENIED, CIRCLES], ids=["our server denies it", "it went in circles"])
async def test_a_copy_that_is_held_for_its_way_does_not_make_the_true_one_held(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    owner: UUID,
    write: Write,
    doubt: bytes,
) -> None:
    """A list that changes what is signed makes such copies, as does who sends a true mail once more, unchanged."""
    await new_router(incoming(authserv="mail.in.test"))
    await crm.wait_for_sources(1)
    passed = DENIED.replace(b"dmarc=fail (p=reject dis=none)", b"dmarc=pass")
    for number, raw in enumerate((doubt + write(), doubt + write(), passed + write(), doubt + write()), 1):
        dovecot.deliver(mailbox, raw)
        await crm.wait_for_decisions(number)
    assert await crm.dispositions() == {"held": 2, "promoted": 1, "duplicate": 1}
    assert (await reasons(crm))[1] == "the same message was held in this mailbox before, and stays so"
    assert await crm.rows("SELECT subject FROM crm.email WHERE owner_id = $1 AND flags = '{}'", owner)
    await crm.check_balance()


async def test_what_is_forged_for_one_owner_is_nothing_to_another(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, owner: UUID, write: Write
) -> None:
    theirs = f"their-{mailbox}"
    their_id = await crm.owner(theirs, "known")
    await new_router(incoming())
    await crm.wait_for_sources(2)
    forged, true = write("eve@evil.test", "Win", "Win.\n"), write()
    deliveries = [(mailbox, forged), (theirs, forged), (theirs, true), (mailbox, true)]
    for number, (to, raw) in enumerate(deliveries, 1):
        dovecot.deliver(to, raw)
        await crm.wait_for_decisions(number)
    assert await crm.dispositions() == {"ignored": 2, "promoted": 1, "duplicate": 1}
    receipts = await crm.rows(
        "SELECT r.owner_id, e.subject FROM crm.receipt AS r JOIN crm.email AS e ON e.id = email_id"
    )
    assert {tuple(row) for row in receipts} == {(owner, "Order"), (their_id, "Order")}
    await crm.check_balance()


@pytest.mark.parametrize(("rule", "kept"), [("none", False), ("replies", True)])
async def test_t08_nothing_is_made_of_the_content_under_the_rule_none(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    write: Write,
    rule: str,
    kept: bool,
) -> None:
    await crm.owner(mailbox, rule)
    await new_router(incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, write())
    await crm.wait_for_decisions(1)
    [row] = await crm.admin.fetch("SELECT gist, sender_gist, gist_version FROM router.decision")
    assert [value is not None for value in row] == [kept] * 3
