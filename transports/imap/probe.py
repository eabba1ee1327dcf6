r"""Probes a mailbox, by EXAMINE, LIST and STATUS: nothing is selected, so that not even \Recent is lost."""

import re
from collections.abc import AsyncIterator, Collection, Iterator, Sequence

from transports._folders import wanted_folders
from transports._net.credentials import NO_TOKENS, Tokens, credential_of, whom
from transports._net.probe import connect_in_steps, content, examine, found_ours, refused_advice, retry_advice, volume
from transports.base import After, Finding, Folder
from transports.errors import TransportError, Unauthorized
from transports.imap.connection import ImapConnection
from transports.imap.decode import status, values
from transports.imap.folders import find_folders, has_labels, is_there
from transports.imap.login import connect, log_in
from transports.imap.settings import ImapSettings
from transports.imap.settle import KEYWORD

NEARLY_FULL = 0.95

_CAPABILITIES = ("IDLE", "NOTIFY", "MOVE", "UIDPLUS", "CONDSTORE", "QRESYNC", "SPECIAL-USE")
_FLAGS = re.compile(rb"\* FLAGS ", re.IGNORECASE)
_QUOTA = re.compile(rb"\* QUOTA ", re.IGNORECASE)
_NAMES_SHOWN = 20


async def probe_mailbox(
    settings: ImapSettings, mailbox: str | None, after: After, tokens: Tokens = NO_TOKENS
) -> AsyncIterator[Finding]:
    """See `MailboxKind.probe`."""
    steps, imap = await connect_in_steps(settings, settings.ports, lambda: connect(settings))
    for finding in steps:
        yield finding
    if imap is None:
        return
    try:
        for finding in await found_ours(settings.client_cert):
            yield finding
        if mailbox is not None:
            async for finding in _probe_inside(imap, settings, mailbox, after, tokens):
                yield finding
    finally:
        await imap.close()


async def _probe_inside(
    imap: ImapConnection, settings: ImapSettings, mailbox: str, after: After, tokens: Tokens
) -> AsyncIterator[Finding]:
    step = "login"
    try:
        async for finding in examine(settings.auth, mailbox, tokens):
            yield finding
            if finding.state == "failed":
                return
        yield await _probe_login(imap, settings, mailbox, tokens)
        step = "capabilities"
        yield _probe_capabilities(imap, settings)
        step = "folders"
        there = await find_folders(imap)
        wanted = wanted_folders(there, settings.folders, after, sent=settings.sent, labels=has_labels(imap))
        folders = _Folders(imap, there)
        for folder in wanted:
            if (wrong := await folders.look_into(folder.name)) is not None:
                yield wrong
        for finding in folders.findings(settings):
            yield finding
        if (quota := await _probe_quota(imap)) is not None:
            yield quota
        step = "after"
        if (judged := _probe_after(imap, after, there, folders)) is not None:
            yield judged
    except Unauthorized as error:
        yield Finding(step, "failed", str(error), refused_advice(settings.auth, mailbox, str(error)))
    except TransportError as error:
        yield Finding(step, "failed", str(error), retry_advice(error))


async def _probe_login(imap: ImapConnection, settings: ImapSettings, mailbox: str, tokens: Tokens) -> Finding:
    if imap.state != "NONAUTH":
        return Finding("login", "ok", "the server wants none (PREAUTH)")
    auth = settings.auth
    credential = await credential_of(auth, mailbox, tokens, auth.act_as or "")
    await log_in(imap, settings, credential)
    return Finding("login", "ok", f"as {whom(credential)}")


def _probe_capabilities(imap: ImapConnection, settings: ImapSettings) -> Finding:
    offered = ", ".join(name for name in _CAPABILITIES if name in imap.known.capabilities) or "none that matter"
    if "IDLE" not in imap.known.capabilities:
        words = f"{offered}; without IDLE new mail is seen only every {settings.poll:g} seconds"
        return Finding("capabilities", "warning", words, 'a smaller "poll" sees it sooner')
    if "SPECIAL-USE" not in imap.known.capabilities and ("*" in settings.folders or settings.sent):
        words = f"{offered}; without SPECIAL-USE, Sent, Junk, Trash and Drafts are told only by their names"
        return Finding("capabilities", "warning", words, 'name the "folders" to read, if theirs are unusual')
    return Finding("capabilities", "ok", offered)


