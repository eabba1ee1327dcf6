"""What an organization, a profile and an owner may choose about tracking: the one list, and whose choice counts.

The first of these that has chosen a value decides: the organization where it locked the setting, the owner, the profile
that brings the mail, the organization, the default. docs/tracking.md tells it to admins.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from router.model.token import PREFIX, is_prefix, legacy_format
from router.model.tracking import Rule

Place = Literal["owner", "profile", "organization"]
Value = str | tuple[str, ...] | bool | int

_MOST_TEXTS: Final = 10


@dataclass(frozen=True, slots=True)
class Words:
    """The values of a setting: one of these words or, if there may be `several`, a list of some of them."""

    choices: tuple[str, ...]
    several: bool = False

    def parse(self, value: object) -> Value | None:
        """Return a stored value; None if it is none."""
        if not self.several:
            return value if isinstance(value, str) and value in self.choices else None
        if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
            return None
        return tuple(one for one in self.choices if one in value) if set(value) <= set(self.choices) else None

    def read(self, written: str) -> Value | None:
        """Return a value as a person writes it; None if it is none."""
        return self.parse(tuple(written.replace(",", " ").split()) if self.several else written)

    def __str__(self) -> str:
        words = " | ".join(self.choices)
        return f"some of {words}" if self.several else words


@dataclass(frozen=True, slots=True)
class Texts:
    """The values of a setting: up to ten texts, each of which `is_one`; `what` they are, in words."""

    is_one: Callable[[str], bool]
    what: str

    def parse(self, value: object) -> Value | None:
        """Return a stored value; None if it is none."""
        if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST_TEXTS:
            return None
        return tuple(value) if all(isinstance(one, str) and self.is_one(one) for one in value) else None

    def read(self, written: str) -> Value | None:
        """Return a value as a person writes it, with commas; None if it is none."""
        return self.parse([text for one in written.split(",") if (text := one.strip())])

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Switch:
    """The values of a setting: true or false."""

    def parse(self, value: object) -> Value | None:
        """Return a stored value; None if it is none."""
        return value if isinstance(value, bool) else None

    def read(self, written: str) -> Value | None:
        """Return a value as a person writes it; None if it is none."""
        return {"true": True, "false": False}.get(written.lower())

    def __str__(self) -> str:
        return "true | false"


@dataclass(frozen=True, slots=True)
class Number:
    """The values of a setting: whole numbers from `least` to `most`."""

    least: int
    most: int

    def parse(self, value: object) -> Value | None:
        """Return a stored value; None if it is none."""
        return value if type(value) is int and self.least <= value <= self.most else None

    def read(self, written: str) -> Value | None:
        """Return a value as a person writes it; None if it is none."""
        return self.parse(int(written)) if written.isascii() and written.isdigit() else None

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: the `values` that it may have, `places` where it may be chosen, and `help`, a sentence of words."""

    name: str
    values: Words | Texts | Switch | Number
    default: Value
    places: frozenset[Place]
    help: str


_EVERYWHERE: Final = frozenset[Place]({"owner", "profile", "organization"})
_ORGANIZATION: Final = frozenset[Place]({"organization"})

RULE: Final = Setting(
    "rule",
    Words(tuple(Rule)),
    Rule.REPLIES.value,
    _EVERYWHERE,
    "Which mail of an owner is promoted; of the organization only if it is locked: then it holds for all owners.",
)
ALLOWED_RULES: Final = Setting(
    "allowed_rules",
    Words(tuple(Rule), several=True),
    tuple(Rule),
    _ORGANIZATION,
    "The rules that an owner may have.",
)
INTERNAL_MAIL: Final = Setting(
    "internal_mail",
    Words(("none", "one", "two")),
    "one",
    _EVERYWHERE,
    "What mail becomes on which there are only users and queues: ignored, one email, or two, "
    "an outgoing one of the sender's Sent folder and an incoming one.",
)
INTERNAL_MAIL_TO_QUEUES: Final = Setting(
    "internal_mail_to_queues",
    Words(("track", "ignore")),
    "track",
    _EVERYWHERE,
    "Whether internal mail to a queue is tracked where internal_mail is none.",
)
SEVERAL_MATCHES: Final = Setting(
    "several_matches",
    Words(("by-kind", "oldest", "unresolved")),
    "by-kind",
    _EVERYWHERE,
    "Who sent it, where several records have the sender's address: the first by kind, the oldest, or nobody yet.",
)
PRIVATE_EMAILS: Final = Setting(
    "private_emails",
    Words(("placeholder", "nothing")),
    "placeholder",
    _ORGANIZATION,
    "What others see of an email that is private: that there is one, or nothing.",
)

