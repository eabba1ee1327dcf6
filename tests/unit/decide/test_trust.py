import pytest

from router.model import Disposition, Rule
from tests.support.build import World, mail, record

FAILED = b"Authentication-Results: mail.example.com; spf=pass smtp.mailfrom=evil.example; dmarc=fail (p=none)\r\n"
PASSED = b"Authentication-Results: mail.example.com; dmarc=pass header.from=evil.example\r\n"
ANN = "ann@client.example"


@pytest.mark.parametrize("kind", ["contact", "lead", "account", "user", "asset"])
@pytest.mark.parametrize("rule", [Rule.ALL, Rule.REPLIES])
def test_t77_a_known_sender_whom_our_server_denies_is_held_with_the_verdict(
    world: World, kind: str, rule: Rule
) -> None:
    world.knows(ANN, record(kind))
    world.email("offer@example.com")
    decision = world.decide(FAILED + mail(in_reply_to="<offer@example.com>"), rule, authserv="mail.example.com")
    assert decision.disposition is Disposition.HELD
    assert "dmarc=fail" in decision.reasons[-2]
    assert ANN not in " ".join(decision.reasons)


def test_t77_any_author_counts_not_only_the_one_that_sender_names(world: World) -> None:
    world.knows(ANN, record("contact"))
    raw = FAILED + mail(**{"from": f"{ANN}, eve@evil.example"}, sender="eve@evil.example")
    assert world.decide(raw, authserv="mail.example.com").disposition is Disposition.HELD


@pytest.mark.parametrize(
    ("authors", "sender"),
    [
        ("eve@evil.example, mallory@evil.example", ANN),  # as if she were their secretary
        (f"eve@evil.example, {ANN}", ANN),
        (f"{ANN}, eve@evil.example", None),
        (f'"Eve" <eve@evil.example> <{ANN}>', None),
    ],
)
def test_t77_a_pass_of_one_authors_domain_is_no_proof_of_another_author(
    world: World, authors: str, sender: str | None
) -> None:
    world.knows(ANN, record("contact"))
    raw = PASSED + mail(**{"from": authors} | ({"sender": sender} if sender else {}))
    decision = world.decide(raw, authserv="mail.example.com")
    assert decision.disposition is Disposition.HELD
    assert "our server checks one: dmarc=pass" in decision.reasons[-2]
    assert ANN not in " ".join(decision.reasons)
    assert world.decide(raw).disposition is Disposition.PROMOTED


def test_several_authors_of_one_domain_and_a_lone_author_with_a_secretary_are_believed(world: World) -> None:
    world.knows(ANN, record("contact"))
    together = PASSED + mail(**{"from": f"bob@client.example, {ANN}"}, sender=ANN)
    secretary = PASSED + mail(**{"from": ANN}, sender="desk@bureau.example")
    for raw in (together, secretary):
        decision = world.decide(raw, authserv="mail.example.com")
        assert decision.email is not None
        assert decision.email.flags == ()


def test_t77_what_the_rule_ignores_is_not_held(world: World) -> None:
    world.knows(ANN, record("contact"))
    decision = world.decide(FAILED + mail(), Rule.REPLIES, authserv="mail.example.com")
    assert decision.disposition is Disposition.IGNORED


def test_an_unknown_sender_whom_our_server_denies_is_flagged(world: World) -> None:
    decision = world.decide(FAILED + mail(), authserv="mail.example.com")
    assert decision.email is not None
    assert decision.email.flags == ("dmarc-fail",)


@pytest.mark.parametrize("results", ["dmarc=pass; spf=fail; dkim=fail", "spf=fail; dkim=fail", "dmarc=none", "none"])
def test_softer_verdicts_hold_nothing(world: World, results: str) -> None:
    world.knows(ANN, record("contact"))
    raw = f"Authentication-Results: mail.example.com; {results}\r\n".encode() + mail()
    decision = world.decide(raw, authserv="mail.example.com")
    assert decision.email is not None
    assert decision.email.flags == ()


def test_without_a_trusted_server_and_in_the_sent_folder_nothing_is_held(world: World) -> None:
    world.knows(ANN, record("contact"))
    assert world.decide(FAILED + mail()).disposition is Disposition.PROMOTED
    sent = world.decide(FAILED + mail(), authserv="mail.example.com", sent=True)
    assert sent.disposition is Disposition.PROMOTED


def test_t77_a_sender_who_was_ruled_to_be_a_record_is_known(world: World) -> None:
    world.rules(ANN, 7, record("contact"))
    decision = world.decide(FAILED + mail(), authserv="mail.example.com")
    assert decision.disposition is Disposition.HELD
    assert not any("ruling" in reason for reason in decision.reasons)
