import dataclasses
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import transports
from router.errors import Mistake, ProfileErrors, UnknownName
from router.model import Rule
from router.profile import IncomingProfile, Profiles, check_owners, example, examples, load
from router.profile.schema import schema
from transports import ListenerSettings, MailboxSettings, RelaySettings
from transports.base import After


@dataclasses.dataclass(frozen=True)
class AnOwner:
    mailbox: str | None
    rule: Rule | None = None
    approved: bool = True


IMAP = """
transport = "imap"
host = "mail.example.com"
auth = { user = "{mailbox}*router", password = { env = "PASSWORD" } }
"""


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASSWORD", "RELAY_PASSWORD"):
        monkeypatch.setenv(name, "hunter2")


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return read(
        tmp_path,
        a=f"""
# the staff
[incoming.staff]
{IMAP}
owners = ["*@Example.com", "Boss@Other.Example"]

[incoming.sales]
{IMAP}
owners = ["sales-*@example.com", "info@example.com"]
rule = "all"
start = 2026-01-31
after = "move:Done"
folders = ["INBOX", "Sales"]
""",
        b="""
[incoming.drop]
transport = "smtp"
listen = "127.0.0.1:2525"
owners = ["*@example.com"]
copy = true

[incoming.queue]
transport = "smtp"
listen = "127.0.0.1:2526"
owners = ["queue@example.com"]
rule = "all"

[outgoing.relay]
transport = "smtp"
host = "smtp.example.com"
senders = ["*@example.com"]
max_attempts = 3
on_unknown = "resend"
""",
    )


def read(folder: Path, **files: str) -> Profiles:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return load(folder)


def mistakes(folder: Path, **files: str) -> list[str]:
    with pytest.raises(ProfileErrors) as raised:
        read(folder, **files)
    return [str(mistake) for mistake in raised.value.mistakes]


def named(profiles: Profiles, name: str) -> IncomingProfile:
    return next(profile for profile in profiles.incoming if profile.name == name)


def test_what_is_not_said_has_a_default(profiles: Profiles) -> None:
    staff = named(profiles, "staff")
    assert staff.kind.name == "imap"
    assert isinstance(staff.settings, MailboxSettings)
    assert (staff.owners, staff.tracking_rule) == (("*@example.com", "boss@other.example"), Rule.REPLIES)
    assert (staff.start, staff.after) == ("now", After("keep"))
    assert (staff.file, staff.line) == ("a.toml", 3)


def test_what_is_said_is_kept(profiles: Profiles) -> None:
    sales = named(profiles, "sales")
    assert (sales.tracking_rule, sales.start, sales.after) == (Rule.ALL, date(2026, 1, 31), After("move", "Done"))
    assert isinstance(sales.settings, MailboxSettings)
    assert sales.settings.where == "INBOX, Sales at mail.example.com:993 with tls"
    relay = profiles.outgoing[0]
    assert (relay.max_attempts, relay.on_unknown) == (3, "resend")
    assert isinstance(relay.settings, RelaySettings)


def test_a_listener_begins_with_all(profiles: Profiles) -> None:
    drop = named(profiles, "drop")
    assert drop.listens
    assert drop.start == "all"
    assert isinstance(drop.settings, ListenerSettings)
    assert drop.settings.keeps_original


def test_a_transport_may_begin_and_settle_in_its_own_way(tmp_path: Path) -> None:
    text = '[incoming.{0}]\ntransport = "maildir"\npath = "/mail/{{mailbox}}"\nowners = ["*@{0}.example"]\n'
    said = text.format("said") + 'start = "now"\nafter = "keep"'
    profiles = read(tmp_path, a=text.format("silent") + said)
    assert (named(profiles, "silent").start, named(profiles, "silent").after) == ("all", After("seen"))
    assert (named(profiles, "said").start, named(profiles, "said").after) == ("now", After("keep"))


def test_a_date_may_be_in_quotes(tmp_path: Path) -> None:
    profiles = read(tmp_path, a=f'[incoming.a]\n{IMAP}\nowners = ["a@b.example"]\nstart = "2026-01-31"')
    assert profiles.incoming[0].start == date(2026, 1, 31)


@pytest.mark.parametrize(
    ("mailbox", "name"),
    [
        ("anna@example.com", "staff"),
        ("BOSS@other.example", "staff"),
        ("Sales-North@example.com", "sales"),
        ("info@example.com", "sales"),
        ("anna@other.example", None),
    ],
)
def test_the_most_exact_match_reads_a_mailbox(profiles: Profiles, mailbox: str, name: str | None) -> None:
    found = profiles.incoming_for(mailbox)
    assert (found and found.name) == name


