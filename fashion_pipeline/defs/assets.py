"""The six assets: from a shop's products to rows in PostgreSQL and vectors in Qdrant.

Each takes the tables above it, calls its domain, and returns its own table with what it counted.
Comparing whole inputs with applied state is the domain's work: nothing here depends on what
another asset, or another run, changed. What talks to a network is imported inside the functions, so that
the location loads at the price of Dagster itself.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from fashion_pipeline.defs import checks
from fashion_pipeline.defs.io import TABLE, TableIOManager
from fashion_pipeline.defs.metadata import column_schema, outcome_metadata, run_metadata
from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.defs.resources import (
    ImagesResource,
    ModelResource,
    PostgresResource,
    QdrantResource,
    ShopResource,
    StoreRun,
    home,
)
from fashion_pipeline.embedding.encode import embed_images
from fashion_pipeline.embedding.soundness import sample_vectors
from fashion_pipeline.errors import ModelError, ShopError
from fashion_pipeline.images.quality import JudgeStorage, judge_images, render_blob
from fashion_pipeline.read_state import SWEEP, ReadState
from fashion_pipeline.records import EmbeddedImage, FetchedImage, JudgedImage, Product, Table
from fashion_pipeline.sinks.desired import DesiredPoint, DesiredProduct, desired_state

if TYPE_CHECKING:
    import numpy as np

    from fashion_pipeline.shop.catalogue import ReadCounts
    from fashion_pipeline.sinks.rollout import Model

    Checked = dg.MaterializeResult[Any]
else:
    Checked = dg.MaterializeResult  # of an asset with checks, Dagster understands only the bare name

logger = logging.getLogger(__name__)

Tables = dg.ResourceParam[TableIOManager]
Decorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]
TABLE_ASSETS = ("raw_products", "fetched_images", "quality_passed", "embeddings")


def _asset(*, row: type, reads: Iterable[str] = (), kinds: set[str], **more: Any) -> Decorator:
    """What the six have in common: a partition for each store, rows of one type, and tables as inputs."""
    decorator = dg.asset(
        metadata={"dagster/column_schema": column_schema(row)},
        ins={asset: dg.AssetIn(dagster_type=TABLE) for asset in reads},
        partitions_def=stores,
        group_name="fashion",
        owners=["team:catalogue"],
        kinds=kinds,
        **more,
    )
    return cast("Decorator", decorator)


def _table_asset(*, row: type, reads: Iterable[str] = (), kinds: set[str], **more: Any) -> Decorator:
    """An asset that is a table of its own."""
    kinds = {*kinds, "parquet"}
    return _asset(row=row, reads=reads, kinds=kinds, io_manager_key="tables", dagster_type=TABLE, **more)


@_table_asset(row=Product, kinds={"woocommerce"}, check_specs=[checks.LISTING_COMPLETE])
def raw_products(
    context: dg.AssetExecutionContext,
    run: StoreRun,
    shop: ShopResource,
    postgres: PostgresResource,
    qdrant: QdrantResource,
    tables: Tables,
) -> Iterator[dg.MaterializeResult[Table[Product]] | dg.AssetCheckResult]:
    """Every product the shop has or had, as last seen, and whether it may be published.

    Reads what changed since the last run; the first time, and in a sweep, everything.
    """
    started = time.monotonic()
    try:
        previous = tables.previous(context)
        table, counts = asyncio.run(_read_shop(run, previous, shop=shop, postgres=postgres, qdrant=qdrant))
    except ShopError as error:
        yield checks.shop_not_read(run.store.id, error)
        raise
    check = checks.listing_complete(run.store.id, counts)
    yield _told(run, "raw_products", table, run_metadata(counts, started=started, table=table), check)


@_table_asset(row=FetchedImage, reads=["raw_products"], kinds={"http"})
async def fetched_images(
    context: dg.AssetExecutionContext,
    raw_products: Table[Product],
    run: StoreRun,
    images: ImagesResource,
    tables: Tables,
) -> dg.MaterializeResult[Table[FetchedImage]]:
    """The picture of every publishable product, and where its bytes are.

    A picture whose address and date in the shop are unchanged costs no request; in a sweep a
    seventh of them is asked for again, conditionally.
    """
    from fashion_pipeline.images.fetch import fetch_images

    started = time.monotonic()
    async with images.open(run) as web:
        table, counts = await fetch_images(
            store=run.store,
            table=raw_products,
            previous=tables.previous(context),
            web=web,
            blobs=images.blobs,
            clock=run.clock,
            sweep=ReadState.from_metadata(raw_products.metadata).kind == SWEEP,
            checkpoint=lambda partial: tables.checkpoint(context, partial),
            progress=run.progress("fetched_images"),
        )
    metadata = run_metadata(counts, started=started, table=table)
    if counts.fetched:  # a sheet costs two dozen decodes
        shown = [(sha256, False) for row in table.rows if (sha256 := row.shown_sha256)]
        metadata["pictures"] = _contact_sheet(shown, images=images, run=run)
    return _told(run, "fetched_images", table, metadata)


@_table_asset(row=JudgedImage, reads=["fetched_images"], kinds={"pillow"})
def quality_passed(
    context: dg.AssetExecutionContext,
    fetched_images: Table[FetchedImage],
    run: StoreRun,
    images: ImagesResource,
    model: ModelResource,
    tables: Tables,
) -> dg.MaterializeResult[Table[JudgedImage]]:
    """The measurements of every picture, and the verdict of the store's thresholds on them.

    Decodes a picture once and leaves its model-ready pixels for the embeddings; when thresholds
    change, the measurements are judged again.
    """
    started = time.monotonic()
    table, counts = judge_images(
        histories=[row.history for row in fetched_images.rows],
        previous=tables.previous(context),
        storage=JudgeStorage(blobs=images.blobs, pixels=images.pixels, embedded=model.vectors().find),
        quality=run.store.quality,
        clock=run.clock,
        checkpoint=lambda partial: tables.checkpoint(context, partial),
        progress=run.progress("quality_passed"),
    )
    metadata = run_metadata(counts, started=started, table=table)
    if counts.decoded:
        judged = [(row.sha256, not row.outcome.ok) for row in table.rows]
        metadata["pictures"] = _contact_sheet(judged, images=images, run=run)
    return _told(run, "quality_passed", table, metadata)


@_table_asset(
    row=EmbeddedImage,
    reads=["quality_passed"],
    kinds={"pytorch"},
    pool="gpu",
    check_specs=[checks.VECTORS_SOUND],
)
def embeddings(
    context: dg.AssetExecutionContext,
    quality_passed: Table[JudgedImage],
    run: StoreRun,
    images: ImagesResource,
    model: ModelResource,
    postgres: PostgresResource,
    tables: Tables,
) -> Checked:
    """Where the vector of every picture that passed lies.

    The model is loaded only when a picture has no vector of its fingerprint yet. While readers still
    see another model, what is new gets a vector of that one too.
    """
    started = time.monotonic()
    blobs, pixels = images.blobs, images.pixels

    def read_pixels(sha256: str) -> "np.ndarray":
        cached = pixels.get(sha256)
        if cached is not None:
            return cached
        return render_blob(blobs.get(sha256), max_pixels=run.store.quality.max_pixels)

    fingerprint, passed = model.checkpoint().fingerprint, [row.sha256 for row in quality_passed.rows if row.outcome.ok]
    shown = asyncio.run(_shown_model(postgres))

    def tell(sentence: str) -> None:
        for log in (context.log, logger):  # the UI's, and the command line's
            log.warning(sentence)

    with model.in_turn(tell):
        if shown is not None and shown.fingerprint != fingerprint:
            try:
                embed_images(
                    sha256s=passed,
                    previous=None,
                    fingerprint=shown.fingerprint,
                    vectors=model.vectors(shown.fingerprint),
                    read_pixels=read_pixels,
                    encoder=lambda: model.encoder_of(shown.fingerprint, shown.name),
                    clock=run.clock,
                )
            except ModelError as error:
                tell(
                    f"readers still see model {shown}, which cannot be had: what is new is not found until they see "
                    f"{fingerprint} ({error})"
                )
        table, counts = embed_images(
            sha256s=passed,
            previous=tables.previous(context),
            fingerprint=fingerprint,
            vectors=model.vectors(),
            read_pixels=read_pixels,
            encoder=model.encoder,
            clock=run.clock,
            embedded=pixels.drop,
            progress=run.progress("embeddings"),
        )
    table = Table(table.rows, {**table.metadata, "model": model.checkpoint().name})
    sample = sample_vectors(table.rows, vectors=model.vectors(), fingerprint=table.metadata["fingerprint"])
    check = checks.vectors_sound(run.store.id, sample)
    return _told(run, "embeddings", table, run_metadata(counts, started=started, table=table), check)


@_asset(
    row=DesiredProduct,
    reads=TABLE_ASSETS,
    kinds={"postgres"},
    check_specs=[checks.REMOVALS_HELD, checks.LEFT_TO_RETRY],
)
async def postgres_products(
    raw_products: Table[Product],
    fetched_images: Table[FetchedImage],
    quality_passed: Table[JudgedImage],
    embeddings: Table[EmbeddedImage],
    run: StoreRun,
    postgres: PostgresResource,
) -> Checked:
    """The rows of ``products``: one for every product that passed, archived when it leaves.

    Decides which removals are held back for a person's consent, and publishes every product's
    outcome in ``product_outcomes``.
    """
    from fashion_pipeline.sinks.outcomes import publish_outcomes
    from fashion_pipeline.sinks.postgres.health import remember_run
    from fashion_pipeline.sinks.postgres.rows import apply_rows

    started = time.monotonic()
    desired = desired_state(
        store=run.store,
        products=raw_products,
        images=fetched_images,
        judged=quality_passed,
        embedded=embeddings,
        fingerprint=embeddings.metadata["fingerprint"],
    )
    async with postgres.open() as engine:
        counts = await apply_rows(
            engine,
            store_id=run.store.id,
            desired=desired,
            now=run.clock.now(),
            full=run.sweep,
            allow_removals=run.allow_removals,
        )
        await publish_outcomes(
            engine,
            store_id=run.store.id,
            outcomes=desired.outcomes,
            withheld=counts.withheld,
            now=run.clock.now(),
        )
        await remember_run(
            engine,
            store_id=run.store.id,
            read=raw_products.metadata,
            outcomes=desired.outcomes,
            now=run.clock.now(),
        )
    run.outcomes_are_published()
    run.finished("postgres_products", items=len(desired.products), refused=len(counts.withheld))
    return dg.MaterializeResult(
        metadata=run_metadata(counts, started=started) | outcome_metadata(desired.outcomes),
        check_results=[
            checks.removals_held(run.store.id, raw_products, counts.withheld, desired.outcomes),
            checks.left_to_retry(run.store.id, desired.outcomes),
        ],
    )


@_asset(
    row=DesiredPoint,
    reads=TABLE_ASSETS,
    kinds={"qdrant"},
    deps=[postgres_products],
    check_specs=[checks.SINKS_AGREE],
)
async def qdrant_points(
    raw_products: Table[Product],
    fetched_images: Table[FetchedImage],
    quality_passed: Table[JudgedImage],
    embeddings: Table[EmbeddedImage],
    run: StoreRun,
    model: ModelResource,
    postgres: PostgresResource,
    qdrant: QdrantResource,
) -> Checked:
    """The points of ``products``: one for every picture of every live row, vector and payload.

    Reads from PostgreSQL which rows are live, so that a removal held back there is held back here.
    """
    from fashion_pipeline.sinks.agreement import sample_sinks
    from fashion_pipeline.sinks.outcomes import mark_in_qdrant
    from fashion_pipeline.sinks.postgres.queries import live_counts, live_ids
    from fashion_pipeline.sinks.qdrant.alias import show_when_complete
    from fashion_pipeline.sinks.qdrant.collections import PREFIX, alias_target, ensure_collection
    from fashion_pipeline.sinks.qdrant.points import apply_points, refresh_points
    from fashion_pipeline.sinks.rollout import Model, claim_rollout, remember_kept, remember_shown, stores_behind

    started = time.monotonic()
    fingerprint = embeddings.metadata["fingerprint"]
    desired = desired_state(
        store=run.store,
        products=raw_products,
        images=fetched_images,
        judged=quality_passed,
        embedded=embeddings,
        fingerprint=fingerprint,
    )
    async with postgres.open() as engine:
        live = await live_ids(engine, run.store.id)
        with qdrant.open() as client:
            collection = ensure_collection(client, fingerprint, home_id=home().id)
            counts = apply_points(
                client,
                collection=collection,
                store_id=run.store.id,
                desired=desired.points,
                digest=desired.points_digest,
                vectors=model.vectors(fingerprint),
                live=live,
                full=run.sweep,
            )
            shown = alias_target(client)
            if shown is not None and shown != collection:  # readers still see another model's points: keep them true
                refresh_points(
                    client,
                    collection=shown,
                    store_id=run.store.id,
                    desired=desired.points,
                    live=live,
                    vectors=model.vectors(shown.removeprefix(PREFIX)),
                    full=run.sweep,
                )
            wanted = await claim_rollout(
                engine, Model(fingerprint, embeddings.metadata.get("model", "")), model.chosen_at
            )
            await remember_kept(
                engine, run.store.id, {fingerprint, *([shown.removeprefix(PREFIX)] if shown is not None else [])}
            )
            moved = shown == collection or show_when_complete(
                client,
                collection,
                live=await live_counts(engine),
                behind=await stores_behind(engine, fingerprint),
                wanted=wanted,
            )
            await remember_shown(engine, fingerprint if moved else str(shown).removeprefix(PREFIX))
            agreement = await sample_sinks(
                engine,
                client,
                collection=collection,
                fingerprint=fingerprint,
                store_id=run.store.id,
                excused=frozenset() if moved else live - {point.product_id for point in desired.points},
            )
        await mark_in_qdrant(engine, store_id=run.store.id, present=counts.present)
    run.finished("qdrant_points", items=len(desired.points), refused=0)
    return dg.MaterializeResult(
        metadata=run_metadata(counts, started=started), check_results=[checks.sinks_agree(run.store.id, agreement)]
    )


async def _read_shop(
    run: StoreRun,
    previous: Table[Product] | None,
    *,
    shop: ShopResource,
    postgres: PostgresResource,
    qdrant: QdrantResource,
) -> "tuple[Table[Product], ReadCounts]":
    """Bring the products of the last run up to date, with what the sinks know of them."""
    from fashion_pipeline.shop.catalogue import read_catalogue
    from fashion_pipeline.sinks.postgres.queries import live_external_ids
    from fashion_pipeline.sinks.postgres.tombstones import purged_products

    async with postgres.open() as engine:
        purged = await purged_products(engine, run.store.id)
        live = await live_external_ids(engine, run.store.id)
    async with shop.open(run) as opened:
        return await read_catalogue(
            store=run.store,
            shop=opened,
            previous=previous,
            clock=run.clock,
            sweep=run.sweep,
            allow_removals=run.allow_removals,
            known_first_seen={} if previous else await _first_seen(run.store.id, postgres, qdrant),
            known_live=live - purged,
            purged=purged,
            progress=run.progress("raw_products"),
        )


def _contact_sheet(
    pictures: list[tuple[str, bool]], *, images: ImagesResource, run: StoreRun
) -> dg.MarkdownMetadataValue:
    """A look at two dozen pictures, the refused ones in a red frame."""
    from fashion_pipeline.images.sheet import sheet_markdown

    return dg.MetadataValue.md(sheet_markdown(pictures, blobs=images.blobs, max_pixels=run.store.quality.max_pixels))


def _told(
    run: StoreRun, asset: str, table: Table[Any], metadata: dict[str, Any], *results: dg.AssetCheckResult
) -> dg.MaterializeResult[Any]:
    """Return a table with its metadata, and tell the display that this asset is done."""
    refused = sum(not row.outcome.ok for row in table.rows)
    run.finished(asset, items=len(table.rows), refused=refused)
    return dg.MaterializeResult(value=table, metadata=metadata, check_results=results)


async def _shown_model(postgres: PostgresResource) -> "Model | None":
    from fashion_pipeline.sinks.rollout import shown_model

    async with postgres.open() as engine:
        return await shown_model(engine)


async def _first_seen(store_id: str, postgres: PostgresResource, qdrant: QdrantResource) -> dict[str, datetime]:
    """When each product was first seen, by the sinks: what survives the loss of every table."""
    from fashion_pipeline.sinks.postgres.queries import first_seen
    from fashion_pipeline.sinks.qdrant.points import first_seen as first_seen_in_qdrant

    async with postgres.open() as engine:
        known = await first_seen(engine, store_id)
    with qdrant.open() as client:
        for external_id, seen in first_seen_in_qdrant(client, store_id).items():
            known[external_id] = min(seen, known.get(external_id, seen))
    return known
