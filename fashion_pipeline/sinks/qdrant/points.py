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

from fashion_pipeline.sinks.desired import DesiredPoint, hash_of
from fashion_pipeline.sinks.plan import AppliedPoint, PointId, PointPlan, plan_points, points_for_live_model
from fashion_pipeline.sinks.qdrant.client import is_local
from fashion_pipeline.sinks.qdrant.collections import PREFIX, collections
from fashion_pipeline.storage.files import digest as digest_of
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.vectors import VectorRef, Vectors

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client import models as qm

BATCH = 128
LOADED_AT_ONCE = 8192
"""Vectors read from the disk in one go: 24 MiB."""

DIGEST = "store_digest"
"""Key of a store's digest in the payload of its first point."""

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
        full: compare every point, its whole payload, whatever the digest says.
        dry_run: change nothing, and return what would be done.

    Raises:
        DamagedFile: a vector cannot be read.
    """
    wanted = frozenset(point.product_id for point in desired)
    holder, known = anchor(client, collection, store_id)
    number = client.count(collection, count_filter=_of(store_id), exact=True).count
    if not full and number == len(desired) and (holder is None or known == digest):
        return PointCounts(present=wanted)
    applied = read_points(client, collection, store_id, whole=full)
    plan = plan_points(desired, applied, live=live)
    leaving = set(plan.deletes)
    kept = {
        product for there in applied.values() if there.point_id not in leaving and (product := _uuid(there.product_id))
    }
    counts = PointCounts(len(plan.writes), len(plan.payloads), len(plan.deletes), wanted | kept)
    if dry_run:
        return counts
    carry_out(client, plan, collection=collection, store_id=store_id, vectors=vectors)
    new = sum(point.point_id not in applied for point in plan.writes)
    if len(applied) + new - len(plan.deletes) == len(desired):
        set_digest(client, collection, store_id, digest)
    return counts


def refresh_points(
    client: QdrantClient,
    *,
    collection: str,
    store_id: str,
    desired: Sequence[DesiredPoint],
    live: Collection[UUID],
    vectors: Vectors,
    full: bool = False,
) -> PointCounts:
    """Keep another model's collection true while readers still see it; see ``as_shown``.

    Args:
        desired: the store's points, with vectors of the model that is being built.
        vectors: of the model of ``collection``.
        full: compare every point, its whole payload, whatever the digest says.
    """
    places = vectors.find([point.sha256 for point in desired])
    digest = shown_digest(desired, collection=collection, live=live, places=places)
    holder, known = anchor(client, collection, store_id)
    if not full and (known == digest or (holder is None and not desired)):
        return PointCounts()
    applied = read_points(client, collection, store_id, whole=full)
    shown = points_for_live_model(desired, applied, fingerprint=collection.removeprefix(PREFIX), places=places)
    plan = plan_points(shown, applied, live=live)
    carry_out(client, plan, collection=collection, store_id=store_id, vectors=vectors)
    set_digest(client, collection, store_id, digest)
    return PointCounts(len(plan.writes), len(plan.payloads), len(plan.deletes))


def shown_digest(
    desired: Sequence[DesiredPoint], *, collection: str, live: Collection[UUID], places: Mapping[str, VectorRef]
) -> str:
    """Return the digest of what another model's collection should hold, as far as it depends on more than that."""
    waiting = sorted(map(str, set(live) - {point.product_id for point in desired}))
    without = sorted(point.sha256 for point in desired if point.sha256 not in places)
    of_points = digest_of((str(point.point_id), point.point_hash) for point in desired)
    return sha256_hex("\n".join([collection, of_points, *without, "", *waiting]).encode())


def carry_out(client: QdrantClient, plan: PointPlan, *, collection: str, store_id: str, vectors: Vectors) -> None:
    """Do what a plan says; where that is anything, the store's digest goes first.

    Raises:
        DamagedFile: a vector cannot be read.
    """
    if plan.empty:
        return
    forget_digest(client, collection, store_id)
    _write(client, collection, plan, vectors)
    delete_points(client, collection, plan.deletes)


def apply_product(
    client: QdrantClient, *, collection: str, store_id: str, points: Sequence[DesiredPoint], vectors: Vectors
) -> None:
    """Write one product's points whole; the store's next application compares everything."""
    forget_digest(client, collection, store_id)
    _write(client, collection, PointPlan(writes=tuple(points)), vectors)


def forget_digest(client: QdrantClient, collection: str, store_id: str) -> None:
    """Make a store's next application compare everything."""
    holder, known = anchor(client, collection, store_id)
    if holder is not None and known is not None:
        client.delete_payload(collection, keys=[DIGEST], points=[_wire(holder)], wait=True)


def has_points(client: QdrantClient, product: UUID) -> bool:
    """Whether any collection of ours has a product's first point."""
    return any(client.retrieve(name, ids=[str(product)], with_payload=False) for name in collections(client))


