import os
from pathlib import Path

import pytest

from router.errors import SettingsError
from router.settings import ConsoleAddress, Settings, table
from tests.support.paths import ROOT

ENVIRONMENT_PAGE = ROOT / "docs/environment.md"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in tuple(os.environ):
        if name.upper().startswith(("EMAIL_ROUTER_", "XDG_")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_without_an_environment_it_is_an_embedded_database_in_the_systems_folders(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setattr(os, "geteuid", lambda: 0)
    settings = Settings.read()
    assert settings.database_url is None
    assert settings.data == Path("/var/lib/email-router")
    assert settings.profiles == Path("/etc/email-router")
    assert (settings.postgres, settings.postgres_listen, settings.lease) == (None, None, 10)
    assert (settings.log_level, settings.log_format) == ("info", "auto")


def test_an_ordinary_user_has_folders_at_home(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(os, "geteuid", lambda: 1000)
    environment.setenv("HOME", "/home/ann")
    assert Settings.read().data == Path("/home/ann/.local/share/email-router")
    assert Settings.read().profiles == Path("/home/ann/.config/email-router")
    environment.setenv("XDG_DATA_HOME", "/srv/data")
    environment.setenv("XDG_CONFIG_HOME", "relative")  # to be ignored
    assert Settings.read().data == Path("/srv/data/email-router")
    assert Settings.read().profiles == Path("/home/ann/.config/email-router")


def test_reads_every_variable(environment: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://crm:hunter2@a:5432,b:5433/crm",
        "PROFILES": "/p",
        "DATA": "/d",
        "POSTGRES": "/usr/lib/postgresql/17/bin",
        "POSTGRES_LISTEN": "127.0.0.1",
        "LEASE": "2.5",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
    }.items():
        environment.setenv(f"EMAIL_ROUTER_{name}", value)
    settings = Settings.read()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://crm:hunter2@a:5432,b:5433/crm"
    assert (settings.profiles, settings.data) == (Path("/p"), Path("/d"))
    assert settings.postgres == Path("/usr/lib/postgresql/17/bin")
    assert settings.postgres_listen == "127.0.0.1"
    assert (settings.lease, settings.log_level, settings.log_format) == (2.5, "debug", "json")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8025", ConsoleAddress("127.0.0.1", 8025)),
        ("0.0.0.0:80", ConsoleAddress("0.0.0.0", 80)),
        ("[::1]:8025", ConsoleAddress("::1", 8025)),
        ("[0:0::1]:65535", ConsoleAddress("::1", 65535)),
        ("off", None),
        ("OFF", None),
    ],
)
def test_the_console_has_an_address_or_is_off(
    environment: pytest.MonkeyPatch, text: str, address: ConsoleAddress | None
) -> None:
    environment.setenv("EMAIL_ROUTER_CONSOLE", text)
    settings = Settings.read()
    assert settings.console_address == address
    assert settings.console == ("off" if address is None else str(address))


def test_the_console_is_for_this_machine_by_default() -> None:
    assert Settings.read().console_address == ConsoleAddress("127.0.0.1", 8025)


@pytest.mark.parametrize(
    "text",
    ["8025", ":8025", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+80", "::1:8025",
     "[::1]", "[127.0.0.1]:8025", "localhost:8025", "on", "no", "127.0.0.1:80²5", "unix:/run/console"],
)  # fmt: skip
def test_a_console_elsewhere_is_a_mistake_in_clear_words(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("EMAIL_ROUTER_CONSOLE", text)
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert str(caught.value) == (
        f"EMAIL_ROUTER_CONSOLE: {text!r} is no address to listen at: write 127.0.0.1:8025, [::1]:8025, "
        "0.0.0.0:8025 for all IPv4 addresses of this machine, or off"
    )


def test_hashes_are_kept_as_long_as_decisions(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EMAIL_ROUTER_KEEP_DECISIONS", "400")
    environment.setenv("EMAIL_ROUTER_KEEP_HASHES", "399")
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert caught.value.mistakes == ("EMAIL_ROUTER_KEEP_HASHES: it has to be at least EMAIL_ROUTER_KEEP_DECISIONS",)


def test_an_empty_variable_is_as_if_it_were_not_there(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EMAIL_ROUTER_DATABASE_URL", "")
    environment.setenv("EMAIL_ROUTER_LEASE", "")
    assert Settings.read().database_url is None
    assert Settings.read().lease == 10


def test_tells_every_mistake_at_once_by_its_variable(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EMAIL_ROUTER_LEASE", "0.5")
    environment.setenv("EMAIL_ROUTER_LOG_LEVEL", "loud")
    environment.setenv("EMAIL_ROUTER_DATABASE_URL", "mysql://crm:secret@db/crm")
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert caught.value.mistakes == (
        "EMAIL_ROUTER_DATABASE_URL: it has to begin with postgresql://",
        "EMAIL_ROUTER_LEASE: should be greater than or equal to 1",
        "EMAIL_ROUTER_LOG_LEVEL: should be 'debug', 'info', 'warning' or 'error'",
    )
    assert str(caught.value) == "\n".join(caught.value.mistakes)


def test_an_unknown_variable_is_a_mistake_with_a_suggestion(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EMAIL_ROUTER_DATABSE_URL", "postgresql://crm:secret@db/crm")
    environment.setenv("EMAIL_ROUTER_RELAY_PASSWORD", "secret")
    environment.setenv("EMAIL_ROUTER_WORKERS", "none")
    environment.setenv("email_router_lease", "3")  # names may be in lower case
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert caught.value.mistakes == (
        "EMAIL_ROUTER_WORKERS: should be a valid integer, unable to parse string as an integer",
        "EMAIL_ROUTER_DATABSE_URL: there is no such variable; did you mean EMAIL_ROUTER_DATABASE_URL?",
        (
            "EMAIL_ROUTER_RELAY_PASSWORD: there is no such variable; names that begin with EMAIL_ROUTER_ are the "
            "router's own, so a secret of a profile needs another"
        ),
    )
    environment.delenv("EMAIL_ROUTER_WORKERS")
    with pytest.raises(SettingsError, match="did you mean EMAIL_ROUTER_DATABASE_URL"):
        Settings.read()


def test_what_kubernetes_and_docker_say_of_a_service_of_our_name_is_no_mistake(environment: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "2525",
        "SERVICE_PORT_LMTP": "2525",
        "PORT": "tcp://10.0.0.1:2525",
        "PORT_2525_TCP": "tcp://10.0.0.1:2525",
        "PORT_2525_TCP_PROTO": "tcp",
        "PORT_2525_TCP_PORT": "2525",
        "PORT_2525_TCP_ADDR": "10.0.0.1",
        "LMTP_SERVICE_HOST": "10.0.0.2",
        "LMTP_PORT_24_TCP_ADDR": "10.0.0.2",
        "UNKNOWN": "",  # an empty variable counts as none
    }.items():
        environment.setenv(f"EMAIL_ROUTER_{name}", value)
    assert Settings.read().database_url is None
    environment.setenv("EMAIL_ROUTER_PORT", "2525")
    with pytest.raises(SettingsError, match="EMAIL_ROUTER_PORT: there is no such variable"):
        Settings.read()


def test_a_lease_that_is_not_a_number(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EMAIL_ROUTER_LEASE", "soon")
    with pytest.raises(SettingsError, match=r"^EMAIL_ROUTER_LEASE: should be a valid number"):
        Settings.read()


def test_the_page_says_what_the_settings_are() -> None:
    assert table() in ENVIRONMENT_PAGE.read_text(encoding="utf-8")


SIGNING_IN = {
    "OIDC_ISSUER": "https://login.example.com/realms/office",
    "OIDC_CLIENT_ID": "crm",
    "OIDC_CLIENT_SECRET": "/run/secrets/oidc",
    "OIDC_ROLES": "crm admins = administer, everybody=view",
    "CONSOLE_PASSWORDS": "false",
}


def test_a_provider_that_signs_people_in(environment: pytest.MonkeyPatch) -> None:
    for name, value in SIGNING_IN.items():
        environment.setenv(f"EMAIL_ROUTER_{name}", value)
    settings = Settings.read()
    assert settings.oidc_title == "login.example.com"
    assert settings.oidc_role_of == {"crm admins": "administer", "everybody": "view"}
    environment.setenv("EMAIL_ROUTER_OIDC_NAME", "Office")
    assert Settings.read().oidc_title == "Office"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"OIDC_ISSUER": "login.example.com"}, "EMAIL_ROUTER_OIDC_ISSUER: 'login.example.com' is no issuer"),
        ({"OIDC_ISSUER": "https://ann:secret@login.example.com"}, "is no issuer"),
        ({"OIDC_ISSUER": "http://login.example.com"}, "clear text"),
        ({"OIDC_ISSUER": ""}, "EMAIL_ROUTER_OIDC_ISSUER is missing, which goes with EMAIL_ROUTER_OIDC_CLIENT_ID"),
        ({"OIDC_CLIENT_ID": ""}, "EMAIL_ROUTER_OIDC_CLIENT_ID is missing"),
        ({"OIDC_ISSUER": "", "OIDC_CLIENT_ID": ""}, "without which EMAIL_ROUTER_OIDC_CLIENT_SECRET means nothing"),
        ({"OIDC_CLIENT_SECRET": "hunter2"}, "never the secret itself"),
        ({"OIDC_SCOPE": "email"}, "openid"),
        ({"OIDC_ROLES": "crm-admins"}, "'crm-admins' is no group with a role"),
        ({"OIDC_ROLES": "crm-admins=root"}, "the roles are view, decide, administer"),
        ({name: "" for name in SIGNING_IN if name.startswith("OIDC")}, "nobody could sign in"),
    ],
)
def test_a_provider_that_cannot_be_asked_is_told_in_words(
    environment: pytest.MonkeyPatch, changes: dict[str, str], words: str
) -> None:
    for name, value in (SIGNING_IN | changes).items():
        environment.setenv(f"EMAIL_ROUTER_{name}", value)
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).count("EMAIL_ROUTER") < 4
