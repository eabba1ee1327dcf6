"""django-mailbox, to compare with.

`getmail`, with all settings as they come, drains IMAP mailboxes into PostgreSQL: over TLS, one after the other, each
message fetched, stored and marked as deleted before the next. It stores headers, texts (as one MIME text), attachments
as files, and which message is answered, each row in a transaction of its own. It does not: tell a message from its
duplicate, go on where it stopped after a crash (it deletes on the server what it stored, and stores twice what it
had no time to delete), know contacts, decode texts, mark quotes, classify, or use more than one processor.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

import asyncpg

from tests.benchmarks.corpus import fill
from tests.benchmarks.django import Program, processor_time_of_ended, write_settings
from tests.benchmarks.stage import Stage
from tests.servers.dovecot import HOST, PASSWORD

APPLICATION = "django-mailbox"


async def drain(django: Program, stage: Stage, count: int) -> tuple[float, float]:
    """Drain so many messages out of four mailboxes: messages a second, and milliseconds of processor time each.

    The first are from its first message to its last, so without the start of Django; that is in the second.
    """
    number = next(stage.numbers)
    mailboxes = [f"django-{number}-{part}@in.test" for part in range(4)]
    await asyncio.to_thread(fill, stage.dovecot.connect, mailboxes, count)
    async with stage.empty_database() as dsn:
        folder = stage.folder / f"django-{number}"
        settings = write_settings(folder, dsn, f'INSTALLED_APPS = ["django_mailbox"]\nMEDIA_ROOT = {str(folder)!r}\n')
        await django.run("django-admin", "migrate", settings=settings)
        sql = await asyncpg.connect(dsn)
        await _add(sql, mailboxes, stage.dovecot.imaps)
        before = processor_time_of_ended()
        await django.run("django-admin", "getmail", settings=settings)
        used = processor_time_of_ended() - before
        times = await sql.fetch("SELECT processed FROM django_mailbox_message ORDER BY processed")
        await sql.close()
    if len(times) != count:
        raise AssertionError(f"{len(times)} of {count} messages were stored")
    seconds = (times[-1]["processed"] - times[0]["processed"]).total_seconds()
    return (count - 1) / seconds, used * 1000 / count


async def _add(sql: "asyncpg.Connection[asyncpg.Record]", mailboxes: Sequence[str], port: int) -> None:
    await sql.executemany(
        "INSERT INTO django_mailbox_mailbox (name, uri, active) VALUES ($1, $2, true)",
        [(mailbox, f"imap+ssl://{quote(mailbox)}:{PASSWORD}@{HOST}:{port}") for mailbox in mailboxes],
    )
