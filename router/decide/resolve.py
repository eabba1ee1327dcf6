"""Which records of the CRM the message's addresses belong to.

An address in To, Cc, Bcc and Reply-To links to every record that has it. An address in From links to one record, so
that there is one sender; it is chosen in this order:

1. the owner, or a record that belongs to the owner,
2. contact, then lead, then account,
3. any other kind,
4. user, then queue,
5. among equals the oldest.

The setting `several_matches` has the oldest record chosen instead, or none: then people choose among the candidates,
and what they ruled on the address counts.

Inactive records count only if no active record has the address. An address of more than 100 records links to none.
Where an address would be unresolved, what a person ruled on it counts, for as long as that record is active.
"""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from router.decide.state import State
from router.model import MOST_RECORDS, Copy, Facts, Mention, Party, Record
from router.model.settings import SEVERAL_MATCHES

_ORDER = {"contact": 0, "lead": 1, "account": 2, "user": 4, "queue": 5}
_OTHER_KINDS = 3


def resolve(state: State, facts: Facts) -> State:
    """Make the parties. A message without an address in From has an unresolved sender."""
    message = state.copy.message
    mentions = message.mentions if message.sender else (Mention("from", 0, ""), *message.mentions)
    parties: list[Party] = []
    for mention in mentions:
        records = facts.records_of(mention.address)
        if mention.role == "from" and len(records) > 1:
            party, reason = _one_of_several(mention, records, state.copy, facts)
            parties.append(party)
            state = state.noting(reason) if reason else state
            continue
        linked: list[UUID | None] = [record.id for record in records] or [None]
        ruled = facts.ruled_of(mention.address)
        ruling_id = ruled.ruling_id if ruled and ruled.record else None
        parties += (
            Party(mention.role, mention.position, mention.address, mention.name, id_, ruling_id=ruling_id)
            for id_ in linked
        )
    crowded = sum(len(facts.records.get(address, ())) > MOST_RECORDS for address in {m.address for m in mentions})
    if crowded:
        state = state.noting(f"{crowded} of the addresses belong to more than {MOST_RECORDS} records: left unresolved")
    return replace(state, parties=tuple(parties))


def _one_of_several(mention: Mention, records: Sequence[Record], copy: Copy, facts: Facts) -> tuple[Party, str | None]:
    """Choose the sender among the records of an address in From, as the setting says; and tell why, if not by kind."""
    party = Party(mention.role, mention.position, mention.address, mention.name, None)
    chosen = facts.chosen(SEVERAL_MATCHES, copy)
    preferred = sorted(records, key=lambda record: _preference(record, copy.owner_id))
    if chosen.value == "unresolved":
        ruled = facts.ruled.get(mention.address)
        if ruled and ruled.record:
            return replace(party, record_id=ruled.record.id, ruling_id=ruled.ruling_id), None
        among = tuple(record.id for record in preferred)
        reason = f"an address in From belongs to {len(records)} records: {chosen.reason}"
        return replace(party, candidates=among), reason
    if chosen.value == "oldest":
        oldest = min(records, key=lambda record: (record.created_at.timestamp(), record.id))
        return replace(party, record_id=oldest.id), f"the oldest record of several is the sender: {chosen.reason}"
    return replace(party, record_id=preferred[0].id), None


def _preference(record: Record, owner_id: UUID | None) -> tuple[bool, int, float, UUID]:
    own = owner_id in {record.id, record.owner_id}
    return not own, _ORDER.get(record.kind, _OTHER_KINDS), record.created_at.timestamp(), record.id
