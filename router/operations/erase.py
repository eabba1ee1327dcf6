"""Erasing: what the database holds of a person outside, by their address, is removed, and the search for it is proof.

    refuse ─▶ rulings ─▶ emails ─▶ sealed, kept bytes, contents ─▶ all other text ─▶ search everything again

Each piece is committed by itself, beside running routers. Whoever was stopped begins again: what is done is not found
any more.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from router.errors import DatabaseAway, DatabaseError, UnknownName
from router.model import normalize
from router.operations.backing import Refused
from router.parse.headers import decode_words
from router.parse.hidden import has_words, layers, packing_of, texts
from router.repository.database import Database
from router.repository.erasure import erase as repository
from router.repository.erasure import erased_bytes, erased_headers, mentions
from router.repository.erasure.erase import Became
from router.repository.erasure.erased_bytes import Content
from router.repository.erasure.mentions import Pages, Table
from router.repository.erasure.named import Named
from router.repository.senders import fold

__all__ = ["Asked", "Report", "Tell", "erase"]

_TRIES: Final = 3  # of what waits for a lock, and of all
_PAUSE: Final = 0.5  # seconds, between two tries
_SLACK: Final = timedelta(minutes=15)  # a transaction that stores a content is committed before that

_Result = TypeVar("_Result")

Tell = Callable[[str], None]
"""Told what is done at this moment."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom to erase. `dry_run`: only say what would be done. `by`: who asks."""

    address: str
    by: str
    forget_hashes: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Report:
    """What was removed, by table, and what is left. `crms` are rows of the CRM's own tables that name the address.

    `emails` counts emails by what went of them: whole, part. `faults` says in words what could not be done. `unread`
    counts contents of attachments by what hides their text, such as PDFs: nobody knows whether they name the address.
    """

    emails: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    crms: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    faults: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing outside the CRM's own tables names the address, as far as it can be read."""
        return not self.left.total()


async def erase(database: Database, asked: Asked, tell: Tell = lambda _: None) -> Report:
    """Remove what names an address, and report. Raises UnknownName where it is no address, and Refused."""
    address = normalize(asked.address)
    local, at, domain = address.rpartition("@")
    if not (local and at and domain):
        raise UnknownName(f"{asked.address} is no address")
    if await repository.is_inside(database, address):
        raise Refused(f"{address} is the address of a user, queue or owner: erase is for people outside")
    waiting = await repository.list_waiting(database, address)
    if waiting:
        ids = " ".join(str(one) for one in waiting[:5])
        raise Refused(
            f"{len(waiting)} email to or of {address} is pending or being sent: cancel it, or wait until it is sent "
            f"(email-router outbox cancel {ids})"
        )
    return await _Erasing(database, asked, address, tell).run()


