"""Whether both sinks hold the same products of a store: all are counted, a sample of each is looked up in the other.

The cost does not grow with the store; ``inspection`` compares everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import products
from fashion_pipeline.sinks.qdrant.points import primary_counts

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

NORM_TOLERANCE = 1e-3
VECTORS = 20
"""Points whose vector is checked too."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far both sinks agree on one store.

    Attributes:
        rows, points: numbers of live rows, and of products with a primary point.
        looked_at: rows and points that were looked up in the other sink.
        rows_without_point, points_without_row, wrong_points: external ids of those that differ; a
            point is wrong if it is another model's, or the norm of its vector is not 1.
    """

    rows: int
    points: int
    looked_at: int
    rows_without_point: tuple[str, ...] = ()
    points_without_row: tuple[str, ...] = ()
    wrong_points: tuple[str, ...] = ()


async def sample_sinks(
    engine: AsyncEngine,
    client: QdrantClient,
    *,
    collection: str,
    fingerprint: str,
    store_id: str,
    most: int = 100,
    excused: AbstractSet[UUID] = frozenset(),
) -> Agreement:
    """Count a store's live rows and primary points, and look up some of each in the other sink.

    Args:
        excused: live rows that may lack a point, because their removal awaits consent while another
            model's collection is built.
    """
    live = (products.c.store_id == store_id) & products.c.archived_at.is_(None)
    with translate(engine.url):
        async with engine.connect() as connection:
            count = await connection.scalar(select(func.count()).select_from(products).where(live))
            some = select(products.c.id, products.c.external_id).where(live).order_by(func.random()).limit(most)
            rows = {row.id: str(row.external_id) for row in await connection.execute(some)}
            found = _points(client, collection, list(rows))
            others = _some_points(client, collection, store_id, most)
            product_ids = [_uuid(payload.get("product_id")) for payload in others]
            wanted = [product_id for product_id in product_ids if product_id is not None]
            known = set(
                (await connection.execute(select(products.c.id).where(live, products.c.id.in_(wanted)))).scalars()
            )
    without_point = excused - _points(client, collection, list(excused)).keys()
    return Agreement(
        rows=int(count or 0) - len(without_point),
        points=primary_counts(client, collection, [store_id])[store_id],
        looked_at=len(rows) + len(others),
        rows_without_point=tuple(sorted(rows[row_id] for row_id in rows.keys() - found.keys() - without_point)),
        points_without_row=tuple(
            sorted(
                str(payload.get("external_id"))
                for payload, product_id in zip(others, product_ids, strict=True)
                if product_id not in known
            )
        ),
        wrong_points=_wrong(client, collection, found, fingerprint),
    )


def _points(client: QdrantClient, collection: str, ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any]]:
    records = client.retrieve(
        collection, [str(each) for each in ids], with_payload=["external_id", "fingerprint"], with_vectors=False
    )
    return {UUID(str(record.id)): record.payload or {} for record in records}


def _some_points(client: QdrantClient, collection: str, store_id: str, most: int) -> list[Mapping[str, Any]]:
    """Return the payloads of some of a store's points: from a random id to the last, then from the first."""
    from qdrant_client import models as qm

    of_store = qm.Filter(must=[qm.FieldCondition(key="store_id", match=qm.MatchValue(value=store_id))])
    keys = ["product_id", "external_id"]
    found: dict[str, Mapping[str, Any]] = {}
    for offset in (str(uuid4()), None):
        records, _ = client.scroll(
            collection, scroll_filter=of_store, limit=most, offset=offset, with_payload=keys, with_vectors=False
        )
        found.update((str(record.id), record.payload or {}) for record in records)
        if len(found) >= most:
            break
    return list(found.values())[:most]


def _wrong(
    client: QdrantClient, collection: str, found: Mapping[UUID, Mapping[str, Any]], fingerprint: str
) -> tuple[str, ...]:
    wrong = {str(payload.get("external_id")) for payload in found.values() if payload.get("fingerprint") != fingerprint}
    few = [str(each) for each in list(found)[:VECTORS]]
    for record in client.retrieve(collection, few, with_payload=["external_id"], with_vectors=True):
        vector: Any = record.vector or []
        if not abs(math.hypot(*vector) - 1) <= NORM_TOLERANCE:
            wrong.add(str((record.payload or {}).get("external_id")))
    return tuple(sorted(wrong))


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
