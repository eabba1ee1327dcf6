"""`email-router explain MESSAGE-ID`: what became of every copy of a message, and why."""

import json
import smtplib

import pytest

from tests.integration.test_explain import explain
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter

KARL, ANN, BOB = "karl@kunde.test", "ann@in.test", "bob@in.test"
DENIED = b"Authentication-Results: mail.in.test; spf=pass; dmarc=fail\r\n"


async def test_t103_every_copy_is_told_held_and_dead_ones_too(crm: Crm, new_router: NewRouter, database: str) -> None:
    await crm.owner(ANN, "known")
    await crm.owner(BOB, "replies")
    await crm.record("contact", "Karl", KARL)
    port = free_port()
    router = await new_router(
        f'[incoming.copies]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@in.test"]\ncopy = true\n'
        'authserv = "mail.in.test"\n',
        says=("listening",),
    )
    await crm.admin.execute("ALTER TABLE crm.email ADD CONSTRAINT broken CHECK (subject NOT LIKE 'broken%')")
    offer = letter(KARL, f"{ANN}, {BOB}", "Your offer", Message_ID="<offer@kunde.test>")
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail(KARL, [BOB], offer)
        smtp.sendmail(KARL, [ANN], offer)
        smtp.sendmail(KARL, [ANN], DENIED + letter(KARL, ANN, "Secret plan", Message_ID="<held/1@kunde.test>"))
        smtp.sendmail(KARL, [ANN], letter(KARL, ANN, "broken secret", Message_ID="<dead@kunde.test>"))

    async def asked(message_id: str, *more: str) -> tuple[int, str]:
        status, out, err = await explain(message_id, *more, database=database, profiles=str(router.profiles))
        assert err == ""
        return status, out

    status, out = await asked("<offer@kunde.test>")
    assert (status, out.splitlines()[0]) == (0, "in the CRM")
    assert f"the copy of {ANN}, by the rule known" in out
    assert f"the copy of {ANN}: promoted: it became the email\n" in out
    assert f"the copy of {BOB}: duplicate: the same email, here received, too\n" in out
    assert "    because     answers no CRM email\n" in out
    assert "    lies in     no folder: handed to profile copies, came " in out
    found = json.loads((await asked("offer@kunde.test", "--json"))[1])
    assert {one["mailbox"]: one["disposition"] for one in found["emails"][0]["copies"]} == {
        ANN: "promoted",
        BOB: "duplicate",
    }
    assert [one["id"] for one in found["origins"]] == [found["emails"][0]["id"]]
    numbers = {
        row["disposition"]: row["id"] for row in await crm.admin.fetch("SELECT id, disposition FROM router.decision")
    }
    for message_id, words in (
        ("held/1@kunde.test", f'"email-router held show {numbers["held"]}"'),
        ("dead@kunde.test", f'"email-router dead-letters show {numbers["dead"]}"'),
    ):
        status, out = await asked(message_id)
        assert (status, words in out, "ecret" in out) == (1, True, False)
        assert out.startswith(f"{message_id}: no copy of it is")


async def test_t103_of_an_ignored_message_its_server_and_the_reasons_are_told_and_not_what_it_says(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    mailbox: str,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    await crm.owner(mailbox, "known")
    router = await new_router(incoming(start="all"))
    dovecot.append(mailbox, letter("x@home.test", mailbox, "Very private", Message_ID="<ignored@home.test>"))
    await crm.wait_for_decisions(1)
    status, out, _ = await explain("<ignored@home.test>", database=database, profiles=str(router.profiles))
    assert status == 1
    assert out.startswith("ignored@home.test: no copy of it is in the CRM\n")
    assert f"  the copy of {mailbox}: ignored: nothing of it is stored\n    rule        known, decided " in out
    assert "    because     the sender is no contact, lead or account\n    lies in     INBOX, came " in out
    assert "email-router backfill" in out
    assert "private" not in out
    # What never came is told as such, with what to try.
    status, out, _ = await explain("<never@home.test>", database=database, profiles=str(router.profiles))
    assert (status, out.splitlines()[0]) == (1, "never@home.test: no copy of it is known to the router")
    assert f"\n{mailbox}\n" in out
    assert "  server        does not find it; looked into " in out
    assert "what to try:\n" in out
