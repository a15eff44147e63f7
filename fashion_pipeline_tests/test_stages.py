"""The stages of one store without Dagster: a run from the shop to both sinks by plain calls."""

from __future__ import annotations

import asyncio

import pytest

from fashion_pipeline.errors import StorageError
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.records import TABLES, Table
from fashion_pipeline.services import Services
from fashion_pipeline.stages import (
    StageRun,
    embed,
    fetch,
    judge,
    publish_partial_outcomes,
    publish_points,
    publish_rows,
    read_shop,
)
from fashion_pipeline.storage.stage_tables import StageTables
from fashion_pipeline.storage.tables import write_table
from fashion_pipeline_tests.pipeline import Pipeline


def stage_run(pipeline: Pipeline) -> StageRun:
    """Return a run of the pipeline's store."""
    services = Services.read()
    return StageRun(services, services.settings.store_list().require(pipeline.store_id), SystemClock())


def save(run: StageRun, asset: str, table: Table[object]) -> None:
    write_table(run.services.home.table(asset, run.store.id), table, TABLES[asset])


def test_plain_calls_do_what_the_assets_do(pipeline: Pipeline) -> None:
    """Stage after stage fills both sinks; a run of the six assets then finds nothing left to write."""
    run = stage_run(pipeline)
    model = run.services.model()
    products, read = asyncio.run(read_shop(run, previous=None))
    images, fetched = asyncio.run(fetch(run, products, previous=None))
    judged, decoded = judge(run, images, previous=None, model=model)
    embedded, made = embed(run, judged, previous=None, model=model)
    for asset, table in zip(TABLES, (products, images, judged, embedded), strict=True):
        save(run, asset, table)
    rows = asyncio.run(publish_rows(run))
    _, points = asyncio.run(publish_points(run, model=model))
    assert rows.counts.written == points.counts.points_written == len(pipeline.held().rows) > 0
    assert min(read.listed, fetched.fetched, decoded.decoded, made.embedded) > 0
    again = pipeline.report()
    work = ("fetched", "decoded", "embedded", "rows_written", "points_written")
    assert {name: again[name] for name in work} == dict.fromkeys(work, 0)


def test_a_sink_removes_nothing_because_a_table_is_missing(pipeline: Pipeline) -> None:
    """A sink that is run alone needs all four tables: it stops, and both sinks stay as they were."""
    pipeline.report()
    before = pipeline.held()
    run = stage_run(pipeline)
    run.services.home.table("raw_products", run.store.id).unlink()
    assert StageTables.read(run.services.home, run.store.id).missing == ("raw_products",)
    for publish in (publish_rows(run), publish_points(run, model=run.services.model())):
        with pytest.raises(StorageError, match=f"no table of raw_products.*ingest {run.store.id}"):
            asyncio.run(publish)
    assert pipeline.held() == before


def test_a_run_that_ended_early_publishes_how_far_its_products_came(pipeline: Pipeline) -> None:
    """With a table of products alone, every product has an outcome, and no row is written."""
    run = stage_run(pipeline)
    asyncio.run(publish_partial_outcomes(run))
    assert pipeline.outcomes() == ()
    products, _ = asyncio.run(read_shop(run, previous=None))
    save(run, "raw_products", products)
    asyncio.run(publish_partial_outcomes(run))
    assert {outcome.external_id for outcome in pipeline.outcomes()} == {row.external_id for row in products.rows}
    assert {outcome.in_postgres for outcome in pipeline.outcomes()} == {False}
