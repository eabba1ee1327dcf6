"""A command as an admin types it, with nobody at a terminal: `email-router …` in a process of its own."""

import json
import os
from asyncio.subprocess import PIPE
from typing import Any, NamedTuple

from tests.support.forked import email_router
from tests.support.profiles import SECRETS


class Said(NamedTuple):
    """What a command came to: its exit status, and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def type_command(database: str, *arguments: str, answer: str | bytes = "", profiles: object = None) -> Said:
    """Run `email-router ARGUMENTS` on a database; `answer` is its stdin, `profiles` the folder of the profiles."""
    environment = os.environ | SECRETS | {"EMAIL_ROUTER_DATABASE_URL": database}
    if profiles is not None:
        environment["EMAIL_ROUTER_PROFILES"] = str(profiles)
    process = await email_router(*arguments, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate(answer.encode() if isinstance(answer, str) else answer)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())
