"""T120, T124: how a profile writes its rules for records from mail, and what is told of wrong ones."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.creation_rule import RuleKeys
from router.errors import ProfileErrors
from router.model import CreationRule
from router.profile import load
from router.profile.draft import read
from router.profile.keys import keys
from router.profile.rules_file import read_rules
from router.profile.served import served

SECRET = "hunter2"
IMAP = """[incoming.staff]
transport = "imap"
host = "mail.example.com"
auth = { user = "{mailbox}", password = { env = "PASSWORD" } }
owners = ["*@example.com"]
"""
LISTENER = """[incoming.staff]
transport = "smtp"
listen = "127.0.0.1:2525"
owners = ["*@example.com"]
copy = true
"""
MAKES = RuleKeys.model_fields["makes"].description
IN_BRACES = (
    "in braces stand {subject}, {sender_name}, {sender_address} and {sender_domain}, and nothing else; write a brace "
    "twice to have it as text"
)
RULES = """
[[incoming.staff.create]]
name = "shop"
makes = "nothing"
from = ["Shop.Example", "*.shop.example"]

[[incoming.staff.create]]
name = "web form"
makes = "case"
owners = ["Support@Example.com"]
to = ["help@example.com"]
subject = ["Request"]
headers = { "X-Form" = "contact" }
sender = "unknown"
internal = true
unknown_sender = "contact"
reopen_days = 0
priority = "high"

[incoming.staff.create.fields]
subject = "Web: {subject}"
"""


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", SECRET)


def rules(folder: Path, text: str) -> tuple[CreationRule, ...]:
    (folder / "a.toml").write_text(text)
    return load(folder).incoming[0].creation_rules


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "a.toml").write_text(IMAP + text)
    with pytest.raises(ProfileErrors) as raised:
        load(folder)
    return [f"{one.line}: {one.text.removeprefix('[incoming.staff] ')}" for one in raised.value.mistakes]


@pytest.mark.parametrize("profile", [IMAP, LISTENER])
def test_t124_rules_are_read_in_their_order(tmp_path: Path, profile: str) -> None:
    assert rules(tmp_path, profile + 'on_new = "case"\n' + RULES) == (
        CreationRule("shop", "nothing", from_=("shop.example", "*.shop.example"), kept_in="profile staff"),
        CreationRule(
            "web form",
            "case",
            owners=("support@example.com",),
            to=("help@example.com",),
            subject=("Request",),
            headers=(("x-form", "contact"),),
            sender="unknown",
            unknown_sender="contact",
            reopen_days=0,
            priority="high",
            fields=(("subject", "Web: {subject}"),),
            internal=True,
            kept_in="profile staff",
        ),
        CreationRule("on_new", "case", kept_in="profile staff"),
    )


def test_t120_on_new_is_a_rule_without_conditions_and_makes_another_form_of_the_profile(tmp_path: Path) -> None:
    assert rules(tmp_path, IMAP) == ()
    before = served(load(tmp_path).incoming[0]).form
    assert rules(tmp_path, IMAP + 'on_new = "lead"\n') == (CreationRule("on_new", "lead", kept_in="profile staff"),)
    assert served(load(tmp_path).incoming[0]).form != before


def test_t124_wrong_rules_are_told_with_their_lines(tmp_path: Path) -> None:
    text = """on_new = "nothing"
