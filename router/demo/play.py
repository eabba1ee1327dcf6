"""What the demo plays: it hands in the samples, lets the CRM send, answers, and tells what came of it all."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import aiosmtplib

from router.demo import sample, show
from router.demo.sample import Sample
from router.demo.scripts import run_script
from router.demo.show import Out
from router.errors import RouterError
from router.model.token import subject_with_token
from router.repository.database import Database
from router.repository.trace import history as account
from router.repository.trace.history import CopyAccount, Position, SentAccount

_SENT: Mapping[str, UUID] = {
    "offer": UUID("de300000-0000-4000-8000-0000000000a1"),
    "note": UUID("de300000-0000-4000-8000-0000000000a2"),
    "gone": UUID("de300000-0000-4000-8000-0000000000a3"),
}
_PATIENCE = 30.0  # seconds for what takes a moment: a process that died is taken over after ten
_LOOK = 0.5  # seconds between two looks for what came later


class Play:
    """One performance, on a database whose router serves already."""

    def __init__(self, database: Database, port: int, out: Out) -> None:
        self._database = database
        self._port = port
        self._out = out

    async def run(self, farewell: str) -> None:
        """Play everything, print the account and then `farewell`; then tell of what comes later, until canceled."""
        samples, unresolved = sample.load(), sample.load("unresolved")
        earlier = await self._copies([*samples, *unresolved])
        sent_earlier = {email.id for email in await account.sent_emails(self._database, list(_SENT.values()))}
        await self._until_it_listens()
        await self._hand_in([one for one in samples if not one.blanks], earlier)
        await run_script(self._database, await text_of("send.sql"))
        sent = await self._until_sent()
        position = await Position.now(self._database)
        answers = _answers(samples, sent)
        await self._hand_in(answers, earlier)
        await self._hand_in(unresolved, earlier)
        decision = await account.last_decision(self._database)
        copies = await self._copies(samples)
        self._out.print(
            show.table_in((one, copies[one.name], bool(earlier[one.name])) for one in _with(samples, answers)),
            "",
            show.table_out((email, email.id in sent_earlier) for email in sent),
            "",
        )
        self._out.print(farewell, soft_wrap=True)
        await self._follow(decision, position)

    async def _copies(self, samples: Sequence[Sample]) -> dict[str, list[CopyAccount]]:
        """Read the first copy of each sample that each of its owners got."""
        found: dict[tuple[bytes | None, str], CopyAccount] = {}
        for copy in await account.copies_of(self._database, [one.message.key for one in samples]):
            found.setdefault((copy.key, copy.mailbox), copy)
        return {
            one.name: [found[place] for recipient in one.recipients if (place := (one.message.key, recipient)) in found]
            for one in samples
        }

    async def _hand_in(self, samples: Sequence[Sample], earlier: Mapping[str, Sequence[CopyAccount]]) -> None:
        """Hand in what no earlier start did: one that was killed half-way goes on where it was."""
        for one in samples:
            had = {copy.mailbox for copy in earlier[one.name]}
            missing = [recipient for recipient in one.recipients if recipient not in had]
            if missing:
                try:
                    await one.hand_in(self._port, missing)
                except (aiosmtplib.SMTPException, OSError) as error:
                    raise RouterError(f"the sample {one.name} was not taken by the listener: {error}") from error

    async def _until_it_listens(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while not await self._listens():
            if asyncio.get_running_loop().time() > deadline:
                raise RouterError(f"nothing listens at 127.0.0.1:{self._port}")
            await asyncio.sleep(0.05)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True

    async def _until_sent(self) -> list[SentAccount]:
        """Wait until each sample email has come to an end; what has not by then is told as it is."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            sent = await account.sent_emails(self._database, list(_SENT.values()))
            if all(email.ended for email in sent) or asyncio.get_running_loop().time() > deadline:
                return sent
            await asyncio.sleep(0.05)

    async def _follow(self, decision: int, position: Position) -> None:
        """Tell of each later copy and each later email."""
        while True:
            # One listener commits its decisions one after another, so that none appears behind a newer one.
            for copy in await account.copies_after(self._database, decision):
                decision = copy.id
                self._out.tell(show.later_in(copy), _now())
            emails, position = await account.sent_since(self._database, position)
            for email in emails:
                self._out.tell(show.later_out(email), _now())
            await asyncio.sleep(_LOOK)


def _answers(samples: Sequence[Sample], sent: Sequence[SentAccount]) -> list[Sample]:
    """Let the answers answer what was sent; those whose email never left the CRM are left out."""
    names = {email_id: name for name, email_id in _SENT.items()}
    values: dict[str, str] = {}
    for email in sent:
        if email.message_id and email.token and email.status == "sent":
            values[f"{names[email.id]}.message_id"] = email.message_id
            values[f"{names[email.id]}.subject"] = subject_with_token(email.subject, email.token)
    return [one.filled(values) for one in samples if one.blanks and one.blanks <= values.keys()]


def _with(samples: Sequence[Sample], answers: Sequence[Sample]) -> list[Sample]:
    by_name = {one.name: one for one in answers}
    return [by_name.get(one.name, one) for one in samples]


def _now() -> datetime:
    return datetime.now().astimezone()


async def text_of(name: str) -> str:
    """Read one of the demo's files."""
    return await asyncio.to_thread(Path(__file__).with_name(name).read_text, "utf-8")
