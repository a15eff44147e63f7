"""The end of a run, for one store: rows and outcomes to PostgreSQL, then points to Qdrant, then the alias.

The order is the promise: a removal is decided with the rows, and Qdrant follows the rows that are
live; the alias moves to another model's collection only when that lacks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.agreement import Agreement, sample_sinks
from fashion_pipeline.sinks.desired import Desired
from fashion_pipeline.sinks.outcomes import mark_in_qdrant, publish_outcomes
from fashion_pipeline.sinks.postgres.health import remember_run
from fashion_pipeline.sinks.postgres.lock import assert_held
from fashion_pipeline.sinks.postgres.queries import live_counts, live_ids
from fashion_pipeline.sinks.postgres.rows import RowCounts, apply_rows
from fashion_pipeline.sinks.postgres.tombstones import without_purged
from fashion_pipeline.sinks.qdrant.alias import show_when_complete
from fashion_pipeline.sinks.qdrant.collections import ModelCollection, alias_target, ensure_collection
from fashion_pipeline.sinks.qdrant.points import PointCounts, apply_points, refresh_points
from fashion_pipeline.sinks.rollout import Model, claim_rollout, remember_kept, remember_shown, stores_behind
from fashion_pipeline.storage.stage_tables import StageTables

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from sqlalchemy.ext.asyncio import AsyncEngine

    from fashion_pipeline.storage.home import Home


async def read_stage_tables(engine: AsyncEngine, home: Home, store_id: str) -> StageTables:
    """Read a store's tables, without the content of purged products, should a purge have been interrupted.

    Raises:
        DamagedFile: a table cannot be read.
        StorePurged: the whole store was purged.
    """
    tables = StageTables.read(home, store_id)
    return tables.with_products(await without_purged(engine, store_id, tables.products))


async def publish_rows(
    engine: AsyncEngine,
    *,
    store_id: str,
    desired: Desired,
    now: datetime,
    read: Mapping[str, str] | None = None,
    full: bool = False,
    allow_removals: bool = False,
    outcomes_only: bool = False,
) -> RowCounts:
    """Bring a store's rows to the desired state, and publish what became of every product.

    Args:
        read: the metadata of ``raw_products``, recorded as the store's last run; None: a repair, which is not one.
        full: compare every row, whatever the digest is.
        allow_removals: consent to removals beyond the limit.
        outcomes_only: leave the rows as they are; the outcomes name the removals that would be withheld.

    Raises:
        DatabaseError: PostgreSQL refuses.
    """
    counts = await apply_rows(
        engine,
        store_id=store_id,
        desired=desired,
        now=now,
        full=full,
        allow_removals=allow_removals,
        dry_run=outcomes_only,
    )
    await publish_outcomes(engine, store_id=store_id, outcomes=desired.outcomes, withheld=counts.withheld, now=now)
    if read is not None:
        await remember_run(engine, store_id=store_id, read=read, outcomes=desired.outcomes, now=now)
    return counts


@dataclass(frozen=True, slots=True)
class PublishedPoints:
    """What was written to the collection of a run's model, and how the sinks agree now."""

    counts: PointCounts
    agreement: Agreement


async def publish_points(
    sinks: Sinks,
    *,
    store_id: str,
    desired: Desired,
    model: Model,
    chosen_at: datetime | None,
    full: bool = False,
) -> PublishedPoints:
    """Bring a store's points to the desired state, in its model's collection and in the live one.

    Args:
        model: the model of the desired points' vectors.
        chosen_at: when the run chose its model; None: it uses the vectors that were there.
        full: compare every point, its whole payload, whatever the digest is.

    Raises:
        DamagedFile: a vector cannot be read.
        DatabaseError, VectorStoreError: a sink refuses.
    """
    async with sinks.engine.begin() as fence:  # no other run begins before the points are written
        await assert_held(fence, store_id)
        published = await _publish_points(
            sinks, store_id=store_id, desired=desired, model=model, chosen_at=chosen_at, full=full
        )
    await mark_in_qdrant(sinks.engine, store_id=store_id, present=published.counts.present)
    return published


async def _publish_points(
    sinks: Sinks, *, store_id: str, desired: Desired, model: Model, chosen_at: datetime | None, full: bool
) -> PublishedPoints:
    live = await live_ids(sinks.engine, store_id)
    with sinks.open_qdrant() as client:
        collection = ensure_collection(client, model.fingerprint, home_id=sinks.home.id)
        counts = apply_points(
            client,
            collection=collection.name,
            store_id=store_id,
            desired=desired.points,
            digest=desired.points_digest,
            vectors=sinks.home.vectors(model.fingerprint),
            live=live,
            full=full,
        )
        before = alias_target(client)
        if before is not None and before != collection:
            refresh_points(
                client,
                collection=before,
                store_id=store_id,
                desired=desired.points,
                live=live,
                vectors=sinks.home.vectors(before.fingerprint),
                full=full,
            )
        wanted = await claim_rollout(sinks.engine, model, chosen_at)
        written = {each.fingerprint for each in (collection, before) if each is not None}
        await remember_kept(sinks.engine, store_id, written)
        is_live = before == collection or await _may_go_live(sinks.engine, client, collection, wanted=wanted)
        live_now = collection if is_live or before is None else before
        await remember_shown(sinks.engine, live_now.fingerprint)
        agreement = await sample_sinks(
            sinks.engine,
            client,
            collection=collection.name,
            fingerprint=model.fingerprint,
            store_id=store_id,
            excused=frozenset() if is_live else live - _products(desired),
        )
    return PublishedPoints(counts, agreement)


async def _may_go_live(engine: AsyncEngine, client: QdrantClient, collection: ModelCollection, *, wanted: bool) -> bool:
    """Move the alias to a collection if it lacks nothing and its model is wanted; return whether it is live."""
    return show_when_complete(
        client,
        collection,
        live=await live_counts(engine),
        behind=await stores_behind(engine, collection.fingerprint),
        wanted=wanted,
    )


def _products(desired: Desired) -> frozenset[UUID]:
    return frozenset(point.product_id for point in desired.points)
