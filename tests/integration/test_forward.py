"""A forward mailbox: what owners forward to it is in the CRM, as if it lay in their own mailboxes."""

import asyncio
import json
import smtplib
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.test_private import dump, found, telling, words
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.servers.proxy import Proxy
from tests.support.command import type_command
from tests.support.crm import Crm
from tests.support.forwards import AUTHSERV, as_file, forwarding, journal, vouched
from tests.support.holds import DECIDING, SETTLING, holding
from tests.support.letters import letter, new_id
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

NewMailbox = Callable[[str], str]

SETTLED = "SELECT count(*) FROM router.decision WHERE settled_at IS NULL"


class Sink:
    """A forward mailbox on Dovecot, and the profile that reads it."""

    def __init__(self, dovecot: Dovecot, incoming: Profile, address: str) -> None:
        self._dovecot = dovecot
        self._incoming = incoming
        self.address = address

    def profile(self, **keys: Any) -> str:
        more = {
            "role": "forward",
            "owners": None,
            "forwarders": ["*@in.test", "exchange@in.test"],
            "authserv": AUTHSERV,
            "auth": {"user": self.address, "password": {"env": "MAILBOX_PASSWORD"}},
        }
        return self._incoming(**({"name": "sink"} | more | keys))

    def deliver(self, mail: bytes, *, domain: str | None = "in.test") -> None:
        """Deliver a mail as our own server does; with `domain` it vouches for the sender."""
        self._dovecot.deliver(self.address, mail if domain is None else vouched(mail, domain))

    def left(self) -> int:
        return len(self._dovecot.flags(self.address))


@pytest.fixture
def sink(dovecot: Dovecot, incoming: Profile, new_mailbox: NewMailbox) -> Sink:
    return Sink(dovecot, incoming, new_mailbox("sink"))


async def decisions(crm: Crm) -> list[tuple[str, str | None]]:
    """What became of the copies, in the order of these words: Dovecot may give what comes at once UIDs in any order."""
    rows = await crm.admin.fetch(
        "SELECT d.disposition, o.mailbox FROM router.decision AS d "
        "LEFT JOIN crm.owner AS o ON o.record_id = d.owner_id ORDER BY 1, 2"
    )
    return [(row["disposition"], row["mailbox"]) for row in rows]


async def reasons(crm: Crm) -> str:
    return str(
        await crm.admin.fetchval("SELECT string_agg(array_to_string(reasons, '; '), E'\\n') FROM router.decision")
    )


