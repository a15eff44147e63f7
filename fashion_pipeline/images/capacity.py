"""How many decoders this machine can run: by its cores and memory, within a container's limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 says "no limit" with a number near 2**63


def workers_for(bytes_each: int) -> int:
    """Return how many processes to run if each needs a core and ``bytes_each`` of memory: at least one."""
    return max(1, min(cores(), memory_bytes() // bytes_each))


def cores(cgroups: Path = _CGROUPS) -> int:
    """Return the cores this process may use, by its CPU affinity and its cgroup's quota; at least one."""
    quotas = [quota for folder in _folders(cgroups, "cpu") if (quota := _quota(folder)) is not None]
    return max(1, ceil(min([float(len(os.sched_getaffinity(0))), *quotas])))


def memory_bytes(cgroups: Path = _CGROUPS) -> int:
    """Return the memory of this machine, or the limit of this process's cgroup if that is less."""
    limits = [
        int(text)
        for folder in _folders(cgroups, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdecimal() and int(text) < _UNLIMITED
    ]
    return min([psutil.virtual_memory().total, *limits])


def _folders(cgroups: Path, controller: str) -> Iterator[Path]:
    """Yield the folders that may hold this process's limits: its cgroup and all its parents, of versions 2 and 1."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = cgroups
        elif controller in controllers.split(","):
            root = cgroups / controller
        else:
            continue
        own = root / path.lstrip("/")
        yield own
        yield from (folder for folder in own.parents if folder.is_relative_to(root))


def _quota(folder: Path) -> float | None:
    """Return the cores that a cgroup grants; None if it sets no limit."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
