import pytest

from router.decide import decide_batch
from router.model import Disposition, Email, Facts, Rule, message_id_hash
from router.model.token import ALPHABET, find_tokens, legacy_format, new_token, subject_with_token
from tests.support.build import World, copy, mail, record

TOKEN = "k3m9x2p7"


def promoted(world: World, raw: bytes) -> Email:
    decision = world.decide(raw)
    assert decision.email is not None, decision
    return decision.email


def test_t20_in_reply_to_names_a_crm_email(world: World) -> None:
    parent = world.email("offer@example.com")
    email = promoted(world, mail(in_reply_to="<offer@example.com>"))
    assert (email.correlated_id, email.method, email.flags) == (parent.id, "in-reply-to", ())


def receipt(message_id: str, **headers: str) -> bytes:
    told = f"Final-Recipient: rfc822;ann@client.example\r\nOriginal-Message-ID: <{message_id}>\r\n"
    body = (
        f"--x\r\n\r\nIt was read.\r\n--x\r\nContent-Type: message/disposition-notification\r\n\r\n{told}\r\n--x--\r\n"
    )
    kind = "multipart/report; report-type=disposition-notification; boundary=x"
    return mail(body, **({"subject": "Read: Offer", "content_type": kind} | headers))


def test_t70_a_read_receipt_belongs_to_the_email_that_was_read(world: World) -> None:
    offer, other = world.email("offer@example.com"), world.email("other@example.com")
    email = promoted(world, receipt("offer@example.com"))
    assert (email.correlated_id, email.method, email.flags) == (offer.id, "read-receipt", ("automatic",))
    email = promoted(world, receipt("offer@example.com", in_reply_to="<other@example.com>"))
    assert (email.correlated_id, email.method) == (other.id, "in-reply-to")
    as_text = receipt("offer@example.com", content_type="multipart/mixed; boundary=x")
    assert promoted(world, as_text).correlated_id is None


def test_t20_in_reply_to_goes_before_references(world: World) -> None:
    world.email("older@example.com")
    parent = world.email("newer@example.com")
    email = promoted(
        world, mail(in_reply_to="<newer@example.com>", references="<newer@example.com> <older@example.com>")
    )
    assert email.correlated_id == parent.id


def test_t21_references_name_ours_in_the_middle(world: World) -> None:
    world.email("older@example.com")
    parent = world.email("ours@example.com")
    references = "<older@example.com> <ours@example.com> <theirs@client.example>"
    email = promoted(world, mail(references=references, in_reply_to="<theirs@client.example>"))
    assert (email.correlated_id, email.method) == (parent.id, "references")
    assert email.thread_ids == ("older@example.com", "ours@example.com", "theirs@client.example")
    assert email.in_reply_to == "theirs@client.example"


def test_t22_a_token_among_prefixes(world: World) -> None:
    parent = world.email(token=TOKEN)
    email = promoted(world, mail(subject=f"RE: [list] AW: Offer CRM:{TOKEN}"))
    assert (email.correlated_id, email.method) == (parent.id, "token")


def test_t23_the_token_removed_in_reply_to_kept(world: World) -> None:
    parent = world.email("offer@example.com", TOKEN)
    email = promoted(world, mail(subject="Something else", in_reply_to="<offer@example.com>"))
    assert email.correlated_id == parent.id


def test_t24_our_id_is_found_in_references_when_the_relay_rewrote_it(world: World) -> None:
    parent = world.email("ours@example.com")
    email = promoted(
        world, mail(in_reply_to="<rewritten@relay.example>", references="<ours@example.com> <rewritten@relay.example>")
    )
    assert email.correlated_id == parent.id


@pytest.mark.parametrize("told", ["new@relay.example", "new@"])
def test_t24_an_answer_names_the_id_that_the_relay_told(world: World, told: str) -> None:
    parent = world.email("ours@example.com")
    world.facts.emails.by_message_id[message_id_hash(told)] = parent.id
    email = promoted(world, mail(in_reply_to="<new@relay.example>"))
    assert (email.correlated_id, email.method) == (parent.id, "in-reply-to")


def test_t24_our_private_header_counts_from_who_was_on_the_email(world: World) -> None:
    parent = world.email("ours@example.com")
    email = promoted(world, mail(in_reply_to="<new@relay.example>", x_crm_email_router="<ours@example.com>"))
    assert (email.correlated_id, email.method) == (parent.id, "private-header")


