"""The current profiles of a folder: what is added, changed, broken, mended and removed while they are in use."""

import asyncio
import copy
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from router.errors import Mistake
from router.profile import Key, watch
from router.profile import store as stores
from router.profile.store import Change, ProfileStore
from tests.servers.tls import make_tls
from transports import NO_TOKENS


def relay(name: str, senders: str = "*@a.example", **keys: object) -> str:
    more = "".join(f"{key} = {value!r}\n" for key, value in keys.items())
    return f'[outgoing.{name}]\ntransport = "smtp"\nhost = "mail.example.com"\nsenders = ["{senders}"]\n{more}'


ONE: Final[tuple[Key, ...]] = (("outgoing", "one"),)
WRONG: Final = (Mistake("one.toml", 1, "wrong"),)


class Watched:
    """A store that is watched, and the changes that it told."""

    def __init__(self, store: ProfileStore) -> None:
        self.store = store
        self.changes: asyncio.Queue[Change] = asyncio.Queue()

    async def next(self) -> Change:
        async with asyncio.timeout(20):
            return await self.changes.get()

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.store.profiles.outgoing]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    (tmp_path / "one.toml").write_text(relay("one"))
    (tmp_path / "two.toml").write_text(relay("two", "*@b.example"))
    found = Watched(await ProfileStore.open(tmp_path))
    watching = asyncio.create_task(found.store.watch(found.changes.put))
    yield found
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_file_that_is_added_changed_and_removed_is_told(watched: Watched, tmp_path: Path) -> None:
    one = watched.store.profiles.outgoing[0]
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example"))
    assert await watched.next() == Change(added=(("outgoing", "three"),))
    assert watched.names == ["one", "three", "two"]
    (tmp_path / "two.toml").write_text(relay("two", "*@d.example"))
    assert await watched.next() == Change(changed=(("outgoing", "two"),))
    (tmp_path / "three.toml").unlink()
    assert await watched.next() == Change(removed=(("outgoing", "three"),))
    assert watched.store.profiles.outgoing[0] == one
    assert watched.store.profiles.outgoing_for("ann@d.example") == watched.store.profiles.outgoing[1]


@pytest.mark.parametrize(
    "broken", ['[outgoing.two]\ntransport = "smtp"\nhots = "x"\n', "[outgoing.two\n"], ids=["keys", "syntax"]
)
async def test_a_broken_profile_keeps_its_old_form_until_it_is_mended(
    watched: Watched, tmp_path: Path, broken: str
) -> None:
    before = watched.store.profiles.outgoing_for("bob@b.example")
    (tmp_path / "two.toml").write_text(broken)
    change = await watched.next()
    assert change.broken
    assert all(mistake.file == "two.toml" for mistake in change.broken)
    assert change == Change(broken=change.broken)
    assert watched.store.mistakes == change.broken
    assert watched.store.profiles.outgoing_for("bob@b.example") == before
    (tmp_path / "two.toml").write_text(relay("two", "*@b.example", connections=7))
    mended = await watched.next()
    assert (mended.changed, mended.mended) == ((("outgoing", "two"),), change.broken)
    assert not watched.store.mistakes


