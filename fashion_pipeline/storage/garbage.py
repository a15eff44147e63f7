"""Garbage collection: remove the files below a home that nothing refers to."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from upath import UPath

from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.vectors import Vectors

SETTLED = timedelta(days=1)
"""A younger file may belong to a run that is still under way."""

MOSTLY = 0.5
"""A file of vectors is rewritten when more than this share of them is unused."""


@dataclass(slots=True)
class Freed:
    """Files and bytes of one kind that were removed, or in a dry run would be."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int, *, files: int = 1) -> None:
        """Count a removal."""
        self.files += files
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Collected:
    """What one garbage collection removed."""

    blobs: Freed = field(default_factory=Freed)
    pixels: Freed = field(default_factory=Freed)
    vectors: Freed = field(default_factory=Freed)
    temporary: Freed = field(default_factory=Freed)


def collect(
    home: Home,
    *,
    referred: Collection[str],
    fingerprints: Collection[str],
    pixel_spec: str,
    now: datetime,
    dry_run: bool,
) -> Collected:
    """Remove files that nothing refers to and that are older than a day.

    Args:
        referred: digests of all bytes that a table names; see ``references.referred``.
        fingerprints: models whose vectors may be needed again; all vectors of other models are removed.
        pixel_spec: the version of the pixel pipeline that is in use.
        dry_run: remove nothing, and return what would be removed.
    """
    return _Collection(home, now - SETTLED, dry_run=dry_run).all(referred, fingerprints, pixel_spec)


class _Collection:
    def __init__(self, home: Home, before: datetime, *, dry_run: bool) -> None:
        self.home = home
        self.before = before.timestamp()
        self.dry_run = dry_run
        self.found = Collected()

    def all(self, referred: Collection[str], fingerprints: Collection[str], pixel_spec: str) -> Collected:
        for path in _below(self.home.root / "blobs"):
            if path.name not in referred:
                self._remove(path, self.found.blobs)
        for pixels in self.home.all_pixels():
            for path in _below(pixels.root):
                if path.name not in referred or pixels.root.name != pixel_spec:
                    self._remove(path, self.found.pixels)
        for vectors in self.home.all_vectors():
            self._vectors(vectors, referred if vectors.root.name in fingerprints else ())
        if self.home.is_local:  # an object store has no temporary files
            root: Path = Path(str(self.home.root))
            for folder in (root, *(root / name for name in ("tables", "blobs", "pixels", "vectors", "models"))):
                for temporary in folder.glob(".*.tmp" if folder == root else "**/.*.tmp"):
                    self._remove(UPath(temporary), self.found.temporary)
        return self.found

    def _vectors(self, vectors: Vectors, referred: Collection[str]) -> None:
        """Remove parts without a used vector, and rewrite parts of which most vectors are unused."""
        parts = vectors.parts()
        if not referred and any(self._size_of_settled(path) is None for path in parts):
            return  # a model that is being tried for the first time
        for path, names in parts.items():
            unused = [name for name in names if name not in referred]
            size = self._size_of_settled(path)
            if size is None:
                continue
            if names and len(unused) == len(names):  # a part without names is damaged, or cannot be read for now
                self._remove(path, self.found.vectors)
            elif len(unused) > MOSTLY * len(names):
                if not self.dry_run:
                    vectors.forget(unused, part=path.stem)
                remaining = path.stat().st_size if not self.dry_run else size * (len(names) - len(unused)) // len(names)
                self.found.vectors.add(max(0, int(size - remaining)), files=0)

    def _remove(self, path: UPath, freed: Freed) -> None:
        size = self._size_of_settled(path)
        if size is None:
            return
        if not self.dry_run:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        freed.add(size)

    def _size_of_settled(self, path: UPath) -> int | None:
        """Return a file's size; None where it is gone, or so young that a run may be about to use it."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        return int(stat.st_size) if 0 < stat.st_mtime < self.before else None


def _below(root: UPath) -> Iterator[UPath]:
    """Yield the files in the folders of a folder, without temporary ones."""
    for folder in root.iterdir() if root.exists() else ():
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if not path.name.startswith("."))
