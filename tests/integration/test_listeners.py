"""A real Postfix delivers to the router by SMTP and LMTP: each recipient by itself, and once, whatever goes wrong."""

import asyncio
import smtplib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.servers.tls import Tls
from tests.support.crm import Crm
from tests.support.databases import Postgres
from tests.support.router_process import NewRouter
from tests.support.traffic import message

MESSAGES = 120


class Route:
    """A domain of ours, whose mail Postfix hands to the router; `profile` is the listener's TOML."""

    def __init__(self, way: str, postfix: Postfix, folder: Path) -> None:
        kind, over = way.split("-")
        port = free_port()
        if over == "unix":
            listen, self.domain = f"unix:{folder}/lmtp", f"{folder.name}.test"
            postfix.route(self.domain, folder / "lmtp", "lmtp")
        else:
            listen, self.domain = f"127.0.0.1:{port}", postfix.domain_for(port, "lmtp" if kind == "lmtp" else "smtp")
        self.profile = (
            f'[incoming.drop]\ntransport = "{kind}"\nlisten = "{listen}"\nowners = ["*@{self.domain}"]\nrule = "all"\n'
            + ('mode = "0666"\n' if over == "unix" else "")
        )


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a socket, whose name ends at 107 bytes, while pytest's own folders are long; Postfix is another user."""
    with tempfile.TemporaryDirectory(prefix="er-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(params=["smtp-tcp", "lmtp-tcp", "lmtp-unix"])
def route(request: pytest.FixtureRequest, postfix: Postfix, folder: Path) -> Route:
    return Route(request.param, postfix, folder)


def hand_over(postfix: Postfix, numbers: range, recipients: list[str]) -> None:
    """Give Postfix so many messages, each for all the recipients."""
    with smtplib.SMTP("127.0.0.1", postfix.smtp) as client:
        for number in numbers:
            client.sendmail("karl@kunde.test", recipients, message(number))


async def receipts(crm: Crm) -> dict[str, int]:
    """How many emails each owner has."""
    rows = await crm.admin.fetch(
        "SELECT o.mailbox, count(*) FROM crm.receipt AS r JOIN crm.owner AS o ON o.record_id = r.owner_id GROUP BY 1"
    )
    return {row["mailbox"]: row["count"] for row in rows}


async def test_each_recipient_is_answered_by_itself(
    crm: Crm, new_router: NewRouter, postfix: Postfix, route: Route
) -> None:
    """T15: the mail of an owner who is not approved stays with the mail server; that of a stranger bounces."""
    ulla, otto, late = (f"{name}@{route.domain}" for name in ("ulla", "otto", "late"))
    await crm.owner(ulla, "all")
    await crm.owner(otto, "all")
    late_id = await crm.owner(late, "all", approved=False)
    await new_router(route.profile, says=("listening",))
    logged = len(postfix.log())
    tagged = otto.replace("@", "+crm-k3m9x2p7@")
    await asyncio.to_thread(
        hand_over, postfix, range(3), [ulla.replace("@", "+news@"), tagged, late, f"nobody@{route.domain}"]
    )
    await crm.wait_for(6, "SELECT count(*) FROM crm.receipt")
    assert await receipts(crm) == {ulla: 3, otto: 3}
    await asyncio.to_thread(postfix.wait_for, 3, "karl@kunde.test")  # the bounces
    assert "450 4.2.1 The owner of this mailbox is not approved yet" in postfix.log()[logged:]
    assert "550 5.1.1 Nobody here has this address" in postfix.log()[logged:]
    await crm.admin.execute("UPDATE crm.owner SET approved = true WHERE record_id = $1", late_id)
    await crm.wait_for(9, "SELECT count(*) FROM crm.receipt", timeout=40)
    assert await receipts(crm) == {ulla: 3, otto: 3, late: 3}
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 3
    assert await crm.dispositions() == {"promoted": 3, "duplicate": 6}


async def test_all_arrives_once_after_the_database_was_away(
    crm: Crm, new_router: NewRouter, postfix: Postfix, route: Route, postgres: Postgres, database: str
) -> None:
    mailboxes = [f"{name}@{route.domain}" for name in ("ulla", "otto")]
    for mailbox in mailboxes:
        await crm.owner(mailbox, "all")
    await new_router(route.profile, says=("listening",))
    dice = Random(3)
    for start in range(0, MESSAGES, MESSAGES // 3):
        middle, end = start + MESSAGES // 6, start + MESSAGES // 3
        logged = len(postfix.log())
        delivery = asyncio.create_task(asyncio.to_thread(hand_over, postfix, range(start, middle), mailboxes))
        wanted = start + dice.randrange(1, middle - start)
        await crm.wait_for(True, "SELECT count(*) >= $1 FROM crm.email", wanted)
        async with postgres.away(database):
            await delivery
            await asyncio.to_thread(hand_over, postfix, range(middle, end), mailboxes)
            while "451 4.3.0 Please try again later" not in postfix.log()[logged:]:
                await asyncio.sleep(0.05)
    # With waits as short as here its queue manager can find a message "still being delivered", and then looks at it
    # again only when it starts anew.
    await asyncio.to_thread(postfix.restart)
    await crm.wait_for(2 * MESSAGES, "SELECT count(*) FROM crm.receipt", timeout=60)
    assert await receipts(crm) == dict.fromkeys(mailboxes, MESSAGES)
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == MESSAGES
    assert (await crm.dispositions())["promoted"] == MESSAGES


@pytest.fixture
def own_postfix(tls: Tls, dovecot: Dovecot) -> Iterator[Postfix]:
    """One to be configured."""
    server = Postfix(tls, dovecot)
    yield server
    server.close()


async def test_an_owner_keeps_the_mail_and_the_crm_gets_a_copy(
    crm: Crm,
    new_router: NewRouter,
    own_postfix: Postfix,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
    folder: Path,
) -> None:
    """As docs/deployment.md says to set Postfix up, but for the table, which is a database's there."""
    owner, other = new_mailbox("ulla"), new_mailbox("other")
    await crm.owner(owner, "all")
    (folder / "generic").write_text(r"/^(.+)=(.+)@crm\.invalid$/  $1@$2" + "\n")
    own_postfix.route("crm.invalid", folder / "lmtp", "lmtp")
    own_postfix.configure(
        f"recipient_bcc_maps = inline:{{ {{ {owner} = {owner.replace('@', '=')}@crm.invalid }} }}\n"
        f"lmtp_generic_maps = regexp:{folder}/generic\n"
    )
    await new_router(
        f'[incoming.copies]\ntransport = "lmtp"\nlisten = "unix:{folder}/lmtp"\nmode = "0666"\n'
        'owners = ["*@in.test"]\ncopy = true\n',
        says=("listening",),
    )
    await asyncio.to_thread(hand_over, own_postfix, range(1), [owner, other])
    await crm.wait_for(1, "SELECT count(*) FROM crm.receipt")
    assert await receipts(crm) == {owner: 1}
    for mailbox in (owner, other):
        while len(await asyncio.to_thread(dovecot.flags, mailbox)) < 1:
            await asyncio.sleep(0.05)
    assert own_postfix.received() == []  # nothing bounced


async def test_a_killed_router_takes_its_socket_again_and_a_stopped_one_leaves_none(
    crm: Crm, new_router: NewRouter, folder: Path
) -> None:
    await crm.owner("ulla@in.test", "all")

    def deliver(number: int) -> None:
        with smtplib.LMTP(str(folder / "lmtp")) as client:
            client.sendmail("karl@kunde.test", "ulla@in.test", message(number))

    router = await new_router(
        f'[incoming.drop]\ntransport = "lmtp"\nlisten = "unix:{folder}/lmtp"\nowners = ["*@in.test"]\nrule = "all"\n',
        says=("listening",),
    )
    await asyncio.to_thread(deliver, 1)
    await router.kill()
    assert (folder / "lmtp").is_socket()
    await router.start("listening")
    await asyncio.to_thread(deliver, 2)
    await router.stop()
    assert not (folder / "lmtp").exists()
    await crm.wait_for_emails(2)
