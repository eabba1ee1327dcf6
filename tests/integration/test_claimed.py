"""The owners of a profile that is broken when the router starts: no other profile reads or carries their mail."""

import smtplib
from collections.abc import Callable

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter
from tests.support.traffic import Capture

KARL = "karl@kunde.test"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (("poll", "pol"), r"owner boss.*: not served by \[incoming\.boss\], because that profile is broken"),
        (('"none"', "none"), r"owners are not read.*1 not read \(boss.*\(boss\)"),
    ],
    ids=["a typo", "no TOML"],
)
async def test_private_mail_is_not_read_by_a_less_exact_profile(
    crm: Crm,
    new_router: NewRouter,
    incoming: Profile,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
    broken: tuple[str, str],
    told: str,
) -> None:
    boss, ann = new_mailbox("boss"), new_mailbox("ann")
    await crm.owner(boss)
    await crm.owner(ann)
    router = await new_router(incoming(rule="all"))
    sound = incoming("boss", owners=[boss], rule="none")
    file = router.profiles / "boss.toml"
    file.write_text(sound)
    reader = (
        "SELECT profile FROM router.source WHERE mailbox = $1 AND process_id IS NOT NULL AND begins_at < 'infinity'"
    )
    await crm.wait_for("boss", reader, boss)
    await crm.wait_for("staff", reader, ann)
    await router.stop()
    dovecot.deliver(boss, letter(KARL, boss, "private"))
    dovecot.deliver(ann, letter(KARL, ann, "at work"))
    file.write_text(sound.replace(*broken))
    await router.start(told)
    await crm.wait_for("staff", reader, ann)
    await crm.wait_for_emails(1)
    await crm.wait_for_beats(3)
    assert await crm.admin.fetchval(reader, boss) is None
    assert await crm.dispositions() == {"promoted": 1}
    # Put right, it is read by its own profile, from where that one stopped.
    file.write_text(sound)
    await crm.wait_for("boss", reader, boss)
    await crm.wait_for_decisions(2)
    assert await crm.dispositions() == {"promoted": 1, "ignored": 1}
    assert await crm.admin.fetchval("SELECT count(*) FROM router.process WHERE faults ? 'owners'") == 0


async def test_mail_for_a_broken_listener_waits_and_so_does_that_of_a_broken_relay(
    crm: Crm, new_router: NewRouter, capture: Capture, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    door, gate = free_port(), free_port()

    def listens(name: str, port: int, owner: str) -> str:
        keys = f'transport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["{owner}"]\nrule = "all"\n'
        return f"[incoming.{name}]\n{keys}"

    def sends(name: str, sender: str) -> str:
        keys = f'transport = "smtp"\nhost = "127.0.0.1"\nport = {capture.port}\nsecurity = "none"\n'
        return f'[outgoing.{name}]\n{keys}senders = ["{sender}"]\n'

    sound = listens("door", door, "*@in.test") + sends("relay", "*@in.test")
    exact = listens("gate", gate, mailbox) + "x = 1\n" + sends("own", mailbox) + "x = 1\n"
    router = await new_router(exact + sound, says=("listening",))
    email = await crm.send(mailbox, KARL, "An offer", "hello")
    with smtplib.SMTP("127.0.0.1", door) as smtp:
        smtp.ehlo()
        smtp.mail(KARL)
        assert smtp.rcpt(mailbox)[0] == 450
        assert smtp.rcpt("nobody@in.test")[0] == 550
    words = f"no outgoing profile has {mailbox} among its senders but [outgoing.own], which is broken"
    await crm.wait_for(words, "SELECT status_reason FROM crm.email WHERE id = $1", email)
    (router.profiles / "all.toml").write_text((exact + sound).replace("x = 1\n", ""))
    await crm.wait_for_status(email, "sent")
