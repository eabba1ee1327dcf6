"""What a profile is to other processes, and how much of a wrong one can be told."""

from pathlib import Path

import pytest

from router.errors import ProfileErrors
from router.model import Rule
from router.profile import load
from router.profile.served import ServedProfiles, WrittenProfile, read_written, served

STAFF = """
[incoming.staff]
transport = "imap"
host = "mail.example.com"
auth = { user = "{mailbox}", password = { env = "PASSWORD" } }
owners = ["*@example.com"]
rule = "known"
"""
RELAY = """
[outgoing.relay]
transport = "smtp"
host = "mx.example.com"
senders = ["*@example.com"]
"""


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")


def test_what_is_served_says_for_whom(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(STAFF + RELAY)
    profiles = load(tmp_path)
    staff, relay = served(profiles.incoming[0]), served(profiles.outgoing[0])
    assert (staff.key, staff.kind, staff.file, staff.line) == (("incoming", "staff"), "imap", "a.toml", 2)
    assert (staff.role, staff.owners, staff.tracking_rule) == ("mailbox", ("*@example.com",), Rule.KNOWN)
    assert (relay.title, relay.senders, relay.role) == ("[outgoing.relay]", ("*@example.com",), None)
    assert read_written(tmp_path) == ([WrittenProfile(staff), WrittenProfile(relay)], [])
    routes = ServedProfiles([staff, relay]).routes_of("ann@example.com")
    assert (routes.reads, routes.sends) == (staff, relay)


def test_a_form_is_the_same_wherever_it_stands_and_another_with_every_key(tmp_path: Path) -> None:
    def form(text: str) -> str:
        (tmp_path / "a.toml").write_text(text)
        return read_written(tmp_path)[0][0].profile.form

    first = form(STAFF)
    assert form("# a remark\n\n" + STAFF) == first
    others = [form(STAFF + line) for line in ("port = 1993\n", 'after = "seen"\n', "start = 2026-01-31\n")]
    assert len({first, *others}) == 4


def test_a_secret_that_this_process_lacks_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text(STAFF)
    [whole], _ = read_written(tmp_path)
    monkeypatch.delenv("PASSWORD")
    [one], mistakes = read_written(tmp_path)
    assert one.profile == whole.profile
    words = "a.toml:5: [incoming.staff] auth.password: the environment variable PASSWORD is not set"
    assert ([str(mistake) for mistake in one.mistakes], mistakes) == ([words], [])


def test_of_a_broken_profile_is_told_what_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(STAFF.replace("host", "hots") + "[outgoing.x]\n")
    broken, empty = read_written(tmp_path)[0]
    assert (broken.profile.owners, broken.profile.kind, broken.profile.form) == (("*@example.com",), "imap", "")
    assert 'did you mean "host"?' in str(broken.mistakes[0])
    assert (empty.profile.key, empty.profile.kind, empty.profile.senders) == (("outgoing", "x"), "", ())
    (tmp_path / "a.toml").write_text("nonsense")
    profiles, [mistake] = read_written(tmp_path)
    assert (profiles, mistake.file) == ([], "a.toml")
    with pytest.raises(ProfileErrors):
        read_written(tmp_path / "none")
