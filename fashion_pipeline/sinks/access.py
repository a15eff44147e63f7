"""How the code of both sinks reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fashion_pipeline.sinks.qdrant.collections import check_owner
from fashion_pipeline.storage.home import Home

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from sqlalchemy.ext.asyncio import AsyncEngine

OpenQdrant = Callable[[], AbstractContextManager["QdrantClient"]]


@dataclass(frozen=True, slots=True)
class Sinks:
    """The home, PostgreSQL, and a way to open Qdrant for a short time."""

    home: Home
    engine: AsyncEngine
    open_qdrant: OpenQdrant

    @contextmanager
    def qdrant(self) -> Iterator[QdrantClient]:
        """Open Qdrant, and refuse one that another home writes to: its points are not ours to compare or remove.

        Raises:
            CollectionMismatch: a collection belongs to another home.
        """
        with self.open_qdrant() as client:
            check_owner(client, self.home.id)
            yield client
