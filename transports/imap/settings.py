"""The keys of an IMAP profile."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from transports._net.auth import Auth
from transports._net.secret import OfMailbox, fill
from transports._settings import MailboxServerSettings, Security, folders_in_words


class ImapAuth(Auth):
    """How to log in: as the mailbox itself, or as a master user in its name."""

    act_as: OfMailbox | None = Field(
        None,
        min_length=1,
        description="in whose name `user` comes (SASL's authorization identity): `{mailbox}` for a master user",
    )


class ImapSettings(MailboxServerSettings):
    """Folders of mailboxes on an IMAP server."""

    ports: ClassVar[Mapping[Security, int]] = {"tls": 993, "starttls": 143, "none": 143}
    auth: ImapAuth = Field(description="how to log in")
    folders: tuple[str, ...] = Field(
        ("INBOX",), min_length=1, description='folders to read; "*" is all of mail but Junk, Trash and Drafts'
    )
    sent: bool = Field(False, description="true: read the Sent folder too, whatever it is called")
    client_cert: Path | None = Field(None, description="certificate chain (PEM) that we show to the server")
    client_key: Path | None = Field(None, description="its private key (PEM), if it is in another file")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key is of no use without client_cert")
        if self.client_cert is not None and self.security == "none":
            raise ValueError('client_cert needs security = "tls" or "starttls"')
        return self

    @property
    def primary_folder(self) -> str:
        """The first that is named; INBOX for "*"."""
        folder = next((name for name in self.folders if name != "*"), "INBOX")
        return "INBOX" if folder.upper() == "INBOX" else folder

    def account_of(self, mailbox: str) -> str:
        """Login and server: the one in whose name we come, where that is said."""
        return f"{fill(self.auth.act_as or self.auth.user, mailbox)}@{self.endpoint.lower()}"

    @property
    def where(self) -> str:
        """Folders and server."""
        return f"{folders_in_words(self.folders, sent=self.sent)} at {self.server}"
