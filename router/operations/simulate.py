"""What another tracking rule would have made of an owner's mail, or other rules for records from mail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.errors import UnknownName
from router.incoming.simulate import Became, Compared, Simulated, Simulation
from router.model import CreationRule, Rule
from router.operations import audit
from router.profile import Reading
from router.profile.rules_file import read_rules
from router.repository.database import Database
from router.workers.pool import Workers

__all__ = ["Became", "Compared", "RulesFile", "Simulated", "simulate"]


@dataclass(frozen=True, slots=True)
class RulesFile:
    """A TOML file with rules for records from mail: `[[create]]` tables, or a profile.

    They stand in for those of the profile or, with `of_database`, for those of the database.
    """

    name: str
    content: bytes
    of_database: bool = False


async def simulate(
    database: Database,
    workers: Workers,
    reading: Reading,
    mailbox: str,
    other: Rule | RulesFile,
    last: int,
    tell: Callable[[Simulated], None] = lambda _: None,
) -> Simulated:
    """Compare other rules with those that hold, by the newest messages of an owner's mailbox. Nothing is stored.

    `tell` is called for each few messages. Raises UnknownName where no profile reads such a mailbox, or
    its rule is `none`; ProfileErrors for what is wrong in the file; DatabaseError.
    """
    plan = await audit.plan(database, reading, None, mailbox)
    found = [(one.profile, one.owner) for one in plan.mailboxes if one.owner is not None]
    if not found:
        raise UnknownName(f"{mailbox}: " + "; ".join(fault for one in plan.not_served for _, fault in one.faults))
    [(profile, owner)] = found
    if (owner.rule or profile.tracking_rule) is Rule.NONE:
        raise UnknownName(f"the rule of {mailbox} is none: nobody looks into its mail")
    tried: Rule | Sequence[CreationRule] = (
        other if isinstance(other, Rule) else read_rules(other.name, other.content, profile.name)
    )
    of_database = isinstance(other, RulesFile) and other.of_database
    return await Simulation(database, workers, profile, owner, tried, last, tell, of_database=of_database).run()
