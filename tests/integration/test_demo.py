"""`email-router demo`, as a newcomer uses it: what it prints is compared with what the database holds."""

import codecs
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from router.demo.stage import choose_port
from router.parse.message import parse
from router.postgres.cluster import Cluster
from tests.support.console import get

ROOT = Path(__file__).parents[2]
MESSAGES = ROOT / "router/demo/messages"
PATIENCE = 90.0  # seconds, on a machine that is busy; a hang is what this is to find


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's: their paths are too long for a socket, and closed to PostgreSQL's user.
    folder = Path(tempfile.mkdtemp(prefix="er-demo-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def environment(folder: Path, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EMAIL_ROUTER_", "PG"))}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return {**inherited, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "EMAIL_ROUTER_DATA": str(folder), **more}


class Demo:
    """A demo that runs; `said` is all that it printed so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdout: int | None = None) -> None:
        self.process = process
        self.said = ""
        if stdout is None:
            assert process.stdout is not None
            stdout = process.stdout.fileno()
        self._stdout = stdout
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.said)) is None:
            if not select.select([self._stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"{pattern!r} was not said:\n{self.said}")
            if not (more := os.read(self._stdout, 65536)):
                raise EOFError(f"ended without {pattern!r}:\n{self.said}")
            self.said += self.shown(self._decoder.decode(more))
        return found

    def shown(self, text: str) -> str:
        """Return what of a piece of text is to be read."""
        return text

    def stop(self, number: signal.Signals) -> None:
        """Stop it in order; it must say so, and nothing else."""
        self.process.send_signal(number)
        self.wait_for("Stopped\\. .*\n")
        _, complaints = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, complaints.decode()) == (0, "")

    def command(self, label: str) -> str:
        return self.wait_for(rf"  {label}\s+(.+)\n")[1]

    @property
    def port(self) -> int:
        return int(self.wait_for(r"listens at 127\.0\.0\.1:(\d+)")[1])

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """The tables' rows, each cell in one line: what it became, the message, why."""
        rows: list[list[str]] = []
        for line in self.said.splitlines():
            # A cell's place is that of its heading, counted in columns of the screen: wide characters take two.
            wide = "".join(f"{char}\0" if ord(char) > 0x2E80 else char for char in line)
            cells = [wide[2:11], wide[13:56], wide[56:]]
            if not line.startswith("  ") or line.startswith("  Became"):
                continue
            if re.fullmatch(r"promoted|duplicate|ignored|held|dead|sent|failed", cells[0].strip()):
                rows.append(["", "", ""])
            elif cells[0].strip() or not rows:
                continue
            rows[-1] = [f"{old} {new.strip()}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        return [(row[0], row[1].replace("\0", ""), row[2].replace("\0", "")) for row in rows]


@contextmanager
def on_terminal(folder: Path, columns: int) -> Iterator[Demo]:
    """A demo on a terminal of this many columns; what it says is without colors."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "router", "demo"],
        stdin=its,
        stdout=its,
        stderr=subprocess.PIPE,
        env={
            name: value for name, value in environment(folder, NO_COLOR="1").items() if name not in ("COLUMNS", "LINES")
        },
    )
    os.close(its)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE)
        os.close(ours)


@contextmanager
def demo(folder: Path, **more: str) -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-m", "router", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(folder, **more),
    )
    try:
        yield Demo(process)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE)


class Terminal(Demo):
    """A demo on a terminal."""

    def shown(self, text: str) -> str:
        """Leave out what only steers the terminal."""
        return re.sub("\x1b\\[[0-9;]*m|\r", "", text)

    def command(self, label: str) -> str:
        """The lines of a command, as they would be copied."""
        return self.wait_for(rf"(?m)^  {label}\n((?:    .+\n)+)")[1]


def paste(command: str) -> str:
    """Run a command as it was printed, in a shell whose environment names no other data; returns what it prints."""
    done = subprocess.run(
        command,
        shell=True,
        check=True,
        timeout=PATIENCE,
        env=environment(Path("/nowhere")),
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


async def query(folder: Path, sql: str, *arguments: object) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(Cluster(folder / "demo").dsn())
    try:
        return [dict(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()


COPIES = """
    SELECT o.mailbox, d.key, d.disposition, d.reasons, d.email_id, e.subject, e.text_body, e.html_body, e.defects,
        e.correlation_method, r.name AS regarding, s.name AS sender,
        ARRAY(SELECT a.filename FROM crm.attachment AS a WHERE a.email_id = e.id ORDER BY a.position) AS attachments
    FROM router.decision AS d JOIN crm.owner AS o ON o.record_id = d.owner_id
    LEFT JOIN crm.email AS e ON e.id = d.email_id
    LEFT JOIN crm.record AS r ON r.id = e.regarding_id
    LEFT JOIN crm.party AS p ON p.email_id = e.id AND p.role = 'from'
    LEFT JOIN crm.record AS s ON s.id = p.record_id
    ORDER BY d.id
"""
COUNTS = """
    SELECT (SELECT count(*) FROM crm.email) AS emails, (SELECT count(*) FROM router.decision) AS decisions,
        (SELECT count(*) FROM crm.receipt) AS receipts, (SELECT count(*) FROM crm.record) AS records,
        (SELECT count(*) FROM router.attempt) AS attempts, (SELECT count(*) FROM router.kept_content) AS kept
"""


async def copies(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What became of each sample: by the number of its file, and the owner."""
    files = {parse(path.read_bytes()).key: path.name[:2] for path in MESSAGES.glob("*.eml")}
    owner = re.compile("(.*)@velo")
    found = {}
    for row in await query(folder, COPIES):
        name = owner.match(row["mailbox"])
        assert name is not None
        if row["key"] in files:
            found[files[row["key"]], name[1]] = row
    return found


async def test_each_fate_is_in_the_database_and_in_the_account(folder: Path) -> None:
    with demo(folder) as running:
        running.wait_for("what was sent")
        found = await copies(folder)
        sent = {row["subject"]: row for row in await query(folder, "SELECT * FROM crm.email WHERE direction = 'out'")}
        fates = {place: row["disposition"] for place, row in found.items()}
        assert fates == {
            ("01", "anna"): "promoted",
            ("02", "anna"): "promoted",
            ("02", "ben"): "duplicate",
            ("02", "sales"): "duplicate",
            ("03", "ben"): "ignored",
            ("04", "chiyo"): "ignored",
            ("05", "sales"): "promoted",
            ("06", "anna"): "ignored",
            ("07", "anna"): "ignored",
            ("08", "sales"): "promoted",
            ("09", "sales"): "promoted",
            ("10", "sales"): "promoted",
            ("11", "support"): "promoted",
            ("12", "anna"): "promoted",
            ("13", "ben"): "promoted",
            ("14", "ben"): "held",
        }
        # One email, three receipts.
        assert len({found["02", owner]["email_id"] for owner in ("anna", "ben", "sales")}) == 1
        assert found["05", "sales"]["sender"] is None
        assert found["08", "sales"]["attachments"] == ["logo.png", "route.csv"]
        assert 'src="cid:logo@kestrel.example"' in found["08", "sales"]["html_body"]
        assert found["09", "sales"]["subject"] == "自転車の見積もり \N{EN DASH} schöne Grüße 🚲"
        assert (found["09", "sales"]["sender"], found["09", "sales"]["attachments"]) == ("田中 陽子", ["住所.txt"])
        assert "Größe 28" in found["10", "sales"]["text_body"]
        assert len(found["10", "sales"]["defects"]) == 3
        assert found["11", "support"]["sender"] == "Müller Räder GmbH"
        answer, by_token = found["12", "anna"], found["13", "ben"]
        assert (answer["regarding"], answer["correlation_method"]) == ("40 touring bikes", "in-reply-to")
        assert (by_token["regarding"], by_token["correlation_method"]) == ("Omar Haddad", "token")
        statuses = [sent[subject]["status"] for subject in ("Offer: 40 touring bikes", "A test ride on Saturday?")]
        assert statuses == ["sent", "sent"]
        assert sent["Are you still there?"]["status"] == "failed"

        # The account says the same, each with its reasons, in this order.
        rows = running.rows
        assert [became for became, _, _ in rows] == [*fates.values(), "sent", "sent", "failed"]
        for (_, message, why), (place, row) in zip(rows, found.items(), strict=False):
            assert "; ".join(row["reasons"]) in why, place
            assert row["mailbox"] in message
            assert (row["subject"] or "") in message or place[0] == "02"
            assert not row["regarding"] or f"regarding {row['regarding']}" in why
        assert "sender unresolved" in rows[6][2]
        assert "nobody of this name works here any more" in rows[-1][2]
        assert max(map(len, running.said.partition("The router listens")[0].splitlines()[1:])) <= 100

        # What the capture server has is the CRM's mail, with the token.
        offer = next((folder / "demo/sent").glob("*Offer*.eml")).read_bytes()
        captured = message_from_bytes(offer, policy=default)
        assert captured["Subject"] == f"Offer: 40 touring bikes CRM:{sent['Offer: 40 touring bikes']['token']}"
        assert [part.get_filename() for part in captured.iter_attachments()] == ["Preise für 2027.csv"]
        assert len(list((folder / "demo/sent").iterdir())) == 2
        running.stop(signal.SIGTERM)


async def test_what_it_tells_to_try_works_and_a_second_start_changes_nothing(folder: Path) -> None:
    with demo(folder) as running:
        running.wait_for("what was sent")
        paste(running.command("send it mail"))
        running.wait_for(r"lena@kestrel\.example → anna@velo\.example  Hello  promoted: the sender is a contact")
        paste(running.command("queue an email"))
        running.wait_for(r"anna@velo\.example → lena@kestrel\.example, you@.*  Hello from SQL  sent: accepted")
        assert len(list((folder / "demo/sent").glob("*Hello-from-SQL*.eml"))) == 1
        assert str(folder / "demo/sent") in running.command("what was sent")
        # Of what is ignored, the account cannot tell more than that.
        paste(running.command("send it mail").replace("anna@", "ben@").replace("lena@", "jon@"))
        running.wait_for(r"\d  → ben@velo\.example  ignored: answers no CRM email; not in the CRM\n")
        counts = await query(folder, COUNTS)
        running.stop(signal.SIGINT)

    with demo(folder) as again:
        again.wait_for("what was sent")
        assert again.said.count("already there from an earlier start") == 2  # once for each table
        assert await query(folder, COUNTS) == counts
        assert [became for became, _, _ in again.rows] == [became for became, _, _ in running.rows]
        again.stop(signal.SIGTERM)


async def test_people_wait_in_the_console_and_the_link_leads_there(folder: Path) -> None:
    with demo(folder) as running:
        running.wait_for("what was sent")
        link = running.wait_for(r"http://127\.0\.0\.1:(\d+)(/link/\S+)\n")
        page = await get(int(link[1]), link[2])
        assert (page.status, "The first administrator" in page.body) == (200, True)
        waiting = await query(
            folder, "SELECT DISTINCT address FROM crm.party WHERE role = 'from' AND record_id IS NULL"
        )
        unresolved = [parse(path.read_bytes()).sender for path in (MESSAGES / "unresolved").glob("*.eml")]
        assert {row["address"] for row in waiting} > set(unresolved)
        running.stop(signal.SIGTERM)


async def test_its_data_can_be_looked_at(folder: Path) -> None:
    with demo(folder) as running:
        running.wait_for("what was sent")
        data = paste(running.command("look at its data"))
        for line in ("Offer: 40 touring bikes", "marta@newcomer.example", "answers no CRM email"):
            assert line in data
        assert paste(running.command("see how it is")).startswith("sending     on")
        assert re.search(r"anna@velo\.example .*demo", paste(running.command("see who is served")))
        others = running.command("any other command")
        assert "[incoming.demo]" in paste(f"{others}\n{sys.executable} -m router check")
        assert "Offer" in paste(running.command("what was sent"))
        running.stop(signal.SIGTERM)


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.long)])
async def test_on_a_terminal_no_line_is_cut_inside_a_word(folder: Path, columns: int) -> None:
    with on_terminal(folder, columns) as running:
        running.wait_for(r"what was sent\n.*\n")
        for line in running.said.splitlines()[1:]:
            # A path may be longer than the terminal is wide: nothing can be done about it.
            assert len(line.rstrip()) <= columns or len(line.split()) <= 3, line
        for label in ("look at its data", "see how it is", "see who is served"):
            assert paste(running.command(label))
        mail = running.command("send it mail")
        paste(mail)
        running.wait_for(
            r"promoted   Hello\s*\n +lena@kestrel\.example → anna@velo\.example\s*\n +the sender is a contact"
        )
        paste(mail.replace("anna@", "ben@").replace("lena@", "jon@"))
        running.wait_for(r"ignored    → ben@velo\.example\s*\n {21}answers no CRM email; not in the CRM")
        assert all(len(line) <= columns for line in running.said.partition(" promoted   Hello")[2].splitlines())
        running.stop(signal.SIGTERM)


