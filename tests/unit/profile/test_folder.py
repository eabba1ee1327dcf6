"""One mistake keeps one profile from running, and never the one that did nothing wrong."""

import os
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import ProfileErrors
from router.profile import Key, Profiles, Reading, load, read_folder


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")


def imap(name: str, *owners: str, wrong: str = "") -> str:
    auth = 'auth = { user = "{mailbox}", password = { env = "PASSWORD" } }'
    quoted = ", ".join(f'"{owner}"' for owner in owners)
    return f'[incoming.{name}]\ntransport = "imap"\nhost = "mail.example.com"\n{auth}\nowners = [{quoted}]\n{wrong}\n'


def listener(name: str, port: int) -> str:
    return (
        f'[incoming.{name}]\ntransport = "smtp"\nlisten = "127.0.0.1:{port}"\nowners = ["*@{name}.example"]\n'
        "copy = true\n"
    )


def forward(name: str, folder: str) -> str:
    auth = 'auth = { user = "crm-sink", password = { env = "PASSWORD" } }'
    return (
        f'[incoming.{name}]\ntransport = "imap"\nrole = "forward"\nhost = "mail.example.com"\n{auth}\n'
        f'folders = ["{folder}"]\nforwarders = ["*@{name}.example"]\nauthserv = "mail.example.com"\n'
    )


def relay(name: str, *senders: str) -> str:
    quoted = ", ".join(f'"{sender}"' for sender in senders)
    return f'[outgoing.{name}]\ntransport = "smtp"\nhost = "smtp.example.com"\nsenders = [{quoted}]\n'