[[incoming.staff.create]]
makes = "cases"
form = ["shop.example"]
[[incoming.staff.create]]
name = "a"
makes = "contact"
from = ["not an address"]
sender = "known"
priority = "high"
fields = { name = "{sender.name}" }
[[incoming.staff.create]]
name = "a"
makes = "case"
owners = ["*@example.com"]
subject = [""]
headers = { "X Form" = "a" }
reopen_days = "14"
unknown_sender = "ask"
to = []
internal = "true"
[[incoming.staff.create]]
name = "b"
makes = "nothing"
fields = { a = "{{subject}}" }
[[incoming.staff.create]]
name = "c"
makes = "case"
fields = { "a b" = "" }
reopen_days = 4000
"""
    assert mistakes(tmp_path, text) == [
        '6: on_new must be "case", "contact" or "lead"',
        "7: create.name is missing: what the rule is called, where decisions and explain name it",
        '8: create.makes must be "case", "contact", "lead" or "nothing"',
        '9: unknown key "create.form"; did you mean "create.from"?',
        '13: create.from must be patterns such as "ann@example.com", "example.com" and "*.example.com"',
        '14: create.sender must be "unknown" or "any": a contact is made only of a sender whom no record has',
        '15: create.priority means nothing here: it belongs to a rule that makes = "case"',
        f"16: create.fields: {IN_BRACES}",
        "18: create.name: another rule of this profile has this name",
        '20: create.owners must be addresses of mailboxes, such as "support@example.com"',
        "21: create.subject must be texts of 1 to 200 characters",
        '22: create.headers must be names of headers with texts, such as { "X-Form" = "contact" }',
        "23: create.reopen_days must be a whole number",
        '24: create.unknown_sender must be "contact", "lead", "open" or "wait"',
        "25: create.to must not be empty",
        "26: create.internal must be true or false",
        "30: create.fields means nothing here: the rule makes nothing that has fields",
        '34: create.fields must have names of letters, digits and _, such as { source = "mail" }',
        "35: create.reopen_days must be between 0 and 3650",
    ]


@pytest.mark.parametrize(
    "create", ["create = 1", 'create = ["a"]', "create = {}", "[incoming.staff.create]\nname = 'a'\nmakes = 'case'"]
)
def test_t124_rules_are_tables_of_a_list(tmp_path: Path, create: str) -> None:
    told = mistakes(tmp_path, create)
    assert told == ["6: create must be tables, each of which begins with [[incoming.NAME.create]]"]


def test_t124_two_hundred_rules_are_enough(tmp_path: Path) -> None:
    text = "".join(f'[[incoming.staff.create]]\nname = "{number}"\nmakes = "case"\n' for number in range(201))
    assert mistakes(tmp_path, text) == ["6: create must be at most 200 rules"]


def test_t120_a_rule_is_not_named_as_the_short_form_is(tmp_path: Path) -> None:
    text = 'on_new = "case"\n[[incoming.staff.create]]\nname = "on_new"\nmakes = "case"\n'
    assert mistakes(tmp_path, text) == ["8: create.name: another rule of this profile has this name"]


values = st.sampled_from(
    [
        f'"{SECRET}"',
        '"case"',
        '"lead"',
        '"known"',
        "-1",
        "0",
        "99999999999999999999",
        "1.5",
        "true",
        "2026-01-31",
        "[]",
        f'["{SECRET}"]',
        '["a@b.example"]',
        "[1, []]",
        "{}",
        f'{{ a = "{SECRET}" }}',
        '{ a = "{subject}" }',
        '{ a = "{subject.__class__}" }',
        '{ "" = "{" }',
        '{ a = "}" }',
        '{ a = "{0!r}" }',
        "{ a = 1 }",
    ]
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["stranger", *keys(RuleKeys)]), values, max_size=6), max_size=3))
def test_t124_whatever_is_written_becomes_rules_or_mistakes(tables: list[dict[str, str]]) -> None:
    lines = IMAP.splitlines()
    for table in tables:
        lines += ["[[incoming.staff.create]]", *(f"{key} = {value}" for key, value in table.items())]
    (draft,), strays = read("a.toml", "\n".join(lines).encode())
    assert not strays
    assert draft.mistakes or draft.keys
    for mistake in draft.mistakes:
        assert 5 < mistake.line <= len(lines)
        assert "Input" not in mistake.text
        assert SECRET not in mistake.text


def test_t124_the_rules_of_a_file_are_read_alone() -> None:
    alone = b'on_new = "case"\n[[create]]\nname = "shop"\nmakes = "nothing"\n'
    shop, on_new = (CreationRule(*one, kept_in="the file") for one in (("shop", "nothing"), ("on_new", "case")))
    assert read_rules("new.toml", alone, "staff") == (shop, on_new)
    profile = '[incoming.staff]\ntransport = "none"\non_new = "case"\n[[incoming.staff.create]]\n'
    profile += 'name = "shop"\nmakes = "nothing"\n[incoming.other]\non_new = 1\n'
    assert read_rules("new.toml", profile.encode(), "staff") == (shop, on_new)
    assert read_rules("new.toml", b"[incoming.staff]\n", "staff") == ()


@pytest.mark.parametrize(
    ("content", "told"),
    {
        "": "new.toml:1: there are no rules in it: write [[create]] above each, or [[incoming.staff.create]]",
        "[incoming.other]\n": "new.toml:1: there are no rules in it: write [[create]] above each, or "
        "[[incoming.staff.create]]",
        "a = ": 'new.toml:1: there is no value after "a =" (column 4)',
        '\non_new = "case"\nonnew = 1\n': 'new.toml:3: unknown key "onnew"; did you mean "on_new"?',
        '[[create]]\nname = "a"\n': f"new.toml:1: create.makes is missing: {MAKES}",
        '[[create]]\nname = "a"\nmakes = "lead"\nsender = "known"\n': 'new.toml:4: create.sender must be "unknown" or '
        '"any": a lead is made only of a sender whom no record has',
        '[incoming.staff]\n\n[[incoming.staff.create]]\nname = ""\nmakes = "case"\n': "new.toml:4: create.name must be "
        "1 to 60 characters in one line",
    }.items(),
)
def test_t124_what_is_wrong_with_a_file_of_rules_is_told(content: str, told: str) -> None:
    with pytest.raises(ProfileErrors) as raised:
        read_rules("new.toml", content.encode(), "staff")
    assert str(raised.value) == told
