import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from transports import ListenerKind, load
from transports._listener.address import Inet, Unix
from transports.lmtp import LmtpListenerSettings


def test_it_listens_at_a_socket_or_at_an_address() -> None:
    settings = LmtpListenerSettings(listen="unix:/run/lmtp", mode="600", group="postfix")
    assert settings.listen_address == Unix(Path("/run/lmtp"), 0o600, "postfix")
    assert LmtpListenerSettings(listen="[::1]:24").listen_address == Inet("::1", 24)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"listen": "unix:lmtp"}, "is no socket to listen at: write a path from the root"),
        ({"listen": "localhost:24"}, "is no address to listen at: write"),
        ({"group": "postfix"}, "group is for a Unix socket"),
        ({"listen": "unix:/run/lmtp", "clients": ["::1/128"]}, "clients means nothing at a Unix socket"),
        ({"mode": "rw"}, "must be three octal digits"),
        ({"mode": "4777"}, "must be three octal digits"),
        ({"clients": ["10.0.0.0/8", "::/0"]}, "anybody might hand over mail"),
        ({"max_in_flight": 100_000}, "max_in_flight must be at least max_size"),
        ({"require_tls": True}, "require_tls needs cert_file"),
    ],
)
def test_what_it_cannot_be(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LmtpListenerSettings(**({"listen": "127.0.0.1:24"} | keys))


def test_mail_only_comes_in_by_it() -> None:
    incoming = load("lmtp").incoming
    assert isinstance(incoming, ListenerKind)
    assert incoming.settings is LmtpListenerSettings
    assert load("lmtp").outgoing is None


def test_the_example_holds_settings_of_ours_and_of_every_profile() -> None:
    example = tomllib.loads((ROOT / "profiles" / "lmtp.toml").read_text(encoding="utf-8"))
    keys = example["incoming"]["drop"]
    assert {keys.pop("transport"), *keys.pop("owners")} == {"lmtp", "*@example.com"}
    assert keys.pop("rule") == "replies"
    defaults = LmtpListenerSettings(listen="unix:/run/email-router/lmtp", group="postfix", copy=True)
    assert LmtpListenerSettings(**keys) == defaults
