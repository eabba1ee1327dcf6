"""Profiles for the servers of the tests, as TOML."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.servers.dovecot import HOST, MASTER_PASSWORD, MASTER_USER, PASSWORD, Dovecot
from tests.servers.postfix import Postfix

SECRETS = {"MAILBOX_PASSWORD": PASSWORD, "MASTER_PASSWORD": MASTER_PASSWORD}
"""The environment that the profiles refer to."""

OWN = {"user": "{mailbox}", "password": {"env": "MAILBOX_PASSWORD"}}
MASTER = {"user": "{mailbox}*" + MASTER_USER, "password": {"env": "MASTER_PASSWORD"}}


class Profile(Protocol):
    """`incoming(after="seen", …)`: a profile's TOML; keys are those of profiles, and `name`; None: without the key."""

    def __call__(self, name: str = ..., **keys: Any) -> str: ...


@pytest.fixture
def incoming(dovecot: Dovecot, ca_file: Path) -> Profile:
    """Dovecot over TLS, each mailbox with its own password, for every owner in `in.test`."""
    keys = {
        "transport": "imap",
        "host": HOST,
        "port": dovecot.imaps,
        "ca_file": str(ca_file),
        "auth": OWN,
        "owners": ["*@in.test"],
        # New mail is told by IDLE: a test that passes by a poll would take long.
        "poll": 60,
    }
    return lambda name="staff", **more: _table(f"incoming.{name}", keys | more)


@pytest.fixture
def outgoing(postfix: Postfix, ca_file: Path) -> Profile:
    """Postfix with STARTTLS, for every owner in `in.test`."""
    keys = {
        "transport": "smtp",
        "host": HOST,
        "port": postfix.smtp,
        "security": "starttls",
        "ca_file": str(ca_file),
        "senders": ["*@in.test"],
    }
    return lambda name="relay", **more: _table(f"outgoing.{name}", keys | more)


def _table(header: str, keys: Mapping[str, Any]) -> str:
    return "\n".join(
        [f"[{header}]", *(f"{key} = {_value(value)}" for key, value in keys.items() if value is not None), "", ""]
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
