"""Qdrant's local mode under the home: one writer at a time."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fashion_pipeline.errors import VectorStoreError
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
from fashion_pipeline.local.postgres import _said, log


@contextlib.contextmanager
def local_qdrant(home: Home, *, timeout_s: float = 600.0) -> Iterator[QdrantClient]:
    """Open Qdrant's local mode, which allows one process at a time: use it briefly.

    The client is for the thread that opened it. Good to about 20,000 points.

    Raises:
        SettingsError: the home is an object store.
        LockTimeout: another process kept it open for longer than ``timeout_s``.
        VectorStoreError: its files are damaged.
    """
    directory = home.local("qdrant").absolute()
    with file_lock(directory.parent / "qdrant.lock", timeout_s=timeout_s, what="the local Qdrant"):
        from qdrant_client import QdrantClient

        # That it ignores indexes, and is slow over 20,000 points, is in the documentation of this package.
        for said in ("Payload indexes have no effect", "Local mode is not recommended"):
            warnings.filterwarnings("ignore", message=said, category=UserWarning)
        if directory not in _said:
            _said.add(directory)
            log.info("FASHION_QDRANT_URL is not set: using a local Qdrant under %s", directory)
        try:
            client = QdrantClient(path=str(directory))
        except (OSError, ValueError, KeyError, sqlite3.Error, pickle.UnpicklingError, EOFError) as error:
            msg = (
                f"the local Qdrant under {directory} cannot be opened ({type(error).__name__}: {error}); move that "
                "directory away: the next run of every store fills a new one from the stored vectors"
            )
            raise VectorStoreError(msg) from error
        try:
            relax_sqlite_sync(client)
            yield client
        finally:
            client.close()


def relax_sqlite_sync(client: QdrantClient) -> None:
    """Let local mode write without waiting for the disk at every single point: a tenth of the time.

    SQLite's write-ahead log keeps the order of writes, so that even a power cut loses the last ones
    only, and with them the digest that says they were made: the next run repeats them. To be called
    again when a collection was made.
    """
    for collection in client._client.collections.values():  # type: ignore[attr-defined]  # noqa: SLF001 - no option for it
        if collection.storage is not None:
            connection = collection.storage.storage
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")


def is_local(client: QdrantClient) -> bool:
    """Whether a client is Qdrant's local mode."""
    return client.init_options["path"] is not None or client.init_options["location"] == ":memory:"
