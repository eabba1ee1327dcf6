"""Where the tokens of a database lie: its rows, and the vault that seals what is in them."""

import asyncio

from router.model.identity import Identity
from router.oauth2.vault import Sealer, Secrets, Vault
from router.repository.database import Database
from router.repository.oauth2.tokens import TokenRow, read_tokens, reseal


class Shelf:
    """The rows of one database, opened."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self.database = database
        self._vault = vault

    async def read(self, identity: Identity) -> tuple[TokenRow | None, Secrets | None]:
        """Read a row and open it: no Secrets where no key fits. What an older key sealed is sealed anew.

        Raises DatabaseError, and Permanent where the keys cannot be read.
        """
        row = (await read_tokens(self.database, [identity])).get(identity)
        if row is None or row.sealed is None:
            return row, Secrets()
        opened = await asyncio.to_thread(self._vault.open, row.sealed)
        if opened is None:
            return row, None
        if opened.again is not None:
            await reseal(self.database, identity, row.sealed, opened.again)
        return row, opened.secrets

    async def sealer(self) -> Sealer:
        """Return what seals. Raises Permanent where the keys cannot be read: then nothing need be asked for."""
        return await asyncio.to_thread(self._vault.sealer)

    async def seal(self, secrets: Secrets) -> bytes:
        """Seal what is to be kept. Raises Permanent where the keys cannot be read."""
        return (await self.sealer())(secrets)
