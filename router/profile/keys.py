"""The keys that every profile has, whatever its transport, and a way to name all keys of a settings model."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, WithJsonSchema
from pydantic.fields import FieldInfo

from router.errors import ContentRefused
from router.model import Rule
from router.model.mail_address import smtp_address
from router.model.return_path import LONGEST_LOCAL, PLACE, find_return_id, return_path
from router.profile import patterns
from router.profile.rules import Create, OnNew
from transports import Settings
from transports.base import After

Start = Literal["now", "all"] | date


def _start(value: Any) -> Any:
    if value in ("now", "all"):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError('must be "now", "all" or a date such as 2026-01-31')


def _after(value: Any) -> After:
    if isinstance(value, After):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004  # pydantic turns only ValueError into a message
    return After.parse(value)


def _address(value: str) -> str:
    try:
        address = patterns.parse(value)
    except ValueError:
        address = "*"
    if "*" in address:
        raise ValueError('must be one address, such as "crm@example.com"')
    return address


def _server_name(value: str) -> str:
    if not value or any(character.isspace() or character in ';"()' for character in value):
        raise ValueError(
            'must be a name alone, such as "mail.example.com": a number after it in the header is a version'
        )
    return value


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[!-9;-~]{1,76}", value):
        raise ValueError('must be the name of a header, such as "X-Original-To"')
    return value


def _return_path(value: str) -> str:
    made = return_path(value, UUID(int=0))
    if value.count(PLACE) != 1 or find_return_id(made) is None:
        raise ValueError(
            'must be an address with one "{id}" before its @, behind no letter or digit, such as '
            '"bounces+{id}@example.com"'
        )
    try:
        local = smtp_address(made).rpartition("@")[0]
    except ContentRefused as error:
        raise ValueError(str(error)) from error
    if len(local) > LONGEST_LOCAL or not local.isascii():
        raise ValueError(
            f"must have at most {LONGEST_LOCAL - len(return_path(PLACE, UUID(int=0)))} ASCII characters beside the id"
        )
    return value


_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600}
_RATE: Final = re.compile(r"([0-9]{1,9})/(second|minute|hour)")
_DURATION: Final = re.compile(r"([0-9]{1,5})([mhd])")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages in so many seconds."""

    messages: int
    seconds: int

    @property
    def interval(self) -> float:
        """The seconds from one message to the next."""
        return self.seconds / self.messages

    def __str__(self) -> str:
        """As TOML has it."""
        [unit] = [name for name, seconds in _UNITS.items() if seconds == self.seconds]
        return f"{self.messages}/{unit}"


def _rate(value: Any) -> Rate:
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError('must be messages in a time, such as "600/minute", "5/second" or "1000/hour"')
    return Rate(int(found[1]), _UNITS[found[2]])


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError('must be a time such as "5d", "12h" or "30m"')
    unit = {"m": "minutes", "h": "hours", "d": "days"}[found[2]]
    return timedelta(**{unit: int(found[1])})


_Rate = Annotated[Rate, PlainValidator(_rate), WithJsonSchema({"type": "string"})]
_Duration = Annotated[timedelta, PlainValidator(_duration), WithJsonSchema({"type": "string"})]
_Address = Annotated[str, AfterValidator(_address)]
_ReturnPath = Annotated[str, AfterValidator(_return_path)]
_Pattern = Annotated[str, AfterValidator(patterns.parse)]
_ServerName = Annotated[str, AfterValidator(_server_name)]
_HeaderName = Annotated[str, AfterValidator(_header_name)]
_Start = Annotated[Start, PlainValidator(_start), WithJsonSchema({"type": "string"})]
_After = Annotated[After, PlainValidator(_after), WithJsonSchema({"type": "string"})]


TRANSPORT: FieldInfo = Field(description="how the mail travels; what other keys there are depends on it")