async def test_a_line_that_only_moves_is_no_change(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("# a comment\n" + relay("one"))
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example"))
    assert await watched.next() == Change(added=(("outgoing", "three"),))


async def test_a_new_rival_is_refused_and_the_profile_in_use_stays(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "a-rival.toml").write_text(relay("rival", "*@b.example"))
    change = await watched.next()
    assert not change.added
    assert "rival" in str(change.broken[0])
    found = watched.store.profiles.outgoing_for("bob@b.example")
    assert found is not None
    assert found.name == "two"


async def test_a_file_that_is_replaced_in_two_steps_is_never_gone(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some editors do: the old file is moved away, and the new one written."""
    sleep, steps = asyncio.sleep, []

    async def put_back(seconds: float) -> None:
        steps.append(seconds)
        (tmp_path / "two.toml").write_text(relay("two", "*@b.example", connections=5))
        await sleep(0)

    monkeypatch.setattr(stores, "_sleep", put_back)
    (tmp_path / "two.toml").unlink()
    assert await watched.next() == Change(changed=(("outgoing", "two"),))
    assert steps == [stores.SECOND_LOOK]


async def test_a_folder_that_cannot_be_read_changes_nothing_but_is_told(watched: Watched, tmp_path: Path) -> None:
    await asyncio.to_thread(tmp_path.rename, tmp_path.with_name("elsewhere"))
    change = await watched.next()
    assert change.broken
    assert watched.names == ["one", "two"]
    await asyncio.to_thread(tmp_path.with_name("elsewhere").rename, tmp_path)
    assert await watched.next() == Change(mended=change.broken)


async def test_a_secret_that_is_replaced_is_told_and_one_that_was_missing_makes_a_profile_whole(
    watched: Watched, tmp_path: Path
) -> None:
    folder = tmp_path.with_name(f"{tmp_path.name}-secrets")
    auth = f'auth = {{ user = "crm", password = {{ file = "{folder}/password" }} }}\n'
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example") + auth)
    assert (await watched.next()).broken
    folder.mkdir()
    (folder / "password").write_text("one")
    assert (await watched.next()).added == (("outgoing", "three"),)
    (folder / "new").write_text("two")
    (folder / "new").rename(folder / "password")
    assert await watched.next() == Change(secrets=(("outgoing", "three"),))


async def test_of_a_secret_is_told_whether_it_is_there_and_what_tries_it(watched: Watched, tmp_path: Path) -> None:
    password = tmp_path.with_name(f"{tmp_path.name}-password")
    password.write_text("one")
    auth = f'auth = {{ user = "crm", password = {{ file = "{password}" }} }}\n'
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example") + auth)
    assert (await watched.next()).added == (("outgoing", "three"),)
    told = []
    with capture_logs() as lines:
        for text in ("another", "", "two", None):
            if text is None:
                password.unlink()
            else:
                password.write_text(text)
            while not (await watched.next()).secrets:
                pass
            told += [
                (line["log_level"], line["event"].partition(":")[0]) for line in lines if "secret is" in line["event"]
            ]
            told += [(line["log_level"], line["next"]) for line in lines if line["event"] == "a secret was replaced"]
            lines.clear()
    tries = ("info", '"email-router test three" tries it; connections that are open stay logged in')
    assert told == [tries, ("warning", "a secret is empty"), tries, ("warning", "a secret is gone")]


async def test_a_certificate_that_is_renewed_changes_its_profile(watched: Watched, tmp_path: Path) -> None:
    certificate = tmp_path.with_name(f"{tmp_path.name}-ca.pem")
    certificate.write_text("old")
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example", ca_file=str(certificate)))
    assert (await watched.next()).added == (("outgoing", "three"),)
    certificate.write_text("renewed")
    assert await watched.next() == Change(changed=(("outgoing", "three"),))


async def test_a_folder_of_links_that_is_switched_as_a_whole_is_seen(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: `..data` links to a folder of a moment, and each file links into it."""
    for moment, senders in (("..1", "*@a.example"), ("..2", "*@b.example")):
        (tmp_path / moment).mkdir()
        (tmp_path / moment / "one.toml").write_text(relay("one", senders))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "one.toml").symlink_to("..data/one.toml")
    found = Watched(await ProfileStore.open(tmp_path))
    watching = asyncio.create_task(found.store.watch(found.changes.put))
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert await found.next() == Change(changed=(("outgoing", "one"),))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_it_begins_with_an_empty_folder_or_none(tmp_path: Path) -> None:
    store = await ProfileStore.open(tmp_path / "none")
    assert not store.profiles
    assert "there is no such folder" in str(store.mistakes[0])
    found = Watched(store)
    watching = asyncio.create_task(store.watch(found.changes.put))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "one.toml").write_text(relay("one"))

    async def until(holds: Callable[[], bool]) -> None:
        while not holds():
            await found.next()

    await until(lambda: found.names == ["one"])
    assert not store.mistakes
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def reads(name: str, secret: Path) -> str:
    auth = f'auth = {{ user = "{{mailbox}}", password = {{ file = "{secret}" }} }}'
    return f'[incoming.{name}]\ntransport = "imap"\nhost = "mail.example.com"\nowners = ["*@a.example"]\n{auth}\n'


