"""T54, T120 to T126: what a rule wants made of an email, and of which none is made."""

from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide import decide_batch
from router.model import Copy, Creation, CreationRule, Decision, Disposition, Form, Forward, Rule, Ruling
from router.model.creation import Makes, UnknownSender
from router.model.creation_fields import LONGEST, PLACES, check_template, fill
from tests.support.build import OTHER_OWNER, OWNER, World, copy, mail, record

ON_NEW = CreationRule("on_new", "case")
CONTACT = CreationRule("new", "contact")
ANN = "ann@client.example"


def a_queue() -> World:
    world = World()
    world.facts.queues = frozenset({OWNER})
    return world


@pytest.fixture
def queue() -> World:
    return a_queue()


def decided(world: World, one: Copy, *rules: CreationRule) -> Decision:
    (decision,) = decide_batch([replace(one, creation_rules=rules)], world.facts)
    return decision


def wanted(world: World, one: Copy, *rules: CreationRule) -> Creation | None:
    return decided(world, one, *rules).creation


def said(world: World, one: Copy, *rules: CreationRule) -> str:
    return decided(world, one, *rules).reasons[-1]


def test_t120_mail_to_a_queue_wants_a_case(queue: World) -> None:
    decision = decided(queue, copy(mail(subject="My printer burns")), ON_NEW)
    assert decision.creation == Creation(
        "on_new", "case", ANN, "Ann", "open", 14, "normal", (("subject", "My printer burns"),)
    )
    assert decision.reasons[-1] == "rule 'on_new' wants a case"


def test_t120_a_rule_without_owners_is_for_queues_alone(queue: World) -> None:
    assert wanted(queue, copy(owner=OTHER_OWNER), ON_NEW) is None
    named = replace(ON_NEW, owners=("sales@example.com",))  # those of others were left out when the mail was brought
    assert wanted(queue, copy(owner=OTHER_OWNER), named) is not None


def test_t120_what_is_not_the_crms_wants_nothing_and_says_nothing_of_it(queue: World) -> None:
    ignored = decided(queue, copy(rule=Rule.REPLIES), ON_NEW)
    assert (ignored.disposition, ignored.creation) == (Disposition.IGNORED, None)
    assert not any("record is made" in reason for reason in ignored.reasons)
    assert wanted(queue, copy(fault="broken"), ON_NEW) is None
    assert "record" not in said(queue, copy())


def test_t120_priority_and_subject_are_the_rules(queue: World) -> None:
    rule = CreationRule("web", "case", priority="high", fields=(("subject", "Web: {subject}"), ("origin", "{{web}}")))
    found = wanted(queue, copy(), rule)
    assert found
    assert (found.priority, dict(found.fields)) == ("high", {"subject": "Web: Offer", "origin": "{web}"})


@pytest.mark.parametrize("subject", ["", "   "])
def test_t120_a_case_always_has_a_subject(queue: World, subject: str) -> None:
    for rule in (ON_NEW, replace(ON_NEW, fields=(("subject", "{subject}"),))):
        found = wanted(queue, copy(mail(subject=subject)), rule)
        assert found
        assert dict(found.fields) == {"subject": "(no subject)"}


@pytest.mark.parametrize("choice", ["contact", "lead", "open", "wait"])
def test_t121_what_becomes_of_an_unknown_sender_goes_along(queue: World, choice: UnknownSender) -> None:
    rule = replace(ON_NEW, unknown_sender=choice)
    found = wanted(queue, copy(), rule)
    assert found
    assert found.unknown_sender == choice


def test_t121_a_case_without_a_sender_is_still_one(queue: World) -> None:
    found = wanted(queue, copy(mail(**{"from": ""})), ON_NEW)
    assert found
    assert (found.sender, found.sender_name) == ("", "")
    assert wanted(queue, copy(mail(**{"from": ""})), CONTACT) is None


def test_t122_an_answer_wants_a_case_too(queue: World) -> None:
    queue.email("1@example.com", regarding=uuid4())
    found = wanted(queue, copy(mail(in_reply_to="<1@example.com>")), replace(ON_NEW, reopen_days=3))
    assert found
    assert found.reopen_days == 3


