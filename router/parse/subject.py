"""What the beginning of a subject says: a forward, an answer. In the languages of mail programs."""

import re

_LISTS = r"(?:\s*\[[^\]]{0,80}\])*\s*"
_COLON = r"(?:\[\d{1,3}\])?\s*[:\uff1a]"

# "FW: Offer", "[list] Fwd: Offer", "WG[2]: Offer"; "Re: Fwd: Offer" is an answer.
# Not "VS:", which forwards in Swedish and answers in Finnish: an answer must not be lost.
_FORWARD = re.compile(
    rf"{_LISTS}"
    r"(?:fwd?|fw|wg|tr|rv|i|enc|doorst|vb|vl|vid\.?sänt|videresendt|pd|továbbítás|fwd?\s*\.|转发|轉寄|転送)"
    rf"{_COLON}",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    rf"{_LISTS}(?:re|aw|antw|antwort|sv|vs|r|rif|res|ref|odp|ynt|vá|回复|答复|回覆|返信|회신){_COLON}", re.IGNORECASE
)


def is_forward(subject: str) -> bool:
    """Whether it is the subject of a forward."""
    return _FORWARD.match(subject) is not None


def is_answer(subject: str) -> bool:
    """Whether it is the subject of an answer."""
    return _ANSWER.match(subject) is not None
