from uuid import UUID

import pytest

from router.model import Disposition, Record, Role, Rule, Ruled
from router.model.settings import Choices
from tests.support.build import OWNER, World, mail, record


def linked(world: World, role: Role, raw: bytes | None = None) -> list[UUID | None]:
    return [party.record_id for party in world.decide(raw).parties if party.role == role]


@pytest.mark.parametrize("role", ["to", "cc", "bcc", "reply_to"])
def test_t45_an_address_of_several_records_links_to_all(world: World, role: Role) -> None:
    records = [record("lead"), record("contact"), record("user")]
    world.knows("many@client.example", *records)
    assert set(linked(world, role, mail(**{role: "many@client.example"}))) == {record.id for record in records}


def test_t46_the_sender_is_one_by_the_documented_order(world: World) -> None:
    order = [
        record("queue", owner=OWNER),
        record("contact", age=5),
        record("contact", age=1),
        record("lead", age=9),
        record("account"),
        record("vehicle"),
        record("user"),
        record("queue", age=20),
    ]
    while order:
        world.knows("ann@client.example", *reversed(order))
        assert linked(world, "from") == [order.pop(0).id]


def test_t46_the_owner_is_the_owners_own(world: World) -> None:
    owner = Record(OWNER, "user", active=True, owner_id=None, created_at=record("user").created_at)
    world.knows("ann@client.example", record("contact"), owner)
    assert linked(world, "from") == [OWNER]


def test_t48_case_makes_no_difference(world: World) -> None:
    john = record("contact")
    world.knows("john.smith@example.com", john)
    assert linked(world, "to", mail(to="John.Smith@EXAMPLE.com")) == [john.id]


def test_t49_a_longer_local_part_is_another_address(world: World) -> None:
    world.knows("mail@x.com", record("contact"))
    assert linked(world, "to", mail(to="a_mail@x.com")) == [None]


@pytest.mark.parametrize("written", ["bücher@münchen.example", "BÜCHER@xn--mnchen-3ya.example"])
def test_t50_unicode_and_punycode_are_one_address(world: World, written: str) -> None:
    shop = record("account")
    world.knows("bücher@münchen.example", shop)
    assert linked(world, "to", mail(to=written)) == [shop.id]


@pytest.mark.parametrize("role", ["from", "to"])
def test_t51_inactive_records_count_only_without_an_active_one(world: World, role: Role) -> None:
    contact, lead = record("contact", active=False), record("lead")
    raw = mail(**{role: "ann@client.example"})
    world.knows("ann@client.example", contact, lead)
    assert linked(world, role, raw) == [lead.id]
    world.knows("ann@client.example", contact)
    assert linked(world, role, raw) == [contact.id]


def test_t52_an_address_of_more_than_100_records_stays_unresolved(world: World) -> None:
    records = [record("contact") for _ in range(101)]
    world.knows("ann@client.example", *records)
    world.knows("sales@example.com", *records[:100])
    decision = world.decide()
    assert linked(world, "from") == [None]
    assert len(linked(world, "to")) == 100
    assert "1 of the addresses belong to more than 100 records: left unresolved" in decision.reasons


def test_t55_the_sender_header_decides_who_of_two_authors_sent(world: World) -> None:
    raw = mail(**{"from": "ann@client.example, bob@client.example"}, sender="Bob <bob@client.example>")
    decision = world.decide(raw)
    assert [party.address for party in decision.parties if party.role == "from"] == [
        "bob@client.example",
        "ann@client.example",
    ]


def test_t58_from_resolves_and_reply_to_is_kept(world: World) -> None:
    ann, desk = record("contact"), record("contact")
    world.knows("ann@client.example", ann)
    world.knows("desk@client.example", desk)
    raw = mail(reply_to="Desk <desk@client.example>")
    assert linked(world, "from", raw) == [ann.id]
    assert linked(world, "reply_to", raw) == [desk.id]


def test_t53_what_was_ruled_resolves_an_address_in_all_roles(world: World) -> None:
    ann = record("contact")
    world.rules("ann@client.example", 7, ann)
    raw = mail(cc="ann@client.example")
    assert linked(world, "from", raw) == linked(world, "cc", raw) == [ann.id]
    decision = world.decide(raw)
    assert [party.ruling_id for party in decision.parties] == [7, None, 7]
    assert decision.reasons[-1] == "resolved by ruling 7"


def test_t47_what_was_ruled_says_which_of_several_records_it_is(world: World) -> None:
    first, second, other = record("contact"), record("lead"), record("account")
    world.knows("ann@client.example", first, second)
    world.facts.choices = Choices({"several_matches": "unresolved"})
    assert linked(world, "from") == [None]
    world.facts.ruled = {"ann@client.example": Ruled(7, second)}
    assert linked(world, "from") == [second.id]
    # As for the mail that waited: also a record that does not have the address, such as the account of its domain.
    world.facts.ruled = {"ann@client.example": Ruled(7, other)}
    assert linked(world, "from") == [other.id]


def test_t53_records_of_the_address_count_more_than_what_was_ruled(world: World) -> None:
    ann, gone = record("contact"), record("contact", active=False)
    for known in (ann, gone):
        world.knows("ann@client.example", known)
        world.rules("ann@client.example", 7, record("lead"))
        assert linked(world, "from") == [known.id]
        assert not any("ruling" in reason for reason in world.decide().reasons)


def test_t115_a_ruling_resolves_nothing_once_its_record_is_not_active(world: World) -> None:
    world.rules("ann@client.example", 7, None)
    assert linked(world, "from") == [None]
    reason = "the record of ruling 7 is not active, or not there any more: left unresolved"
    assert world.decide().reasons[-1] == reason


def test_t53_the_reasons_of_what_is_ignored_do_not_tell_by_a_ruling_whom_it_is_from(world: World) -> None:
    world.rules("ann@client.example", 7, record("user"))
    decision = world.decide(rule=Rule.KNOWN)
    assert decision.disposition is Disposition.IGNORED
    assert not any("ruling" in reason for reason in decision.reasons)
