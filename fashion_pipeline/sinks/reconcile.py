"""Bringing both sinks back to what a store's tables say; the shop is not asked.

What is wrong is looked for first, and named. Repairing is what a run does at its end, without the
run: rows in one transaction, then points, then a second look that must find nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.records import TABLES, Table
from fashion_pipeline.sinks.desired import Desired, DesiredPoint, desired_state, product_id
from fashion_pipeline.sinks.drift import Drift, Kind
from fashion_pipeline.sinks.inspection import inspect_points, inspect_rows
from fashion_pipeline.sinks.outcomes import mark_in_qdrant, publish_outcomes
from fashion_pipeline.sinks.plan import PointPlan, Removals, points_for_live_model
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.rows import apply_rows
from fashion_pipeline.sinks.postgres.tombstones import without_purged
from fashion_pipeline.sinks.qdrant.collections import (
    PREFIX,
    alias_target,
    check_owner,
    collection_name,
    collections,
    ensure_collection,
    move_alias,
)
from fashion_pipeline.sinks.qdrant.points import (
    carry_out,
    delete_points,
    read_points,
    set_digest,
    shown_digest,
    store_points,
    strays,
)
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

OpenQdrant = Callable[[], AbstractContextManager["QdrantClient"]]


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where a store is kept: its home, PostgreSQL, and a way to open Qdrant briefly."""

    home: Home
    engine: AsyncEngine
    open_qdrant: OpenQdrant

    @contextmanager
    def qdrant(self) -> Iterator[QdrantClient]:
        """Open Qdrant; what it holds of another home is none of ours to compare, repair or remove.

        Raises:
            CollectionMismatch: a collection belongs to another home.
        """
        with self.open_qdrant() as client:
            check_owner(client, self.home.id)
            yield client


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was wrong with a store, and where it was repaired, what is left of it."""

    before: Drift
    after: Drift | None = None

    @property
    def left(self) -> Drift:
        """What is wrong now."""
        return self.before if self.after is None else self.after

    def as_json(self) -> dict[str, Any]:
        """Return what ``reconcile --json`` says of the store."""
        return {**self.before.as_json(), "left": None if self.after is None else dict(self.after.counts)}


@dataclass(frozen=True, slots=True)
class _Part:
    """What one collection should hold of a store, and what it takes."""

    collection: str
    points: Sequence[DesiredPoint]
    digest: str
    plan: PointPlan


@dataclass(slots=True)
class _Found:
    """One look at a store: what is wrong, what should be, and what it takes."""

    drift: Drift = field(default_factory=Drift)
    desired: Desired | None = None
    fingerprint: str = ""
    staying: Removals = field(default_factory=Removals)
    parts: list[_Part] = field(default_factory=list)
    present: frozenset[UUID] = frozenset()


async def inspect_store(
    sinks: Sinks, store: Store, *, now: datetime, vectors: bool = False, allow_removals: bool = False
) -> Drift:
    """Return what is wrong in both sinks with one store; nothing is changed.

    The caller holds the store's lock, or takes into account that a run may be under way.

    Args:
        vectors: also read every vector back, 768 numbers for each point.

    Raises:
        DamagedFile: a table cannot be read.
        StorePurged: it was purged, and some of it is left: purge it again.
        DatabaseError, VectorStoreError: a sink cannot be asked.
    """
    return (await _look(sinks, store, now=now, vectors=vectors, allow_removals=allow_removals)).drift


async def reconcile_store(
    sinks: Sinks,
    store: Store,
    *,
    now: datetime,
    repair: bool,
    vectors: bool = True,
    allow_removals: bool = False,
) -> Reconciled:
    """Look at a store's part of both sinks, and with ``repair`` put it right and look again.

    The caller holds the store's lock. Removals beyond the bound stay until ``allow_removals``.

    Raises:
        DamagedFile: a table, or a vector that has to be sent, cannot be read.
        StorePurged: as ``inspect_store``.
        DatabaseError, VectorStoreError: a sink cannot be asked, or refuses.
    """
    found = await _look(sinks, store, now=now, vectors=vectors, allow_removals=allow_removals)
    if not repair or not found.drift or found.desired is None:
        return Reconciled(found.drift)
    await _repair(sinks, store, found, found.desired, now=now, allow_removals=allow_removals)
    return Reconciled(found.drift, await inspect_store(sinks, store, now=now, vectors=vectors))


async def _look(sinks: Sinks, store: Store, *, now: datetime, vectors: bool, allow_removals: bool) -> _Found:
    found = _Found()
    tables = {asset: read_table(sinks.home.table(asset, store.id), row) for asset, row in TABLES.items()}
    if missing := sorted(asset for asset, table in tables.items() if table is None):
        rows = (await live_counts(sinks.engine)).get(store.id, 0)
        with sinks.qdrant() as client:
            points = store_points(client, store.id)
        if rows or points:
            found.drift.note(Kind.NO_TABLES, ", ".join(missing), times=max(rows, points))
        return found
    tables["raw_products"] = await without_purged(sinks.engine, store.id, tables["raw_products"] or Table(()))
    found.fingerprint = tables["embeddings"].metadata.get("fingerprint", "")  # type: ignore[union-attr]
    found.desired = desired = _desired(store, tables, found.fingerprint)
    found.staying = await inspect_rows(
        sinks.engine, store_id=store.id, desired=desired, now=now, drift=found.drift, allow_removals=allow_removals
    )
    told = await publish_outcomes(
        sinks.engine,
        store_id=store.id,
        outcomes=desired.outcomes,
        withheld=found.staying.withheld,
        now=now,
        dry_run=True,
    )
    if told:
        found.drift.note(Kind.OUTCOME_WRONG, f"{told} rows", times=told)
    collection = collection_name(found.fingerprint)
    with sinks.qdrant() as client:
        look = partial(_look_at, client, sinks, store, found=found, desired=desired, vectors=vectors)
        found.present = look(collection=collection)
        shown = alias_target(client)
        if shown is not None and shown != collection:
            look(collection=shown)
    if not told and all(part.plan.empty for part in found.parts):  # else both follow from what was noted
        told = await mark_in_qdrant(sinks.engine, store_id=store.id, present=found.present, dry_run=True)
        if told:
            found.drift.note(Kind.OUTCOME_WRONG, f"in_qdrant of {told} rows", times=told)
    return found


def _look_at(
    client: QdrantClient,
    sinks: Sinks,
    store: Store,
    *,
    found: _Found,
    desired: Desired,
    collection: str,
    vectors: bool,
) -> frozenset[UUID]:
    """Look at a store's points in one collection, and return the products that have one."""
    if collection not in collections(client):
        places = sinks.home.vectors(found.fingerprint).find({point.sha256 for point in desired.points})
        points = tuple(point for point in desired.points if point.sha256 in places)
        if lost := len(desired.points) - len(points):
            found.drift.note(Kind.VECTOR_LOST, f"of model {found.fingerprint}", times=lost)
        if points or not lost:  # else its model was dropped: a run embeds anew, and makes the collection
            if points:
                found.drift.note(Kind.NO_COLLECTION, collection, times=len(points))
            found.parts.append(_Part(collection, points, desired.points_digest, PointPlan(writes=points)))
        elif alias_target(client) is not None:  # readers see another model's
            points = desired.points
        return frozenset(point.product_id for point in points)
    points, digest, live = desired.points, desired.points_digest, _staying(store, found.staying)
    fingerprint = collection.removeprefix(PREFIX)
    stored = sinks.home.vectors(fingerprint)
    if fingerprint != found.fingerprint:  # readers still see another model's
        places = stored.find([point.sha256 for point in points])
        applied = read_points(client, collection, store.id)
        digest = shown_digest(points, collection=collection, live=live, places=places)
        points = points_for_live_model(points, applied, fingerprint=fingerprint, places=places)
    plan, present = inspect_points(
        client,
        collection=collection,
        store_id=store.id,
        desired=points,
        digest=digest,
        live=live,
        known=[outcome.product_id for outcome in desired.outcomes],
        vectors=stored if vectors else None,
        drift=found.drift,
    )
    found.parts.append(_Part(collection, points, digest, plan))
    return present


