"""Bring both sinks back to the state that a store's tables describe; the shop is not read.

First the drift is found and named. The repair is then what a run does at its end: rows in one
transaction, then points. A second inspection must find no drift.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.desired import Desired, DesiredPoint, desired_state, product_id
from fashion_pipeline.sinks.drift import Drift, Kind
from fashion_pipeline.sinks.inspection import inspect_points, inspect_rows
from fashion_pipeline.sinks.outcomes import mark_in_qdrant, publish_outcomes
from fashion_pipeline.sinks.plan import PointPlan, Removals, live_model_digest, points_for_live_model
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.tombstones import without_purged
from fashion_pipeline.sinks.publish import publish_rows
from fashion_pipeline.sinks.qdrant.applied import orphans, read_points
from fashion_pipeline.sinks.qdrant.collections import (
    ModelCollection,
    alias_target,
    collection_of,
    collections,
    ensure_collection,
    move_alias,
)
from fashion_pipeline.sinks.qdrant.points import carry_out, delete_points, set_digest, store_points
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.stage_tables import StageTables
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The drift of a store, and after a repair, what remains of it."""

    before: Drift
    after: Drift | None = None

    @property
    def remaining(self) -> Drift:
        """The drift there is now."""
        return self.before if self.after is None else self.after

    def as_json(self) -> dict[str, Any]:
        """Return the store's entry in ``reconcile --json``."""
        return {**self.before.as_json(), "left": None if self.after is None else dict(self.after.counts)}


@dataclass(frozen=True, slots=True)
class _Part:
    """The points of a store that one collection should hold, and the writes that bring it there."""

    collection: ModelCollection
    points: Sequence[DesiredPoint]
    digest: str
    plan: PointPlan


@dataclass(slots=True)
class _Inspection:
    """What one inspection of a store found: the drift, the desired state, and the writes of a repair.

    Attributes:
        staying: rows that are not desired and stay live.
        present: products that have a point once Qdrant is repaired.
    """

    drift: Drift = field(default_factory=Drift)
    desired: Desired | None = None
    fingerprint: str = ""
    staying: Removals = field(default_factory=Removals)
    parts: list[_Part] = field(default_factory=list)
    present: frozenset[UUID] = frozenset()


async def inspect_store(
    sinks: Sinks, store: Store, *, now: datetime, vectors: bool = False, allow_removals: bool = False
) -> Drift:
    """Return the drift of one store in both sinks; nothing is changed.

    The caller holds the store's lock, or allows for a run that is under way.

    Args:
        vectors: also read every vector back, 768 numbers for each point.

    Raises:
        DamagedFile: a table cannot be read.
        StorePurged: the store was purged, and something of it remains: purge it again.
        DatabaseError, VectorStoreError: a sink cannot be read.
    """
    return (await _inspect(sinks, store, now=now, vectors=vectors, allow_removals=allow_removals)).drift


async def reconcile_store(
    sinks: Sinks,
    store: Store,
    *,
    now: datetime,
    repair: bool,
    vectors: bool = True,
    allow_removals: bool = False,
) -> Reconciled:
    """Inspect one store in both sinks; with ``repair``, repair the drift and inspect again.

    The caller holds the store's lock. Removals beyond the limit wait for ``allow_removals``.

    Raises:
        DamagedFile: a table, or a vector that has to be sent, cannot be read.
        StorePurged: as ``inspect_store``.
        DatabaseError, VectorStoreError: a sink cannot be read or written.
    """
    found = await _inspect(sinks, store, now=now, vectors=vectors, allow_removals=allow_removals)
    if not repair or not found.drift or found.desired is None:
        return Reconciled(found.drift)
    await _repair(sinks, store, found, found.desired, now=now, allow_removals=allow_removals)
    return Reconciled(found.drift, await inspect_store(sinks, store, now=now, vectors=vectors))


async def _inspect(sinks: Sinks, store: Store, *, now: datetime, vectors: bool, allow_removals: bool) -> _Inspection:
    found = _Inspection()
    tables = StageTables.read(sinks.home, store.id)
    if tables.missing:
        rows = (await live_counts(sinks.engine)).get(store.id, 0)
        with sinks.qdrant() as client:
            points = store_points(client, store.id)
        if rows or points:
            found.drift.note(Kind.NO_TABLES, ", ".join(tables.missing), times=max(rows, points))
        return found
    tables = tables.with_products(await without_purged(sinks.engine, store.id, tables.products))
    found.fingerprint = tables.fingerprint
    found.desired = desired = desired_state(store=store, tables=tables)
    found.staying = await inspect_rows(
        sinks.engine, store_id=store.id, desired=desired, now=now, drift=found.drift, allow_removals=allow_removals
    )
    wrong = await publish_outcomes(
        sinks.engine,
        store_id=store.id,
        outcomes=desired.outcomes,
        withheld=found.staying.withheld,
        now=now,
        dry_run=True,
    )
    if wrong:
        found.drift.note(Kind.OUTCOME_WRONG, f"{wrong} rows", times=wrong)
    with sinks.qdrant() as client:
        inspection = _QdrantInspection(client, sinks.home, store.id, found, desired, compare_vectors=vectors)
        found.present = inspection.of_wanted_model()
        inspection.of_live_model()
    if not wrong and all(part.plan.empty for part in found.parts):  # otherwise in_qdrant follows from drift noted above
        wrong = await mark_in_qdrant(sinks.engine, store_id=store.id, present=found.present, dry_run=True)
        if wrong:
            found.drift.note(Kind.OUTCOME_WRONG, f"in_qdrant of {wrong} rows", times=wrong)
    return found


