"""Compare what both sinks hold of a store with what they should hold; nothing is changed.

Rows are compared inside PostgreSQL, points page by page as Qdrant lists them, and vectors in the
order of the files that store them, so that only a page of a sink is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.sinks.desired import ROW_FIELDS, Desired, DesiredPoint
from fashion_pipeline.sinks.drift import Drift, Kind
from fashion_pipeline.sinks.plan import AppliedPoint, PointId, PointPlan, Removals
from fashion_pipeline.sinks.postgres.bulk import copy_into
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.queries import count_live
from fashion_pipeline.sinks.postgres.rows import free_ids, removals_of, row_values
from fashion_pipeline.sinks.postgres.schema import products
from fashion_pipeline.sinks.postgres.state import ROWS_DIGEST, remembered
from fashion_pipeline.sinks.qdrant.applied import DIGEST, anchor, applied_point, scroll
from fashion_pipeline.storage.vectors import Vectors

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

SAME = 0.9999
"""Lowest cosine between a stored vector and its copy in Qdrant, which rounds when it normalizes."""

VECTORS_AT_ONCE = 256


async def inspect_rows(
    engine: AsyncEngine, *, store_id: str, desired: Desired, now: datetime, drift: Drift, allow_removals: bool = False
) -> Removals:
    """Record every wrong row in ``drift``; return the removals, with the rows that stay although not desired.

    Args:
        allow_removals: count rows that wait for consent as drift too.
    """
    columns = ", ".join(
        f"CASE WHEN p.{name} IS DISTINCT FROM d.{name} THEN '{name}' END" for name in ROW_FIELDS if name != "store_id"
    )
    theirs = ", ".join(f"p.{name}" for name in ROW_FIELDS)
    wanted = ", ".join(f"d.{name}" for name in ROW_FIELDS)
    # All names below are constants of this module.
    statement = f"""
        SELECT external_id, p.id IS NULL AS missing, d.id IS NULL AS unwanted, p.archived_at IS NOT NULL AS archived,
               concat_ws(' ', {columns}) AS differing
        FROM desired_rows d FULL JOIN (SELECT * FROM products WHERE store_id = :store_id) p USING (external_id)
        WHERE CASE WHEN d.id IS NULL THEN p.archived_at IS NULL
                   ELSE p.id IS NULL OR p.archived_at IS NOT NULL OR ({theirs}) IS DISTINCT FROM ({wanted}) END
        ORDER BY external_id
    """  # noqa: S608
    with translate(engine.url):
        async with engine.connect() as connection, connection.begin() as transaction:
            live = await count_live(connection, store_id)
            await copy_into(connection, "desired_rows", products, ROW_FIELDS, map(row_values, desired.products))
            await free_ids(connection, store_id)
            removals = await removals_of(connection, store_id, desired, live, now, allow=allow_removals)
            different = False
            async with connection.stream(text(statement), {"store_id": store_id}) as rows:
                async for row in rows:
                    if row.unwanted and row.external_id not in removals.archived:
                        continue
                    different = True
                    if row.missing:
                        drift.note(Kind.ROW_MISSING, row.external_id)
                    elif row.unwanted:
                        drift.note(Kind.ROW_UNWANTED, row.external_id)
                    elif row.archived:
                        drift.note(Kind.ROW_ARCHIVED, row.external_id)
                    else:
                        drift.note(Kind.ROW_WRONG, f"{row.external_id} ({row.differing})")
            known = await remembered(connection, store_id, ROWS_DIGEST)
            await transaction.rollback()
    if not (different or removals.withheld or removals.kept) and known and known != desired.rows_digest:
        drift.note(Kind.ROWS_DIGEST, known)
    drift.rows += len(desired.products)
    drift.withheld = len(removals.withheld)
    return removals


def inspect_points(
    client: QdrantClient,
    *,
    collection: str,
    store_id: str,
    desired: Sequence[DesiredPoint],
    digest: str,
    live: Collection[UUID],
    known: Collection[UUID],
    vectors: Vectors | None,
    drift: Drift,
) -> tuple[PointPlan, frozenset[UUID]]:
    """Record every wrong point in ``drift``.

    Returns the plan that repairs them, and the products that have a point after it.

    Args:
        live: products that are not desired and whose rows stay live.
        known: every product in the tables.
        vectors: the stored vectors; None: vectors are not compared.
    """
    look = _PointInspection(desired, live=live, known=known, drift=drift)
    there = 0
    for point_id, payload in scroll(client, collection, store_id, keys=True):
        there += 1
        look.compare(applied_point(point_id, payload, whole=True), payload)
    look.note_missing()
    if vectors is not None:
        _compare_vectors(client, collection, look, vectors)
    drift.points += there
    plan = look.plan
    if plan.empty and there == len(desired):
        holder, stored = anchor(client, collection, store_id)
        if holder is not None and stored and stored != digest:
            drift.note(Kind.POINTS_DIGEST, stored)
    return plan, frozenset({point.product_id for point in desired} | look.staying)


class _PointInspection:
    """One pass over a store's points."""

    def __init__(
        self, desired: Sequence[DesiredPoint], *, live: Collection[UUID], known: Collection[UUID], drift: Drift
    ) -> None:
        self.wanted: Mapping[PointId, DesiredPoint] = {point.point_id: point for point in desired}
        self.images = {(str(point.product_id), point.sha256) for point in desired}
        products = {point.product_id for point in desired}
        self.kept = {str(product): product for product in live if product not in products}
        self.staying: set[UUID] = set()
        self.known = {str(product) for product in known}
        self.drift = drift
        self.seen: set[PointId] = set()
        self.writes: dict[PointId, DesiredPoint] = {}
        self.payloads: list[DesiredPoint] = []
        self.deletes: list[PointId] = []

    @property
    def plan(self) -> PointPlan:
        return PointPlan(tuple(self.writes.values()), tuple(self.payloads), tuple(self.deletes))

    def compare(self, there: AppliedPoint, payload: Mapping[str, Any]) -> None:
        point = self.wanted.get(there.point_id)
        if point is None:
            self._unwanted(there)
            return
        self.seen.add(there.point_id)
        if there.fingerprint != point.payload["fingerprint"]:
            self._write(point, Kind.POINT_MODEL)
        elif there.sha256 != point.sha256:
            self._write(point, Kind.POINT_IMAGE)
        elif there.point_hash != point.point_hash:
            keys = (point.payload.keys() | payload.keys()) - {DIGEST}
            different = sorted(key for key in keys if payload.get(key) != point.payload.get(key))
            self.drift.note(Kind.POINT_PAYLOAD, f"{_name(point)} ({' '.join(different)})")
            self.payloads.append(point)

    def note_missing(self) -> None:
        for point_id, point in self.wanted.items():
            if point_id not in self.seen:
                self._write(point, Kind.POINT_MISSING)

    def _write(self, point: DesiredPoint, kind: Kind) -> None:
        self.drift.note(kind, _name(point))
        self.writes[point.point_id] = point

    def wrong_vector(self, point: DesiredPoint) -> None:
        self._write(point, Kind.POINT_VECTOR)

    def _unwanted(self, there: AppliedPoint) -> None:
        if there.product_id in self.kept:
            self.staying.add(self.kept[there.product_id])
            return
        if (there.product_id, there.sha256) in self.images:
            kind = Kind.POINT_DUPLICATE
        elif there.product_id in self.known:
            kind = Kind.POINT_UNWANTED
        else:
            kind = Kind.POINT_FOREIGN
        self.drift.note(kind, there.point_id)
        self.deletes.append(there.point_id)


