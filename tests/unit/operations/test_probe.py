"""Several examinations at once: how many, in which order, and none stops another."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from router.model import Rule
from router.operations.probe import AT_ONCE, Subject, examine
from router.profile import IncomingProfile
from transports._settings import KEEP, MailboxServerSettings
from transports.base import Account, After, Finding


class Slow(MailboxServerSettings):
    """Mailboxes whose examinations end when all that may run are under way; the last begun ends first."""

    under_way: list[str]
    most: list[int]
    enough: int
    where: ClassVar[str] = "INBOX"

    def open(self, mailbox: str, after: After = KEEP) -> Account:
        raise NotImplementedError

    async def examine(self, mailbox: str | None, after: After) -> AsyncIterator[Finding]:  # noqa: ARG002
        assert mailbox is not None
        self.under_way.append(mailbox)
        self.most.append(len(self.under_way))
        while max(self.most) < self.enough or self.under_way[-1] != mailbox:
            await asyncio.sleep(0)
        self.under_way.remove(mailbox)
        yield Finding("login", "failed" if mailbox == "0@in.test" else "ok", mailbox)


def subjects(count: int, **keys: Any) -> tuple[list[Subject], Slow]:
    settings = Slow.model_validate({"host": "127.0.0.1", "under_way": [], "most": [], **keys})
    profile = IncomingProfile("slow", "slow", ("*@in.test",), Rule.ALL, "now", After("keep"), settings, "a.toml", 1)
    return [Subject(profile, f"{number}@in.test") for number in range(count)], settings


async def test_eight_at_once_in_their_order() -> None:
    wanted, settings = subjects(20, enough=AT_ONCE)
    done = [one async for one in examine(wanted)]
    assert [one.subject for one in done] == wanted
    assert [one.findings[0].words for one in done] == [one.mailbox for one in wanted]
    assert [bool(one.failed) for one in done] == [True] + [False] * 19
    assert max(settings.most) == AT_ONCE


async def test_no_more_than_the_server_grants() -> None:
    wanted, settings = subjects(6, enough=2, max_connections=2)
    assert len([one async for one in examine(wanted)]) == 6
    assert max(settings.most) == 2
