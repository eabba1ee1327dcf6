"""What the CRM sends and what answers it belong together."""

import asyncio
from email import message_from_bytes
from email.message import Message

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.support.crm import Crm
from tests.support.letters import letter, new_id
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter
from tests.support.scripted_smtp import ScriptedSmtp


async def sent_copy(postfix: Postfix, recipient: str) -> tuple[Message, bytes]:
    """What the customer got."""
    [copy] = await asyncio.to_thread(postfix.wait_for, 1, recipient)
    return message_from_bytes(copy.message), copy.message


@pytest.mark.parametrize("method", ["in-reply-to", "references", "token"])
async def test_an_answer_has_the_regarding_record_of_what_it_answers(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    postfix: Postfix,
    mailbox: str,
    method: str,
) -> None:
    customer = mailbox.replace("@in.test", "@kunde.test")
    await crm.owner(mailbox, "replies")
    opportunity = await crm.record("opportunity", "Two hundred chairs")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    offer = await crm.send(mailbox, customer, "Offer", "Two hundred chairs.\n", regarding_id=opportunity)
    await crm.wait_for_status(offer, "sent")
    message, _ = await sent_copy(postfix, customer)

    ours = message["Message-ID"]
    answer = letter(
        customer,
        mailbox,
        f"AW: {message['Subject']}" if method == "token" else "AW: the chairs",
        "Yes.\n",
        In_Reply_To=ours if method == "in-reply-to" else None,
        References=f"{new_id()} {ours} {new_id()}" if method == "references" else None,
    )
    dovecot.deliver(mailbox, answer)
    await crm.wait_for_emails(1)
    [email] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert email["correlated_id"] == offer
    assert email["regarding_id"] == opportunity
    assert email["correlation_method"] == method
    assert email["flags"] == ([] if method == "token" else ["subject-changed"])


async def test_a_conversation_goes_on_in_one_thread(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    postfix: Postfix,
    mailbox: str,
) -> None:
    """The CRM answers by naming the email it answers: the headers of the thread follow from it."""
    customer = mailbox.replace("@in.test", "@kunde.test")
    await crm.owner(mailbox, "all")
    case = await crm.record("case", "A chair broke")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    earlier, first = new_id(), new_id()
    question = letter(customer, mailbox, "A chair broke", Message_ID=first, In_Reply_To=earlier, References=earlier)
    dovecot.deliver(mailbox, question)
    await crm.wait_for_emails(1)
    asked = await crm.sql.fetchval("UPDATE crm.email SET regarding_id = $1 RETURNING id", case)

    answer = await crm.send(mailbox, customer, "Re: A chair broke", "We come.\n", correlated_id=asked)
    await crm.wait_for_status(answer, "sent")
    message, _ = await sent_copy(postfix, customer)
    assert message["In-Reply-To"] == first
    assert message["References"].split() == [earlier, first]

    thanks = letter(customer, mailbox, "Thanks", In_Reply_To=message["Message-ID"])
    dovecot.deliver(mailbox, thanks)
    await crm.wait_for_emails(2)
    [thanked] = await crm.rows("SELECT * FROM crm.email WHERE subject = 'Thanks'")
    assert thanked["correlated_id"] == answer


async def test_who_answers_an_email_promoted_before_is_on_its_thread(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    """T20, T29: in one batch, and by somebody new."""
    await crm.owner(mailbox, "all")
    first = new_id()
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "A chair broke", Message_ID=first))
    dovecot.deliver(mailbox, letter("boss@kunde.test", mailbox, "Re: A chair broke", In_Reply_To=first))
    await new_router(incoming(start="all"))
    await crm.wait_for_emails(2)
    emails = {row["subject"]: row for row in await crm.rows("SELECT * FROM crm.email")}
    answer = emails["Re: A chair broke"]
    assert answer["correlated_id"] == emails["A chair broke"]["id"]
    assert answer["flags"] == ["new-on-thread"]


async def test_t18_the_owners_copy_of_what_the_crm_sent_is_a_duplicate(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    postfix: Postfix,
    mailbox: str,
) -> None:
    customer = mailbox.replace("@in.test", "@kunde.test")
    owner = await crm.owner(mailbox, "all")
    await new_router(incoming(folders=["INBOX", "Sent"]) + outgoing())
    await crm.wait_for_sources(2)
    offer = await crm.send(mailbox, customer, "Offer", "Two hundred chairs.\n")
    await crm.wait_for_status(offer, "sent")
    _, content = await sent_copy(postfix, customer)
    dovecot.append(mailbox, content, "Sent", ["\\Seen"])
    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"duplicate": 1}
    [email] = await crm.rows("SELECT id, status FROM crm.email")
    assert tuple(email) == (offer, "sent")
    [receipt] = await crm.rows("SELECT email_id, owner_id, folder FROM crm.receipt")
    assert tuple(receipt) == (offer, owner, "Sent")


