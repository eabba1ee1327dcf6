"""By what an answer is found beside Message-IDs and our token, in the real database: T35 to T38, and Exchange's."""

import asyncio
import base64
import json
import re
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from router.model import Disposition, Matching, Outgoing, Rule
from router.model.settings import Choices
from router.operations.letters import Selection, list_all
from router.parse.subject import is_answer, is_forward, may_forward
from router.repository import processes
from router.repository.database import Database
from router.repository.outgoing import sent_copies
from router.repository.trace.trace import Sought, find_emails
from tests.integration.test_promote import Recording
from tests.support.build import mail
from tests.support.claims import claim_some
from tests.support.correlating import ANN, SALES, Correlating
from tests.support.crm import Crm
from tests.support.holds import DECIDING, holding

STRANGER = "bob@other.example"
LEGACY = "CRM:0001001"


# --- Tokens of the CRM before -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [f"RE: Offer {LEGACY}", "re: offer crm:0001001", "Re: Offer CRM:00\r\n 01001"])
async def test_t38_a_token_of_dynamics_is_found_if_the_sender_was_on_the_imported_email(
    correlating: Correlating, subject: str
) -> None:
    await correlating.set("legacy_tokens", [LEGACY])
    imported = await correlating.past("Offer", legacy_token=LEGACY)
    email = await correlating.email(mail(subject=subject))
    assert (email.correlated_id, email.method) == (imported, "legacy-token")
    [row] = await correlating.crm.rows("SELECT correlated_id, correlation_method FROM crm.email WHERE direction = 'in'")
    assert tuple(row) == (imported, "legacy-token")


async def test_t38_from_a_stranger_it_is_held_as_our_own_is(correlating: Correlating) -> None:
    await correlating.set("legacy_tokens", [LEGACY])
    imported = await correlating.past("Offer", legacy_token=LEGACY)
    [decision] = await correlating.bring(mail(subject=f"Re: Offer {LEGACY}", **{"from": STRANGER}))
    assert decision.disposition is Disposition.HELD
    assert [(one.email_id, one.why_not) for one in decision.candidates] == [(imported, "the sender was never on it")]
    [letter], _ = await list_all(correlating.database, Disposition.HELD, Selection())
    assert letter.candidates == decision.candidates


async def test_t38_of_two_emails_with_one_token_the_newest_that_the_sender_was_on(correlating: Correlating) -> None:
    """Dynamics' counter begins anew when its digits are used up."""
    await correlating.set("legacy_tokens", [LEGACY])
    older = await correlating.past(legacy_token=LEGACY, age=timedelta(days=900))
    newer = await correlating.past(legacy_token=LEGACY, age=timedelta(days=90))
    of_others = await correlating.past(legacy_token=LEGACY, people=(SALES, STRANGER))
    [decision] = await correlating.bring(mail(subject=f"Re: {LEGACY}"))
    assert decision.email is not None
    assert decision.email.correlated_id == newer
    assert [one.email_id for one in decision.candidates] == [newer, older, of_others]
    assert f"another candidate by legacy-token: email {older}" in decision.reasons


@pytest.mark.parametrize(
    ("formats", "subject"),
    [
        ([], f"Re: {LEGACY}"),
        (["CRM:001001"], f"Re: {LEGACY}"),
        ([LEGACY], "Re: CRM:00010012"),
        ([LEGACY], "Re: SCRM:0001001"),
        ([LEGACY], "Re: CRM:0001001a"),
        ("nonsense", f"Re: {LEGACY}"),
        ([None, 7, "", "0001001", "no digits"], f"Re: {LEGACY}"),
    ],
)
async def test_t38_what_is_not_in_a_format_that_is_set_is_nothing(
    correlating: Correlating, formats: object, subject: str
) -> None:
    with suppress(asyncpg.CheckViolationError):  # what the schema can tell is refused
        await correlating.set("legacy_tokens", formats)
    await correlating.past("Offer", legacy_token=LEGACY)
    assert (await correlating.email(mail(subject=subject))).correlated_id is None


async def test_t38_several_prefixes_where_it_was_changed(correlating: Correlating) -> None:
    await correlating.set("legacy_tokens", ["CRM:0001001", "Case #00012345"])
    first, second = await correlating.past(legacy_token=LEGACY), await correlating.past(legacy_token="CASE #00000042")
    assert (await correlating.email(mail(subject="Re: crm:0001001"))).correlated_id == first
    assert (await correlating.email(mail(subject="Re: (case #00000042) Offer"))).correlated_id == second


