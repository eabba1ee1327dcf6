"""What `check` finds, as values: profiles or mistakes, never both."""

from pathlib import Path

from router.operations.check import check

RELAY = """
[outgoing.relay]
transport = "smtp"
host      = "smtp.example.com"
senders   = ["*@example.com"]
"""
LISTENER = """
[incoming.copies]
transport = "smtp"
listen    = "127.0.0.1:2525"
copy      = true
owners    = ["*@example.com"]
"""


def test_sound_profiles_are_told_with_what_they_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "out.toml").write_text(RELAY)
    (tmp_path / "old.toml.bak").write_text(RELAY)
    checked = check(tmp_path)
    assert [one.key for one in checked.profiles] == [("outgoing", "relay")]
    assert not checked.mistakes
    assert [note.file for note in checked.notes] == ["old.toml.bak"]
    assert checked.missing == "none of them brings mail in"
    (tmp_path / "in.toml").write_text(LISTENER)
    assert [one.key for one in check(tmp_path).profiles] == [("incoming", "copies"), ("outgoing", "relay")]
    assert check(tmp_path).missing is None
    (tmp_path / "out.toml").unlink()
    assert check(tmp_path).missing == "none of them sends"


def test_with_a_mistake_there_are_no_profiles(tmp_path: Path) -> None:
    (tmp_path / "in.toml").write_text(LISTENER)
    (tmp_path / "out.toml").write_text(RELAY.replace("host", "hosst"))
    checked = check(tmp_path)
    assert not checked.profiles
    assert [(one.file, one.line) for one in checked.mistakes] == [("out.toml", 4)]


def test_a_folder_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    checked = check(tmp_path / "none")
    assert not checked.profiles
    [mistake] = checked.mistakes
    assert (mistake.file, mistake.line) == (str(tmp_path / "none"), 0)
    assert mistake.text.startswith("there is no such folder")