class Folder:
    """A folder of profiles, read again and again as a running router does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.running = Profiles((), ())

    def read(self, **files: str | None) -> Reading:
        """Write some files, remove those that are None, and read all."""
        for name, text in files.items():
            file = self.path / f"{name}.toml"
            if text is None:
                file.unlink()
            else:
                file.write_text(text, encoding="utf-8")
        reading = read_folder(self.path, self.running)
        self.running = reading.profiles
        return reading


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def names(reading: Reading) -> set[str]:
    return {f"{direction}.{name}" for direction, name in reading.profiles.by_key}


def broken(reading: Reading) -> Mapping[str, list[str]]:
    return {f"{key[0]}.{key[1]}": list(map(str, mistakes)) for key, mistakes in reading.broken.items()}


def owners(profiles: Profiles) -> Mapping[str, tuple[str, ...]]:
    return {profile.name: profile.owners for profile in profiles.incoming}


def test_one_typo_does_not_keep_the_others_from_running(folder: Folder) -> None:
    a = imap("staff", "*@a.example", wrong="prot = 993") + relay("relay", "*@a.example")
    reading = folder.read(a=a, b=imap("sales", "*@b.example"))
    assert names(reading) == {"incoming.sales", "outgoing.relay"}
    typo = 'a.toml:6: [incoming.staff] unknown key "prot"; did you mean "port"?'
    assert broken(reading) == {"incoming.staff": [typo]}
    assert list(map(str, reading.mistakes)) == [typo]
    with pytest.raises(ProfileErrors, match="prot"):
        load(folder.path)


def test_a_file_that_is_not_toml_hides_its_profiles_only(folder: Folder) -> None:
    reading = folder.read(a="[incoming.staff\n", b=imap("sales", "*@b.example"))
    assert (names(reading), broken(reading)) == ({"incoming.sales"}, {})
    assert reading.unclear == {"a.toml"}
    assert [mistake.file for mistake in reading.mistakes] == ["a.toml"]


def test_a_folder_that_is_gone_is_no_empty_folder(tmp_path: Path) -> None:
    assert "there is no profile in this folder" in str(read_folder(tmp_path).mistakes[0])
    with pytest.raises(ProfileErrors, match="there is no such folder"):
        read_folder(tmp_path / "gone")


def test_a_running_profile_that_is_broken_stays_as_it_was(folder: Folder) -> None:
    before = folder.read(a=imap("staff", "*@a.example") + relay("relay", "*@a.example"), b=imap("sales", "*@b.example"))
    after = folder.read(a=imap("staff", "*@new.example", wrong="x = 1") + relay("relay", "*@new.example"))
    assert names(after) == names(before)
    assert owners(after.profiles) == owners(before.profiles)
    assert after.kept == {("incoming", "staff")}
    assert after.profiles.outgoing[0].senders == ("*@new.example",)
    mended = folder.read(a=imap("staff", "*@new.example"))
    assert not mended.kept
    assert not mended.mistakes
    assert owners(mended.profiles) == {"staff": ("*@new.example",), "sales": ("*@b.example",)}
    assert names(mended) == {"incoming.staff", "incoming.sales"}


@pytest.mark.parametrize("text", ["[incoming.staff\n", "", imap("other", "*@c.example") + "[incomming.staff]\n"])
def test_a_running_profile_stays_where_its_file_is_unclear(folder: Folder, text: str) -> None:
    folder.read(a=imap("staff", "*@a.example"), b=imap("sales", "*@b.example"))
    reading = folder.read(a=text)
    is_kept = text != ""  # a file without a mistake says that the profile is gone
    assert ("incoming.staff" in names(reading)) == is_kept
    assert reading.kept == ({("incoming", "staff")} if is_kept else set())


def test_a_running_profile_whose_file_cannot_be_read_stays(folder: Folder) -> None:
    folder.read(a=imap("staff", "*@a.example"))
    (folder.path / "a.toml").unlink()
    os.mkfifo(folder.path / "a.toml")
    assert folder.read(b=imap("sales", "*@b.example")).kept == {("incoming", "staff")}
    assert names(folder.read(a=None)) == {"incoming.sales"}


def test_a_profile_that_moved_to_another_file_is_not_kept(folder: Folder) -> None:
    folder.read(a=imap("staff", "*@a.example"))
    reading = folder.read(a="[oops\n", b=imap("staff", "*@new.example"))
    assert not reading.kept
    assert owners(reading.profiles) == {"staff": ("*@new.example",)}


def test_where_a_profile_is_written_is_no_change_of_it(folder: Folder) -> None:
    before = folder.read(a=imap("staff", "*@a.example") + relay("relay", "*@a.example")).profiles
    after = folder.read(a=None, b="# moved\n" + relay("relay", "*@a.example") + imap("staff", "*@a.example")).profiles
    assert (after.incoming, after.outgoing) == (before.incoming, before.outgoing)
    assert (after.incoming[0].file, after.incoming[0].line) == ("b.toml", 6)
    changed = folder.read(b=imap("staff", "*@new.example")).profiles
    assert changed.incoming != before.incoming


@pytest.mark.parametrize(
    ("first", "later", "words"),
    [
        (imap("one", "*@a.example"), imap("two", "*@a.example"), 'owners: "*@a.example" is claimed as exactly by'),
        (listener("one", 2525), listener("two", 2525), 'listen: "127.0.0.1:2525" is taken by'),
        (forward("one", "INBOX"), forward("two", "Sales"), "reads the same mailbox as"),
        (relay("one", "*@a.example"), relay("two", "*@a.example"), 'senders: "*@a.example" is claimed as exactly by'),
    ],
)
def test_of_two_rivals_the_later_one_is_broken_unless_it_runs(
    folder: Folder, first: str, later: str, words: str
) -> None:
    fresh = folder.read(a=first, b=later)
    assert [name.partition(".")[2] for name in names(fresh)] == ["one"]
    assert [words in str(mistake) for mistake in fresh.mistakes] == [True]
    folder.read(a=None)
    assert [name.partition(".")[2] for name in names(folder.read())] == ["two"]
    joined = folder.read(a=first)
    assert [name.partition(".")[2] for name in names(joined)] == ["two"]
    assert [str(mistake).startswith("a.toml") for mistake in joined.mistakes] == [True]
    assert joined.kept == set()


def test_of_two_profiles_with_one_name_the_running_one_runs_on(folder: Folder) -> None:
    folder.read(b=imap("staff", "*@b.example"))
    reading = folder.read(a=imap("staff", "*@a.example"))
    assert owners(reading.profiles) == {"staff": ("*@b.example",)}
    words = "a.toml:1: [incoming.staff] there is a profile of this name in b.toml:1: give it another name"
    assert broken(reading) == {"incoming.staff": [words]}


def test_a_profile_that_is_broken_by_itself_takes_nothing_from_a_sound_one(folder: Folder) -> None:
    reading = folder.read(a=imap("one", "*@a.example", wrong="x = 1"), b=imap("two", "*@a.example"))
    assert names(reading) == {"incoming.two"}
    told = list(map(str, reading.mistakes))
    assert told == [
        'a.toml:5: [incoming.one] owners: "*@a.example" is claimed as exactly by [incoming.two] (b.toml:1)',
        'a.toml:6: [incoming.one] unknown key "x"',
    ]


def test_a_rival_that_cannot_run_takes_nothing_from_a_third(folder: Folder) -> None:
    reading = folder.read(a=imap("one", "*@a.example"), b=imap("two", "*@a.example", "*@b.example"))
    assert names(reading) == {"incoming.one"}
    reading = folder.read(c=imap("three", "*@b.example"))
    assert names(reading) == {"incoming.one", "incoming.three"}
    assert [mistake.file for mistake in reading.mistakes] == ["b.toml", "b.toml"]


def test_a_profile_that_stays_as_it_was_claims_what_it_claimed(folder: Folder) -> None:
    folder.read(a=imap("one", "*@a.example"))
    reading = folder.read(a=imap("one", "*@b.example", wrong="x = 1"), b=imap("two", "*@a.example"))
    assert owners(reading.profiles) == {"one": ("*@a.example",)}
    words = 'b.toml:5: [incoming.two] owners: "*@a.example" is claimed as exactly by [incoming.one] as it still runs'
    assert broken(reading)["incoming.two"] == [words]


def test_two_profiles_may_change_places(folder: Folder) -> None:
    folder.read(a=imap("one", "*@a.example"), b=imap("two", "*@b.example"))
    reading = folder.read(a=imap("one", "*@b.example"), b=imap("two", "*@a.example"))
    assert (reading.mistakes, owners(reading.profiles)) == ((), {"one": ("*@b.example",), "two": ("*@a.example",)})


def test_a_change_that_a_rival_prevents_gives_back_what_was_given_up(folder: Folder) -> None:
    folder.read(a=imap("one", "*@a.example"), b=imap("two", "*@b.example"), c=imap("three", "*@c.example"))
    # one would take what two has, and three what one would give up: then one stays, and with it three.
    reading = folder.read(a=imap("one", "*@b.example"), c=imap("three", "*@a.example"))
    assert owners(reading.profiles) == {"one": ("*@a.example",), "two": ("*@b.example",), "three": ("*@c.example",)}
    assert reading.kept == {("incoming", "one"), ("incoming", "three")}
    assert set(broken(reading)) == {"incoming.one", "incoming.three"}


steps = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d"]),
        st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sets(st.sampled_from("pqr"), min_size=1), st.booleans()),
        max_size=4,
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(steps=steps)
def test_what_runs_together_claims_nothing_twice_and_what_ran_runs_on(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, tuple[str, set[str], bool]]]
) -> None:
    folder = Folder(tmp_path_factory.mktemp("profiles"))
    for step in steps:
        written: dict[str, str | None] = {file.stem: None for file in folder.path.iterdir()}
        found: set[Key] = set()
        for file, (name, patterns, is_wrong) in step.items():
            written[file] = imap(name, *(f"*@{one}.example" for one in sorted(patterns)), wrong="x = 1" * is_wrong)
            found.add(("incoming", name))
        ran = folder.running.by_key
        reading = folder.read(**written)
        now = reading.profiles.by_key
        assert found & ran.keys() <= now.keys() <= found
        assert reading.kept <= ran.keys()
        assert all(now[key] == ran[key] for key in reading.kept)
        assert found - now.keys() <= reading.broken.keys()
        for one, other in combinations(reading.profiles.incoming, 2):
            assert not set(one.owners) & set(other.owners)


def test_files_that_look_like_profiles_are_noted(folder: Folder) -> None:
    for name in ("b.conf", "c.TOML", "d.toml.bak", "e.toml.txt", "f.toml~", "README.md", "password", ".g.toml.swp"):
        (folder.path / name).write_text("[incoming.x]")
    reading = folder.read(a=imap("staff", "*@a.example"))
    assert reading.mistakes == ()
    words = 'not read: the name of a profile file ends in ".toml"'
    assert list(map(str, reading.notes)) == [
        f"{name}: {words}" for name in ("b.conf", "c.TOML", "d.toml.bak", "e.toml.txt")
    ]
