"""The account in which a mailbox lies: the same whatever its profile is called, and another on another server."""

from pathlib import Path

import pytest

from router.profile import Profiles, load

ANN = "ann@example.com"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "secret")


def read(folder: Path, table: str, name: str = "staff") -> Profiles:
    (folder / "all.toml").write_text(f"[incoming.{name}]\n{table}")
    return load(folder)


def mailbox(transport: str, user: str = "{mailbox}", more: str = "") -> str:
    auth = f'auth = {{ user = "{user}", password = {{ env = "PASSWORD" }}{more} }}'
    return f'transport = "{transport}"\nhost = "mail.example.com"\n{auth}\nowners = ["*@example.com"]\n'


def forward(folder: str = "INBOX") -> str:
    table = mailbox("imap", "crm-sink").replace("owners", "forwarders")
    return f'{table}role = "forward"\nallow_unverified = true\nfolders = ["{folder}"]\n'


def listener(transport: str, listen: str) -> str:
    return f'transport = "{transport}"\nlisten = "{listen}"\nowners = ["*@example.com"]\ncopy = true\n'


@pytest.mark.parametrize(
    ("table", "account"),
    [
        (mailbox("imap"), "imap:ann@example.com@mail.example.com:993"),
        (mailbox("imap", "{mailbox}*crm-router"), "imap:ann@example.com*crm-router@mail.example.com:993"),
        (mailbox("imap", "master", ', act_as = "{local}"'), "imap:ann@mail.example.com:993"),
        (mailbox("imap") + 'security = "starttls"\n', "imap:ann@example.com@mail.example.com:143"),
        (mailbox("pop3"), "pop3:ann@example.com@mail.example.com:995"),
        (
            'transport = "maildir"\npath = "/var/mail/{domain}/{local}"\nowners = ["*@example.com"]\n',
            "maildir:/var/mail/example.com/ann",
        ),
        (listener("smtp", "127.0.0.1:2525"), "smtp:127.0.0.1:2525"),
        (listener("lmtp", "unix:/run/lmtp"), "lmtp:unix:/run/lmtp"),
        (forward(), "imap:crm-sink@mail.example.com:993"),
        (forward("Sales"), "imap:crm-sink@mail.example.com:993"),
    ],
)
def test_t16c_the_account_of_each_kind(tmp_path: Path, table: str, account: str) -> None:
    profiles = read(tmp_path, table)
    (profile,) = profiles.incoming
    assert profile.account_of("" if profile.forwards else ANN) == account
    # It does not depend on the profile's name.
    (renamed,) = read(tmp_path, table, "people").incoming
    assert renamed.account_of("" if profile.forwards else ANN) == account
    assert profiles.shared_accounts == ({account} if profile.forwards or profile.listens else set())


def test_t16c_upper_and_lower_case_of_a_host_are_the_same(tmp_path: Path) -> None:
    (upper,) = read(tmp_path, mailbox("imap").replace("mail.example.com", "Mail.Example.COM")).incoming
    (lower,) = read(tmp_path, mailbox("imap")).incoming
    assert upper.account_of(ANN) == lower.account_of(ANN)
