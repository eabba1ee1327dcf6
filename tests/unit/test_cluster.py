"""The data folder of the embedded PostgreSQL, without a PostgreSQL."""

from pathlib import Path

import pytest

from router.errors import EmbeddedError
from router.repository.cluster import Cluster


@pytest.mark.parametrize("place", ["data", "above/data"])
def test_a_folder_that_we_may_not_enter_is_said_in_words(
    closed: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.repository.cluster._LONGEST_SOCKET", 1000)  # pytest's folders have long names
    with pytest.raises(EmbeddedError, match=r"cannot be made: Permission denied; choose another folder"):
        Cluster(closed / place).prepare()
