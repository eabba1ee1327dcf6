"""What a broken profile claims: whose mail it would bring or carry, as far as its table tells."""

from collections.abc import Iterator

from router.model import ServedProfile
from router.profile import patterns
from router.profile.draft import Draft
from router.profile.keys import IncomingKeys
from router.profile.words import suggest


def claim_of(draft: Draft) -> ServedProfile:
    """Describe a profile that does not run. A pattern that cannot be understood is left out."""
    incoming = draft.keys if isinstance(draft.keys, IncomingKeys) else None
    is_incoming = draft.direction == "incoming"
    catches_all = draft.table.get("role") == "catch-all"
    return ServedProfile(
        direction=draft.direction,
        name=draft.name,
        kind=draft.kind.name if draft.kind else "",
        file=draft.file,
        line=draft.line,
        role=incoming.role if incoming else None,
        owners=_patterns(draft, "owners") if is_incoming and not catches_all else (),
        forwarders=_patterns(draft, "owners" if catches_all else "forwarders") if is_incoming else (),
        senders=() if is_incoming else _patterns(draft, "senders"),
        listens=draft.listens or (draft.kind is None and "listen" in draft.table),
        tracking_rule=incoming.rule if incoming else None,
        fault="; ".join(map(str, draft.mistakes)),
        runs=False,
    )


def is_whole(draft: Draft) -> bool:
    """Whether all that a broken profile claims is known."""
    said = list(_said(draft, *(("owners", "forwarders") if draft.direction == "incoming" else ("senders",))))
    return bool(said) and None not in map(_parsed, said)


def _patterns(draft: Draft, key: str) -> tuple[str, ...]:
    return tuple(pattern for said in _said(draft, key) if (pattern := _parsed(said)) is not None)


def _said(draft: Draft, *keys: str) -> Iterator[object]:
    """What the table says under these keys, or under one that seems to be such a key misspelled."""
    # Read from the table: whose mail it is has to be known whatever else is wrong.
    for key, value in draft.table.items():
        if key in keys or suggest(key, keys) is not None:
            yield from value if isinstance(value, list) else [value]


def _parsed(said: object) -> str | None:
    try:
        return patterns.parse(said) if isinstance(said, str) else None
    except ValueError:
        return None