async def test_t28_our_token_and_one_of_dynamics_are_weighed_alike(correlating: Correlating) -> None:
    await correlating.set("legacy_tokens", [LEGACY])
    await correlating.past(legacy_token=LEGACY, age=timedelta(days=3))
    ours = await correlating.past()
    await correlating.crm.admin.execute("UPDATE crm.email SET token = 'k3m9x2p7' WHERE id = $1", ours)
    email = await correlating.email(mail(subject=f"Re: {LEGACY} CRM:k3m9x2p7"))
    assert (email.correlated_id, email.method) == (ours, "token")


@pytest.mark.parametrize("token", ["CRM:", "CRM:12", "CRM:1234\n5678", "x" * 71 + "123", "CRM:0001001b"])
async def test_t38_the_crm_cannot_import_what_is_no_token(correlating: Correlating, token: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="no token of another CRM"):
        await correlating.past(legacy_token=token)


# --- The format of our own --------------------------------------------------------------------------------------------


async def test_a_token_is_found_with_the_prefix_that_is_set_and_with_former_ones(correlating: Correlating) -> None:
    email_id = await correlating.past()
    await correlating.crm.admin.execute("UPDATE crm.email SET token = 'k3m9x2p7' WHERE id = $1", email_id)
    await correlating.set("token_prefixes", ["Ref#", "ACME:"])
    for subject in ("Re: Offer REF#k3m9x2p7", "Re: (acme:K3M9X2P7)", "Re: CRM:k3m9x2p7", "Re: Offer Ref#k3m\r\n 9x2p7"):
        assert (await correlating.email(mail(subject=subject))).correlated_id == email_id, subject
    for subject in ("Re: Case:k3m9x2p7", "Re: BigACME:k3m9x2p7", "Re: Ref# k3m9x2p7"):
        assert (await correlating.email(mail(subject=subject))).correlated_id is None, subject


@pytest.mark.parametrize(("in_subject", "prefix"), [(True, "Ref#"), (False, None)])
async def test_what_is_sent_has_the_prefix_that_is_set_or_no_token_in_its_subject(
    correlating: Correlating, in_subject: bool, prefix: str | None
) -> None:
    await correlating.set("token_prefixes", ["Ref#", "CRM:"])
    await correlating.set("token_in_subject", in_subject)
    crm = correlating.crm
    await crm.send(SALES, ANN, "Offer", "Two hundred chairs.")
    process_id = uuid4()
    await processes.beat(correlating.database, process_id)
    [claimed] = await claim_some(correlating.database, process_id, 1)
    assert claimed.token_prefix == prefix
    again = await sent_copies.read(correlating.database, claimed.id, SALES)
    assert isinstance(again, Outgoing)
    assert again.token_prefix == prefix


# --- Exchange's index of a conversation -------------------------------------------------------------------------------


def thread_index(conversation: UUID, *levels: int) -> str:
    """Write a Thread-Index: of the first mail of a conversation, or of an answer at these levels."""
    header = b"\x01" + b"\xdb\x01\x02\x03\x04" + conversation.bytes
    return base64.b64encode(header + b"".join(level.to_bytes(5) for level in levels)).decode()


async def test_an_answer_without_ids_is_found_by_exchanges_index(correlating: Correlating) -> None:
    conversation = uuid4()
    first = await correlating.email(mail(thread_index=thread_index(conversation)))
    second = await correlating.email(mail(thread_index=thread_index(conversation, 1)))
    other = await correlating.email(mail(thread_index=thread_index(conversation, 2)))
    assert (second.correlated_id, second.method) == (first.id, "thread-index")
    assert other.correlated_id == first.id
    third = await correlating.email(mail(thread_index=thread_index(conversation, 1, 3)))
    assert third.correlated_id == second.id  # the nearest above it
    far = await correlating.email(mail(thread_index=thread_index(conversation, 7, 8, 9)))
    assert far.correlated_id == first.id
    [decision] = await correlating.bring(mail(thread_index=thread_index(uuid4(), 1)))
    assert not decision.candidates


async def test_exchanges_index_is_found_within_one_batch(correlating: Correlating) -> None:
    conversation = uuid4()
    first, second = await correlating.bring(
        mail(thread_index=thread_index(conversation)), mail(thread_index=thread_index(conversation, 1))
    )
    assert second.email is not None
    assert second.email.correlated_id == first.email_id


