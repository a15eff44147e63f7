"""A store's points in Qdrant: one for every picture that is shown.

Writes are a difference. Whether one has to be taken is told by the store's number of points and
by a digest, which lies in the payload of the store's first point (its *anchor*). It lies there,
and not in the collection's metadata, because a snapshot that is restored into a collection brings
back the points and leaves the metadata as it was: a digest there would call old points new. It is
removed before the first write and put back after the last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fashion_pipeline.sinks.desired import DesiredPoint
from fashion_pipeline.sinks.qdrant import PREFIX, health, is_local
from fashion_pipeline.sinks.reconcile import AppliedPoint, PointPlan, plan_points, plan_refresh
from fashion_pipeline.storage import Vectors, sha256_hex

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qm

BATCH = 128
LOADED_AT_ONCE = 8192
"""Vectors read from the disk in one go: 24 MiB."""

_DIGEST = "store_digest"
_COMPARED = ["product_id", "image_sha256", "fingerprint", "point_hash"]


@dataclass(frozen=True, slots=True)
class PointCounts:
    """What one application did (or in a dry run, would do).

    Attributes:
        points_written: points sent with their vector.
        payloads_written: points whose payload alone was sent.
        present: ids of the store's products that have a point now.
    """

    points_written: int = 0
    payloads_written: int = 0
    points_deleted: int = 0
    present: frozenset[UUID] = frozenset()


def apply_points(
    client: QdrantClient,
    *,
    collection: str,
    store_id: str,
    desired: Sequence[DesiredPoint],
    digest: str,
    vectors: Vectors,
    live: Collection[UUID],
    full: bool = False,
    dry_run: bool = False,
) -> PointCounts:
    """Make a store's points what they should be.

    Where the digest kept among them and their number match, nothing further is read.

    Args:
        desired: all of the store's points; ``digest`` is theirs.
        live: ids of the store's live rows in PostgreSQL; their points are not deleted, desired or not.
        full: compare every point whatever the digest says.
        dry_run: change nothing, and return what would be done.

    Raises:
        DamagedFile: a vector cannot be read.
    """
    wanted = frozenset(point.product_id for point in desired)
    anchor, known = _anchor(client, collection, store_id)
    number = client.count(collection, count_filter=_of(store_id), exact=True).count
    if not full and number == len(desired) and (anchor is None or known == digest):
        return PointCounts(present=wanted)
    applied = read_points(client, collection, store_id)
    plan = plan_points(desired, applied, live=live)
    kept = {
        UUID(there.product_id) for there in applied.values() if there.product_id and there.point_id not in plan.deletes
    }
    counts = PointCounts(len(plan.writes), len(plan.payloads), len(plan.deletes), wanted | kept)
    if dry_run:
        return counts
    if not plan.empty:
        forget_digest(client, collection, store_id)
    _write(client, collection, plan, vectors)
    _delete(client, collection, plan.deletes)
    new = sum(point.point_id not in applied for point in plan.writes)
    if len(applied) + new - len(plan.deletes) == len(desired):
        _set_digest(client, collection, store_id, digest)
    return counts


def refresh_points(
    client: QdrantClient,
    *,
    collection: str,
    store_id: str,
    desired: Sequence[DesiredPoint],
    digest: str,
    live: Collection[UUID],
) -> PointCounts:
    """Keep another model's collection honest while readers still use it: payloads and deletions, no vectors.

    A picture that changed keeps its old vector there, and says ``stale``.
    """
    waiting = sorted(map(str, set(live) - {point.product_id for point in desired}))
    digest = sha256_hex("\n".join([digest, *waiting]).encode())
    anchor, known = _anchor(client, collection, store_id)
    if anchor is None or known == digest:
        return PointCounts()
    plan = plan_refresh(
        desired, read_points(client, collection, store_id), live=live, fingerprint=collection.removeprefix(PREFIX)
    )
    forget_digest(client, collection, store_id)
    _write_payloads(client, collection, plan.payloads)
    _delete(client, collection, plan.deletes)
    _set_digest(client, collection, store_id, digest)
    return PointCounts(0, len(plan.payloads), len(plan.deletes))


def apply_product(
    client: QdrantClient, *, collection: str, store_id: str, points: Sequence[DesiredPoint], vectors: Vectors
) -> None:
    """Write one product's points whole; the store's next application compares everything."""
    forget_digest(client, collection, store_id)
    _write(client, collection, PointPlan(writes=tuple(points)), vectors)


def forget_digest(client: QdrantClient, collection: str, store_id: str) -> None:
    """Make a store's next application compare everything."""
    anchor, known = _anchor(client, collection, store_id)
    if anchor is not None and known is not None:
        client.delete_payload(collection, keys=[_DIGEST], points=[anchor], wait=True)


def purge_points(client: QdrantClient, store_id: str) -> int:
    """Delete every point of a store from every collection of ours; return how many there were."""
    purged = 0
    for name in health(client)["collections"]:
        points = tuple(read_points(client, name, store_id))
        _delete(client, name, points)
        purged += len(points)
    return purged


