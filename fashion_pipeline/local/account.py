"""Which user the embedded PostgreSQL runs as, and how a child process becomes that user.

PostgreSQL refuses to run as root. Started by root it runs as ``postgres`` (or ``nobody``). Where
that user cannot walk to the home or to the programs, because one lies under ``/root`` for
instance, the child keeps one capability that lets it pass. The alternative, opening every parent
directory to everybody, would show root's files to the whole machine.
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
    """A user that is not root, and the one capability its process keeps, if it needs one."""

    name: str
    uid: int
    gid: int
    capability: int | None = None


def server_account(*, enter: Iterable[Path], execute: Path) -> Account | None:
    """Choose the user for a server started by root; None when this process is not root.

    Args:
        enter: directories that the server has to reach.
        execute: a program that it has to run.

    Raises:
        SettingsError: root was not given the capabilities this takes, or there is no such user.
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
    held = _effective_capabilities()
    if not {CAP_SETUID, CAP_SETGID} <= held:
        msg = f"PostgreSQL does not run as root, and this root may not become {entry.pw_name} (no CAP_SETUID): {advice}"
        raise SettingsError(msg)
    needed = _capability(entry.pw_uid, entry.pw_gid, enter=enter, execute=execute)
    if needed is not None and needed not in held:
        places = ", ".join(str(path) for path in [*enter, execute])
        msg = (
            f"PostgreSQL runs as {entry.pw_name}, who cannot enter a directory above {places}, and this root may not "
            f"lend it {_NAMES[needed]}: move FASHION_HOME (and the virtual environment) to where everybody may enter, "
            "or set FASHION_DATABASE_URL to a PostgreSQL server"
        )
        raise SettingsError(msg)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, needed)


def drop_privileges(account: Account | None, *, death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a forked child calls before it executes the server.

    The child becomes ``account`` (None: stays who it is) and asks the kernel for ``death_signal``
    when the thread that forked it dies. The order matters: a change of user clears that wish.
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
        if os.getppid() != parent:  # it died before the wish was made
            os._exit(1)

    return become


def _capability(uid: int, gid: int, *, enter: Iterable[Path], execute: Path) -> int | None:
    """Return the least capability with which a user reaches the places, or None where it needs none."""
    if not _has_bit(execute.stat(), uid, gid, stat.S_IXOTH):
        return CAP_DAC_OVERRIDE
    for path in [*enter, execute.parent]:
        for directory in [path, *path.parents]:
            if directory.exists() and not _has_bit(directory.stat(), uid, gid, stat.S_IXOTH):
                return CAP_DAC_READ_SEARCH
    return None


def _has_bit(status: os.stat_result, uid: int, gid: int, other_bit: int) -> bool:
    """Whether the permission that applies to a user holds a bit, given as the bit for others."""
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return bool(status.st_mode & (other_bit << shift))


def _effective_capabilities() -> set[int]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return {number for number in range(64) if mask >> number & 1}
    return set()


def _keep(capability: int) -> None:
    """Hold one capability, now and after ``execve`` (see ambient sets in capabilities(7))."""
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
