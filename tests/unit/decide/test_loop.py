import pytest

from router.decide import decide_batch
from router.decide.loop import MOST_AUTOMATIC
from router.model import Copy, Disposition, Facts, Rule
from tests.support.build import World, copy, mail

BOUNCED = "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n"


def automatic(number: int, answers: str, domain: str = "client.example", **headers: str) -> Copy:
    return copy(
        mail(
            **{"from": f"machine{number}@{domain}", "auto_submitted": "auto-replied"},
            message_id=f"<{number}@{domain}>",
            in_reply_to=f"<{answers}>",
            **headers,
        )
    )


def dispositions(copies: list[Copy], facts: Facts) -> list[Disposition]:
    return [decision.disposition for decision in decide_batch(copies, facts)]


EXPECTED = [Disposition.PROMOTED] * MOST_AUTOMATIC + [Disposition.HELD] * (30 - MOST_AUTOMATIC)


def test_t76_thirty_automatic_messages_of_one_batch_to_one_email_are_cut(world: World) -> None:
    world.email("offer@example.com")
    copies = [automatic(n, "offer@example.com") for n in range(30)]
    assert dispositions(copies, world.facts) == EXPECTED


def test_t76_each_may_answer_another_email_of_the_thread(world: World) -> None:
    world.email("offer@example.com")
    copies = [automatic(n, f"{n - 1}@client.example" if n else "offer@example.com") for n in range(MOST_AUTOMATIC + 1)]
    assert dispositions(copies, world.facts)[-2:] == [Disposition.PROMOTED, Disposition.HELD]


def test_t76_what_came_before_the_batch_counts(world: World) -> None:
    first, second = world.email("offer@example.com"), world.email("again@example.com")
    world.facts.thread_load.threads = {first.id: first.id, second.id: first.id}
    world.facts.thread_load.automatic = {(first.id, "client.example"): MOST_AUTOMATIC - 1}
    copies = [automatic(n, ("offer" if n else "again") + "@example.com") for n in range(2)]
    assert dispositions(copies, world.facts) == [Disposition.PROMOTED, Disposition.HELD]


def test_t76_people_other_threads_and_other_domains_are_not_cut(world: World) -> None:
    world.email("offer@example.com")
    world.email("other@example.com")
    loop = [automatic(n, "offer@example.com") for n in range(30)]
    person = copy(mail(in_reply_to="<offer@example.com>"))
    elsewhere = automatic(31, "other@example.com")
    stranger = automatic(32, "offer@example.com", "else.example")
    alone = [automatic(n, "nothing@client.example") for n in range(40, 60)]
    found = dispositions([*loop, person, elsewhere, stranger, *alone], world.facts)
    assert found == [*EXPECTED, *[Disposition.PROMOTED] * 23]


def test_t76_what_the_rule_ignores_is_not_held(world: World) -> None:
    loop = "Received: a\r\n" * 60
    decision = world.decide(loop.encode() + mail(), Rule.REPLIES)
    assert decision.disposition is Disposition.IGNORED


def test_t71_reports_are_not_counted(world: World) -> None:
    world.email("offer@example.com", participants=tuple(f"r{n}@client.example" for n in range(30)))
    copies = []
    for n in range(30):
        status = f"Final-Recipient: rfc822; r{n}@client.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        body = (
            f"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\n{status}\r\n"
            "--x\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <offer@example.com>\r\n\r\n--x--\r\n"
        )
        copies.append(copy(BOUNCED.encode() + mail(body, **{"from": "mailer-daemon@client.example"})))
    assert dispositions(copies, world.facts) == [Disposition.PROMOTED] * 30


@pytest.mark.parametrize(
    "headers",
    [
        "Received: by a\r\n" * 51,
        "Delivered-To: sales@example.com\r\n" * 3,
        "X-CRM-Email-Router: <a@example.com>\r\nX-CRM-Email-Router: <b@example.com>\r\n",
    ],
)
def test_what_shows_that_it_goes_round_is_held(world: World, headers: str) -> None:
    decision = world.decide(headers.encode() + mail())
    assert decision.disposition is Disposition.HELD
    assert decision.reasons[-1].startswith("loop: ")
