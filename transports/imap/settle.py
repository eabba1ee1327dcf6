"""Being done with messages: flag or delete them (RFC 3501 §6.4.6; UIDPLUS: RFC 4315)."""

import re
from collections.abc import Sequence

from transports.base import After
from transports.errors import Permanent
from transports.imap.connection import ImapConnection
from transports.imap.encode import uid_set
from transports.imap.reply import Reply

KEYWORD = re.compile(r"[^\x00-\x20\x7f-\uffff(){%*\"\\\]]+")


async def settle_group(imap: ImapConnection, after: After, uids: Sequence[int]) -> None:
    """Flag, delete or keep all these messages of the selected folder. UIDs that are gone are no error."""
    messages = uid_set(uids)
    match after.action:
        case "keep":
            pass
        case "seen":
            await _flag(imap, messages, "\\Seen")
        case "keyword":
            await _flag(imap, messages, _checked_keyword(imap, after.argument))
        case "delete":
            await delete(imap, messages)


def _checked_keyword(imap: ImapConnection, keyword: str) -> str:
    if not KEYWORD.fullmatch(keyword):
        raise Permanent(f"{keyword!r} is no keyword that IMAP can set")
    permanent = imap.known.codes.get("PERMANENTFLAGS", "\\*").strip("()").split()
    if "\\*" not in permanent and keyword.lower() not in (flag.lower() for flag in permanent):
        raise Permanent(f"{imap.peer} keeps no keywords in this folder, only {' '.join(permanent) or 'nothing'}")
    return keyword


async def _flag(imap: ImapConnection, messages: str, flag: str) -> None:
    reply = await run_again_if_expunged(imap, "STORE", messages, f"+FLAGS.SILENT ({flag})")
    reply.require(f"{imap.peer} does not set the flag {flag}")


async def delete(imap: ImapConnection, messages: str) -> None:
    """Delete these messages, as far as that spares those of others."""
    await _flag(imap, messages, "\\Deleted")
    # A plain EXPUNGE would also remove what others have marked.
    if "UIDPLUS" in imap.known.capabilities:
        reply = await imap.run("EXPUNGE", messages, uid=True)
        reply.require(f"{imap.peer} does not expunge")


async def run_again_if_expunged(imap: ImapConnection, command: str, messages: str, argument: str) -> Reply:
    """Run a command on messages; once more if the server finds only now that others have expunged some (RFC 5530)."""
    reply = await imap.run(command, messages, argument, uid=True)
    if not reply.ok and reply.code == "EXPUNGEISSUED":
        reply = await imap.run(command, messages, argument, uid=True)
    return reply
