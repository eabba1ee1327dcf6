"""What one rule for records from mail says: its keys, and which of them go together.

`router.profile.rules` reads rules of profiles by it, and `router.repository.records.creation_rules` those of the
database.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError

from router.model import CreationRule
from router.model.address_pattern import parse_pattern
from router.model.creation import DATABASE, Makes, UnknownSender
from router.model.creation_fields import check_template
from router.model.ids import normalize
from transports import Settings

MOST: Final = 200
"""Rules that one profile may have, and as many in the database for one mailbox."""

_LONGEST_NAME: Final = 60
_LONGEST_TEXT: Final = 200
_MOST_FIELDS: Final = 50
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_HEADER: Final = re.compile(r"[!-9;-~]{1,100}")
_OF_CASES: Final = ("unknown_sender", "reopen_days", "priority")


def _label(value: str) -> str:
    if not value.strip() or len(value) > _LONGEST_NAME or not value.isprintable():
        raise ValueError(f"must be 1 to {_LONGEST_NAME} characters in one line")
    return value.strip()


def _text(value: str) -> str:
    if not value.strip() or len(value) > _LONGEST_TEXT or "\0" in value:
        raise ValueError(f"must be texts of 1 to {_LONGEST_TEXT} characters")
    return value


def _mailbox(value: str) -> str:
    mailbox = normalize(value)
    local, _, domain = mailbox.rpartition("@")
    if not local or not domain or "*" in mailbox or any(one.isspace() for one in mailbox):
        raise ValueError('must be addresses of mailboxes, such as "support@example.com"')
    return mailbox


def _pattern(value: str) -> str:
    try:
        return parse_pattern(value)
    except ValueError:
        raise ValueError('must be patterns such as "ann@example.com", "example.com" and "*.example.com"') from None


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in value.items():
        if not _HEADER.fullmatch(name):
            raise ValueError('must be names of headers with texts, such as { "X-Form" = "contact" }')
        _text(text)
    return value


def _fields(value: Mapping[str, str]) -> Mapping[str, str]:
    for name, template in value.items():
        if not _FIELD.fullmatch(name):
            raise ValueError('must have names of letters, digits and _, such as { source = "mail" }')
        check_template(_text(template))
    return value


def at_most(number: int, what: str) -> Callable[[Any], Any]:
    """Make a validator of lists and tables that are not longer; `what` is in them, in words."""

    def check(value: Any) -> Any:
        if len(value) > number:
            raise ValueError(f"must be at most {number} {what}")
        return value

    return check


_Label = Annotated[str, AfterValidator(_label)]
_Mailboxes = Annotated[tuple[Annotated[str, AfterValidator(_mailbox)], ...], AfterValidator(at_most(MOST, "mailboxes"))]
_Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], AfterValidator(at_most(MOST, "patterns"))]
_Texts = Annotated[tuple[Annotated[str, AfterValidator(_text)], ...], AfterValidator(at_most(MOST, "texts"))]
_Headers = Annotated[dict[str, str], AfterValidator(_headers), AfterValidator(at_most(_MOST_FIELDS, "headers"))]
_Fields = Annotated[dict[str, str], AfterValidator(_fields), AfterValidator(at_most(_MOST_FIELDS, "fields"))]


class RuleKeys(Settings):
    """What one rule says."""

    name: _Label = Field(description="what the rule is called, where decisions and `explain` name it")
    makes: Makes = Field(
        description="case | contact | lead | nothing: what is made of the mail that it fits; a contact or lead of its "
        "sender, if no record has that address"
    )
    owners: _Mailboxes = Field(
        (), min_length=1, description="mailboxes whose mail it is for; every queue's that the profile serves if none is"
    )
    to: _Patterns = Field(
        (),
        min_length=1,
        description='fits if one of these is in To, Cc, Bcc or the envelope: `"help@example.com"`, `"example.com"`, '
        '`"*.example.com"`',
    )
    from_: _Patterns = Field((), min_length=1, alias="from", description="fits if one of these is the sender")
    subject: _Texts = Field(
        (), min_length=1, description="fits if one of these texts is in the subject, in upper or lower case"
    )
    headers: _Headers = Field(
        {}, min_length=1, description='fits if each of these headers has its text in it: `{ "X-Form" = "contact" }`'
    )
    sender: Literal["any", "known", "unknown"] = Field(
        "any", description="any | known | unknown: whether a record has the sender's address"
    )
    internal: bool = Field(
        False, strict=True, description="true: it fits mail of users and queues among themselves, too"
    )
    unknown_sender: UnknownSender = Field(
        "open",
        description="open | contact | lead | wait: a case whose sender no record has opens without a requester, after "
        "a contact or a lead was made, or once a person has said who the sender is",
    )
    reopen_days: int = Field(
        14,
        ge=0,
        le=3650,
        strict=True,
        description="days for which an answer reopens a closed case; later it opens a new one that names the old",
    )
    priority: _Label = Field("normal", description="priority of the case, a word of the CRM's")
    fields: _Fields = Field(
        {},
        description='fields of the record: `{ subject = "Web: {subject}" }`; words in braces are subject, sender_name, '
        "sender_address and sender_domain",
    )


def check_rule(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what does not go together in a rule: the key, and words. What else is wrong is told elsewhere."""
    makes = rule.get("makes")
    if makes in get_args(Makes) and makes != "case":
        for key in _OF_CASES:
            if key in rule:
                yield key, f'create.{key} means nothing here: it belongs to a rule that makes = "case"'
    if makes == "nothing" and "fields" in rule:
        yield "fields", "create.fields means nothing here: the rule makes nothing that has fields"
    if makes in ("contact", "lead") and rule.get("sender") == "known":
        yield (
            "sender",
            f'create.sender must be "unknown" or "any": a {makes} is made only of a sender whom no record has',
        )


def make_rule(keys: RuleKeys, kept_in: str) -> CreationRule:
    """Make a rule of what its keys say."""
    return CreationRule(
        name=keys.name,
        makes=keys.makes,
        owners=keys.owners,
        to=keys.to,
        from_=keys.from_,
        subject=keys.subject,
        headers=tuple((name.lower(), text) for name, text in keys.headers.items()),
        sender=keys.sender,
        unknown_sender=keys.unknown_sender,
        reopen_days=keys.reopen_days,
        priority=keys.priority,
        fields=tuple(keys.fields.items()),
        internal=keys.internal,
        kept_in=kept_in,
    )


@lru_cache(maxsize=1000)
def parse_rule(stored: str) -> CreationRule | None:
    """Make a rule of the database of its keys, in JSON; None: they say none. The same text is parsed once."""
    keys = json.loads(stored)
    try:
        rule = RuleKeys.model_validate(keys)
    except ValidationError:
        return None
    return None if any(check_rule(keys)) else make_rule(rule, DATABASE)
