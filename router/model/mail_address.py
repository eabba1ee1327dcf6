"""An address as SMTP and headers take it (RFC 5321 §4.1.2, RFC 5890). What is no valid address is refused.

Nothing is repaired: whoever wrote `bob@my/bank.example` did not mean `bob@mybank.example`.
"""

import ipaddress
import re
import unicodedata

import idna

from router.errors import ContentRefused

LONGEST = 320
"""Characters of an address, at most."""

_LONGEST_DOMAIN = 253
_NOBODY = "mailbox.invalid"

_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL = re.compile('[^\\x00-\\x20\\x7f-\\xa0"(),:;<>@\\[\\\\\\]]+')
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~\xa1-\U0010ffff]|\\[ -~])*"')
# As in SMTP, and with the low line, which some hosts have in their names though they should not (RFC 1123 §2.1).
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})


def smtp_address(address: str) -> str:
    """Write an address as SMTP and headers take it: its domain as A-labels, its local part quoted where it must be.

    Only a local part beyond ASCII stays so: then the relay must offer SMTPUTF8 (RFC 6531). Raises ContentRefused, in
    words, for what is no valid address.
    """
    try:
        return _written(address)
    except ValueError as error:
        raise ContentRefused(f"{address[:LONGEST]!a} is no valid address: {error}") from error


def message_id_domain(mailbox: str) -> str:
    """Return what stands behind the @ of the Message-IDs of what a mailbox sends: its domain as A-labels.

    It never raises. What a mailbox without a valid domain sends is refused when it is composed.
    """
    _, at, domain = mailbox.rpartition("@")
    try:
        return _ascii_domain(domain) if at else _NOBODY
    except ValueError:
        return _NOBODY


def _written(address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not at:
        raise ValueError("it has no @")
    if len(address) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    return f"{_local_part(local)}@{_ascii_domain(domain)}"


def _local_part(local: str) -> str:
    if _PLAIN.fullmatch(local):
        return local
    if not local.isascii():
        _refuse_unclear(local, "local part", " ")
    if local.startswith('"'):
        if len(local) > 2 and _QUOTED.fullmatch(local):
            return local
        raise ValueError("its local part is not quoted as it should be")
    if not local:
        raise ValueError("it has no local part")
    if not _LOCAL.fullmatch(local):
        wrong = next(letter for letter in local if not _LOCAL.fullmatch(letter))
        raise ValueError(f"its local part has {wrong!a}, which only a quoted one may have")
    dots_are_apart = "" not in local.split(".")
    return local if dots_are_apart else f'"{local}"'  # some providers gave such names away


def _ascii_domain(domain: str) -> str:
    """Return a domain, or an address literal, as ASCII. Raises ValueError in words."""
    if domain.startswith("["):
        return _literal(domain)
    labels = domain.split(".")
    if not domain.isascii():
        _refuse_unclear(domain, "domain", "\u200c\u200d")  # some scripts need these two: idna knows where
        domain = unicodedata.normalize("NFC", domain).lower()
        labels = [label if _LABEL.fullmatch(label) else _a_label(label) for label in domain.split(".")]
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{label[:100]!a} in its domain is no name of a host" if label else _EMPTY)
    written = ".".join(labels)
    if len(written) > _LONGEST_DOMAIN:
        raise ValueError(f"its domain is longer than {_LONGEST_DOMAIN} characters")
    return written


_EMPTY = "its domain begins or ends with a dot, has two together, or is empty"


def _a_label(label: str) -> str:
    if not label or label.isascii():
        return label
    try:
        # What is mapped stands for something else (UTS 46 §4): a full-width letter, a ligature.
        if idna.uts46_remap(label, std3_rules=False, transitional=False) != label:
            raise ValueError(f"{label[:100]!a} in its domain has characters that stand for others")
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError as error:
        why = str(error).encode("ascii", "backslashreplace").decode("ascii")
        raise ValueError(f"{label[:100]!a} in its domain is no internationalized name: {why}") from error


def _literal(domain: str) -> str:
    """Return an address literal as it is (RFC 5321 §4.1.3). Raises ValueError in words."""
    inner = domain[1:-1] if domain.endswith("]") else ""
    try:
        if inner[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        raise ValueError(f"{domain[:100]!a} is no address literal") from None
    return domain


def _refuse_unclear(text: str, what: str, allowed: str = "") -> None:
    for letter in text:
        if letter not in allowed and unicodedata.category(letter) in _HIDDEN:
            raise ValueError(f"its {what} has a character that cannot be seen: {letter!a}")
        if "\uff01" <= letter <= "\uff5e":
            raise ValueError(f"its {what} has {letter!a}, which stands for {chr(ord(letter) - 0xFEE0)}")
