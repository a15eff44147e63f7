"""Model-ready pixels, kept between decoding and embedding."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from upath import UPath

if TYPE_CHECKING:
    import numpy as np


PIXELS_SHAPE = (224, 224, 3)


class Pixels:
    """A cache of model-ready pixels, by the digest of the bytes they were made from."""

    def __init__(self, root: UPath) -> None:
        self.root = root

    def _path(self, sha256: str) -> UPath:
        return self.root / sha256[:2] / sha256

    def put(self, sha256: str, pixels: np.ndarray) -> None:
        """Keep ``uint8[224, 224, 3]``. Not flushed to the disk: a lost one is rendered again."""
        path = self._path(sha256)
        if not isinstance(path, Path):
            path.write_bytes(pixels.tobytes())
            return
        temporary = path.with_name(f".{sha256}.{uuid.uuid4().hex[:8]}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(pixels.tobytes())
        except OSError:  # a cache must not fail a run: the embeddings stage renders what is missing
            temporary.unlink(missing_ok=True)
            return
        os.replace(temporary, path)  # noqa: PTH105 - UPath.replace is not a plain rename

    def get(self, sha256: str) -> np.ndarray | None:
        """Return ``uint8[224, 224, 3]``, or None where it is missing or of the wrong length."""
        import numpy as np

        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        if len(data) != int(np.prod(PIXELS_SHAPE)):
            return None
        return np.frombuffer(data, np.uint8).reshape(PIXELS_SHAPE)

    def drop(self, sha256s: Iterable[str]) -> None:
        """Remove pixels that have been embedded."""
        for sha256 in sha256s:
            with contextlib.suppress(FileNotFoundError):
                self._path(sha256).unlink()
