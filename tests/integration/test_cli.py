"""Every command, as an admin runs it: its words, its JSON, its exit status."""

import asyncio
import getpass
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import transports
from router import __version__
from router.repository.migrate import _LOCK as MIGRATION_LOCK
from tests.servers.ports import free_port
from tests.support.forked import run_email_router

ROOT = Path(__file__).parents[2]
DATABASE_PAGE = (ROOT / "docs/database.md").read_text(encoding="utf-8")
PATIENCE = 60.0  # seconds that a command may take on a machine that is busy; a hang is what this is to find


class Cli:
    """`email-router` with an environment of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.profiles = folder / "profiles"
        self.profiles.mkdir()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EMAIL_ROUTER_", "PG"))}
        self.environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "EMAIL_ROUTER_PROFILES": str(self.profiles),
            "EMAIL_ROUTER_DATA": str(folder / "data"),
            "EMAIL_ROUTER_CONSOLE": "off",
            **environment,
        }

    def profile(self, text: str, name: str = "a.toml") -> None:
        (self.profiles / name).write_text(text, encoding="utf-8")

    def __call__(self, *arguments: str, stdin: str = "", status: int = 0) -> str:
        """Run to the end and return what it printed; stderr must be empty where it succeeds."""
        done = self.both(*arguments, stdin=stdin)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if status == 0:
            assert done.stderr == ""
        return done.stdout

    def both(self, *arguments: str, stdin: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        return run_email_router(*arguments, given=stdin, env={**self.environment, **more}, timeout=PATIENCE)

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", status=status))

    def served_by(self) -> list[str]:
        """The forms of the first profile that routers serve; whatever else may be wrong."""
        return list(json.loads(self.both("status", "--json").stdout)["profiles"][0]["served_by"])

    def until_told_by_router(self) -> None:
        """Return once a router has told the database which profiles it serves."""
        while not self.served_by():
            time.sleep(0.05)

    @contextmanager
    def running(self, *arguments: str) -> Iterator["Running"]:
        """A command (`run` by default) that goes on until it is told to stop; killed if it is not by the end."""
        process = subprocess.Popen(
            # Ctrl-C does nothing to what a shell put into the background, nor to its children; here it must.
            ["env", "--default-signal=INT", sys.executable, "-m", "router", *(arguments or ["run"])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, "EMAIL_ROUTER_LOG_FORMAT": "json"},
        )
        try:
            yield Running(process)
        finally:
            process.kill()
            process.communicate()


class Running:
    """A process of `run`, with what it logs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[Mapping[str, Any]] = []

    def until(self, message: str) -> Mapping[str, Any]:
        """Read the log up to this message; pytest's time limit is the end of patience."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line = json.loads(text)
            self.lines.append(line)
            if line["message"] == message:
                return line  # type: ignore[no-any-return]  # JSON
        pytest.fail(f"ended without saying {message!r}: {self.lines}")

    def ends(self, within: float = PATIENCE) -> int:
        return self.process.wait(within)


@pytest.fixture
def cli(tmp_path: Path, database: str) -> Cli:
    return Cli(tmp_path, EMAIL_ROUTER_DATABASE_URL=database)


@pytest.fixture
async def admin(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def make_owner(
    admin: "asyncpg.Connection[asyncpg.Record]", mailbox: str, name: str = "", *, approved: bool = False
) -> Any:
    record_id = await admin.fetchval("INSERT INTO crm.record (kind, name) VALUES ('user', $1) RETURNING id", name)
    await admin.execute("INSERT INTO crm.owner VALUES ($1, $2, NULL, $3)", record_id, mailbox, approved)
    return record_id


async def make_older(admin: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Let the database seem to lack the last migration, and return how many it has had."""
    at: int = await admin.fetchval("DELETE FROM router.migration WHERE version > 8 RETURNING (SELECT 8)")
    return at


def listener(port: int, owners: str = "*@in.test") -> str:
    return f"""
[incoming.copies]
transport = "smtp"
listen = "127.0.0.1:{port}"
owners = ["{owners}"]
copy = true
"""


def relay(port: int) -> str:
    return f"""
[outgoing.relay]
transport = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
senders = ["*@in.test"]
"""


# --- Help ------------------------------------------------------------------------------------------------------------


def test_help_is_there_without_what_the_commands_need() -> None:
    """asyncpg, pydantic and the like take most of a second to import."""
    code = "import sys, router.__main__; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"asyncpg", "pydantic", "structlog", "uvloop", "transports"} & set(done.stdout.split())


def test_version_and_usage(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert cli("--version") == f"email-router {__version__}\n"
    assert "Bring mail in and send mail out" in cli("--help")
    for wrong in (["nonsense"], ["run", "--nonsense"], ["owners", "approve"], ["owners", "set", "a@b.test"]):
        done = cli.both(*wrong)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Usage:" in done.stderr


def test_a_wrong_environment_is_said_in_words(tmp_path: Path) -> None:
    cli = Cli(tmp_path, EMAIL_ROUTER_DATABASE_URL="mysql://crm:hush@db/crm", EMAIL_ROUTER_LEASE="soon")
    for command in ("run", "status", "check", "migrate", "sql"):
        done = cli.both(command)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "EMAIL_ROUTER_DATABASE_URL: it has to begin with postgresql://\nEMAIL_ROUTER_LEASE"
        )
        assert "hush" not in done.stdout + done.stderr