async def test_one_that_was_killed_half_way_goes_on_where_it_was(folder: Path) -> None:
    with demo(folder) as running:
        running.wait_for("what was sent")
        counts = await query(folder, COUNTS)
        # As if the process had been killed after the first recipient of the first messages.
        await query(
            folder,
            """
            WITH lost AS (
                DELETE FROM router.decision WHERE disposition IN ('duplicate', 'ignored', 'held') RETURNING 1
            ) SELECT count(*) FROM lost
            """,
        )
        running.process.kill()

    with demo(folder) as again:
        again.wait_for("what was sent")
        assert await query(folder, COUNTS) == counts
        assert (
            again.said.count("already there from an earlier start") == 10
        )  # on nine samples, and once for what was sent
        again.stop(signal.SIGTERM)


async def test_two_at_once_share_the_data_and_take_each_a_port(folder: Path) -> None:
    with demo(folder) as running:
        running.wait_for("what was sent")
        counts = await query(folder, COUNTS)
        with demo(folder) as other:
            other.wait_for("what was sent")
            assert await query(folder, COUNTS) == counts
            assert running.port != other.port
            for one in (running, other):  # a test beside this one may have the usual port
                assert ("(port 2525 is taken)" in one.said) == (one.port != 2525)
            paste(other.command("send it mail"))
            for one in (running, other):
                one.wait_for(r"anna@velo\.example  Hello  promoted")
            other.stop(signal.SIGTERM)
        running.stop(signal.SIGTERM)


