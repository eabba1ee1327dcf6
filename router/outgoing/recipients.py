"""The recipients of an email as its envelope names them, and what became of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

from router.errors import ContentRefused
from router.model.bounce import Bounce
from router.model.mail_address import smtp_address
from transports.base import Outcome


@dataclass(frozen=True, slots=True)
class Recipients:
    """`written` are the addresses as SMTP takes them, each once, with the recipients that they stand for.

    `refused` are those recipients whose address is no valid one, which nothing repairs, or has bounced before; the
    others get their mail.
    """

    written: dict[str, list[str]]
    refused: tuple[Outcome, ...]

    @classmethod
    def of(cls, recipients: Iterable[str], bounced: Mapping[str, Bounce] = MappingProxyType({})) -> Self:
        """Write each address as SMTP takes it. Two forms of one domain are one recipient to a relay."""
        written: dict[str, list[str]] = {}
        refused = []
        for recipient in recipients:
            if bounce := bounced.get(recipient):
                refused.append(Outcome(recipient, "refused", bounce.code, bounce.words))
                continue
            try:
                written.setdefault(smtp_address(recipient), []).append(recipient)
            except ContentRefused as error:
                refused.append(Outcome(recipient, "refused", "5.1.3", str(error)))
        return cls(written, tuple(refused))

    def outcomes(self, answers: Iterable[Outcome]) -> Sequence[Outcome]:
        """Return what became of each recipient, by what the relay answered for each address."""
        taken = [
            replace(answer, recipient=recipient) for answer in answers for recipient in self.written[answer.recipient]
        ]
        return [*taken, *self.refused]
