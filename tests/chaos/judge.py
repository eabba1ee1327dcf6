"""What is wrong at the end of a chaos run: nothing may be lost, come twice, or be left undone."""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from email import message_from_bytes

from tests.chaos.mail import IN, Letter
from tests.chaos.mailboxes import BY_IMAP, ON_DISK, PROFILE, RULES
from tests.chaos.world import World

Check = Callable[[World], Awaitable[Sequence[str]]]

_MOST_TOLD = 10
_WRONG = re.compile("a bug of the router's own|by a mistake of ours|messages are missing")
_NO_REST = {
    "copies that are not settled": "SELECT count(*) FROM router.decision WHERE settled_at IS NULL",
    "copies to be decided again": "SELECT count(*) FROM router.decide_again",
    "answers to be linked": "SELECT count(*) FROM router.waiting_answer WHERE email_id IS NOT NULL",
    "ids to be filed": "SELECT count(*) FROM router.known_id",
    "emails in the outbox": "SELECT count(*) FROM router.outbox",
    "outcomes that are not recorded": "SELECT count(*) FROM router.unrecorded",
    "sources at fault": "SELECT count(*) FROM router.source WHERE fault IS NOT NULL",
}


async def judge(world: World, *, final: bool = False) -> Sequence[str]:
    """Say all that is wrong now; `final`: also what takes longer to look at, once nothing else is wrong."""
    found = [line for check in (_delivered, _no_rest, _emails, _copies, _ledger, _sent) for line in await check(world)]
    if final and not found:
        found = [line for check in (_left, _logs, _audit) for line in await check(world)]
    return found


async def _delivered(world: World) -> Sequence[str]:
    return [f"not delivered: {name}" for name in world.post.under_way][:_MOST_TOLD]


async def _no_rest(world: World) -> Sequence[str]:
    # What a relay has put off waits for minutes; an admin would say so, too.
    await world.sql.fetch("UPDATE router.outbox SET next_at = now() WHERE process_id IS NULL AND next_at > now()")
    counts = {what: await world.sql.value(query) for what, query in _NO_REST.items()}
    return [f"{count} {what}" for what, count in counts.items() if count]


async def _emails(world: World) -> Sequence[str]:
    """Every letter that is to be in is one email, with a receipt for each owner, linked to what it answers."""
    rows = await world.sql.fetch(
        """
        SELECT e.message_id, parent.message_id AS answers, ARRAY(
            SELECT o.mailbox FROM crm.receipt AS r JOIN crm.owner AS o ON o.record_id = r.owner_id
            WHERE r.email_id = e.id ORDER BY 1
        ) AS mailboxes
        FROM crm.email AS e LEFT JOIN crm.email AS parent ON parent.id = e.correlated_id WHERE e.direction = 'in'
        """
    )
    imported = {row[0] for row in await world.sql.fetch("SELECT message_id FROM crm.email WHERE direction = 'out'")}
    letters = world.writer.letters
    counts = Counter(row["message_id"] for row in rows)
    lines = [f"{count} emails of {message_id}" for message_id, count in counts.items() if count > 1]
    lines += [f"lost: {_told(one)}" for one in letters.values() if one.is_in and one.message_id not in counts]
    for row in rows:
        letter = letters.get(row["message_id"])
        if letter is None or not any(IN & wanted for wanted in letter.becomes.values()):
            lines.append(f"an email that is not to be one: {row['message_id']}")
            continue
        if sorted(letter.becomes) != row["mailboxes"]:
            lines.append(f"receipts of {row['mailboxes']}: {_told(letter)}")
        if letter.answers in {*counts, *imported} and row["answers"] != letter.answers:
            lines.append(f"not linked to {letter.answers}, but to {row['answers']}: {_told(letter)}")
    return lines[:_MOST_TOLD]


async def _copies(world: World) -> Sequence[str]:
    """Every copy has the disposition that it is to have, one of each message is promoted, and there are no others."""
    rows = await world.sql.fetch(
        """
        SELECT o.mailbox, d.key, d.disposition, d.reasons
        FROM router.decision AS d JOIN crm.owner AS o ON o.record_id = d.owner_id
        """
    )
    found: dict[tuple[str, bytes | None], list[str]] = defaultdict(list)
    for row in rows:
        found[row["mailbox"], row["key"]].append(row["disposition"])
    lines: list[str] = []
    # A dead letter has no key; what was handed over again after a lost answer is another one.
    unread = Counter({mailbox: len(found.pop((mailbox, None), ())) for mailbox in RULES})
    spare = Counter[str]()
    promoted = Counter(row["key"] for row in rows if row["disposition"] == "promoted")
    lines += [f"promoted {count} times: {_named(world, key)}" for key, count in promoted.items() if count > 1]
    for letter in world.writer.letters.values():
        for mailbox, wanted in letter.becomes.items():
            dispositions = found.pop((mailbox, letter.key), [])
            if not dispositions and "dead" in wanted and unread[mailbox]:
                unread[mailbox] -= 1
                spare[mailbox] += letter.tries[mailbox] - 1
            elif not dispositions:
                lines.append(f"no disposition in {mailbox}: {_told(letter)}")
            elif not wanted.issuperset(dispositions):
                lines.append(f"{dispositions} in {mailbox}, not {set(wanted)}: {_told(letter)}")
            elif len(dispositions) > letter.tries.get(mailbox, 1):
                lines.append(f"{len(dispositions)} copies of {letter.tries} in {mailbox}: {_told(letter)}")
    lines += [f"nobody sent this to {mailbox}: {dispositions}" for (mailbox, _), dispositions in found.items()]
    lines += [
        f"{count} dead letters of {mailbox} that nobody sent"
        for mailbox, count in unread.items()
        if count > spare[mailbox]
    ]
    return lines[:_MOST_TOLD]


