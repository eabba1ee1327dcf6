import dataclasses
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transports
from router.model import Direction
from router.profile.draft import COMMON, read
from router.profile.keys import keys

SECRET = "hunter2"
QUOTED = {"owners:", "forwarders:", "senders:", "after:", "listen:", "security"}
"""Keys whose values are told, since they are no secret; with `security`, the host."""

values = st.sampled_from(
    [
        f'"{SECRET}"',
        '"imap"',
        '"*@example.com"',
        "-1",
        "0",
        "99999999999999999999",
        "1.5",
        "nan",
        "inf",
        "true",
        "2026-01-31",
        "12:00:00",
        "[]",
        f'[1, "{SECRET}"]',
        '["a@b.example"]',
        "[[[]]]",
        "{}",
        f'{{ env = "{SECRET}!", x = "{SECRET}" }}',
        '{ user = 1, password = { file = "{mailbox}", env = [] } }',
    ]
)


def names(direction: Direction) -> list[str]:
    """Name the keys that some profile of this direction may have, and a stranger."""
    kinds = [getattr(transports.load(name), direction) for name in transports.kinds()]
    found = {"stranger", *(key for key in keys(COMMON[direction]) if "." not in key)}
    for kind in kinds:
        found |= {key for key in keys(kind.settings) if "." not in key} if kind else set()
    return sorted(found)


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("kind", transports.kinds())
def test_whatever_is_written_becomes_settings_or_mistakes(direction: Direction, kind: str) -> None:
    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from(names(direction)), values, max_size=8))
    def write(table: dict[str, str]) -> None:
        lines = [f"[{direction}.a]", f'transport = "{kind}"', *(f"{key} = {value}" for key, value in table.items())]
        (draft,), strays = read("a.toml", "\n".join(lines).encode())
        assert not strays
        assert draft.mistakes or (draft.keys and draft.settings)
        for mistake in draft.mistakes:
            assert 1 <= mistake.line <= len(lines)
            assert "Input" not in mistake.text
            assert SECRET not in mistake.text or mistake.text.split()[1] in QUOTED

    write()


WHOLE = f"""[incoming.staff]
transport = "imap"  # the staff
host = "mail.example.com"
port = 993
auth = {{ user = "{{mailbox}}*crm", password = {{ env = "{SECRET}" }} }}
owners = [
  "*@example.com",
  "boss@example.org",
]

[outgoing.relay]
transport = "smtp"
host = "smtp.example.com"
auth.password = {{ file = "{SECRET}" }}
copy = true
stranger = "{SECRET}"
"""


@settings(deadline=None)
@given(st.sets(st.integers(0, len(WHOLE) - 1), min_size=1, max_size=8), st.sampled_from(["", '"', "'", "=", "\n"]))
def test_whatever_is_lost_from_a_file_is_told_without_its_secrets(lost: set[int], instead: str) -> None:
    text = "".join(instead if index in lost else character for index, character in enumerate(WHOLE))
    drafts, strays = read("a.toml", text.encode())
    for mistake in [*strays, *(mistake for draft in drafts for mistake in draft.mistakes)]:
        assert 0 <= mistake.line <= text.count("\n") + 1
    assert SECRET not in "".join(map(str, strays))


@pytest.mark.parametrize("line", WHOLE.splitlines())
def test_a_secret_without_quotes_is_not_told(line: str) -> None:
    text = WHOLE.replace(line, line.replace('"', ""))
    _, strays = read("a.toml", text.encode())
    assert SECRET not in "".join(map(str, strays))
    assert ('"' not in line) == (not strays)


def test_a_kind_that_can_do_one_thing_only_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = transports.load("pop3").incoming
    assert isinstance(kind, transports.MailboxKind)
    kind = dataclasses.replace(kind, actions=frozenset({"keep"}))
    monkeypatch.setattr("transports.load", lambda name: transports.Transport(name, kind, None))
    (draft,), _ = read("a.toml", b'[incoming.a]\ntransport = "pop3"\nafter = "seen"\n')
    assert 'after must be keep: transport "pop3" cannot do "seen"' in "".join(map(str, draft.mistakes))
