"""Records that are made of mail: the rules of profiles and of the database, and what the one that fits wants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

Makes = Literal["case", "contact", "lead", "nothing"]
"""What a rule makes; `nothing` ends the search for a rule that fits."""

UnknownSender = Literal["contact", "lead", "open", "wait"]
"""What becomes of a case whose sender no record has: a contact or a lead is made first, the case opens with an
unresolved requester, or it waits until a person has resolved the sender."""


DATABASE: Final = "the database"
"""What `CreationRule.kept_in` says of rules in `crm.creation_rule`."""


@dataclass(frozen=True, slots=True)
class CreationRule:
    """One rule; it fits if all its conditions do, and one that is empty always does. The first that fits decides.

    `owners`: normalized mailbox addresses of those whose mail it is for; empty: of every queue that the profile serves.
    `to` and `from_` are patterns as in never-track lists: an address, a domain, or `*.domain`; one of them must match a
    recipient, or the sender. `subject`: one of these texts is in the subject, in whatever case. `headers`: names in
    lower case with a text that their value contains; all must match. `sender`: whether a record has the sender's
    address. `fields` are the names and templates of what the record is filled with, such as
    `("name", "{sender_name}")`. `internal`: it fits mail of users and queues among themselves, too. One that makes a
    contact or a lead fits only if no record has the sender's address. `kept_in`, in words: `profile NAME`, or DATABASE.
    """

    name: str
    makes: Makes
    owners: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    sender: Literal["any", "known", "unknown"] = "any"
    unknown_sender: UnknownSender = "open"
    reopen_days: int = 14
    priority: str = "normal"
    fields: tuple[tuple[str, str], ...] = ()
    internal: bool = False
    kept_in: str = ""

    @property
    def title(self) -> str:
        """What reasons call it."""
        return f"rule '{self.name}'{f' of {self.kept_in}' if self.kept_in else ''}"


@dataclass(frozen=True, slots=True)
class WrongRule:
    """A rule of the database that is passed over, since what it says is none; `owners` as those of a rule."""

    name: str
    owners: tuple[str, ...] = ()


AnyRule = TypeVar("AnyRule", CreationRule, CreationRule | WrongRule)


def rules_of(rules: Sequence[AnyRule], mailbox: str) -> tuple[AnyRule, ...]:
    """Choose the rules that are for the owner of this mailbox; those without owners are, if that one is a queue."""
    return tuple(rule for rule in rules if not rule.owners or mailbox in rule.owners)


@dataclass(frozen=True, slots=True)
class Creation:
    """What a rule wants to be made of an email for its owner: it is written with the email, and carried out later.

    A case is wanted of answers, too: whether theirs is open, to be reopened, or too old is seen when it is carried
    out. `fields` are filled already: a case has a `subject` among them, a contact or lead a `name`, neither empty.
    `sender` and `sender_name` are those of the message; the name is that before the @ where the message tells none, and
    both are empty where it has no sender.
    """

    rule: str
    makes: Literal["case", "contact", "lead"]
    sender: str
    sender_name: str
    unknown_sender: UnknownSender = "open"
    reopen_days: int = 14
    priority: str = "normal"
    fields: tuple[tuple[str, str], ...] = ()