def read_points(client: QdrantClient, collection: str, store_id: str) -> dict[UUID, AppliedPoint]:
    """Return what a collection holds of a store, as far as it is compared."""
    return {
        point_id: AppliedPoint(
            point_id,
            payload.get("product_id"),
            payload.get("image_sha256"),
            payload.get("fingerprint"),
            payload.get("point_hash"),
        )
        for point_id, payload in _scroll(client, collection, store_id, _COMPARED)
    }


def primary_counts(client: QdrantClient, collection: str, store_ids: Iterable[str]) -> dict[str, int]:
    """Return how many products of each store have their primary point in a collection, or behind an alias.

    Where there is no such collection, no store has any.
    """
    from qdrant_client import models as qm

    known = {item.name for item in client.get_collections().collections}
    known |= {alias.alias_name for alias in client.get_aliases().aliases}
    if collection not in known:
        return dict.fromkeys(store_ids, 0)
    primary = qm.FieldCondition(key="is_primary", match=qm.MatchValue(value=True))
    return {
        store_id: client.count(
            collection,
            count_filter=qm.Filter(
                must=[qm.FieldCondition(key="store_id", match=qm.MatchValue(value=store_id)), primary]
            ),
            exact=True,
        ).count
        for store_id in store_ids
    }


def first_seen(client: QdrantClient, store_id: str) -> dict[str, datetime]:
    """Return when each product of a store was first seen, by external id, as its points tell."""
    seen: dict[str, datetime] = {}
    for name in health(client)["collections"]:
        for _, payload in _scroll(client, name, store_id, ["external_id", "created_at"]):
            with contextlib.suppress(KeyError, ValueError):
                external_id, when = str(payload["external_id"]), datetime.fromisoformat(payload["created_at"])
                seen[external_id] = min(when, seen.get(external_id, when))
    return seen


# --- below ----------------------------------------------------------------------------------------


def _of(store_id: str) -> qm.Filter:
    from qdrant_client import models as qm

    return qm.Filter(must=[qm.FieldCondition(key="store_id", match=qm.MatchValue(value=store_id))])


def _scroll(
    client: QdrantClient, collection: str, store_id: str, keys: list[str]
) -> Iterator[tuple[UUID, Mapping[str, Any]]]:
    """Read a store's points in the order of their ids, without vectors."""
    size = 100_000 if is_local(client) else 1000  # local mode sorts everything for every page
    offset: Any = None
    while True:
        records, offset = client.scroll(
            collection, scroll_filter=_of(store_id), limit=size, offset=offset, with_payload=keys, with_vectors=False
        )
        for record in records:
            yield UUID(str(record.id)), record.payload or {}
        if offset is None:
            return


def _anchor(client: QdrantClient, collection: str, store_id: str) -> tuple[str | None, str | None]:
    """Return the id of a store's first point, and the digest it carries."""
    records, _ = client.scroll(
        collection, scroll_filter=_of(store_id), limit=1, with_payload=[_DIGEST], with_vectors=False
    )
    if not records:
        return None, None
    return str(records[0].id), (records[0].payload or {}).get(_DIGEST)


def _set_digest(client: QdrantClient, collection: str, store_id: str, digest: str) -> None:
    anchor, known = _anchor(client, collection, store_id)
    if anchor is not None and known != digest:
        client.set_payload(collection, payload={_DIGEST: digest}, points=[anchor], wait=True)


def _write(client: QdrantClient, collection: str, plan: PointPlan, vectors: Vectors) -> None:
    from qdrant_client import models as qm

    in_place = sorted(plan.writes, key=lambda point: (point.place.part, point.place.index))
    for start in range(0, len(in_place), LOADED_AT_ONCE):
        chunk = in_place[start : start + LOADED_AT_ONCE]
        loaded = vectors.load([point.place for point in chunk])
        for first in range(0, len(chunk), BATCH):
            structs = [
                qm.PointStruct(id=str(point.point_id), vector=vector.tolist(), payload=dict(point.payload))
                for point, vector in zip(chunk[first : first + BATCH], loaded[first : first + BATCH], strict=True)
            ]
            client.upsert(collection, points=structs, wait=True)
    _write_payloads(client, collection, plan.payloads)


def _write_payloads(client: QdrantClient, collection: str, points: Sequence[DesiredPoint]) -> None:
    from qdrant_client import models as qm

    for first in range(0, len(points), BATCH):
        operations = [
            qm.OverwritePayloadOperation(
                overwrite_payload=qm.SetPayload(payload=dict(point.payload), points=[str(point.point_id)])
            )
            for point in points[first : first + BATCH]
        ]
        client.batch_update_points(collection, update_operations=operations, wait=True)


def _delete(client: QdrantClient, collection: str, point_ids: Sequence[UUID]) -> None:
    from qdrant_client import models as qm

    for first in range(0, len(point_ids), BATCH):
        selected: list[int | str | UUID] = [str(point_id) for point_id in point_ids[first : first + BATCH]]
        client.delete(collection, points_selector=qm.PointIdsList(points=selected), wait=True)
