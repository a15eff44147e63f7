"""The six assets: from a shop's products to rows in PostgreSQL and points in Qdrant.

Each runs its stage (see ``stages``) for one store, and reports what it counted. A stage compares its
whole input with what was done before: nothing depends on what another asset, or another run, changed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from fashion_pipeline import stages
from fashion_pipeline.defs import checks
from fashion_pipeline.defs.io import TABLE, TableIOManager
from fashion_pipeline.defs.metadata import column_schema, outcome_metadata, run_metadata
from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.defs.resources import ModelResource, StoreRun
from fashion_pipeline.errors import ShopError
from fashion_pipeline.records import EmbeddedImage, FetchedImage, JudgedImage, Product, Table
from fashion_pipeline.sinks.desired import DesiredPoint, DesiredProduct

if TYPE_CHECKING:
    Checked = dg.MaterializeResult[Any]
else:
    Checked = dg.MaterializeResult  # of an asset with checks, Dagster understands only the bare name

logger = logging.getLogger(__name__)

Tables = dg.ResourceParam[TableIOManager]
Decorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]
TABLE_ASSETS = ("raw_products", "fetched_images", "quality_passed", "embeddings")


def _asset(*, row: type, reads: str | None = None, kinds: set[str], **more: Any) -> Decorator:
    """What the six have in common: a partition for each store, rows of one type, and a table as input."""
    decorator = dg.asset(
        metadata={"dagster/column_schema": column_schema(row)},
        ins={} if reads is None else {reads: dg.AssetIn(dagster_type=TABLE)},
        partitions_def=stores,
        group_name="fashion",
        owners=["team:catalogue"],
        kinds=kinds,
        **more,
    )
    return cast("Decorator", decorator)


def _table_asset(*, row: type, reads: str | None = None, kinds: set[str], **more: Any) -> Decorator:
    """An asset that is a table."""
    kinds = {*kinds, "parquet"}
    return _asset(row=row, reads=reads, kinds=kinds, io_manager_key="tables", dagster_type=TABLE, **more)


@_table_asset(row=Product, kinds={"woocommerce"}, check_specs=[checks.LISTING_COMPLETE])
def raw_products(
    context: dg.AssetExecutionContext, run: StoreRun, tables: Tables
) -> Iterator[dg.MaterializeResult[Table[Product]] | dg.AssetCheckResult]:
    """Every product the shop has or had, as last seen, and whether it may be published.

    Reads what changed since the last run; the first time, and in a sweep, everything.
    """
    started = time.monotonic()
    try:
        previous, progress = tables.previous(context), run.progress("raw_products")
        table, counts = asyncio.run(stages.read_shop(run.stage_run, previous=previous, progress=progress))
    except ShopError as error:
        yield checks.shop_not_read(run.store.id, error)
        raise
    check = checks.listing_complete(run.store.id, counts)
    yield _result(run, "raw_products", table, run_metadata(counts, started=started, table=table), check)


@_table_asset(row=FetchedImage, reads="raw_products", kinds={"http"})
async def fetched_images(
    context: dg.AssetExecutionContext, raw_products: Table[Product], run: StoreRun, tables: Tables
) -> dg.MaterializeResult[Table[FetchedImage]]:
    """The image of every publishable product, and the digest of its stored bytes.

    An image whose address and date in the shop are unchanged costs no request; in a sweep a
    seventh of them is revalidated with conditional requests.
    """
    started = time.monotonic()
    table, counts = await stages.fetch(
        run.stage_run,
        raw_products,
        previous=tables.previous(context),
        checkpoint=lambda partial: tables.checkpoint(context, partial),
        progress=run.progress("fetched_images"),
    )
    metadata = run_metadata(counts, started=started, table=table)
    if counts.fetched:  # a sheet costs two dozen decodes
        metadata["pictures"] = _contact_sheet(
            run, ((sha256, False) for row in table.rows if (sha256 := row.shown_sha256))
        )
    return _result(run, "fetched_images", table, metadata)


@_table_asset(row=JudgedImage, reads="fetched_images", kinds={"pillow"})
def quality_passed(
    context: dg.AssetExecutionContext,
    fetched_images: Table[FetchedImage],
    run: StoreRun,
    model: ModelResource,
    tables: Tables,
) -> dg.MaterializeResult[Table[JudgedImage]]:
    """The measurements of every image, and the verdict of the store's thresholds on them.

    Decodes an image once and keeps its model-ready pixels for the embeddings; when thresholds
    change, the stored measurements are judged again.
    """
    started = time.monotonic()
    table, counts = stages.judge(
        run.stage_run,
        fetched_images,
        previous=tables.previous(context),
        model=model.service,
        checkpoint=lambda partial: tables.checkpoint(context, partial),
        progress=run.progress("quality_passed"),
    )
    metadata = run_metadata(counts, started=started, table=table)
    if counts.decoded:
        metadata["pictures"] = _contact_sheet(run, ((row.sha256, not row.outcome.ok) for row in table.rows))
    return _result(run, "quality_passed", table, metadata)


@_table_asset(
    row=EmbeddedImage, reads="quality_passed", kinds={"pytorch"}, pool="gpu", check_specs=[checks.VECTORS_SOUND]
)
def embeddings(
    context: dg.AssetExecutionContext,
    quality_passed: Table[JudgedImage],
    run: StoreRun,
    model: ModelResource,
    tables: Tables,
) -> Checked:
    """Where the vector of every image that passed is stored.

    The model is loaded only if an image has no vector of its fingerprint yet. While another model
    is live, new images get a vector of that one too.
    """
    from fashion_pipeline.embedding.soundness import sample_vectors

    started = time.monotonic()
    table, counts = stages.embed(
        run.stage_run,
        quality_passed,
        previous=tables.previous(context),
        model=model.service,
        warn=lambda message: _warn(context, message),
        progress=run.progress("embeddings"),
    )
    fingerprint = table.metadata["fingerprint"]
    sample = sample_vectors(table.rows, vectors=model.service.vectors(), fingerprint=fingerprint)
    check = checks.vectors_sound(run.store.id, sample)
    return _result(run, "embeddings", table, run_metadata(counts, started=started, table=table), check)


@_asset(
    row=DesiredProduct,
    reads="embeddings",
    kinds={"postgres"},
    check_specs=[checks.REMOVALS_HELD, checks.LEFT_TO_RETRY],
)
async def postgres_products(embeddings: Table[EmbeddedImage], run: StoreRun) -> Checked:  # noqa: ARG001 - an edge
    """The rows of ``products``: one for every product that passed, archived when it is gone from the shop.

    Reads the store's four tables. Decides which removals wait for a person's consent, and publishes
    every product's outcome in ``product_outcomes``.
    """
    started = time.monotonic()
    published = await stages.publish_rows(run.stage_run)
    run.outcomes_are_published()
    desired, withheld = published.desired, published.counts.withheld
    run.finished("postgres_products", items=len(desired.products), refused=len(withheld))
    return dg.MaterializeResult(
        metadata=run_metadata(published.counts, started=started) | outcome_metadata(desired.outcomes),
        check_results=[
            checks.removals_held(run.store.id, published.tables.products, withheld, desired.outcomes),
            checks.left_to_retry(run.store.id, desired.outcomes),
        ],
    )


@_asset(
    row=DesiredPoint,
    reads="embeddings",
    kinds={"qdrant"},
    deps=[postgres_products],
    check_specs=[checks.SINKS_AGREE],
)
async def qdrant_points(
    embeddings: Table[EmbeddedImage],  # noqa: ARG001 - an edge
    run: StoreRun,
    model: ModelResource,
) -> Checked:
    """The points of ``products``: one for every image of every live row, vector and payload.

    Reads the store's four tables, and from PostgreSQL which rows are live: a removal that is withheld
    there is withheld here.
    """
    started = time.monotonic()
    desired, published = await stages.publish_points(run.stage_run, model=model.service)
    run.finished("qdrant_points", items=len(desired.points), refused=0)
    return dg.MaterializeResult(
        metadata=run_metadata(published.counts, started=started),
        check_results=[checks.sinks_agree(run.store.id, published.agreement)],
    )


def _contact_sheet(run: StoreRun, images: Iterable[tuple[str, bool]]) -> dg.MarkdownMetadataValue:
    """Return two dozen images by digest, the refused ones in a red frame."""
    from fashion_pipeline.images.sheet import sheet_markdown

    blobs, max_pixels = run.services.home.blobs, run.store.quality.max_pixels
    return dg.MetadataValue.md(sheet_markdown(list(images), blobs=blobs, max_pixels=max_pixels))


def _warn(context: dg.AssetExecutionContext, message: str) -> None:
    for log in (context.log, logger):  # the UI's, and the command line's
        log.warning(message)


def _result(
    run: StoreRun, asset: str, table: Table[Any], metadata: dict[str, Any], *results: dg.AssetCheckResult
) -> dg.MaterializeResult[Any]:
    """Log that an asset is done, and return its table with the metadata."""
    refused = sum(not row.outcome.ok for row in table.rows)
    run.finished(asset, items=len(table.rows), refused=refused)
    return dg.MaterializeResult(value=table, metadata=metadata, check_results=results)
