"""A keeper of tokens that does as it is told."""

from collections.abc import AsyncIterator, Sequence

from transports import OAuth2
from transports.base import Finding
from transports.errors import TransportError

OAUTH2 = {"token_url": "http://127.0.0.1:9/token", "client_id": "a", "client_secret": {"env": "X"}, "scope": "mail"}


class KeptTokens:
    """`answers` are what `get` gives, one after the other, the last one from then on: a token, or an error to raise.

    `asked` are the mailboxes that were asked for, `refusals` the tokens that were told to be refused.
    """

    def __init__(self, *answers: str | TransportError, renews: bool = True) -> None:
        self._answers: Sequence[str | TransportError] = answers
        self._renews = renews
        self.asked: list[str] = []
        self.refusals: list[str] = []

    async def get(self, _oauth2: OAuth2, mailbox: str) -> str:
        answer = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(mailbox)
        if isinstance(answer, TransportError):
            raise answer
        return answer

    async def refused(self, _oauth2: OAuth2, _mailbox: str, token: str) -> bool:
        self.refusals.append(token)
        return self._renews

    async def examine(self, _oauth2: OAuth2, mailbox: str) -> AsyncIterator[Finding]:
        try:
            await self.get(_oauth2, mailbox)
        except TransportError as error:
            yield Finding("grant", "failed", str(error), "do something")
        else:
            yield Finding("grant", "ok", "there is a token")
