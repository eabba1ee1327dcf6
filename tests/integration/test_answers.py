"""A queue acknowledges its mail: once a thread, never to machines, and whatever one template does, by the others."""

import asyncio
import json
import re
import smtplib
from collections.abc import Awaitable, Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import pytest

from router.model.answer import Rendered, TemplateText
from router.operations.templates import SAMPLE
from router.render import render
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.support.acknowledged import ENDLESS, mail_for, queue_of
from tests.support.crm import Crm, opened_crm
from tests.support.databases import Postgres
from tests.support.letters import letter, new_id
from tests.support.paths import ROOT
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter, RouterProcess

ANSWERS = "SELECT count(*) FROM crm.email WHERE template IS NOT NULL"
WAITING = "SELECT count(*) FROM router.acknowledgement"
EVENTS = "SELECT count(*) FROM crm.event WHERE kind = $1"
PAGE = ROOT / "docs/answers.md"


class Queue(Protocol):
    """`queue(mailbox, text=…, html=…)`: a queue whose mail is acknowledged by a template named as its mailbox."""

    def __call__(self, mailbox: str, *, text: str | None = ..., html: str | None = ...) -> Awaitable[UUID]: ...


@pytest.fixture
def queue(crm: Crm) -> Queue:
    return partial(make_queue, crm)


async def make_queue(
    crm: Crm, mailbox: str, *, text: str | None = "Dear {{ record.name }},\n", html: str | None = None
) -> UUID:
    owner_id = await crm.owner(mailbox, "all", kind="queue", name="Support")
    await crm.sql.execute(
        "INSERT INTO crm.template (name, subject, text_body, html_body) VALUES ($1, $2, $3, $4)",
        name_of(mailbox),
        "Re: {{ email.subject }}",
        text,
        html,
    )
    await crm.sql.execute(
        "UPDATE crm.owner SET acknowledgement = $2, signature_text = 'Yours\nSupport' WHERE record_id = $1",
        owner_id,
        name_of(mailbox),
    )
    return owner_id


@pytest.fixture
def customer(mailbox: str) -> str:
    """An address of this test's own, whose mail Postfix keeps."""
    return mailbox.replace("@in.test", "@kunde.test")


def name_of(mailbox: str) -> str:
    return mailbox.partition("@")[0]


async def arrived(postfix: Postfix, count: int, address: str) -> list[EmailMessage]:
    found = await asyncio.to_thread(postfix.wait_for, count, address)
    return [message_from_bytes(one.message, EmailMessage, policy=policy.default) for one in found]


async def wait_for_rest(crm: Crm, decisions: int) -> None:
    """Return once so many copies were judged, and nothing waits for an acknowledgement."""
    await crm.wait_for_decisions(decisions)
    await crm.wait_for(0, WAITING)


