"""A store's points in Qdrant: one for every published image.

Only differences are written. Whether there are any is known from the store's number of points and
from the digest that its first point carries (see ``applied``). The digest is removed before the
first write and put back after the last, so that an interrupted write is noticed by the next run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.sinks.desired import DesiredPoint
from fashion_pipeline.sinks.plan import PointId, PointPlan, live_model_digest, plan_points, points_for_live_model
from fashion_pipeline.sinks.qdrant.applied import (
    DIGEST,
    anchor,
    of_store,
    parse_id,
    parse_uuid,
    read_points,
    scroll,
    wire_id,
)
from fashion_pipeline.sinks.qdrant.collections import ModelCollection, collections
from fashion_pipeline.sinks.qdrant.limits import batch_size
from fashion_pipeline.storage.vectors import Vectors, sound

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

LOADED_AT_ONCE = 8192
"""Vectors read from the disk at a time: 24 MiB."""


@dataclass(frozen=True, slots=True)
class PointCounts:
    """What was written, or in a dry run would be.

    Attributes:
        points_written: points sent with their vector.
        payloads_written: points of which only the payload was sent.
        present: ids of the store's products that have a point now.
    """

    points_written: int = 0
    payloads_written: int = 0
    points_deleted: int = 0
    present: frozenset[UUID] = frozenset()


# --- a whole store --------------------------------------------------------------------------------


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
    """Bring a store's points to the desired state.

    Where the stored digest and the number of points match, no point is read.

    Args:
        desired: all of the store's points; ``digest`` is theirs.
        live: ids of the store's live rows in PostgreSQL; their points are not deleted, desired or not.
        full: compare the whole payload of every point, whatever the digest is.
        dry_run: write nothing, and return what would be written.

    Raises:
        DamagedFile: a vector cannot be read.
    """
    wanted = frozenset(point.product_id for point in desired)
    holder, known = anchor(client, collection, store_id)
    number = client.count(collection, count_filter=of_store(store_id), exact=True).count
    if not full and number == len(desired) and (holder is None or known == digest):
        return PointCounts(present=wanted)
    applied = read_points(client, collection, store_id, whole=full)
    plan = plan_points(desired, applied, live=live)
    deleted = set(plan.deletes)
    kept = {
        product
        for point in applied.values()
        if point.point_id not in deleted and (product := parse_uuid(point.product_id))
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
    collection: ModelCollection,
    store_id: str,
    desired: Sequence[DesiredPoint],
    live: Collection[UUID],
    vectors: Vectors,
    full: bool = False,
) -> PointCounts:
    """Keep the live model's collection up to date while another model's is built; see ``points_for_live_model``.

    Args:
        desired: the store's points, with vectors of the model that is being built.
        vectors: of the live model, whose collection this is.
        full: compare the whole payload of every point, whatever the digest is.
    """
    places = vectors.find([point.sha256 for point in desired])
    name = collection.name
    digest = live_model_digest(desired, collection=name, live=live, places=places)
    holder, known = anchor(client, name, store_id)
    if not full and (known == digest or (holder is None and not desired)):
        return PointCounts()
    applied = read_points(client, name, store_id, whole=full)
    points = points_for_live_model(desired, applied, fingerprint=collection.fingerprint, places=places)
    plan = plan_points(points, applied, live=live)
    carry_out(client, plan, collection=name, store_id=store_id, vectors=vectors)
    set_digest(client, name, store_id, digest)
    return PointCounts(len(plan.writes), len(plan.payloads), len(plan.deletes))


def carry_out(client: QdrantClient, plan: PointPlan, *, collection: str, store_id: str, vectors: Vectors) -> None:
    """Write and delete what a plan lists; the store's digest is removed first.

    A stored vector that is not sound is lost: it is discarded, and everything else is written. The
    store's next run embeds the image again.

    Raises:
        DamagedFile: a vector cannot be read, or was not sound.
    """
    if plan.empty:
        return
    forget_digest(client, collection, store_id)
    unsound = _write(client, collection, plan.writes, vectors)
    _write_payloads(client, collection, plan.payloads)
    delete_points(client, collection, plan.deletes)
    _discard(unsound, vectors, store_id)


# --- one product ----------------------------------------------------------------------------------


def apply_product(
    client: QdrantClient, *, collection: str, store_id: str, points: Sequence[DesiredPoint], vectors: Vectors
) -> None:
    """Write one product's points, with their vectors.

    The store's digest is removed first: it describes the points as the last run wrote them, and the
    next run must compare every point again.
    """
    forget_digest(client, collection, store_id)
    _discard(_write(client, collection, points, vectors), vectors, store_id)


def has_points(client: QdrantClient, product: UUID) -> bool:
    """Whether any of our collections has a product's primary point."""
    return any(client.retrieve(each.name, ids=[str(product)], with_payload=False) for each in collections(client))


