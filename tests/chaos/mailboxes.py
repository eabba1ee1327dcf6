"""The 20 mailboxes of a chaos run, each with the rule of its owner, and the profiles by which they are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.traffic import CONNECTIONS

AUTHSERV = "mx.in.test"
OWNERS: Mapping[str, Mapping[str, str]] = {
    "seen": {f"seen{n}@seen.test": "known" if n > 6 else "all" for n in range(1, 9)},
    "moved": {f"moved{n}@moved.test": "all" for n in range(1, 4)},
    "popped": {f"popped{n}@popped.test": "all" for n in range(1, 4)},
    "dropped": {f"dropped{n}@dropped.test": "all" for n in range(1, 3)},
    "kept": {f"kept{n}@kept.test": "all" for n in range(1, 3)},
    "calm": {"calm@calm.test": "all"},
    "quiet": {"quiet@quiet.test": "all"},
}
"""By profile: the mailboxes, with the tracking rules of their owners."""

CALM = ("calm@calm.test", "quiet@quiet.test")
"""Mailboxes, by IMAP and on disk, whose own servers and mail are never at fault."""

ON_DISK = frozenset({"kept", "quiet"})
BY_IMAP = frozenset({"seen", "moved", "calm"})
RULES = {mailbox: rule for group in OWNERS.values() for mailbox, rule in group.items()}
PROFILE = {mailbox: profile for profile, group in OWNERS.items() for mailbox in group}


@dataclass(frozen=True)
class Ports:
    """Where the profiles find their servers: mostly proxies that can be at fault."""

    seen: int
    moved: int
    popped: int
    calm: int
    listener: int
    relay: int
    calm_relay: int


def profiles(ports: Ports, maildirs: Path, secret: Path, poll: int = 5) -> str:
    """All profiles of a router, as TOML; `secret` is the file with the password of those whose mail is moved."""
    return "".join(
        [
            _server("seen", "imap", ports.seen, f'after = "seen"\npoll = {poll}\nauthserv = "{AUTHSERV}"'),
            _server("moved", "imap", ports.moved, f'after = "move:Done"\npoll = {poll}', f'file = "{secret}"'),
            _server("popped", "pop3", ports.popped, 'after = "delete"\npoll = 1'),
            _server("calm", "imap", ports.calm, 'after = "seen"\npoll = 60'),
            _on_disk("kept", maildirs),
            _on_disk("quiet", maildirs),
            '[incoming.dropped]\ntransport = "lmtp"\nrule = "all"\nowners = ["*@dropped.test"]\n',
            f'listen = "127.0.0.1:{ports.listener}"\n\n',
            _relay("relay", ports.relay, '"*@seen.test", "*@moved.test"'),
            _relay("calm_relay", ports.calm_relay, '"*@calm.test"'),
        ]
    )


def _server(name: str, transport: str, port: int, keys: str, password: str = 'env = "MAILBOX_PASSWORD"') -> str:
    return (
        f'[incoming.{name}]\ntransport = "{transport}"\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n'
        f'auth = {{ user = "{{mailbox}}", password = {{ {password} }} }}\n'
        f'owners = ["*@{name}.test"]\nstart = "all"\ntimeout = 4\n{keys}\n\n'
    )


def _on_disk(name: str, maildirs: Path) -> str:
    path = f"{maildirs}/{{mailbox}}"
    return f'[incoming.{name}]\ntransport = "maildir"\npath = "{path}"\nowners = ["*@{name}.test"]\nstart = "all"\n\n'


def _relay(name: str, port: int, senders: str) -> str:
    return (
        f'[outgoing.{name}]\ntransport = "smtp"\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n'
        f"senders = [{senders}]\nconnections = {CONNECTIONS}\ntimeout = 4\nfinal_timeout = 4\n\n"
    )
