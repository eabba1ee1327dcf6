"""Private mail stays private: what a rule ignores leaves no content in any table, nor in the log."""

import asyncio
import base64
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from router.postgres import binaries
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy
from tests.support.crm import Crm, Parcel
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

NewMailbox = Callable[[str], str]

KINDS = ("subject", "text", "html", "sender", "name", "cc", "reply", "file", "content", "id", "parent", "ancestor")


def words(whose: str) -> dict[str, str]:
    """A word for each place of a message, to be found wherever it is."""
    return {kind: f"{whose}qx{kind}zj" for kind in KINDS}


def telling(to: str, word: dict[str, str], sender: str | None = None) -> bytes:
    """A message with each word in its place, `text` among letters beyond ASCII."""
    return letter(
        f"{word['name']} <{sender or word['sender'] + '@home.test'}>",
        to,
        f"Grüße {word['subject']}",
        f"Größe {word['text']} Größe\n" * 30,
        html=f"<p>Größe {word['html']}</p>",
        attachments=[
            Parcel(f"{word['file']}.txt", "text/plain", f"{word['content']}\n".encode() * 200),
            Parcel("b.bin", "application/octet-stream", bytes(range(256)) + word["content"].encode()),
        ],
        Cc=f"{word['cc']}@home.test",
        Reply_To=f"{word['reply']}@home.test",
        Message_ID=f"<{word['id']}@home.test>",
        In_Reply_To=f"<{word['parent']}@home.test>",
        References=f"<{word['ancestor']}@home.test> <{word['parent']}@home.test>",
    )


def dump(dsn: str) -> bytes:
    """Everything in the database, as an admin would back it up."""
    program = binaries.find().folder / "pg_dump"
    return subprocess.run([program, "--inserts", dsn], check=True, capture_output=True).stdout


def found(haystack: bytes, wanted: dict[str, str]) -> set[str]:
    """Which of the words are in there: in clear, in base64, in hexadecimal, or compressed within that."""
    readable = [haystack.lower(), *(text.lower() for text in binary(haystack))]
    return {
        kind
        for kind, word in wanted.items()
        if any(word.encode() in text for text in readable)
        or any(code in text for code in in_base64(word) for text in (haystack, *binary(haystack)))
    }


def binary(text: bytes) -> Iterator[bytes]:
    """Yield each value of type bytea, and what it is when it is taken apart with zlib."""
    for digits in re.findall(rb"\\x((?:[0-9a-f]{2})+)", text):
        value = bytes.fromhex(digits.decode())
        yield value
        try:
            yield zlib.decompress(value)
        except zlib.error:
            continue


def in_base64(word: str) -> list[bytes]:
    """A word in base64, wherever among threes of bytes it begins, without the ends that its neighbors change."""
    return [base64.b64encode(b"_" * shift + word.encode())[4:-4] for shift in range(3)]


def test_the_search_finds_a_word_however_it_is_written() -> None:
    word = {"it": "unmistakable"}
    for text in (
        b"so Unmistakable!",
        base64.b64encode(b"unmistakable"),
        base64.b64encode(b"so unmistakable!"),
        base64.b64encode(b"an unmistakable"),
        b"'\\x" + b"unmistakable".hex().encode() + b"'",
        b"'\\x" + zlib.compress(b"unmistakable" * 9).hex().encode() + b"'",
    ):
        assert found(text, word) == {"it"}, text
    assert found(b"nothing", word) == set()


async def test_what_a_rule_ignores_leaves_nothing_of_its_content(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, new_mailbox: NewMailbox, database: str
) -> None:
    await crm.record("contact", "Karl", "karl@kunde.test")
    mailboxes = {rule: new_mailbox(rule) for rule in ("none", "replies", "known", "email-enabled")}
    for rule, mailbox in mailboxes.items():
        await crm.owner(mailbox, rule)
    router = await new_router(incoming())
    await crm.wait_for_sources(4)
    ignored, promoted = words("ignored"), words("promoted")
    for mailbox in mailboxes.values():
        dovecot.deliver(mailbox, telling(mailbox, ignored))
    await crm.wait_for_decisions(4)
    assert await crm.dispositions() == {"ignored": 4}
    everything = await asyncio.to_thread(dump, database)
    assert found(everything, ignored) == set()
    assert found(router.log().encode(), ignored) == set()
    for table in ("crm.email", "crm.party", "crm.attachment", "crm.blob", "crm.receipt", "router.kept_content"):
        assert await crm.admin.fetchval(f"SELECT count(*) FROM {table}") == 0, table

    # What is promoted is found, so the search looks at the right things.
    dovecot.deliver(mailboxes["known"], telling(mailboxes["known"], promoted, "karl@kunde.test"))
    await crm.wait_for_emails(1)
    everything = await asyncio.to_thread(dump, database)
    assert found(everything, promoted) == set(KINDS) - {"sender"}
    assert found(everything, ignored) == set()
    assert found(router.log().encode(), promoted) == set()


@pytest.mark.parametrize(("rule", "fetched"), [("none", False), ("replies", True)])
async def test_t08_for_an_owner_with_the_rule_none_no_body_is_fetched(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, rule: str, *, fetched: bool
) -> None:
    await crm.owner(mailbox, rule)
    async with Proxy(dovecot.imap, listening=True) as proxy:
        router = await new_router(incoming(security="none", port=proxy.port))
        await crm.wait_for_sources(1)
        word = words("private")
        dovecot.deliver(mailbox, telling(mailbox, word))
        await crm.wait_for_decisions(1)
        await router.stop()
    heard = bytes(proxy.heard)
    assert word["subject"].encode() in heard
    assert (word["html"].encode() in heard) is fetched
    assert (word["file"].encode() in heard) is fetched
    [decision] = await crm.admin.fetch("SELECT disposition, rule FROM router.decision")
    assert tuple(decision) == ("ignored", rule)


async def test_private_mail_of_the_past_is_not_even_looked_at(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    """T16b."""
    word = words("past")
    dovecot.deliver(mailbox, telling(mailbox, word))
    await crm.owner(mailbox, "all")
    async with Proxy(dovecot.imap, listening=True) as proxy:
        router = await new_router(incoming(security="none", port=proxy.port))
        await crm.wait_for_sources(1)
        dovecot.deliver(mailbox, letter("a@out.test", mailbox, f"today {datetime.now(UTC):%H:%M}"))
        await crm.wait_for_emails(1)
        await router.stop()
    assert b"Subject: today" in proxy.heard
    assert found(bytes(proxy.heard), word) == set()


async def test_mail_whose_body_was_not_fetched_is_not_promoted_when_the_rule_has_just_changed(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    owner = await crm.owner(mailbox, "none")
    # With so long a lease, this router hears of new rules much later.
    await new_router(incoming(), lease=3600)
    await crm.wait_for_sources(1)
    await crm.admin.execute("UPDATE crm.owner SET tracking_rule = 'all' WHERE record_id = $1", owner)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox))
    await crm.wait_for_decisions(1)
    [decision] = await crm.admin.fetch("SELECT disposition, rule FROM router.decision")
    assert tuple(decision) == ("ignored", "none")