def test_t79_a_strangers_private_header_is_as_if_it_were_not_there(world: World) -> None:
    world.email("ours@example.com", participants=("bob@client.example",))
    decision = world.decide(mail(x_crm_email_router="<ours@example.com>"), Rule.REPLIES)
    assert (decision.disposition, decision.reasons) == (Disposition.IGNORED, ("answers no CRM email",))


@pytest.mark.parametrize("header", ["to", "cc", "delivered_to", "x_original_to"])
def test_t39_the_token_in_a_recipients_address(world: World, header: str) -> None:
    parent = world.email(token=TOKEN)
    email = promoted(world, mail(**{header: f"<Sales+CRM-{TOKEN}@example.com>"}))
    assert (email.correlated_id, email.method) == (parent.id, "token")


def test_t39_a_strangers_token_in_an_address_is_held(world: World) -> None:
    world.email(token=TOKEN, participants=("bob@client.example",))
    decision = world.decide(mail(to=f"sales+crm-{TOKEN}@example.com"), Rule.REPLIES)
    assert (decision.disposition, decision.email_id) == (Disposition.HELD, None)


def test_t25_a_strangers_token_is_held_and_links_nothing(world: World) -> None:
    world.email(token=TOKEN, participants=("bob@client.example",))
    decision = world.decide(mail(subject=f"Re: Offer CRM:{TOKEN}"), Rule.REPLIES)
    assert (decision.disposition, decision.email_id) == (Disposition.HELD, None)


def test_t25_a_header_of_ours_outweighs_a_strangers_token(world: World) -> None:
    world.email(token=TOKEN, participants=("bob@client.example",))
    parent = world.email("offer@example.com")
    email = promoted(world, mail(subject=f"Re: CRM:{TOKEN}", in_reply_to="<offer@example.com>"))
    assert email.correlated_id == parent.id


def test_t26_a_token_that_does_not_exist_leaves_it_to_the_rule(world: World) -> None:
    email = promoted(world, mail(subject="Re: Offer CRM:zzzzzzzz"))
    assert (email.correlated_id, email.method) == (None, None)
    assert world.decide(mail(subject="Re: Offer CRM:zzzzzzzz"), Rule.REPLIES).reasons == ("answers no CRM email",)


@pytest.mark.parametrize(
    "subject",
    [
        "RE: OFFER CRM:K3M9X2P7",
        "re: offer crm:k3m9x2p7",
        "Re: a long offer\r\n CRM:k3m9x2p7",
        "Re: Offer CRM:k3m9\r\n x2p7",
        "Re: Offer CRM:\r\n\tk3m9x2p7",
        "=?utf-8?q?Re:_Gr=C3=BC=C3=9Fe_CRM:k3m9?=\r\n =?utf-8?q?x2p7?=",
        "=?utf-8?b?UmU6IENSTTpr?= =?iso-8859-1?b?M205eDJwNw==?=",
        "Re: Offer CRM:k3m9\r\n =?utf-8?q?x2p7?=",
        "Re: (CRM:k3m9x2p7), please",
    ],
)
def test_t27_a_token_is_found_however_a_client_writes_it(world: World, subject: str) -> None:
    parent = world.email(token=TOKEN)
    assert promoted(world, mail(subject=subject)).correlated_id == parent.id


def test_t28_of_two_tokens_the_most_recent_that_the_sender_was_on(world: World) -> None:
    older = world.email(token="aaaaaaaa", age=9)
    newer = world.email(token="bbbbbbbb", age=3)
    world.email(token="cccccccc", age=1, participants=("bob@client.example",))
    decision = world.decide(mail(subject="Re: CRM:aaaaaaaa CRM:bbbbbbbb CRM:cccccccc"))
    assert decision.email is not None
    assert decision.email.correlated_id == newer.id
    assert any(str(older.id) in reason for reason in decision.reasons)


def test_t29_somebody_new_answers_by_header_and_is_flagged(world: World) -> None:
    parent = world.email("offer@example.com", participants=("sales@example.com", "bob@client.example"))
    decision = world.decide(mail(subject="Re: Fwd: Offer", references="<offer@example.com> <fwd@client.example>"))
    assert decision.email is not None
    assert decision.email.correlated_id == parent.id
    assert decision.email.flags == ("new-on-thread",)
    assert "ann@client.example" in {party.address for party in decision.parties}