def test_two_that_start_at_once_choose_different_ports() -> None:
    with ExitStack() as one, ExitStack() as other:
        assert choose_port(one, 2525) != choose_port(other, 2525)


def test_one_whose_reader_is_gone_ends_in_order(folder: Path) -> None:
    # A data folder that is yet to be made, by somebody whose umask closes what they make.
    data = folder / "new" / "er"
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "router", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(data),
        umask=0o077,
    )
    os.close(write)
    with os.fdopen(read, "rb") as stdout:
        assert stdout.readline().startswith(b"Starting a PostgreSQL")
    _, complaints = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints.decode()) == (1, "nobody reads any more what the demo tells\n")


async def test_a_database_that_is_named_serves_if_it_is_empty(folder: Path, database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        poor = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
        with demo(folder, EMAIL_ROUTER_DATABASE_URL=database, **poor) as running:
            running.wait_for("what was sent")
            assert running.command("queue an email").endswith(f"sql < {folder}/demo/queue-email.sql")
            assert database not in running.said
            assert running.said.isascii()  # what the terminal's encoding lacks is replaced
            assert await connection.fetchval("SELECT count(*) FROM crm.email WHERE direction = 'in'") == 9 + len(
                list((MESSAGES / "unresolved").glob("*.eml"))
            )
            running.stop(signal.SIGTERM)
        assert not (folder / "demo/postgres").exists()
    finally:
        await connection.close()


def refused(folder: Path, database: str) -> str:
    """Run a demo that does not start, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "router", "demo"],
        env=environment(folder, EMAIL_ROUTER_DATABASE_URL=database),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


async def test_somebody_elses_data_is_refused(folder: Path, database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("INSERT INTO crm.record (kind, name) VALUES ('account', 'Theirs')")
        words = refused(folder, database)
        assert words.startswith("the demo writes sample data, and this database holds other data: ")
        assert "Traceback" not in words
        assert await connection.fetchval("SELECT count(*) FROM crm.record") == 1
        # One that the router never saw, but somebody else uses.
        await connection.execute("DROP SCHEMA crm CASCADE; CREATE TABLE theirs ()")
        assert refused(folder, database) == words
        assert await connection.fetchval("SELECT to_regnamespace('crm')") is None
    finally:
        await connection.close()