SMART_MATCHING: Final = Setting(
    "smart_matching",
    Words(("off", "suggest", "link")),
    "off",
    frozenset[Place]({"owner", "organization"}),
    "Whether subject, people and time tell what an answer without headers of its thread answers.",
)
SMART_MATCHING_THRESHOLD: Final = Setting(
    "smart_matching_threshold",
    Number(50, 100),
    70,
    _ORGANIZATION,
    "The score from which smart matching links, of a hundred.",
)
TOKEN_PREFIXES: Final = Setting(
    "token_prefixes",
    Texts(is_prefix, "texts with commas, each of 1 to 20 printable ASCII characters, the last no letter or digit"),
    (PREFIX,),
    _ORGANIZATION,
    "What stands before a token in subjects: the first is written, all are read.",
)
TOKEN_IN_SUBJECT: Final = Setting(
    "token_in_subject",
    Switch(),
    True,  # the default
    _ORGANIZATION,
    "Whether the subjects of outgoing email carry a token.",
)
LEGACY_TOKENS: Final = Setting(
    "legacy_tokens",
    Texts(lambda one: legacy_format(one) is not None, "tokens with commas, one of each format, such as CRM:0001001"),
    (),
    _ORGANIZATION,
    "Tokens of the CRM before this one, an example of each format.",
)

SETTINGS: Final[Mapping[str, Setting]] = {
    one.name: one
    for one in (
        RULE,
        ALLOWED_RULES,
        INTERNAL_MAIL,
        INTERNAL_MAIL_TO_QUEUES,
        SEVERAL_MATCHES,
        PRIVATE_EMAILS,
        TOKEN_PREFIXES,
        TOKEN_IN_SUBJECT,
        LEGACY_TOKENS,
        SMART_MATCHING,
        SMART_MATCHING_THRESHOLD,
    )
}
"""All settings there are, in the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The value that counts, and whose it is."""

    setting: Setting
    value: Value
    place: Place | Literal["default"]
    locked: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The value as a list of words."""
        return self.value if isinstance(self.value, tuple) else (str(self.value),)

    @property
    def reason(self) -> str:
        """The setting as a part of a reason."""
        whose = "by default" if self.place == "default" else f"by the {self.place}"
        return f"{self.setting.name} is {self.value}, {whose}{', which locks it' if self.locked else ''}"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the organization and some owners have chosen, as it is stored; values that are none are passed over.

    `locked` are the settings that the organization locks.
    """

    organization: Mapping[str, object] = field(default_factory=dict)
    locked: frozenset[str] = frozenset()
    owners: Mapping[UUID, Mapping[str, object]] = field(default_factory=dict)

    def of(self, setting: Setting, owner_id: UUID | None = None, profile: Mapping[str, Value] | None = None) -> Chosen:
        """Tell which value counts for an owner whose mail a profile brings; `profile`: what that one has chosen."""
        organization = setting.values.parse(self.organization.get(setting.name))
        if organization is not None and setting.name in self.locked:
            return Chosen(setting, organization, "organization", locked=True)
        own = self.owners.get(owner_id, {}) if owner_id else {}
        for place, chosen in (("owner", own), ("profile", profile or {})):
            if place in setting.places and (value := setting.values.parse(chosen.get(setting.name))) is not None:
                return Chosen(setting, value, "owner" if place == "owner" else "profile")
        # An organization has a rule only by a lock: without one, each profile has a rule of its own.
        if organization is not None and setting is not RULE:
            return Chosen(setting, organization, "organization")
        return Chosen(setting, setting.default, "default")
