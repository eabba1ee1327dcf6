"""A house that administrators look at: mailboxes with what became of their mail, a day of numbers, and what waits.

It is written into the tables, as routers that ran for a day would have.
"""

import zlib
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from router.model import ServedProfile
from router.repository.database import Database
from router.repository.processes import note_profiles
from tests.support.crm import Crm

PEOPLE = ("anna", "ben", "clara", "dario", "elif", "farid", "greta", "hugo", "ines", "jan", "kasia", "lars")

_PROFILE: Final = '[incoming.staff]\ntransport = "maildir"\npath = "/nowhere/{mailbox}"\nowners = ["*@velo.example"]\n'


async def furnish(crm: Crm, database: Database, folder: Path) -> UUID:
    """A running process reads the mailboxes of twelve people; all was audited, and nothing is wrong. Returns its id.

    `folder` is that of the profiles, with one that other processes serve elsewhere.
    """
    (folder / "staff.toml").write_text(_PROFILE)
    process = uuid4()
    await crm.admin.execute(
        "INSERT INTO router.process (id, host, pid, started_at, seen_at) "
        "VALUES ($1, 'mail.velo.example', 77, now() - interval '3 days', now() + interval '1 hour')",
        process,
    )
    served = [
        ServedProfile(
            "incoming", "staff", "imap", "staff.toml", 1, "mailbox", ("*@velo.example", "*@in.test"), form="a"
        ),
        ServedProfile("outgoing", "relay", "smtp", "relay.toml", 1, senders=("*@velo.example", "*@in.test"), form="b"),
    ]
    await note_profiles(database, process, served)
    for number, name in enumerate(PEOPLE):
        mailbox = f"{name}@velo.example"
        owner = await crm.owner(mailbox, "known", name=f"{name.capitalize()} Velo")
        source = await crm.admin.fetchval(
            "INSERT INTO router.source (profile, mailbox, folder, owner_id, begins_at, process_id, identity, account) "
            "VALUES ('staff', $1, 'INBOX', $2, now() - interval '90 days', $3, $1, 'imap:mail.velo.example') "
            "RETURNING id",
            mailbox,
            owner,
            process,
        )
        await crm.admin.execute(
            "INSERT INTO router.source_count (source_id, promoted, duplicate, ignored, last_at) "
            "VALUES ($1, $2, $3, $4, now() - make_interval(mins => $5))",
            source, 120 * number + 14, 7 * number, 300 - 20 * number, 3 + 17 * number,
        )  # fmt: skip
        await crm.admin.execute(
            "INSERT INTO router.audit (source_id, audited_at, messages, waiting, missing) "
            "VALUES ($1, now() - make_interval(hours => 2, mins => $2), 800, 0, 0)",
            source,
            number,
        )
    return process


async def a_day_of_numbers(crm: Crm) -> None:
    """Two days of samples: more by day than by night; and nothing of the hour in which the router was stopped."""
    await crm.admin.execute(
        """
        INSERT INTO router.sample
        SELECT date_bin('15 minutes', now(), 'epoch') - make_interval(mins => 15 * (120 - n)), sum(busy) OVER w * 4,
            sum(busy) OVER w, sum(busy) OVER w * 2, sum(busy / 7) OVER w, n / 60, sum(busy) OVER w * 2, n / 10,
            n / 50, 0, 0.3 + busy / 4.0, greatest(0, busy - 6), 20 + n / 4
        FROM (SELECT n, greatest(1, round(9 * sin(n / 14.0)))::int AS busy FROM generate_series(1, 120) AS n) AS s
        WHERE n NOT BETWEEN 70 AND 73
        WINDOW w AS (ORDER BY n)
        """
    )


async def dead(crm: Crm, mailbox: str, raw: bytes, place: str = "1") -> int:
    """Make a dead letter of a copy that a listener was handed for an owner; returns its number."""
    source = await crm.admin.fetchval(
        "INSERT INTO router.source (profile, mailbox, folder, begins_at, identity, account) "
        "VALUES ('copies', '', '', '-infinity', 'copies', 'copies') "
        "ON CONFLICT (identity, folder) DO UPDATE SET profile = excluded.profile RETURNING id"
    )
    number: int = await crm.admin.fetchval(
        "INSERT INTO router.decision (source_id, validity, place, owner_id, disposition, rule, reasons, received_at) "
        "SELECT $1, '', $2, o.record_id, 'dead', 'all', ARRAY['it could not be stored: a rule of the CRM refuses it'], "
        "now() - interval '2 hours' FROM crm.owner AS o WHERE o.mailbox = $3 RETURNING id",
        source,
        place,
        mailbox,
    )
    await crm.admin.execute(
        "INSERT INTO router.source_count AS c (source_id, dead) VALUES ($1, 1) "
        "ON CONFLICT (source_id) DO UPDATE SET dead = c.dead + 1",
        source,
    )
    await crm.admin.execute(
        "INSERT INTO router.kept_content (decision_id, content, recipients, sent, expires_at) "
        "VALUES ($1, $2, $3, false, now() + interval '30 days')",
        number,
        zlib.compress(raw),
        [mailbox],
    )
    return number
