"""The name that we say in EHLO: a host's full name, or the address that we come from (RFC 5321 §4.1.1.1)."""

import re
import socket
from ipaddress import IPv6Address, ip_address

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,255}}\Z){_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[(IPv6:)?([0-9A-Fa-f:.]+)\]")
_NOBODYS = ("localhost", "localhost.localdomain", "localhost6.localdomain6")


def is_hello(text: str) -> bool:
    """Whether a server may accept this: a name of ASCII letters, digits, hyphens and dots, or an address literal."""
    if found := _LITERAL.fullmatch(text):
        try:
            return isinstance(ip_address(found[2]), IPv6Address) == (found[1] is not None)
        except ValueError:
            return False
    return _NAME.fullmatch(text) is not None


def own_name() -> str | None:
    """Return this machine's full name, if it has one. Blocks, since the DNS may be asked.

    A name without a dot is none: a container's (12 hexadecimal digits) tells a server nothing, and many refuse it.
    """
    name = socket.getfqdn().removesuffix(".")
    return name if "." in name and name not in _NOBODYS and _NAME.fullmatch(name) else None


def literal(address: str) -> str:
    """Write the IP address that we connect from, for who has no name to show (RFC 5321 §4.1.3, §4.1.4)."""
    ip = ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    ip = mapped or ip
    return f"[IPv6:{ip}]" if isinstance(ip, IPv6Address) else f"[{ip}]"
