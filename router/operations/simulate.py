"""What another tracking rule would have made of an owner's mail."""

from collections.abc import Callable

from router.errors import UnknownName
from router.incoming.simulate import Compared, Simulated, Simulation
from router.model import Rule
from router.operations import audit
from router.profile import Reading
from router.repository.database import Database
from router.workers.pool import Workers

__all__ = ["Compared", "Simulated", "simulate"]


async def simulate(
    database: Database,
    workers: Workers,
    reading: Reading,
    mailbox: str,
    rule: Rule,
    last: int,
    tell: Callable[[Simulated], None] = lambda _: None,
) -> Simulated:
    """Compare a rule with the one that holds, by the newest messages of an owner's mailbox. Nothing is stored.

    `tell` is called for each few messages. Raises UnknownName where no profile reads such a mailbox, or
    its rule is `none`; DatabaseError.
    """
    plan = await audit.plan(database, reading, None, mailbox)
    found = [(one.profile, one.owner) for one in plan.mailboxes if one.owner is not None]
    if not found:
        raise UnknownName(f"{mailbox}: " + "; ".join(fault for one in plan.not_served for _, fault in one.faults))
    [(profile, owner)] = found
    if (owner.rule or profile.tracking_rule) is Rule.NONE:
        raise UnknownName(f"the rule of {mailbox} is none: nobody looks into its mail")
    return await Simulation(database, workers, profile, owner, rule, last, tell).run()
