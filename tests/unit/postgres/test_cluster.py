"""The data folder of the embedded PostgreSQL, without a PostgreSQL."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from router.errors import EmbeddedError
from router.postgres.cluster import Cluster


@pytest.mark.parametrize("place", ["data", "above/data"])
def test_a_folder_that_we_may_not_enter_is_said_in_words(
    closed: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.postgres.cluster._LONGEST_SOCKET", 1000)  # pytest's folders have long names
    with pytest.raises(EmbeddedError, match=r"cannot be made: Permission denied; choose another folder"):
        Cluster(closed / place).prepare()


@pytest.mark.parametrize(
    ("log", "free", "told"),
    [
        ("FATAL: no\n", 10**9, ":\nFATAL: no"),
        ("PANIC: No space left on device\n", 10**9, ": no space is left on its disk\nPANIC: No space left on device"),
        ("", 1000, ": no space is left on its disk\n"),
    ],
)
def test_a_full_disk_is_said_in_words_before_the_servers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, free: int, told: str
) -> None:
    monkeypatch.setattr("router.postgres.cluster._LONGEST_SOCKET", 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    cluster = Cluster(tmp_path)
    cluster.log.write_text(log)
    assert cluster.why_ended() == told
