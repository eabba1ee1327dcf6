"""References to secrets, and the mailbox's address in place of `{mailbox}` and the like."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from transports._settings import Settings
from transports.errors import Permanent

_PLACEHOLDERS = ("{mailbox}", "{mailbox_ascii}", "{local}", "{domain}")
_PLACEHOLDER = re.compile(r"\{\w*\}")
_OF_MAILBOX = re.compile("|".join(map(re.escape, _PLACEHOLDERS)))


def fill(text: str, mailbox: str) -> str:
    """Put a mailbox's address in place of `{mailbox}`, `{mailbox_ascii}` (the domain in punycode) and so on."""
    values = _of_mailbox(mailbox)
    return _OF_MAILBOX.sub(lambda match: values[match[0]], text)


def fill_path(path: str, mailbox: str) -> str:
    """Fill the name of a file so that no address leads out of its folder: "/" becomes "_", dots in front go."""
    values = {word: value.replace("/", "_").lstrip(".") or "_" for word, value in _of_mailbox(mailbox).items()}
    return _OF_MAILBOX.sub(lambda match: values[match[0]], path)


def _of_mailbox(mailbox: str) -> Mapping[str, str]:
    local, at, domain = mailbox.rpartition("@")
    labels = (one if one.isascii() else "xn--" + one.encode("punycode").decode() for one in domain.split("."))
    in_ascii = local + at + ".".join(labels)
    return {"{mailbox}": mailbox, "{mailbox_ascii}": in_ascii, "{local}": local, "{domain}": domain}


def _known_placeholders(text: str) -> str:
    for word in _PLACEHOLDER.findall(text):
        if not is_of_mailbox(word):
            meant = get_close_matches(word.lower(), _PLACEHOLDERS, n=1)
            hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(_PLACEHOLDERS)}"
            raise ValueError(f"unknown placeholder {word}; {hint}")
    return text


def is_of_mailbox(text: str) -> bool:
    """Whether it differs from mailbox to mailbox."""
    return _OF_MAILBOX.search(text) is not None


OfMailbox = Annotated[str, AfterValidator(_known_placeholders)]
"""Text in which `{mailbox}` and the like are filled in; what else looks like a placeholder is refused."""


class NoSecret(Permanent):
    """A secret cannot be read where the profile says that it is."""

    advice = "put the secret there, readable for the user that runs the router"


class Secret(Settings):
    """A reference to a secret: `{ env = "NAME" }` or `{ file = "/run/secrets/name" }`, never the secret itself."""

    env: str | None = Field(None, description="name of an environment variable that holds the secret")
    file: Path | None = Field(None, description="file that holds the secret; `{mailbox}` stands for the mailbox")

    @field_validator("file")
    @classmethod
    def _has_known_placeholders(cls, file: Path | None) -> Path | None:
        return file if file is None else Path(_known_placeholders(str(file)))

    @model_validator(mode="before")
    @classmethod
    def _is_reference(cls, value: Any) -> Any:
        if not isinstance(value, (dict, Secret)):
            raise ValueError('a secret is never written here: use { env = "NAME" } or { file = "/path" }')  # noqa: TRY004  # pydantic turns only ValueError into a message
        return value

    @model_validator(mode="after")
    def _is_one_reference(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("give either env or file")
        return self

    def reveal(self, mailbox: str = "") -> str:
        """Read the secret now, so that a rotated one is seen. Raises NoSecret if it is missing, naming only where."""
        if self.env is not None:
            secret = os.environ.get(self.env)
            if not secret:
                raise NoSecret(f"the environment variable {self.env} is not set")
            if any("\ud800" <= character <= "\udfff" for character in secret):  # bytes that Python could not decode
                raise NoSecret(f"the environment variable {self.env} is not UTF-8 text")
            return secret
        path = self._path(mailbox)
        try:
            secret = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise NoSecret(f"the secret {path} cannot be read: {reason}") from None
        if not secret:
            raise NoSecret(f"the secret {path} is empty")
        return secret

    def where(self, mailbox: str = "") -> str:
        """Say where it is read, in words."""
        return f"the environment variable {self.env}" if self.env is not None else f"the file {self._path(mailbox)}"

    def _path(self, mailbox: str) -> Path:
        return Path(fill_path(str(self.file), mailbox))
