"""What becomes of a message: pure functions over a copy and the facts, one decision a file, in the order of `STEPS`.

    arrive      a copy that has a disposition already, or no message that can be judged: ends here
    exclude     whom the organization or the owner never tracks: ignored
    dedupe      a message that the CRM has already: duplicate
    reported    a bounce, delay or complaint: the CRM email that it is on; without one ignored
    correlate   the CRM email that the message answers: by In-Reply-To, References, token or what is alike
    mark        flags for people: written by a machine, sent to many, read out of a text
    resolve     the parties: the records that the message's addresses belong to
    track       the owner's rule: a message that it does not want is ignored
    trust       the sender: held if our own server denies that the message is from them
    loop        two machines that answer each other: held
    promote     the email activity that the message becomes

Each step adds its reasons. The first step that sets a decision is the last; `acknowledge` then tells whether a queue
says that it has the message, and `create` whether a record is made of it. `decide` does no I/O and never looks at a
clock. The reasons of an ignored, held or dead copy hold nothing of its content. What a person released is held by none.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from router.decide.acknowledge import acknowledge
from router.decide.arrive import arrive
from router.decide.correlate import correlate
from router.decide.create import create
from router.decide.dedupe import dedupe
from router.decide.exclude import exclude
from router.decide.loop import loop
from router.decide.mark import mark
from router.decide.promote import promote
from router.decide.reported import reported
from router.decide.resolve import resolve
from router.decide.state import State
from router.decide.track import track
from router.decide.trust import trust
from router.model import OTHER_COPY, Copy, Decision, Disposition, Facts

__all__ = ["STEPS", "decide", "decide_batch"]

Step = Callable[[State, Facts], State]

STEPS: tuple[Step, ...] = (arrive, exclude, dedupe, reported, correlate, mark, resolve, track, trust, loop, promote)


def decide(copy: Copy, facts: Facts) -> Decision:
    """Decide what becomes of one copy. A copy that was `decided_before` keeps its own disposition."""
    state = State(copy, facts.rule_of(copy), (copy.ruling.reason,) if copy.ruling else ())
    for step in STEPS:
        state = step(state, facts)
        if state.decision is not None:
            return create(copy, facts, acknowledge(copy, facts, state.decision))
    raise AssertionError("the last step decides")


def decide_batch(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
    """Decide a batch in its order; one decision per copy. `facts` grows: each copy sees what those before it became.

    Ignored copies are then decided once more: a later copy of the batch may have promoted the same message, or the
    email that it answers.
    """
    decisions = [_decide_and_learn(copy, facts) for copy in copies]
    for number, copy in enumerate(copies):
        if decisions[number].disposition is Disposition.IGNORED:
            decision = _decide_and_learn(copy, facts)
            if decision.says != "something else":  # then it is another message, which the rule did not want
                decisions[number] = decision
    doubtful = {decision.email_id for decision in decisions if decision.doubtful}
    return [
        replace(decision, email=replace(decision.email, flags=(*decision.email.flags, OTHER_COPY)))
        if decision.email is not None and decision.email_id in doubtful
        else decision
        for decision in decisions
    ]


def _decide_and_learn(copy: Copy, facts: Facts) -> Decision:
    decision = decide(copy, facts)
    facts.learn(copy, decision)
    return decision
