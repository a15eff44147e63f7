"""How much one request may read or write: less where the collection's strict mode says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fashion_pipeline.local.qdrant import is_local

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

BATCH = 128
"""Points written in one request."""
PAGE = 1000
"""Points read in one request."""
_LOCAL_PAGE = 100_000  # local mode sorts all points for every page


def page_size(client: QdrantClient, collection: str) -> int:
    """Return how many points one request may read: at most strict mode's ``max_query_limit``."""
    if is_local(client):
        return _LOCAL_PAGE
    return min(PAGE, _strict(client, collection, "max_query_limit") or PAGE)


def batch_size(client: QdrantClient, collection: str) -> int:
    """Return how many points one request may write: at most strict mode's ``upsert_max_batchsize``."""
    if is_local(client):
        return BATCH
    return min(BATCH, _strict(client, collection, "upsert_max_batchsize") or BATCH)


def _strict(client: QdrantClient, collection: str, limit: str) -> int | None:
    strict = client.get_collection(collection).config.strict_mode_config
    return getattr(strict, limit) if strict is not None and strict.enabled else None