@pytest.mark.parametrize("prefix", ["FW:", "Fwd:", "WG:", "RV:", "Doorst:", "[list] Fwd: Re:", "=?utf-8?q?Fwd:?="])
def test_t30_a_forward_is_no_answer_but_suggests(world: World, prefix: str) -> None:
    parent = world.email("offer@example.com", TOKEN)
    raw = mail(
        subject=f"{prefix} Offer CRM:{TOKEN}", references="<offer@example.com>", in_reply_to="<offer@example.com>"
    )
    decision = world.decide(raw)
    assert decision.email is not None
    assert decision.email.correlated_id is None
    assert any(str(parent.id) in reason for reason in decision.reasons)
    assert world.decide(raw, Rule.REPLIES).disposition is Disposition.IGNORED


@pytest.mark.parametrize(("subject", "kind"), [("Fwd: Offer", "forward"), ("Re: Offer", "quote")])
def test_the_subject_says_whether_the_mail_below_was_forwarded(world: World, subject: str, kind: str) -> None:
    body = "See below.\r\n\r\nFrom: Ann <ann@client.example>\r\nSent: Monday\r\nSubject: Offer\r\n\r\nHello\r\n"
    email = promoted(world, mail(body, subject=subject))
    assert [mark.kind for mark in email.text_marks] == [kind]


BLOCKS = (
    "From: Bob <bob@client.example>\r\nSent: Monday\r\nTo: Ann\r\nSubject: Offer\r\n\r\nHello",
    "---------- Forwarded message ---------\r\nFrom: Bob <bob@client.example>\r\n\r\nHello",
    "Da: Bob <bob@client.example>\r\nInviato: lunedì\r\nA: Ann\r\nOggetto: Offerta\r\n\r\nCiao",
    "-----Message d'origine-----\r\nDe : Bob\r\n\r\nBonjour",
)


@pytest.mark.parametrize("subject", ["I: Offer", "PD: Offer", "TR: Offer", "[list] i: offer", "TR[2]: Offer"])
def test_t30_a_short_beginning_is_a_forward_only_where_the_text_forwards_something(world: World, subject: str) -> None:
    parent = world.email("offer@example.com")
    for body in ("Hello", "Yes.\r\n\r\nOn 1 Feb 2016, Ann wrote:\r\n> Hello", "> Hello\r\n\r\nYes"):
        answer = promoted(world, mail(body, subject=subject, in_reply_to="<offer@example.com>"))
        assert answer.correlated_id == parent.id
    for block in BLOCKS:
        body = f"See below.\r\n\r\n{block}"
        raw = mail(body, subject=subject, in_reply_to="<offer@example.com>", content_type="text/plain; charset=utf-8")
        assert promoted(world, raw).correlated_id is None
    attached = "--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: Offer\r\n\r\nHello\r\n--x--\r\n"
    raw = mail(attached, subject=subject, in_reply_to="<offer@example.com>", content_type="multipart/mixed; boundary=x")
    assert promoted(world, raw).correlated_id is None


@pytest.mark.parametrize("subject", ["Re: Fwd: Offer", "AW: WG: Offer", "Trip", "Ideas: a forward", "Forward march"])
def test_t30_an_answer_to_a_forward_is_an_answer(world: World, subject: str) -> None:
    parent = world.email("offer@example.com")
    assert promoted(world, mail(subject=subject, in_reply_to="<offer@example.com>")).correlated_id == parent.id


@pytest.mark.parametrize("header", ["<>", "< >", "offer", "<<>>", '""', "(offer@example.com)", ">offer<"])
def test_t31_a_malformed_in_reply_to_never_matches_by_accident(world: World, header: str) -> None:
    email = world.email()
    for message_id in ("", " ", "<>", "<", "offer"):
        world.facts.emails.by_message_id[message_id_hash(message_id)] = email.id
    assert promoted(world, mail(in_reply_to=header)).correlated_id is None