async def _ledger(world: World) -> Sequence[str]:
    """Of each source, seen = promoted + duplicate + ignored + held + dead, as it counts them and as they are."""
    rows = await world.sql.fetch(
        """
        SELECT s.mailbox || ' ' || s.folder AS source,
            ARRAY[c.promoted, c.duplicate, c.ignored, c.held, c.dead] AS counted,
            ARRAY(
                SELECT count(*) FILTER (WHERE d.disposition = kind)
                FROM unnest(ARRAY['promoted', 'duplicate', 'ignored', 'held', 'dead']) WITH ORDINALITY AS k (kind, n)
                LEFT JOIN router.decision AS d ON d.source_id = s.id GROUP BY n ORDER BY n
            ) AS decided
        FROM router.source AS s LEFT JOIN router.source_count AS c ON c.source_id = s.id
        """
    )
    return [
        f"the ledger of {row['source']} says {row['counted']}, its decisions {row['decided']}"
        for row in rows
        if [count or 0 for count in row["counted"] or [0] * 5] != row["decided"]
    ]


async def _sent(world: World) -> Sequence[str]:
    """Every email of the CRM has left once; what nobody can know has left once at most."""
    rows = await world.sql.fetch(
        "SELECT id, message_id, status, status_reason FROM crm.email WHERE id = ANY($1::uuid[])", list(world.sent)
    )
    accepted = sum((capture.accepted for capture in world.captures.values()), Counter[str]())
    lines = [] if len(rows) == len(world.sent) else [f"{len(rows)} of {len(world.sent)} outgoing emails are there"]
    for row in rows:
        count = accepted[row["message_id"] or ""]
        if row["status"] not in ("sent", "unknown") or count > 1 or (row["status"] == "sent" and count == 0):
            lines.append(f"{row['status']} ({row['status_reason']}), and left {count} times: {row['id']}")
    return lines[:_MOST_TOLD]


async def _left(world: World) -> Sequence[str]:
    """In each mailbox, what is to be settled is, and nothing else."""
    lines = []
    for mailbox in RULES:
        if PROFILE[mailbox] == "dropped":
            continue
        unsettled = await asyncio.to_thread(_unsettled, world, mailbox)
        decided = await world.sql.fetch(
            """
            SELECT d.key, d.disposition FROM router.decision AS d JOIN crm.owner AS o ON o.record_id = d.owner_id
            WHERE o.mailbox = $1
            """,
            mailbox,
        )
        of_key = {row["key"]: row["disposition"] for row in decided}
        for letter in world.writer.letters.values():
            if mailbox in letter.becomes:
                settles = of_key.get(letter.key) in IN
                if settles == (letter.message_id in unsettled):
                    lines.append(f"{'not ' if settles else ''}settled in {mailbox}: {_told(letter)}")
    return lines[:_MOST_TOLD]


def _unsettled(world: World, mailbox: str) -> set[str]:
    """The Message-IDs of what lies there as it came."""
    if PROFILE[mailbox] in ON_DISK:
        return set(_ids(file.read_bytes() for file in (world.post.maildir(mailbox) / "new").iterdir()))
    messages = world.dovecot.messages(mailbox)
    if PROFILE[mailbox] in BY_IMAP - {"moved"}:
        flags = world.dovecot.flags(mailbox)
        messages = {uid: content for uid, content in messages.items() if "\\Seen" not in flags[uid]}
    return set(_ids(messages.values()))


def _ids(contents: Iterable[bytes]) -> Iterator[str]:
    for content in contents:
        yield str(message_from_bytes(content)["Message-ID"]).strip("<>")


async def _logs(world: World) -> Sequence[str]:
    """No router has met a mistake of its own, and no audit, while all went wrong, called a message missing."""
    return [
        f"router {number}: {line}"
        for number, router in enumerate(world.routers, 1)
        for line in router.process.log().splitlines()
        if _WRONG.search(line)
    ][:_MOST_TOLD]


async def _audit(world: World) -> Sequence[str]:
    """Let the audit compare all this with what the mail servers hold: nothing is unaccounted."""
    status, printed = await world.routers[0].process.ask("audit", "--json")
    told = json.loads(printed)
    return [] if status == 0 and told["missing"] == 0 else [f"the audit ends with {status}: {printed}"]


def _named(world: World, key: bytes) -> str:
    return next((_told(one) for one in world.writer.letters.values() if one.key == key), key.hex())


def _told(letter: Letter) -> str:
    subject = letter.content.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode()
    return f"{letter.message_id} {subject!r} to {', '.join(letter.becomes)}"
