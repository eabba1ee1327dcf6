"""Several probes at once: how many, in which order, and none stops another."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from router.model import Rule
from router.operations.probe import AT_ONCE, Subject, probe
from router.profile import IncomingProfile
from transports import MailboxKind, Tokens
from transports._settings import MailboxServerSettings
from transports.base import Account, After, Finding


class Slow(MailboxServerSettings):
    """Mailboxes whose probes end when all that may run are under way; the last begun ends first."""

    under_way: list[str]
    most: list[int]
    enough: int
    where: ClassVar[str] = "INBOX"

    def account_of(self, mailbox: str) -> str:
        return mailbox


async def slow(settings: Slow, mailbox: str | None, _after: After, _tokens: Tokens) -> AsyncIterator[Finding]:
    assert mailbox is not None
    settings.under_way.append(mailbox)
    settings.most.append(len(settings.under_way))
    while max(settings.most) < settings.enough or settings.under_way[-1] != mailbox:
        await asyncio.sleep(0)
    settings.under_way.remove(mailbox)
    yield Finding("login", "failed" if mailbox == "0@in.test" else "ok", mailbox)


def never_opened(_settings: Slow, _mailbox: str, _after: After, _tokens: Tokens) -> Account:
    raise NotImplementedError


KIND = MailboxKind("slow", settings=Slow, open=never_opened, probe=slow)


def subjects(count: int, **keys: Any) -> tuple[list[Subject], Slow]:
    settings = Slow.model_validate({"host": "127.0.0.1", "port": 1, "under_way": [], "most": [], **keys})
    profile = IncomingProfile("slow", KIND, ("*@in.test",), Rule.ALL, "now", After("keep"), settings, "a.toml", 1)
    return [Subject(profile, f"{number}@in.test") for number in range(count)], settings


async def test_eight_at_once_in_their_order() -> None:
    wanted, settings = subjects(20, enough=AT_ONCE)
    done = [one async for one in probe(wanted)]
    assert [one.subject for one in done] == wanted
    assert [one.findings[0].words for one in done] == [one.mailbox for one in wanted]
    assert [bool(one.failed) for one in done] == [True] + [False] * 19
    assert max(settings.most) == AT_ONCE


async def test_no_more_than_the_server_grants() -> None:
    wanted, settings = subjects(6, enough=2, max_connections=2)
    assert len([one async for one in probe(wanted)]) == 6
    assert max(settings.most) == 2
