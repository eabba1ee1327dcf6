"""Whether the message is an email of the CRM already, or was judged before elsewhere in the same mailbox."""

from uuid import UUID

from router.decide.state import State
from router.model import INTERNAL, Copy, Disposition, Facts, Likeness, Rule

_HELD_TWIN = (
    "another message with the same Message-ID and Date is held in this mailbox, and says something else, is from "
    "somebody else or came another way: one of them may be forged"
)

_TAKEN_BACK = "this email was taken back"


def dedupe(state: State, facts: Facts) -> State:
    """Make a copy of an email that the CRM has its duplicate, whatever the owner's rule is, except `none`.

    A message that was ignored or held stays so when a person moves it or the mailbox is restored: only new mail is
    judged, or what was ignored and a person has fetched from the past. Another message is new, though it has the same
    Message-ID and Date: a forgery that came before the true message must not have that refused. Neither must a copy of
    the true message that was held, as one that our server denies: a copy against which nothing speaks is judged by
    itself. Copies of an email that their owner took back, or every owner who had it, are ignored: they stay where they
    are.
    """
    copy = state.copy
    before = _before(state, facts)
    email_id = facts.emails.by_key.get(copy.key)
    if copy.owner_id and (copy.owner_id, copy.key) in facts.decided.taken_back:
        return state.decide(Disposition.IGNORED, _TAKEN_BACK)
    if email_id is not None and state.rule is not Rule.NONE:
        duplicate = _duplicate(state, facts, email_id)
        if before is None or (duplicate.decision and duplicate.decision.says != "something else"):
            return duplicate
    ours = _by_private_header(copy, facts)
    if ours is not None and state.rule is not Rule.NONE:
        return state.decide(Disposition.DUPLICATE, "the CRM's own email, by our private header", email_id=ours)
    if before is not None:
        return state.decide(before, f"the same message was {before} in this mailbox before, and stays so")
    if copy.owner_id and not copy.released and _which(copy) in facts.decided.held_twins:
        return state.noting(_HELD_TWIN)
    return state


def _before(state: State, facts: Facts) -> Disposition | None:
    """Return what this message became elsewhere in the mailbox, if it is to stay that."""
    copy = state.copy
    if copy.released or not copy.owner_id:
        return None
    before = facts.decided.not_promoted.get(_which(copy))
    return None if copy.backfilled and before is Disposition.IGNORED else before


def _which(copy: Copy) -> tuple[UUID, bytes, bytes | None]:
    assert copy.owner_id is not None
    return copy.owner_id, copy.key, copy.sender_gist


def _duplicate(state: State, facts: Facts, email_id: UUID) -> State:
    """Whoever knows Message-ID and Date can send another message with them, before or after the true one."""
    copy, emails = state.copy, facts.emails
    known = emails.likeness.get(copy.key, Likeness())
    reason = "the same message is an email of the CRM already"
    if copy.key in emails.ours or (known.content and known.content == copy.likeness.content):
        return state.decide(Disposition.DUPLICATE, reason, email_id=email_id)
    sender = emails.senders.get(copy.key)
    if known.content and known.gist == copy.likeness.gist and sender not in (None, copy.message.sender or ""):
        words = f"{reason}, in another form and from somebody else: from a list, or one of them is forged"
        state = state.decide(Disposition.DUPLICATE, words, email_id=email_id)
        return state.saying("much the same, from another")
    if not known.content or known.gist == copy.likeness.gist:
        words = "in another form, as from a list" if known.content else "and what it said is not known any more"
        state = state.decide(Disposition.DUPLICATE, f"{reason}, {words}", email_id=email_id)
        return state.saying("much the same")
    words = "an email of the CRM has the same Message-ID and Date, and says something else: one of them may be forged"
    return state.decide(Disposition.DUPLICATE, words, email_id=email_id).saying("something else")


def _by_private_header(copy: Copy, facts: Facts) -> UUID | None:
    """Find the CRM's own email that comes back with a Message-ID that its relay gave it.

    The private header does not suffice, since an answer may carry it too: the message must be from a user or queue, and
    have the date that we gave it. In the owner's Sent folder, where nobody else writes, the header does suffice.
    """
    message = copy.message
    named: list[UUID | None] = []
    if copy.sent:
        named += [email.id for claim in message.claims if (email := facts.emails.of_message_id(claim))]
    if any(record.kind in INTERNAL for record in facts.records_of(message.sender or "")):
        named += [facts.emails.by_key.get(key) for key in message.claimed_keys]
    return next((email_id for email_id in named if email_id), None)
