"""The user that the embedded PostgreSQL runs as, and how a child process becomes that user.

PostgreSQL refuses to run as root, so a server started by root runs as ``postgres`` (or ``nobody``).
Where that user cannot reach the home or the programs, for instance because they lie under ``/root``,
the child keeps the one capability that lets it through. The alternative, making every parent
directory accessible to all, would expose root's files to the whole machine.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fashion_pipeline.errors import SettingsError

# linux/capability.h and linux/prctl.h
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETGID = 6
CAP_SETUID = 7
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2

_NAMES = {CAP_DAC_OVERRIDE: "CAP_DAC_OVERRIDE", CAP_DAC_READ_SEARCH: "CAP_DAC_READ_SEARCH"}
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


@dataclass(frozen=True, slots=True)
class Account:
    """A user other than root, and the capability that its process keeps, if it needs one."""

    name: str
    uid: int
    gid: int
    capability: int | None = None


def server_account(*, enter: Iterable[Path], execute: Path) -> Account | None:
    """Choose the user for a server started by root; None where this process is not root.

    Args:
        enter: directories that the server must reach.
        execute: a program that it must run.

    Raises:
        SettingsError: this root lacks the capabilities for that, or there is no such user.
    """
    if os.geteuid() != 0:
        return None
    advice = "set FASHION_DATABASE_URL to a PostgreSQL server, or run this as a user other than root"
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        break
    else:
        msg = f"PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody: {advice}"
        raise SettingsError(msg)
    available = _effective_capabilities()
    if not {CAP_SETUID, CAP_SETGID} <= available:
        msg = f"PostgreSQL does not run as root, and this root may not become {entry.pw_name} (it lacks CAP_SETUID or CAP_SETGID): {advice}"
        raise SettingsError(msg)
    needed = _capability(entry.pw_uid, entry.pw_gid, enter=enter, execute=execute)
    if needed is not None and needed not in available:
        places = ", ".join(str(path) for path in [*enter, execute])
        msg = (
            f"PostgreSQL runs as {entry.pw_name}, who may not enter a directory above {places}, and this root cannot "
            f"grant it {_NAMES[needed]}: move FASHION_HOME (and the virtual environment) to where every user may enter, "
            "or set FASHION_DATABASE_URL to a PostgreSQL server"
        )
        raise SettingsError(msg)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, needed)


def drop_privileges(account: Account | None, *, death_signal: signal.Signals) -> Callable[[], None]:
    """Return the function that a forked child calls before it executes the server.

    The child becomes ``account`` (None: keeps its user) and asks the kernel to send it
    ``death_signal`` when the thread that forked it dies. The order matters: a change of user clears
    that request.
    """
    parent = os.getpid()

    def become() -> None:
        if account is not None:
            if account.capability is not None:
                _prctl(_PR_SET_KEEPCAPS, 1)
            os.setgroups([account.gid])
            os.setgid(account.gid)
            os.setuid(account.uid)
            if account.capability is not None:
                _keep(account.capability)
        _prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # the parent died before the request was made
            os._exit(1)

    return become


def _capability(uid: int, gid: int, *, enter: Iterable[Path], execute: Path) -> int | None:
    """Return the weakest capability with which a user reaches the paths, or None where it needs none."""
    if not _has_bit(execute.stat(), uid, gid, stat.S_IXOTH):
        return CAP_DAC_OVERRIDE
    for path in [*enter, execute.parent]:
        for directory in [path, *path.parents]:
            if directory.exists() and not _has_bit(directory.stat(), uid, gid, stat.S_IXOTH):
                return CAP_DAC_READ_SEARCH
    return None


def _has_bit(status: os.stat_result, uid: int, gid: int, other_bit: int) -> bool:
    """Whether the permission bits that apply to a user contain a bit, given as the bit for others."""
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return bool(status.st_mode & (other_bit << shift))


def _effective_capabilities() -> set[int]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return {number for number in range(64) if mask >> number & 1}
    return set()


def _keep(capability: int) -> None:
    """Keep one capability, now and after ``execve`` (see ambient sets in capabilities(7))."""
    mask = 1 << capability
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)(_Data(mask, mask, mask), _Data(0, 0, 0))
    if _libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, first: int, second: int = 0) -> None:
    arguments = (ctypes.c_ulong(value) for value in (first, second, 0, 0))
    if _libc.prctl(option, *arguments) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
