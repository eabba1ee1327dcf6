"""A broken profile keeps what it claims: no less exact profile takes the mail of its owners."""

from pathlib import Path

import pytest

from router.profile import Profiles, check_owners, read_folder
from router.profile.served import ServedProfiles, served

STAFF = """
[incoming.staff]
transport = "imap"
host = "mail.example.com"
auth = { user = "{mailbox}", password = { env = "PASSWORD" } }
owners = ["*@example.com"]
rule = "known"
"""
SALES = STAFF.replace("staff", "sales").replace('"*@', '"sales-*@').replace('"known"', '"none"')
DOOR = """
[incoming.door]
transport = "smtp"
listen = "127.0.0.1:2525"
owners = ["*@example.com"]
copy = true
"""
RELAY = """
[outgoing.relay]
transport = "smtp"
host = "smtp.example.com"
senders = ["*@example.com"]
"""
ANN, BEN = "sales-ann@example.com", "ben@example.com"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")


def start(folder: Path, *files: str) -> Profiles:
    """The profiles of a router that is started with these files."""
    for number, text in enumerate(files):
        (folder / f"{number}.toml").write_text(text)
    return read_folder(folder).profiles


def narrow(text: str, name: str, port: int = 2526) -> str:
    """The same for the sales alone, under another name."""
    old = text.split(".", 1)[1].split("]", 1)[0]
    return text.replace(f".{old}]", f".{name}]").replace("*@", "sales-*@").replace("2525", f"{port}")


@pytest.mark.parametrize(
    ("typo", "whole"),
    [
        (("host", "hots"), True),
        (('"imap"', '"impa"'), True),
        (('"none"', '"nothing"'), True),
        (("PASSWORD", "GONE"), True),
        (("owners", "ownrs"), True),
        (('["sales-*@example.com"]', '"sales-*@example.com"'), True),
        (('["sales-*@example.com"]', '["sales-*@example.com", "boss"]'), False),
    ],
)
def test_nobody_else_reads_an_owner_of_a_broken_profile(tmp_path: Path, typo: tuple[str, str], whole: bool) -> None:
    profiles = start(tmp_path, SALES.replace(*typo), STAFF)
    assert [one.name for one in profiles.incoming] == ["staff"]
    assert profiles.incoming_for(ANN) is None
    [broken] = profiles.routes_of(ANN).broken
    assert (broken.title, broken.runs, profiles.obscure) == ("[incoming.sales]", False, not whole)
    assert profiles.routes_of(BEN).broken == ()
    found = profiles.incoming_for(BEN)
    assert found is not None
    assert found.name == "staff"


@pytest.mark.parametrize(
    ("text", "typo"),
    [
        (SALES, ('["sales-*@example.com"]', '["boss"]')),
        (SALES, ('owners = ["sales-*@example.com"]', "")),
        (SALES, ('"imap"', "imap")),
        (SALES, ("[incoming.", "[incomming.")),
        (narrow(RELAY, "bulk"), ('senders = ["sales-*@example.com"]', "")),
    ],
    ids=["no address", "no owners", "no TOML", "no such table", "no senders"],
)
def test_where_it_is_not_known_whose_mail_a_profile_claims_that_is_told(
    tmp_path: Path, text: str, typo: tuple[str, str]
) -> None:
    assert start(tmp_path, text.replace(*typo), STAFF).obscure
    assert not start(tmp_path, text, STAFF).obscure


def test_a_broken_listener_or_relay_keeps_its_claims_among_its_like(tmp_path: Path) -> None:
    wrong = narrow(DOOR, "gate") + "x = 1\n" + narrow(RELAY, "bulk") + "x = 1\n"
    profiles = start(tmp_path, wrong, STAFF + DOOR + RELAY)
    assert set(profiles.by_key) == {("incoming", "staff"), ("incoming", "door"), ("outgoing", "relay")}
    assert (profiles.listener_for(ANN), profiles.outgoing_for(ANN)) == (None, None)
    assert [one.title for one in profiles.routes_of(ANN).broken] == ["[incoming.gate]", "[outgoing.bulk]"]
    # Its mailbox is read beside the listener, as before.
    reads = profiles.incoming_for(ANN)
    assert reads is not None
    assert reads.name == "staff"
    assert None not in (profiles.listener_for(BEN), profiles.outgoing_for(BEN))


def test_a_broken_profile_takes_nothing_from_one_that_is_as_exact_and_runs(tmp_path: Path) -> None:
    for file in (STAFF.replace(".staff", ".again"), STAFF + "x = 1\n"):
        profiles = start(tmp_path, STAFF, file)
        found = profiles.incoming_for(ANN)
        assert found is not None
        assert found.name == "staff"
        assert profiles.routes_of(ANN).broken == ()


def test_a_profile_that_runs_in_its_earlier_form_claims_what_that_does(tmp_path: Path) -> None:
    before = start(tmp_path, SALES, STAFF)
    (tmp_path / "0.toml").write_text(SALES.replace("sales-*@", "*es-*@") + "x = 1\n")
    after = read_folder(tmp_path, before).profiles
    assert after.incoming_for(ANN) == before.incoming_for(ANN)
    assert (after.broken, after.obscure) == ((), False)


def test_an_owner_of_a_broken_profile_is_told_of(tmp_path: Path) -> None:
    class Owner:
        def __init__(self, mailbox: str) -> None:
            self.mailbox, self.approved, self.rule = mailbox, True, None

    profiles = start(tmp_path, SALES + "x = 1\n", STAFF + DOOR)
    told = ServedProfiles([*map(served, profiles.by_key.values()), *profiles.broken])
    for one in (profiles, told):
        [note] = check_owners(one, map(Owner, (ANN, BEN)))
        assert (note.file, note.line) == ("0.toml", 2)
        assert f"owner {ANN}: not served by [incoming.sales], because that profile is broken" in str(note)
