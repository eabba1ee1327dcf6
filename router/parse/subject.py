"""What the beginning of a subject says: a forward, an answer. In the languages of mail programs."""

import re
from typing import Final

MESSAGES: Final = frozenset({"message/rfc822", "message/global"})
"""The media types of mail that is forwarded as an attachment (RFC 2046 §5.2.1)."""

_LISTS = r"(?:\s*\[[^\]]{0,80}\])*\s*"
_COLON = r"(?:\[\d{1,3}\])?\s*[:\uff1a]"

# "FW: Offer", "[list] Fwd: Offer", "WG[2]: Offer"; "Re: Fwd: Offer" is an answer.
# Not "VS:", which forwards in Swedish and answers in Finnish: an answer must not be lost.
_FORWARD = re.compile(
    rf"{_LISTS}"
    r"(?:fwd?|fw|wg|rv|enc|doorst|vb|vl|vid\.?sänt|videresendt|továbbítás|fwd?\s*\.|转发|轉寄|転送)"
    rf"{_COLON}",
    re.IGNORECASE,
)
# Italian, French and Polish programs; but so may any subject begin: "TR: Trabzon", "I: introduction", "PD: offer".
_PERHAPS_FORWARD = re.compile(rf"{_LISTS}(?:i|pd|tr){_COLON}", re.IGNORECASE)
_ANSWER = re.compile(
    rf"{_LISTS}(?:re|aw|antw|antwort|sv|vs|r|rif|res|ref|odp|ynt|vá|回复|答复|回覆|返信|회신){_COLON}", re.IGNORECASE
)


def is_forward(subject: str) -> bool:
    """Whether it is the subject of a forward."""
    return _FORWARD.match(subject) is not None


def may_forward(subject: str) -> bool:
    """Whether it is the subject of a forward if its text or an attachment is forwarded mail."""
    return _PERHAPS_FORWARD.match(subject) is not None


def is_answer(subject: str) -> bool:
    """Whether it is the subject of an answer."""
    return _ANSWER.match(subject) is not None