async def test_exchanges_index_links_nothing_within_one_batch_that_names_an_id(correlating: Correlating) -> None:
    conversation = uuid4()
    _, second = await correlating.bring(
        mail(thread_index=thread_index(conversation)),
        mail(thread_index=thread_index(conversation, 1), references="<unknown@client.example>"),
    )
    assert second.email is not None
    assert second.email.correlated_id is None
    assert second.waits_for == (("references", "unknown@client.example"),)


async def test_exchanges_index_is_no_proof(correlating: Correlating) -> None:
    conversation = uuid4()
    first = await correlating.email(mail(thread_index=thread_index(conversation)))
    [decision] = await correlating.bring(mail(thread_index=thread_index(conversation, 1), **{"from": STRANGER}))
    assert decision.email is not None
    assert decision.email.correlated_id is None
    assert [(one.email_id, one.method, one.why_not) for one in decision.candidates] == [
        (first.id, "thread-index", "the sender was never on it")
    ]


@pytest.mark.parametrize(
    "written",
    [
        "nonsense",
        "",
        base64.b64encode(b"\x01" * 23).decode(),
        base64.b64encode(b"\x02" + b"\x01" * 26).decode(),
        base64.b64encode(b"\x01" * (22 + 5 * 201)).decode(),
        "=?utf-8?q?x?=",
    ],
)
async def test_what_is_no_index_of_exchanges_is_nothing(correlating: Correlating, written: str) -> None:
    for _ in range(2):
        assert (await correlating.email(mail(thread_index=written))).correlated_id is None
    assert await correlating.crm.admin.fetchval("SELECT count(*) FROM router.thread_index") == 0


async def test_the_beginning_of_a_conversation_and_what_names_an_id_are_not_linked_by_exchanges_index(
    correlating: Correlating,
) -> None:
    conversation = uuid4()
    for _ in range(2):
        assert (await correlating.email(mail(thread_index=thread_index(conversation)))).correlated_id is None
    unknown = mail(thread_index=thread_index(conversation, 1), in_reply_to="<unknown@client.example>")
    assert (await correlating.email(unknown)).correlated_id is None


