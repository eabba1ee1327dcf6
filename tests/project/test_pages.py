"""The pages for developers say what the tree and the tables hold."""

import ast
import re

import pytest

from router.decide import STEPS
from tests.support.crm import Crm
from tests.support.drawings import arrows
from tests.support.paths import ROOT

PAGES = ("CONTRIBUTING.md", "README.md", "docs/architecture.md", "docs/decisions.md", "docs/glossary.md")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_the_words_that_a_decision_quotes_are_in_its_file() -> None:
    page = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| .+ \| \[(.+)\]\(\.\./(.+)\) \| "(.+)" \|$', page, re.MULTILINE)
    assert len(rows) == page.count("](../")
    for shown, file, words in rows:
        assert shown == file
        assert words in " ".join(re.sub("# ", "", (ROOT / file).read_text(encoding="utf-8")).split()), file


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = set(re.findall(r"`((?:router|transports|tests)/[\w/.]*)`", ARCHITECTURE))
    assert len(named) > 40
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_folder_of_the_router_is_in_the_architecture() -> None:
    folders = {path.parent.name for path in (ROOT / "router").glob("*/__init__.py")}
    assert not {folder for folder in folders if f"`router/{folder}/" not in ARCHITECTURE}


def test_the_steps_are_drawn_in_their_order() -> None:
    drawn = re.search(r"decide: ([^─]*?) *│\n *│ ─▶ write", ARCHITECTURE)
    assert drawn is not None
    steps = [step.__name__ for step in STEPS]
    assert re.findall(r"[a-z]+", drawn[1]) == steps, (
        'the steps drawn after "decide:" in docs/architecture.md are others'
    )


@pytest.mark.parametrize(
    "package",
    [
        "commands", "demo", "incoming", "operations", "profile", "repository",
        *(f"repository/{file.parent.name}" for file in (ROOT / "router" / "repository").glob("*/__init__.py")),
    ],
)  # fmt: skip
def test_the_docstring_of_a_package_lists_its_files(package: str) -> None:
    folder = ROOT / "router" / package
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    listed = re.findall(r"^ *(\w+) {2,}\S", docstring, re.MULTILINE)
    assert sorted(listed) == sorted(file.stem for file in folder.glob("[!_]*.py"))


async def test_the_moves_of_an_email_are_those_of_the_table(crm: Crm) -> None:
    rows = await crm.rows("SELECT old, new, by_crm FROM crm.email_move")
    table = {(row["old"], row["new"], "CRM" if row["by_crm"] else "router") for row in rows}
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \| [^|]+ \| (CRM|router) \|$", ARCHITECTURE, re.MULTILINE)
    assert set(told) == table
    assert len(told) == len(table)


async def test_the_moves_of_an_email_are_drawn_as_the_table_has_them(crm: Crm) -> None:
    rows = await crm.rows("SELECT old, new FROM crm.email_move")
    moves = sorted((row["old"], row["new"]) for row in rows)
    drawing = next(block for block in ARCHITECTURE.split("```") if "edit (CRM)" in block)
    assert sorted(arrows(drawing, {state for move in moves for state in move})) == moves


DRAWING = """
 one ──────▶ two ◀─┬─ three
  ▲           │    │
  └───────────┘   four
"""


def test_a_drawing_is_read_as_it_is_drawn() -> None:
    states = ("one", "two", "three", "four")
    found = [("four", "two"), ("one", "two"), ("three", "two"), ("two", "one")]
    assert sorted(arrows(DRAWING, states)) == found
    for right, wrong, fault in (("four", "five", "no state"), ("▲", "│", "of no arrow"), ("┘", " ", "no state")):
        with pytest.raises(ValueError, match=fault):
            arrows(DRAWING.replace(right, wrong), states)


def test_the_layers_are_those_of_the_contract() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition('name = "Imports go one way"')[2]
    layers = re.findall(r'^    "([^"]+)",$', contract.partition("\n]\n")[0], re.MULTILINE)
    drawn = re.search(r"```\n(router\.__main__\n.*?)```", ARCHITECTURE, re.DOTALL)
    assert drawn is not None
    assert drawn[1].splitlines() == layers
