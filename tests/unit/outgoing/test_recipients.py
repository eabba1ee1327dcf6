"""The recipients of an email as its envelope names them."""

from router.model.bounce import Bounce
from router.outgoing.recipients import Recipients
from transports.base import Outcome


def test_o7_only_the_recipient_whose_address_is_none_is_refused() -> None:
    recipients = Recipients.of(["ann@client.example", "bob@my/bank.example", "eve@exam,ple.example"])
    assert list(recipients.written) == ["ann@client.example"]
    assert [(one.recipient, one.state, one.code) for one in recipients.refused] == [
        ("bob@my/bank.example", "refused", "5.1.3"),
        ("eve@exam,ple.example", "refused", "5.1.3"),
    ]
    answer = Outcome("ann@client.example", "accepted", "2.0.0", "ok")
    assert recipients.outcomes([answer]) == [answer, *recipients.refused]


def test_o7_two_forms_of_one_domain_are_one_recipient_to_the_relay() -> None:
    both = ["ann@köln.example", "ann@xn--kln-sna.example"]
    recipients = Recipients.of(both)
    assert list(recipients.written) == ["ann@xn--kln-sna.example"]
    answers = recipients.outcomes([Outcome("ann@xn--kln-sna.example", "accepted", "2.0.0", "ok")])
    assert [answer.recipient for answer in answers] == both


def test_a_recipient_whose_address_bounced_is_refused_with_the_old_words() -> None:
    recipients = Recipients.of(
        ["ann@client.example", "bob@client.example"], {"bob@client.example": Bounce("5.1.1", "gone", "2026-11-28")}
    )
    assert list(recipients.written) == ["ann@client.example"]
    refused = Outcome("bob@client.example", "refused", "5.1.1", "bounced on 2026-11-28: 5.1.1 gone")
    assert recipients.refused == (refused,)
    assert not any(one.of_address for one in recipients.refused)  # it is no news of the address
