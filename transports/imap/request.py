"""What we say to an IMAP server, in its syntax: sets of UIDs."""

from collections.abc import Iterable


def uid_set(uids: Iterable[int]) -> str:
    """Return the shortest sequence set (RFC 3501 §9): `1:3,7`."""
    spans: list[list[int]] = []
    for uid in sorted(set(uids)):
        if spans and spans[-1][1] == uid - 1:
            spans[-1][1] = uid
        else:
            spans.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in spans)
