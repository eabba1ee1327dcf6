"""What the wheel carries, and how it calls itself."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import router

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (file,) = folder.iterdir()
    assert file.name == f"crm_email_router-{router.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_the_example_profiles(wheel: set[str]) -> None:
    examples = {f"router/examples/{path.name}" for path in (ROOT / "profiles").glob("*.toml")}
    assert examples
    assert examples <= wheel


def test_the_wheel_carries_every_file_of_both_packages_and_nothing_else(wheel: set[str]) -> None:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "router", "transports"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert set(listed) <= wheel
    assert {name.partition("/")[0] for name in wheel} == {
        "router",
        "transports",
        f"crm_email_router-{router.__version__}.dist-info",
    }
