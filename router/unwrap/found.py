"""A forward as one of the forms finds it, before it is believed."""

from dataclasses import dataclass

from router.model import Form, Message


@dataclass(frozen=True, slots=True)
class Found:
    """A forward of one form, not yet believed.

    `forwarder` is the normalized address of who claims to have forwarded it; empty: nobody does. `mailboxes`: in whose
    mailboxes the originals arrived. `redirected`: the From is the author's, so only the way of the mail tells who
    passed it on. An original is raw, or read already where there is nothing raw. `fault`: why it cannot be used.
    """

    form: Form
    forwarder: str
    mailboxes: tuple[str, ...]
    originals: tuple[bytes | Message, ...]
    sender: str = ""
    redirected: bool = False
    fault: str | None = None
