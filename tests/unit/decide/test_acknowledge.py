"""A queue acknowledges what people send it, and nothing else."""

from dataclasses import replace

import pytest

from router.decide import decide_batch
from router.model import Copy, Disposition, Form, Forward, Rule
from tests.support.build import OTHER_OWNER, OWNER, World, copy, mail, record


@pytest.fixture
def queue(world: World) -> World:
    world.facts.acknowledging = frozenset({OWNER})
    return world


def acknowledged(queue: World, *copies: Copy) -> list[bool]:
    return [decision.acknowledge for decision in decide_batch(copies, queue.facts)]


def test_mail_of_a_person_to_a_queue_with_a_template_is_acknowledged(queue: World) -> None:
    assert acknowledged(queue, copy()) == [True]
    assert acknowledged(queue, copy(owner=OTHER_OWNER)) == [False]
    assert acknowledged(queue, copy(sent=True)) == [False]


def test_so_is_what_the_crm_has_already_by_another_owner(queue: World) -> None:
    raw = mail()
    assert acknowledged(queue, copy(raw, owner=OTHER_OWNER), copy(raw)) == [False, True]


def test_what_is_not_the_crms_is_not_acknowledged(queue: World) -> None:
    ignored = queue.decide(mail(), Rule.REPLIES)
    assert (ignored.disposition, ignored.acknowledge) == (Disposition.IGNORED, False)
    assert acknowledged(queue, copy(fault="broken")) == [False]


@pytest.mark.parametrize("kind", ["user", "queue"])
def test_our_own_are_not_answered(queue: World, kind: str) -> None:
    queue.knows("ann@client.example", record(kind))
    assert acknowledged(queue, copy()) == [False]
    queue.knows("ann@client.example", record("contact"))
    assert acknowledged(queue, copy()) == [True]


@pytest.mark.parametrize(
    ("form", "answered"), [("redirected", True), ("journal", True), ("attached", False), ("inline", False)]
)
def test_what_a_person_passed_on_is_not_answered(queue: World, form: Form, answered: bool) -> None:
    one = copy()
    forward = Forward(one.place, form, "bob@example.com", None, None)
    assert acknowledged(queue, replace(one, forward=forward)) == [answered]


def test_the_null_sender_is_not_answered(queue: World) -> None:
    assert acknowledged(queue, replace(copy(), null_sender=True)) == [False]


@pytest.mark.parametrize(
    "headers",
    [
        {"auto_submitted": "auto-replied"},
        {"auto_submitted": "auto-generated"},
        {"return_path": "<>"},
        {"precedence": "bulk"},
        {"list_id": "<x.example>"},
        {"list_owner": "<mailto:x@x.example>"},
        {"x_auto_response_suppress": "DR, RN, NRN, OOF, AutoReply"},
        {"x_auto_response_suppress": "All"},
        {"x_loop": "x"},
        {"from": "No-Reply@client.example"},
        {"from": "do_not_reply@client.example"},
        {"from": "owner-chairs@client.example"},
        {"from": "chairs-request@client.example"},
        {"from": "postmaster@client.example", "return_path": "<>"},
        {"from": "a@client.example, b@client.example"},
        {"from": ""},
        {"subject": "Automatic reply: Offer"},
        {"content_type": "text/calendar; method=REPLY", "subject": "Accepted"},
    ],
)
def test_machines_and_lists_are_not_answered(queue: World, headers: dict[str, str]) -> None:
    body = "BEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    assert acknowledged(queue, copy(mail(body, **headers))) == [False]


@pytest.mark.parametrize(
    "headers", [{"auto_submitted": "no"}, {"x_auto_response_suppress": "DR, RN"}, {"from": "norep@client.example"}]
)
def test_people_are(queue: World, headers: dict[str, str]) -> None:
    assert acknowledged(queue, copy(mail(**headers))) == [True]


@pytest.mark.parametrize(("result", "answered"), [("fail", False), ("pass", True), ("none", True)])
def test_who_has_not_written_it_as_our_server_says_is_not_answered(queue: World, result: str, answered: bool) -> None:
    verdict = f"Authentication-Results: mail.example.com; dmarc={result}\r\n".encode()
    one = copy(verdict + mail(), authserv="mail.example.com")
    assert acknowledged(queue, one) == [answered]
