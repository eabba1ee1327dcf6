"""Profiles that change while the router runs: only what a change is about is restarted, and no mail is lost."""

import asyncio
import itertools
import re
import shutil
import smtplib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from router.commands.status import _say_all
from router.operations import status
from router.repository.database import Database
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.ports import free_port
from tests.servers.postfix import Postfix
from tests.servers.proxy import Proxy
from tests.servers.tls import make_tls
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import MASTER
from tests.support.router_process import NewRouter, RouterProcess
from tests.support.traffic import Capture

LOGIN = f'{{ user = "{MASTER["user"]}", password = {{ env = "MASTER_PASSWORD" }} }}'


def reads(name: str, port: int, mailbox: str, auth: str = LOGIN, **keys: object) -> str:
    more = "\n".join(f"{key} = {value}" for key, value in keys.items())
    return f"""
[incoming.{name}]
transport = "imap"
host = "127.0.0.1"
port = {port}
security = "none"
auth = {auth}
owners = ["{mailbox}"]
poll = 60
{more}
"""


def listens(port: int, mailbox: str) -> str:
    return f"""
[incoming.door]
transport = "smtp"
listen = "127.0.0.1:{port}"
owners = ["{mailbox}"]
rule = "all"
"""


def sends(name: str, port: int, *senders: str, security: str = "none", **keys: object) -> str:
    more = "\n".join(f"{key} = {value}" for key, value in keys.items())
    patterns = ", ".join(f'"{sender}"' for sender in senders)
    return f"""
[outgoing.{name}]
transport = "smtp"
host = "127.0.0.1"
port = {port}
security = "{security}"
senders = [{patterns}]
sent_copy = "none"
{more}
"""


@asynccontextmanager
async def repeated(work: Callable[[int], object]) -> AsyncIterator[list[int]]:
    """Do a piece of work in a thread again and again; the numbers of those that are done."""
    done: list[int] = []
    stop = asyncio.Event()

    async def go_on() -> None:
        for number in itertools.count():
            await asyncio.to_thread(work, number)
            done.append(number)
            if stop.is_set():
                return
            await asyncio.sleep(0.05)

    task = asyncio.create_task(go_on())
    try:
        yield done
    finally:
        stop.set()
        await task


async def more(done: list[int], count: int = 3) -> None:
    """Return once so many more pieces of work are done: the flow went on meanwhile."""
    begun = len(done)
    async with asyncio.timeout(20):
        while len(done) < begun + count:
            await asyncio.sleep(0.01)


@pytest.fixture
def second_capture() -> Iterator[Capture]:
    capture = Capture()
    capture.start()
    yield capture
    capture.stop()


async def change(router: RouterProcess, words: str, make: Callable[[], object]) -> None:
    """Make a change, and return once the log tells it."""
    begins = len(router.log_file.read_bytes())
    make()
    await router.wait_for_log(words, begins)


class Traffic:
    """Mail that flows all the time: into mailboxes, to the listener over one connection, and out."""

    def __init__(self, crm: Crm, dovecot: Dovecot, door: int) -> None:
        self._crm = crm
        self._dovecot = dovecot
        self._door = door
        self._sql = asyncio.Lock()  # the CRM has one connection
        self.delivered: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def into(self, mailbox: str) -> AbstractAsyncContextManager[list[int]]:
        def deliver(number: int) -> None:
            self._dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, f"{mailbox} {number}"))
            self.delivered[f"{mailbox} {number}"] += 1

        return repeated(deliver)

    @asynccontextmanager
    async def at_the_door(self, mailbox: str) -> AsyncIterator[list[int]]:
        """Over one connection, which would fail if the listener were closed."""
        with smtplib.SMTP("127.0.0.1", self._door) as smtp:

            def hand_over(number: int) -> None:
                smtp.sendmail("karl@kunde.test", [mailbox], letter("karl@kunde.test", mailbox, f"{mailbox} {number}"))
                self.delivered[f"{mailbox} {number}"] += 1

            async with repeated(hand_over) as done:
                yield done

    def out_of(self, mailbox: str) -> AbstractAsyncContextManager[list[int]]:
        loop = asyncio.get_running_loop()

        async def send(number: int) -> None:
            async with self._sql:
                await self._crm.send(mailbox, "karl@kunde.test", f"{mailbox} {number}", "hello")
            self.sent[f"{mailbox} {number}"] += 1

        return repeated(lambda number: asyncio.run_coroutine_threadsafe(send(number), loop).result())


