"""Maildirs that no mail server would write, disks that fail, and readers that get in between."""

import asyncio
import errno
import os
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.model import Message
from router.parse.message import parse
from tests.conformance.reading import all_listed, fetched, message, subjects
from tests.support.letters import letter
from tests.support.maildirs import deliver, files, make_maildir
from tests.support.paths import ROOT
from transports.base import After, Folder, Listed, Settlement
from transports.errors import Permanent, Temporary, Unreachable
from transports.maildir import INCOMING, names
from transports.maildir.account import MaildirAccount
from transports.maildir.files import LARGEST
from transports.maildir.mailbox import MaildirMailbox
from transports.maildir.settings import MaildirSettings

MAILBOX = "ann@in.test"


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return make_maildir(tmp_path / "Maildir")


def account(maildir: Path, **keys: Any) -> MaildirAccount:
    return MaildirAccount(MaildirSettings.model_validate({"path": str(maildir), **keys}), MAILBOX, After("keep"))


@asynccontextmanager
async def inbox(maildir: Path) -> AsyncIterator[MaildirMailbox]:
    async with account(maildir) as opened:
        yield opened.folder("INBOX")


async def settle(box: MaildirMailbox, action: str, *copies: Listed) -> None:
    await box.settle([Settlement(copy.place, After.parse(action)) for copy in copies])


# Names


@pytest.mark.parametrize(
    "name", ["1700000000.M5P6.host", "1.M2P3_4.host,S=10,W=12", b"Gr\xfc\xdfe", "a\nb", "a b%20", "日本.eml"]
)
async def test_whatever_its_name_a_message_stays_the_same_in_new_and_cur(maildir: Path, name: str | bytes) -> None:
    name = os.fsdecode(name)
    deliver(maildir, message("one"), name)
    async with inbox(maildir) as box:
        (before,) = await all_listed(box)
        assert before.place.id.isascii()
        assert before.place.id.isprintable()
        (maildir / "new" / name).rename(maildir / "cur" / f"{name}:2,FS")
        (after,) = await all_listed(box)
        assert after.place == before.place
        assert len(await fetched(box, [before.place])) == 1


def test_names_that_are_alike_are_not_the_same() -> None:
    alike = ["a b", "a%20b", "a+b", os.fsdecode(b"a\xffb"), "a\\xffb", "aÿb"]
    assert len({names.id_of(name) for name in alike}) == len(alike)


@pytest.mark.parametrize(
    ("folder", "directory"),
    [
        ("INBOX", ""),
        ("Sent", ".Sent"),
        ("Customers/2026", ".Customers.2026"),
        ("Büro/日本語", ".B&APw-ro.&ZeVnLIqe-"),
        ("A & B", ".A &- B"),
    ],
)
def test_folders_as_maildir_writes_them(folder: str, directory: str) -> None:
    assert names.directory(folder) == directory
    assert names.folder(directory) == (folder if directory else None)


@pytest.mark.parametrize("folder", ["", "/", "../..", "a.b", "a//b", "a/", "a\nb", "a\0b"])
async def test_no_folder_leads_out_of_the_mailbox(maildir: Path, folder: str) -> None:
    deliver(maildir, message("one"))
    async with account(maildir) as opened:
        with pytest.raises(Permanent, match="no name of a folder"):
            await all_listed(opened.folder(folder))
        box = opened.folder("INBOX")
        with pytest.raises(Permanent, match="no name of a folder"):
            await box.settle([Settlement((await all_listed(box))[0].place, After("move", folder))])
    assert len(files(maildir)) == 1


async def test_what_is_no_folder_is_not_among_them(maildir: Path) -> None:
    for name in (".Sent", ".Papierkorb", ".Customers.2026", "..DOVECOT-TRASHED", ".&Zz", "plain"):
        make_maildir(maildir / name)
    (maildir / ".empty").mkdir()
    async with account(maildir, folders=["*"]) as opened:
        assert await opened.folders() == [Folder("INBOX", "inbox"), Folder("Customers/2026"), Folder("Sent", "sent")]


# Contents


async def test_lines_end_as_on_the_wire(maildir: Path) -> None:
    deliver(maildir, b"Subject: one\n\nlone\nlines\r\nand \r\r\nodd\n")
    content = b"Subject: one\r\n\r\nlone\r\nlines\r\nand \r\r\nodd\r\n"
    (maildir / "new" / next(iter(files(maildir))).removeprefix("new/")).write_bytes(content.replace(b"\r\n", b"\n", 3))
    async with inbox(maildir) as box:
        places = [copy.place for copy in await all_listed(box)]
        assert [copy.content for copy in await fetched(box, places)] == [content]
        assert [copy.content for copy in await fetched(box, places, "headers")] == [b"Subject: one\r\n\r\n"]


