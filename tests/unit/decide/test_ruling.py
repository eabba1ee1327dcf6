"""What a person ruled on a copy: it is released from what held it, and only from that."""

from dataclasses import replace

import pytest

from router.decide import decide
from router.model import Disposition, Rule, Ruling
from tests.support.build import OWNER, World, copy, mail, record

ANN = "ann@client.example"
DENIED = b"Authentication-Results: mail.example.com; dmarc=fail (p=none)\r\n"
LOOP = b"Received: from a.example by b.example; Sat, 21 Nov 2026 00:59:00 +0000\r\n" * 60


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (DENIED + mail(), Rule.ALL),
        (LOOP + mail(), Rule.ALL),
        (mail(subject="Re: CRM:k3m9x2p7", **{"from": "eve@evil.example"}), Rule.ALL),
    ],
    ids=["trust", "loop", "a stranger's token"],
)
def test_t110_what_is_released_is_held_by_no_step(world: World, raw: bytes, rule: Rule) -> None:
    world.knows(ANN, record("contact"))
    world.email("offer@example.com", token="k3m9x2p7")
    held = copy(raw, rule, authserv="mail.example.com")
    assert decide(held, world.facts).disposition is Disposition.HELD
    # It was held in this mailbox before, which is what `dedupe` looks at.
    world.facts.decided.not_promoted[OWNER, held.key, held.sender_gist] = Disposition.HELD
    decision = decide(replace(held, ruling=Ruling("ann", "released")), world.facts)
    assert decision.disposition is Disposition.PROMOTED
    assert decision.reasons[0] == "released by ann"
    # What is only replayed is held by the same step.
    del world.facts.decided.not_promoted[OWNER, held.key, held.sender_gist]
    decision = decide(replace(held, ruling=Ruling("ann")), world.facts)
    assert (decision.disposition, decision.reasons[0]) == (Disposition.HELD, "replayed by ann")


def test_what_the_owners_rule_does_not_want_is_ignored_all_the_same(world: World) -> None:
    decision = decide(replace(copy(mail(), Rule.REPLIES), ruling=Ruling("ann", "released")), world.facts)
    assert decision.disposition is Disposition.IGNORED
    assert decision.reasons == ("released by ann", "answers no CRM email")


def test_what_breaks_again_is_dead_again(world: World) -> None:
    decision = decide(replace(copy(fault="it took too long"), ruling=Ruling("ann")), world.facts)
    assert decision.disposition is Disposition.DEAD
    assert decision.reasons == ("replayed by ann", "it took too long")
