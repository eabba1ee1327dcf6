"""What our own mail server says of a sender, through the whole pipeline."""

import asyncio
import json
import smtplib

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.support.command import type_command
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

OURS = b"Authentication-Results: mail.in.test 1;\r\n\tdmarc=%s (p=reject dis=none) header.from=kunde.test\r\n"
FAIL, PASS = OURS % b"fail", OURS % b"pass"
THEIRS = b"Authentication-Results: mx.out.test; dmarc=fail header.from=kunde.test\r\n"


async def test_t77_t78_our_topmost_verdict_decides(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, database: str
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    mails = {
        "denied": FAIL,
        "denied, whatever a forged one below says": FAIL + PASS,
        "vouched for, whatever a forged one below says": PASS + FAIL,
        "of another server, above a forged one": THEIRS + FAIL,
        "of nobody": b"",
    }
    for subject, verdict in mails.items():
        dovecot.deliver(mailbox, verdict + letter("karl@kunde.test", mailbox, subject))
    dovecot.deliver(mailbox, FAIL + letter("friend@home.test", mailbox, "private"))
    await new_router(incoming(start="all", authserv="mail.in.test"))
    await crm.wait_for_decisions(len(mails) + 1)

    promoted = {row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")}
    assert promoted == set(list(mails)[2:])
    assert await crm.dispositions() == {"promoted": 3, "held": 2, "ignored": 1}
    held = await crm.admin.fetch("SELECT reasons FROM router.decision WHERE disposition = 'held'")
    assert {row["reasons"][-2] for row in held} == {
        "our server says that it is not from the domain in From: dmarc=fail"
    }

    kept = await crm.admin.fetch(
        "SELECT d.disposition, d.verdict::text, e.subject FROM router.decision AS d "
        "LEFT JOIN crm.email AS e ON e.id = d.email_id"
    )
    verdicts = {row["subject"] or row["disposition"]: row["verdict"] for row in kept}
    assert json.loads(verdicts["held"]) == {"server": "mail.in.test", "results": [["dmarc", "fail"]]}
    assert (verdicts["ignored"], verdicts["of nobody"]) == (None, None)
    [vouched] = await crm.rows("SELECT id, message_id FROM crm.email WHERE subject LIKE 'vouched%'")
    for named in (["--email", str(vouched["id"])], [vouched["message_id"]]):
        told = await type_command(database, "explain", *named, profiles="/nowhere")
        assert "vouched for by mail.in.test (DMARC pass)" in " ".join(told.out.split())

    status = await type_command(database, "status", profiles="/nowhere")
    assert "3 promoted, 0 duplicate, 1 ignored, 2 held" in status.out


async def test_t78_what_the_sender_forges_is_below_what_the_border_server_writes(
    crm: Crm, new_router: NewRouter, incoming: Profile, postfix: Postfix, mailbox: str
) -> None:
    denied = f"denied-{mailbox}"
    for owner in (mailbox, denied):
        await crm.owner(owner, "all")
    await crm.record("contact", "Karl", "karl@kunde.test")
    forged = b"Authentication-Results: relay.test; dmarc=pass header.from=kunde.test\r\n"

    def hand_over() -> None:
        with smtplib.SMTP("127.0.0.1", postfix.smtp) as smtp:
            for owner in (mailbox, denied):
                smtp.sendmail("karl@evil.test", [owner], forged + letter("karl@kunde.test", owner, f"to {owner}"))

    await new_router(incoming(authserv="relay.test"))
    await crm.wait_for_sources(2)
    await asyncio.to_thread(hand_over)
    await crm.wait_for_decisions(2)
    assert [row["subject"] for row in await crm.rows("SELECT subject FROM crm.email")] == [f"to {mailbox}"]
    assert await crm.dispositions() == {"promoted": 1, "held": 1}
