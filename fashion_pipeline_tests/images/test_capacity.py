from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from fashion_pipeline.images import capacity
from fashion_pipeline.images.capacity import cores, memory_bytes, workers_for

HERE = len(os.sched_getaffinity(0))


def write(folder: Path, **files: str) -> None:
    """Write a cgroup's files; two underscores in a name become a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize(
    ("quota", "count"), [("max 100000", HERE), ("50000 100000", 1), ("150000 100000", min(2, HERE)), ("", HERE)]
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, count: int) -> None:
    """Half a core gives one worker, one and a half give two; without a quota, all cores of the affinity count."""
    write(tmp_path, cpu__max=quota)
    assert cores(tmp_path) == count


def test_the_quota_of_cgroup_v1_counts(tmp_path: Path) -> None:
    """Version 1 has a folder per controller, and -1 for no quota."""
    if not any(line.split(":")[1].split(",")[0] for line in Path("/proc/self/cgroup").read_text().splitlines()):
        pytest.skip("this machine's cgroups are version 2 only")
    write(tmp_path / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cores(tmp_path) == HERE
    write(tmp_path / "cpu", cpu__cfs_quota_us="20000", cpu__cfs_period_us="100000")
    assert cores(tmp_path) == 1


def test_a_containers_memory_counts(tmp_path: Path) -> None:
    """The smallest limit of the cgroup and its parents counts, or the machine's memory without one."""
    assert memory_bytes(tmp_path) == psutil.virtual_memory().total
    write(tmp_path, memory__max="max")
    assert memory_bytes(tmp_path) == psutil.virtual_memory().total
    write(tmp_path, memory__max="1000000")
    assert memory_bytes(tmp_path) == 1_000_000


def test_workers_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many workers as memory and cores allow, and at least one."""
    monkeypatch.setattr(capacity, "cores", lambda: 8)
    monkeypatch.setattr(capacity, "memory_bytes", lambda: 1000)
    assert [workers_for(size) for size in (1, 250, 400, 5000)] == [8, 4, 2, 1]