async def test_an_acknowledgement_is_an_ordinary_email_on_the_thread_and_there_is_one(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    postfix: Postfix,
    mailbox: str,
    customer: str,
) -> None:
    owner_id = await queue(
        mailbox,
        text="Dear {{ record.name }}, quote {{ token }}.\n{{ signature }}\n",
        html="<p>Your mail <i>{{ email.subject }}</i> of {{ email.received_at }}</p>{{ signature }}",
    )
    contact = await crm.record("contact", "Karl Käse", customer)
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    asked = new_id()
    dovecot.deliver(mailbox, letter(f"Karl <{customer}>", mailbox, "<b>Broken</b> chair", Message_ID=asked))

    [message] = await arrived(postfix, 1, customer)
    [answer] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'out'")
    await crm.wait_for_status(answer["id"], "sent")
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert (message["In-Reply-To"], message["References"]) == (asked, asked)
    assert message["Subject"] == f"Re: <b>Broken</b> chair CRM:{answer['token']}"
    assert (str(message["From"]), str(message["To"])) == (f"Support <{mailbox}>", f"Karl <{customer}>")
    text, html = message.get_body(["plain"]), message.get_body(["html"])
    assert text is not None
    assert html is not None
    words = text.get_content().replace("\r\n", "\n")
    assert words == f"Dear Karl Käse, quote {answer['token']}.\nYours\nSupport\n"
    assert "<i>&lt;b&gt;Broken&lt;/b&gt; chair</i>" in html.get_content()
    assert "Yours<br>" in html.get_content()

    [email] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert (answer["correlated_id"], answer["owner_id"]) == (email["id"], owner_id)
    assert (answer["automatic"], answer["template"]) == (True, name_of(mailbox))
    [told] = await crm.rows("SELECT email_id, details FROM crm.event WHERE kind = 'acknowledged'")
    assert told["email_id"] == email["id"]
    assert json.loads(told["details"]) == {
        "owner_id": str(owner_id),
        "template": name_of(mailbox),
        "answer_id": str(answer["id"]),
    }
    parties = await crm.rows("SELECT role, record_id FROM crm.party WHERE email_id = $1 ORDER BY role", answer["id"])
    assert [tuple(row) for row in parties] == [("from", owner_id), ("to", contact)]

    # Whatever else comes on this thread is not acknowledged, and another thread is.
    for number, answers in enumerate((asked, f"<{(await crm.email(answer['id']))['message_id']}>")):
        dovecot.deliver(mailbox, letter(customer, mailbox, "Re: Broken chair", In_Reply_To=answers))
        await wait_for_rest(crm, 2 + number)
    assert await crm.admin.fetchval(ANSWERS) == 1
    dovecot.deliver(mailbox, letter(customer, mailbox, "A table"))
    await crm.wait_for(2, ANSWERS)