class _Folders:
    """What is in the folders that are read.

    `flags` are those that all folders have, `permanent` those that some folder keeps (PERMANENTFLAGS); in lower case.
    """

    def __init__(self, imap: ImapConnection, there: Sequence[Folder]) -> None:
        self._imap = imap
        self._names = [folder.name for folder in there]
        self._sent = any(folder.use == "sent" for folder in there)
        self._items = "MESSAGES"
        if imap.known.capabilities & {"STATUS=SIZE", "IMAP4REV2"}:
            self._items += " SIZE"  # RFC 8438
        self._read: dict[str, tuple[int, int | None]] = {}
        self.flags: set[str] | None = None
        self.permanent: set[str] = set()

    async def look_into(self, name: str) -> Finding | None:
        """Open it without changing it, and count; tell what is wrong with it."""
        if name not in self._names and not await is_there(self._imap, name):
            names = ", ".join(self._names[:_NAMES_SHOWN]) + (" …" if len(self._names) > _NAMES_SHOWN else "")
            return Finding(
                "folders", "failed", f'there is no folder "{name}"', f'write as "folders" what is there: {names}'
            )
        # STATUS comes first: it is not meant for the folder that is open (RFC 3501 §6.3.10).
        counted = await self._imap.run("STATUS", self._imap.named(name), f"({self._items})")
        opened = await self._imap.select(self._imap.named(name), read_only=True)
        if not opened.ok:
            advice = "may this user read the folder?"
            return Finding("folders", "failed", f'the folder "{name}" cannot be opened: {opened.words}', advice)
        if not self._imap.known.validity.isdigit():
            return Finding("folders", "failed", f'the folder "{name}" has no UIDVALIDITY, so its UIDs mean nothing')
        told = next((one[1] for response in counted.data if (one := status(response)) is not None), {})
        self._read[name] = (told.get("MESSAGES", self._imap.known.exists), told.get("SIZE"))
        flags = {flag for response in opened.data for flag in _flags(values(response, _FLAGS))}
        self.flags = flags if self.flags is None else self.flags & flags
        self.permanent |= set(self._imap.known.codes.get("PERMANENTFLAGS", "").strip("()").lower().split())
        return None

    def findings(self, settings: ImapSettings) -> Iterator[Finding]:
        """Yield what was counted."""
        if settings.sent and not self._sent:
            words = "there is no Sent folder, as far as the server tells"
            yield Finding("folders", "warning", words, 'name it in "folders", if there is one')
        if len(self._read) > 3:
            sizes = [size for _, size in self._read.values() if size is not None]
            total = content(sum(count for count, _ in self._read.values()), sum(sizes) if sizes else None)
            yield Finding("folders", "ok", f"{total} in {len(self._read)} folders: {', '.join(self._read)}")
        elif self._read:
            words = "; ".join(f"{name}: {content(count, size)}" for name, (count, size) in self._read.items())
            yield Finding("folders", "ok", words)


async def _probe_quota(imap: ImapConnection) -> Finding | None:
    """Tell how full the mailbox is (RFC 9208), where it has a limit."""
    if not any(name.startswith("QUOTA") for name in imap.known.capabilities):
        return None
    reply = await imap.run("GETQUOTAROOT", '"INBOX"')
    for response in reply.data:
        match values(response, _QUOTA):
            case [_, [b"STORAGE", bytes(used), bytes(limit), *_]] if used.isdigit() and limit.isdigit() and int(limit):
                words = f"{volume(int(used) << 10)} of {volume(int(limit) << 10)} are used"
                if int(used) < int(limit) * NEARLY_FULL:
                    return Finding("quota", "ok", words)
                return Finding("quota", "warning", words, "a full mailbox gets no mail: make room, or raise its quota")
    return None


def _probe_after(imap: ImapConnection, after: After, there: Collection[Folder], folders: _Folders) -> Finding | None:
    match after.action:
        case "keyword":
            return _probe_keyword(after.argument, folders)
        case "delete" | "move" if not imap.known.capabilities & {"UIDPLUS", "IMAP4REV2"} and (
            after.action == "delete" or "MOVE" not in imap.known.capabilities
        ):
            words = f"{after}: without UIDPLUS, messages are only marked as deleted, and stay"
            return Finding("after", "warning", words, 'after = "seen" or "keyword:NAME" changes less')
        case "move" if after.argument not in {folder.name for folder in there}:
            return Finding("after", "ok", f"{after}: the folder is not there yet, it is made when it is needed")
        case "keep" | "seen":
            return None
    return Finding("after", "ok", f"{after} can be done")


def _probe_keyword(keyword: str, folders: _Folders) -> Finding:
    if not KEYWORD.fullmatch(keyword):
        return Finding("after", "failed", f"{keyword!r} is no keyword that IMAP can set", "use letters, digits and -")
    if keyword.lower() in (folders.flags or set()) | folders.permanent or "\\*" in folders.permanent:
        return Finding("after", "ok", f"the keyword {keyword} is kept")
    if folders.permanent:
        words = f"the server keeps no keywords, only {' '.join(sorted(folders.permanent))}"
        return Finding("after", "failed", words, 'choose another "after"')
    # A folder that is opened to be read only keeps nothing, and so most servers say no more.
    words = f"whether the keyword {keyword} is kept shows only when it is first set"
    return Finding("after", "warning", words, '"email-router status" tells when it is not')


def _flags(parsed: object) -> Iterator[str]:
    match parsed:
        case [list(flags)]:
            yield from (flag.decode(errors="replace").lower() for flag in flags if isinstance(flag, bytes))
