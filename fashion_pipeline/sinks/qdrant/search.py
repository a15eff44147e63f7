"""Search for similar images, through the alias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fashion_pipeline.errors import CollectionMismatch, NoSuchPoint, VectorStoreError
from fashion_pipeline.sinks.qdrant.collections import ModelCollection, alias_name, alias_target

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qm


@dataclass(frozen=True, slots=True)
class Match:
    """A product that was found, with its nearest image; ``score`` is the cosine."""

    point_id: UUID
    score: float
    payload: Mapping[str, Any]


def search(
    client: QdrantClient,
    vector: Sequence[float],
    *,
    fingerprint: str,
    store_id: str | None = None,
    limit: int = 10,
    sold_out: bool = False,
) -> tuple[Match, ...]:
    """Return the products nearest to a ``float32[768]`` vector, each once, the nearest first.

    Args:
        fingerprint: of the model that made the vector.
        sold_out: find sold-out products too.

    Raises:
        VectorStoreError: no store has been ingested yet.
        CollectionMismatch: another model is live, and vectors of two models cannot be compared.
    """
    live = _live_collection(client)
    if live.fingerprint != fingerprint:
        msg = (
            f"search uses the vectors of model {live.fingerprint}, and FASHION_MODEL names "
            f"{fingerprint}: set FASHION_MODEL to the live model, which fashion-pipeline model status shows"
        )
        raise CollectionMismatch(msg)
    return _query(
        client, [float(value) for value in vector], store_id=store_id, limit=limit, exclude=None, sold_out=sold_out
    )


def more_like(
    client: QdrantClient, point_id: UUID, *, store_id: str | None = None, limit: int = 10, sold_out: bool = False
) -> tuple[Match, ...]:
    """Return the products nearest to a point, without its own product; ``sold_out``: also those that are sold out.

    Raises:
        NoSuchPoint: there is none.
    """
    _live_collection(client)
    found = client.retrieve(alias_name(client), ids=[str(point_id)], with_payload=["product_id"])
    if not found:
        msg = f"Qdrant has no point {point_id}: its product is not published, or not ingested yet"
        raise NoSuchPoint(msg)
    own = (found[0].payload or {}).get("product_id")
    return _query(client, str(point_id), store_id=store_id, limit=limit, exclude=own, sold_out=sold_out)


def _query(
    client: QdrantClient,
    query: list[float] | str,
    *,
    store_id: str | None,
    limit: int,
    exclude: str | None,
    sold_out: bool,
) -> tuple[Match, ...]:
    from qdrant_client import models as qm

    def field(key: str, value: str | bool | None) -> list[qm.Condition]:
        return [] if value is None else [qm.FieldCondition(key=key, match=qm.MatchValue(value=value))]

    hidden = [*field("product_id", exclude), *([] if sold_out else field("in_stock", value=False))]

    groups = client.query_points_groups(
        alias_name(client),
        group_by="product_id",
        query=query,
        query_filter=qm.Filter(must=field("store_id", store_id), must_not=hidden),
        limit=limit,
        group_size=1,
        with_payload=True,
    ).groups
    hits = (group.hits[0] for group in groups)
    return tuple(Match(UUID(str(hit.id)), hit.score, hit.payload or {}) for hit in hits)


def _live_collection(client: QdrantClient) -> ModelCollection:
    if (live := alias_target(client)) is None:
        msg = "Qdrant has nothing to search yet: run fashion-pipeline ingest STORE first"
        raise VectorStoreError(msg)
    return live
