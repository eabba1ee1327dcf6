"""The recipients of an email as its envelope names them."""

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
