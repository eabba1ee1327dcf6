"""What becomes of a message: pure functions over a copy and the facts, one decision a file, in the order of `STEPS`.

    bytes ──parse──▶ Message ──classify──▶ Classification                (read does both; they never raise)
    bytes ──unwrap──▶ the originals, read so, or why it is held            (in a forward mailbox; nor does it)

    arrive      decided before, never came, could not be read, or nobody's: no judgment
    dedupe      the CRM has it already: duplicate
    reported    which CRM email a bounce, delay or complaint is on; on none: ignored
    correlate   which CRM email it answers: In-Reply-To, References, token
    mark        written by a machine, to many, or read out of a text: what a person should know
    resolve     whose addresses it names: the parties
    track       whether the owner's rule wants it: ignored, held, or on
    trust       whether it is from whom it says: held if our own server denies it
    loop        whether it goes round in circles: held
    promote     the email activity it becomes

Each step adds its reasons; the first to set a decision ends the way. `decide` does no I/O and never looks at a clock.
What is ignored, held or dead leaves no content in its reasons.
"""

from collections.abc import Callable, Sequence

from router.decide.arrive import arrive
from router.decide.correlate import correlate
from router.decide.dedupe import dedupe
from router.decide.loop import loop
from router.decide.mark import mark
from router.decide.promote import promote
from router.decide.reported import reported
from router.decide.resolve import resolve
from router.decide.state import State
from router.decide.track import track
from router.decide.trust import trust
from router.model import Copy, Decision, Disposition, Facts

__all__ = ["STEPS", "decide", "decide_batch"]

Step = Callable[[State, Facts], State]

STEPS: tuple[Step, ...] = (arrive, dedupe, reported, correlate, mark, resolve, track, trust, loop, promote)


def decide(copy: Copy, facts: Facts) -> Decision:
    """Decide what becomes of one copy. A place that was decided before comes out as ignored: it keeps what it has."""
    state = State(copy, facts.rule_of(copy))
    for step in STEPS:
        state = step(state, facts)
        if state.decision is not None:
            return state.decision
    raise AssertionError("the last step decides")


def decide_batch(copies: Sequence[Copy], facts: Facts) -> list[Decision]:
    """Decide a batch, in order: each copy sees what those before it became (`facts` grows).

    What was ignored is then judged once more, since a later copy may have made its message, or the email it answers,
    the CRM's.
    """
    decisions = [_decide_and_learn(copy, facts) for copy in copies]
    for number, copy in enumerate(copies):
        if decisions[number].disposition is Disposition.IGNORED:
            decisions[number] = _decide_and_learn(copy, facts)
    return decisions


def _decide_and_learn(copy: Copy, facts: Facts) -> Decision:
    decision = decide(copy, facts)
    facts.learn(copy, decision)
    return decision
