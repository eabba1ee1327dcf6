"""The examples of CONTRIBUTING.md work as they are pasted, in a copy of the tree with which the router runs."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from router.decide import STEPS
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.paths import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ANN = "ann@in.test"


def examples() -> Mapping[str, str]:
    """The blocks of the page, by the place that their first line names."""
    blocks = re.findall(r"^```(?:python|toml|sql)\n(?:#|--) ([^\n]*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^```(?:python|toml|sql)$", PAGE, re.MULTILINE))
    return dict(blocks)


class Tree:
    """A copy of the project's code, in which the examples are pasted, and commands run."""

    def __init__(self, root: Path, database: str) -> None:
        self.root = root
        for name in ("router", "transports", "profiles", "tests", "pyproject.toml"):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, root / name)  # with what is compiled: it counts by the time of its source
            else:
                shutil.copy(ROOT / name, root)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EMAIL_ROUTER_")}
        self.profiles = root / "used"
        self.profiles.mkdir()
        self.environment = {
            **inherited,
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "EMAIL_ROUTER_DATABASE_URL": database,
            "EMAIL_ROUTER_PROFILES": str(self.profiles),
            "EMAIL_ROUTER_DATA": str(root / "data"),
            "EMAIL_ROUTER_CONSOLE": "off",
            "EMAIL_ROUTER_LEASE": "2",
        }

    def paste(self, place: str) -> None:
        """Put an example where it belongs."""
        text = examples()[place]
        if place.startswith("at the end of "):
            file = self.root / place.removeprefix("at the end of ")
            file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{text}", encoding="utf-8")
        elif place == "in router/decide/__init__.py":
            file = self.root / place.removeprefix("in ")
            added, steps = text.split("\n\n")
            old = file.read_text(encoding="utf-8")
            new, changed = re.subn(r"^STEPS: .*?\)$", steps.strip(), old, flags=re.MULTILINE | re.DOTALL)
            assert changed == 1
            lines = new.splitlines()
            behind = next(
                number for number, line in enumerate(lines) if line.startswith("from router.") and line > added
            )
            lines.insert(behind, added)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        elif place == "in pyproject.toml":
            file = self.root / "pyproject.toml"
            old = file.read_text(encoding="utf-8")
            new, changed = re.subn(r'^    "arrive \|.*\n', text, old, flags=re.MULTILINE)
            assert changed == 1
            file.write_text(new, encoding="utf-8")
        else:
            number = len(list((ROOT / "router/repository/migrations").glob("*.sql"))) + 1
            file = self.root / place.replace("NNNN", f"{number:04}")
            assert not file.exists()
            file.write_text(text, encoding="utf-8")

    def command(self, *arguments: str, module: str = "router", status: int = 0) -> str:
        """Run a command; what it printed, with what it complained of where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        both = done.stdout + done.stderr
        assert done.returncode == status, both
        return both if status else done.stdout

    def lint_imports(self) -> None:
        """Hold the code against its contracts."""
        lint = "from importlinter.cli import lint_imports_command as lint\n\nlint()\n"
        (self.root / "lint.py").write_text(lint, encoding="utf-8")
        self.command("--no-cache", module="lint")

    async def run(self) -> "asyncio.subprocess.Process":
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", "run", cwd=self.root, env=self.environment
        )


@pytest.fixture
def tree(tmp_path: Path, database: str) -> Tree:
    return Tree(tmp_path, database)


@pytest.fixture
def spool(tree: Tree) -> Path:
    """The toy transport, with a profile for a folder of Ann's."""
    tree.paste("transports/spool.py")
    tree.paste("profiles/spool.toml")
    example = tree.command("profile", "example", "spool")
    folder = tree.root / "scans" / ANN
    folder.mkdir(parents=True)
    profile = example.replace("/var/spool/scans", str(folder.parent)).replace("example.com", "in.test")
    (tree.profiles / "scans.toml").write_text(f'{profile}\nrule = "all"\npoll = 1\n', encoding="utf-8")
    return folder


async def test_the_transport_brings_mail_in(tree: Tree, spool: Path, crm: Crm) -> None:
    assert "[incoming.scans] spool reads *.eml in " in tree.command("check")
    await crm.owner(ANN)
    (spool / "1.eml").write_bytes(letter("karl@kunde.test", ANN, "first"))
    assert "1 messages" in tree.command("test", "--owner", ANN)
    router = await tree.run()
    try:
        await crm.wait_for_emails(1)
        (spool / "2.eml").write_bytes(letter("karl@kunde.test", ANN, "second"))
        await crm.wait_for_emails(2)
    finally:
        router.terminate()
        await router.wait()
    subjects = await crm.rows("SELECT subject FROM crm.email ORDER BY received_at")
    assert [row["subject"] for row in subjects] == ["first", "second"]