def _desired(store: Store, tables: Mapping[str, Table[Any] | None], fingerprint: str) -> Desired:
    nothing: Table[Any] = Table(())
    return desired_state(
        store=store,
        products=tables["raw_products"] or nothing,
        images=tables["fetched_images"] or nothing,
        judged=tables["quality_passed"] or nothing,
        embedded=tables["embeddings"] or nothing,
        fingerprint=fingerprint,
    )


def _staying(store: Store, removals: Removals) -> frozenset[UUID]:
    return frozenset(product_id(store.id, external_id) for external_id in removals.withheld | removals.kept)


async def _repair(
    sinks: Sinks, store: Store, found: _Found, desired: Desired, *, now: datetime, allow_removals: bool
) -> None:
    counts = await apply_rows(
        sinks.engine, store_id=store.id, desired=desired, now=now, full=True, allow_removals=allow_removals
    )
    await publish_outcomes(
        sinks.engine, store_id=store.id, outcomes=desired.outcomes, withheld=counts.withheld, now=now
    )
    with sinks.qdrant() as client:
        for part in found.parts:
            fingerprint = part.collection.removeprefix(PREFIX)
            collection = ensure_collection(client, fingerprint, home_id=sinks.home.id)
            vectors = sinks.home.vectors(fingerprint)
            carry_out(client, part.plan, collection=collection, store_id=store.id, vectors=vectors)
            if store_points(client, store.id, collection) == len(part.points):
                set_digest(client, collection, store.id, part.digest)
        collection = collection_name(found.fingerprint)
        if alias_target(client) is None and collection in collections(client):
            move_alias(client, collection)
    await mark_in_qdrant(sinks.engine, store_id=store.id, present=found.present)


def inspect_strays(client: QdrantClient, known: Collection[str], *, repair: bool) -> Drift:
    """Return the points of our collections whose store nothing knows, and with ``repair`` delete them.

    Args:
        known: ids of the stores in ``stores.yaml``, and of those with rows or tables.
    """
    drift = Drift()
    for collection in collections(client):
        found = list(strays(client, collection, known))
        for point_id in found:
            drift.note(Kind.POINT_STRAY, point_id)
        if repair:
            delete_points(client, collection, found)
    return drift
