"""Each folder of bad/ holds broken profiles beside expected.txt, the exact words that an admin sees.

To write the words anew after a change, and read the diff:
    UPDATE_GALLERY=1 pytest tests/unit/profile/test_profile_gallery.py
"""

import os
from pathlib import Path

import pytest

from router.errors import ProfileErrors
from router.profile import load

GALLERY = Path(__file__).parent / "bad"
SECRET = "hunter2"


def words(folder: Path) -> str:
    with pytest.raises(ProfileErrors) as raised:
        load(folder)
    return str(raised.value).replace(str(folder), "FOLDER") + "\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", SECRET)
    monkeypatch.delenv("NOT_SET", raising=False)


@pytest.mark.parametrize("name", sorted(folder.name for folder in GALLERY.iterdir()))
def test_a_broken_profile_says_what_is_wrong(name: str) -> None:
    expected = GALLERY / name / "expected.txt"
    told = words(GALLERY / name)
    if "UPDATE_GALLERY" in os.environ:
        expected.write_text(told, encoding="utf-8")
    assert told == expected.read_text(encoding="utf-8"), "UPDATE_GALLERY=1 in the environment writes it anew"
    assert SECRET not in told


def test_the_gallery_holds_secrets_that_must_not_be_told() -> None:
    assert sum(SECRET in file.read_bytes().decode(errors="replace") for file in GALLERY.glob("*/*.toml")) >= 5
