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

from dataclasses import replace
from uuid import UUID

from router.decide.state import State
from router.model import MOST_RECORDS, Facts, Mention, Party, Record
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
            chosen = facts.chosen(SEVERAL_MATCHES, state.copy)
            records = sorted(records, key=lambda record: _preference(record, state.copy.owner_id))
            if chosen.value == "unresolved":
                party = Party("from", mention.position, mention.address, mention.name, None)
                among = facts.ruled.get(mention.address)
                if among and among.record:
                    parties.append(replace(party, record_id=among.record.id, ruling_id=among.ruling_id))
                    continue
                parties.append(replace(party, candidates=tuple(record.id for record in records)))
                state = state.noting(f"an address in From belongs to {len(records)} records: {chosen.reason}")
                continue
            if chosen.value == "oldest":
                records = sorted(records, key=lambda record: (record.created_at.timestamp(), record.id))
                state = state.noting(f"the oldest record of several is the sender: {chosen.reason}")
            records = records[:1]
        linked: list[UUID | None] = [record.id for record in records] or [None]
        ruled = facts.ruled_of(mention.address)
        ruling_id = ruled.ruling_id if ruled and ruled.record else None
        parties += (
            Party(mention.role, mention.position, mention.address, mention.name, id_, ruling_id=ruling_id)
            for id_ in linked
        )
    crowded = sum(len(facts.records.get(address, ())) > MOST_RECORDS for address in {m.address for m in mentions})
    reasons = (
        [f"{crowded} of the addresses belong to more than {MOST_RECORDS} records: left unresolved"] if crowded else []
    )
    return replace(state.noting(*reasons), parties=tuple(parties))


def _preference(record: Record, owner_id: UUID | None) -> tuple[bool, int, float, UUID]:
    own = owner_id in {record.id, record.owner_id}
    return not own, _ORDER.get(record.kind, _OTHER_KINDS), record.created_at.timestamp(), record.id
