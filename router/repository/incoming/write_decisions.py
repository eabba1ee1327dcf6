"""What is written of the decisions on the copies of a batch, and what is kept of those that are not promoted."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from router.model import GIST_VERSION, Copy, Decision, Disposition, Rule, Verdict
from router.model.address_pattern import patterns_of
from router.repository.incoming.again import Undones
from router.repository.incoming.batch import Batch, Decided, promoted_of
from router.repository.jsonb import as_candidates, as_envelope, as_verdict
from router.repository.round_trip import Writes

_OVERTAKEN = "another copy made it the CRM's since"

Kept = tuple[Copy, bytes]


def write_decisions(writes: Writes, new: Sequence[Decided], batch: Batch, undone: Undones) -> None:
    """Write the decisions, and make earlier copies duplicates that were ignored before another was promoted."""
    # A copy that is still to be settled has no `settled_at`. A forward can hold several copies in one place; that place
    # is to be settled only if all of them are.
    staying = {copy.outer_place for copy, decision in new if not batch.to_be_settled(decision)}
    now = datetime.now(UTC)

    def settled_at(copy: Copy) -> datetime | None:
        former = undone.former(copy)
        if former and copy.forward and not copy.ruling:
            return former.settled_at  # for its outer place it was decided first
        others_wait = former is not None and former.others_wait
        return now if others_wait or copy.outer_place in staying else None

    def id_of(copy: Copy) -> int | None:
        """A letter that is ruled on keeps its number."""
        former = undone.get((copy.source_id, copy.place))
        return former.id if former and copy.ruling else None

    writes.insert(
        "decisions",
        "router.decision",
        {
            "source_id": "bigint", "validity": "text", "place": "text", "owner_id": "uuid", "key": "bytea",
            "email_id": "uuid", "disposition": "text", "rule": "text", "reasons": "text[]",
            "received_at": "timestamptz", "settled_at": "timestamptz", "outer_place": "text", "forward": "jsonb",
            "content": "bytea", "gist": "bytea", "sender_gist": "bytea", "gist_version": "smallint",
            "candidates": "jsonb", "verdict": "jsonb", "id": "bigint",
        },
        [
            (
                copy.source_id, copy.place.validity, copy.place.id, copy.owner_id, copy.key if copy.judged else None,
                decision.email_id, decision.disposition, decision.rule, decision.reasons, copy.received_at,
                settled_at(copy), copy.forward.place.id if copy.forward else None,
                # The outer envelope, like all that tells of a mail, is not kept of what the rule ignores.
                as_envelope(copy.forward) if decision.email_id or batch.keeps_content(copy, decision) else None,
                (copy.likeness.content or None) if copy.judged else None,
                *_gist_of(copy, decision),
                as_candidates(decision.candidates),
                as_verdict(_verdict_of(copy, decision)),
                id_of(copy),
            )
            for copy, decision in new
        ],
        "RETURNING id, source_id, validity, place, owner_id, email_id, received_at, forward",
        numbers="router.decision_id_seq",
    )  # fmt: skip
    promoted = [(copy.key, decision.email_id, copy.likeness) for copy, decision in promoted_of(new)]
    writes.add(
        "overtaken",
        f"""
        UPDATE router.decision AS d
        SET disposition = 'duplicate', email_id = w.email_id, reasons = d.reasons || $3::text,
            -- It is to be settled from now on, if it says the same; but 250 settled a listener's copy, and a forward is
            -- settled in any case.
            settled_at = CASE
                WHEN s.folder = '' OR d.outer_place IS NOT NULL OR d.content IS DISTINCT FROM w.content
                THEN d.settled_at
            END
        FROM unnest($1::bytea[], $2::uuid[], $4::bytea[], $5::bytea[], $6::jsonb[])
                AS w (key, email_id, content, gist, patterns),
            router.source AS s
        WHERE d.key = w.key AND d.disposition = 'ignored' AND d.rule <> 'none' AND s.id = d.source_id
            -- Another message, such as a forgery that came first, stays what it is.
            AND (d.gist_version = {GIST_VERSION} AND d.gist <> w.gist) IS NOT TRUE
            -- Nor has an owner anything of whom they never track by now.
            AND NOT EXISTS (
                SELECT FROM router.never_track AS n
                WHERE n.pattern IN (SELECT jsonb_array_elements_text(w.patterns))
                    AND (n.owner_id IS NULL OR n.owner_id = d.owner_id)
            )
        RETURNING d.id, d.source_id, d.validity, d.place, d.owner_id, d.email_id, d.received_at, d.forward
        """,  # noqa: S608  # a constant
        [key for key, _, _ in promoted],
        [email_id for _, email_id, _ in promoted],
        _OVERTAKEN,
        [likeness.content for *_, likeness in promoted],
        [likeness.gist or None for *_, likeness in promoted],
        [json.dumps(_senders_patterns(copy)) for copy, _ in promoted_of(new)],
    )


def _senders_patterns(copy: Copy) -> list[str]:
    """Name the patterns by which an owner would never track those who sent a message."""
    senders = {copy.message.sender or "", *(author.address for author in copy.message.of("from"))}
    return [pattern for address in sorted(senders) for pattern in patterns_of(address)]


def _gist_of(copy: Copy, decision: Decision) -> tuple[bytes, bytes, int] | tuple[None, None, None]:
    """Of what is refused, what tells it from another message with the same key; nothing where it is not to be read."""
    refused = decision.disposition in (Disposition.IGNORED, Disposition.HELD)
    if not refused or not copy.judged or decision.rule is Rule.NONE or copy.sender_gist is None:
        return None, None, None
    return copy.likeness.gist, copy.sender_gist, GIST_VERSION


def _verdict_of(copy: Copy, decision: Decision) -> Verdict | None:
    """What our server found out about who sent a copy that is not ignored; None: nothing."""
    told = decision.email_id is not None or decision.disposition is Disposition.HELD
    if not told or not copy.judged or copy.sent or decision.rule is Rule.NONE:
        return None
    verdict = copy.classification.verdict
    if verdict is None:
        return None
    # It has checked one domain: of several, nobody can tell which.
    is_one = len({author.address.rpartition("@")[2] for author in copy.message.of("from")}) == 1
    methods = ("dmarc", "spf", "dkim") if is_one else ("spf", "dkim")
    return Verdict(verdict.server, tuple(dict.fromkeys(one for one in verdict.results if one[0] in methods)))


def write_kept(writes: Writes, kept: Sequence[Kept], undone: Undones) -> None:
    """Write the contents that are kept of held and dead copies."""
    if not kept:
        return
    writes.add(
        "kept",
        """
        INSERT INTO router.kept_content (decision_id, content, recipients, sent, expires_at)
        SELECT d.id, w.content, ARRAY(SELECT json_array_elements_text(w.recipients)), w.sent,
            -- What is dead again expires no later for that.
            coalesce(w.expires_at, now() + current_setting('email_router.keep_bytes')::interval)
        FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::json[], $6::boolean[], $7::timestamptz[])
            AS w (source_id, validity, place, content, recipients, sent, expires_at)
        JOIN decisions AS d USING (source_id, validity, place)
        """,
        [copy.source_id for copy, _ in kept],
        [copy.place.validity for copy, _ in kept],
        [copy.place.id for copy, _ in kept],
        [content for _, content in kept],
        [json.dumps(copy.recipients) for copy, _ in kept],
        [copy.sent for copy, _ in kept],
        [former.expires_at if (former := undone.former(copy)) else None for copy, _ in kept],
    )