def purge_points(
    client: QdrantClient, store_id: str, *, product: UUID | None = None, ids: Collection[PointId] = ()
) -> int:
    """Delete every point of a store, or of one product, from every collection of ours; return how many there were.

    Args:
        ids: further points of the product, whatever their payloads say.
    """
    purged = 0
    for name in collections(client):
        if product is None:
            found = tuple(point_id for point_id, _ in scroll(client, name, store_id, ["store_id"]))
        else:
            told = {
                it
                for it, payload in scroll(client, name, store_id, ["product_id"])
                if _uuid(payload.get("product_id")) == product
            }
            there = client.retrieve(name, ids=[_wire(it) for it in ids], with_payload=False)
            found = tuple(told | {_own(record.id) for record in there})
            if found:
                forget_digest(client, name, store_id)
        delete_points(client, name, found)
        purged += len(found)
    return purged


def read_points(
    client: QdrantClient, collection: str, store_id: str, *, whole: bool = False
) -> dict[PointId, AppliedPoint]:
    """Return what a collection holds of a store, as far as it is compared.

    Args:
        whole: read the payloads whole; a ``point_hash`` that is not its payload's is then None.
    """
    return {
        point_id: applied_point(point_id, payload, whole=whole)
        for point_id, payload in scroll(client, collection, store_id, whole or _COMPARED)
    }


def applied_point(point_id: PointId, payload: Mapping[str, Any], *, whole: bool) -> AppliedPoint:
    """Return what is compared of a point; with ``whole``, its hash only where it is the payload's own."""
    told = payload.get("point_hash")
    if whole and told != hash_of({key: value for key, value in payload.items() if key != DIGEST}):
        told = None
    return AppliedPoint(
        point_id, payload.get("product_id"), payload.get("image_sha256"), payload.get("fingerprint"), told
    )


def store_points(client: QdrantClient, store_id: str, collection: str | None = None) -> int:
    """Count a store's points in one collection, or in all of ours."""
    names = collections(client) if collection is None else (collection,)
    return sum(client.count(name, count_filter=_of(store_id), exact=True).count for name in names)


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
    for name in collections(client):
        for _, payload in scroll(client, name, store_id, ["external_id", "created_at"]):
            with contextlib.suppress(KeyError, ValueError, TypeError):
                external_id, when = str(payload["external_id"]), datetime.fromisoformat(payload["created_at"])
                seen[external_id] = min(when, seen.get(external_id, when))
    return seen


# --- below ----------------------------------------------------------------------------------------


def _of(store_id: str) -> qm.Filter:
    from qdrant_client import models as qm

    return qm.Filter(must=[qm.FieldCondition(key="store_id", match=qm.MatchValue(value=store_id))])


def _uuid(text: object) -> UUID | None:
    """Return an id of ours, or None for what somebody else wrote in its place."""
    try:
        return UUID(str(text))
    except ValueError:
        return None


def scroll(
    client: QdrantClient, collection: str, store_id: str, keys: list[str] | bool
) -> Iterator[tuple[PointId, Mapping[str, Any]]]:
    """Read a store's points page by page in the order of their ids, without vectors.

    Args:
        keys: of the payload; True for all of it.
    """
    yield from _pages(client, collection, _of(store_id), keys)


def strays(client: QdrantClient, collection: str, known: Collection[str]) -> Iterator[PointId]:
    """Yield the points of a collection that name none of the stores that are known."""
    from qdrant_client import models as qm

    ours = qm.FieldCondition(key="store_id", match=qm.MatchAny(any=sorted(known)))
    yield from (point_id for point_id, _ in _pages(client, collection, qm.Filter(must_not=[ours]), ["store_id"]))


def delete_points(client: QdrantClient, collection: str, point_ids: Sequence[PointId]) -> None:
    """Delete points by their ids."""
    from qdrant_client import models as qm

    for first in range(0, len(point_ids), BATCH):
        selected = [_wire(point_id) for point_id in point_ids[first : first + BATCH]]
        client.delete(collection, points_selector=qm.PointIdsList(points=selected), wait=True)


def _pages(
    client: QdrantClient, collection: str, where: qm.Filter, keys: list[str] | bool
) -> Iterator[tuple[PointId, Mapping[str, Any]]]:
    size = 100_000 if is_local(client) else 1000  # local mode sorts everything for every page
    offset: Any = None
    while True:
        records, offset = client.scroll(
            collection, scroll_filter=where, limit=size, offset=offset, with_payload=keys, with_vectors=False
        )
        for record in records:
            yield _own(record.id), record.payload or {}
        if offset is None:
            return


def _own(point_id: object) -> PointId:
    return point_id if isinstance(point_id, int) else UUID(str(point_id))


def _wire(point_id: PointId) -> int | str | UUID:
    return point_id if isinstance(point_id, int) else str(point_id)


def anchor(client: QdrantClient, collection: str, store_id: str) -> tuple[PointId | None, str | None]:
    """Return the id of a store's first point, and the digest it carries."""
    records, _ = client.scroll(
        collection, scroll_filter=_of(store_id), limit=1, with_payload=[DIGEST], with_vectors=False
    )
    if not records:
        return None, None
    return _own(records[0].id), (records[0].payload or {}).get(DIGEST)


def set_digest(client: QdrantClient, collection: str, store_id: str, digest: str) -> None:
    """Say that a store's points are those of a digest."""
    holder, known = anchor(client, collection, store_id)
    if holder is not None and known != digest:
        client.set_payload(collection, payload={DIGEST: digest}, points=[_wire(holder)], wait=True)


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
