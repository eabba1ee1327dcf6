"""All tests here run in one loop, that of the browser: starting one takes a second, and it is bound to its loop."""

from pathlib import Path

import pytest

from tests.support.browser import browse, chromium, console, office, opened

__all__ = ["browse", "chromium", "console", "office", "opened"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have them run there, and leave them out where there is no browser and need be none."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