async def test_the_relay_carries_mail_away(tree: Tree, crm: Crm) -> None:
    tree.paste("transports/filed.py")
    assert 'write "profiles/filed.toml"' in tree.command("profile", "example", "filed", status=2)
    tree.paste("profiles/filed.toml")
    example = tree.command("profile", "example", "filed").replace("example.com", "in.test")
    sent = tree.root / "sent"
    (tree.profiles / "files.toml").write_text(example.replace("/var/spool/sent", str(sent)), encoding="utf-8")
    sends = f"[outgoing.files] filed sends for *@in.test through files in {sent}, 4 connections"
    assert sends in tree.command("check")
    told = json.loads(tree.command("check", "--json"))["profiles"]
    assert [(one["transport"], one["sends"]) for one in told] == [("filed", f"files in {sent}")]
    failed = tree.command("test", status=1)
    assert f"[outgoing.files] (filed files in {sent})" in failed
    assert f"there is no folder {sent}" in failed
    sent.mkdir()
    assert "1 of 1 work" in tree.command("test")
    assert re.search(r"servers +1 connection tried\n", tree.command("doctor", status=1))  # no router runs yet
    await crm.owner(ANN)
    email = await crm.send(ANN, ["karl@kunde.test", "lena@kunde.test"], "The offer")
    router = await tree.run()
    try:
        await crm.wait_for_status(email, "sent")
        assert "files" in await asyncio.to_thread(tree.command, "status")
    finally:
        router.terminate()
        await router.wait()
    [file] = sent.iterdir()
    assert b"Subject: The offer" in file.read_bytes()


CONTRACT = """
import asyncio, sys
from pathlib import Path
import transports
from transports.base import After, Listing, Place, Settlement

async def main(path):
    kind = transports.load("spool").incoming
    files = [path / f"{number}.eml" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(b"Subject: %d\\r\\n\\r\\nbody" % number)
    async with kind.open(kind.settings(path=str(path)), "ann@in.test", After("keep"), transports.NO_TOKENS) as account:
        [folder] = await account.folders()
        view = account.folder(folder.name)
        assert await account.changed() == [folder.name]
        present = await view.list(None, 0)
        assert not present.copies
        first = await view.list(None, 2)
        rest = await view.list(first.cursor, 2)
        assert [len(first.copies), first.more, len(rest.copies), rest.more] == [2, True, 1, False]
        assert await view.list(present.cursor, 5) == Listing((), present.cursor)
        assert rest.cursor == present.cursor
        places = [one.place for one in (*first.copies, *rest.copies)]
        whole = [one async for one in view.fetch(places, "whole")]
        assert [one.content for one in whole] == [file.read_bytes() for file in files]
        heads = [one async for one in view.fetch(places, "headers")]
        assert [one.content for one in heads] == [b"Subject: 0", b"Subject: 1", b"Subject: 2"]
        files[1].unlink()
        assert [one.place.id async for one in view.fetch(places, "whole")] == ["0.eml", "2.eml"]
        await view.settle([Settlement(place, After("keep")) for place in places])
    async with asyncio.timeout(1):
        await account.wait(0.01)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_the_transport_keeps_the_contract(tree: Tree, spool: Path) -> None:
    (tree.root / "contract.py").write_text(CONTRACT, encoding="utf-8")
    tree.command(str(spool), module="contract")


async def test_the_step_decides(tree: Tree, spool: Path, crm: Crm) -> None:
    for place in ("router/decide/empty.py", "in router/decide/__init__.py", "tests/unit/decide/test_empty.py"):
        tree.paste(place)
    tree.command("tests/unit/decide", "-q", "-p", "no:cacheprovider", module="pytest")
    await crm.owner(ANN)
    (spool / "1.eml").write_bytes(letter("scanner@in.test", ANN, "", ""))
    (spool / "2.eml").write_bytes(letter("scanner@in.test", ANN, "The contract"))
    router = await tree.run()
    try:
        await crm.wait_for_decisions(2)
    finally:
        router.terminate()
        await router.wait()
    decisions = await crm.admin.fetch("SELECT disposition, reasons FROM router.decision ORDER BY place")
    assert [row["disposition"] for row in decisions] == ["ignored", "promoted"]
    assert decisions[0]["reasons"] == ["empty: no subject, no text, no attachment"]


def test_the_step_is_put_among_the_others_as_they_are() -> None:
    named = re.findall(r"\w+", examples()["in router/decide/__init__.py"].rpartition("= (")[2])
    assert [name for name in named if name != "empty"] == [step.__name__ for step in STEPS]
    assert re.findall(r"\w+", examples()["in pyproject.toml"]) == named


async def test_the_command_asks_its_operation(tree: Tree, crm: Crm) -> None:
    for folder in ("repository", "operations", "commands"):
        tree.paste(f"router/{folder}/counts.py")
    tree.paste("at the end of router/cli/examine.py")
    await crm.draft(ANN, "karl@kunde.test", "Hello")
    assert tree.command("count") == "0 received, 1 written\n"
    assert '"written": 1' in tree.command("count", "--json")


async def test_the_migration_is_applied(tree: Tree, crm: Crm) -> None:
    tree.paste("router/repository/migrations/NNNN_importance.sql")
    assert "_importance" in tree.command("migrate")
    await crm.draft(ANN, "karl@kunde.test", "Hello")
    assert [row["importance"] for row in await crm.rows("SELECT importance FROM crm.email")] == [None]


def test_the_examples_pass_the_checks(tmp_path: Path, database: str) -> None:
    tree = Tree(tmp_path, database)
    for place in examples():
        tree.paste(place)
    pasted = [str(path) for place in examples() if (path := tree.root / place.rpartition(" ")[2]).suffix == ".py"]
    tree.command("check", "--no-cache", *pasted, module="ruff")
    tree.command("format", "--no-cache", "--check", *pasted, module="ruff")
    tree.command("--no-incremental", *pasted, module="mypy")
    tree.lint_imports()