def test_listeners_and_relays_are_found_by_their_own_patterns(profiles: Profiles) -> None:
    for address, name in [("anna@example.com", "drop"), ("queue@example.com", "queue"), ("boss@other.example", None)]:
        found = profiles.listener_for(address)
        assert (found and found.name) == name
    relay = profiles.outgoing_for("Anna@example.com")
    assert relay is not None
    assert relay.name == "relay"
    assert profiles.outgoing_for("anna@other.example") is None


def test_all_profiles_that_serve_a_mailbox_are_found_at_once(profiles: Profiles) -> None:
    routes = profiles.routes_of("Queue@example.com")
    assert (routes.reads, routes.listens, routes.forwards, routes.sends) == (
        profiles.incoming_for("queue@example.com"), profiles.listener_for("queue@example.com"), None,
        profiles.outgoing_for("queue@example.com"),
    )  # fmt: skip
    assert [one.name for one in routes.incoming] == ["staff", "queue"]
    assert [one.name for one in routes.all] == ["staff", "queue", "relay"]
    assert profiles.routes_of("nobody@nowhere.example").all == []


def test_a_profile_does_not_change(profiles: Profiles) -> None:
    for profile in (*profiles.incoming, *profiles.outgoing):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(profile, "name", "other")  # noqa: B010  # a type checker refuses the plain assignment


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    profiles = read(tmp_path, **{".a": "[broken", "b": f'[incoming.a]\n{IMAP}\nowners = ["a@b.example"]'})
    (tmp_path / "notes.txt").write_text("[broken")
    assert [profile.name for profile in profiles.incoming] == ["a"]


def test_a_mark_of_byte_order_and_carriage_returns_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[incoming.a]\r\ntransport = 'imap'\r\nhots = 1\r\n")
    assert 'a.toml:3: [incoming.a] unknown key "hots"; did you mean "host"?' in mistakes(tmp_path)


def test_no_folder_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    words = 'make it and put a profile in; "email-router profile example KIND" prints one to begin with'
    with pytest.raises(ProfileErrors) as raised:
        load(folder)
    assert str(raised.value) == f"{folder}: there is no such folder: {words}"


def test_a_file_in_place_of_the_folder_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch()
    with pytest.raises(ProfileErrors, match=r"a\.toml: that is a file: name the folder in which the profiles are"):
        load(tmp_path / "a.toml")


def test_a_folder_that_we_may_not_enter_is_said_in_words(closed: Path) -> None:
    with pytest.raises(ProfileErrors, match="the folder cannot be read: Permission denied"):
        load(closed / "profiles")


def test_what_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    (tmp_path / "c.toml").write_text("x = " + "[" * 10_000)
    os.mkfifo(tmp_path / "d.toml")
    told = mistakes(tmp_path, b="[incomming]")
    assert told == [
        "a.toml: this is no file: move it away, or give it another name",
        'b.toml:1: unknown table "incomming"; did you mean "incoming"?',
        "c.toml: the file holds a number or a nesting that is too large to be read",
        "d.toml: this is no file: move it away, or give it another name",
    ]


def test_a_secret_for_each_mailbox_is_not_looked_for(tmp_path: Path) -> None:
    file = str(tmp_path / "{mailbox}")
    text = IMAP.replace('env = "PASSWORD"', f"file = '{file}'")
    assert read(tmp_path, a=f'[incoming.a]\n{text}\nowners = ["a@b.example"]').incoming


def test_a_secret_in_a_file_is_looked_for_and_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    text = IMAP.replace('env = "PASSWORD"', f"file = '{file}'")
    profiles = read(tmp_path, a=f'[incoming.a]\n{text}\nowners = ["a@b.example"]')
    assert "hunter2" not in repr(profiles.incoming)
    file.write_text("")
    assert mistakes(tmp_path) == [f"a.toml:5: [incoming.a] auth.password: the secret {file} is empty"]


def test_owners_whom_nobody_serves_are_told(profiles: Profiles) -> None:
    owners = [
        AnOwner("anna@example.com"),
        AnOwner("anna@other.example"),
        AnOwner("new@other.example", approved=False),
        AnOwner(None),
    ]
    words = "owner anna@other.example: no incoming profile serves this mailbox; add it to the owners of one"
    assert check_owners(profiles, owners) == [Mistake("", 0, words)]
    assert str(Mistake("", 0, words)) == words