async def test_a_message_without_id_is_the_same_as_by_imap(maildir: Path) -> None:
    by_imap = (
        letter("a@out.test", MAILBOX, text="two\nlines\n", html="<p>two\n<p>lines", Message_ID=None)
        + b"\r\nafterwards\r\n"
    )
    deliver(maildir, by_imap)
    async with inbox(maildir) as box:
        (copy,) = await fetched(box, [one.place for one in await all_listed(box)])
    assert copy.content == by_imap
    read: Message = parse(copy.content)
    assert read.message_id is None
    assert read.key == parse(by_imap).key


async def test_when_it_was_delivered_and_in_which_order(maildir: Path) -> None:
    for name, at in [("20.M9P1.h", 20), ("20.M10P1.h", 20), ("5.late", 30), ("99.early", 10), ("7.never", -5)]:
        deliver(maildir, message(name), name, at=at)
    os.utime(maildir / "new" / "5.late", (0, 1 << 40))
    async with inbox(maildir) as box:
        copies = await all_listed(box)
        assert [copy.place.id for copy in copies] == ["7.never", "99.early", "20.M9P1.h", "20.M10P1.h", "5.late"]
        assert copies[1].received_at.timestamp() == 10
        assert copies[-1].received_at.year > 2400


async def test_what_is_no_file_is_a_fault_and_stops_nothing(maildir: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    (maildir / "cur" / "link").symlink_to(tmp_path / "secret")
    (maildir / "cur" / "folder").mkdir()
    os.mkfifo(maildir / "cur" / "pipe")
    with (maildir / "cur" / "huge").open("wb") as huge:
        huge.truncate(LARGEST + 1)
    (maildir / "cur" / ".hidden").write_bytes(message("hidden"))
    deliver(maildir, message("one"), "sound")
    async with inbox(maildir) as box:
        copies = {copy.place.id: copy for copy in await fetched(box, [one.place for one in await all_listed(box)])}
        assert copies.pop("sound").content == message("one")
        assert copies.keys() == {"link", "folder", "pipe", "huge"}
        assert {name: copy.fault for name, copy in copies.items()} == {
            "link": "it is no file",
            "folder": "it is no file",
            "pipe": "it is no file",
            "huge": "134217729 bytes are more than can be read",
        }
        assert {copy.content for copy in copies.values()} == {b""}


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Names of files that cannot be opened, with the error's number; root may read everything."""
    refused: dict[str, int] = {}
    really = os.open

    def opened(path: Any, *arguments: Any, **keys: Any) -> int:
        number = refused.get(Path(path).name)
        if number is not None:
            raise OSError(number, os.strerror(number), path)
        return really(path, *arguments, **keys)

    monkeypatch.setattr(os, "open", opened)
    yield refused
    monkeypatch.undo()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
async def test_a_file_that_cannot_be_read_stops_no_other(maildir: Path, refused: dict[str, int], number: int) -> None:
    deliver(maildir, message("one"), "1.good")
    deliver(maildir, message("two"), "2.bad")
    refused["2.bad"] = number
    async with inbox(maildir) as box:
        good, bad = await fetched(box, [one.place for one in await all_listed(box)])
        assert (good.content, good.fault) == (message("one"), None)
        assert bad.fault == os.strerror(number)


async def test_a_disk_that_fails_on_the_way_makes_no_message_faulty(
    maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1.a", "2.b", "3.c"):
        deliver(maildir, message(name), name)
    really, opened = os.open, 0

    def fails_after_one(path: Any, *arguments: Any, **keys: Any) -> int:
        nonlocal opened
        opened += 1
        if opened > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return really(path, *arguments, **keys)

    async with inbox(maildir) as box:
        places = [one.place for one in await all_listed(box)]
        monkeypatch.setattr(os, "open", fails_after_one)
        with pytest.raises(Temporary, match=os.strerror(errno.EIO)):
            await fetched(box, places)
        monkeypatch.undo()
        assert [copy.fault for copy in await fetched(box, places)] == [None] * 3


async def test_a_file_that_can_be_read_after_all_is(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(maildir, message("one"), "1.a")
    deliver(maildir, message("two"), "2.b")
    really, failures = os.open, iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def fails_once(path: Any, *arguments: Any, **keys: Any) -> int:
        for failure in failures:
            raise failure
        return really(path, *arguments, **keys)

    async with inbox(maildir) as box:
        places = [one.place for one in await all_listed(box)]
        monkeypatch.setattr(os, "open", fails_once)
        assert [copy.fault for copy in await fetched(box, places)] == [None, None]


async def test_the_only_new_file_is_compared_with_those_seen_before(maildir: Path, refused: dict[str, int]) -> None:
    deliver(maildir, message("one"), "1.a")
    async with inbox(maildir) as box:
        listing = await box.list(None, 10)
        deliver(maildir, message("two"), "2.b")
        refused["2.b"] = errno.EIO
        (listed,) = (await box.list(listing.cursor, 10)).copies
        (copy,) = await fetched(box, [listed.place])
        assert copy.fault == os.strerror(errno.EIO)


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EACCES, Permanent), (errno.EIO, Temporary), (errno.EMFILE, Temporary), (errno.ESTALE, Unreachable)],
)
async def test_where_no_file_can_be_read_none_is_given_up(
    maildir: Path, refused: dict[str, int], number: int, error: type[Exception]
) -> None:
    for name in ("1.a", "2.b"):
        deliver(maildir, message(name), name)
        refused[name] = number
    async with inbox(maildir) as box:
        places = [one.place for one in await all_listed(box)]
        with pytest.raises(error, match=os.strerror(number)):
            await fetched(box, places)
        # It is to be listed again, but not at once.
        assert box.attention.dirty
        assert not box.attention.urgent
        refused.clear()
        assert await subjects(box) == ["1.a", "2.b"]


