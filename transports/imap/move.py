"""Moving mail: MOVE (RFC 6851), else COPY and delete, so that each message is copied once even if it cannot be deleted.

Where a server has no MOVE, and lets us copy but not delete, each try would put one more copy into a person's folder. So
we ask first whether we may delete: the folder's flags (RFC 3501 §7.1), and our rights where they are told (RFC 4314).
What was copied is remembered; what an earlier connection may have copied is looked for in the target.
"""

import re
from collections.abc import Sequence

from transports.errors import Permanent
from transports.imap.connection import ImapConnection
from transports.imap.decode import fetched, number, values
from transports.imap.encode import quoted, uid_set
from transports.imap.fetch import search
from transports.imap.session import ImapSession
from transports.imap.settle import delete, run_again_if_expunged

_RIGHTS = re.compile(rb"\* MYRIGHTS ", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(<[\x21\x23-\x5b\x5d-\x7e]{1,900}>)\s*$", re.IGNORECASE)
_HEADER = b"BODY[HEADER.FIELDS (MESSAGE-ID)]"


class Mover:
    """Moves the messages of one folder. It lives as long as the connection, and remembers what it has copied.

    `fresh_from` is the UID from which on no earlier connection can have copied anything.
    """

    def __init__(self, session: ImapSession, folder: str) -> None:
        self._session = session
        self._folder = folder
        self._copied: set[tuple[str, str, int]] = set()
        self._looked_for: set[tuple[str, str, int]] = set()
        self.fresh_from: int | None = None

    async def move(self, uids: Sequence[int], target: str) -> None:
        """Move these messages of the selected folder. Raises Permanent where the server does not let us."""
        imap = self._session.connection
        if "MOVE" in imap.known.capabilities:
            await _transfer(imap, "MOVE", uids, target)
            return
        await self._require_right_to_delete(imap)
        validity = imap.known.validity
        keys = {uid: (target, validity, uid) for uid in uids}
        doubtful = [
            uid
            for uid in uids
            if (self.fresh_from is None or uid < self.fresh_from)
            and keys[uid] not in self._copied
            and keys[uid] not in self._looked_for
        ]
        if doubtful:
            self._copied |= {keys[uid] for uid in await self._there_already(doubtful, target)}
            self._looked_for |= {keys[uid] for uid in doubtful}
            imap = self._session.connection
            if imap.known.validity != validity:
                return
        if new := [uid for uid in uids if keys[uid] not in self._copied]:
            await _transfer(imap, "COPY", new, target)
            self._copied |= {keys[uid] for uid in new}
        await delete(imap, uid_set(uids))
        self._copied.difference_update(keys.values())
        self._looked_for.difference_update(keys.values())

    async def _require_right_to_delete(self, imap: ImapConnection) -> None:
        told = imap.known.codes.get("PERMANENTFLAGS")
        lets = told is None or "\\deleted" in told.lower()
        if lets and "ACL" in imap.known.capabilities:
            reply = await imap.run("MYRIGHTS", imap.named(self._folder))
            rights = [one for response in reply.data if (one := values(response, _RIGHTS)) and len(one) > 1]
            lets = not rights or any(isinstance(one[1], bytes) and set(b"td") & set(one[1]) for one in rights)
        if not lets or "READ-ONLY" in imap.known.codes:
            raise Permanent(f"{imap.peer} does not let us delete in the folder {self._folder}, so nothing is moved")

    async def _there_already(self, uids: Sequence[int], target: str) -> Sequence[int]:
        """Return which of these messages lie in the target: with the same Message-ID, and of the same size."""
        imap = self._session.connection
        wanted = await _identities(imap, uid_set(uids))
        self._session.selected = None
        try:
            if not (await imap.select(imap.named(target), read_only=True)).ok:
                return []
            found = []
            for uid, (message_id, size) in wanted.items():
                like = await search(imap, "HEADER", "Message-ID", quoted(message_id))
                if like and (message_id, size) in (await _identities(imap, uid_set(like))).values():
                    found.append(uid)
            return found
        finally:
            await self._session.select(self._folder)


async def _identities(imap: ImapConnection, messages: str) -> dict[int, tuple[str, int]]:
    items = f"(UID RFC822.SIZE {_HEADER.decode().replace('[', '.PEEK[')})"
    reply = await imap.run("FETCH", messages, items, uid=True)
    found: dict[int, tuple[str, int]] = {}
    for response in reply.data:
        attributes = fetched(response) or {}
        uid, size, header = (
            number(attributes.get(b"UID")),
            number(attributes.get(b"RFC822.SIZE")),
            attributes.get(_HEADER),
        )
        match = _MESSAGE_ID.match(header.strip()) if isinstance(header, bytes) else None
        if uid is not None and size is not None and match is not None:
            found[uid] = (match[1].decode(), size)
    return found


async def _transfer(imap: ImapConnection, command: str, uids: Sequence[int], target: str) -> None:
    messages = uid_set(uids)
    reply = await run_again_if_expunged(imap, command, messages, imap.named(target))
    if not reply.ok and reply.code == "TRYCREATE":
        created = await imap.run("CREATE", imap.named(target))
        reply = await run_again_if_expunged(imap, command, messages, imap.named(target))
        if not reply.ok and not created.ok:
            created.require(f"{imap.peer} does not make the folder {target}")
    reply.require(f"{imap.peer} does not move to the folder {target}")
