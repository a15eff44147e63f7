"""Atomic writes, locks between processes, and digests.

A file is written under a temporary name, flushed to the disk and renamed; on an object store it is
one PUT to the final key. A reader gets the old bytes or the new ones, never a part of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from upath import UPath

from fashion_pipeline.errors import LockTimeout, SettingsError, StorageError, StorageFull


def put(path: UPath, data: bytes) -> None:
    """Write a whole file, or nothing.

    Raises:
        StorageFull: the disk is full; the message names the bytes needed.
        StorageError: the file cannot be written for another reason.
    """
    if not isinstance(path, Path):
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - UPath.replace is not a plain rename
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            msg = f"{path}: no space left for {len(data):,} bytes; free some, or move FASHION_HOME to a larger disk"
            raise StorageFull(msg) from error
        msg = f"{path} cannot be written ({error.strerror}); FASHION_HOME must be a directory this user may write to"
        raise StorageError(msg) from error


def make_directory(path: Path) -> None:
    """Create a directory below a home.

    Raises:
        SettingsError: this user may not create it, or a file has its name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path} cannot be created ({error.strerror}); FASHION_HOME must be a directory this user may write to"
        raise SettingsError(msg) from error


@contextlib.contextmanager
def file_lock(path: Path, *, timeout_s: float, what: str, shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock on a file, waiting for it up to ``timeout_s`` seconds.

    The kernel releases it however its holder dies.

    Args:
        what: names the locked thing in the message of ``LockTimeout``.

    Raises:
        LockTimeout: another process did not release it in time.
        SettingsError: this user may not write there.
    """
    make_directory(path.parent)
    deadline = time.monotonic() + timeout_s
    try:
        file = path.open("a")
    except OSError as error:
        msg = f"{path} cannot be opened ({error.strerror}); FASHION_HOME must be a directory this user may write to"
        raise SettingsError(msg) from error
    with file:
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    msg = f"{what} is held by another process ({path}); waited {timeout_s:g} s; try again when that process has ended"
                    raise LockTimeout(msg) from None
                time.sleep(0.02)
        yield


def set_aside(path: UPath) -> UPath:
    """Rename a file that cannot be read, for a person to look at, and return its new path."""
    aside = path.with_name(f"{path.name}.damaged")
    aside.unlink(missing_ok=True)
    path.rename(aside)
    return aside


def sha256_hex(data: bytes) -> str:
    """Hex SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def digest(parts: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """Hex SHA-256 of key-value pairs in any order: equal sets have equal digests."""
    pairs = sorted(parts.items() if isinstance(parts, Mapping) else parts)
    return sha256_hex("\n".join(f"{key}\t{value}" for key, value in pairs).encode())