@pytest.mark.parametrize("makes", ["case", "contact", "lead"])
@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"auto_submitted": "auto-replied"}, "it is automatic"),
        ({"subject": "Automatic reply: Offer", "auto_submitted": "auto-generated"}, "it is automatic"),
        ({"precedence": "bulk"}, "it is mail to many"),
        ({"list_id": "<news.client.example>"}, "it is mail to many"),
        ({"list_unsubscribe": "<https://client.example/u>", "list_id": "<n.client.example>"}, "it is mail to many"),
        ({"content_type": "text/calendar; method=REPLY"}, "it answers an invitation"),
    ],
)
def test_t54_t123_machines_and_lists_make_nothing(
    queue: World, headers: dict[str, str], why: str, makes: Makes
) -> None:
    body = "BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    decision = decided(queue, copy(mail(body, **headers)), CreationRule("all", makes, sender="any"))
    assert (decision.disposition, decision.creation) == (Disposition.PROMOTED, None)
    assert decision.reasons[-1] == f"no record is made of it: {why}"


def test_t54_t123_a_bounce_makes_nothing(queue: World) -> None:
    queue.email("1@example.com", participants=("sales@example.com", "x@client.example"))
    headers = {
        "from": "MAILER-DAEMON@client.example",
        "return_path": "<>",
        "subject": "Undelivered Mail",
        "x_failed_recipients": "x@client.example",
    }
    body = "It could not be delivered: 550 5.1.1 no such user x@client.example\r\n\r\nMessage-ID: <1@example.com>"
    decision = decided(queue, copy(mail(body, **headers)), ON_NEW, CONTACT)
    assert (decision.disposition, decision.report is not None) == (Disposition.PROMOTED, True)
    assert decision.creation is None
    assert decision.reasons[-1] == "no record is made of it: it is a report of a mail system"
    assert wanted(queue, replace(copy(), null_sender=True), ON_NEW) is None


@pytest.mark.parametrize(("result", "made"), [("fail", False), ("pass", True), ("none", True)])
def test_t54_t123_who_fails_dmarc_makes_nothing(queue: World, result: str, made: bool) -> None:
    verdict = f"Authentication-Results: mail.example.com; dmarc={result}\r\n".encode()
    for rule in (ON_NEW, CONTACT):
        decision = decided(queue, copy(verdict + mail(), authserv="mail.example.com"), rule)
        assert (decision.disposition, decision.creation is not None) == (Disposition.PROMOTED, made)
        assert decision.reasons[-1].endswith("our server does not say that it is from its sender") != made


def test_t123_authors_of_several_domains_make_nothing_of_a_duplicate_either(queue: World) -> None:
    verdict = b"Authentication-Results: mail.example.com; dmarc=pass\r\n"
    raw = verdict + mail(**{"from": "ann@client.example, boss@bank.example", "sender": "ann@client.example"})
    copies = [
        replace(copy(raw, owner=owner, authserv="mail.example.com"), creation_rules=(ON_NEW,))
        for owner in (OTHER_OWNER, OWNER)
    ]
    assert [one.creation for one in decide_batch(copies, queue.facts)] == [None, None]


def test_t123_a_loop_makes_nothing_unless_a_person_releases_it(queue: World) -> None:
    verdict = b"Authentication-Results: mail.example.com; dmarc=fail\r\n"
    queue.knows(ANN, record("contact"))
    held = copy(verdict + mail(), authserv="mail.example.com")
    decision = decided(queue, held, ON_NEW)
    assert (decision.disposition, decision.creation) == (Disposition.HELD, None)
    released = decided(queue, replace(held, ruling=Ruling("bob", "released")), ON_NEW)
    assert (released.disposition, released.creation is not None) == (Disposition.PROMOTED, True)
    automatic = copy(mail(auto_submitted="auto-replied"))
    assert wanted(queue, replace(automatic, ruling=Ruling("bob", "released")), ON_NEW) is None


