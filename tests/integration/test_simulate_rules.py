"""T124: rules for records from mail are tried on past mail, and explained; nothing is changed."""

from pathlib import Path
from typing import Any

from tests.integration.test_letters import Ask
from tests.integration.test_letters import ask as ask  # noqa: PLC0414  # a fixture
from tests.integration.test_simulate import EVERYTHING
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

KARL, NEW, SHOP = "karl@kunde.test", "nora@neu.test", "orders@shop.test"
RULES = """
on_new = "case"

[[create]]
name = "shop"
makes = "nothing"
from = ["shop.test"]

[[create]]
name = "new people"
makes = "lead"
subject = ["offer"]
fields = { name = "{sender_name}", source = "mail from {sender_domain}" }
"""


async def test_t124_rules_of_a_file_are_simulated_on_past_mail_and_nothing_changes(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, ask: Ask, tmp_path: Path
) -> None:
    await crm.owner(mailbox, "all", kind="queue")
    await crm.record("contact", "Karl", KARL)
    router = await new_router(incoming(start="all", poll=1))
    for one in (
        letter(KARL, mailbox, "Offer?"),
        letter(f"Nora <{NEW}>", mailbox, "An offer, please"),
        letter(NEW, mailbox, "It does not work"),
        letter(SHOP, mailbox, "Your offer"),
        letter(KARL, mailbox, "Out of office", Auto_Submitted="auto-replied"),
    ):
        dovecot.deliver(mailbox, one)
    await crm.wait_for_emails(5)
    before = await crm.admin.fetchval(EVERYTHING)
    file = tmp_path / "new.toml"
    file.write_text(RULES)

    said = await ask(router, "simulate", "--owner", mailbox, "--rules", str(file))
    assert (said.status, said.err) == (0, "")
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == f"the newest 5 messages of {mailbox} that were decided on:"
    for line in (
        "case by 'on_new' 0 2",
        "lead by 'new people' 0 1",
        "nothing 5 2",
        "case by 'on_new' 2 rule 'on_new' of the file wants a case",
        "lead by 'new people' 1 rule 'new people' of the file wants a lead",
        "nothing 1 no record is made of it: rule 'shop' of the file wants nothing",
        "nothing 1 no record is made of it: it is automatic",
    ):
        assert line in lines, said.out
    assert NEW not in said.out

    said = await ask(router, "simulate", "--owner", mailbox, "--rules", str(file), "--details", "--last", "3")
    assert sum(line.startswith("20") for line in said.out.splitlines()) == 1
    found: Any = (await ask(router, "simulate", "--owner", mailbox, "--rules", str(file), "--json")).json
    assert found["now"] == [{"makes": None, "by": None, "messages": 5}]
    assert {"makes": "case", "by": "on_new", "messages": 2} in found["then"]
    assert sorted((one["makes_then"], one["by_then"]) for one in found["changes"]) == [
        ("case", "on_new"),
        ("case", "on_new"),
        ("lead", "new people"),
    ]

    # The rules of the owner's profile, in a file as it may become the profile's, in place of those of the database.
    file.write_text('[incoming.staff]\n[[incoming.staff.create]]\nname = "a"\nmakes = "case"\nfrom = ["kunde.test"]\n')
    await crm.sql.execute(
        "INSERT INTO crm.creation_rule (position, name, makes, \"from\") VALUES (1, 'karl', 'nothing', '{kunde.test}')"
    )
    before = await crm.admin.fetchval(EVERYTHING)
    said = await ask(router, "simulate", "--owner", mailbox, "--rules", str(file), "--database")
    assert "case by 'a' 0 1" in [" ".join(line.split()) for line in said.out.splitlines()]
    said = await ask(router, "records", "rules", "--owner", mailbox)
    assert (said.status, said.err) == (0, "")
    assert [line.split()[:5] for line in said.out.splitlines()[1:]] == [["karl", "the", "database,", "1", "nothing"]]
    # Where they stay, they come before those of the file.
    file.write_text("[incoming.staff]\n")
    said = await ask(router, "simulate", "--owner", mailbox, "--rules", str(file))
    assert "nothing else would have been made of any of them" in said.out
    assert "no record is made of it: rule 'karl' of the database wants nothing" in said.out
    assert await crm.admin.fetchval(EVERYTHING) == before


async def test_t124_what_is_wrong_with_a_file_is_told(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str, ask: Ask, tmp_path: Path
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming())
    file = tmp_path / "new.toml"
    file.write_text('[[create]]\nname = "a"\nmakes = "cases"\n')
    said = await ask(router, "simulate", "--owner", mailbox, "--rules", str(file))
    assert said.status == 1
    assert f'{file}:3: create.makes must be "case", "contact", "lead" or "nothing"' in said.err
    for arguments, words in (
        ((), "name one of the two"),
        (("--rule", "all", "--rules", str(file)), "name one of the two"),
        (("--rules", str(tmp_path / "none.toml")), "No such file or directory"),
    ):
        said = await ask(router, "simulate", "--owner", mailbox, *arguments)
        assert (said.status, words in " ".join(said.err.replace("│", " ").split())) == (2, True), said


async def test_t124_explain_names_the_rule_and_the_record(
    crm: Crm, new_router: NewRouter, incoming: Profile, mailbox: str, ask: Ask, tmp_path: Path
) -> None:
    await crm.owner(mailbox, "all", kind="queue")
    router = await new_router(incoming(on_new="case", create=[{"name": "web", "makes": "case", "to": [KARL]}]))
    file = tmp_path / "a.eml"
    file.write_bytes(letter(KARL, mailbox, "It does not work"))
    said = await ask(router, "explain", str(file), "--owner", mailbox)
    assert "rule 'on_new' of profile staff wants a case" in said.out
    assert "record      case by rule 'on_new': subject \"It does not work\", priority normal" in said.out
    [document] = (await ask(router, "explain", str(file), "--owner", mailbox, "--json")).json
    assert document["decision"]["creation"]["fields"] == [["subject", "It does not work"]]
