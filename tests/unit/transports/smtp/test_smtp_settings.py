import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from transports import ListenerKind, RelayKind, load
from transports.smtp.settings import SmtpListenerSettings, SmtpRelaySettings


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25",
        ":25",
        "127.0.0.1",
        "localhost:25",
        "::1:25",
        "[127.0.0.1]:25",
        "127.0.0.1:65536",
        "127.0.0.1:²5",
        "[::1:25",
        "unix:/run/email-router/smtp",
    ],
)
def test_no_address_to_listen_at(text: str) -> None:
    with pytest.raises(ValueError, match="is no address to listen at: write"):
        SmtpListenerSettings(listen=text)


def test_a_key_needs_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key_file needs cert_file"):
        SmtpListenerSettings(listen="127.0.0.1:25", key_file=tmp_path / "key")


def test_only_this_machine_is_a_client_by_default() -> None:
    clients = SmtpListenerSettings(listen="127.0.0.1:25").clients
    assert [str(network) for network in clients] == ["127.0.0.0/8", "::1/128"]


def test_the_kind_is_found() -> None:
    smtp = load("smtp")
    assert isinstance(smtp.incoming, ListenerKind)
    assert isinstance(smtp.outgoing, RelayKind)
    assert smtp.incoming.settings is SmtpListenerSettings
    assert smtp.outgoing.settings is SmtpRelaySettings


def test_the_example_holds_settings_of_ours_and_of_every_profile() -> None:
    example = tomllib.loads((ROOT / "profiles" / "smtp.toml").read_text(encoding="utf-8"))
    incoming, outgoing = example["incoming"]["copies"], example["outgoing"]["relay"]
    assert SmtpListenerSettings(**without(incoming, "transport", "owners", "rule")).keeps_original
    relay = SmtpRelaySettings(**without(outgoing, "transport", "senders", "on_unknown", "sent_copy"))
    assert relay.final_timeout == SmtpRelaySettings(host="h").final_timeout


def without(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    assert table.keys() >= set(keys)
    return {key: value for key, value in table.items() if key not in keys}