# Others who move files


async def test_what_is_moved_between_listing_and_fetching_is_found(maildir: Path) -> None:
    names = [deliver(maildir, message(f"number {number}")) for number in range(3)]
    async with inbox(maildir) as box:
        places = [copy.place for copy in await all_listed(box)]
        for name in names[:2]:
            (maildir / "new" / name).rename(maildir / "cur" / f"{name}:2,S")
        assert len(await fetched(box, places)) == 3
        (maildir / "cur" / f"{names[0]}:2,S").rename(maildir / "cur" / f"{names[0]}:2,RS")
        await settle(box, "delete", *await all_listed(box))
    assert files(maildir) == set()


async def test_what_one_reading_overlooks_is_found(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = deliver(maildir, message("one"))
    really = os.listdir
    async with inbox(maildir) as box:
        places = [copy.place for copy in await all_listed(box)]
        (maildir / "new" / name).rename(maildir / "cur" / f"{name}:2,")
        overlooked = iter([True, True])
        monkeypatch.setattr(os, "listdir", lambda path: [] if next(overlooked, False) else really(path))
        assert len(await fetched(box, places)) == 1


async def test_a_reader_who_only_moves_and_flags_tells_nothing_new(maildir: Path) -> None:
    name = deliver(maildir, message("one"))
    async with account(maildir) as opened:
        box = opened.folder("INBOX")
        cursor = (await box.list(None, 10)).cursor
        (maildir / "new" / name).rename(maildir / "cur" / f"{name}:2,S")
        assert list(await opened.changed()) == []
        assert await box.list(cursor, 10) == await box.list(cursor, 10)
        assert (await box.list(cursor, 10)).cursor == cursor


# A message that comes within the same tick of the disk's clock as one before leaves the folder's date as it was.
async def test_mail_that_does_not_change_the_folders_date_is_seen(maildir: Path) -> None:
    async with account(maildir) as opened:
        box = opened.folder("INBOX")
        cursor = (await box.list(None, 10)).cursor
        before = (maildir / "new").stat()
        deliver(maildir, message("one"))
        os.utime(maildir / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert list(await opened.changed()) == ["INBOX"]
        assert await subjects(box, cursor) == ["one"]


async def test_a_cursor_forgets_what_is_gone(maildir: Path) -> None:
    for number in range(20):
        deliver(maildir, message(f"number {number}"))
    async with inbox(maildir) as box:
        full = await box.list(None, 100)
        await settle(box, "delete", *full.copies[:19])
        emptied = await box.list(full.cursor, 100)
        assert emptied.copies == ()
        assert len(emptied.cursor) < len(full.cursor) / 10
        # The same message, restored: another time, it is no news to anybody but us, who know its place.
        assert await box.list(emptied.cursor, 100) == emptied


# Settling


async def test_settled_by_moving_from_new_to_cur(maildir: Path) -> None:
    _, in_cur, marked = (deliver(maildir, message(name), f"{name}.host") for name in "abc")
    (maildir / "new" / in_cur).rename(maildir / "cur" / f"{in_cur}:2,")
    (maildir / "new" / marked).rename(maildir / "cur" / f"{marked}:2,FTab")
    async with inbox(maildir) as box:
        copies = await all_listed(box)
        for _ in range(2):
            await settle(box, "seen", *copies)
            assert files(maildir) == {"cur/a.host:2,S", "cur/b.host:2,S", "cur/c.host:2,FSTab"}
        assert [copy.place for copy in await all_listed(box)] == [copy.place for copy in copies]


async def test_moving_keeps_flags_and_owner(maildir: Path) -> None:
    for name in ("a.host", "b.host"):
        deliver(maildir, message(name), name)
    (maildir / "new" / "b.host").rename(maildir / "cur" / "b.host:2,F")
    maildir.chmod(0o750)
    if os.geteuid() == 0:
        os.chown(maildir, 1234, 1235)
    async with inbox(maildir) as box:
        copies = await all_listed(box)
        for _ in range(2):
            await settle(box, "move:Done/Büro", *copies)
    done = maildir / ".Done.B&APw-ro"
    assert files(done) == {"new/a.host", "cur/b.host:2,F"}
    expected = maildir.stat()
    for path in (done, done / "tmp", done / "new", done / "cur"):
        made = path.stat()
        assert (made.st_mode, made.st_uid, made.st_gid) == (expected.st_mode, expected.st_uid, expected.st_gid)


async def test_no_keywords(maildir: Path) -> None:
    deliver(maildir, message("one"))
    async with inbox(maildir) as box:
        with pytest.raises(Permanent, match="keeps no keywords"):
            await settle(box, "keyword:Tracked", *await all_listed(box))


# Disks that are away


async def test_a_disk_that_is_not_mounted_is_no_empty_mailbox(maildir: Path) -> None:
    deliver(maildir, message("one"))
    away = maildir.with_name("away")
    async with account(maildir) as opened:
        box = opened.folder("INBOX")
        listing = await box.list(None, 10)
        maildir.rename(away)
        maildir.mkdir()
        with pytest.raises(Unreachable, match="there is no Maildir"):
            await box.list(listing.cursor, 10)
        with pytest.raises(Unreachable, match="there is no Maildir"):
            await fetched(box, [copy.place for copy in listing.copies])
        with pytest.raises(Unreachable, match="there is no Maildir"):
            await settle(box, "seen", *listing.copies)
        with pytest.raises(Unreachable, match="there is no Maildir"):
            await opened.folders()
    with pytest.raises(Unreachable, match=str(maildir)):
        async with account(maildir):
            pass
    maildir.rmdir()
    away.rename(maildir)
    async with inbox(maildir) as box:
        assert (await box.list(listing.cursor, 10)).copies == ()


async def test_waiting_ends_when_the_disk_goes(maildir: Path) -> None:
    async with account(maildir) as opened:
        await all_listed(opened.folder("INBOX"))
        waiting = asyncio.create_task(opened.wait(600))
        await asyncio.sleep(0)
        maildir.rename(maildir.with_name("away"))
        with pytest.raises(Unreachable, match="there is no Maildir"):
            await asyncio.wait_for(waiting, 30)


async def test_a_disk_that_hangs(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(os, "listdir", lambda _: goes_on.wait(60) and [])
    async with account(maildir, timeout=0.2) as opened:
        with pytest.raises(Unreachable, match="has not answered for"):
            await opened.folder("INBOX").list(None, 10)
    goes_on.set()


# Settings


@pytest.mark.parametrize(
    ("path", "mailbox", "filled"),
    [
        ("/var/mail/{mailbox}/Maildir", "ann@in.test", "/var/mail/ann@in.test/Maildir"),
        ("/var/vmail/{domain}/{local}", "ann@in.test", "/var/vmail/in.test/ann"),
        ("/var/vmail/{domain}/{local}", "..@..", "/var/vmail/_/_"),
        ("/var/vmail/{domain}/{local}", "../../etc@in.test", "/var/vmail/in.test/_.._etc"),
        ("/var/vmail/{local}/Maildir", "a@b/../../root@x", "/var/vmail/a@b_.._.._root/Maildir"),
    ],
)
def test_no_mailbox_leads_out_of_the_path(path: str, mailbox: str, filled: str) -> None:
    assert str(MaildirSettings(path=path).path_of(mailbox)) == filled


def test_the_example_holds_what_is_the_default() -> None:
    example = load(ROOT / "profiles" / "maildir.toml")
    settings = MaildirSettings.model_validate(example)
    assert settings == MaildirSettings(path=settings.path)


def load(file: Path) -> dict[str, Any]:
    profile = tomllib.loads(file.read_text(encoding="utf-8"))["incoming"]["archive"]
    assert (profile.pop("transport"), profile.pop("owners")) == ("maildir", ["*@example.com"])
    assert profile.pop("rule") == "replies"
    assert (profile.pop("start"), profile.pop("after")) == (INCOMING.default_start, str(INCOMING.default_after))
    assert isinstance(profile, dict)
    return profile
