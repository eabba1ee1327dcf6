"""The keys of a Maildir profile."""

from pathlib import Path

from pydantic import Field, field_validator

from transports._net.secret import OfMailbox, fill_path
from transports._settings import MailboxSettings, folders_in_words

_AT_ONCE = 500


class MaildirSettings(MailboxSettings):
    """Folders of mailboxes on disk."""

    path: OfMailbox = Field(
        description="folder of the mailbox, the one that `new` and `cur` are in: `/var/mail/{mailbox}/Maildir`; "
        "`{mailbox}`, `{local}` and `{domain}` stand for the mailbox's address"
    )
    folders: tuple[str, ...] = Field(
        ("INBOX",), min_length=1, description='folders to read; "*" is all of mail but Junk, Trash and Drafts'
    )
    sent: bool = Field(False, description="true: read the Sent folder too, whatever it is called")
    timeout: float = Field(60, gt=0, le=600, description="seconds to wait for the disk, which may be elsewhere (NFS)")

    @field_validator("path")
    @classmethod
    def _is_whole(cls, path: str) -> str:
        if not path.startswith("/") or "\0" in path:
            raise ValueError('must be a whole path, such as "/var/mail/{mailbox}/Maildir"')
        return path

    @property
    def at_once(self) -> int:
        """As many as can be looked into, again and again, at no great cost."""
        return _AT_ONCE

    def account_of(self, mailbox: str) -> str:
        """Name the path."""
        return str(self.path_of(mailbox))

    @property
    def where(self) -> str:
        """Folders and path."""
        return f"{folders_in_words(self.folders, sent=self.sent)} in {self.path}"

    def path_of(self, mailbox: str) -> Path:
        """Where this mailbox lies."""
        return Path(fill_path(self.path, mailbox))