class _Erasing:
    def __init__(self, database: Database, asked: Asked, address: str, tell: Tell) -> None:
        self._database = database
        self._asked = asked
        self._address = address
        self._named = _InMail(address)
        # The same for one run, and derived from nothing: two erased people on one email stay two.
        self._instead = f"erased-{secrets.token_hex(4)}{repository.NOBODY}"
        self._tell = tell
        self._report = Report()
        self._faults: list[str] = []
        self._unread: dict[bytes, str] = {}

    async def run(self) -> Report:
        """Remove, search, and once more where something came meanwhile or was locked."""
        since: datetime | None = None
        stuck: list[Content] = []
        tables = await mentions.list_tables(self._database)
        for last in range(1, _TRIES + 1):
            begun = await repository.now(self._database)
            self._faults.clear()
            await self._rulings()
            await self._emails()
            await self._whole_rows()
            stuck = await self._retry(stuck) + await self._contents(since)
            if not self._asked.dry_run:
                await self._done(self._fold)
                await self._texts(tables)
            await self._search(tables, stuck, begun)
            self._report.faults = tuple(dict.fromkeys(self._faults))
            if self._asked.dry_run or self._report.is_clean or last == _TRIES:
                break
            since = begun
            await asyncio.sleep(_PAUSE)
        if not self._asked.dry_run:
            of_ours = [table.name for table in tables if not table.is_crms]
            await self._done(partial(repository.forget_statistics, self._database, of_ours))
            self._report.faults = tuple(dict.fromkeys(self._faults))
        return self._report

    async def _rulings(self) -> None:
        """Before the emails: what a ruling still gives to its record is erased after it."""
        if not self._asked.dry_run:
            work = partial(repository.erase_rulings, self._database, self._named.part, self._named.pattern)
            self._report.removed.update(await self._done(work) or {})

    async def _emails(self) -> None:
        self._tell("emails")
        async for email_id in repository.list_emails(self._database, self._address):
            became = await self._email(email_id)
            if became in ("whole", "part"):
                self._report.emails[became] += 1
                self._report.removed["crm.email"] += 1

    async def _email(self, email_id: UUID) -> Became | None:
        asked = self._asked
        if asked.dry_run:
            return await repository.look_at_email(self._database, email_id, self._address)
        return await self._done(
            lambda: repository.erase_email(
                self._database, email_id, self._address, self._instead, asked.by, forget_hashes=asked.forget_hashes
            )
        )

    async def _whole_rows(self) -> None:
        """What goes as a whole where it names the address: what was taken back, kept bytes, that it bounced."""
        self._tell("kept bytes")
        removes, report, forgets = not self._asked.dry_run, self._report, self._asked.forget_hashes
        async for email_id in erased_bytes.find_sealed(self._database, self._named):
            report.removed["router.sealed"] += 1
            if removes:
                await self._done(partial(erased_bytes.delete_sealed, self._database, email_id, forget_hashes=forgets))
        async for decision_id in erased_bytes.find_kept(self._database, self._named):
            report.removed["router.kept_content"] += 1
            if removes:
                await self._done(partial(erased_bytes.delete_kept, self._database, decision_id))
        if removes:
            state = partial(repository.erase_state, self._database, self._address, forget_hashes=forgets)
            report.removed["crm.address_state"] += await self._done(state) or 0

    async def _fold(self) -> None:
        """Have the queue of unresolved senders forget who does not wait in it any more."""
        while await fold.fold(self._database):
            pass

    async def _contents(self, since: datetime | None) -> list[Content]:
        """Delete the contents that name the address, and return those that could not be."""
        self._tell("attachments")
        return [
            content
            async for content in erased_bytes.list_contents(self._database, since and since - _SLACK)
            if await self._is_in(content) and not await self._delete(content)
        ]

    async def _is_in(self, content: Content) -> bool:
        looked = await erased_bytes.look_into(self._database, content, self._named)
        packing = packing_of(looked.beginning)
        if packing and not looked.names_it:
            self._unread[content.sha256] = packing
        return looked.names_it

    async def _retry(self, stuck: list[Content]) -> list[Content]:
        return [content for content in stuck if not await self._delete(content)]

    async def _delete(self, content: Content) -> bool:
        if self._asked.dry_run:
            return False
        deleted = await self._done(partial(erased_bytes.delete_content, self._database, content)) or False
        self._report.removed["crm.blob"] += deleted
        return deleted

    async def _texts(self, tables: list[Table]) -> None:
        for table in tables:
            if table.is_crms or table.goes_whole:
                continue
            self._tell(table.name)
            for pages in await mentions.list_pieces(self._database, table):
                self._report.removed[table.name] += await self._take_out(table, pages)
                if table.name == erased_headers.TABLE:
                    await self._headers(pages)

    async def _headers(self, pages: Pages) -> None:
        async for email_id in erased_headers.find_encoded(self._database, pages, self._named):
            done = await self._done(partial(erased_headers.take_out_encoded, self._database, email_id, self._named))
            self._report.removed[erased_headers.TABLE] += done or 0

    async def _take_out(self, table: Table, pages: Pages) -> int:
        """Take the address out of a piece; where a row of it is refused, out of all other pages."""
        faults = len(self._faults)
        changed = await self._done(partial(mentions.take_out, self._database, table, self._named, self._instead, pages))
        if changed is not None:
            return changed
        first, end = pages
        if end - first == 1:
            return 0
        del self._faults[faults:]  # the half that has it says so again
        middle = (first + end) // 2
        return await self._take_out(table, (first, middle)) + await self._take_out(table, (middle, end))

    async def _search(self, tables: list[Table], stuck: list[Content], begun: datetime) -> None:
        """Count what names the address now, table by table; of contents those left over, and what came since."""
        report = self._report
        report.left, report.crms = Counter(), Counter()
        for table in tables:
            self._tell(f"search {table.name}")
            found = [
                await mentions.count(self._database, table, self._named, pages)
                for pages in await mentions.list_pieces(self._database, table)
            ]
            (report.crms if table.is_crms else report.left)[table.name] = sum(found)
            if table.name == erased_headers.TABLE:
                for pages in await mentions.list_pieces(self._database, table):
                    async for _ in erased_headers.find_encoded(self._database, pages, self._named):
                        report.left[table.name] += 1
        async for _ in erased_bytes.find_kept(self._database, self._named):
            report.left["router.kept_content"] += 1
        async for _ in erased_bytes.find_sealed(self._database, self._named):
            report.left["router.sealed"] += 1
        came = [
            content
            async for content in erased_bytes.list_contents(self._database, begun - _SLACK)
            if await self._is_in(content)
        ]
        report.left["crm.blob"] = len({*stuck, *came})
        report.unread = Counter(self._unread.values())

    async def _done(self, work: Callable[[], Awaitable[_Result]]) -> _Result | None:
        """Do what may wait for a lock, a few times; None where it cannot be done, which stops nothing else."""
        for last in range(1, _TRIES + 1):
            try:
                return await work()
            except DatabaseError as error:
                await self._database.ping()  # or there is no database at all
                if last == _TRIES or not isinstance(error, DatabaseAway):
                    self._faults.append(str(error))
                    return None
            await asyncio.sleep(_PAUSE)
        raise AssertionError("the last try returns")


class _InMail(Named):
    """Named also in encoded words, and in bytes in whatever encoding."""

    __slots__ = ()

    def in_text(self, text: str) -> bool:
        """Whether a text names it, be it in encoded words (RFC 2047)."""
        return super().in_text(text) or ("=?" in text and super().in_text(decode_words(text)))

    def in_bytes(self, content: bytes) -> bool:
        """Whether bytes name it, unless they are compressed or encrypted."""
        return any(self.in_text(text) for layer in layers(content) if self._may_be_in(layer) for text in texts(layer))

    def _may_be_in(self, content: bytes) -> bool:
        """Look quickly: in most contents there is nothing like it."""
        if not self.part.isascii() or has_words(content):
            return True
        content = content.lower()
        part = self.part.encode()
        return part in content or (b"\0" in content and self.part.encode("utf-16-le")[:-1] in content)

    @property
    def longest(self) -> int:
        """Bytes that one way to write it may take: in base64, and that in base64 again."""
        return 16 * super().longest