async def test_t85_what_an_owner_attaches_is_judged_as_if_it_had_arrived_in_the_owners_mailbox(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    ulla, otto = "ulla@in.test", "otto@in.test"
    owner = await crm.owner(ulla, "known")
    await crm.owner(otto, "none")
    contact = await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(sink.profile(after="delete"))
    await crm.wait_for_sources(1)
    known = letter("Karl <karl@kunde.test>", "sales@in.test", "Offer", Message_ID="<inner@kunde.test>")
    unknown = letter("friend@home.test", ulla, "private")
    sink.deliver(forwarding(f"Ulla <{ulla}>", [known], Message_ID="<outer@in.test>"))
    sink.deliver(forwarding(ulla, [unknown]))
    sink.deliver(forwarding(otto, [letter("karl@kunde.test", otto)]))
    await crm.wait_for_decisions(3)
    assert await decisions(crm) == [("ignored", otto), ("ignored", ulla), ("promoted", ulla)]

    [email] = await crm.rows("SELECT * FROM crm.email")
    assert (email["subject"], email["message_id"], email["owner_id"]) == ("Offer", "inner@kunde.test", owner)
    parties = await crm.rows("SELECT role, address, record_id FROM crm.party ORDER BY role")
    assert [tuple(party) for party in parties] == [("from", "karl@kunde.test", contact), ("to", "sales@in.test", None)]
    # Both envelopes are kept.
    [receipt] = await crm.rows("SELECT * FROM crm.receipt")
    assert (receipt["owner_id"], receipt["profile"], receipt["folder"]) == (owner, "sink", "INBOX")
    envelope = json.loads(receipt["forward"])
    assert envelope["date"]
    assert {key: envelope[key] for key in ("form", "forwarder", "message_id")} == {
        "form": "attached",
        "forwarder": ulla,
        "message_id": "outer@in.test",
    }
    # What was ignored goes too, since the original is elsewhere; and nothing of it is kept.
    await crm.wait_for(0, SETTLED)
    assert sink.left() == 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE forward IS NOT NULL") == 1
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0


async def test_t86_three_messages_attached_to_one_are_three_copies_and_settled_when_all_are_decided(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    await crm.owner("ulla@in.test", "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(sink.profile(after="seen"))
    await crm.wait_for_sources(1)
    one = letter("karl@kunde.test", "ulla@in.test", "one")
    sink.deliver(forwarding("ulla@in.test", [one, letter("friend@home.test", "ulla@in.test", "two"), one]))
    await crm.wait_for_decisions(3)
    rows = await crm.admin.fetch("SELECT place, outer_place, disposition FROM router.decision ORDER BY place")
    assert [(row["place"], row["disposition"]) for row in rows] == [
        (f"{rows[0]['outer_place']}:{number}", disposition)
        for number, disposition in enumerate(["promoted", "ignored", "duplicate"], 1)
    ]
    await crm.wait_for(0, SETTLED)
    assert list(sink._dovecot.flags(sink.address).values()) == [{"\\Seen"}]


async def test_t86_one_that_breaks_is_a_dead_letter_the_others_go_through_and_the_mail_stays(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    await crm.owner("ulla@in.test", "all")
    # Whatever this subject breaks, PostgreSQL refuses it.
    await crm.admin.execute("ALTER TABLE crm.email ADD CHECK (subject <> 'broken')")
    await new_router(sink.profile(after="delete"))
    await crm.wait_for_sources(1)
    subjects = ["one", "broken", "three"]
    originals = [letter("karl@kunde.test", "ulla@in.test", subject) for subject in subjects]
    sink.deliver(forwarding("ulla@in.test", originals))
    sink.deliver(forwarding("ulla@in.test", [letter("karl@kunde.test", "ulla@in.test", "four")]))
    await crm.wait_for_decisions(4)
    assert await crm.dispositions() == {"promoted": 3, "dead": 1}
    kept = await crm.admin.fetchval("SELECT content FROM router.kept_content")
    assert zlib.decompress(kept) == originals[1]
    await crm.wait_for(0, SETTLED)
    assert sink.left() == 1


async def test_t86_those_that_only_break_together_are_all_dead_letters(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    await crm.owner("ulla@in.test", "all")
    await crm.admin.execute("CREATE UNIQUE INDEX ON crm.email (subject)")
    await new_router(sink.profile(after="delete"))
    await crm.wait_for_sources(1)
    sink.deliver(forwarding("ulla@in.test", [letter("karl@kunde.test", "ulla@in.test", "same") for _ in range(2)]))
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"dead": 2}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 2
    assert (await crm.admin.fetchval(SETTLED), sink.left()) == (0, 1)


async def test_t87_a_message_attached_as_a_file_is_unwrapped(crm: Crm, new_router: NewRouter, sink: Sink) -> None:
    await crm.owner("ulla@in.test", "all")
    await new_router(sink.profile())
    await crm.wait_for_sources(1)
    sink.deliver(as_file("ulla@in.test", letter("karl@kunde.test", "ulla@in.test", "In a file")))
    await crm.wait_for_emails(1)
    assert await crm.admin.fetchval("SELECT subject FROM crm.email") == "In a file"


async def test_t88_who_is_not_believed_is_held_and_the_mail_stays(
    crm: Crm, new_router: NewRouter, sink: Sink, database: str
) -> None:
    await crm.owner("ulla@in.test", "all")
    await crm.owner("waiting@in.test", "all", approved=False)
    await new_router(sink.profile(after="delete"))
    await crm.wait_for_sources(1)
    inner = vouched(letter("karl@kunde.test", "ulla@in.test", "inner"))
    mails = {
        "none of the forwarders": vouched(forwarding("karl@kunde.test", [inner]), "kunde.test"),
        "did not say who sent it": forwarding("ulla@in.test", [inner]),
        "do not vouch": vouched(forwarding("ulla@in.test", [inner]), "kunde.test"),
        "no approved owner": vouched(forwarding("waiting@in.test", [inner])),
        "no forwarded mail was found": vouched(letter("ulla@in.test", sink.address, "Hello")),
    }
    for mail in mails.values():
        sink.deliver(mail, domain=None)
    await crm.wait_for_decisions(len(mails))
    assert await decisions(crm) == [("held", None)] * len(mails)
    told = await reasons(crm)
    assert all(words in told for words in mails)
    assert "in.test" not in told
    assert sink.left() == len(mails)
    shown = await type_command(database, "status", profiles="/nowhere")
    assert f"0 ignored, {len(mails)} held" in shown.out
    assert "shared mailbox" in shown.out
    rows = await crm.admin.fetch("SELECT content FROM router.kept_content")
    kept = [zlib.decompress(row["content"]) for row in rows]
    assert [sum(mail in content for content in kept) for mail in mails.values()] == [1] * len(mails)


async def test_t88_through_a_border_server_that_vouches_for_one_and_not_for_what_another_forged(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, incoming: Profile, postfix: Postfix, new_mailbox: NewMailbox
) -> None:
    await crm.owner("ulla@in.test", "all")
    sinks = [Sink(dovecot, incoming, new_mailbox(name)) for name in ("vouched", "denied")]
    await new_router("".join(sink.profile(name=f"s{at}", authserv="relay.test") for at, sink in enumerate(sinks)))
    await crm.wait_for_sources(2)

    def hand_over() -> None:
        with smtplib.SMTP("127.0.0.1", postfix.smtp) as smtp:
            for sink in sinks:
                mail = forwarding("ulla@in.test", [letter("karl@kunde.test", "ulla@in.test", sink.address)])
                smtp.sendmail("ulla@in.test", [sink.address], vouched(mail, server="relay.test"))

    await asyncio.to_thread(hand_over)
    await crm.wait_for_decisions(2)
    assert await decisions(crm) == [("held", None), ("promoted", "ulla@in.test")]
    assert await crm.admin.fetchval("SELECT subject FROM crm.email") == sinks[0].address


async def test_what_a_forwarders_rule_ignores_leaves_nothing_of_its_content(
    crm: Crm, new_router: NewRouter, sink: Sink, database: str
) -> None:
    await crm.owner("ulla@in.test", "replies")
    router = await new_router(sink.profile())
    await crm.wait_for_sources(1)
    word = words("forwarded")
    sink.deliver(forwarding("ulla@in.test", [telling("ulla@in.test", word)], Message_ID="<outerqx@in.test>"))
    await crm.wait_for_decisions(1)
    assert await decisions(crm) == [("ignored", "ulla@in.test")]
    everything = await asyncio.to_thread(dump, database)
    assert found(everything, word | {"outer": "outerqx"}) == set()
    assert found(router.log().encode(), word) == set()


async def test_t88_a_profile_can_trust_the_headers(crm: Crm, new_router: NewRouter, sink: Sink) -> None:
    await crm.owner("ulla@in.test", "all")
    await new_router(sink.profile(authserv=None, allow_unverified=True))
    await crm.wait_for_sources(1)
    sink.deliver(forwarding("ulla@in.test", [letter("karl@kunde.test", "ulla@in.test")]), domain=None)
    await crm.wait_for_emails(1)


async def test_t89_a_forward_in_the_text_is_read_and_marked_less_certain(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    await crm.owner("ulla@in.test", "known")
    contact = await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(sink.profile())
    await crm.wait_for_sources(1)
    text = (
        "For the CRM.\n\n---------- Forwarded message ---------\nVon: Karl Kunde <karl@kunde.test>\n"
        "Date: Mi., 18. Nov. 2026 um 09:31 Uhr\nSubject: Angebot\nTo: Ulla <ulla@in.test>\n\nHallo Ulla,\nhier.\n"
    )
    sink.deliver(letter("ulla@in.test", sink.address, "Fwd: Angebot", text))
    await crm.wait_for_emails(1)
    [email] = await crm.rows("SELECT * FROM crm.email")
    assert (email["subject"], email["text_body"], email["message_id"]) == ("Angebot", "Hallo Ulla,\nhier.\n", None)
    assert email["flags"] == ["forwarded-inline"]
    assert "less certain" in await reasons(crm)
    sender = await crm.rows("SELECT address, record_id FROM crm.party WHERE role = 'from'")
    assert [tuple(row) for row in sender] == [("karl@kunde.test", contact)]


async def test_t90_what_was_redirected_and_what_a_journal_tells_is_its_true_recipients(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    mailboxes = [f"{name}@in.test" for name in ("ulla", "otto", "ben")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    await new_router(sink.profile())
    await crm.wait_for_sources(1)
    spf = f"Authentication-Results: {AUTHSERV}; spf=pass smtp.mailfrom=ulla@in.test\r\n"
    redirected = letter("karl@kunde.test", "list@kunde.test", "redirected", Resent_From="Ulla <ulla@in.test>")
    sink.deliver(spf.encode() + redirected, domain=None)
    told = ["To: otto@in.test", "Bcc: ben@in.test, Expanded: team@in.test", "Cc: nobody@kunde.test"]
    sink.deliver(journal("karl@kunde.test", told, letter("karl@kunde.test", "otto@in.test", "journaled")))
    # The journal of what is nobody's: not ours to keep.
    sink.deliver(journal("a@in.test", ["To: b@in.test"], letter("a@in.test", "b@in.test", "theirs")))
    await crm.wait_for_decisions(4)
    assert await decisions(crm) == [
        ("duplicate", "ben@in.test"),
        ("ignored", None),
        ("promoted", "otto@in.test"),
        ("promoted", "ulla@in.test"),
    ]
    rows = await crm.rows(
        "SELECT e.subject, o.mailbox, r.forward ->> 'form' AS form FROM crm.receipt AS r "
        "JOIN crm.email AS e ON e.id = r.email_id JOIN crm.owner AS o ON o.record_id = r.owner_id "
        "ORDER BY 1 DESC, 2 DESC"
    )
    assert [tuple(row) for row in rows] == [
        ("redirected", "ulla@in.test", "redirected"),
        ("journaled", "otto@in.test", "journal"),
        ("journaled", "ben@in.test", "journal"),
    ]
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0


async def test_t90_what_an_owner_sent_comes_by_the_journal_as_sent(crm: Crm, new_router: NewRouter, sink: Sink) -> None:
    await crm.owner("ulla@in.test", "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(sink.profile())
    await crm.wait_for_sources(1)
    sink.deliver(journal("ulla@in.test", ["To: karl@kunde.test"], letter("ulla@in.test", "karl@kunde.test")))
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE direction = 'out' AND status = 'sent'")


async def test_t91_only_the_outer_layer_is_unwrapped(crm: Crm, new_router: NewRouter, sink: Sink) -> None:
    await crm.owner("ulla@in.test", "all")
    await new_router(sink.profile())
    await crm.wait_for_sources(1)
    theirs = forwarding("karl@kunde.test", [letter("boss@kunde.test", "karl@kunde.test", "innermost")])
    sink.deliver(forwarding("ulla@in.test", [theirs]))
    await crm.wait_for_decisions(1)
    [email] = await crm.rows("SELECT e.subject, a.media_type FROM crm.email AS e JOIN crm.attachment AS a ON true")
    assert tuple(email) == ("Fwd: see there", "message/rfc822")


async def test_t92_the_same_mail_in_the_forward_mailbox_and_in_the_owners_own_is_one_email(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, sink: Sink, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(sink.profile() + incoming())
    await crm.wait_for_sources(2)
    original = letter("karl@kunde.test", mailbox, "twice")
    dovecot.deliver(mailbox, original)
    await crm.wait_for_emails(1)
    sink.deliver(forwarding(mailbox, [original]))
    await crm.wait_for_decisions(2)
    assert await decisions(crm) == [("duplicate", mailbox), ("promoted", mailbox)]
    assert len(await crm.rows("SELECT * FROM crm.receipt")) == 1


async def test_mail_that_the_server_hands_to_us_is_unwrapped_before_it_is_answered(
    crm: Crm, new_router: NewRouter
) -> None:
    port = free_port()
    await crm.owner("ulla@in.test", "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(
        f'[incoming.sink]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nrole = "forward"\n'
        f'forwarders = ["*@in.test"]\naddress = "crm@in.test"\nauthserv = "{AUTHSERV}"\n',
        says=(r"\blistening\b",),
    )
    originals = [letter("karl@kunde.test", "ulla@in.test"), letter("friend@home.test", "ulla@in.test")]

    def hand_over(mail: bytes) -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            return smtp.sendmail("ulla@in.test", ["CRM@in.test", "ulla@in.test"], mail)

    turned_away = await asyncio.to_thread(hand_over, vouched(forwarding("ulla@in.test", originals)))
    assert {address: reply[0] for address, reply in turned_away.items()} == {"ulla@in.test": 550}
    assert await decisions(crm) == [("ignored", "ulla@in.test"), ("promoted", "ulla@in.test")]
    await asyncio.to_thread(hand_over, forwarding("ulla@in.test", originals))
    assert (await crm.dispositions())["held"] == 1
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 1


@pytest.mark.parametrize("point", [DECIDING, "before settle", SETTLING])
async def test_t86_killed_at_any_point_all_three_are_there_once_and_the_mail_goes_only_then(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, sink: Sink, point: str
) -> None:
    await crm.owner("ulla@in.test", "all")
    mail = forwarding(
        "ulla@in.test",
        [letter("karl@kunde.test", "ulla@in.test", str(number), Message_ID=new_id()) for number in range(3)],
    )
    async with Proxy(dovecot.imap) as proxy:
        router = await new_router(sink.profile(after="delete", security="none", port=proxy.port), lease=1)
        await crm.wait_for_sources(1)
        if point == "before settle":
            proxy.hold_before(b" STORE ")
            sink.deliver(mail)
            await asyncio.wait_for(proxy.held.wait(), 20)
            assert await crm.admin.fetchval(SETTLED) == 3
            await router.kill()
            proxy.cut()
            proxy.resume()
        else:
            async with holding(crm, point) as hold:
                sink.deliver(mail)
                await hold.reached()
                await router.kill()
                await hold.undo()
        assert sink.left() == (0 if point == SETTLING else 1)
        await router.start()
        await crm.wait_for_emails(3)
        await crm.wait_for(0, SETTLED)
    assert await crm.dispositions() == {"promoted": 3}
    assert sink.left() == 0


async def test_t90_a_report_by_somebody_whom_only_a_pattern_names_puts_no_mail_into_anothers_name(
    crm: Crm, new_router: NewRouter, sink: Sink
) -> None:
    for mailbox in ("ulla@in.test", "boss@in.test"):
        await crm.owner(mailbox, "all")
    await new_router(sink.profile(forwarders=["*@in.test"]))
    await crm.wait_for_sources(1)
    told = journal("boss@in.test", ["To: karl@kunde.test"], letter("boss@in.test", "karl@kunde.test"), "ulla@in.test")
    sink.deliver(told)
    sink.deliver(told.replace(b"ulla@in.test", b"exchange@in.test"))
    await crm.wait_for_decisions(2)
    assert await decisions(crm) == [("held", None), ("promoted", "ulla@in.test")]
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email WHERE direction = 'out'") == 0
    assert "do not name who sent it in full" in await reasons(crm)