def test_a_misspelled_variable_is_no_reason_to_serve_another_database(tmp_path: Path) -> None:
    cli = Cli(tmp_path, EMAIL_ROUTER_DATABSE_URL="postgresql://ann:hush@db/crm")
    done = cli.both("run")
    assert done.returncode == 1
    assert done.stderr == (
        "EMAIL_ROUTER_DATABSE_URL: there is no such variable; did you mean EMAIL_ROUTER_DATABASE_URL?\n"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["owners", "list"],
        ["owners", "approve", "ann@in.test"],
        ["owners", "set", "ann@in.test", "--rule", "all"],
        ["sending", "stop"],
        ["explain", "--owner", "ann@in.test", "-"],
        ["sql", "-c", "select 1"],
    ],
)
def test_only_run_demo_and_migrate_make_a_database(command: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="er-"))
    try:
        done = Cli(folder).both(*command, stdin="Subject: x\n\nx")
        assert done.returncode == 1
        assert f'there is no database in {folder}/data: "email-router run" or "email-router migrate" makes one' in (
            done.stderr
        )
        assert not (folder / "data").exists()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["owners", "list"],
        ["owners", "approve", "ann@in.test"],
        ["owners", "set", "ann@in.test", "--rule", "all"],
        ["sending", "stop"],
        ["explain", "--owner", "ann@in.test", "-"],
    ],
)
async def test_only_run_and_migrate_change_the_schema(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]", command: list[str]
) -> None:
    await make_older(admin)
    done = cli.both(*command, stdin="Subject: x\n\nx")
    assert done.returncode == 1
    assert re.fullmatch(
        r'the database has schema 8, this program needs \d+: run "email-router migrate", or start the new version\n',
        done.stderr,
    )
    assert await admin.fetchval("SELECT max(version) FROM router.migration") == 8
    await admin.execute("INSERT INTO router.migration SELECT n, 'newer', '' FROM generate_series(9, 99) AS n")
    done = cli.both(*command, stdin="Subject: x\n\nx")
    assert done.returncode == 1
    assert "was migrated by a newer version; install that one\n" in done.stderr


def test_a_database_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    cli = Cli(tmp_path, EMAIL_ROUTER_DATABASE_URL=f"postgresql://ann:hush@127.0.0.1:{free_port()}/crm")
    done = cli.both("status")
    assert done.returncode == 1
    assert done.stderr.startswith("cannot connect to the database: ")
    assert re.fullmatch(r"cannot connect to the database: 127\.0\.0\.1:\d+: Connection refused\n", done.stderr)
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


# --- Profiles --------------------------------------------------------------------------------------------------------


def test_check_tells_what_the_profiles_do(tmp_path: Path) -> None:
    cli = Cli(tmp_path, RELAY_PASSWORD="hush")
    cli.profile(
        listener(2525)
        + """
[incoming.staff]
transport = "imap"
host = "mail.example.com"
auth = { user = "{mailbox}", password = { env = "RELAY_PASSWORD" } }
owners = ["*@example.com"]
start = 2026-01-31
rule = "known"
"""
        + relay(2526)
    )
    staff = (
        "a.toml:8: [incoming.staff] imap reads INBOX at mail.example.com:993 with tls for *@example.com, "
        "beginning with 2026-01-31, after keep, rule known"
    )
    assert cli("check").splitlines() == [
        "a.toml:2: [incoming.copies] smtp listens at 127.0.0.1:2525 in clear text for *@in.test, rule replies",
        staff,
        "a.toml:16: [outgoing.relay] smtp sends for *@in.test through 127.0.0.1:2526 in clear text, 4 connections",
        f"3 profiles in {cli.profiles}, no mistakes",
    ]
    told = cli.json("check")
    assert (told["ok"], told["mistakes"]) == (True, [])
    assert told["profiles"][1] == {
        "direction": "incoming", "name": "staff", "transport": "imap", "file": "a.toml", "line": 8,
        "role": "mailbox", "owners": ["*@example.com"], "rule": "known", "start": "2026-01-31", "after": "keep",
        "host": "mail.example.com", "port": 993, "security": "tls", "reads": "INBOX at mail.example.com:993 with tls",
    }  # fmt: skip
    assert [one["name"] for one in told["profiles"]] == ["copies", "staff", "relay"]
    assert "hush" not in json.dumps(told)


