import pytest

from router.model import Disposition, Rule
from tests.support.build import OWNER, World, mail, record

TOKEN = "k3m9x2p7"


def test_t01_all_promotes_an_unknown_sender_unresolved(world: World) -> None:
    decision = world.decide(rule=Rule.ALL)
    assert decision.disposition is Disposition.PROMOTED
    assert [(party.address, party.record_id) for party in decision.parties if party.role == "from"] == [
        ("ann@client.example", None)
    ]


def test_t02_replies_ignores_a_new_message_from_a_known_contact(world: World) -> None:
    world.knows("ann@client.example", record("contact"))
    decision = world.decide(rule=Rule.REPLIES)
    assert (decision.disposition, decision.reasons) == (Disposition.IGNORED, ("answers no CRM email",))


@pytest.mark.parametrize("sender", ["ann@client.example", "stranger@elsewhere.example"])
def test_t03_replies_promotes_an_answer_from_anyone(world: World, sender: str) -> None:
    record_id = record("case").id
    parent = world.email("offer@example.com", regarding=record_id)
    decision = world.decide(mail(**{"from": sender}, in_reply_to="<offer@example.com>"), Rule.REPLIES)
    assert decision.disposition is Disposition.PROMOTED
    assert decision.email is not None
    assert (decision.email.correlated_id, decision.email.regarding_id) == (parent.id, record_id)


def test_t03_replies_promotes_an_answer_by_token_from_who_was_on_the_thread(world: World) -> None:
    world.email(token=TOKEN)
    decision = world.decide(mail(subject=f"Re: Offer CRM:{TOKEN}"), Rule.REPLIES)
    assert decision.disposition is Disposition.PROMOTED


@pytest.mark.parametrize("kind", ["contact", "lead", "account"])
def test_t04_known_promotes_what_a_customer_sent(world: World, kind: str) -> None:
    world.knows("ann@client.example", record(kind))
    assert world.decide(rule=Rule.KNOWN).disposition is Disposition.PROMOTED


@pytest.mark.parametrize("rule", [Rule.KNOWN, Rule.EMAIL_ENABLED])
@pytest.mark.parametrize("header", ["in_reply_to", "references"])
def test_t04b_an_answer_to_a_crm_email_from_somebody_unknown_is_promoted(world: World, rule: Rule, header: str) -> None:
    parent = world.email("offer@example.com")
    raw = mail(**{"from": "stranger@elsewhere.example", header: "<offer@example.com>"})
    decision = world.decide(raw, rule)
    assert decision.disposition is Disposition.PROMOTED
    assert decision.email is not None
    assert (decision.email.correlated_id, decision.email.flags) == (parent.id, ("new-on-thread",))


def test_t05_a_colleagues_answer_to_a_crm_email_is_promoted_under_known(world: World) -> None:
    world.knows("ann@client.example", record("user"))
    world.email("offer@example.com")
    assert world.decide(mail(in_reply_to="<offer@example.com>"), Rule.KNOWN).disposition is Disposition.PROMOTED


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_t05_known_ignores_what_only_a_user_or_queue_sent(world: World, kind: str) -> None:
    world.knows("ann@client.example", record(kind))
    decision = world.decide(rule=Rule.KNOWN)
    assert (decision.disposition, decision.reasons) == (Disposition.IGNORED, ("internal",))


def test_t05_known_promotes_a_user_who_is_a_contact_too(world: World) -> None:
    world.knows("ann@client.example", record("user"), record("contact"))
    assert world.decide(rule=Rule.KNOWN).disposition is Disposition.PROMOTED


@pytest.mark.parametrize("kinds", [("vehicle",), ("user", "vehicle"), ()])
def test_t05_who_is_neither_customer_nor_colleague_is_not_called_internal(world: World, kinds: tuple[str, ...]) -> None:
    world.knows("ann@client.example", *(record(kind) for kind in kinds))
    decision = world.decide(rule=Rule.KNOWN)
    assert decision.disposition is Disposition.IGNORED
    assert decision.reasons == ("the sender is no contact, lead or account",)


def test_t06_known_asks_for_the_sender_not_the_recipients(world: World) -> None:
    world.knows("carl@client.example", record("contact"))
    decision = world.decide(mail(to="carl@client.example"), Rule.KNOWN)
    assert decision.disposition is Disposition.IGNORED


def test_t07_email_enabled_promotes_what_any_record_sent(world: World) -> None:
    world.knows("ann@client.example", record("vehicle"))
    assert world.decide(rule=Rule.EMAIL_ENABLED).disposition is Disposition.PROMOTED
    assert world.decide(mail(**{"from": "x@y.example"}), Rule.EMAIL_ENABLED).disposition is Disposition.IGNORED


def test_t08_none_ignores_everything(world: World) -> None:
    world.knows("ann@client.example", record("contact"))
    world.email("offer@example.com", TOKEN)
    decision = world.decide(mail(in_reply_to="<offer@example.com>", subject=f"CRM:{TOKEN}"), Rule.NONE)
    assert decision.disposition is Disposition.IGNORED
    assert decision.email is None


def test_t11_an_owner_in_no_header_has_their_rule_decide(world: World) -> None:
    raw = mail(to="somebody@else.example")
    assert world.decide(raw, Rule.ALL).disposition is Disposition.PROMOTED
    assert world.decide(raw, Rule.REPLIES).disposition is Disposition.IGNORED