@dataclass(frozen=True, slots=True)
class _QdrantInspection:
    """Inspects a store's points, in the collection of each model that has to be kept up to date."""

    client: QdrantClient
    home: Home
    store_id: str
    found: _Inspection
    desired: Desired
    compare_vectors: bool

    @property
    def _live_rows(self) -> frozenset[UUID]:
        """Products that are not desired and whose rows stay live; so do their points."""
        staying = self.found.staying.withheld | self.found.staying.kept
        return frozenset(product_id(self.store_id, external_id) for external_id in staying)

    def of_wanted_model(self) -> frozenset[UUID]:
        """Inspect the collection of the tables' model; return the products that have a point once it is repaired."""
        collection = collection_of(self.client, self.found.fingerprint)
        if collection not in collections(self.client):
            return self._without_collection(collection)
        return self._compare(collection, self.desired.points, self.desired.points_digest)

    def of_live_model(self) -> None:
        """Inspect the live collection, where it is another model's."""
        collection = alias_target(self.client)
        if collection is None or collection.fingerprint == self.found.fingerprint:
            return
        if collection not in collections(self.client):
            return
        fingerprint = collection.fingerprint
        places = self.home.vectors(fingerprint).find([point.sha256 for point in self.desired.points])
        applied = read_points(self.client, collection.name, self.store_id)
        points = points_for_live_model(self.desired.points, applied, fingerprint=fingerprint, places=places)
        digest = live_model_digest(self.desired.points, collection=collection.name, live=self._live_rows, places=places)
        self._compare(collection, points, digest)

    def _without_collection(self, collection: ModelCollection) -> frozenset[UUID]:
        """Plan to write every point whose vector is stored; without any, the next run embeds the images again."""
        desired, drift = self.desired.points, self.found.drift
        places = self.home.vectors(self.found.fingerprint).find({point.sha256 for point in desired})
        points = tuple(point for point in desired if point.sha256 in places)
        if lost := len(desired) - len(points):
            drift.note(Kind.VECTOR_LOST, f"of model {self.found.fingerprint}", times=lost)
        if points:
            drift.note(Kind.NO_COLLECTION, collection.name, times=len(points))
        if points or not lost:
            self.found.parts.append(_Part(collection, points, self.desired.points_digest, PointPlan(writes=points)))
            return _products(points)
        another_is_live = alias_target(self.client) is not None
        return _products(desired) if another_is_live else frozenset()

    def _compare(self, collection: ModelCollection, points: Sequence[DesiredPoint], digest: str) -> frozenset[UUID]:
        plan, present = inspect_points(
            self.client,
            collection=collection.name,
            store_id=self.store_id,
            desired=points,
            digest=digest,
            live=self._live_rows,
            known=[outcome.product_id for outcome in self.desired.outcomes],
            vectors=self.home.vectors(collection.fingerprint) if self.compare_vectors else None,
            drift=self.found.drift,
        )
        self.found.parts.append(_Part(collection, points, digest, plan))
        return present


def _products(points: Sequence[DesiredPoint]) -> frozenset[UUID]:
    return frozenset(point.product_id for point in points)


async def _repair(
    sinks: Sinks, store: Store, found: _Inspection, desired: Desired, *, now: datetime, allow_removals: bool
) -> None:
    await publish_rows(
        sinks.engine, store_id=store.id, desired=desired, now=now, full=True, allow_removals=allow_removals
    )
    with sinks.qdrant() as client:
        for part in found.parts:
            name = ensure_collection(client, part.collection.fingerprint, home_id=sinks.home.id).name
            vectors = sinks.home.vectors(part.collection.fingerprint)
            carry_out(client, part.plan, collection=name, store_id=store.id, vectors=vectors)
            if store_points(client, store.id, name) == len(part.points):
                set_digest(client, name, store.id, part.digest)
        collection = collection_of(client, found.fingerprint)
        if alias_target(client) is None and collection in collections(client):
            move_alias(client, collection)
    await mark_in_qdrant(sinks.engine, store_id=store.id, present=found.present)


def inspect_orphans(client: QdrantClient, known: Collection[str], *, repair: bool) -> Drift:
    """Find the points of our collections that belong to no known store; with ``repair``, delete them.

    Args:
        known: ids of the stores in ``stores.yaml``, and of those with rows or tables.
    """
    drift = Drift()
    for collection in collections(client):
        found = list(orphans(client, collection.name, known))
        for point_id in found:
            drift.note(Kind.POINT_STRAY, point_id)
        if repair:
            delete_points(client, collection.name, found)
    return drift
