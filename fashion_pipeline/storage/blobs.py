"""The bytes of images, by their digest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from upath import UPath

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.storage.files import put, sha256_hex


class Blobs:
    """Bytes, each stored once under the hex SHA-256 of its content."""

    def __init__(self, root: UPath) -> None:
        self.root = root

    def path(self, sha256: str) -> UPath:
        """Path of a blob."""
        return self.root / sha256[:2] / sha256

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest; bytes that are already stored cost no write."""
        sha256 = sha256_hex(data)
        path = self.path(sha256)
        if not self.exists(sha256):
            put(path, data)
        elif isinstance(path, Path):
            with contextlib.suppress(OSError):
                os.utime(path)  # it is in use again, and ``gc`` keeps young files
        return sha256

    def remove(self, sha256: str) -> int | None:
        """Remove a blob and return its size in bytes, or None where there is none."""
        path = self.path(sha256)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return None
        return int(size)

    def exists(self, sha256: str) -> bool:
        """Whether a blob is stored."""
        return self.path(sha256).is_file()

    def get(self, sha256: str) -> bytes:
        """Read a blob and check its content against its name.

        Raises:
            FileNotFoundError: there is none.
            DamagedFile: it holds other bytes. It has been removed, so that the next run fetches it.
        """
        data = self.path(sha256).read_bytes()
        if sha256_hex(data) != sha256:
            self.path(sha256).unlink()
            msg = f"{self.path(sha256)} did not hold the bytes that its name stands for and was removed; the next run fetches them again"
            raise DamagedFile(msg)
        return data
