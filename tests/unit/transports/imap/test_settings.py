"""The example profile for IMAP."""

import tomllib

from tests.support.paths import ROOT
from transports import load
from transports.base import After
from transports.imap.settings import ImapSettings


def test_example_profile() -> None:
    text = (ROOT / "profiles" / "imap.toml").read_text()
    profile = tomllib.loads(text)["incoming"]["staff"]
    kind = load(profile["transport"]).incoming
    assert kind is not None
    assert kind.settings is ImapSettings
    common = {"transport", "owners", "rule", "start", "after"}
    kind.settings.model_validate({key: value for key, value in profile.items() if key not in common})
    assert str(After.parse(profile["after"])) == "keep"