def test_a_forward_mailbox_serves_its_forwarders_beside_all_others(tmp_path: Path) -> None:
    one = IMAP.replace("{mailbox}*router", "sink")
    sink = f'[incoming.sink]\n{one}\nrole = "forward"\nforwarders = ["*@b.example"]\nauthserv = "mx"\n'
    profiles = read(tmp_path, a=sink, b=f'[incoming.staff]\n{IMAP}\nowners = ["a@b.example"]')
    (found,) = (one for one in profiles.incoming if one.forwards)
    assert (found.start, found.owners, found.forwarders, found.authserv) == ("all", (), ("*@b.example",), "mx")
    for mailbox, reader in {"a@b.example": "staff", "other@b.example": None}.items():
        serving = profiles.incoming_for(mailbox)
        assert (serving.name if serving else None) == reader
        assert profiles.routes_of(mailbox).forwards is found
    assert profiles.routes_of("a@other.example").forwards is None
    assert check_owners(profiles, [AnOwner("other@b.example")]) == []
    later = read(tmp_path, a=sink + "start = 2026-01-31\n")
    assert later.incoming[0].start == date(2026, 1, 31)


def test_a_listener_that_forwards_needs_no_copy_elsewhere(tmp_path: Path) -> None:
    keys = 'transport = "smtp"\nlisten = "127.0.0.1:2525"\nrole = "forward"\naddress = "CRM@b.example"'
    profiles = read(tmp_path, a=f'[incoming.sink]\n{keys}\nforwarders = ["*@b.example"]\nallow_unverified = true')
    (found,) = profiles.incoming
    assert (found.address, found.authserv) == ("crm@b.example", None)


def test_an_owner_whose_rule_ignores_mail_needs_a_listener_that_gets_copies(profiles: Profiles) -> None:
    assert check_owners(profiles, [AnOwner("queue@example.com"), AnOwner("anna@example.com", Rule.NONE)]) == []
    words = (
        '[incoming.queue] copy must be true, because owner queue@example.com has the rule "known" and what it ignores '
        "would be lost: say copy = true if the mail server keeps the original, or give the owner the rule "
        '"all"'
    )
    assert check_owners(profiles, [AnOwner("queue@example.com", Rule.KNOWN)]) == [Mistake("b.toml", 8, words)]


@pytest.mark.parametrize("kind", transports.kinds())
def test_every_transport_has_an_example_that_works(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports.Secret, "reveal", lambda *_: "hunter2")
    profiles = read(tmp_path, example=example(kind))
    offered = transports.load(kind)
    assert {profile.kind.name for profile in profiles.incoming} == ({kind} if offered.incoming else set())
    assert {profile.kind.name for profile in profiles.outgoing} == ({kind} if offered.outgoing else set())


@pytest.mark.parametrize("name", ["dovecot-postfix", "exchange", "google-workspace", "microsoft-365", "oauth2"])
def test_every_provider_has_an_example_that_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports.Secret, "reveal", lambda *_: "hunter2")
    assert name in examples()
    profiles = read(tmp_path, example=example(name))
    assert profiles.incoming
    assert profiles.outgoing or name == "oauth2"


@pytest.mark.parametrize("kind", ["eudora", "../pyproject", "base", "errors", ""])
def test_there_is_no_example_of_what_there_is_not(kind: str) -> None:
    with pytest.raises(UnknownName) as caught:
        example(kind)
    assert str(caught.value) == f"there is no example {kind!r}; there are {', '.join(examples())}"


def test_a_transport_without_an_example_says_where_one_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports.kinds", lambda: ("pigeon",))
    with pytest.raises(UnknownName, match=r'^the transport .pigeon. has no example: write "profiles/pigeon.toml"'):
        example("pigeon")


def test_an_installed_example_comes_before_that_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.profile.__file__", str(tmp_path / "router" / "profile" / "__init__.py"))
    for folder in ("profiles", "router/examples"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "imap.toml").write_text(folder)
    assert example("imap") == "router/examples"


def test_the_schema_knows_every_key_of_every_transport() -> None:
    whole = schema()
    for direction in ("incoming", "outgoing"):
        tables: list[Any] = whole["properties"][direction]["additionalProperties"]["oneOf"]
        found = {table["$ref"].rpartition("/")[2] for table in tables}
        kinds = [kind for kind in transports.kinds() if getattr(transports.load(kind), direction)]
        assert found == {f"{direction}_{kind}" for kind in kinds}
    listener = whole["$defs"]["incoming_smtp"]
    assert {"transport", "listen", "copy", "owners", "rule", "start"} <= listener["properties"].keys()
    assert listener["properties"]["transport"]["const"] == "smtp"
    assert set(listener["required"]) == {"transport", "listen"}
    assert (listener["then"], listener["else"]) == ({"required": ["forwarders"]}, {"required": ["owners"]})
    assert listener["additionalProperties"] is False