async def test_while_mail_flows_both_ways_a_change_restarts_only_what_it_is_about(
    crm: Crm,
    new_router: NewRouter,
    dovecot: Dovecot,
    new_mailbox: Callable[[str], str],
    capture: Capture,
    second_capture: Capture,
) -> None:
    ann, ben, cem, dora, eve = map(new_mailbox, ("ann", "ben", "cem", "dora", "eve"))
    for mailbox in (ann, ben, cem, dora, eve):
        await crm.owner(mailbox, "all")
    door = free_port()
    async with AsyncExitStack() as stack:
        to_ann, to_ben, to_cem, to_dora = [
            await stack.enter_async_context(Proxy(dovecot.imap, listening=True)) for _ in range(4)
        ]
        relay, second = [await stack.enter_async_context(Proxy(one.port)) for one in (capture, second_capture)]
        router = await new_router(
            reads("ann", to_ann.port, ann) + listens(door, eve) + sends("ann", relay.port, ann, eve, connections=1)
        )
        folder = router.profiles
        (folder / "ben.toml").write_text(reads("ben", to_ben.port, ben))
        (folder / "cem.toml").write_text(reads("cem", to_cem.port, cem))
        (folder / "second.toml").write_text(sends("second", second.port, ben, cem))
        await crm.wait_for_sources(3)
        traffic = Traffic(crm, dovecot, door)
        flowing = await stack.enter_async_context(AsyncExitStack())
        flows = [
            await flowing.enter_async_context(flow)
            for flow in (traffic.into(ann), traffic.into(ben), traffic.into(cem), traffic.at_the_door(eve))
        ]
        flows += [await flowing.enter_async_context(traffic.out_of(one)) for one in (ann, ben)]

        async def all_flow() -> None:
            for flow in flows:
                await more(flow)

        await all_flow()
        epochs = {
            row["mailbox"]: row["epoch"] for row in await crm.admin.fetch("SELECT mailbox, epoch FROM router.source")
        }
        connections = to_ann.connections, to_cem.connections
        assert to_ben.connections == 1

        await change(
            router,
            'profile changed.*"incoming.ben"',
            lambda: (folder / "ben.toml").write_text(reads("ben", to_ben.port, ben, timeout=20)),
        )
        await all_flow()
        (folder / "dora.toml").write_text(reads("dora", to_dora.port, dora))
        await crm.wait_for_sources(4)
        flows.append(await flowing.enter_async_context(traffic.into(dora)))
        await all_flow()
        await change(
            router,
            "a profile is broken",
            lambda: (folder / "cem.toml").write_text("[incoming.cem]\ntransport = imap\n"),
        )
        await all_flow()
        # What it carried is pending until another profile carries it.
        await change(router, 'profile removed.*"outgoing.second"', (folder / "second.toml").unlink)
        await all_flow()
        (folder / "second.toml").write_text(sends("other", second.port, ben, cem))
        await all_flow()
        await flowing.aclose()

        await crm.wait_for(
            sum(traffic.sent.values()), "SELECT count(*) FROM crm.email WHERE status = 'sent'", timeout=60
        )
        assert capture.accepted.total() + second_capture.accepted.total() == traffic.sent.total()
        assert max((capture.accepted + second_capture.accepted).values()) == 1
        await crm.wait_for_emails(traffic.delivered.total(), timeout=60)
        subjects = Counter(
            row["subject"] for row in await crm.rows("SELECT subject FROM crm.email WHERE direction = 'in'")
        )
        assert subjects == traffic.delivered
        assert (to_ann.connections, to_cem.connections) == connections
        # A relay's connection ends after a hundred messages, and for no other reason.
        assert relay.connections == -(-capture.accepted.total() // 100)
        assert b"LOGOUT" not in to_ann.heard + to_cem.heard
        now = {
            row["mailbox"]: row["epoch"] for row in await crm.admin.fetch("SELECT mailbox, epoch FROM router.source")
        }
        assert {mailbox for mailbox, epoch in epochs.items() if now[mailbox] != epoch} == {ben}
        assert to_ben.connections == 2


async def test_a_password_that_is_put_right_is_used_at_once_in_and_out(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, postfix: Postfix, ca_file: Path, mailbox: str, tmp_path: Path
) -> None:
    """Without a word to the router, it would try again only after minutes: a refused login is not repeated often."""
    password = tmp_path / "secrets" / "password"
    password.parent.mkdir()
    password.write_text("wrong")
    await crm.owner(mailbox, "all")
    auth = f'{{ user = "{mailbox}", password = {{ file = "{password}" }} }}'
    out = sends("ann", postfix.smtp, mailbox, security="starttls", ca_file=f'"{ca_file}"', auth=auth)
    router = await new_router(reads("ann", dovecot.imap, mailbox, auth) + out)
    email = await crm.send(mailbox, "karl@kunde.test", "An offer", "hello")
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL AND next_try_at > now() + '20 s'")
    await crm.wait_for(1, "SELECT count(*) FROM router.relay WHERE next_try_at > now()")
    await change(router, "a secret was replaced", lambda: password.write_text(PASSWORD))
    await crm.wait_for_sources(1)
    await crm.wait_for_status(email, "sent")
    await crm.wait_for(0, "SELECT count(*) FROM router.relay")


async def test_one_broken_profile_stops_neither_the_start_nor_the_others(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(
        reads("ann", dovecot.imap, mailbox) + reads("ben", dovecot.imap, "ben@in.test", pol=1),
        says=(r'a profile is broken.*\[incoming\.ben\] unknown key \\"pol\\"',),
    )
    await crm.wait_for_sources(1)
    fault = "SELECT faults #>> '{profile folder,fault}' LIKE '%pol%' FROM router.process"
    await crm.wait_for(True, fault)
    (router.profiles / "all.toml").write_text(reads("ann", dovecot.imap, mailbox))
    await crm.wait_for(None, fault)


async def test_it_is_told_whether_a_broken_profile_goes_on_or_is_not_served(
    crm: Crm, new_router: NewRouter, dovecot: Dovecot, mailbox: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await crm.owner(mailbox, "all")
    sound = reads("ann", dovecot.imap, mailbox) + sends("late", free_port(), "late@in.test")
    router = await new_router(sound)
    (router.profiles / "new.toml").write_text("[incoming.new]\n")
    await router.wait_for_log(r"a profile is broken: it is not served.*\[incoming.new\]")

    async def told() -> tuple[str, dict[str, str]]:
        async with Database(database, connections=1) as ours:
            report = await status.read(ours, timedelta(seconds=2), router.profiles)
        _say_all(report, None)
        [row] = re.findall(r"^profiles    (.*)$", capsys.readouterr().out, re.MULTILINE)
        return row, {one.name: one.words for one in report.faults if one.part == "profile"}

    (router.profiles / "all.toml").write_text(sound.replace("poll", "pol"))
    form = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    await router.wait_for_log(rf'a profile is broken: it goes on in its earlier form.*"form": "{form}"')
    await crm.wait_for(1, "SELECT count(*) FROM router.process WHERE profiles::text LIKE '%goes on%'")
    row, faults = await told()
    assert row == "ann (earlier form), late, new (not served)"
    assert re.search(rf"; it goes on in its form of {form}$", faults["[incoming.ann]"])
    assert faults["[incoming.new]"].endswith("; it is not served")
    # A file that is not TOML is told with its profiles, and is not better than it was.
    (router.profiles / "all.toml").write_text(sound.replace('"imap"', "imap"))
    await router.wait_for_log(r"text needs quotes")
    await crm.wait_for(
        2,
        "SELECT count(*) FROM router.process, jsonb_array_elements(profiles) AS p WHERE p::text LIKE '%needs quotes%'",
    )
    row, faults = await told()
    assert row == "ann (earlier form), late (earlier form), new (not served)"
    assert faults.keys() == {"[incoming.ann]", "[outgoing.late]", "[incoming.new]"}
    assert "is mended" not in router.log()


async def test_a_certificate_of_a_listener_is_renewed_without_a_restart(
    crm: Crm, new_router: NewRouter, mailbox: str, tmp_path: Path
) -> None:
    await crm.owner(mailbox, "all")
    port, folder = free_port(), tmp_path / "certificate"
    folder.mkdir()
    first, second = make_tls(folder), make_tls(tmp_path)
    served, key = folder / "served.pem", folder / "served.key"
    shutil.copy(first.certificate, served)
    shutil.copy(first.key, key)
    router = await new_router(
        listens(port, mailbox) + f'cert_file = "{served}"\nkey_file = "{key}"\n', says=("listening",)
    )

    def renew() -> None:
        shutil.copy(second.key, key)
        shutil.copy(second.certificate, served)

    def certificate() -> str:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            smtp.starttls(context=ssl._create_unverified_context())
            assert isinstance(smtp.sock, ssl.SSLSocket)
            return ssl.DER_cert_to_PEM_cert(smtp.sock.getpeercert(binary_form=True) or b"")

    assert certificate().strip() in first.certificate.read_text()
    await change(router, "profile changed(.|\n)*listening", renew)
    assert certificate().strip() in second.certificate.read_text()
