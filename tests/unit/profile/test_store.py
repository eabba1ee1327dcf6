"""The current profiles of a folder: what is added, changed, broken, mended and removed while they are in use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from router.profile import store as stores
from router.profile.store import Change, ProfileStore


def relay(name: str, senders: str = "*@a.example", **keys: object) -> str:
    more = "".join(f"{key} = {value!r}\n" for key, value in keys.items())
    return f'[outgoing.{name}]\ntransport = "smtp"\nhost = "mail.example.com"\nsenders = ["{senders}"]\n{more}'


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
