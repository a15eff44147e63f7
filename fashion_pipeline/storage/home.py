"""The paths below one home.

Everything is below one directory; all but the local databases may be below a prefix in an object
store instead::

    home.json                         the home's id
    tables/<asset>/<store>.parquet    a stage's table for one store
    blobs/<aa>/<sha256>               the bytes of an image
    pixels/<spec>/<aa>/<sha256>       224x224x3 uint8, model-ready; dropped once embedded
    vectors/<fingerprint>/<part>.parquet   sha256 and float32[768], append-only
    postgres/  qdrant/  dagster/      local databases and Dagster's instance
"""

from __future__ import annotations

import json
import tempfile
import uuid
from functools import cached_property
from pathlib import Path

from upath import UPath

from fashion_pipeline.errors import DamagedFile, SettingsError
from fashion_pipeline.storage.blobs import Blobs
from fashion_pipeline.storage.files import put
from fashion_pipeline.storage.pixels import Pixels
from fashion_pipeline.storage.vectors import Vectors


class Home:
    """The paths below one home.

    Raises:
        SettingsError: (on construction) the root is a URL whose driver is not installed.
    """

    def __init__(self, root: str | Path | UPath) -> None:
        try:
            self.root = UPath(root)
            if not self.is_local:
                _ = self.root.fs  # imports the driver
        except (ImportError, ValueError) as error:
            msg = f"FASHION_HOME is {root}, and its files cannot be reached ({error}): install the driver, or correct the address"
            raise SettingsError(msg) from error

    def table(self, asset: str, store_id: str) -> UPath:
        """Path of a stage's table for one store."""
        return self.root / "tables" / asset / f"{store_id}.parquet"

    @property
    def is_local(self) -> bool:
        """Whether the home is a directory of this machine."""
        return isinstance(self.root, Path) or self.root.protocol in {"", "file", "local"}

    def local(self, name: str) -> Path:
        """Path of something that needs a directory of this machine.

        Raises:
            SettingsError: the home is an object store.
        """
        if not self.is_local:
            msg = (
                f"FASHION_HOME is {self.root}, an object store, which cannot hold {name}/: "
                "set FASHION_DATABASE_URL and FASHION_QDRANT_URL to real servers"
            )
            raise SettingsError(msg)
        return Path(str(self.root)) / name

    def lock(self, name: str) -> Path:
        """Path of a lock between the processes of this machine."""
        if self.is_local:
            return self.local(f"{name}.lock")
        return Path(tempfile.gettempdir()) / f"fashion-pipeline-{self.id}" / f"{name}.lock"

    @cached_property
    def id(self) -> str:
        """The home's id, made on first use; the databases store it as their owner."""
        path = self.root / "home.json"
        if not path.exists():
            put(path, json.dumps({"id": uuid.uuid4().hex}).encode())
        try:
            return str(json.loads(path.read_text())["id"])
        except (ValueError, KeyError, TypeError) as error:
            msg = (
                f'{path} does not hold {{"id": "…"}}: write the id from PostgreSQL into it (home_id in the table '
                "pipeline_state), or remove the file if there is no database yet"
            )
            raise DamagedFile(msg) from error

    @cached_property
    def blobs(self) -> Blobs:
        """The bytes of images, by their digest."""
        return Blobs(self.root / "blobs")

    def pixels(self, spec: str) -> Pixels:
        """The model-ready pixels of one version of the pixel pipeline."""
        return Pixels(self.root / "pixels" / spec)

    def vectors(self, fingerprint: str) -> Vectors:
        """The vectors of one model."""
        return Vectors(self.root / "vectors" / fingerprint)

    def all_pixels(self) -> tuple[Pixels, ...]:
        """The pixels of every version of the pixel pipeline that has any."""
        return tuple(Pixels(path) for path in _folders(self.root / "pixels"))

    def all_vectors(self) -> tuple[Vectors, ...]:
        """The vectors of every model that has any; ``root.name`` is its fingerprint."""
        return tuple(Vectors(path) for path in _folders(self.root / "vectors"))


def _folders(root: UPath) -> list[UPath]:
    return sorted((path for path in root.iterdir() if path.is_dir()), key=str) if root.exists() else []
