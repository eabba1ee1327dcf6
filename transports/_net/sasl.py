"""SASL mechanisms (RFC 4422): what a client says, as bytes. How these travel is each protocol's own matter."""

from dataclasses import dataclass

from transports.errors import Permanent


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism, ready to be used once.

    `responses` are the client's, in order, before base64. The first may go with the command where the protocol allows
    an initial response; each of the others answers a challenge.
    """

    name: str
    responses: tuple[bytes, ...]


def plain(user: str, password: str, act_as: str = "") -> Mechanism:
    """PLAIN (RFC 4616). `act_as` is the authorization identity: in whose name `user` comes, if not in its own.

    Raises Permanent for a NUL, which separates the three.
    """
    _require_no_nul(act_as, user, password)
    return Mechanism("PLAIN", (f"{act_as}\0{user}\0{password}".encode(),))


def login(user: str, password: str) -> Mechanism:
    """LOGIN (draft-murchison-sasl-login), for servers that have no PLAIN. Raises Permanent for a NUL."""
    _require_no_nul(user, password)
    return Mechanism("LOGIN", (user.encode(), password.encode()))


def _require_no_nul(*texts: str) -> None:
    if any("\0" in text for text in texts):
        raise Permanent("user and password cannot hold a NUL")
