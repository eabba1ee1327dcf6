"""What is taken for granted of a mailbox, and messages that cannot be read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from router.errors import UnknownName
from router.model import Rule, Unreadable
from router.operations.explain import Mailbox, forward_profile, mailbox_of, read_forwards, read_messages
from router.profile import Profiles, load
from router.workers.pool import Fault

FORWARD = """
[incoming.sink]
transport = "smtp"
listen = "127.0.0.1:2525"
role = "forward"
address = "crm@in.test"
forwarders = ["*@in.test"]
authserv = "mx.in.test"
rule = "known"
"""
STAFF = """
[incoming.drop]
transport = "smtp"
listen = "127.0.0.1:2526"
owners = ["ann@in.test"]
authserv = "mail.in.test"
rule = "all"
"""


class Broken:
    """Processes that cannot read anything."""

    async def map(self, _function: object, pieces: Sequence[Any]) -> list[Fault]:
        return [Fault("it took too long") for _ in pieces]


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    (tmp_path / "a.toml").write_text(FORWARD + STAFF)
    return load(tmp_path)


def test_what_a_mailboxes_first_profile_says_holds(profiles: Profiles) -> None:
    assert mailbox_of(profiles, "Ann@IN.test", Rule.NONE) == Mailbox("ann@in.test", Rule.NONE, Rule.ALL, "mail.in.test")
    assert mailbox_of(profiles, "bob@in.test") == Mailbox("bob@in.test", None, Rule.KNOWN, "mx.in.test")
    assert mailbox_of(profiles, "x@other.test") == Mailbox("x@other.test", None, Rule.REPLIES, None)


def test_only_a_forward_mailbox_is_one(profiles: Profiles) -> None:
    assert forward_profile(profiles, "sink").forwards
    for name in ("drop", "nonsense"):
        with pytest.raises(UnknownName, match="there are: sink"):
            forward_profile(profiles, name)


async def test_what_cannot_be_read_is_said_and_nothing_made_up(profiles: Profiles) -> None:
    parsers: Any = Broken()
    [one] = await read_messages(parsers, {"a.eml": b"x"}, None)
    assert (one.name, one.reading) == ("a.eml", Unreadable("it could not be read: it took too long"))
    outer, originals = await read_forwards(parsers, {"a.eml": b"x"}, forward_profile(profiles, "sink"))
    assert (outer["a.eml"].held, originals) == ("it could not be read: it took too long", [])
