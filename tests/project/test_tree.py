"""What is committed says nothing of the machine it was written on, nor of where its packages came from."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Folders of a machine, and hosts of registries; a letter in brackets, so that this file is not found.
PRIVATE = re.compile(r"/(?:[w]ork|[r]oot|[o]pt/pypi|[t]mp/scratch)/|\b[p]ypi\.org|\b[p]ythonhosted\b")


def committed() -> list[Path]:
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_folder_of_this_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in committed()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert not found, "\n".join(found)


def test_profiles_holds_nothing_but_toml() -> None:
    assert {path.suffix for path in (ROOT / "profiles").iterdir()} == {".toml"}


def test_every_package_has_its_line_in_the_architecture() -> None:
    told = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = [
        one.parent.relative_to(ROOT) for top in ("router", "transports") for one in ROOT.glob(f"{top}/*/**/__init__.py")
    ]
    assert len(packages) > 40
    assert not [str(one) for one in packages if f"`{one}/`" not in told]
