"""Qdrant's local mode under the home. One process at a time can open it."""

from __future__ import annotations

import contextlib
import logging
import pickle
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fashion_pipeline.errors import VectorStoreError
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

log = logging.getLogger(__name__)

_announced: set[Path] = set()
"""Directories that this process has logged that it uses."""


@contextlib.contextmanager
def local_qdrant(home: Home, *, timeout_s: float = 600.0) -> Iterator[QdrantClient]:
    """Open Qdrant's local mode. Only one process can have it open, so close it soon.

    Use the client in the thread that opened it. It is suited to about 20,000 points.

    Raises:
        SettingsError: the home is an object store.
        LockTimeout: another process kept it open for longer than ``timeout_s``.
        VectorStoreError: its files are damaged.
    """
    directory = home.local("qdrant").absolute()
    with file_lock(directory.parent / "qdrant.lock", timeout_s=timeout_s, what="the local Qdrant"):
        from qdrant_client import QdrantClient

        # Both limits of local mode, no indexes and slow beyond 20,000 points, are documented by this package.
        for warning in ("Payload indexes have no effect", "Local mode is not recommended"):
            warnings.filterwarnings("ignore", message=warning, category=UserWarning)
        if directory not in _announced:
            _announced.add(directory)
            log.info("FASHION_QDRANT_URL is not set: using a local Qdrant under %s", directory)
        try:
            client = QdrantClient(path=str(directory))
        except (OSError, ValueError, KeyError, sqlite3.Error, pickle.UnpicklingError, EOFError) as error:
            msg = (
                f"the local Qdrant under {directory} cannot be opened ({type(error).__name__}: {error}); move that "
                "directory away, and the next run of each store fills a new one from the stored vectors"
            )
            raise VectorStoreError(msg) from error
        try:
            relax_sqlite_sync(client)
            yield client
        finally:
            client.close()


def relax_sqlite_sync(client: QdrantClient) -> None:
    """Make local mode write without waiting for the disk at every point, in a tenth of the time.

    SQLite's write-ahead log keeps the order of writes. A power cut can therefore lose only the last
    ones, and with them the digest that records them, so the next run repeats them. Call this again
    after a collection is created.
    """
    for collection in client._client.collections.values():  # type: ignore[attr-defined]  # noqa: SLF001 - no option for it
        if collection.storage is not None:
            connection = collection.storage.storage
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")


def is_local(client: QdrantClient) -> bool:
    """Whether a client is Qdrant's local mode."""
    return client.init_options["path"] is not None or client.init_options["location"] == ":memory:"
