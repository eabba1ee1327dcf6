"""By what an answer is found beside Message-IDs, as the organization and the owners set it: the defaults stand here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self, get_args
from uuid import UUID

from router.model.message import Message
from router.model.token import (
    PREFIX,
    LegacyFormat,
    find_legacy_tokens,
    find_set_tokens,
    is_prefix,
    legacy_format,
)

Smart = Literal["off", "suggest", "link"]
"""What smart matching does: nothing, name the emails that may be answered, or link what is above the threshold too."""

NAMES: Final = ("token_prefixes", "token_in_subject", "legacy_tokens", "smart_matching", "smart_matching_threshold")
"""The settings of the organization that are meant here."""

SUGGESTED: Final = 50
"""The score from which an email is suggested."""

_THRESHOLD: Final = 70
_MOST: Final = 10  # prefixes, and formats


@dataclass(frozen=True, slots=True)
class Matching:
    """How answers are found beside Message-IDs.

    Of the `prefixes` of tokens the first is written, and all are read; `CRM:` always is. `in_subject`: the subjects of
    outgoing email carry a token. `legacy` are the formats of tokens of the CRM before. `smart` is what smart matching
    does where an owner is not in `of_owner`; it links from `threshold` on, of a hundred.
    """

    prefixes: tuple[str, ...] = (PREFIX,)
    in_subject: bool = True
    legacy: tuple[LegacyFormat, ...] = ()
    smart: Smart = "off"
    threshold: int = _THRESHOLD
    of_owner: Mapping[UUID, Smart] = field(default_factory=dict)

    @classmethod
    def read(cls, values: str, of_owner: Mapping[UUID, str | None] | None = None) -> Self:
        """Read the settings: a JSON object by `NAMES`, and owners' own. What is no value of one is passed over."""
        by_name: Mapping[str, object] = json.loads(values)
        prefixes = tuple(one for one in _texts(by_name.get("token_prefixes")) if is_prefix(one))
        formats = (legacy_format(one) for one in _texts(by_name.get("legacy_tokens")))
        threshold = by_name.get("smart_matching_threshold")
        return cls(
            prefixes or (PREFIX,),
            by_name.get("token_in_subject") is not False,
            tuple(one for one in formats if one is not None),
            _smart(by_name.get("smart_matching")) or "off",
            threshold if type(threshold) is int and SUGGESTED <= threshold <= 100 else _THRESHOLD,
            {id_: smart for id_, value in (of_owner or {}).items() if (smart := _smart(value))},
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

    def smart_of(self, owner_id: UUID | None) -> Smart:
        """Tell what smart matching does for an owner."""
        return self.of_owner.get(owner_id, self.smart) if owner_id else self.smart


def _subjects(message: Message) -> list[str]:
    return [message.subject, *([message.joined_subject] if message.joined_subject else [])]


def _smart(value: object) -> Smart | None:
    return next((one for one in get_args(Smart) if one == value), None)


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)][:_MOST] if isinstance(value, list) else []
