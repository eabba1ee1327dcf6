"""The how-to pages: what they link to is there, and their profiles are read without a mistake."""

import re
from pathlib import Path

import pytest

import transports
from router.profile import examples, load
from tests.support.paths import ROOT

GUIDES = ("dovecot-postfix", "exchange", "google-workspace", "microsoft-365", "oauth2", "other-providers")
PROFILES = [
    pytest.param(profile, id=f"{guide}-{number}")
    for guide in GUIDES
    for number, profile in enumerate(
        re.findall(
            r"^```toml\n(.*?)^```$", (ROOT / f"docs/{guide}.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ),
        1,
    )
]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as a link has them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("guide", GUIDES)
def test_what_a_guide_links_to_is_there(guide: str) -> None:
    page = ROOT / f"docs/{guide}.md"
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    assert f"(docs/{guide}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_profiles_of_a_guide_have_no_mistake(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports.Secret, "reveal", lambda *_: "hunter2")
    (tmp_path / "guide.toml").write_text(profile)
    assert load(tmp_path)


def test_a_guide_names_its_example() -> None:
    for name in set(examples()) - set(transports.kinds()):
        first = next(line for line in (ROOT / f"profiles/{name}.toml").read_text(encoding="utf-8").splitlines() if line)
        assert f"docs/{name}.md" in first


def test_the_faults_of_the_page_are_those_of_the_router() -> None:
    table = (ROOT / "docs/oauth2.md").read_text(encoding="utf-8").partition("| words | cause | cure |")[2]
    faults = re.findall(r"^\| (`.+?) \|", table.partition("##")[0], re.MULTILINE)
    files = [*(ROOT / "router/oauth2").glob("*.py"), ROOT / "router/http.py", *(ROOT / "transports/_net").glob("*.py")]
    code = " ".join(path.read_text(encoding="utf-8") for path in [*files, *(ROOT / "transports/imap").glob("*.py")])
    said = [part.strip() for fault in faults for words in re.findall("`(.+?)`", fault) for part in words.split("…")]
    assert len(said) > 9
    assert not [words for words in said if words not in code]