@pytest.mark.parametrize(
    "header",
    [
        "<other@x.example> <offer@example.com>",
        "<offer@example.com> (sent on Monday)",
        'Your message of "Mon, 1 Jan" <offer@example.com>',
        "<> <offer@example.com>",
        "<other@x.example>,<offer@example.com>",
        "\r\n <offer@example.com>",
    ],
)
def test_t31_valid_ids_in_it_are_used(world: World, header: str) -> None:
    parent = world.email("offer@example.com")
    assert promoted(world, mail(in_reply_to=header)).correlated_id == parent.id


def test_t32_of_2000_references_the_last_32_are_used(world: World) -> None:
    ids = [f"{number}@client.example" for number in range(2_000)]
    references = "\r\n ".join(f"<{id_}>" for id_ in ids)
    message = copy(mail(references=references)).message
    assert message.references == tuple(ids[-32:])
    world.email(ids[1_967])
    assert promoted(world, mail(references=references)).correlated_id is None
    parent = world.email(ids[1_968])
    assert promoted(world, mail(references=references)).correlated_id == parent.id


def test_t33_an_answer_in_the_same_batch_is_correlated() -> None:
    parent = copy(mail(message_id="<first@client.example>"))
    answer = copy(mail(message_id="<second@client.example>", in_reply_to="<first@client.example>"), Rule.REPLIES)
    decisions = decide_batch([parent, answer], Facts())
    assert [decision.disposition for decision in decisions] == [Disposition.PROMOTED] * 2
    assert decisions[1].email is not None
    assert decisions[1].email.correlated_id == parent.id


def test_t34_an_answer_before_its_parent_in_one_batch_is_promoted_after_all() -> None:
    answer = copy(mail(in_reply_to="<first@client.example>"), Rule.REPLIES)
    parent = copy(mail(message_id="<first@client.example>"))
    decisions = decide_batch([answer, parent], Facts())
    assert decisions[0].email is not None
    assert decisions[0].email.correlated_id == parent.id


@pytest.mark.parametrize("rule", [Rule.ALL, Rule.REPLIES])
def test_t34_what_names_only_unknown_emails_waits_for_them_the_nearest_first(world: World, rule: Rule) -> None:
    decision = world.decide(mail(in_reply_to="<c@x.example>", references="<a@x.example> <b@x.example>"), rule)
    assert decision.waits_for == (
        ("in-reply-to", "c@x.example"),
        ("references", "b@x.example"),
        ("references", "a@x.example"),
    )


def test_t34_what_is_linked_or_unwanted_in_any_case_or_a_forward_waits_for_nothing(world: World) -> None:
    world.email("offer@example.com")
    assert not world.decide(mail(in_reply_to="<offer@example.com>", references="<a@x.example>")).waits_for
    assert not world.decide(mail(in_reply_to="<a@x.example>"), Rule.NONE).waits_for
    for rule in (Rule.ALL, Rule.REPLIES):
        assert not world.decide(mail(in_reply_to="<a@x.example>", subject="Fwd: Offer"), rule).waits_for


@pytest.mark.parametrize("rule", [Rule.REPLIES, Rule.KNOWN, Rule.EMAIL_ENABLED])
def test_t34_every_rule_that_wants_answers_waits_for_what_is_answered(world: World, rule: Rule) -> None:
    decision = world.decide(mail(in_reply_to="<a@x.example>"), rule)
    assert decision.disposition is Disposition.IGNORED
    assert decision.waits_for == (("in-reply-to", "a@x.example"),)


def test_t40_regarding_is_what_the_thread_has_now(world: World) -> None:
    regarding = record("opportunity").id
    world.email("offer@example.com", regarding=regarding)
    assert promoted(world, mail(in_reply_to="<offer@example.com>")).regarding_id == regarding


def test_a_new_token_is_found_in_the_subject_that_carries_it() -> None:
    for _ in range(100):
        token = new_token()
        assert len(token) == 8
        assert set(token) <= set(ALPHABET)
        assert find_tokens(subject_with_token("Offer", token)) == (token,)


def test_a_token_is_not_doubled() -> None:
    assert subject_with_token(f"Re: Offer CRM:{TOKEN.upper()}", TOKEN) == f"Re: Offer CRM:{TOKEN.upper()}"
    assert subject_with_token("Offer", TOKEN) == f"Offer CRM:{TOKEN}"
    assert subject_with_token("", TOKEN) == f"CRM:{TOKEN}"