async def test_an_acknowledgement_is_about_what_its_thread_is_about(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    await queue(mailbox)
    case = await crm.record("case", "4711")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    offer = await crm.send(mailbox, customer, "Offer", "Two chairs.\n", regarding_id=case)
    sent = await crm.wait_for_status(offer, "sent")
    dovecot.deliver(mailbox, letter(customer, mailbox, f"Re: Offer CRM:{sent['token']}"))
    await crm.wait_for(1, ANSWERS)
    [answer] = await crm.rows("SELECT * FROM crm.email WHERE template IS NOT NULL")
    assert answer["regarding_id"] == case
    assert f"CRM:{sent['token']}" in answer["subject"]


SILENT: dict[str, dict[str, Any]] = {
    "out of office": {"Auto_Submitted": "auto-replied"},
    "a list": {"List_Id": "<chairs.kunde.test>"},
    "what a list has": {"List_Archive": "<https://kunde.test>"},
    "bulk": {"Precedence": "bulk"},
    "suppressed": {"X_Auto_Response_Suppress": "DR, AutoReply"},
    "a loop": {"X_Loop": "somebody@kunde.test"},
    "null sender": {"Return_Path": "<>"},
    "nobody": {"From": "no-reply@kunde.test"},
    "list owner": {"From": "chairs-request@kunde.test"},
    "two authors": {"From": "ann@kunde.test, bob@kunde.test"},
    "mail system": {"From": "MAILER-DAEMON@kunde.test"},
}


async def test_machines_lists_and_the_null_sender_get_no_answer(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    await queue(mailbox)
    await crm.owner("ann@else.test", approved=False)
    await crm.record("user", "Ulla", "ulla@else.test")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    own = [letter(sender, mailbox, "Ours") for sender in (mailbox, "ann@else.test", "ulla@else.test")]
    for content in (*(letter(customer, mailbox, what, **more) for what, more in SILENT.items()), *own):
        dovecot.deliver(mailbox, content)
    await crm.wait_for_decisions(len(SILENT) + len(own))
    dovecot.deliver(mailbox, letter(customer, mailbox, "A chair broke"))
    await crm.wait_for(1, ANSWERS)
    await wait_for_rest(crm, len(SILENT) + len(own) + 1)
    [row] = await crm.rows("SELECT subject FROM crm.email WHERE direction = 'out'")
    assert row["subject"] == "Re: A chair broke"


async def test_what_a_listener_takes_is_acknowledged_but_from_the_null_sender(
    crm: Crm, queue: Queue, new_router: NewRouter, outgoing: Profile, mailbox: str, customer: str
) -> None:
    await queue(mailbox)
    port = free_port()
    listener = (
        f'[incoming.drop]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\nrule = "all"\n'
    )
    await new_router(listener + outgoing(), says=("listening",))

    def hand_in() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("", [mailbox], letter(customer, mailbox, "I am away"))
            client.sendmail(customer, [mailbox], letter(customer, mailbox, "A chair broke"))

    await asyncio.to_thread(hand_in)
    await crm.wait_for(1, ANSWERS)
    await wait_for_rest(crm, 2)
    [row] = await crm.rows("SELECT subject FROM crm.email WHERE direction = 'out'")
    assert row["subject"] == "Re: A chair broke"


async def test_the_past_of_a_mailbox_is_not_answered(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    for number in range(3):
        dovecot.deliver(mailbox, letter(f"{number}-{customer}", mailbox, "Of yesterday"))
    # IMAP tells whole seconds: only what came in an earlier one is known to have come before.
    second = await crm.admin.fetchval("SELECT date_trunc('second', clock_timestamp()) + interval '1 second'")
    await crm.wait_for(True, "SELECT clock_timestamp() > $1", second)
    await queue(mailbox)
    await new_router(incoming(start="all") + outgoing())
    await crm.wait_for_emails(3)
    dovecot.deliver(mailbox, letter(customer, mailbox, "Of today"))
    await crm.wait_for(1, ANSWERS)
    await wait_for_rest(crm, 4)
    [row] = await crm.rows("SELECT subject FROM crm.email WHERE direction = 'out'")
    assert row["subject"] == "Re: Of today"


async def test_one_sender_and_one_domain_get_only_so_many_a_day(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    await queue(mailbox)
    await new_router(incoming() + outgoing(), EMAIL_ROUTER_ANSWERS_PER_SENDER="2", EMAIL_ROUTER_ANSWERS_PER_DOMAIN="3")
    await crm.wait_for_sources(1)
    senders = [customer, customer, customer, f"a-{customer}", f"b-{customer}", customer.replace("kunde", "andere")]
    for number, sender in enumerate(senders, 1):
        dovecot.deliver(mailbox, letter(sender, mailbox, f"Letter {number}"))
        await wait_for_rest(crm, number)
    rows = await crm.rows("SELECT subject FROM crm.email WHERE template IS NOT NULL ORDER BY created_at, id")
    assert [row["subject"] for row in rows] == [f"Re: Letter {number}" for number in (1, 2, 4, 6)]
    rows = await crm.rows(
        "SELECT details->>'reason' AS reason FROM crm.event WHERE kind = 'not_acknowledged' ORDER BY id"
    )
    assert [row["reason"] for row in rows] == [
        "its sender had 2 acknowledgements within a day",
        "the domain of its sender had 3 acknowledgements within a day",
    ]
    # The next day.
    await crm.admin.execute("UPDATE router.acknowledged SET at = at - interval '25 hours'")
    dovecot.deliver(mailbox, letter(customer, mailbox, "Letter 7"))
    await crm.wait_for(5, ANSWERS)


async def test_a_hostile_template_hurts_its_own_acknowledgements_alone_until_it_is_mended(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
    customer: str,
) -> None:
    bad, worse, good = (new_mailbox(name) for name in ("bad", "worse", "good"))
    await queue(bad, text=ENDLESS)
    await queue(worse, text="{{ 'x' * 10**9 }}")
    await queue(good)
    router = await new_router(incoming() + outgoing(), EMAIL_ROUTER_ANSWERS_PER_SENDER="100")
    await crm.wait_for_sources(3)
    for number in range(5):
        for mailbox in (bad, worse):
            dovecot.deliver(mailbox, letter(customer, mailbox, f"Letter {number}"))
    await crm.wait_for(2, "SELECT count(*) FROM crm.template WHERE fault IS NOT NULL")
    # A thousand of them are no more work than five: each waits for its template, which is tried once in a while.
    for number in range(5):
        dovecot.deliver(good, letter(customer, good, f"Letter {number}"))
    await crm.wait_for(5, ANSWERS)
    assert await crm.admin.fetchval("SELECT bool_and(seen_at > now() - interval '2 s') FROM router.process")
    rows = await crm.rows("SELECT name, fault, failures FROM crm.template WHERE fault IS NOT NULL ORDER BY name")
    assert [tuple(row) for row in rows] == [
        (name_of(bad), "it took longer than 2 s", 1),
        (name_of(worse), "text_body: it takes more than 256 MB of memory", 1),
    ]
    await crm.wait_for(10, f"{WAITING} WHERE for_template AND due_at > now()")
    await crm.wait_for(True, "SELECT faults->>'templates' LIKE '%(5 waiting)%(5 waiting)%' FROM router.process")
    status, printed = await router.ask("status")
    assert f"template {name_of(bad)}: it took longer than 2 s (5 waiting)" in printed
    status, printed = await router.ask("template", "list")
    assert (status, f"{name_of(good)}  " in printed, "it took longer than 2 s" in printed) == (0, True, True)

    await crm.sql.execute("UPDATE crm.template SET text_body = 'We have it.' WHERE name = $1", name_of(bad))
    await crm.wait_for(10, ANSWERS)
    await crm.wait_for(5, WAITING)
    # After a day it is given up, and told.
    await crm.admin.execute("UPDATE router.acknowledgement SET since = since - interval '1 day', due_at = now()")
    await crm.wait_for(5, EVENTS, "not_acknowledged")
    assert await crm.admin.fetchval(WAITING) == 0
    [row] = await crm.rows(
        "SELECT DISTINCT details->>'reason' AS reason FROM crm.event WHERE kind = 'not_acknowledged'"
    )
    assert row["reason"] == f"template {name_of(worse)}: text_body: it takes more than 256 MB of memory"
    await crm.wait_for(True, "SELECT bool_and(NOT faults ?| '{answers,templates}') FROM router.process")


@pytest.mark.long
async def test_endless_templates_delay_none_that_works(crm: Crm, new_router: NewRouter, outgoing: Profile) -> None:
    good = await queue_of(crm, "good")
    await new_router(outgoing())
    await mail_for(crm, good)
    await crm.wait_for(1, ANSWERS)
    for number in range(8):
        await mail_for(crm, await queue_of(crm, f"endless-{number}", ENDLESS), 3)
    await crm.wait_for(True, "SELECT count(fault) > 0 FROM crm.template")
    await mail_for(crm, good)
    await crm.wait_for(2, ANSWERS)
    assert await crm.admin.fetchval("SELECT count(fault) FROM crm.template") < 8
    # A new one waits for none that failed before.
    await crm.wait_for(8, "SELECT count(fault) FROM crm.template", timeout=40)
    await crm.admin.execute("UPDATE crm.template SET next_try_at = now() WHERE fault IS NOT NULL")
    await crm.admin.execute("UPDATE router.template SET tried_until = now()")
    await mail_for(crm, await queue_of(crm, "new"))
    await crm.wait_for(3, ANSWERS)
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.template WHERE failures > 1") < 8


async def test_what_is_wrong_with_one_email_keeps_no_other_waiting(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    await queue(mailbox)
    await crm.admin.execute(
        """
        CREATE FUNCTION public.no_more() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.template IS NOT NULL AND NEW.subject LIKE '%Odd%' THEN RAISE EXCEPTION 'not this one'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER no_more BEFORE INSERT ON crm.email FOR EACH ROW EXECUTE FUNCTION public.no_more()
        """
    )
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    for subject in ("Odd", "Even", "Even more"):
        dovecot.deliver(mailbox, letter(customer, mailbox, subject))
    await crm.wait_for(2, ANSWERS)
    fault = "SELECT fault FROM router.acknowledgement"
    await crm.wait_for("not this one (SQLSTATE P0001)", fault)
    await crm.admin.execute("DROP TRIGGER no_more ON crm.email; UPDATE router.acknowledgement SET due_at = now()")
    await crm.wait_for(3, ANSWERS)


async def test_a_template_that_the_crm_has_locked_keeps_no_other_waiting(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
    customer: str,
) -> None:
    locked, free = new_mailbox("a-locked"), new_mailbox("free")
    await queue(locked, text="{{ nothing }}")
    await queue(free)
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(2)
    async with crm.sql.transaction():
        await crm.sql.execute("UPDATE crm.template SET text_body = 'We have it.' WHERE name = $1", name_of(locked))
        for mailbox in (locked, free):
            dovecot.deliver(mailbox, letter(customer, mailbox, "A chair broke"))
        await crm.wait_for(1, ANSWERS)
        await crm.wait_for(True, "SELECT fault LIKE '%it names what is not there' FROM router.acknowledgement")
    # The template is sound now, and what waited for it is due.
    await crm.wait_for(2, ANSWERS)


async def test_queues_that_acknowledge_one_another_end(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
) -> None:
    one, two = new_mailbox("one"), new_mailbox("two")
    await queue(one)
    await queue(two)
    # The CRM's word for what they are is none that the router knows; and each has the other's address in no record.
    await crm.admin.execute("UPDATE crm.record SET kind = 'desk'; DELETE FROM crm.address")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(2)
    dovecot.deliver(one, letter(two, one, "Hello"))
    dovecot.deliver(two, letter(one, two, "Hello"))
    await wait_for_rest(crm, 2)
    assert await crm.admin.fetchval(ANSWERS) == 0


async def test_a_machine_that_answers_each_acknowledgement_anew_ends(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
) -> None:
    """It begins a thread each time, and says nothing of being a machine."""
    ours, other = new_mailbox("ours"), new_mailbox("other")
    await queue(ours)
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    for number in range(1, 9):
        dovecot.deliver(ours, letter(other, ours, f"We have received your mail {number}"))
        await wait_for_rest(crm, number)
    assert await crm.admin.fetchval(ANSWERS) == 5
    assert await crm.admin.fetchval(EVENTS, "not_acknowledged") == 3


async def test_two_routers_with_a_database_each_that_acknowledge_one_another_end(
    crm: Crm,
    postgres: Postgres,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
) -> None:
    """Postfix carries the answer of the one to the mailbox that the other reads."""
    ours, theirs = new_mailbox("ours"), new_mailbox("theirs")
    name = postgres.clone()
    try:
        async with opened_crm(postgres, postgres.dsn(name)) as other:
            await make_queue(crm, ours)
            await make_queue(other, theirs)
            await new_router(incoming() + outgoing())
            router = await new_router(incoming() + outgoing(), EMAIL_ROUTER_DATABASE_URL=postgres.dsn(name))
            await crm.wait_for_sources(1)
            await other.wait_for_sources(1)
            dovecot.deliver(ours, letter(theirs, ours, "Hello"))
            # Ours acknowledges it, theirs has the answer, and says nothing to that.
            await crm.wait_for(1, ANSWERS)
            await other.wait_for_emails(1)
            await wait_for_rest(other, 1)
            assert await other.admin.fetchval(ANSWERS) == 0
            [email] = await other.rows("SELECT subject, flags FROM crm.email")
            assert email["flags"] == ["automatic"]
            await router.stop()
    finally:
        postgres.drop(name)


async def test_each_is_acknowledged_once_by_two_processes_that_are_killed(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    await queue(mailbox)
    routers = [await new_router(incoming() + outgoing(), EMAIL_ROUTER_ANSWERS_PER_DOMAIN="1000") for _ in range(2)]
    await crm.wait_for_sources(1)
    for number in range(60):
        dovecot.deliver(mailbox, letter(f"{number}-{customer}", mailbox, f"Letter {number}"))
    for router in routers * 2:
        already = await crm.admin.fetchval(ANSWERS)
        await crm.wait_for(True, f"SELECT ({ANSWERS}) > $1 OR ({ANSWERS}) = 60", already)
        await restart(router, crm)
        # What a process has begun is another's once its time is over: here at once, whether that process lives or not.
        await crm.admin.execute("UPDATE router.acknowledgement SET due_at = now()")
    await crm.wait_for(60, ANSWERS)
    assert await crm.admin.fetchval(WAITING) == 0
    assert (
        await crm.admin.fetchval("SELECT count(DISTINCT correlated_id) FROM crm.email WHERE template IS NOT NULL") == 60
    )


async def restart(router: RouterProcess, crm: Crm) -> None:
    await router.kill()
    await router.start()
    await crm.wait_for_sources(1)


async def test_a_template_is_tried_out_by_the_command(
    crm: Crm,
    queue: Queue,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    customer: str,
) -> None:
    await queue(mailbox, text="Dear {{ record.name or email.from_name }}, of {{ email.from_address }}!")
    router = await new_router(incoming())
    await crm.wait_for_sources(1)
    status, printed = await router.ask("template", "preview", name_of(mailbox))
    assert (status, "Dear Berta Büro, of berta@büro.example!" in printed) == (0, True)

    # An address of two records is neither's, so nobody reads the name of somebody else.
    await crm.record("contact", "Karl", customer)
    await crm.record("contact", "Ulla", customer)
    message_id = new_id()
    dovecot.deliver(mailbox, letter(f"Somebody <{customer}>", mailbox, "A chair broke", Message_ID=message_id))
    await crm.wait_for_emails(1)
    status, printed = await router.ask("template", "preview", name_of(mailbox), "--email", message_id)
    assert status == 0
    assert printed == f"Subject: Re: A chair broke\n\n--- text\nDear Somebody, of {customer}!\n"

    await crm.sql.execute("UPDATE crm.template SET text_body = 'Dear {{ nobody }}'")
    asked = [("preview", name_of(mailbox)), ("preview", "nothing")]
    assert [status for status, _ in [await router.ask("template", *words) for words in asked]] == [1, 2]
    assert (await router.ask("template", "preview", name_of(mailbox), "--email", "<nothing@in.test>"))[0] == 2


async def test_the_crm_writes_templates_and_signatures_and_nothing_of_the_routers(crm: Crm, mailbox: str) -> None:
    owner_id = await crm.owner(mailbox)
    await crm.sql.execute("INSERT INTO crm.template (name, subject, text_body) VALUES ('welcome', 'Hello', 'Hello')")
    await crm.sql.execute("UPDATE crm.owner SET acknowledgement = 'welcome' WHERE record_id = $1", owner_id)
    await crm.sql.execute("UPDATE crm.template SET name = 'hello'")
    row = await crm.sql.fetchrow("SELECT acknowledgement, acknowledges_since FROM crm.owner")
    assert row is not None
    assert (row["acknowledgement"], row["acknowledges_since"] is not None) == ("hello", True)
    for wrong in (
        "INSERT INTO crm.template (name, subject, text_body) VALUES ('No Name', 'Hello', 'Hello')",
        "INSERT INTO crm.template (name, subject) VALUES ('empty', 'Hello')",
        "UPDATE crm.template SET text_body = repeat('x', 200001)",
        "UPDATE crm.template SET fault = 'none'",
        "UPDATE crm.owner SET acknowledges_since = '2000-01-01'",
        "UPDATE crm.owner SET acknowledgement = 'nothing'",
        "UPDATE crm.email SET template = 'hello'",
    ):
        with pytest.raises(Exception, match=r"violates|permission denied"):
            await crm.sql.execute(wrong)
    await crm.sql.execute("DELETE FROM crm.template")
    assert await crm.sql.fetchval("SELECT acknowledgement FROM crm.owner") is None


async def test_the_example_on_the_page_is_a_template_that_says_something(crm: Crm) -> None:
    await crm.owner("support@example.com")
    [example] = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    await crm.sql.execute(example)
    row = await crm.sql.fetchrow(
        "SELECT subject, text_body, html_body FROM crm.template JOIN crm.owner ON acknowledgement = name"
    )
    assert row is not None
    made = render(TemplateText(*row), SAMPLE)
    assert isinstance(made, Rendered)
    assert made.subject == "Re: My order <4711> & the invoice"
    assert "Dear Berta Büro," in (made.text or "")
    assert "<i>My order &lt;4711&gt; &amp; the invoice</i>" in (made.html or "")