def test_t123_mail_of_the_past_and_what_the_owner_sent_make_nothing(queue: World) -> None:
    assert said(queue, replace(copy(), ruling=Ruling("bob", "backfilled")), ON_NEW).endswith("it is mail of the past")
    assert wanted(queue, replace(copy(), ruling=Ruling("bob", "replayed")), ON_NEW) is not None
    assert said(queue, copy(sent=True), ON_NEW).endswith("the owner sent it")
    assert wanted(queue, replace(copy(), headers_only=True), ON_NEW) is None


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({}, True),
        ({"to": ("sales@example.com",)}, True),
        ({"to": ("example.com",)}, True),
        ({"to": ("*.example.com",)}, True),
        ({"to": ("client.example", "help@example.com")}, False),
        ({"to": ("hidden@example.com",)}, True),
        ({"from_": (ANN,)}, True),
        ({"from_": ("bob@client.example", "client.example")}, True),
        ({"from_": ("example.com",)}, False),
        ({"subject": ("request", "OFFER")}, True),
        ({"subject": ("request",)}, False),
        ({"headers": (("x-form", "CONTACT"),)}, True),
        ({"headers": (("x-form", "contact"), ("x-other", "a"))}, False),
        ({"headers": (("x-greeting", "grüße"),)}, True),
        ({"sender": "known"}, False),
        ({"sender": "unknown"}, True),
        ({"from_": (ANN,), "subject": ("request",)}, False),
    ],
)
def test_t124_a_rule_fits_if_all_its_conditions_do(queue: World, condition: dict[str, object], fits: bool) -> None:
    raw = mail(subject="Your offer", x_form="Contact-1", x_greeting="=?utf-8?q?Sch=C3=B6ne_Gr=C3=BC=C3=9Fe?=")
    one = replace(copy(raw), recipients=("hidden@example.com",))
    rule = replace(ON_NEW, **condition)  # type: ignore[arg-type]  # passed on as they are
    assert (wanted(queue, one, rule) is not None) == fits
    if not fits:
        assert said(queue, one, rule) == "no record is made of it: no rule fits"


def test_t124_the_first_rule_that_fits_decides_and_is_named(queue: World) -> None:
    shop = CreationRule("shop", "nothing", from_=("shop.example",))
    vip = CreationRule("vip", "case", from_=("client.example",), priority="high")
    found = decided(queue, copy(), shop, vip, ON_NEW)
    assert (found.creation and found.creation.rule, found.reasons[-1]) == ("vip", "rule 'vip' wants a case")
    from_shop = copy(mail(**{"from": "orders@shop.example"}))
    assert said(queue, from_shop, shop, vip, ON_NEW) == "no record is made of it: rule 'shop' wants nothing"
    assert said(queue, from_shop, ON_NEW, shop) == "rule 'on_new' wants a case"


@pytest.mark.parametrize("makes", ["contact", "lead"])
def test_t54_a_contact_is_made_only_of_a_sender_whom_no_record_has(queue: World, makes: Makes) -> None:
    rule = CreationRule("new", makes)
    found = wanted(queue, copy(), rule, ON_NEW)
    assert found
    assert (found.makes, found.sender, dict(found.fields)) == (makes, ANN, {"name": "Ann"})
    for known in (record("account"), record("lead", active=False)):
        queue.knows(ANN, known)
        decision = decided(queue, copy(), rule, ON_NEW)
        assert (decision.creation and decision.creation.makes) == "case"


@pytest.mark.parametrize(
    ("author", "name"),
    [("ann@client.example", "ann"), ('" " <ann@client.example>', "ann"), ("Ann B <a@b.example>", "Ann B")],
)
def test_t54_a_contact_has_the_senders_name_or_what_stands_before_the_at(queue: World, author: str, name: str) -> None:
    found = wanted(queue, copy(mail(**{"from": author})), CONTACT)
    assert found
    assert (dict(found.fields)["name"], found.sender_name) == (name, name)


