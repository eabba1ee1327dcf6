"""Encrypts what is kept in the database, by keys that are not in it (Fernet: AES-128-CBC with HMAC-SHA256)."""

import json
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from router.settings import Settings
from transports.errors import Permanent

DEFAULT_NAME: Final = "token-keys"
"""The file of the keys in the data folder."""

_MOST: Final = 64 << 10  # bytes of that file


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is kept sealed: the tokens, and hashes (hexadecimal) of what they were had with.

    `made_of` is of the profile and the secrets that were last tried, `seed` of the refresh token that the profile names
    to begin with.
    """

    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    made_of: str = field(default="", repr=False)
    seed: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """What was sealed. `again` is the same under the first key, where another had sealed it."""

    secrets: Secrets
    again: bytes | None = field(default=None, repr=False)


Sealer = Callable[[Secrets], bytes]


class Vault:
    """Seals by the first key of a file and opens by all of them; blocking, and quick.

    The file has a key a line. One that has no name of its own, in the data folder, is made when it is first needed.
    """

    def __init__(self, file: Path, *, make: bool) -> None:
        self.file = file
        self._make = make
        self._read: tuple[tuple[int, int], list[Fernet]] | None = None

    def sealer(self) -> Sealer:
        """Return what encrypts by the first key, whatever becomes of the file; raises as `seal` does."""
        key = self._keys()[0]
        return lambda secrets: key.encrypt(json.dumps(asdict(secrets)).encode())

    def seal(self, secrets: Secrets) -> bytes:
        """Encrypt. Raises Permanent where the keys cannot be read."""
        return self.sealer()(secrets)

    def open(self, sealed: bytes) -> Opened | None:
        """Decrypt; None where no key fits. Raises Permanent where the keys cannot be read."""
        found = self.decrypt(sealed)
        try:
            return found and Opened(Secrets(**json.loads(found[0])), found[1])
        except (ValueError, TypeError):
            return None

    def encrypt(self, content: bytes) -> bytes:
        """Encrypt what is no token. Raises Permanent where the keys cannot be read."""
        return self._keys()[0].encrypt(content)

    def decrypt(self, sealed: bytes) -> tuple[bytes, bytes | None] | None:
        """Decrypt it, and encrypt it by the first key, where another had done so; None where no key fits.

        Raises Permanent where the keys cannot be read.
        """
        keys = self._keys()
        try:
            content = MultiFernet(keys).decrypt(sealed)
        except InvalidToken:
            return None
        try:
            keys[0].decrypt(sealed)
        except InvalidToken:
            return content, keys[0].encrypt(content)
        return content, None

    def _keys(self) -> list[Fernet]:
        for _ in range(2):
            try:
                found = self.file.stat()
                if self._read is None or self._read[0] != (found.st_mtime_ns, found.st_ino):
                    self._read = (found.st_mtime_ns, found.st_ino), self._load()
                return self._read[1]
            except FileNotFoundError:
                if not self._make:
                    break
                self._write()
            except OSError as error:
                raise Permanent(f"the keys of the tokens in {self.file} cannot be read: {error.strerror}") from None
        raise Permanent(
            f"there is no file {self.file} with the keys of the tokens (EMAIL_ROUTER_TOKEN_KEYS): "
            'make one with "head -c 32 /dev/urandom | base64 | tr +/ -_"'
        )

    def _load(self) -> list[Fernet]:
        with self.file.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Permanent(f"{self.file}, which has the keys of the tokens, is no file")
            lines = file.read(_MOST).split()
        try:
            keys = [Fernet(line) for line in lines]
        except ValueError:
            keys = []
        if not keys:
            raise Permanent(
                f"{self.file} has to hold keys of the tokens, each of 32 bytes in URL-safe base64, one a line"
            )
        return keys

    def _write(self) -> None:
        """Make the file, whole from its first moment; where another process is faster, its file stays."""
        folder = self.file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{self.file.name}-", dir=folder)  # for its owner alone (0600)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(Fernet.generate_key() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(name, self.file)
            finally:
                Path(name).unlink()
            opened = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
        except OSError as error:
            words = f"the keys of the tokens cannot be written to {self.file}: {error.strerror}"
            raise Permanent(f"{words}; EMAIL_ROUTER_TOKEN_KEYS names another file") from None


def vault_of(settings: Settings) -> Vault:
    """Make the vault of the keys that the settings name, or of those in the data folder."""
    keys = settings.token_keys
    return Vault(keys or settings.data / DEFAULT_NAME, make=keys is None)