class Failing:
    """Is told of changes, and fails as often as it is to; `told` are those at which it did not."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.told: list[Change] = []

    async def __call__(self, change: Change) -> None:
        if self.times:
            self.times -= 1
            raise ZeroDivisionError
        self.told.append(change)
        raise asyncio.CancelledError


async def watch_to_its_end(store: ProfileStore, tell: Failing) -> None:
    async with asyncio.timeout(20):
        await store.watch(tell)


@pytest.fixture
async def store(tmp_path: Path) -> ProfileStore:
    (tmp_path / "one.toml").write_text(relay("one"))
    (tmp_path / "two.toml").write_text(relay("two", "*@b.example"))
    return await ProfileStore.open(tmp_path)


async def test_a_change_that_could_not_be_told_is_told_again_with_what_changed_since(
    store: ProfileStore, tmp_path: Path
) -> None:
    tell = Failing(2)
    (tmp_path / "two.toml").write_text(relay("two", "*@b.example", connections=7))
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example"))
    with pytest.raises(ZeroDivisionError):
        await watch_to_its_end(store, tell)
    (tmp_path / "one.toml").unlink()
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example", connections=7))
    with pytest.raises(ZeroDivisionError):
        await watch_to_its_end(store, tell)
    with pytest.raises(asyncio.CancelledError):
        await watch_to_its_end(store, tell)
    assert tell.told == [
        Change(added=(("outgoing", "three"),), changed=(("outgoing", "two"),), removed=(("outgoing", "one"),))
    ]


async def test_a_change_that_could_not_be_told_and_is_undone_since_is_told_all_the_same(
    store: ProfileStore, tmp_path: Path
) -> None:
    """It may have taken effect in part."""
    tell = Failing(1)
    (tmp_path / "two.toml").write_text(relay("two", "*@d.example"))
    with pytest.raises(ZeroDivisionError):
        await watch_to_its_end(store, tell)
    (tmp_path / "two.toml").write_text(relay("two", "*@b.example"))
    with pytest.raises(asyncio.CancelledError):
        await watch_to_its_end(store, tell)
    assert tell.told == [Change(changed=(("outgoing", "two"),))]


async def test_what_changed_before_the_watching_is_told_without_a_further_change(
    store: ProfileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_folders: object) -> AsyncIterator[None]:
        await asyncio.get_running_loop().create_future()
        yield

    monkeypatch.setattr(watch, "_events", never)
    tell = Failing(0)
    (tmp_path / "one.toml").unlink()
    with pytest.raises(asyncio.CancelledError):
        await watch_to_its_end(store, tell)
    assert tell.told == [Change(removed=(("outgoing", "one"),))]


async def test_a_look_that_is_interrupted_anywhere_loses_no_change(
    store: ProfileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two.toml").write_text(relay("two", "*@d.example"))
    to_thread, left, interrupted = asyncio.to_thread, 0, 0

    async def to_thread_or_end(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise asyncio.CancelledError
        return await to_thread(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", to_thread_or_end)
    tell = Failing(0)
    while not tell.told:
        left = interrupted + 1
        with pytest.raises(asyncio.CancelledError):
            await watch_to_its_end(store, tell)
        interrupted += left == 0
    assert tell.told == [Change(changed=(("outgoing", "two"),))]
    assert interrupted == 3


@pytest.mark.parametrize(
    ("first", "later", "both"),
    [
        (Change(added=ONE), Change(changed=ONE), Change(added=ONE)),
        (Change(added=ONE), Change(removed=ONE), Change(removed=ONE)),
        (Change(changed=ONE), Change(changed=ONE), Change(changed=ONE)),
        (Change(changed=ONE), Change(removed=ONE), Change(removed=ONE)),
        (Change(removed=ONE), Change(added=ONE), Change(changed=ONE)),
        (Change(secrets=ONE), Change(secrets=ONE), Change(secrets=ONE)),
        (Change(broken=WRONG), Change(mended=WRONG), Change(mended=WRONG)),
        (Change(mended=WRONG), Change(broken=WRONG), Change(broken=WRONG)),
    ],
)
def test_two_changes_are_told_as_one(first: Change, later: Change, both: Change) -> None:
    assert first.then(later) == both
    assert first.then(Change()) == Change().then(first) == first


async def test_a_folder_of_secrets_that_cannot_be_looked_at_stops_no_reload(tmp_path: Path) -> None:
    profiles, secrets = tmp_path / "profiles", tmp_path / "secrets"
    profiles.mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "password").write_text("one")
    secrets.symlink_to("real")
    (profiles / "mail.toml").write_text(reads("mail", secrets / "password"))
    store = await ProfileStore.open(profiles)
    assert [one.name for one in store.profiles.incoming] == ["mail"]
    # What `stat` says of it is neither that it is there nor that it is not: as for a disk that is away.
    (tmp_path / "new").symlink_to("x" * 300)
    (tmp_path / "new").replace(secrets)
    found = Watched(store)
    watching = asyncio.create_task(store.watch(found.changes.put))
    assert (await found.next()).broken
    (profiles / "one.toml").write_text(relay("one"))
    assert (await found.next()).added == (("outgoing", "one"),)
    assert [one.name for one in store.profiles.incoming] == ["mail"]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_the_password_of_one_of_many_mailboxes_that_is_written_in_place_is_told(
    watched: Watched, tmp_path: Path
) -> None:
    folder = tmp_path.with_name(f"{tmp_path.name}-secrets")
    folder.mkdir()
    (folder / "ann@a.example").write_text("one")
    (tmp_path / "mail.toml").write_text(reads("mail", folder / "{mailbox}"))
    assert (await watched.next()).added == (("incoming", "mail"),)
    (folder / "ann@a.example").write_text("another")
    assert await watched.next() == Change(secrets=(("incoming", "mail"),))


async def test_a_file_that_is_changed_twice_within_the_precision_of_its_date_is_read_twice(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RESTLESS", 3600.0)
    file = tmp_path / "two.toml"
    file.write_text(relay("two", "*@d.example"))
    before = file.stat()
    assert await watched.next() == Change(changed=(("outgoing", "two"),))
    file.write_text(relay("two", "*@e.example"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert await watched.next() == Change(changed=(("outgoing", "two"),))


async def test_a_certificate_that_is_renewed_after_its_key_is_used_only_with_it(
    watched: Watched, tmp_path: Path
) -> None:
    folder = tmp_path.with_name(f"{tmp_path.name}-tls")
    (folder / "new").mkdir(parents=True)
    old, new = make_tls(folder), make_tls(folder / "new")
    text = f'transport = "smtp"\nlisten = "127.0.0.1:2525"\nowners = ["*@a.example"]\ncert_file = "{old.certificate}"'
    (tmp_path / "door.toml").write_text(f'[incoming.door]\n{text}\nkey_file = "{old.key}"\nrule = "all"\n')
    assert (await watched.next()).added == (("incoming", "door"),)
    shutil.copy(new.key, old.key)
    change = await watched.next()
    assert change == Change(broken=change.broken)
    assert "the certificate cannot be used with its key" in str(change.broken[0])
    shutil.copy(new.certificate, old.certificate)
    assert await watched.next() == Change(changed=(("incoming", "door"),), mended=change.broken)


async def test_a_certificate_that_is_renewed_while_its_profile_is_read_changes_it(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path.with_name(f"{tmp_path.name}-ca.pem")
    certificate.write_text("old")
    read = stores._read_folder

    def read_and_renew(*arguments: object) -> object:
        reading = read(*arguments)  # type: ignore[arg-type]
        if reading.profiles.by_key.keys() > watched.store.profiles.by_key.keys():
            certificate.write_text("renewed")
        return reading

    monkeypatch.setattr(stores, "_read_folder", read_and_renew)
    monkeypatch.setattr(stores, "RESTLESS", 0.0)
    (tmp_path / "three.toml").write_text(relay("three", "*@c.example", ca_file=str(certificate)))
    assert (await watched.next()).added == (("outgoing", "three"),)
    assert await watched.next() == Change(changed=(("outgoing", "three"),))


async def test_a_config_map_of_which_files_come_change_and_go_is_switched_step_by_step(tmp_path: Path) -> None:
    """As Kubernetes does it: the folder, the link to it, links of new files, then no more of the old ones."""
    moments = {
        "..1": {"one": relay("one"), "two": relay("two", "*@b.example")},
        "..2": {"one": relay("one", connections=7), "three": relay("three", "*@b.example")},
    }
    for moment, files in moments.items():
        (tmp_path / moment).mkdir()
        for name, content in files.items():
            (tmp_path / moment / f"{name}.toml").write_text(content)
    (tmp_path / "..data").symlink_to("..1")
    for name in moments["..1"]:
        (tmp_path / f"{name}.toml").symlink_to(f"..data/{name}.toml")
    found = Watched(await ProfileStore.open(tmp_path))
    assert found.names == ["one", "two"]
    watching = asyncio.create_task(found.store.watch(found.changes.put))
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    told = await found.next()
    assert told.changed == (("outgoing", "one"),)
    assert found.names == ["one", "two"]  # a link to nothing is no file that was removed
    (tmp_path / "three.toml").symlink_to("..data/three.toml")
    (tmp_path / "two.toml").unlink()
    shutil.rmtree(tmp_path / "..1")
    while found.names != ["one", "three"] or found.store.mistakes:
        told = told.then(await found.next())
    assert (told.added, told.changed, told.removed) == (
        (("outgoing", "three"),),
        (("outgoing", "one"),),
        (("outgoing", "two"),),
    )
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_each_profile_has_the_tokens_of_the_store(watched: Watched, tmp_path: Path) -> None:
    tokens = copy.copy(NO_TOKENS)
    before = watched.store.profiles.by_key
    watched.store.use_tokens(tokens)
    assert watched.store.profiles.by_key == before  # none has changed
    (tmp_path / "two.toml").write_text(relay("two", "*@d.example"))
    assert await watched.next() == Change(changed=(("outgoing", "two"),))
    assert all(one.tokens is tokens for one in watched.store.profiles.by_key.values())