def test_t12_an_alias_in_the_header_has_the_mailbox_owners_rule_decide(world: World) -> None:
    raw = mail(to="list@example.com", delivered_to="forged@example.com")
    assert world.decide(raw, Rule.ALL).disposition is Disposition.PROMOTED
    assert world.decide(raw, Rule.KNOWN).disposition is Disposition.IGNORED


def test_the_owners_own_rule_goes_before_the_profiles_default(world: World) -> None:
    world.facts.rules = {OWNER: Rule.NONE}
    decision = world.decide(rule=Rule.ALL)
    assert (decision.rule, decision.disposition) == (Rule.NONE, Disposition.IGNORED)


@pytest.mark.parametrize(
    ("rule", "kinds", "expected"),
    [
        (Rule.ALL, (), Disposition.HELD),
        (Rule.REPLIES, (), Disposition.HELD),
        (Rule.KNOWN, ("contact",), Disposition.HELD),
        (Rule.KNOWN, (), Disposition.HELD),
        (Rule.KNOWN, ("user",), Disposition.HELD),
        (Rule.EMAIL_ENABLED, ("vehicle",), Disposition.HELD),
        (Rule.EMAIL_ENABLED, (), Disposition.HELD),
        (Rule.NONE, ("contact",), Disposition.IGNORED),
    ],
)
def test_t25_a_strangers_token_holds_only_what_the_rule_would_promote(
    world: World, rule: Rule, kinds: tuple[str, ...], expected: Disposition
) -> None:
    world.email(token=TOKEN, participants=("sales@example.com", "bob@client.example"))
    world.knows("ann@client.example", *(record(kind) for kind in kinds))
    decision = world.decide(mail(subject=f"Re: Offer CRM:{TOKEN}"), rule)
    assert decision.disposition is expected
    assert decision.email is None


@pytest.mark.parametrize("sender", ["", "Nobody", "@", "<>", "not an address at all"])
def test_t56_a_from_that_names_nobody_is_judged_as_unresolved(world: World, sender: str) -> None:
    decision = world.decide(mail(**{"from": sender}), Rule.ALL)
    assert decision.disposition is Disposition.PROMOTED
    assert [party.record_id for party in decision.parties if party.role == "from"] == [None]
    assert world.decide(mail(**{"from": sender}), Rule.KNOWN).disposition is Disposition.IGNORED


@pytest.mark.parametrize("rule", [Rule.REPLIES, Rule.KNOWN, Rule.EMAIL_ENABLED, Rule.NONE])
def test_reasons_of_what_is_ignored_hold_nothing_of_its_content(world: World, rule: Rule) -> None:
    world.email("offer@example.com", TOKEN, participants=("bob@client.example",))
    raw = mail("secret body", subject=f"Fwd: secret subject CRM:{TOKEN}", references="<offer@example.com>")
    decision = world.decide(raw, rule)
    assert decision.disposition is Disposition.IGNORED
    said = " ".join(decision.reasons)
    assert not any(word in said for word in ("secret", "ann", "client.example", "sales", TOKEN))


SENT = {"from": "Sales <sales@example.com>", "to": "ann@client.example", "cc": "bob@client.example"}


@pytest.mark.parametrize(("rule", "kind"), [(Rule.ALL, None), (Rule.KNOWN, "contact"), (Rule.EMAIL_ENABLED, "vehicle")])
def test_t17_the_owners_own_copy_of_what_was_sent_to_a_contact_is_promoted_as_outgoing(
    world: World, rule: Rule, kind: str | None
) -> None:
    if kind:
        world.knows("bob@client.example", record(kind))
    decision = world.decide(mail(**SENT), rule, sent=True)
    assert decision.disposition is Disposition.PROMOTED
    assert decision.email is not None
    assert decision.email.sent
    assert not world.decide(mail(**SENT), Rule.ALL).email.sent  # type: ignore[union-attr]  # it is promoted


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule.KNOWN, "no recipient is a contact, lead or account"),
        (Rule.EMAIL_ENABLED, "no recipient is a record of the CRM"),
        (Rule.REPLIES, "answers no CRM email"),
        (Rule.NONE, "the owner's rule is none"),
    ],
)
def test_t17_what_the_owner_sent_to_strangers_is_private(world: World, rule: Rule, reason: str) -> None:
    world.knows("sales@example.com", record("user"))
    decision = world.decide(mail(**SENT), rule, sent=True)
    assert (decision.disposition, decision.reasons) == (Disposition.IGNORED, (reason,))


def test_t17_the_owners_answer_on_a_thread_of_others_is_no_strangers(world: World) -> None:
    world.email("offer@example.com", TOKEN, participants=("ann@client.example", "support@example.com"))
    by_header = world.decide(mail(**SENT, in_reply_to="<offer@example.com>"), Rule.REPLIES, sent=True)
    by_token = world.decide(mail(**SENT, subject=f"Re: CRM:{TOKEN}"), Rule.REPLIES, sent=True)
    for decision in (by_header, by_token):
        assert decision.disposition is Disposition.PROMOTED
        assert decision.email is not None
        assert decision.email.flags == ()