async def test_two_processes_bring_a_conversation_of_exchanges_in_at_once(correlating: Correlating, crm: Crm) -> None:
    """Whoever comes second waits for the other, and sees its email."""
    conversation, other = uuid4(), uuid4()
    index = thread_index(conversation)
    async with holding(crm, DECIDING) as hold, asyncio.TaskGroup() as tasks:
        try:
            first = tasks.create_task(
                correlating.bring(mail(thread_index=index), mail(thread_index=thread_index(other)))
            )
            await hold.reached()
            # In the other order: they would wait for each other if each batch locked in its own.
            second = tasks.create_task(
                correlating.bring(
                    mail(thread_index=thread_index(other, 1)), mail(thread_index=thread_index(conversation, 1))
                )
            )
            await crm.wait_for(
                2,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
        finally:
            await hold.release()
    assert [one.email.correlated_id if one.email else None for one in second.result()] == [
        first.result()[1].email_id,
        first.result()[0].email_id,
    ]


async def test_exchanges_index_of_what_the_crm_sent_is_learned_from_the_sent_folder(correlating: Correlating) -> None:
    """Exchange gives it to what it relays, and the owner's copy has it."""
    offer = await correlating.past("Offer", message_id="offer@example.com")
    await correlating.crm.admin.execute(
        "INSERT INTO router.message (key, version, email_id) "
        "SELECT router.message_key('offer@example.com', '2026-11-21 00:59:00+00'), 1, $1",
        offer,
    )
    conversation = uuid4()
    copy = mail(
        message_id="<offer@example.com>", thread_index=thread_index(conversation), to=ANN, **{"from": SALES}
    )  # fmt: skip
    [inbox_copy] = await correlating.bring(copy)
    assert inbox_copy.disposition is Disposition.DUPLICATE
    assert await correlating.crm.admin.fetchval("SELECT count(*) FROM router.thread_index") == 0
    [decision] = await correlating.bring(copy, sent=True)
    assert decision.disposition is Disposition.DUPLICATE
    answer = await correlating.email(mail(thread_index=thread_index(conversation, 1)))
    assert answer.correlated_id == offer
    await correlating.crm.admin.execute("DELETE FROM crm.email WHERE id = $1", offer)
    assert [row["email_id"] for row in await correlating.crm.admin.fetch("SELECT * FROM router.thread_index")] == [
        answer.id
    ]


# --- Smart matching ---------------------------------------------------------------------------------------------------


async def test_t35_smart_matching_is_off_and_suggests_nothing(correlating: Correlating) -> None:
    await correlating.past("Offer")
    [decision] = await correlating.bring(mail(subject="Re: Offer"))
    assert decision.email is not None
    assert (decision.email.correlated_id, decision.candidates) == (None, ())


async def test_t35_suggestions_are_listed_if_they_are_on(correlating: Correlating) -> None:
    await correlating.set("smart_matching", "suggest")
    offer = await correlating.past("Offer")
    [decision] = await correlating.bring(mail(subject="Re: Offer"))
    assert decision.email is not None
    assert decision.email.correlated_id is None
    assert f"suggested by smart matching: email {offer}, score 90, 70 links" in decision.reasons
    [one] = decision.candidates
    assert (one.email_id, one.method, one.score, one.why_not) == (
        offer, "smart-matching", 90, "smart matching only suggests"
    )  # fmt: skip


async def test_t35_an_owner_may_have_it_otherwise_than_the_organization(correlating: Correlating) -> None:
    offer = await correlating.past("Offer")
    await correlating.crm.admin.execute('UPDATE crm.owner SET settings = \'{"smart_matching": "link"}\'')
    assert (await correlating.email(mail(subject="Re: Offer"))).correlated_id == offer
    await correlating.set("smart_matching", "link")
    await correlating.crm.admin.execute('UPDATE crm.owner SET settings = \'{"smart_matching": "off"}\'')
    assert (await correlating.email(mail(subject="Re: Offer"))).correlated_id is None


@pytest.mark.parametrize("subject", ["Re: Offer", "AW: [list] OFFER!", "RE: Re: offer"])
async def test_t36_an_answer_within_days_between_the_same_people_is_linked_with_its_score(
    correlating: Correlating, subject: str
) -> None:
    await correlating.set("smart_matching", "link")
    offer = await correlating.past("Offer", age=timedelta(days=2))
    [decision] = await correlating.bring(mail(subject=subject))
    assert decision.email is not None
    assert (decision.email.correlated_id, decision.email.method) == (offer, "smart-matching")
    assert "answers a CRM email, by smart-matching: score 90, 70 links" in decision.reasons
    [found], _ = await find_emails(correlating.database, Sought(email_id=decision.email_id), (), 1)
    assert found.copies[0].candidates == decision.candidates


async def test_t36_of_two_the_likelier_one(correlating: Correlating) -> None:
    await correlating.set("smart_matching", "link")
    near = await correlating.past("Offer", age=timedelta(days=1))
    far = await correlating.past("Offer", age=timedelta(days=20))
    [decision] = await correlating.bring(mail(subject="Re: Offer"))
    assert decision.email is not None
    assert decision.email.correlated_id == near
    assert [(one.email_id, one.score, one.why_not) for one in decision.candidates] == [
        (near, 90, ""), (far, 80, "another one is nearer")
    ]  # fmt: skip


@pytest.mark.parametrize("subject", ["Hello", "Invoice", "Re: Order", "Re: Hello", "Re: your invoice", "RE:"])
async def test_t37_a_subject_that_many_have_links_nothing(correlating: Correlating, subject: str) -> None:
    await correlating.set("smart_matching", "link")
    await correlating.past(re.sub("^R[eE]: ?", "", subject))
    [decision] = await correlating.bring(mail(subject=subject))
    assert decision.email is not None
    assert decision.email.correlated_id is None
    assert all(one.score == 0 for one in decision.candidates)
    assert not any("suggested" in reason for reason in decision.reasons)


async def test_t37_what_others_of_the_mailbox_are_called_too_links_nothing(correlating: Correlating) -> None:
    await correlating.set("smart_matching", "link")
    offer = await correlating.past("Offer")
    for number in range(3):
        await correlating.past("Re: Offer", people=(SALES, f"{number}@other.example"))
    [decision] = await correlating.bring(mail(subject="Re: Offer"))
    assert decision.email is not None
    assert decision.email.correlated_id is None
    [one] = decision.candidates
    assert (one.email_id, one.score, one.why_not) == (offer, 60, "its score is below the threshold")


@pytest.mark.parametrize("of_owner", [False, True], ids=["the organization", "an owner"])
@pytest.mark.parametrize("first", ["Delivery dates", "Re: Delivery dates"])
async def test_two_processes_bring_mail_with_one_subject_in_at_once(
    correlating: Correlating, crm: Crm, first: str, *, of_owner: bool
) -> None:
    """Where smart matching is on, whoever comes second waits for the other, and sees its email: they are one thread."""
    if of_owner:
        await crm.admin.execute('UPDATE crm.owner SET settings = \'{"smart_matching": "link"}\'')
    else:
        await correlating.set("smart_matching", "link")
    async with holding(crm, DECIDING) as hold, asyncio.TaskGroup() as tasks:
        try:
            one = tasks.create_task(correlating.bring(mail(subject=first), mail(subject="Chairs and tables")))
            await hold.reached()
            # In the other order: they would wait for each other if each batch locked in its own.
            other = tasks.create_task(
                correlating.bring(mail(subject="Re: Chairs and tables"), mail(subject="AW: delivery  dates!"))
            )
            await crm.wait_for(
                2,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
        finally:
            await hold.release()
    assert [two.email.correlated_id if two.email else None for two in other.result()] == [
        one.result()[1].email_id,
        one.result()[0].email_id,
    ]


async def test_without_smart_matching_nobody_waits_for_mail_with_the_same_subject(
    correlating: Correlating, crm: Crm
) -> None:
    await correlating.set("smart_matching", "off")
    async with holding(crm, DECIDING) as hold, asyncio.TaskGroup() as tasks:
        try:
            for subject in ("Delivery dates", "Re: Delivery dates"):
                tasks.create_task(correlating.bring(mail(subject=subject)))
            await crm.wait_for(
                2, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid < 10"
            )
        finally:
            await hold.release()


async def test_smart_matching_links_only_what_begins_as_an_answer(correlating: Correlating) -> None:
    """The report of every week is no answer to the last one."""
    await correlating.set("smart_matching", "link")
    await correlating.past("Numbers of the branch in Oslo", people=(ANN, SALES), age=timedelta(days=1))
    email = await correlating.email(mail(subject="Numbers of the branch in Oslo"))
    assert email.correlated_id is None


@pytest.mark.parametrize(
    "headers",
    [
        {"from": STRANGER},
        {"in_reply_to": "<unknown@client.example>"},
        {"auto_submitted": "auto-replied"},
        {"list_id": "<offers.client.example>"},
        {"subject": "Fwd: Offer"},
    ],
)
async def test_smart_matching_leaves_alone_what_it_knows_better_of(
    correlating: Correlating, headers: dict[str, str]
) -> None:
    await correlating.set("smart_matching", "link")
    await correlating.past("Offer")
    [decision] = await correlating.bring(mail(**({"subject": "Re: Offer"} | headers)))
    assert decision.email is not None
    assert decision.email.correlated_id is None


async def test_smart_matching_knows_no_drafts_and_nothing_older_than_90_days(correlating: Correlating) -> None:
    await correlating.set("smart_matching", "suggest")
    await correlating.past("Offer", status="draft")
    await correlating.past("Offer", age=timedelta(days=91))
    [decision] = await correlating.bring(mail(subject="Re: Offer"))
    assert decision.candidates == ()


async def test_what_is_ignored_tells_ids_and_scores_of_its_candidates_and_no_word(database: str, crm: Crm) -> None:
    async with Database(database) as opened:
        correlating = Correlating(opened, crm)
        await correlating.begin(Rule.REPLIES)
        await correlating.set("smart_matching", "suggest")
        offer = await correlating.past("Chairs")
        [decision] = await correlating.bring(mail(subject="Re: Chairs"))
        kept = await crm.admin.fetchval("SELECT candidates FROM router.decision")
    assert decision.disposition is Disposition.IGNORED
    assert json.loads(kept) == [
        {"email_id": str(offer), "method": "smart-matching", "score": 90, "why_not": "smart matching only suggests"}
    ]
    assert f"suggested by smart matching: email {offer}, score 90, 70 links" in decision.reasons
    assert "hairs" not in str(decision.reasons)


async def test_a_threshold_that_is_set_counts(correlating: Correlating) -> None:
    await correlating.set("smart_matching", "link")
    await correlating.set("smart_matching_threshold", 95)
    await correlating.past("Offer")
    assert (await correlating.email(mail(subject="Re: Offer"))).correlated_id is None


async def test_what_is_no_value_of_a_setting_counts_as_none(correlating: Correlating) -> None:
    for name in ("token_prefixes", "token_in_subject", "smart_matching", "smart_matching_threshold"):
        values: tuple[object, ...] = (None, 7, "nonsense", [], {}, ["", "with blank ", "ends1", 7])
        for value in values:
            with suppress(asyncpg.CheckViolationError):  # what the schema can tell is refused
                await correlating.set(name, value)
            assert (await correlating.email(mail(subject="Re: Offer"))).correlated_id is None
    wrong = {"token_prefixes": ["ends1"], "token_in_subject": "no", "smart_matching_threshold": 101}
    assert Matching.of(Choices(wrong)) == Matching()


BEGINNINGS = """
    re aw antw antwort sv vs r rif res ref odp ynt vá Vá 回复 答复 回覆 返信 회신
    fw fwd wg rv enc doorst vb vl vid.sänt vidsänt VIDSÄNT videresendt
    továbbítás TOVÁBBÍTÁS fwd. fw. 转发 轉寄 転送 i pd tr
"""


async def test_a_subject_has_one_key_whatever_programs_put_before_it(correlating: Correlating) -> None:
    """The key in SQL knows the beginnings that Python knows."""

    async def key(subject: str) -> bytes:
        found = await correlating.crm.sql.fetchval("SELECT crm.subject_key($1)", subject)
        assert isinstance(found, bytes)
        return found

    plain = await key("Offer for 200 chairs")
    for beginning in BEGINNINGS.split():
        for written in (beginning, beginning.upper()):
            subject = f"{written}: Offer for 200 chairs"
            assert is_answer(subject) or is_forward(subject) or may_forward(subject), subject
            if written.isascii() or written == beginning:
                assert await key(subject) == plain, subject
    for subject in (
        "[list] RE[2]: aw: offer  for 200 chairs!",
        "Re：Offer, for 200 chairs CRM:k3m9x2p7",
        "OFFER FOR 200 CHAIRS",
    ):
        assert await key(subject) == plain, subject
    for subject in ("Offer for 20 chairs", "Reoffer for 200 chairs", "", "Re:"):
        assert await key(subject) != plain, subject


async def test_every_search_is_bound_to_an_index_and_to_the_newest(database: str, crm: Crm) -> None:
    conversation = uuid4()
    async with Recording(database) as recording:
        correlating = Correlating(recording, crm)
        await correlating.begin()
        await correlating.set("smart_matching", "link")
        await correlating.set("legacy_tokens", [LEGACY])
        await crm.admin.execute(
            "INSERT INTO crm.email (direction, status, subject, legacy_token) "
            "SELECT 'in', 'received', 'Offer', $1 FROM generate_series(1, 300)",
            LEGACY,
        )
        await crm.admin.execute(
            "INSERT INTO router.thread_index (email_id, conversation, position) SELECT id, $1, '01' FROM crm.email",
            conversation,
        )
        [decision] = await correlating.bring(
            mail(subject=f"Re: Offer {LEGACY}", thread_index=thread_index(conversation, 1))
        )
        assert len(decision.candidates) == 20
        read, *_ = [query for query in recording.queries if "alike AS" in query]
        async with recording.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute("PREPARE hot AS " + read)
            number = await connection.fetchval(
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'hot'"
            )
            rows = await connection.fetch(f"EXPLAIN EXECUTE hot({', '.join(['NULL'] * number)})")
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan, plan
    for index in ("email_legacy_token", "email_subject", "thread_index_conversation"):
        assert f"Index Scan Backward using {index}" in plan, plan


async def test_t38_only_what_is_imported_as_sent_gets_parties_afterwards(correlating: Correlating) -> None:
    """What was sent from here, or lies in an owner's Sent folder, keeps the parties that it has."""
    imported = await correlating.past("Offer", people=())
    sent = await correlating.past("Sent")
    await correlating.crm.admin.execute("UPDATE crm.email SET token = 'k3m9x2p7' WHERE id = $1", sent)
    [decision] = await correlating.bring(mail(to=ANN, **{"from": SALES}), sent=True)
    in_folder = decision.email_id
    statement = "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'cc', 'boss@example.com')"
    await correlating.crm.sql.execute(statement, imported)
    for email_id in (sent, in_folder):
        with pytest.raises(asyncpg.CheckViolationError, match="cannot change any more"):
            await correlating.crm.sql.execute(statement, email_id)
