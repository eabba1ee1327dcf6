"""The tables of docs/profiles.md say what the models say.

To write them anew after a change: UPDATE_DOCS=1 pytest tests/unit/profile/test_profile_docs.py, and read the diff.
"""

import json
import os
import re
import tomllib
from typing import Any

import pytest
from pydantic.fields import FieldInfo

import transports
from router.profile.draft import COMMON
from router.profile.keys import TRANSPORT, keys
from tests.support.paths import ROOT
from transports.base import After
from transports.smtp.session import PORTS
from transports.smtp.settings import SmtpRelaySettings

PAGE = ROOT / "docs" / "profiles.md"


def tables() -> dict[str, dict[str, FieldInfo]]:
    found: dict[str, dict[str, FieldInfo]] = {
        direction: {"transport": TRANSPORT, **keys(common)} for direction, common in COMMON.items()
    }
    for name in transports.kinds():
        for direction in COMMON:
            kind = getattr(transports.load(name), direction)
            if kind is not None:
                found[f"{direction} {name}"] = dict(keys(kind.settings))
    return found


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is None:
        return ""
    return f"`{json.dumps(str(value) if isinstance(value, After) else value)}`"


def markdown(table: dict[str, FieldInfo]) -> str:
    meanings = {key: (field.description or "").replace("|", "\\|") for key, field in table.items()}
    rows = [f"| `{key}` | {default(field)} | {meanings[key]} |" for key, field in table.items()]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


@pytest.mark.parametrize("name", tables())
def test_the_page_tells_every_key(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- keys: {name} -->\n")
    assert begin, f"write <!-- keys: {name} --> and <!-- end --> into {PAGE.name}, in a line each; then UPDATE_DOCS=1"
    written, end, after = rest.partition("<!-- end -->")
    expected = markdown(tables()[name]) + "\n"
    if "UPDATE_DOCS" in os.environ:
        PAGE.write_text(before + begin + expected + end + after, encoding="utf-8")
    else:
        assert written == expected, "UPDATE_DOCS=1 in the environment writes it anew"


@pytest.mark.parametrize("name", tables())
def test_every_key_is_described(name: str) -> None:
    assert not [key for key, field in tables()[name].items() if not field.description]


# What only some have, and says itself which.
FORWARD = {"role", "forwarders", "address", "authserv", "allow_unverified", "envelope_header", "envelope_below"}
NOT_OF_LISTENERS = {"start", "after"}


@pytest.mark.parametrize("name", [name for name in tables() if " " in name])
def test_the_example_of_a_transport_has_every_key(name: str) -> None:
    direction, _, transport = name.partition(" ")
    example = (ROOT / "profiles" / f"{transport}.toml").read_text(encoding="utf-8")
    part = "\n".join(re.findall(rf"^(?:# )?\[{direction}\.(?s:.*?)(?=^\[|\Z)", example, re.MULTILINE))
    wanted = {key for key in tables()[direction] | tables()[name] if "." not in key} - FORWARD
    if "listen" in tables()[name]:
        wanted -= NOT_OF_LISTENERS
    assert not wanted - set(re.findall(r"^(?:# )?(\w+) +=", part, re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "docs/profiles.md"])
def test_the_first_relay_that_is_shown_fits_the_usual_submission_port(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[outgoing." in block)
    table = tomllib.loads(example)["outgoing"]["relay"]
    settings = SmtpRelaySettings.model_validate(
        {key: value for key, value in table.items() if key in SmtpRelaySettings.model_fields}
    )
    assert (settings.port or PORTS[settings.security]) == 587
