"""The Sent folder of an owner: where it is, and whether an email lies there."""

import asyncio
import re
from typing import Final

from router.profile import Profiles
from transports.base import Account, Mailbox, Wanted, WritableMailbox
from transports.errors import Permanent, TransportError

_PATIENCE: Final = 60.0  # seconds that an answer may take
_CANDIDATES: Final = 50  # header blocks that are looked at
_MESSAGE_ID: Final = re.compile(rb"^message-id:\s*<([^<>\r\n]{1,1000})>", re.IGNORECASE | re.MULTILINE)


async def open_sent(account: Account) -> WritableMailbox:
    """Find the Sent folder by its use, and return its view. Raises Permanent where there is none."""
    for folder in await account.all_folders():
        if folder.use == "sent":
            box = account.folder(folder.name)
            assert isinstance(box, WritableMailbox)  # of a kind that `appends`
            return box
    raise Permanent("the mailbox has no Sent folder: none is marked as one, and none has a usual name of one")


async def lies_in(box: Mailbox, message_id: str) -> bool | None:
    """Whether a message with this id lies in a folder; None where that cannot be told."""
    found = await box.search(Wanted(message_id=message_id), _CANDIDATES)
    wanted = message_id.encode("utf-8", "replace")
    ids = [match[1] for copy in found.copies if (match := _MESSAGE_ID.search(copy.content)) is not None]
    if wanted in ids:
        return True
    # Where the server searches, others are found only if it does so in its own way.
    return False if found.certain or not found.copies else None


async def sent_folder_has(profiles: Profiles, mailbox: str, message_id: str) -> bool | None:
    """Whether an email lies in the Sent folder of the owner with this mailbox; None where that cannot be told.

    None, too, where no profile reads the mailbox, or its server does not answer now.
    """
    profile = profiles.incoming_for(mailbox)
    if profile is None or not profile.appends:
        return None
    try:
        async with asyncio.timeout(_PATIENCE), profile.open(mailbox) as account:
            return await lies_in(await open_sent(account), message_id)
    except (TransportError, TimeoutError):
        return None
