"""Probes a Maildir, by looking only: nothing is made, moved or renamed."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from transports._folders import wanted_folders
from transports._net.credentials import NO_TOKENS, Tokens
from transports._net.secret import is_of_mailbox
from transports.base import After, Finding, Folder
from transports.errors import Permanent, TransportError
from transports.maildir import names
from transports.maildir.disk import Disk
from transports.maildir.folders import find_folders
from transports.maildir.settings import MaildirSettings

_NAMES_SHOWN = 20
_PARTS = ("new", "cur")
_ADVICE = 'is "path" right, and is the disk mounted (in a container: the volume)?'


async def probe_mailbox(
    settings: MaildirSettings, mailbox: str | None, after: After, _tokens: Tokens = NO_TOKENS
) -> AsyncIterator[Finding]:
    """See `MailboxKind.probe`."""
    root = settings.path_of(mailbox or "")
    disk = Disk(root, settings.timeout)
    step = "folder"
    try:
        if mailbox is None and is_of_mailbox(settings.path):
            yield await disk.run(_above, settings.path)
            return
        found = await disk.run(_maildir, root)
        yield found
        if found.state == "failed" or mailbox is None:
            return
        step = "folders"
        there = await disk.run(find_folders, root)
        wanted = wanted_folders(there, settings.folders, after, sent=settings.sent)
        for finding in await disk.run(_all_of, _counted, root, wanted, there):
            yield finding
        step = "after"
        for finding in await disk.run(_all_of, _after, root, wanted, after):
            yield finding
    except TransportError as error:
        yield Finding(step, "failed", str(error), "is the disk there, and its server well?")


def _all_of(look: Callable[..., Iterator[Finding]], *arguments: object) -> Sequence[Finding]:
    return list(look(*arguments))


def _above(path: str) -> Finding:
    """Look at the folder that the mailboxes are in."""
    above = Path(*takewhile(lambda part: not is_of_mailbox(part), Path(path).parts))
    if not above.is_dir():
        return Finding("folder", "failed", f"there is no folder {above}", _ADVICE)
    if not os.access(above, os.X_OK, effective_ids=True):
        return Finding("folder", "failed", f"{above} cannot be entered", _rights(above))
    return Finding("folder", "ok", f"{above} is there")


def _rights(path: Path) -> str:
    return f"let the user with the number {os.geteuid()}, as whom the router runs, read and enter {path}"


def _maildir(root: Path) -> Finding:
    try:
        root.stat()
        lacking = [part for part in _PARTS if not (root / part).is_dir()]
    except PermissionError as error:
        return Finding("folder", "failed", f"{error.filename} cannot be read", _rights(root))
    except OSError as error:
        return Finding("folder", "failed", f"{root}: {error.strerror}", _ADVICE)
    if not lacking:
        return Finding("folder", "ok", f"{root} is a Maildir")
    words = f"{root} is no Maildir: it has no {' and no '.join(lacking)}"
    if all((root / "Maildir" / part).is_dir() for part in _PARTS):
        return Finding("folder", "failed", words, 'there is one in it: add "/Maildir" to "path"')
    return Finding("folder", "failed", words, '"path" is the folder that "new" and "cur" are in')


def _counted(root: Path, wanted: Sequence[Folder], there: Sequence[Folder]) -> Iterator[Finding]:
    told = []
    for folder in wanted:
        path = root
        try:
            path /= names.directory(folder.name)
            files = {part: _files(path / part) for part in _PARTS}
        except PermissionError as error:
            yield Finding("folders", "failed", f"{error.filename} cannot be read", _rights(path))
        except (Permanent, OSError):
            shown = ", ".join(one.name for one in there[:_NAMES_SHOWN]) + (" …" if len(there) > _NAMES_SHOWN else "")
            words = f'there is no folder "{folder.name}"'
            yield Finding("folders", "failed", words, f'write as "folders" what is there: {shown}')
        else:
            total = sum(map(len, files.values()))
            barred = sum(not os.access(one, os.R_OK, effective_ids=True) for some in files.values() for one in some)
            if barred:
                words = f"{barred} of {_messages(total)} in {folder.name} cannot be read"
                yield Finding("folders", "failed" if barred == total else "warning", words, _rights(path))
            new = f", {len(files['new'])} of them new" if files["new"] else ""
            told.append(f"{folder.name}: {_messages(total)}{new}")
    if told:
        yield Finding("folders", "ok", "; ".join(told))


def _files(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _messages(count: int) -> str:
    return "empty" if count == 0 else "1 message" if count == 1 else f"{count} messages"


def _after(root: Path, wanted: Sequence[Folder], after: After) -> Iterator[Finding]:
    written = [root / names.directory(folder.name) / part for folder in wanted for part in _PARTS]
    match after.action:
        case "keep":
            return
        case "keyword":
            yield Finding("after", "failed", "a Maildir keeps no keywords", 'choose another "after"')
            return
        case "move":
            try:
                target = root / names.directory(after.argument)
            except Permanent as error:
                yield Finding("after", "failed", str(error), 'write another folder into "after"')
                return
            written += [target / part for part in _PARTS] if target.is_dir() else [root]
    barred = [path for path in written if path.is_dir() and not os.access(path, os.W_OK | os.X_OK, effective_ids=True)]
    for path in barred:
        words = f"{after} cannot be done: {path} cannot be written"
        advice = f'let the user with the number {os.geteuid()} write there, or say after = "keep"'
        yield Finding("after", "failed", words, advice)
    if not barred:
        yield Finding("after", "ok", f"{after} can be done")