def test_t125_a_second_queue_wants_one_too_and_so_does_one_that_has_a_duplicate(queue: World) -> None:
    queue.facts.queues = frozenset({OWNER, OTHER_OWNER})
    raw = mail()
    copies = [replace(copy(raw, owner=owner), creation_rules=(ON_NEW,)) for owner in (OWNER, OTHER_OWNER)]
    first, second = decide_batch(copies, queue.facts)
    assert (first.disposition, second.disposition) == (Disposition.PROMOTED, Disposition.DUPLICATE)
    assert first.creation == second.creation is not None


def test_t125_what_may_be_a_forged_copy_wants_nothing(queue: World) -> None:
    ids = {"message_id": "<1@client.example>"}
    copies = [
        replace(copy(mail(body, **ids, **more), owner=owner), creation_rules=(ON_NEW,))
        for body, more, owner in (("a", {}, OTHER_OWNER), ("b", {"from": "eve@evil.example"}, OWNER))
    ]
    decision = decide_batch(copies, queue.facts)[1]
    assert (decision.disposition, decision.says) == (Disposition.DUPLICATE, "something else")
    assert (decision.creation, decision.reasons[-1]) == (None, "no record is made of it: this copy may be forged")


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_t126_internal_mail_makes_nothing_unless_a_rule_wants_it(queue: World, kind: str) -> None:
    queue.knows(ANN, record(kind))
    queue.knows("sales@example.com", record("queue"))
    assert said(queue, copy(), ON_NEW).endswith("it is internal, and no rule wants internal mail")
    inside = CreationRule("help desk", "case", internal=True)
    found = wanted(queue, copy(), ON_NEW, inside)
    assert (found and found.rule) == "help desk"
    assert wanted(queue, copy(sent=True, owner=OTHER_OWNER), inside) is None
    assert said(queue, copy(), ON_NEW, replace(inside, subject=("printer",))) == "no record is made of it: no rule fits"


def test_t126_a_user_who_writes_to_a_queue_and_a_customer_is_not_internal(queue: World) -> None:
    queue.knows(ANN, record("user"))
    queue.knows("sales@example.com", record("queue"))
    assert wanted(queue, copy(mail(cc="karl@kunde.example")), ON_NEW) is not None


@pytest.mark.parametrize("form", ["attached", "inline", "redirected", "journal", "delivered"])
def test_t120_forwarded_mail_is_its_authors(queue: World, form: Form) -> None:
    one = copy()
    forward = Forward(one.place, form, "bob@example.com", None, None)
    found = wanted(queue, replace(one, forward=forward), ON_NEW)
    assert (found and found.sender) == ANN


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(subject=words, name=words, template=st.lists(st.sampled_from([*("{" + one + "}" for one in PLACES), "{{", "a"])))
def test_t120_fields_are_filled_once_and_bounded(subject: str, name: str, template: list[str]) -> None:
    text = "".join(template)
    check_template(text)
    values = {"subject": subject + "{sender_name}", "sender_name": name, "sender_address": ANN, "sender_domain": "x"}
    filled = fill(text, values)
    expected = "".join(values.get(one.strip("{}"), one.replace("{{", "{")) for one in template)
    assert filled == expected.strip()[:LONGEST].rstrip()


@given(st.text())
def test_t120_a_template_that_is_checked_can_be_filled(template: str) -> None:
    try:
        check_template(template)
    except ValueError:
        return
    fill(template, dict.fromkeys(PLACES, "{x}"))


@given(st.lists(st.sampled_from([ON_NEW, CONTACT, CreationRule("no", "nothing"), replace(CONTACT, sender="unknown")])))
def test_t124_rules_never_change_what_becomes_of_a_mail(rules: list[CreationRule]) -> None:
    one = copy()
    plain, with_rules = (decided(a_queue(), one, *some) for some in ((), rules))
    assert with_rules.disposition is plain.disposition
    if rules:
        assert (with_rules.creation is None) == (rules[0].makes == "nothing")
        assert with_rules.reasons[:-1] == plain.reasons
