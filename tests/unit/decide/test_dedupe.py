from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations

import pytest

from router.decide import decide, decide_batch
from router.model import Disposition, Facts, Rule, Ruling
from router.parse.message import parse
from tests.support.build import NOW, OTHER_OWNER, OWNER, World, copy, mail, record

LISTED = {"from": "list@lists.example", "subject": "[list] Offer"}


@pytest.mark.parametrize("order", list(permutations([Rule.NONE, Rule.ALL])))
def test_t09_a_copy_of_an_owner_with_none_is_never_a_duplicate(order: tuple[Rule, Rule]) -> None:
    raw = mail()
    decisions = decide_batch([copy(raw, rule) for rule in order], Facts())
    became = dict(zip(order, (decision.disposition for decision in decisions), strict=True))
    assert became == {Rule.ALL: Disposition.PROMOTED, Rule.NONE: Disposition.IGNORED}


@pytest.mark.parametrize("order", list(permutations([Rule.REPLIES, Rule.ALL])))
def test_t09b_what_one_rule_ignores_becomes_a_duplicate_of_what_another_promotes(order: tuple[Rule, Rule]) -> None:
    raw = mail()
    copies = [copy(raw, rule) for rule in order]
    decisions = dict(zip(order, decide_batch(copies, Facts()), strict=True))
    assert decisions[Rule.ALL].disposition is Disposition.PROMOTED
    assert decisions[Rule.REPLIES].disposition is Disposition.DUPLICATE
    assert decisions[Rule.REPLIES].email_id == decisions[Rule.ALL].email_id
    assert decisions[Rule.REPLIES].email is None


def test_t10_the_same_message_for_three_owners_is_one_email() -> None:
    raw = mail()
    copies = [copy(raw, owner=owner) for owner in (OWNER, OTHER_OWNER, OWNER)]
    decisions = decide_batch(copies, Facts())
    assert [decision.disposition for decision in decisions] == [
        Disposition.PROMOTED,
        Disposition.DUPLICATE,
        Disposition.DUPLICATE,
    ]
    assert {decision.email_id for decision in decisions} == {copies[0].id}


def test_t18_the_sent_copy_of_a_crm_email_is_its_duplicate(world: World) -> None:
    sent = copy(mail(**{"from": "sales@example.com", "to": "ann@client.example"}))
    world.facts.emails.by_key[sent.key] = sent.id
    decision = decide(sent, world.facts)
    assert (decision.disposition, decision.email_id) == (Disposition.DUPLICATE, sent.id)


def test_t60_without_message_id_the_content_tells(world: World) -> None:
    raw = mail(message_id="")
    first, again, other = decide_batch([copy(raw), copy(raw), copy(mail("Other", message_id=""))], world.facts)
    assert (first.disposition, again.disposition) == (Disposition.PROMOTED, Disposition.DUPLICATE)
    assert other.disposition is Disposition.PROMOTED


def test_t61_one_message_id_with_another_date_is_another_email(world: World) -> None:
    one = mail("One", message_id="<same@x.example>")
    two = mail("Two", message_id="<same@x.example>", date="Sun, 22 Nov 2026 10:00:00 +0000")
    assert [d.disposition for d in decide_batch([copy(one), copy(two)], world.facts)] == [Disposition.PROMOTED] * 2


def test_t62_what_a_list_changes_makes_no_other_email(world: World) -> None:
    own = mail(message_id="<same@x.example>", date="Sat, 21 Nov 2026 02:00:00 +0100")
    listed = mail(
        "Hello\r\n-- \r\nfooter", **LISTED, message_id="<same@x.example>", date="Sat, 21 Nov 2026 01:00:00 GMT"
    )
    decisions = decide_batch([copy(own), copy(listed)], world.facts)
    assert decisions[1].disposition is Disposition.DUPLICATE


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("<with spaces in it@x>", "with spaces in it@x"),
        ("no.brackets@x.example", "no.brackets@x.example"),
        (f"<{'a' * 2_000}@x>", f"{'a' * 2_000}@x"),
    ],
)
def test_t63_odd_message_ids_are_kept_and_found(world: World, header: str, kept: str) -> None:
    first = world.decide(mail(message_id=header))
    assert first.email is not None
    assert first.email.message_id == kept
    parent = copy(mail(message_id=header))
    answer = copy(mail(in_reply_to=f"<{kept}>"))
    answered = decide_batch([parent, answer], Facts())[1]
    assert answered.email is not None
    assert answered.email.correlated_id == parent.id