def purge_points(
    client: QdrantClient, store_id: str, *, product: UUID | None = None, ids: Collection[PointId] = ()
) -> int:
    """Delete every point of a store, or of one product, from all our collections; return how many there were.

    Args:
        ids: further points of the product, whatever their payloads hold.
    """
    purged = 0
    for name in (each.name for each in collections(client)):
        if product is None:
            found = tuple(point_id for point_id, _ in scroll(client, name, store_id, ["store_id"]))
        else:
            by_payload = {
                point_id
                for point_id, payload in scroll(client, name, store_id, ["product_id"])
                if parse_uuid(payload.get("product_id")) == product
            }
            by_id = client.retrieve(name, ids=[wire_id(point_id) for point_id in ids], with_payload=False)
            found = tuple(by_payload | {parse_id(record.id) for record in by_id})
            if found:
                forget_digest(client, name, store_id)
        delete_points(client, name, found)
        purged += len(found)
    return purged


# --- counts and dates -----------------------------------------------------------------------------


def store_points(client: QdrantClient, store_id: str, collection: str | None = None) -> int:
    """Count a store's points in one collection, or in all of ours."""
    names = [each.name for each in collections(client)] if collection is None else [collection]
    return sum(client.count(name, count_filter=of_store(store_id), exact=True).count for name in names)


def primary_counts(client: QdrantClient, collection: str, store_ids: Iterable[str]) -> dict[str, int]:
    """Count each store's products with a primary point, in a collection or behind an alias.

    Where there is no such collection, every store has none.
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
    """Return when each product of a store was first seen, by external id, from the payloads of its points."""
    seen: dict[str, datetime] = {}
    for collection in collections(client):
        for _, payload in scroll(client, collection.name, store_id, ["external_id", "created_at"]):
            with contextlib.suppress(KeyError, ValueError, TypeError):
                external_id, when = str(payload["external_id"]), datetime.fromisoformat(payload["created_at"])
                seen[external_id] = min(when, seen.get(external_id, when))
    return seen


# --- single writes --------------------------------------------------------------------------------


def set_digest(client: QdrantClient, collection: str, store_id: str, digest: str) -> None:
    """Record the digest of a store's points on the first of them."""
    holder, known = anchor(client, collection, store_id)
    if holder is not None and known != digest:
        client.set_payload(collection, payload={DIGEST: digest}, points=[wire_id(holder)], wait=True)


def forget_digest(client: QdrantClient, collection: str, store_id: str) -> None:
    """Remove a store's digest, so that its next run compares every point."""
    holder, known = anchor(client, collection, store_id)
    if holder is not None and known is not None:
        client.delete_payload(collection, keys=[DIGEST], points=[wire_id(holder)], wait=True)


def delete_points(client: QdrantClient, collection: str, point_ids: Sequence[PointId]) -> None:
    """Delete points by their ids."""
    from qdrant_client import models as qm

    if not point_ids:
        return
    batch = batch_size(client, collection)
    for first in range(0, len(point_ids), batch):
        selected = [wire_id(point_id) for point_id in point_ids[first : first + batch]]
        client.delete(collection, points_selector=qm.PointIdsList(points=selected), wait=True)


def _discard(unsound: Sequence[str], vectors: Vectors, store_id: str) -> None:
    """Remove unsound vectors from the store of vectors.

    Raises:
        DamagedFile: there are some; the next run makes new ones.
    """
    if unsound:
        vectors.forget(unsound)
        msg = (
            f"{len(unsound):,} stored vectors were damaged (not finite numbers of norm 1), such as that of the image "
            f"{unsound[0]}; they have been discarded, and all other points are written"
        )
        raise DamagedFile(msg, store_id=store_id, advice="the next run embeds these images again")


def _write(client: QdrantClient, collection: str, points: Sequence[DesiredPoint], vectors: Vectors) -> tuple[str, ...]:
    """Write points with their vectors; return the digests of the images whose vector is not sound."""
    from qdrant_client import models as qm

    unsound: list[str] = []
    batch = batch_size(client, collection) if points else 1
    in_place = sorted(points, key=lambda point: (point.place.part, point.place.index))
    for start in range(0, len(in_place), LOADED_AT_ONCE):
        chunk = in_place[start : start + LOADED_AT_ONCE]
        loaded = vectors.load_as_stored([point.place for point in chunk])
        usable = sound(loaded)
        unsound += [point.sha256 for point, ok in zip(chunk, usable, strict=True) if not ok]
        pairs = [(point, vector) for point, vector, ok in zip(chunk, loaded, usable, strict=True) if ok]
        for first in range(0, len(pairs), batch):
            structs = [
                qm.PointStruct(id=str(point.point_id), vector=vector.tolist(), payload=dict(point.payload))
                for point, vector in pairs[first : first + batch]
            ]
            client.upsert(collection, points=structs, wait=True)
    return tuple(unsound)


def _write_payloads(client: QdrantClient, collection: str, points: Sequence[DesiredPoint]) -> None:
    from qdrant_client import models as qm

    batch = batch_size(client, collection) if points else 1
    for first in range(0, len(points), batch):
        operations = [
            qm.OverwritePayloadOperation(
                overwrite_payload=qm.SetPayload(payload=dict(point.payload), points=[str(point.point_id)])
            )
            for point in points[first : first + batch]
        ]
        client.batch_update_points(collection, update_operations=operations, wait=True)
