"""What is served: by the processes' word where there is one, and compared with the folder of this machine."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from router.model import ServedProfile
from router.operations.served import ProfileState, compare
from router.profile.served import read_written
from router.repository.processes import Process

NOW = datetime(2026, 11, 21, 10, 14, tzinfo=UTC)
STAFF = """
[incoming.staff]
transport = "imap"
host = "mail.example.com"
auth = { user = "{mailbox}", password = { env = "PASSWORD" } }
owners = ["*@example.com"]
"""


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")


def process(profiles: Sequence[ServedProfile], pid: int = 1, host: str = "here", *, alive: bool = True) -> Process:
    return Process(uuid4(), host, pid, NOW, NOW, alive, 0.0, tuple(profiles), {})


def write(folder: Path, text: str = STAFF) -> ServedProfile:
    (folder / "a.toml").write_text(text)
    return read_written(folder)[0][0].profile


def the_state(states: Sequence[ProfileState]) -> ProfileState:
    [state] = states
    return state


def test_where_no_process_tells_the_folder_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staff = write(tmp_path)
    monkeypatch.delenv("PASSWORD")
    for processes in ([], [process([staff], alive=False)], [process([])]):
        found = compare(processes, tmp_path, "here")
        assert (found.running, found.profiles.all) == (False, (staff,))
        assert [mistake.line for mistake in found.mistakes] == [5]
        assert "PASSWORD is not set" in str(the_state(found.states).fault)
    found = compare([], tmp_path / "none", "here")
    assert (found.profiles.all, len(found.mistakes), found.strays) == ((), 1, ())


def test_a_secret_that_this_shell_lacks_is_nobodys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staff = write(tmp_path)
    monkeypatch.delenv("PASSWORD")
    found = compare([process([staff])], tmp_path, "here")
    assert (found.running, found.mistakes) == (True, ())
    state = the_state(found.states)
    assert (state.fault, state.note, state.served_by) == (None, None, {staff.form: ("here:1",)})
    assert found.profiles.routes_of("ann@example.com").reads == staff


def test_a_broken_file_is_told_and_the_form_in_use_too(tmp_path: Path) -> None:
    staff = write(tmp_path)
    write(tmp_path, STAFF.replace("host", "hots"))
    found = compare([process([staff])], tmp_path, "here")
    assert found.profiles.all == (staff,)
    assert 'did you mean "host"?' in str(the_state(found.states).fault)
    assert [mistake.line for mistake in found.mistakes] == [4]
    (tmp_path / "a.toml").write_text("nonsense")
    found = compare([process([staff])], tmp_path, "here")
    assert [mistake.file for mistake in found.strays] == ["a.toml"]
    # The process may know better why it keeps the earlier form.
    told = compare([process([replace(staff, fault="a.toml is being written")])], tmp_path, "here")
    assert the_state(told.states).fault == "a.toml is being written"


def test_what_is_not_in_use_yet_or_no_longer_written_is_told(tmp_path: Path) -> None:
    staff = write(tmp_path)
    write(tmp_path, STAFF + "port = 1993\n")
    found = compare([process([staff])], tmp_path, "here")
    assert the_state(found.states).note == "a.toml:2 has another form, which is not in use yet"
    write(tmp_path, STAFF.replace("staff", "sales"))
    found = compare([process([staff])], tmp_path, "here")
    assert {one.profile.name: one.note for one in found.states} == {
        "staff": "it is no longer in the profile folder, and still in use",
        "sales": "a.toml:2 is not in use yet",
    }
    assert found.profiles.all == (staff,)


def test_processes_that_differ_are_told_apart(tmp_path: Path) -> None:
    staff = write(tmp_path)
    old = replace(staff, form="0ld")
    found = compare([process([old], 1), process([staff], 2), process([staff], 3)], tmp_path, "here")
    state = the_state(found.states)
    assert list(state.served_by.items()) == [(staff.form, ("here:2", "here:3")), ("0ld", ("here:1",))]
    words = f"processes serve different forms of it: {staff.form} by here:2, here:3; 0ld by here:1"
    assert (state.note, state.fault) == (words, None)


def test_the_folder_of_another_machine_is_not_compared(tmp_path: Path) -> None:
    staff = write(tmp_path)
    write(tmp_path, STAFF.replace("staff", "sales"))
    found = compare([process([staff], host="there")], tmp_path, "here")
    assert (the_state(found.states).note, found.mistakes) == (None, ())
    (tmp_path / "a.toml").unlink()
    found = compare([process([staff])], tmp_path, "here")
    assert (the_state(found.states).note, found.mistakes, found.strays) == (None, (), ())
