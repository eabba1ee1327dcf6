"""Words in a profile that stand for a mailbox."""

from pathlib import Path

import pytest

from transports._net.secret import Secret, fill, is_of_mailbox
from transports.errors import Permanent

MAILBOX = "info@büro.example"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{mailbox}*master", "info@büro.example*master"),
        ("{mailbox_ascii}", "info@xn--bro-hoa.example"),
        ("{local}.{mailbox}", "info.info@büro.example"),
        ("{other} {}", "{other} {}"),
    ],
)
def test_a_word_stands_for_the_mailbox(text: str, filled: str) -> None:
    assert fill(text, MAILBOX) == filled
    assert is_of_mailbox(text) == (text != filled)


@pytest.mark.parametrize("mailbox", ["{local}@a.example", "{mailbox}@a.example"])
def test_a_mailbox_that_looks_like_such_a_word_stays_as_it_is(mailbox: str) -> None:
    assert fill("{mailbox}", mailbox) == mailbox


@pytest.mark.parametrize(("word", "name"), [("mailbox_ascii", "info@xn--bro-hoa.example"), ("local", "info")])
def test_a_secret_may_be_in_a_file_of_the_mailbox(tmp_path: Path, word: str, name: str) -> None:
    (tmp_path / name).write_text("hush")
    assert Secret(file=tmp_path / f"{{{word}}}").reveal(MAILBOX) == "hush"


@pytest.mark.parametrize("mailbox", ["../../etc@a.example", "..@a.example"])
def test_no_mailbox_leads_out_of_the_folder_of_the_secrets(tmp_path: Path, mailbox: str) -> None:
    for word in ("mailbox", "mailbox_ascii", "local"):
        named = Secret(file=tmp_path / f"{{{word}}}").where(mailbox).removeprefix(f"the file {tmp_path}")
        assert ".." not in named.split("/")


def test_a_secret_of_the_environment_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDS_TEST_SECRET", "p\udce4ssword")  # b"p\xe4ssword", as Python gives it
    with pytest.raises(Permanent, match="KINDS_TEST_SECRET is not UTF-8 text"):
        Secret(env="KINDS_TEST_SECRET").reveal()