def test_check_tells_what_a_forward_mailbox_does(tmp_path: Path) -> None:
    cli = Cli(tmp_path, SINK_PASSWORD="hush")
    cli.profile("""
[incoming.sink]
transport = "imap"
role = "forward"
host = "mail.example.com"
auth = { user = "crm-sink", password = { env = "SINK_PASSWORD" } }
forwarders = ["*@example.com"]
authserv = "mail.example.com"
after = "delete"
""")
    assert cli("check").splitlines()[0] == (
        "a.toml:2: [incoming.sink] imap (role forward) reads INBOX at mail.example.com:993 with tls for what "
        "*@example.com forward, beginning with all, after delete, rule replies"
    )
    [told] = cli.json("check")["profiles"]
    assert (told["role"], told["forwarders"], "owners" in told) == ("forward", ["*@example.com"], False)


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ('security = "starttls"', "INBOX at mail.example.com:143 with starttls"),
        ('security = "none"\nallow_clear = true', "INBOX at mail.example.com:143 in clear text"),
        ('port = 9993\nfolders = ["INBOX", "Sales"]', "INBOX, Sales at mail.example.com:9993 with tls"),
        ("sent = true", "INBOX and the Sent folder at mail.example.com:993 with tls"),
        ('sent = true\nfolders = ["*"]', "* at mail.example.com:993 with tls"),
    ],
)
def test_check_tells_server_port_security_and_folders(tmp_path: Path, keys: str, where: str) -> None:
    cli = Cli(tmp_path, STAFF_PASSWORD="hush")
    cli.profile(f"""
[incoming.staff]
transport = "imap"
host = "mail.example.com"
auth = {{ user = "{{mailbox}}", password = {{ env = "STAFF_PASSWORD" }} }}
owners = ["*@example.com"]
{keys}
""")
    assert f"imap reads {where} for *@example.com" in cli("check").splitlines()[0]
    assert cli.json("check")["profiles"][0]["reads"] == where