def _compare_vectors(client: QdrantClient, collection: str, look: _PointInspection, vectors: Vectors) -> None:
    """Compare the vectors of correct points with the stored ones, file by file."""
    import numpy as np

    correct = [
        point
        for point_id, point in look.wanted.items()
        if point_id in look.seen
        and point_id not in look.writes
        and point.place.part  # without a part, it is in Qdrant only
    ]
    correct.sort(key=lambda point: (point.place.part, point.place.index))
    for _, of_part in groupby(correct, key=lambda point: point.place.part):
        points = list(of_part)
        try:
            stored = vectors.load([point.place for point in points])
        except DamagedFile:
            look.drift.note(Kind.VECTOR_LOST, _name(points[0]), times=len(points))
            continue
        for first in range(0, len(points), VECTORS_AT_ONCE):
            batch = points[first : first + VECTORS_AT_ONCE]
            records = client.retrieve(
                collection, ids=[str(point.point_id) for point in batch], with_payload=False, with_vectors=True
            )
            there = {str(record.id): record.vector for record in records}
            for point, vector in zip(batch, stored[first : first + VECTORS_AT_ONCE], strict=True):
                held = np.asarray(there.get(str(point.point_id)) or [0.0], np.float32)
                look.drift.vectors += 1
                if held.shape != vector.shape or not float(held @ vector) >= SAME:  # NaN is not
                    look.wrong_vector(point)


def _name(point: DesiredPoint) -> str:
    external_id = str(point.payload["external_id"])
    return external_id if point.payload["is_primary"] else f"{external_id} image {point.payload['position']}"
