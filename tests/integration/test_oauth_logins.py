"""`email-router oauth list` and `oauth forget`: which logins there are, and how one is taken away again."""

import asyncio
import json
import os
import pty
import sys
from typing import Any

from router.oauth2.exchange import Granted
from router.oauth2.identity import identity_of
from router.oauth2.keeper import Keeper
from router.oauth2.vault import Vault
from router.profile import read_folder
from router.profile.tokens import oauth2_of
from router.repository.database import Database
from tests.support.crm import Crm
from tests.support.office import EVERYBODY, Office
from tests.support.router_process import NewRouter, RouterProcess
from transports import OAuth2


async def keep(office: Office, database: str, oauth2: OAuth2, owner: str = "", user: str = EVERYBODY) -> None:
    """Keep a login, as `oauth login` does."""
    async with Database(database) as ours, Keeper(ours, Vault(office.keys, make=False)) as keeper:
        given = Granted(office.dovecot.token(user), "the-refresh-token", 3600, 90 * 86400, "mail")
        await keeper.keep_login(oauth2, owner, given, 0)


def oauth2_in(router: RouterProcess, name: str) -> OAuth2:
    profiles = read_folder(router.profiles).profiles
    [found] = [one for one in profiles.by_key.values() if one.title == f"[{name}]"]
    return next(oauth2_of(found))


async def listed(router: RouterProcess) -> list[dict[str, Any]]:
    status, printed = await router.ask("oauth", "list", "--json")
    assert status == 0
    logins: list[dict[str, Any]] = json.loads(printed)["logins"]
    return logins


async def test_which_logins_there_are(crm: Crm, new_router: NewRouter, office: Office, database: str) -> None:
    await crm.owner("ann@in.test")
    auth = office.auth("authorization_code")
    auth["oauth2"]["client_secret_expires"] = "2030-01-31"
    profiles = office.incoming(auth=auth, owners=["*@in.test"]) + office.outgoing(name="app", senders=["*@in.test"])
    router = await office.router(new_router, profiles)
    first = (await listed(router))[0]
    assert (first["profile"], first["mailbox"], first["state"]) == ("incoming.staff", None, "not logged in")
    oauth2 = oauth2_in(router, "incoming.staff")
    for owner in ("", "ann@in.test", "gone@in.test"):
        await keep(office, database, oauth2, owner)
    await crm.admin.execute(
        "UPDATE router.token SET fault = 'it was revoked', fault_kind = 'refused', "
        "fault_since = '2026-11-01 10:00+00', next_try_at = '2026-11-01 10:15+00' WHERE subject = 'ann@in.test'"
    )
    whole, ann, gone, app = await listed(router)
    assert (whole["state"], whole["mailbox"], whole["grant"]) == ("works", None, "authorization_code")
    assert whole["ends"]["client secret"].startswith("2030-01-31")
    assert "login" in whole["ends"]
    assert (ann["state"], ann["mailbox"], ann["fault"]) == ("fault", "ann@in.test", "it was revoked")
    assert (gone["state"], gone["mailbox"]) == ("of no owner", "gone@in.test")
    assert (app["profile"], app["grant"], app["mailbox"]) == ("outgoing.app", "client_credentials", None)
    status, table = await router.ask("oauth", "list")
    assert status == 0
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert lines[0] == "profile mailbox grant state ends"
    assert lines[1].startswith("[incoming.staff] all mailboxes authorization_code works until ")
    assert lines[2].startswith(
        "[incoming.staff] ann@in.test authorization_code no new token since 2026-11-01 10:00 UTC ("
    )
    assert "it was revoked login " in lines[2]
    assert lines[3].startswith("[incoming.staff] gone@in.test authorization_code of no owner any more login ")
    assert "the-refresh-token" not in table


async def test_a_login_that_is_forgotten_opens_nothing_any_more(
    crm: Crm, new_router: NewRouter, office: Office, database: str
) -> None:
    await crm.owner("ann@in.test")
    router = await office.router(
        new_router,
        office.incoming(grant="authorization_code", owners=["*@in.test"])
        + office.outgoing(grant="authorization_code", senders=["*@in.test"])
        + office.incoming(name="app", owners=["*@elsewhere.test"]),
    )
    oauth2 = oauth2_in(router, "incoming.staff")
    for owner in ("", "ann@in.test", "gone@in.test"):
        await keep(office, database, oauth2, owner)

    for arguments, status, words in (
        (["staff"], 2, "say --yes"),
        (["nobody", "--yes"], 2, "there is no profile"),
        (["app", "--yes"], 1, "has its tokens by client_credentials"),
        (["staff", "--owner", "ben@in.test", "--yes"], 1, "there is nothing to forget"),
    ):
        ended, _, said = await router.ask_for_all("oauth", "forget", *arguments)
        assert (ended, words in " ".join(said.replace("│", " ").split())) == (status, True), said
    assert await crm.admin.fetchval("SELECT count(*) FROM router.token WHERE sealed IS NOT NULL") == 3

    _, said = await router.ask("oauth", "forget", "staff", "--owner", "Gone@in.test", "--yes")
    assert "nothing needs it, since the mailbox is of no owner any more" in said
    _, said = await router.ask("oauth", "forget", "staff", "--owner", "ann@in.test", "--yes")
    assert "opened by the login for all mailboxes from now on" in said
    [kept] = await crm.admin.fetch("SELECT id FROM router.token WHERE sealed IS NOT NULL")
    assert kept["id"] == identity_of(oauth2, "").key

    assert await at_a_terminal(router, "n") != 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.token WHERE sealed IS NOT NULL") == 1
    assert await at_a_terminal(router, "y") == 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.token WHERE sealed IS NOT NULL") == 0
    assert (await listed(router))[0]["state"] == "not logged in"


async def at_a_terminal(router: RouterProcess, answer: str) -> int:
    """Forget the login for all mailboxes, and answer what is asked; returns the status."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "router", "oauth", "forget", "staff"),
            env=router._environment,
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        said = (await process.stderr.readuntil(b"[y/N]:")).decode()
        assert "the login of [incoming.staff] and [outgoing.relay] for all mailboxes: nothing is read or sent" in said
        os.write(ours, f"{answer}\n".encode())
        await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return process.returncode
