"""`email-router doctor`, as an admin runs it: on real servers with nothing wrong, and with each thing broken."""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from router.model.identity import Identity
from tests.servers.dovecot import Dovecot
from tests.servers.ports import free_port
from tests.support.crm import Crm
from tests.support.forked import email_router
from tests.support.letters import letter
from tests.support.profiles import SECRETS, Profile
from tests.support.router_process import NewRouter

ROOT = Path(__file__).parents[2]


class Doctor(Protocol):
    """`doctor(profiles, status=0)` runs it and returns its findings by check, as (state, words, cure)."""

    async def __call__(
        self, profiles: str, status: int = 0, *, secrets: Mapping[str, str] = ..., **environment: str
    ) -> dict[str, list[tuple[str, str, str]]]: ...


@pytest.fixture
def doctor(database: str, tmp_path: Path) -> Doctor:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMAIL_ROUTER_")}

    async def run(
        profiles: str, status: int = 0, *, secrets: Mapping[str, str] = SECRETS, **environment: str
    ) -> dict[str, list[tuple[str, str, str]]]:
        folder = tmp_path / "doctor"
        folder.mkdir(exist_ok=True)
        (folder / "all.toml").write_text(profiles)
        settings = {
            "EMAIL_ROUTER_DATABASE_URL": database,
            "EMAIL_ROUTER_PROFILES": str(folder),
            "EMAIL_ROUTER_DATA": str(tmp_path / "data"),
            "EMAIL_ROUTER_LEASE": "2",
        }
        process = await email_router(
            "doctor", "--json", env=inherited | settings | dict(secrets) | environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert (process.returncode, err.decode()) == (status, ""), out.decode() + err.decode()
        told = json.loads(out)
        assert told["ok"] is (status == 0)
        states = [one["state"] for one in told["findings"]]
        assert states == sorted(states, key=["failed", "warning", "ok"].index)
        for secret in SECRETS.values():
            assert secret not in out.decode()
        found: dict[str, list[tuple[str, str, str]]] = {}
        for one in told["findings"]:
            assert one["cure"] or one["state"] == "ok" or "within" in one["words"], one
            found.setdefault(one["check"], []).append((one["state"], one["words"], one["cure"]))
        return found

    return run


def wrong(found: Mapping[str, list[tuple[str, str, str]]]) -> dict[str, list[str]]:
    """The words of what is not well, by check."""
    return {
        check: words
        for check, findings in found.items()
        if (words := [f"{state}: {said}" for state, said, _ in findings if state != "ok"])
    }


async def test_where_nothing_is_wrong_it_says_so(
    doctor: Doctor, new_router: NewRouter, crm: Crm, incoming: Profile, outgoing: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox)
    profiles = incoming() + outgoing()
    await new_router(profiles)
    await crm.wait_for_sources(1)
    found = await doctor(profiles)
    assert wrong(found) == {}
    assert set(found) == {
        "database", "clocks", "console", "processes", "profiles", "sending", "sent mail", "owners", "faults",
        "waiting", "servers",
    }  # fmt: skip
    assert found["servers"][0][1] == "2 connections tried"
    assert found["database"][0][1].startswith("PostgreSQL ")


async def test_a_server_that_refuses_the_login_is_at_fault_and_told_with_its_next_try(
    doctor: Doctor, new_router: NewRouter, crm: Crm, incoming: Profile, outgoing: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox)
    profiles = incoming() + outgoing(port=free_port())
    wrong_secrets = SECRETS | {"MAILBOX_PASSWORD": "not-the-password"}
    await new_router(profiles, MAILBOX_PASSWORD="not-the-password")
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
    found = await doctor(profiles, 1, secrets=wrong_secrets)
    assert set(wrong(found)) == {"faults", "servers"}
    [(_, words, cure)] = found["faults"]
    assert words.startswith(f"source staff {mailbox} INBOX since 2")
    assert ", next try " in words
    assert cure == "email-router test staff"
    said = wrong(found)["servers"]
    assert any(one.startswith(f"failed: [incoming.staff] {mailbox}: login: ") for one in said)
    assert any(one.startswith("failed: [outgoing.relay]: connection: ") for one in said)
    assert len(said) == 2


async def test_owners_and_mail_that_wait_are_told(
    doctor: Doctor, crm: Crm, incoming: Profile, outgoing: Profile, mailbox: str, dovecot: Dovecot
) -> None:
    ann = await crm.owner(mailbox)
    await crm.owner("nobody@elsewhere.test")
    await crm.owner("new@in.test", approved=False)
    dovecot.append(mailbox, letter("karl@kunde.test", mailbox))
    await crm.send(mailbox, "karl@kunde.test", "late")
    await crm.admin.execute("UPDATE router.outbox SET next_at = now() - interval '10 minutes'")
    lost, failed = [await crm.draft(mailbox, "karl@kunde.test", what) for what in ("lost", "failed")]
    for email_id, status in ((lost, "unknown"), (failed, "failed")):
        await crm.move(email_id, "pending_send")
        await crm.admin.execute("UPDATE crm.email SET status = 'sending' WHERE id = $1", email_id)
        await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", email_id, status)
        await crm.admin.execute("DELETE FROM router.outbox WHERE email_id = $1", email_id)
    source_id = await crm.admin.fetchval(
        """
        INSERT INTO router.source (profile, mailbox, identity, account, folder, owner_id, begins_at, process_id)
        VALUES ('staff', $1, $1, 'imap:ann', 'INBOX', $2, '-infinity', gen_random_uuid()) RETURNING id
        """,
        mailbox,
        ann,
    )
    await crm.admin.execute("INSERT INTO router.source_count (source_id, held, dead) VALUES ($1, 2, 1)", source_id)
    await crm.admin.execute(
        """
        INSERT INTO router.decision (source_id, validity, place, disposition, rule, reasons, received_at, decided_at)
        VALUES ($1, '', '1', 'ignored', 'replies', '{}', now(), now() - interval '2 hours')
        """,
        source_id,
    )
    found = await doctor(incoming(after="seen") + outgoing(), 1)
    said = wrong(found)
    assert said["processes"] == ["failed: no router process runs, so nothing is read or sent"]
    assert said["owners"] == [
        "failed: owner nobody@elsewhere.test: no incoming profile serves this mailbox; add it to the owners of one",
        "failed: no outgoing profile carries the email of nobody@elsewhere.test: it waits for ever",
        "warning: 1 not approved: nothing of theirs is read or sent",
    ]
    waiting = "\n".join(said["waiting"])
    assert "failed: 1 pending email due, the oldest since " in waiting
    assert f"the outcome of 1 email is unknown: the relay never answered ({lost})" in waiting
    assert f"1 email failed within the last day for no relay was asked ({failed})" in waiting
    assert "held: 2 copies of mail" in waiting
    assert "dead: 1 copy of mail" in waiting
    assert f'what "after" says was not done for an hour in staff {mailbox} INBOX' in waiting
    assert "servers" not in said


async def test_clocks_that_differ_and_stopped_sending_are_told(doctor: Doctor, crm: Crm, outgoing: Profile) -> None:
    await crm.admin.execute(
        """
        INSERT INTO router.process (id, host, pid, seen_at, clock_ahead) VALUES
            (gen_random_uuid(), 'fast', 1, now() + interval '1 hour', 90),
            (gen_random_uuid(), 'slow', 2, now() + interval '1 hour', -7),
            (gen_random_uuid(), 'dead', 3, now() - interval '1 hour', 90)
        """
    )
    await crm.admin.execute("UPDATE router.installation SET sending = false, reason = 'we move'")
    said = wrong(await doctor(outgoing(), 1))
    assert said["clocks"] == [
        "failed: the clock of fast:1 and the database's differ by 90 s",
        "warning: the clock of slow:2 and the database's differ by 7 s",
    ]
    [silent] = said["processes"]
    assert silent.startswith("warning: dead (pid 3) ended without a word; it was last heard on ")
    assert said["sending"][0].endswith("UTC: we move")
    await crm.admin.execute("UPDATE router.installation SET system_identifier = system_identifier + 1")
    said = wrong(await doctor(outgoing(), 1))
    assert said["sending"] == ["warning: this database is a copy of another, so nothing is sent or read"]


async def test_a_shell_without_the_secrets_is_content_with_what_runs(
    doctor: Doctor, new_router: NewRouter, crm: Crm, incoming: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox)
    await new_router(incoming())
    await crm.wait_for_sources(1)
    found = await doctor(incoming(), secrets={})
    assert wrong(found) == {
        "servers": ["warning: [incoming.staff] is not tried: as it is written here, it cannot be used"]
    }
    said = wrong(await doctor(incoming(hots="x"), 1, secrets={}))
    assert any("[incoming.staff]" in words and "hots" in words for words in said["profiles"])


async def test_a_secret_that_the_router_lacks_too_is_no_matter_of_the_environment(
    doctor: Doctor, new_router: NewRouter, crm: Crm, outgoing: Profile, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    profiles = outgoing(auth={"user": "crm", "password": {"file": str(secret)}})
    await new_router(profiles)
    secret.write_text("")
    await crm.wait_for(1, "SELECT count(*) FROM router.process WHERE profiles::text LIKE '%is empty%'")
    told = await doctor(profiles, status=1)
    [(state, words, cure)] = [one for one in told["servers"] if "[outgoing.relay]" in one[1]]
    assert (state, words.partition(":")[0]) == ("warning", "[outgoing.relay] is not tried")
    assert cure == "correct the mistake above"
    assert ("ok", "none is tried", "") in told["servers"]


async def test_a_typo_is_to_be_corrected_and_no_environment_is_missing(doctor: Doctor, outgoing: Profile) -> None:
    told = await doctor(outgoing() + "x = 1\n", status=1)
    [(state, words, cure)] = [one for one in told["servers"] if "[outgoing.relay]" in one[1]]
    assert (state, words.partition(":")[0]) == ("warning", "[outgoing.relay] is not tried")
    assert cure.startswith("correct the mistake above")


async def test_before_the_first_run_one_cause_is_told_once(doctor: Doctor, incoming: Profile, tmp_path: Path) -> None:
    told = await doctor(
        incoming(), status=1, EMAIL_ROUTER_DATABASE_URL="", EMAIL_ROUTER_DATA=str(tmp_path / "never" / "made")
    )
    [(state, words, cure)] = told["database"]
    assert (state, cure) == ("failed", "do as it says")
    assert not [one for name, found in told.items() if name != "database" for one in found if words in one[1]]


async def test_without_a_database_the_servers_are_asked_all_the_same(
    doctor: Doctor, incoming: Profile, outgoing: Profile
) -> None:
    found = await doctor(
        incoming() + outgoing(), 1, EMAIL_ROUTER_DATABASE_URL=f"postgresql://ann:hush@127.0.0.1:{free_port()}/crm"
    )
    said: dict[str, Any] = wrong(found)
    assert set(said) == {"database", "servers"}
    assert "hush" not in str(found)
    [owners] = said["servers"]
    assert "the owners are not known" in owners
    assert found["profiles"] == [("ok", "2, no mistakes: staff relay", "")]


async def test_a_server_that_is_silent_hides_no_other(
    doctor: Doctor, crm: Crm, incoming: Profile, outgoing: Profile, mailbox: str
) -> None:
    await crm.owner(mailbox)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = await doctor(incoming() + outgoing(port=port, timeout=1), 1)
    [said] = wrong(found)["servers"]
    assert said.startswith("failed: [outgoing.relay]: connection: ")
    assert ("ok", "2 connections tried, 1 at fault", "") in found["servers"]


async def test_what_ends_soon_has_ended_or_gives_no_token_is_told(crm: Crm, doctor: Doctor, incoming: Profile) -> None:
    def profile(name: str, ends: date) -> str:
        oauth2 = {"token_url": "http://127.0.0.1:9/token", "client_id": name, "scope": "mail"}
        secret = {"client_secret": {"env": "MAILBOX_PASSWORD"}, "grant": "authorization_code"}
        auth = {"user": "{mailbox}", "oauth2": {**oauth2, **secret}}
        text = incoming(name, auth=auth, owners=[f"{name}@in.test"])
        return text.replace('scope = "mail"', f'scope = "mail", client_secret_expires = {ends}')

    today = datetime.now(UTC).date()
    profiles = (
        profile("good", today + timedelta(days=300))
        + profile("soon", today + timedelta(days=9))
        + profile("over", today - timedelta(days=9))
        + profile("faulty", today + timedelta(days=300))
    )
    identity = Identity("http://127.0.0.1:9/token", "faulty", "mail", "authorization_code", "")
    await crm.admin.execute(
        "INSERT INTO router.token (id, issuer, client, scope, grant_type, subject, fault, fault_kind, fault_since) "
        "VALUES ($1, $2, $3, $4, $5, $6, 'the login was revoked', 'refused', '2026-11-01 10:00+00')",
        *(identity.key, identity.issuer, identity.client, identity.scope, identity.grant, identity.subject),
    )
    told = (await doctor(profiles, status=1))["tokens"]
    renew = "make a new one, put it where client_secret says, and its last day into client_secret_expires"
    assert sorted(told) == sorted(
        [
            (
                "failed",
                "[incoming.faulty]: no new token since 2026-11-01 10:00 UTC: the login was revoked",
                "email-router test incoming.faulty",
            ),
            ("failed", f"[incoming.over]: the client secret ended on {today - timedelta(days=9)}", renew),
            ("warning", f"[incoming.soon]: the client secret ends on {today + timedelta(days=9)}", renew),
            ("ok", "1 login by access token without fault", ""),
        ]
    )
