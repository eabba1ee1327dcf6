"""Addresses of this machine: where the console is served, and whether a URL stays here."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """Where the console is served: an IPv4 or IPv6 address, and a port from 1 on."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "127.0.0.1:8025" or "[::1]:8025". Raises ValueError, in an admin's words."""
        host, _, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            address = IPv6Address(host[1:-1]) if bracketed else IPv4Address(host)
            number = int(port) if port.isascii() and port.isdigit() else 0
        except ValueError:
            address, number = None, 0
        if address is None or not 0 < number < 65536:
            raise ValueError(
                f"{text!r} is no address to listen at: write 127.0.0.1:8025, [::1]:8025, 0.0.0.0:8025 for all IPv4 "
                "addresses of this machine, or off"
            )
        return cls(str(address), number)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_here(url: str) -> bool:
    """Whether a URL leads to this machine, so that nobody can listen on the way."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