@pytest.mark.parametrize("subject", ["CRM:k3m9x2p", "CRM:k3m9x2p77", "SCRM:k3m9x2p7", "CRM:k3m9x2p0", "CRM k3m9x2p7"])
def test_what_only_looks_like_a_token_is_none(subject: str) -> None:
    assert find_tokens(subject) == ()


@pytest.mark.parametrize("prefix", ["Ref#", "ACME:", "~"])
def test_a_token_is_written_with_the_prefix_that_is_set_or_not_at_all(prefix: str) -> None:
    assert subject_with_token("Offer", TOKEN, prefix) == f"Offer {prefix}{TOKEN}"
    assert find_tokens(f"Re: Offer {prefix.upper()}{TOKEN}", ("CRM:", prefix)) == (TOKEN,)
    assert subject_with_token(f"Re: Offer {prefix}{TOKEN}", TOKEN, prefix) == f"Re: Offer {prefix}{TOKEN}"
    assert subject_with_token(f"Re: Offer CRM:{TOKEN}", TOKEN, prefix) == f"Re: Offer CRM:{TOKEN}"
    assert subject_with_token("Offer", TOKEN, None) == "Offer"


@pytest.mark.parametrize(
    ("example", "read"),
    [
        ("CRM:0001001", ("CRM:", 7)),
        ("Case #00012345", ("Case #", 8)),
        ("Fall 12:0042", ("Fall 12:", 4)),
        ("CRM:12", None),
        ("0001001", None),
        ("CRM:", None),
        ("", None),
        ("a\n:0001001", None),
        ("x" * 71 + "001", None),
        ("CRM:" + "0" * 31, None),
    ],
)
def test_t38_a_format_is_read_off_one_of_its_tokens(example: str, read: tuple[str, int] | None) -> None:
    assert legacy_format(example) == read


@pytest.mark.parametrize(
    ("subject", "former"),
    [
        ("Lunch on Friday", "Offer for 200 chairs"),
        ("Re: Lunch on Friday CRM:k3m9x2p7", "AW: Offer for 200 chairs CRM:k3m9x2p7"),
        ("Frage zur Rechnung", "Re: Angebot"),
        ("請求書", "見積もり"),
    ],
)
def test_t119_an_answer_about_something_else_is_correlated_and_flagged(world: World, subject: str, former: str) -> None:
    parent = world.email("offer@example.com", subject=former)
    raw = mail(subject=subject, in_reply_to="<offer@example.com>", content_type="text/plain; charset=utf-8")
    email = promoted(world, raw)
    assert (email.correlated_id, email.flags) == (parent.id, ("subject-changed",))


@pytest.mark.parametrize(
    ("subject", "former"),
    [
        ("Re: Offer", "Offer"),
        ("AW: [list] your OFFER, again", "WG: Offer for 200 chairs"),
        ("", "Offer"),
        ("Re:", "Offer"),
        ("Lunch on Friday", ""),
        ("Accepted: Offer", "Offer"),
        ("Re: No. 17", "Order 17"),
        ("見積書", "見積もり"),
    ],
)
def test_t119_what_has_a_word_in_common_is_not_flagged_nor_what_says_nothing(
    world: World, subject: str, former: str
) -> None:
    world.email("offer@example.com", subject=former)
    assert promoted(world, mail(subject=subject, in_reply_to="<offer@example.com>")).flags == ()


def test_t119_what_a_machine_wrote_has_subjects_of_its_own(world: World) -> None:
    world.email("offer@example.com", subject="Offer")
    raw = mail(subject="Absent until Monday", in_reply_to="<offer@example.com>", auto_submitted="auto-replied")
    assert promoted(world, raw).flags == ("automatic",)


def test_every_email_that_may_be_answered_is_a_candidate_with_why_it_was_not_taken(world: World) -> None:
    older, newer = world.email("older@x.example"), world.email("newer@x.example")
    decision = world.decide(mail(in_reply_to="<newer@x.example>", references="<older@x.example> <newer@x.example>"))
    assert [(one.email_id, one.method, one.why_not) for one in decision.candidates] == [
        (newer.id, "in-reply-to", ""),
        (older.id, "references", "another one is nearer"),
    ]
    forward = world.decide(mail(subject="Fwd: Offer", in_reply_to="<newer@x.example>"), Rule.REPLIES)
    assert [(one.email_id, one.why_not) for one in forward.candidates] == [(newer.id, "a forward is no answer")]
