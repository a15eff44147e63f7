"""Read what Qdrant holds of a store: its points, page by page, and the digest they carry.

The digest lies in the payload of the store's first point, its *anchor*. The collection's metadata
would be the wrong place: restoring a snapshot brings back the points and leaves the metadata as it
was, so the digest there would describe points that are no longer in the collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fashion_pipeline.sinks.desired import hash_of
from fashion_pipeline.sinks.plan import AppliedPoint, PointId
from fashion_pipeline.sinks.qdrant.limits import page_size

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qm

DIGEST = "store_digest"
"""Key of a store's digest in the payload of its anchor."""

_COMPARED = ["product_id", "image_sha256", "fingerprint", "point_hash"]


def read_points(
    client: QdrantClient, collection: str, store_id: str, *, whole: bool = False
) -> dict[PointId, AppliedPoint]:
    """Return a store's points in a collection, with the fields that are compared.

    Args:
        whole: read whole payloads; a ``point_hash`` that does not match its payload is then None.
    """
    return {
        point_id: applied_point(point_id, payload, whole=whole)
        for point_id, payload in scroll(client, collection, store_id, whole or _COMPARED)
    }


def applied_point(point_id: PointId, payload: Mapping[str, Any], *, whole: bool) -> AppliedPoint:
    """Return the compared fields of a point; with ``whole``, its hash only where it matches the payload."""
    point_hash = payload.get("point_hash")
    if whole and point_hash != hash_of({key: value for key, value in payload.items() if key != DIGEST}):
        point_hash = None
    return AppliedPoint(
        point_id, payload.get("product_id"), payload.get("image_sha256"), payload.get("fingerprint"), point_hash
    )


def anchor(client: QdrantClient, collection: str, store_id: str) -> tuple[PointId | None, str | None]:
    """Return the id of a store's first point and the digest it carries."""
    records, _ = client.scroll(
        collection, scroll_filter=of_store(store_id), limit=1, with_payload=[DIGEST], with_vectors=False
    )
    if not records:
        return None, None
    return parse_id(records[0].id), (records[0].payload or {}).get(DIGEST)


def scroll(
    client: QdrantClient, collection: str, store_id: str, keys: list[str] | bool
) -> Iterator[tuple[PointId, Mapping[str, Any]]]:
    """Read a store's points page by page in the order of their ids, without vectors.

    Args:
        keys: payload keys to read; True for the whole payload.
    """
    yield from _pages(client, collection, of_store(store_id), keys)


def orphans(client: QdrantClient, collection: str, known: Collection[str]) -> Iterator[PointId]:
    """Yield the points of a collection whose store is none of ``known``, or that name no store."""
    from qdrant_client import models as qm

    ours = qm.FieldCondition(key="store_id", match=qm.MatchAny(any=sorted(known)))
    yield from (point_id for point_id, _ in _pages(client, collection, qm.Filter(must_not=[ours]), ["store_id"]))


def _pages(
    client: QdrantClient, collection: str, where: qm.Filter, keys: list[str] | bool
) -> Iterator[tuple[PointId, Mapping[str, Any]]]:
    size = page_size(client, collection)
    offset: Any = None
    while True:
        records, offset = client.scroll(
            collection, scroll_filter=where, limit=size, offset=offset, with_payload=keys, with_vectors=False
        )
        for record in records:
            yield parse_id(record.id), record.payload or {}
        if offset is None:
            return


def of_store(store_id: str) -> qm.Filter:
    """Return the filter for a store's points."""
    from qdrant_client import models as qm

    return qm.Filter(must=[qm.FieldCondition(key="store_id", match=qm.MatchValue(value=store_id))])


def parse_id(point_id: object) -> PointId:
    """Return a point's id as Qdrant sends it: a number, or the text of a UUID."""
    return point_id if isinstance(point_id, int) else UUID(str(point_id))


def wire_id(point_id: PointId) -> int | str | UUID:
    """Return a point's id as Qdrant takes it."""
    return point_id if isinstance(point_id, int) else str(point_id)


def parse_uuid(text: object) -> UUID | None:
    """Return a payload's UUID, or None where something else stands in its place."""
    try:
        return UUID(str(text))
    except ValueError:
        return None
