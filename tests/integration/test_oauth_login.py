"""`email-router oauth login`: a person logs in once, in a browser or on another device, and mail comes in."""

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from router.oauth2.keeper import Keeper
from router.oauth2.login import BrowserLogin, DeviceLogin
from router.oauth2.vault import Vault
from router.operations import logins
from router.operations.logins import LoginFailed
from router.profile import Profiles, read_folder
from router.repository.database import Database
from tests.servers.tls import Tls
from tests.support.crm import Crm
from tests.support.office import EVERYBODY, Office
from tests.support.router_process import NewRouter, RouterProcess
from transports.errors import Permanent


def _hear_ctrl_c() -> None:
    """Where the tests themselves run in the background, what they start would not hear it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """One `email-router oauth login` at a terminal, where a router runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said = ""

    @classmethod
    async def open(cls, router: RouterProcess, *arguments: str) -> "Terminal":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "router", "oauth", "login", *arguments),
                env=router._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=_hear_ctrl_c,
            )
        )

    async def line(self, begin: str) -> str:
        """Return the first line that begins so, but for blanks."""
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode():
            self.said += line
            if line.strip().startswith(begin):
                return line.strip()
        raise AssertionError(self.said)

    def interrupt(self) -> None:
        """Do as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> int:
        """Type nothing, and wait until it ends by itself."""
        assert self._process.stdout is not None
        self.said += (await self._process.stdout.read()).decode()
        return await self._process.wait()

    async def end(self, text: str = "") -> int:
        rest, _ = await self._process.communicate(f"{text}\n".encode() if text else b"")
        self.said += rest.decode()
        assert self._process.returncode is not None
        return self._process.returncode


async def log_in_at(page: str, user: str, tls: Tls) -> str:
    """Log in as a person does, in a browser; return the address that the browser is sent to."""
    connector = aiohttp.TCPConnector(ssl=tls.client_context())
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(page, data={"user": user}, allow_redirects=False) as back,
    ):
        assert back.status == 302, await back.text()
        return back.headers["Location"]


async def test_a_login_in_a_browser_opens_the_mailboxes(
    crm: Crm,
    new_router: NewRouter,
    office: Office,
    mailbox: str,
    database: str,
    tls: Tls,
) -> None:
    await crm.owner(mailbox, "all")
    profile = office.incoming("pop3", grant="authorization_code", start="all")
    router = await office.router(new_router, profile)
    await asyncio.to_thread(office.deliver, [mailbox])
    terminal = await Terminal.open(router, "staff")
    back = await log_in_at(await terminal.line("https://"), EVERYBODY, tls)
    assert await terminal.end(back) == 0, terminal.said
    assert "logged in: [incoming.staff] opens all mailboxes by this login" in terminal.said
    await crm.wait_for_emails(1, timeout=90)
    await office.check_secrets(crm, database, router)
    # An address of another login is none of this one.
    terminal = await Terminal.open(router, "staff")
    await terminal.line("https://")
    assert await terminal.end(back) == 1
    assert "is not of this login" in terminal.said


async def test_a_browser_on_this_machine_comes_back_by_itself(
    crm: Crm, new_router: NewRouter, office: Office, mailbox: str, database: str, tls: Tls
) -> None:
    await crm.owner(mailbox, "all")
    router = await office.router(new_router, office.incoming("pop3", grant="authorization_code", start="all"))
    await asyncio.to_thread(office.deliver, [mailbox])
    terminal = await Terminal.open(router, "staff")  # its stdin is open, and nobody types
    back = await log_in_at(await terminal.line("https://"), EVERYBODY, tls)
    async with aiohttp.ClientSession() as browser:
        async with browser.get(back.partition("?")[0]) as stray:
            assert stray.status == 404
        async with browser.get(URL(back, encoded=True)) as page:
            assert "You may close this window" in await page.text()
    assert await terminal.ended() == 0, terminal.said
    assert "logged in: [incoming.staff] opens all mailboxes by this login" in terminal.said
    await crm.wait_for_emails(1, timeout=90)
    await office.check_secrets(crm, database, router)
    assert not [secret for secret in office.server.seen if secret in terminal.said]


async def test_where_only_the_fixed_address_is_allowed_the_last_address_is_pasted(
    new_router: NewRouter, office: Office, tls: Tls
) -> None:
    router = await office.router(new_router, office.incoming(grant="authorization_code"))
    terminal = await Terminal.open(router, "staff", "--paste")
    back = await log_in_at(await terminal.line("https://"), EVERYBODY, tls)
    assert back.startswith("http://localhost/?")
    assert await terminal.end(f"\n{back}") == 0, terminal.said
    terminal = await Terminal.open(router, "staff", "--paste")
    assert await terminal.end() == 1
    assert "no address was pasted" in terminal.said


async def test_a_login_at_which_nobody_comes_back_ends(office: Office, database: str, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "all.toml").write_text(office.incoming(grant="authorization_code"))
    profiles: Profiles = (await asyncio.to_thread(read_folder, tmp_path / "profiles")).profiles
    shown: list[BrowserLogin] = []

    async def show(begun: BrowserLogin) -> str:
        shown.append(begun)
        nobody: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await nobody

    async with Database(database) as ours, Keeper(ours, Vault(office.keys, make=False)) as keeper:
        asked = logins.find(profiles, "staff", "")
        with pytest.raises(LoginFailed, match="nobody came back"):
            await logins.by_browser(keeper, asked, show, patience=0.1)
    assert "localhost%3A" in shown[0].url


async def test_ctrl_c_ends_a_login_that_is_waited_for(new_router: NewRouter, office: Office) -> None:
    router = await office.router(new_router, office.incoming(grant="authorization_code"))
    terminal = await Terminal.open(router, "staff")
    await terminal.line("https://")
    terminal.interrupt()
    assert await terminal.ended() == 130
    assert "Traceback" not in terminal.said


async def test_what_cannot_be_logged_in_for_is_said(new_router: NewRouter, office: Office) -> None:
    profiles = office.incoming(name="app") + office.incoming(
        name="sales", grant="authorization_code", owners=["a@in.test"]
    )
    router = await office.router(new_router, profiles)
    for arguments, status, words in (
        (["app"], 1, "[incoming.app] has its tokens by client_credentials, so nobody need log in"),
        (["nobody"], 2, "there is no profile 'nobody'"),
        (["sales", "--owner", "b@in.test"], 2, "[incoming.sales] does not serve b@in.test"),
    ):
        terminal = await Terminal.open(router, *arguments)
        assert await terminal.end() == status, terminal.said
        assert words in " ".join(terminal.said.split())


async def test_a_login_on_another_device_is_one_mailboxs_own(
    crm: Crm,
    office: Office,
    mailbox: str,
    database: str,
    tmp_path: Path,
) -> None:
    await crm.owner(mailbox)
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "all.toml").write_text(office.incoming(grant="authorization_code"))
    profiles: Profiles = (await asyncio.to_thread(read_folder, folder)).profiles
    office.server.interval = 1

    async with Database(database) as ours, Keeper(ours, Vault(office.keys, make=False)) as keeper:
        asked = logins.find(profiles, "staff", mailbox)
        await logins.on_device(keeper, asked, lambda begun: office.server.approve(begun.user_code, mailbox))
        token = await keeper.get(asked.oauth2, mailbox)
        assert token == office.server.given[-1]
        with pytest.raises(Permanent, match="nobody has logged in"):
            await keeper.get(asked.oauth2, "somebody.else@in.test")

        def deny(begun: DeviceLogin) -> None:
            assert begun.url.startswith("https://")
            office.server.approve(begun.user_code, "")

        with pytest.raises(LoginFailed, match=r"denied|refused"):
            await logins.on_device(keeper, asked, deny)
        assert await keeper.get(asked.oauth2, mailbox) == token


async def test_in_a_copy_of_the_database_nobody_logs_in(crm: Crm, new_router: NewRouter, office: Office) -> None:
    router = await office.router(new_router, office.incoming(grant="authorization_code"))
    await crm.admin.execute("UPDATE router.installation SET database_oid = 1")
    terminal = await Terminal.open(router, "staff")
    assert await terminal.end() == 1
    assert "this database is a copy of another" in " ".join(terminal.said.split())
