"""How full the disk is, without filling one."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from router.health import Health
from router.postgres import disk as disks
from router.postgres.disk import read_disk, watch_disk

GIB = 2**30
Fill = Callable[[float], None]


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Let a disk of 20 GB, of which 1 GB is kept for root, have so many GB free for ordinary users."""

    def fill(free: float) -> None:
        blocks = SimpleNamespace(
            f_frsize=4096,
            f_blocks=20 * GIB // 4096,
            f_bfree=int((free + 1) * GIB) // 4096,
            f_bavail=int(free * GIB) // 4096,
        )
        monkeypatch.setattr(os, "statvfs", lambda _: blocks)

    return fill


@pytest.mark.parametrize(
    ("free", "percent", "fault"),
    [
        (19, 0, None),
        (1.95, 90, None),
        (1.8, 91, "more than 90% of the disk of /data is used: make room before it is full"),
        (0.01, 100, "the disk of /data is full: no mail is stored and none is sent until there is room"),
    ],
)
def test_it_is_told_as_df_does(fill: Fill, free: float, percent: int, fault: str | None) -> None:
    fill(free)
    disk = read_disk(Path("/data"), 90)
    assert disk is not None
    assert (disk.total, disk.free // 2**20) == (20 * GIB, int(free * 1024))
    assert (disk.used_percent, disk.fault) == (percent, fault)


def test_a_folder_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    assert read_disk(tmp_path / "none", 90) is None
    assert read_disk(tmp_path, 100) is not None


async def test_it_is_told_once_and_when_there_is_room_again(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str | None] = []

    async def note(fault: str | None, _: datetime | None) -> None:
        noted.append(fault)

    states = iter([19, 1.8, 1.7, 0.01, 5])

    async def next_look(_: float) -> None:
        fill(next(states))

    fill(19)
    monkeypatch.setattr(disks, "_sleep", next_look)
    with structlog.testing.capture_logs() as log, pytest.raises(RuntimeError):  # no more states
        await watch_disk(Path("/data"), 90, Health("the disk fills up", note, structlog.get_logger()))
    assert [(line["log_level"], line["event"]) for line in log if line["log_level"] != "debug"] == [
        ("warning", "the disk fills up"),
        ("warning", "the disk fills up"),
        ("info", "works again"),
    ]
    assert [fault and fault.split(":")[0] for fault in noted] == [
        None,
        "more than 90% of the disk of /data is used",
        "more than 90% of the disk of /data is used",
        "the disk of /data is full",
        None,
    ]
