"""The stages of one store in order, as plain functions: read, fetch, judge, embed, publish rows, publish points.

The six assets call them for whole tables; nothing here knows Dagster or HTTP. Each stage takes the
table of the stage before it and its own table of the last run, and returns its new table with what
it counted. The last two write to the sinks, from all four tables.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import FashionError, ModelError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.read_state import SWEEP, ReadState
from fashion_pipeline.records import EmbeddedImage, FetchedImage, JudgedImage, Product, Table
from fashion_pipeline.redaction import blank_causes
from fashion_pipeline.services import ModelService, Services
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    import numpy as np
    from sqlalchemy.ext.asyncio import AsyncEngine

    from fashion_pipeline.embedding.encode import EmbedCounts
    from fashion_pipeline.images.fetch import FetchCounts
    from fashion_pipeline.images.quality import JudgeCounts
    from fashion_pipeline.shop.catalogue import ReadCounts
    from fashion_pipeline.sinks.desired import Desired
    from fashion_pipeline.sinks.postgres.lock import StoreLock
    from fashion_pipeline.sinks.postgres.rows import RowCounts
    from fashion_pipeline.sinks.publish import PublishedPoints
    from fashion_pipeline.sinks.rollout import Model
    from fashion_pipeline.storage.stage_tables import StageTables

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Is called with (done, all); all is None while it is not known."""