@pytest.mark.parametrize(
    ("reply", "new"),
    [
        ("250 2.6.0 <A1B2C3@out.relay.test> [InternalId=42] Queued mail for delivery", "A1B2C3@out.relay.test"),
        ("250 Ok 010201932f6e1c7b-8f1d2c3b-000000", "010201932f6e1c7b-8f1d2c3b-000000@eu-west-1.relay.test"),
    ],
)
async def test_t24_the_relay_gives_the_email_another_id(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
    reply: str,
    new: str,
) -> None:
    """Its answer is found by what the relay told, and the owner's own copy of it is a duplicate."""
    customer = mailbox.replace("@in.test", "@kunde.test")
    await crm.owner(mailbox, "replies")
    async with ScriptedSmtp({".": reply}) as relay:
        router = await new_router(incoming(folders=["INBOX", "Sent"]) + outgoing(port=relay.port, security="none"))
        await crm.wait_for_sources(2)
        offer = await crm.send(mailbox, customer, "Offer", "Two hundred chairs.\n")
        ours = (await crm.wait_for_status(offer, "sent"))["message_id"].encode()
        [sent] = relay.messages
        rewritten = sent.replace(b"Message-ID: <" + ours, b"Message-ID: <" + new.encode())
        assert rewritten.count(ours) == 1  # in the private header
        dovecot.append(mailbox, rewritten, "Sent")
        dovecot.deliver(mailbox, letter(customer, mailbox, "AW: the chairs", In_Reply_To=f"<{new}>"))
        await crm.wait_for_decisions(2)
        await router.stop()
    assert await crm.dispositions() == {"duplicate": 1, "promoted": 1}
    [answer] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert (answer["correlated_id"], answer["correlation_method"]) == (offer, "in-reply-to")
    [receipt] = await crm.rows("SELECT email_id FROM crm.receipt WHERE folder = 'Sent'")
    assert receipt["email_id"] == offer


async def test_t24_our_private_header_correlates_for_those_who_were_on_the_email(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    customer = mailbox.replace("@in.test", "@kunde.test")
    await crm.owner(mailbox, "replies")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    offer = await crm.send(mailbox, customer, "Offer")
    ours = f"<{(await crm.wait_for_status(offer, 'sent'))['message_id']}>"
    for sender in (customer, "stranger@out.test"):
        dovecot.deliver(mailbox, letter(sender, mailbox, "AW: the chairs", X_CRM_Email_Router=ours))
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"promoted": 1, "ignored": 1}
    [answer] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert (answer["correlated_id"], answer["correlation_method"]) == (offer, "private-header")


async def test_t39_an_answer_to_an_address_with_the_token(
    crm: Crm, new_router: NewRouter, incoming: Profile, outgoing: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    customer = mailbox.replace("@in.test", "@kunde.test")
    owner = await crm.owner(mailbox, "replies")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    offer = await crm.send(mailbox, customer, "Offer")
    token = (await crm.wait_for_status(offer, "sent"))["token"]
    tagged = mailbox.replace("@", f"+crm-{token}@")
    for sender in (customer, "stranger@out.test"):
        dovecot.deliver(mailbox, letter(sender, tagged, "The chairs"))
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"promoted": 1, "held": 1}
    [answer] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'")
    assert (answer["correlated_id"], answer["correlation_method"]) == (offer, "token")
    [to] = await crm.rows("SELECT address, record_id FROM crm.party WHERE email_id = $1 AND role = 'to'", answer["id"])
    assert tuple(to) == (mailbox, owner)


async def test_a_strangers_token_opens_no_door(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    outgoing: Profile,
    dovecot: Dovecot,
    mailbox: str,
) -> None:
    """T25."""
    await crm.owner(mailbox, "replies")
    await new_router(incoming() + outgoing())
    await crm.wait_for_sources(1)
    offer = await crm.send(mailbox, mailbox.replace("@in.test", "@kunde.test"), "Offer")
    token = (await crm.wait_for_status(offer, "sent"))["token"]
    dovecot.deliver(mailbox, letter("stranger@out.test", mailbox, f"Re: Offer CRM:{token}"))
    await crm.wait_for_decisions(1)
    assert await crm.dispositions() == {"held": 1}
    assert await crm.rows("SELECT * FROM crm.email WHERE direction = 'in'") == []
    # It is in its mailbox still, so its bytes are kept nowhere else.
    assert await crm.admin.fetchval("SELECT count(*) FROM router.kept_content") == 0


@pytest.mark.parametrize(("direction", "status"), [("out", "sent"), ("in", "received")])
async def test_what_answers_an_email_that_the_crm_imported_belongs_to_it(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    direction: str,
    status: str,
) -> None:
    customer = mailbox.replace("@in.test", "@kunde.test")
    await crm.owner(mailbox, "replies")
    imported = new_id()
    email_id = await crm.sql.fetchval(
        "INSERT INTO crm.email (direction, status, message_id, subject) VALUES ($1, $2, $3, 'Offer') RETURNING id",
        direction,
        status,
        imported.strip("<>"),
    )
    await crm.admin.execute(
        "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'from', $2), ($1, 'to', $3)",
        email_id,
        *((mailbox, customer) if direction == "out" else (customer, mailbox)),
    )
    await new_router(incoming())
    await crm.wait_for_sources(1)
    dovecot.deliver(mailbox, letter(customer, mailbox, "AW: Offer", "Yes.\n", In_Reply_To=imported))
    await crm.wait_for_emails(2 if direction == "in" else 1)
    [answer] = await crm.rows("SELECT * FROM crm.email WHERE direction = 'in' AND id <> $1", email_id)
    assert (answer["correlated_id"], answer["correlation_method"]) == (email_id, "in-reply-to")
    assert answer["flags"] == []