def test_t64_a_place_decided_before_gets_no_new_judgment(world: World) -> None:
    seen = copy(mail())
    world.facts.decided.places.add((seen.source_id, seen.place))
    decision = decide(seen, world.facts)
    assert (decision.disposition, decision.email, decision.email_id) == (Disposition.IGNORED, None, None)


@pytest.mark.parametrize("rule", Rule)
def test_t97_a_copy_the_server_could_not_give_up_is_dead_with_its_words(world: World, rule: Rule) -> None:
    decision = world.decide(b"", rule, fault="NO [SERVERBUG] Internal error")
    assert decision.disposition is Disposition.DEAD
    assert decision.reasons == ("NO [SERVERBUG] Internal error",)


@pytest.mark.parametrize(
    ("header", "dated_at"),
    [
        ("", None),
        ("yesterday", None),
        ("Fri, 99 Foo 2026 25:61:00 +9999", None),
        ("Thu, 01 Jan 1970 00:00:00 +0000", datetime(1970, 1, 1, tzinfo=UTC)),
        ("Thu, 31 Dec 2099 23:59:59 +0000", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("Mon, 01 Jan 1900 00:00:00 +0000", datetime(1970, 1, 1, tzinfo=UTC)),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
        ("Sat, 21 Nov 2026 00:59:00 -0000", datetime(2026, 11, 21, 0, 59, tzinfo=UTC)),
    ],
)
def test_t98_received_is_the_servers_and_the_date_what_the_sender_claims(
    world: World, header: str, dated_at: datetime | None
) -> None:
    decision = world.decide(mail(date=header))
    assert decision.email is not None
    assert (decision.email.received_at, decision.email.dated_at) == (NOW, dated_at)


@pytest.mark.parametrize("disposition", [Disposition.IGNORED, Disposition.HELD])
def test_t64_what_was_not_promoted_stays_so_in_another_place_though_the_rule_is_wider_now(
    world: World, disposition: Disposition
) -> None:
    again = copy(rule=Rule.ALL)
    world.facts.decided.not_promoted[OWNER, again.key, again.sender_gist] = disposition
    decision = decide(again, world.facts)
    assert (decision.disposition, decision.email) == (disposition, None)
    assert "before" in decision.reasons[0]


def test_t64_what_one_owner_ignored_another_owners_mailbox_is_not_bound_by(world: World) -> None:
    theirs = copy(rule=Rule.ALL, owner=OTHER_OWNER)
    world.facts.decided.not_promoted[OWNER, theirs.key, theirs.sender_gist] = Disposition.IGNORED
    assert decide(theirs, world.facts).disposition is Disposition.PROMOTED


def test_t64_an_ignored_forgery_that_is_moved_does_not_become_a_copy_of_the_true_email(world: World) -> None:
    true, forged = copy(mail("Two chairs", message_id=SIGNED)), copy(mail("Win", message_id=SIGNED))
    decide_batch([true], world.facts)
    world.facts.decided.not_promoted[OWNER, forged.key, forged.sender_gist] = Disposition.IGNORED
    assert decide(forged, world.facts).disposition is Disposition.IGNORED


@pytest.mark.parametrize(
    ("before", "becomes"),
    [(Disposition.IGNORED, Disposition.PROMOTED), (Disposition.HELD, Disposition.HELD)],
)
def test_t16_what_was_ignored_elsewhere_in_the_mailbox_is_judged_anew_where_a_person_asks_for_the_past(
    world: World, before: Disposition, becomes: Disposition
) -> None:
    again = replace(copy(rule=Rule.ALL), ruling=Ruling("ann", "backfilled"))
    world.facts.decided.not_promoted[OWNER, again.key, again.sender_gist] = before
    assert decide(again, world.facts).disposition is becomes


def test_t24_our_own_mail_that_comes_back_under_another_id_is_a_duplicate(world: World) -> None:
    parent = world.email("ours@example.com")
    date = "Sat, 21 Nov 2026 00:59:00 +0000"
    world.facts.emails.by_key[parse(mail(message_id="<ours@example.com>", date=date)).key] = parent.id
    back = {"message_id": "<new@relay.example>", "x_crm_email_router": "<ours@example.com>"}
    back["from"] = "sales@example.com"
    world.knows("sales@example.com", record("queue"))
    decision = world.decide(mail(date=date, **back))
    assert (decision.disposition, decision.email_id) == (Disposition.DUPLICATE, parent.id)
    # An answer of the same second, from somebody else, is no duplicate.
    assert world.decide(mail(date=date, **back | {"from": "ann@client.example"})).disposition is Disposition.PROMOTED
    # With another date it is another mail, unless it lies where only the owner writes.
    redated = mail(date="Sat, 21 Nov 2026 01:59:00 +0000", **back)
    assert world.decide(redated).disposition is Disposition.PROMOTED
    assert world.decide(redated, sent=True).email_id == parent.id


def says(*raw: bytes) -> list[tuple[Disposition, str]]:
    return [(one.disposition, one.says) for one in decide_batch([copy(one) for one in raw], Facts())]


SIGNED = "<a@x.example>"


def test_another_message_with_the_same_message_id_and_date_is_told_and_flagged() -> None:
    forged, true = copy(mail("Pay to account 1", message_id=SIGNED)), copy(mail("Pay to account 2", message_id=SIGNED))
    first, second = decide_batch([forged, true], Facts())
    assert first.email is not None
    assert "other-copy" in first.email.flags
    assert (second.disposition, second.says, second.email_id) == (Disposition.DUPLICATE, "something else", forged.id)
    assert second.reasons == (
        "an email of the CRM has the same Message-ID and Date, and says something else: one of them may be forged",
    )


def test_the_same_message_says_the_same_whatever_its_transport_adds() -> None:
    plain = mail("Hello", message_id=SIGNED)
    received = b"Received: from a by b; Fri, 20 Nov 2026 10:00:00 +0100\r\nX-Spam: no\r\n" + plain
    assert says(plain, received) == [(Disposition.PROMOTED, "the same"), (Disposition.DUPLICATE, "the same")]


@pytest.mark.parametrize(
    "listed",
    [
        mail("Hello\r\n__________________________\r\nTo leave this list, …", message_id=SIGNED),
        mail("Hello", message_id=SIGNED, subject="[list] Offer"),
        mail("Hello", message_id=SIGNED, **{"from": "ann via list <list@lists.example>"}),
        mail("Hello\r\n \r\n", message_id=SIGNED, subject="Offer "),
    ],
)
def test_a_lists_copy_says_much_the_same_and_is_not_destroyed(listed: bytes) -> None:
    made = says(mail("Hello", message_id=SIGNED, subject="Offer"), listed)
    assert made[1][0] is Disposition.DUPLICATE
    assert made[1][1] != "something else"


@pytest.mark.parametrize(("sender", "told"), [("eve@evil.example", True), ("ann@client.example", False)])
def test_a_copy_in_another_form_from_somebody_else_is_told_and_flagged(sender: str, told: bool) -> None:
    footer = "Two chairs\r\n__________\r\nPay to account 2"
    forged = mail(footer, message_id=SIGNED, **{"from": sender})
    true = mail("Two chairs", message_id=SIGNED, **{"from": "ann@client.example"})
    first, second = decide_batch([copy(forged), copy(true)], Facts())
    assert first.email is not None
    assert ("other-copy" in first.email.flags, second.doubtful) == (told, told)
    assert (second.disposition, second.email_id) == (Disposition.DUPLICATE, first.email_id)
    assert second.says != "the same"


def test_what_an_email_said_may_not_be_known(world: World) -> None:
    one = copy(mail("Hello"))
    world.facts.emails.by_key[one.key] = one.id
    assert decide(one, world.facts).says == "much the same"  # so it is not destroyed
    world.facts.emails.ours.add(one.key)
    assert decide(one, world.facts).says == "the same"


@pytest.mark.parametrize("forged_first", [True, False])
def test_in_one_batch_a_forged_message_that_the_rule_ignores_is_not_a_copy_of_the_true_one_before(
    world: World, forged_first: bool
) -> None:
    world.knows("ann@client.example", record("contact"))
    true = copy(mail("Two hundred chairs", message_id=SIGNED), Rule.KNOWN)
    forged = copy(mail("Win", message_id=SIGNED, **{"from": "eve@evil.example"}), Rule.KNOWN)
    copies = [forged, true] if forged_first else [true, forged]
    decisions = dict(zip(copies, decide_batch(copies, world.facts), strict=True))
    assert decisions[true].disposition is Disposition.PROMOTED
    # As in batches of their own: what comes later is known to say something else than an email of the CRM.
    assert decisions[forged].disposition is (Disposition.IGNORED if forged_first else Disposition.DUPLICATE)


def test_a_message_of_which_a_twin_is_held_says_so_and_is_judged(world: World) -> None:
    true = copy(mail(message_id=SIGNED))
    world.facts.decided.held_twins.add((OWNER, true.key, true.sender_gist))
    decision = decide(true, world.facts)
    assert decision.disposition is Disposition.PROMOTED
    assert decision.reasons[0].startswith("another message with the same Message-ID and Date is held")