def ignore(*_: Any) -> None:
    """Ignore a call."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """What the stages of one run share.

    Attributes:
        sweep: compare the whole shop and both sinks whole, not only what changed.
        allow_removals: consent to removals beyond the limit.
        lock: of the store; each stage asks whether the run still holds it. None: the caller is alone.
    """

    services: Services
    store: Store
    clock: Clock
    sweep: bool = False
    allow_removals: bool = False
    lock: StoreLock | None = None

    def verify_lock(self) -> None:
        """Ask whether the run still holds its store's lock.

        Raises:
            LockLost: it does not.
        """
        if self.lock is not None:
            self.lock.verify()

    def watched(self, progress: Progress) -> Progress:
        """Return ``progress``, which also ends a stage whose lock the heartbeat found lost."""

        def report(done: int, total: int | None) -> None:
            if self.lock is not None:
                self.lock.check()
            progress(done, total)

        return report


# --- the stages that make tables ------------------------------------------------------------------


@blank_causes
async def read_shop(
    run: StageRun, *, previous: Table[Product] | None, progress: Progress = ignore
) -> tuple[Table[Product], ReadCounts]:
    """Bring the products of the last run up to date, with what the sinks know of them.

    Raises:
        ShopError: the shop cannot be read.
        StorePurged: the whole store was purged.
    """
    run.verify_lock()
    from fashion_pipeline.shop.catalogue import read_catalogue
    from fashion_pipeline.sinks.postgres.queries import live_external_ids
    from fashion_pipeline.sinks.postgres.tombstones import purged_products

    async with run.services.postgres() as engine:
        purged = await purged_products(engine, run.store.id)
        live = await live_external_ids(engine, run.store.id)
        first_seen = {} if previous else await _first_seen(run, engine)
    async with run.services.shop(run.store, run.clock) as shop:
        return await read_catalogue(
            store=run.store,
            shop=shop,
            previous=previous,
            clock=run.clock,
            sweep=run.sweep,
            allow_removals=run.allow_removals,
            known_first_seen=first_seen,
            known_live=live - purged,
            purged=purged,
            progress=run.watched(progress),
        )


async def _first_seen(run: StageRun, engine: AsyncEngine) -> dict[str, datetime]:
    """Return when each product was first seen, by the sinks: they outlive a lost table."""
    from fashion_pipeline.sinks.postgres.queries import first_seen
    from fashion_pipeline.sinks.qdrant.points import first_seen as first_seen_in_qdrant

    known = await first_seen(engine, run.store.id)
    with run.services.qdrant() as client:
        for external_id, seen in first_seen_in_qdrant(client, run.store.id).items():
            known[external_id] = min(seen, known.get(external_id, seen))
    return known


@blank_causes
async def fetch(
    run: StageRun,
    products: Table[Product],
    *,
    previous: Table[FetchedImage] | None,
    checkpoint: Callable[[Table[FetchedImage]], None] = ignore,
    progress: Progress = ignore,
) -> tuple[Table[FetchedImage], FetchCounts]:
    """Fetch the images of all publishable products that are new or changed; in a sweep, revalidate a seventh."""
    run.verify_lock()
    from fashion_pipeline.images.fetch import fetch_images

    async with run.services.web(run.store, run.clock) as web:
        return await fetch_images(
            store=run.store,
            table=products,
            previous=previous,
            web=web,
            blobs=run.services.home.blobs,
            clock=run.clock,
            sweep=ReadState.from_metadata(products.metadata).kind == SWEEP,
            checkpoint=checkpoint,
            progress=run.watched(progress),
        )


@blank_causes
def judge(
    run: StageRun,
    images: Table[FetchedImage],
    *,
    previous: Table[JudgedImage] | None,
    model: ModelService,
    checkpoint: Callable[[Table[JudgedImage]], None] = ignore,
    progress: Progress = ignore,
) -> tuple[Table[JudgedImage], JudgeCounts]:
    """Measure new images, keep their pixels for the model, and compare all measurements with the thresholds.

    Args:
        model: an image with a vector of it needs no pixels any more.

    Raises:
        DecoderUnavailable: no decoder process can be started.
    """
    run.verify_lock()
    from fashion_pipeline.images.quality import JudgeStorage, judge_images

    home = run.services.home
    return judge_images(
        histories=[row.history for row in images.rows],
        previous=previous,
        storage=JudgeStorage(blobs=home.blobs, pixels=run.services.pixels, embedded=model.vectors().find),
        quality=run.store.quality,
        clock=run.clock,
        checkpoint=checkpoint,
        progress=run.watched(progress),
    )


@blank_causes
def embed(
    run: StageRun,
    judged: Table[JudgedImage],
    *,
    previous: Table[EmbeddedImage] | None,
    model: ModelService,
    warn: Callable[[str], None] = logger.warning,
    progress: Progress = ignore,
) -> tuple[Table[EmbeddedImage], EmbedCounts]:
    """Embed every image that passed and has no vector of the model yet.

    While another model is live, new images get a vector of that one too, so that search finds them.

    Args:
        warn: is called with a message when this run waits for another one's model, or when the live
            model cannot be used.

    Raises:
        ModelError: the model cannot be used.
    """
    run.verify_lock()
    from fashion_pipeline.embedding.encode import embed_images

    checkpoint = model.checkpoint()
    passed = [row.sha256 for row in judged.rows if row.outcome.ok]
    live = asyncio.run(_live_model(run.services))
    with model.exclusive(warn):
        if live is not None and live.fingerprint != checkpoint.fingerprint:
            _embed_for_live_model(run, passed, live=live, model=model, warn=warn)
        table, counts = embed_images(
            sha256s=passed,
            previous=previous,
            fingerprint=checkpoint.fingerprint,
            vectors=model.vectors(),
            read_pixels=_pixel_reader(run),
            encoder=model.encoder,
            clock=run.clock,
            embedded=run.services.pixels.drop,
            progress=run.watched(progress),
        )
    return Table(table.rows, {**table.metadata, "model": checkpoint.name}), counts


def _embed_for_live_model(
    run: StageRun, sha256s: list[str], *, live: Model, model: ModelService, warn: Callable[[str], None]
) -> None:
    from fashion_pipeline.embedding.encode import embed_images

    try:
        embed_images(
            sha256s=sha256s,
            previous=None,
            fingerprint=live.fingerprint,
            vectors=model.vectors(live.fingerprint),
            read_pixels=_pixel_reader(run),
            encoder=lambda: model.encoder_of(live.fingerprint, live.name),
            clock=run.clock,
        )
    except ModelError as error:
        warn(
            f"search still uses {live}, whose weights are unavailable; new products appear once "
            f"{model.checkpoint().fingerprint} goes live ({error})"
        )


async def _live_model(services: Services) -> Model | None:
    from fashion_pipeline.sinks.rollout import shown_model

    async with services.postgres() as engine:
        return await shown_model(engine)


def _pixel_reader(run: StageRun) -> Callable[[str], np.ndarray]:
    from fashion_pipeline.images.quality import render_blob

    blobs, pixels = run.services.home.blobs, run.services.pixels

    def read(sha256: str) -> np.ndarray:
        cached = pixels.get(sha256)
        if cached is not None:
            return cached
        return render_blob(blobs.get(sha256), max_pixels=run.store.quality.max_pixels)

    return read


# --- the sinks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PublishedRows:
    """What was published in PostgreSQL, from which tables, and what was written."""

    tables: StageTables
    desired: Desired
    counts: RowCounts


@blank_causes
async def publish_rows(run: StageRun) -> PublishedRows:
    """Bring the store's rows in line with its tables, and publish every product's outcome.

    Raises:
        StorageError: a table is missing or damaged.
        DatabaseError: PostgreSQL refuses.
    """
    run.verify_lock()
    from fashion_pipeline.sinks.desired import desired_state
    from fashion_pipeline.sinks.publish import publish_rows as publish
    from fashion_pipeline.sinks.publish import read_stage_tables

    async with run.services.postgres() as engine:
        tables = (await read_stage_tables(engine, run.services.home, run.store.id)).complete(run.store.id)
        desired = desired_state(store=run.store, tables=tables)
        counts = await publish(
            engine,
            store_id=run.store.id,
            desired=desired,
            now=run.clock.now(),
            read=tables.products.metadata,
            full=run.sweep,
            allow_removals=run.allow_removals,
        )
    return PublishedRows(tables, desired, counts)


async def publish_partial_outcomes(run: StageRun) -> None:
    """Publish every product's outcome from the tables there are, for a run that failed; no row is changed.

    What goes wrong here is logged: the run reports its own error, and the next run publishes.
    """
    from fashion_pipeline.sinks.desired import desired_state
    from fashion_pipeline.sinks.publish import publish_rows as publish
    from fashion_pipeline.sinks.publish import read_stage_tables

    try:
        async with run.services.postgres() as engine:
            tables = await read_stage_tables(engine, run.services.home, run.store.id)
            if not tables.products.rows:
                return
            await publish(
                engine,
                store_id=run.store.id,
                desired=desired_state(store=run.store, tables=tables),
                now=run.clock.now(),
                read=tables.products.metadata,
                outcomes_only=True,
            )
    except FashionError as error:
        logger.warning("%s: its products' outcomes were not published: %s", run.store.id, error)


@blank_causes
async def publish_points(run: StageRun, *, model: ModelService) -> tuple[Desired, PublishedPoints]:
    """Bring the store's points in line with its tables and live rows, and roll out the model if it is complete.

    Raises:
        StorageError: a table is missing or damaged, or a vector is.
        DatabaseError, VectorStoreError: a sink refuses.
    """
    run.verify_lock()
    from fashion_pipeline.sinks.access import Sinks
    from fashion_pipeline.sinks.desired import desired_state
    from fashion_pipeline.sinks.publish import publish_points as publish
    from fashion_pipeline.sinks.publish import read_stage_tables
    from fashion_pipeline.sinks.rollout import Model

    async with run.services.postgres() as engine:
        tables = (await read_stage_tables(engine, run.services.home, run.store.id)).complete(run.store.id)
        desired = desired_state(store=run.store, tables=tables)
        published = await publish(
            Sinks(run.services.home, engine, run.services.qdrant),
            store_id=run.store.id,
            desired=desired,
            model=Model(tables.fingerprint, tables.model_name),
            chosen_at=model.chosen_at,
            full=run.sweep,
        )
    return desired, published