class IncomingKeys(Settings):
    """What every incoming profile says."""

    role: Literal["mailbox", "forward", "catch-all"] = Field(
        "mailbox",
        description="mailbox | forward | catch-all: the owners' own mailboxes, one to which they forward their mail, "
        "or one into which the mail server puts the mail of all of them",
    )
    owners: tuple[_Pattern, ...] = Field(
        (), min_length=1, description='owners whose mail it brings, `["*@example.com"]`; the most exact match wins'
    )
    forwarders: tuple[_Pattern, ...] = Field(
        (), min_length=1, description='role forward: whose forwards are believed, `["*@example.com"]`'
    )
    address: _Address | None = Field(
        None, description="role forward, for listeners: the address that mail is forwarded to"
    )
    envelope_header: _HeaderName = Field(
        "Delivered-To",
        description="role catch-all: header in which the mail server writes for whom a mail is, such as X-Original-To",
    )
    envelope_below: int = Field(
        0,
        ge=0,
        le=10,
        description="role catch-all: how many lines of Received, which your own servers write into every mail, stand "
        "above that header; the next stands below it",
    )
    rule: Rule = Field(
        Rule.REPLIES,
        description="tracking rule of owners who have none of their own: all | replies | known | email-enabled | none",
    )
    internal_mail: Literal["none", "one", "two"] | None = Field(
        None,
        description="none | one | two: what mail becomes on which there are only users and queues, for owners who have "
        "not chosen it; without it, the organization's choice counts, which is one if nothing is said",
    )
    internal_mail_to_queues: Literal["track", "ignore"] | None = Field(
        None, description="track | ignore: whether internal mail to a queue is tracked where `internal_mail` is none"
    )
    several_matches: Literal["by-kind", "oldest", "unresolved"] | None = Field(
        None,
        description="by-kind | oldest | unresolved: who sent a mail, where several records have the sender's address",
    )
    on_new: OnNew | None = Field(
        None,
        description="case | contact | lead: what is made of mail to the queues that it serves where no rule of "
        "`create` fits; without it, nothing",
    )
    create: Create = Field(
        (),
        description="rules for records from mail, in order, each a table `[[incoming.NAME.create]]`; the first that "
        "fits decides",
    )
    start: _Start = Field(
        "now",
        description="where it begins: now (the first login after the owner is approved) | all | a date; what is read "
        "from disk begins with `all`, a listener takes all it is given",
    )
    after: _After = Field(
        After("keep"),
        description="what happens to promoted mail and duplicates: keep | seen | keyword:NAME | move:FOLDER | delete | "
        "delete:14d (days later); what is read from disk becomes seen if nothing is said; not for listeners",
    )
    authserv: _ServerName | None = Field(
        None,
        description="name that our own mail server writes into Authentication-Results, or microsoft365, which writes "
        "none; only its verdicts are believed",
    )
    allow_unverified: bool = Field(
        False,
        description="role forward: say true to believe whoever claims to be a forwarder, though no server vouches",
    )


class OutgoingKeys(Settings):
    """What every outgoing profile says."""

    senders: tuple[_Pattern, ...] = Field(
        min_length=1, description='whose mail it carries, `["*@example.com"]`; the most exact match wins'
    )
    rate: _Rate | None = Field(
        None,
        description='messages in a time, evenly, of all processes together: `"600/minute"`, `"5/second"`, `"900/hour"`',
    )
    give_up_after: _Duration = Field(
        "5d",
        validate_default=True,
        description="how long a message is tried that the relay defers, from the first time on: `5d`, `12h`, `30m`",
    )
    return_path: _ReturnPath | None = Field(
        None,
        description='where reports on what it sends go, each email by its own `{id}`: `"bounces+{id}@example.com"`; if '
        "nothing is said, to the owner's mailbox",
    )
    max_attempts: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="how often a message is tried that the relay defers for its own sake; unlimited if nothing is said",
    )
    max_size: int = Field(
        0, ge=0, description="bytes of a message, at most, encoded; 0: as many as the relay takes, if it says so (SIZE)"
    )
    on_unknown: Literal["hold", "resend"] = Field(
        "hold",
        description="hold | resend: what happens when the connection broke after the message was handed over, so that "
        "it may have been sent; `resend` may send it twice",
    )
    sent_copy: Literal["append", "server", "none"] = Field(
        "append",
        description="append | server | none: who puts a copy into the owner's Sent folder: the router, the relay's own "
        "mail server by itself (as Gmail's and Microsoft 365's do), or nobody",
    )


def keys(model: type[BaseModel], prefix: str = "") -> Mapping[str, FieldInfo]:
    """Name every key of a model as TOML writes it; those of inner tables with dots, `auth.user`."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        found[key] = field
        for inner in models(field.annotation):
            found |= keys(inner, f"{key}.")
    return found


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field's annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)
