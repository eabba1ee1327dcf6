"""django-post-office, to compare with.

`send_queued_mail`, with all settings as they come but for as many threads as there are connections, sends what is
queued in PostgreSQL over SMTP, and writes the status of each batch of 100. It does not: hold back what may have left
before a crash (it sends it again), tell recipients apart, keep to a rate, or leave one owner's mail to another's turn.
"""

import asyncpg

from tests.benchmarks.django import Program, write_settings
from tests.benchmarks.stage import Stage

APPLICATION = "django-post-office"

_SETTINGS = """
INSTALLED_APPS = ["post_office"]
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", {port}
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates"}}]
POST_OFFICE = {{"THREADS_PER_PROCESS": {connections}}}
"""

_QUEUE = """
import sys, django
django.setup()
from post_office import mail
one = {"sender": "ann@bench.test", "recipients": ["karl@kunde.test"], "subject": "Number", "message": sys.argv[1]}
mail.send_many([one] * int(sys.argv[2]))
"""


async def drain(django: Program, stage: Stage, port: int, connections: int, count: int, text: str) -> float:
    """Send so many emails with this text to a relay on a port of 127.0.0.1; emails a second, from first to last."""
    async with stage.empty_database() as dsn:
        more = _SETTINGS.format(port=port, connections=connections)
        settings = write_settings(stage.folder / f"django-{next(stage.numbers)}", dsn, more)
        await django.run("django-admin", "migrate", settings=settings)
        await django.run("python", "-c", _QUEUE, text, str(count), settings=settings)
        sql = await asyncpg.connect(dsn)
        await django.run("django-admin", "send_queued_mail", settings=settings)
        seconds = await sql.fetchval("SELECT extract(epoch FROM max(date) - min(date))::float8 FROM post_office_log")
        sent = await sql.fetchval("SELECT count(*) FROM post_office_email WHERE status = 0")
        await sql.close()
    if sent != count:
        raise AssertionError(f"{sent} of {count} emails were sent")
    return float(count / seconds)
