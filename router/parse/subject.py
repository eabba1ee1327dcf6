"""What a subject says: a forward, an answer, in the languages of mail programs; and its words."""

import re
from typing import Final

MESSAGES: Final = frozenset({"message/rfc822", "message/global"})
"""The media types of mail that is forwarded as an attachment (RFC 2046 §5.2.1)."""

_LISTS = r"(?:\s*\[[^\]]{0,80}\])*\s*"
_COLON = r"(?:\[\d{1,3}\])?\s*[:\uff1a]"

_LIST = re.compile(_LISTS)

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


# Of scripts without blanks, each character is taken for a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_TOKEN = re.compile(r"\bCRM:[0-9a-z]+", re.IGNORECASE | re.ASCII)
_MOST_BEGINNINGS = 20
_LONGEST = 300  # characters of which words are made, as crm.subject_key does
_SHORT = 4  # letters; what is shorter, many subjects have in common

_COMMON = """
    anfrage anlage bestellung bonjour bonsoir bestelling bitte buongiorno ciao commande conferma confirmation danke
    datei demande details document documento documents dokument dokumente email factura facture fattura feedback file
    frage fragen good grazie greetings gruss grüße guten hallo hello help here hola image images info information
    invoice invoices mail meeting merci message montag monday morgen morning nachricht news newsletter order orders
    ordine pedido photo photos please question questions rechnung rechnungen reminder reply request salut scan status
    termin test thank thanks tomorrow treffen update urgent week your
"""
COMMON_WORDS: Final = frozenset(_COMMON.split())
"""Words by which alone nobody knows one email from another."""


def subject_words(subject: str) -> frozenset[str]:
    """Name the words of a subject that tell it from others, in small letters: long ones, and those with a digit.

    Without what it begins with (Re:, [list]) and our tokens.
    """
    rest = subject[:_LONGEST]
    for _ in range(_MOST_BEGINNINGS):
        found = _FORWARD.match(rest) or _PERHAPS_FORWARD.match(rest) or _ANSWER.match(rest)
        if found is None:
            break
        rest = rest[found.end() :]
    if found := _LIST.match(rest):
        rest = rest[found.end() :]
    words = _WORD.findall(_TOKEN.sub(" ", rest).casefold())
    return frozenset(word for word in words if len(word) >= _SHORT or not word.isascii() or not word.isalpha())


def is_forward(subject: str) -> bool:
    """Whether it is the subject of a forward."""
    return _FORWARD.match(subject) is not None


def may_forward(subject: str) -> bool:
    """Whether it is the subject of a forward if its text or an attachment is forwarded mail."""
    return _PERHAPS_FORWARD.match(subject) is not None


def is_answer(subject: str) -> bool:
    """Whether it is the subject of an answer."""
    return _ANSWER.match(subject) is not None
