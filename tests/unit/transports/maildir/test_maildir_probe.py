"""Probing Maildirs: what is told, and that nothing is changed by it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.reading import message
from tests.support.maildirs import deliver, files, make_maildir
from transports.base import After, Finding
from transports.maildir.probe import probe_mailbox
from transports.maildir.settings import MaildirSettings

MAILBOX = "ann@in.test"


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return make_maildir(tmp_path / MAILBOX / "Maildir")


async def probed(
    path: Path | str, after: str = "seen", *, mailbox: str | None = MAILBOX, **keys: Any
) -> Mapping[str, Finding]:
    """The last finding of each step."""
    settings = MaildirSettings.model_validate({"path": str(path), **keys})
    return {found.step: found async for found in probe_mailbox(settings, mailbox, After.parse(after))}


@pytest.fixture
def barred(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Names of what may not be done, which root may: the name, and os.R_OK or os.W_OK."""
    barred: dict[str, int] = {}
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & barred.get(Path(path).name, 0))
    return barred


async def test_a_maildir_that_works(maildir: Path) -> None:
    for folder, count in (("", 3), (".Customers.2026", 1)):
        if folder:
            make_maildir(maildir / folder)
        for number in range(count):
            deliver(maildir / folder, message(f"number {number}"), f"{number}.host")
    (maildir / "new" / "0.host").rename(maildir / "cur" / "0.host:2,S")
    before = files(maildir)
    found = await probed(maildir.parents[1] / "{mailbox}/Maildir", folders=["INBOX", "Customers/2026"])
    assert {one.state for one in found.values()} == {"ok"}
    assert found["folder"].words == f"{maildir} is a Maildir"
    assert found["folders"].words == "INBOX: 3 messages, 2 of them new; Customers/2026: 1 message, 1 of them new"
    assert found["after"].words == "seen can be done"
    assert files(maildir) == before


async def test_without_a_mailbox_the_folder_above_is_looked_at(maildir: Path) -> None:
    found = await probed(maildir.parents[1] / "{domain}/{local}", mailbox=None)
    assert found == {"folder": Finding("folder", "ok", f"{maildir.parents[1]} is there")}
    found = await probed("/nowhere/{mailbox}", mailbox=None)
    assert (found["folder"].state, found["folder"].words) == ("failed", "there is no folder /nowhere")
    assert (await probed(maildir, mailbox=None))["folder"].words == f"{maildir} is a Maildir"


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    found = await probed(tmp_path / "nowhere")
    assert found.keys() == {"folder"}
    assert found["folder"].state == "failed"
    assert found["folder"].words == f"{tmp_path}/nowhere: No such file or directory"
    assert "mounted" in found["folder"].advice


async def test_what_is_no_maildir(maildir: Path) -> None:
    (maildir / "new").rmdir()
    found = (await probed(maildir))["folder"]
    assert (found.state, found.words) == ("failed", f"{maildir} is no Maildir: it has no new")
    (maildir / "new").mkdir()
    found = (await probed(maildir.parent))["folder"]
    assert found.words == f"{maildir.parent} is no Maildir: it has no new and no cur"
    assert found.advice == 'there is one in it: add "/Maildir" to "path"'


async def test_a_folder_that_is_missing(maildir: Path) -> None:
    make_maildir(maildir / ".Archive")
    found = (await probed(maildir, folders=["Nowhere", "a.b"]))["folders"]
    assert (found.state, found.words) == ("failed", 'there is no folder "a.b"')
    assert found.advice == 'write as "folders" what is there: INBOX, Archive'


async def test_messages_that_cannot_be_read(maildir: Path, barred: dict[str, int]) -> None:
    for name in ("1.host", "2.host"):
        deliver(maildir, message(name), name)
    barred["1.host"] = os.R_OK
    settings = MaildirSettings(path=str(maildir))
    findings = [found async for found in probe_mailbox(settings, MAILBOX, After("keep"))]
    assert [(found.step, found.state) for found in findings] == [
        ("folder", "ok"),
        ("folders", "warning"),
        ("folders", "ok"),
    ]
    assert findings[1].words == "1 of 2 messages in INBOX cannot be read"
    assert str(os.geteuid()) in findings[1].advice


@pytest.mark.parametrize(
    ("after", "may_not_write", "words"),
    [
        ("seen", "cur", "seen cannot be done: {maildir}/cur cannot be written"),
        ("delete", "new", "delete cannot be done: {maildir}/new cannot be written"),
        ("move:Done", "Maildir", "move:Done cannot be done: {maildir} cannot be written"),
        ("move:../..", "", "'../..' is no name of a folder"),
        ("keyword:Done", "", "a Maildir keeps no keywords"),
    ],
)
async def test_what_cannot_be_done_to_promoted_mail(
    maildir: Path, barred: dict[str, int], after: str, may_not_write: str, words: str
) -> None:
    barred[may_not_write] = os.W_OK
    found = (await probed(maildir, after))["after"]
    assert found.state == "failed"
    assert found.words.startswith(words.format(maildir=maildir))
    assert found.advice
