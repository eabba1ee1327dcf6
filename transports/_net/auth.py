"""How a profile says who we are to a server: a user, and a password or where access tokens are from."""

from typing import Self

from pydantic import Field, model_validator

from transports._net.oauth2 import OAuth2
from transports._net.secret import OfMailbox, Secret, is_of_mailbox
from transports._settings import Settings


class Auth(Settings):
    """How to log in; `{mailbox}` in `user` stands for the mailbox's address (`{mailbox}*master` for a master user)."""

    user: OfMailbox = Field(description="login name; `{mailbox}` stands for the mailbox's address")
    password: Secret | None = Field(None, description="reference to the password")
    oauth2: OAuth2 | None = Field(None, description="or where access tokens are from, a table; see OAuth2")

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if (self.password is None) == (self.oauth2 is None):
            raise ValueError("give either password or oauth2")
        return self

    @property
    def is_of_mailbox(self) -> bool:
        """Whether each mailbox has a login, or a secret, of its own."""
        of_user = is_of_mailbox(self.user)
        return of_user or (self.password is not None and is_of_mailbox(str(self.password.file)))

    def whence(self, mailbox: str = "") -> str:
        """Say in words where what we log in with is from."""
        if self.oauth2 is not None:
            return f"the token is from {self.oauth2.where}"
        assert self.password is not None
        return f"the password is from {self.password.where(mailbox)}"
