"""By what an answer is found beside Message-IDs, as the organization and the owners have chosen it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from uuid import UUID

from router.model.message import Message
from router.model.settings import (
    LEGACY_TOKENS,
    SMART_MATCHING,
    SMART_MATCHING_THRESHOLD,
    TOKEN_IN_SUBJECT,
    TOKEN_PREFIXES,
    Choices,
)
from router.model.token import PREFIX, LegacyFormat, find_legacy_tokens, find_set_tokens, legacy_format

SUGGESTED: Final = 50
"""The score from which an email is suggested."""


@dataclass(frozen=True, slots=True)
class Matching:
    """How answers are found beside Message-IDs.

    Of the `prefixes` of tokens the first is written, and all are read; `CRM:` always is. `in_subject`: the subjects of
    outgoing email carry a token. `legacy` are the formats of tokens of the CRM before. `smart` is what smart matching
    does where an owner is not in `of_owner`: `off`; `suggest` emails that may be answered; or `link` what has a score
    of `threshold` at least, of a hundred, too.
    """

    prefixes: tuple[str, ...] = (PREFIX,)
    in_subject: bool = True
    legacy: tuple[LegacyFormat, ...] = ()
    smart: str = "off"
    threshold: int = 70
    of_owner: Mapping[UUID, str] = field(default_factory=dict)

    @classmethod
    def of(cls, choices: Choices) -> Self:
        """Make it of what the organization and some owners have chosen."""
        formats = (legacy_format(one) for one in choices.of(LEGACY_TOKENS).words)
        return cls(
            choices.of(TOKEN_PREFIXES).words,
            choices.of(TOKEN_IN_SUBJECT).value is True,
            tuple(one for one in formats if one is not None),
            str(choices.of(SMART_MATCHING).value),
            int(str(choices.of(SMART_MATCHING_THRESHOLD).value)),
            {owner_id: str(choices.of(SMART_MATCHING, owner_id).value) for owner_id in choices.owners},
        )

    @property
    def written_prefix(self) -> str | None:
        """What stands before the token in the subject of outgoing email; None: no token stands there."""
        return self.prefixes[0] if self.in_subject else None

    def tokens_of(self, message: Message) -> tuple[str, ...]:
        """Find our tokens in a message."""
        return tuple(dict.fromkeys((*message.tokens, *find_set_tokens(_subjects(message), self.prefixes))))

    def legacy_tokens_of(self, message: Message) -> tuple[str, ...]:
        """Find the tokens of the CRM before in the subject of a message."""
        return find_legacy_tokens(_subjects(message), self.legacy) if self.legacy else ()

    def smart_of(self, owner_id: UUID | None) -> str:
        """Tell what smart matching does for an owner."""
        return self.of_owner.get(owner_id, self.smart) if owner_id else self.smart


def _subjects(message: Message) -> list[str]:
    return [message.subject, *([message.joined_subject] if message.joined_subject else [])]