def test_check_notes_files_that_look_like_profiles_and_are_no_mistake(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.profile(listener(2525), "in.toml")
    cli.profile("[incoming.staff]", "staff.conf")
    cli.profile("[incoming.old]", "old.toml.bak")
    words = 'not read: the name of a profile file ends in ".toml"'
    done = cli.both("check")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [f"old.toml.bak: {words}", f"staff.conf: {words}"]
    told = cli.json("check")
    assert (told["ok"], [note["file"] for note in told["notes"]]) == (True, ["old.toml.bak", "staff.conf"])


def test_check_tells_every_mistake_by_file_and_line(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.profile(relay(2526).replace("host", "hosst"), "out.toml")
    cli.profile(listener(2525).replace("copy = true", ""), "in.toml")
    lines = cli("check", status=1).splitlines()
    assert [line[: line.index(": ")] for line in lines] == ["in.toml:2", "out.toml:4"]
    assert 'did you mean "host"?' in lines[1]
    told = cli.json("check", status=1)
    assert told["ok"] is False
    assert [(one["file"], one["line"]) for one in told["mistakes"]] == [("in.toml", 2), ("out.toml", 4)]
    done = cli.both("run")
    assert done.returncode == 1
    assert done.stderr.splitlines() == lines


def test_check_of_another_folder(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert cli("check", str(tmp_path / "none"), status=1).startswith(f"{tmp_path}/none: there is no such folder")


def test_examples_are_printed_as_they_are(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert cli("profile", "example", "imap") == (ROOT / "profiles/imap.toml").read_text(encoding="utf-8")
    done = cli.both("profile", "example", "pigeon")
    assert done.returncode == 2
    assert f"there are {', '.join(transports.kinds())}" in done.stderr
    done = cli.both("profile", "example")
    assert done.returncode == 2
    assert f"say which: {', '.join(transports.kinds())}, dovecot-postfix, " in " ".join(done.stderr.split())


def test_the_schema_is_json(tmp_path: Path) -> None:
    assert json.loads(Cli(tmp_path)("profile", "schema"))["properties"].keys() == {"incoming", "outgoing"}


# --- The database ----------------------------------------------------------------------------------------------------


def test_run_can_wait_for_the_first_profile(cli: Cli) -> None:
    with cli.running("run", "--wait") as running:
        running.until("waiting for a profile")
        text = cli.profiles / "not-yet"
        text.write_text(relay(free_port()), encoding="utf-8")
        text.rename(cli.profiles / "a.toml")
        running.until("running")
        running.process.terminate()
        assert running.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_can_be_stopped_while_it_waits_for_the_first_profile(cli: Cli, number: signal.Signals) -> None:
    with cli.running("run", "--wait") as running:
        running.until("waiting for a profile")
        running.process.send_signal(number)
        assert running.ends() == 0


def test_psql_is_opened_on_the_database(cli: Cli) -> None:
    assert cli("sql", "-Atc", "select 6 * 7", "-c", "select 'x y'") == "42\nx y\n"
    assert cli("sql", "-At", stdin="select count(*) from crm.email;\n") == "0\n"
    assert "ERROR" in cli.both("sql", "-c", "select nonsense").stderr
    cli("sql", "-c", "select nonsense", status=1)
    assert "PostgreSQL interactive terminal" in cli("sql", "--", "--help")


async def test_a_script_stops_at_its_first_error(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    script = "SET ROLE nobody_of_this_name;\nINSERT INTO crm.record (kind, name) VALUES ('user', 'x');\n"
    done = cli.both("sql", stdin=script)
    assert done.returncode == 1
    assert 'role "nobody_of_this_name" does not exist' in done.stderr
    assert cli.both("sql", "-c", "SELECT nonsense", "-c", script.splitlines()[1]).returncode == 1
    assert await admin.fetchval("SELECT count(*) FROM crm.record") == 0


async def test_sql_with_the_rights_of_the_crms_role(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    [make] = re.findall(
        r"^email-router sql -c \"(CREATE ROLE .*)\" \\\n +-c \"(GRANT .*)\"$", DATABASE_PAGE, re.MULTILINE
    )
    role = f"crm_{os.getpid()}"  # roles are the whole server's, which other tests share
    commands = [line.replace("my_crm", role) for line in make]
    try:
        cli("sql", "-c", commands[0])
        done = cli.both("sql", "--role", role, "-c", "SELECT current_user")
        assert done.returncode == 1
        assert f'email-router sql -c "GRANT {role} TO CURRENT_USER"' in done.stderr
        cli("sql", "-qc", commands[1])
        assert cli("sql", "--role", role, "-Atc", "SELECT current_user") == f"{role}\n"
        assert cli("sql", "-qAtc", f"SET ROLE {role}", "-c", "SELECT current_user") == f"{role}\n"
        assert cli("sql", "--role", role, "-qAt", stdin="RESET ROLE; SELECT current_user;") == f"{role}\n"
        denied = cli.both("sql", "--role", role, "-c", "UPDATE crm.owner SET approved = true")
        assert denied.returncode == 1
        assert "permission denied for table owner" in denied.stderr
    finally:
        await admin.execute(f"DROP ROLE IF EXISTS {role}")


def test_a_password_is_not_among_the_arguments_of_psql(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {
        "postgres": "echo postgres 18.0",
        "psql": 'printf "%s\\n" "$@" "$PGPASSWORD"; env | grep -c EMAIL_ROUTER_DATABASE',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    url = "postgresql://ann:se%2Fcret@a:5432,b:5433/crm?sslmode=require"
    cli = Cli(tmp_path, EMAIL_ROUTER_DATABASE_URL=url, EMAIL_ROUTER_POSTGRES=str(programs))
    # grep's status is the script's: it found nothing.
    assert cli("sql", "-c", "select 1", status=1).splitlines() == [
        "--dbname=postgresql://ann@a:5432,b:5433/crm?sslmode=require&target_session_attrs=read-write",
        "--set=ON_ERROR_STOP=1", "-c", "select 1", "se/cret", "0",
    ]  # fmt: skip


async def test_status_tells_all_of_it(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    fresh = cli("status", status=1)
    assert "sending     on\n" in fresh
    assert 'none is running: "email-router run" starts one' in fresh
    ann = await make_owner(admin, "ann@in.test", "Ann", approved=True)
    bob = await make_owner(admin, "bob@in.test", "Bob")
    await admin.execute(
        """
        INSERT INTO router.process (id, host, pid, seen_at) VALUES
            ('00000000-0000-0000-0000-000000000001', 'here', 11, now() + interval '1 hour'),
            ('00000000-0000-0000-0000-000000000002', 'there', 22, now() - interval '1 hour')
        """
    )
    await admin.execute(
        """
        INSERT INTO router.source
            (profile, mailbox, identity, account, folder, owner_id, begins_at, process_id, fault)
        VALUES
            ('staff', 'ann@in.test', 'ann@in.test', 'imap:ann', 'INBOX', $1, '-infinity',
                '00000000-0000-0000-0000-000000000001', NULL),
            ('staff', 'ann@in.test', 'ann@in.test', 'imap:ann', 'Gone', $1, '-infinity', NULL, NULL),
            ('staff', 'bob@in.test', 'bob@in.test', 'imap:bob', 'INBOX', $2, 'infinity', NULL, NULL),
            ('staff', 'cid@in.test', 'cid@in.test', 'imap:cid', 'INBOX', $3, 'infinity',
                '00000000-0000-0000-0000-000000000002', 'no \x1b[31mway'),
            ('former', 'cid@in.test', NULL, 'pop3:cid', 'INBOX', $3, '-infinity', NULL, NULL),
            ('copies', '', 'smtp:here', 'smtp:here', '', NULL, '-infinity', NULL, NULL)
        """,
        ann,
        bob,
        await make_owner(admin, "cid@in.test", "Cid", approved=True),
    )
    for owner_id, mailbox, status in ((ann, "ann@in.test", "unknown"), (bob, "bob@in.test", "pending_send")):
        email_id = await admin.fetchval(
            "INSERT INTO crm.email (direction, status) VALUES ('out', 'draft') RETURNING id"
        )
        await admin.execute(
            "INSERT INTO crm.party (email_id, role, address) VALUES ($1, 'from', $2), ($1, 'to', 'c@out.test')",
            email_id,
            mailbox,
        )
        await admin.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
        if status == "unknown":
            await admin.execute("DELETE FROM router.outbox WHERE email_id = $1", email_id)
            await admin.execute(
                "INSERT INTO router.attempt (id, email_id, number, process_id) VALUES ($1, $1, 1, $2)",
                email_id,
                owner_id,
            )
            await admin.execute("UPDATE crm.email SET status = 'sending' WHERE id = $1", email_id)
            await admin.execute("UPDATE crm.email SET status = 'unknown' WHERE id = $1", email_id)

    await admin.execute(
        """
        INSERT INTO router.source_count (source_id, ignored, dead, last_at)
        SELECT id, 2, 1, '2026-11-21T10:14:00Z' FROM router.source WHERE mailbox = 'ann@in.test' AND folder = 'INBOX'
        """
    )
    await admin.execute("INSERT INTO router.relay (profile, fault) VALUES ('mx', '535 5.7.8 no')")

    told = cli.json("status", status=1)
    assert told["sending"]["on"] is True
    assert [(one["profile"], one["fault"]) for one in told["relays"]] == [("mx", "535 5.7.8 no")]
    assert [(one["host"], one["alive"]) for one in told["processes"]] == [("here", True), ("there", False)]
    waiting = {"profile": None, "lane": "normal", "cause": "approval", "count": 1, "due": 0, "more": False}
    assert (told["outbox"]["waiting"], told["outbox"]["sending"]) == ([waiting], 0)
    assert told["unknown"] == 1
    assert told["owners"] == {"approved": 2, "not_approved": ["bob@in.test"]}
    assert [(one["mailbox"], one["folder"]) for one in told["sources"] if not one["served"]] == [
        ("cid@in.test", "INBOX"),  # the former one
        ("ann@in.test", "Gone"),
        ("bob@in.test", "INBOX"),
    ]
    by_mailbox = {one["mailbox"]: one for one in told["sources"] if one["folder"] == "INBOX"}
    assert by_mailbox["ann@in.test"]["process_id"] == "00000000-0000-0000-0000-000000000001"
    assert by_mailbox["ann@in.test"]["seen"] == 3
    assert by_mailbox["ann@in.test"]["dispositions"] == {
        "promoted": 0, "duplicate": 0, "ignored": 2, "held": 0, "dead": 1,
    }  # fmt: skip
    assert (by_mailbox["bob@in.test"]["process_id"], by_mailbox["bob@in.test"]["begun"]) == (None, False)

    shown = cli("status", status=1)
    assert "here (pid 11, since " in shown
    assert re.search(r"\n            there \(pid \d+\) ended without a word; it was last heard on 2.* UTC\n", shown)
    assert "\noutbox      1 waiting, 0 being sent\n            1 until their owner is approved\n" in shown
    assert re.search(r"^relay       mx cannot be used since 2.* UTC: 535 5\.7\.8 no$", shown, re.MULTILINE)
    assert "unknown     1: the relay had them" in shown
    assert "email-router owners approve bob@in.test\n" in shown
    assert "sources     3, 1 at fault; 3 not to be read now, told by --json; copies seen: " in shown
    assert "; copies seen: 0 promoted, 0 duplicate, 2 ignored, 0 held, 1 dead" in shown
    assert re.search(
        r"^staff +ann@in\.test +INBOX +here:11 +3 = 2 ignored \+ 1 dead +2026-11-21 10:14 UTC +not yet$",
        shown,
        re.MULTILINE,
    )
    assert re.search(r"^staff +cid@in\.test +INBOX +nobody +0 +never +not yet$", shown, re.MULTILINE)
    assert re.search(
        r"^at fault    source staff cid@in\.test INBOX: .*no \N{REPLACEMENT CHARACTER}\[31mway$", shown, re.MULTILINE
    )
    ids = [str(row["id"]) for row in await admin.fetch("SELECT id FROM crm.email WHERE status = 'unknown'")]
    assert told["unknown_emails"] == ids
    assert re.search(rf"^ +since 2.* UTC \(\d+ s\): {ids[0]}$", shown, re.MULTILINE)
    assert [(one["part"], one["name"]) for one in told["faults"]] == [
        ("relay", "mx"),
        ("source", "staff cid@in.test INBOX"),
    ]
    assert cli("status", "--mailbox", "cid@in.test", "--faults", status=1).startswith("at fault    source staff cid@")
    cli("status", "--mailbox", "ann@in.test")
    cli("status", "--profile", "copies", "--faults")
    assert "Gone" not in shown
    assert "bob@in.test  " not in shown


async def test_a5_an_owner_whom_no_outgoing_profile_carries_is_told(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await make_owner(admin, "ann@in.test", "Ann", approved=True)
    await make_owner(admin, "bob@elsewhere.test", "Bob", approved=True)
    await make_owner(admin, "new@elsewhere.test", "New", approved=False)
    cli.profile(
        f'[outgoing.mx]\ntransport = "smtp"\nhost = "127.0.0.1"\nport = {free_port()}\nsecurity = "none"\n'
        'senders = ["*@in.test"]\n'
    )
    words = "owner bob@elsewhere.test: no outgoing profile carries this mailbox; add it to the senders of one"
    *_, told, total = cli("check").splitlines()
    assert told == words
    assert total.endswith(
        "no mistakes; none of them brings mail in; the email of 1 owner waits for an outgoing profile"
    )
    checked = cli.json("check")
    assert (checked["ok"], [one["text"] for one in checked["owners"]]) == (True, [words])
    assert words in cli.json("test", status=1)["notes"]


MAILBOXES = """
[incoming.staff]
transport = "imap"
host = "127.0.0.1"
port = 1
security = "none"
auth = { user = "{mailbox}", password = { env = "PASSWORD" } }
owners = ["*@in.test"]
"""


async def test_a_secret_that_the_shell_lacks_is_no_fault_of_the_owner(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await make_owner(admin, "ann@in.test", "Ann", approved=True)
    cli.profile(MAILBOXES)
    listed = ["ann@in.test", "Ann", "yes", "default", "(replies)", "staff", "nobody"]
    alone = cli.both("owners", "list")  # nobody runs: the folder tells, as far as it can be read
    assert alone.stdout.splitlines()[1].split() == listed
    assert "the environment variable PASSWORD is not set" in alone.stderr
    cli.environment["PASSWORD"] = "hush"
    with cli.running() as router:
        router.until("running")
        cli.until_told_by_router()
        del cli.environment["PASSWORD"]
        assert cli("owners", "list").splitlines()[1].split() == listed
        assert (
            cli("owners", "set", "ann@in.test", "--rule", "default") == "ann@in.test has the rule default (replies)\n"
        )
        [state] = cli.json("status", status=1)["profiles"]
        assert (state["fault"], state["note"], state["owners"]) == (None, None, ["*@in.test"])


def test_status_tells_what_is_not_in_use_as_it_is_written(cli: Cli) -> None:
    port = free_port()
    cli.profile(listener(port), "a.toml")
    with cli.running() as router:
        router.until("listening")
        cli.until_told_by_router()
        assert cli("status", "--faults") == ""
        assert "\nprofiles    copies\n" in cli("status")
        (served,) = cli.json("status")["profiles"][0]["served_by"].values()
        assert served == [f"{socket.gethostname()}:{router.process.pid}"]
        cli.profile(listener(port).replace("[incoming", "[incomng"), "b.toml")
        while "since" not in (broken := cli("status", "--faults", status=1)):
            time.sleep(0.05)  # only the folder tells, until the router has seen it
        assert re.match(r"at fault    profile b\.toml: since [^:]+:\d\d UTC \(\d+ s\): b\.toml:2: ", broken), broken
        assert [one["part"] for one in cli.json("status", status=1)["faults"]] == ["profile"]
        assert cli("status", "--profile", "copies", "--faults") == ""
        for option, name, words in (
            ("--profile", "copy", "there is no profile 'copy'; there are copies"),
            ("--mailbox", "zed@in.test", "no owner has the mailbox zed@in.test"),
        ):
            done = cli.both("status", option, name)
            assert (done.returncode, words in done.stderr) == (2, True), done.stderr
        (cli.profiles / "b.toml").unlink()
        # A broken form of what runs: the earlier one is still served.
        while cli.both("status", "--faults").returncode:
            time.sleep(0.05)
        before = cli.json("status")["profiles"][0]["form"]
        cli.profile(listener(port).replace("copy", "cpoy"), "a.toml")
        while "at fault    " not in (broken := cli.both("status", "--faults").stdout):
            time.sleep(0.05)
        assert broken.count("at fault    ") == 1
        [state] = cli.json("status", status=1)["profiles"]
        assert "a.toml:6: [incoming.copies]" in state["fault"]
        assert (state["form"], list(state["served_by"])) == (before, [before])
        # Another form is in use within seconds.
        cli.profile(listener(port, "a*@in.test"), "a.toml")
        while cli.served_by() == [before]:
            time.sleep(0.1)
        assert cli.json("status")["profiles"][0]["owners"] == ["a*@in.test"]


def test_status_tells_why_a_listener_does_not_listen(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        cli.profile(listener(other.getsockname()[1]))
        with cli.running() as router:
            router.until("a listener is at fault, and tried again")
            [source] = cli.json("status", status=1)["sources"]
    assert "another program listens there" in source["fault"]


async def test_a_listener_that_another_router_serves_is_no_fault(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    cli.profile(listener(free_port()))
    with cli.running() as first:
        first.until("listening")
        with cli.running() as second:
            second.until("another process listens; this one waits for the address")
        assert await admin.fetchval("SELECT fault FROM router.source") is None


async def test_sending_is_stopped_and_started(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    because = ("--reason", "the relay is being moved")
    assert cli("sending", "stop", *because, "--by", "Karl").startswith("sending is off since ")
    assert await admin.fetchval("SELECT router.may_send()") is False
    told = cli.json("status", status=1)["sending"]
    assert (told["on"], told["reason"], told["copied"], told["by"]) == (False, because[1], False, "Karl")
    words = 'UTC, stopped by Karl: the relay is being moved; "email-router sending start" starts it'
    assert words in cli("status", status=1)
    assert words in cli("sending", "status")
    told = cli.json("sending", "status")
    assert (told["on"], told["by"], told["copied"], told["outbox"]["waiting"]) == (False, "Karl", False, [])
    started = rf"sending is on since 2.* UTC, started by {getpass.getuser()}\n"
    assert re.fullmatch(started, cli("sending", "start"))
    assert re.match(started, cli("sending", "status"))
    assert await admin.fetchval("SELECT router.may_send()") is True


async def test_a_copy_of_the_database_says_that_it_does_not_send(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await admin.execute("UPDATE router.installation SET system_identifier = system_identifier + 1")
    assert "off: this database is a copy" in cli("status", status=1)
    assert cli.json("status", status=1)["sending"]["copied"] is True
    assert "off: this database is a copy" in cli("sending", "status")
    assert cli("sending", "start", "--by", "Karl").partition("\n")[2] == (
        "this copy of the database is the real one from now on: it reads the mailboxes, and sends what is pending "
        "(0 emails due now); no router must work on the one that it was copied from\n"
    )
    assert cli("sending", "start", "--by", "Karl").endswith("started by Karl\n")


async def test_owners_are_listed_approved_and_set(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    cli.profile(listener(2525, "a*@in.test") + relay(2526))
    assert cli("owners", "list") == "there are no owners: the CRM names them, by rows in crm.owner\n"
    await make_owner(admin, "ann@in.test", "Ann")
    await make_owner(admin, "bob@in.test", "[bold]Bob")
    cyd = await make_owner(admin, "cyd@in.test", "Cyd")
    await admin.execute("UPDATE crm.owner SET mailbox = NULL WHERE record_id = $1", cyd)
    await admin.execute("INSERT INTO crm.address VALUES ('cyd@in.test', $1)", cyd)

    lines = cli("owners", "list").splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["mailbox", "name", "approved", "rule", "read", "by", "sent", "by"],
        ["ann@in.test", "Ann", "no", "default", "(replies)", "copies", "relay"],
        ["bob@in.test", "[bold]Bob", "no", "default", "nobody", "relay"],
    ]
    assert lines[3] == "Cyd: no mailbox; it can be cyd@in.test"

    done = cli.both("owners", "approve", "ANN@in.test", "nobody@in.test", "bob@in.test")
    assert done.returncode == 1
    assert done.stdout == "ann@in.test is approved\nbob@in.test is approved\n"
    assert "owner bob@in.test: no incoming profile serves this mailbox" in done.stderr
    assert "nobody@in.test: no owner has the mailbox nobody@in.test" in done.stderr
    assert cli.both("owners", "approve", "cyd@in.test").stdout == "cyd@in.test is approved\n"
    assert cli("owners", "approve", "cyd@in.test", "--revoke") == "cyd@in.test is not approved any more\n"
    assert cli("owners", "set", "ann@in.test", "--rule", "known") == "ann@in.test has the rule known\n"

    told = cli.both("owners", "list", "--json")
    assert told.returncode == 0
    listed = {one.pop("mailbox"): one for one in json.loads(told.stdout)["owners"]}
    assert listed["ann@in.test"] == {
        "name": "Ann", "approved": True, "rule": "known",
        "incoming": [{"profile": "copies", "rule": "known"}], "outgoing": "relay",
    }  # fmt: skip
    assert (listed["bob@in.test"]["approved"], listed["bob@in.test"]["incoming"]) == (True, [])
    assert (listed["cyd@in.test"]["approved"], listed["cyd@in.test"]["rule"]) == (False, None)

    assert cli("owners", "set", "ann@in.test", "--rule", "default") == "ann@in.test has the rule default (replies)\n"
    cli("owners", "set", "ann@in.test", "--rule", "some", status=2)
    cli("owners", "set", "nobody@in.test", "--rule", "all", status=1)


async def test_owners_are_listed_while_the_profiles_are_wrong(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await make_owner(admin, "ann@in.test")
    cli.profile("[incoming.x]\n")
    done = cli.both("owners", "list")
    assert done.returncode == 0
    assert "ann@in.test" in done.stdout
    assert "a.toml:1: [incoming.x]" in done.stderr


async def until_it_waits(admin: "asyncpg.Connection[asyncpg.Record]", command: Running) -> None:
    """Wait until the command waits for a lock that we hold."""
    waits = """
        SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()
        """
    while not await admin.fetchval(waits):
        assert command.process.poll() is None


async def test_an_owner_who_is_gone_is_no_longer_at_fault(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    cli.environment.update(PASSWORD="hush", EMAIL_ROUTER_LEASE="1")
    cli.profile(
        f"""
[incoming.staff]
transport = "imap"
host = "127.0.0.1"
port = {port}
security = "none"
auth = {{ user = "{{mailbox}}", password = {{ env = "PASSWORD" }} }}
owners = ["*@in.test"]
"""
    )
    owners = [await make_owner(admin, f"{name}@in.test", approved=True) for name in ("ann", "bob")]
    faulty = "SELECT array_agg(mailbox ORDER BY mailbox) FROM router.source WHERE fault IS NOT NULL"
    with cli.running():
        async with asyncio.timeout(PATIENCE):
            while await admin.fetchval(faulty) != ["ann@in.test", "bob@in.test"]:
                await asyncio.sleep(0.05)
            await admin.execute("DELETE FROM crm.owner WHERE record_id = $1", owners[0])
            while await admin.fetchval(faulty) != ["bob@in.test"]:
                await asyncio.sleep(0.05)


# --- run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_order(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]", number: signal.Signals
) -> None:
    await make_owner(admin, "ann@elsewhere.test", approved=True)
    await make_owner(admin, "bob@in.test")
    port = free_port()
    cli.profile(listener(port))
    with cli.running() as router:
        router.until("listening")
        assert await admin.fetchval("SELECT count(*) FROM router.process") == 1
        told = {line["message"] for line in router.lines}
        assert any("owner ann@elsewhere.test: no incoming profile serves this mailbox" in message for message in told)
        assert "owners wait for approval, nothing of theirs is read or sent" in told
        router.process.send_signal(number)
        assert router.ends(within=8) == 0
    assert await admin.fetchval("SELECT count(*) FROM router.process") == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_it_can_be_stopped_while_it_waits_for_the_database(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    cli.profile(listener(free_port()))
    await make_older(admin)
    await admin.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    with cli.running() as router:
        router.until("another process migrates the database: waiting")
        router.process.terminate()
        assert router.ends(within=8) == 0


async def test_ctrl_c_ends_a_short_command_without_a_traceback(
    cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await make_older(admin)
    await admin.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    cli.environment["EMAIL_ROUTER_LOG_LEVEL"] = "warning"  # so that it is logged as JSON
    with cli.running("migrate") as command:
        command.until("another process migrates the database: waiting")
        command.process.send_signal(signal.SIGINT)
        assert command.ends() == 128 + signal.SIGINT
        assert command.process.stderr is not None
        assert command.process.stderr.read() == ""


async def test_ctrl_c_is_left_to_psql(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Where a terminal sends it to both, psql cancels its query and goes on; here only we get it, and go on too."""
    locked = f"select pg_advisory_lock({MIGRATION_LOCK})"
    await admin.execute(locked)
    with cli.running("sql", "-Atc", locked, "-c", "select 42") as command:
        await until_it_waits(admin, command)
        command.process.send_signal(signal.SIGINT)
        await admin.execute(f"select pg_advisory_unlock({MIGRATION_LOCK})")
        assert command.ends() == 0
        assert command.process.stdout is not None
        assert command.process.stdout.read().split() == ["42"]


async def test_a_second_signal_stops_it_at_once(cli: Cli, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a relay that never greets keeps a sender busy
        cli.profile(relay(silent.getsockname()[1]))
        await make_owner(admin, "ann@in.test", approved=True)
        email_id = await admin.fetchval(
            "INSERT INTO crm.email (direction, status) VALUES ('out', 'draft') RETURNING id"
        )
        await admin.execute(
            """
            INSERT INTO crm.party (email_id, role, address)
            VALUES ($1, 'from', 'ann@in.test'), ($1, 'to', 'c@out.test')
            """,
            email_id,
        )
        await admin.execute("UPDATE crm.email SET status = 'pending_send' WHERE id = $1", email_id)
        with cli.running() as router:
            held, _ = silent.accept()
            router.process.terminate()
            router.until("stopping")
            router.process.terminate()
            assert router.ends() == 128 + signal.SIGTERM
            held.close()


# --- The embedded server ---------------------------------------------------------------------------------------------


def test_all_of_it_on_a_database_of_its_own() -> None:
    # Not pytest's folder: its path is too long for a socket, and closed to PostgreSQL's user.
    folder = Path(tempfile.mkdtemp(prefix="er-"))
    folder.chmod(0o755)
    try:
        cli = Cli(folder)
        cli.profile(listener(free_port()))
        assert cli.json("migrate")["applied"][0] == "0001_crm"
        assert cli("migrate") == "the schema is up to date\n"
        with cli.running() as router:
            router.until("listening")
            # The server is the running router's: the others join it, and leave it alone.
            assert cli("sql", "-Atc", "select count(*) from router.process") == "1\n"
            assert len(cli.json("status")["processes"]) == 1
            router.process.terminate()
            assert router.ends(within=8) == 0
        assert cli("sql", "-Atc", "select current_user") == "email_router\n"
    finally:
        shutil.rmtree(folder)
