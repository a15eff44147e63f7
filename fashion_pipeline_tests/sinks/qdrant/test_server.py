"""Whole runs on a Qdrant server: a real one where FASHION_TEST_QDRANT_URL names it, else the suite's own."""

from __future__ import annotations

from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import alias_target
from fashion_pipeline_tests.pipeline import Pipeline


def test_a_run_on_a_server_fills_it_and_the_next_writes_nothing(pipeline: Pipeline, qdrant_url: str) -> None:
    """Rows and points go together under the configured alias; a sweep of an unchanged shop sends no point."""
    first = pipeline.report()
    held = pipeline.held()
    assert held.points.keys() == held.rows.keys()
    assert first["points_written"] == len(held.points) > 0
    again = pipeline.report(sweep=True)
    assert (again["points_written"], again["payloads_written"], again["points_deleted"]) == (0, 0, 0)
    with vector_store(Settings.read(), pipeline.home) as client:
        live = alias_target(client)
    assert live is not None
    assert live.name.startswith(f"{Settings.read().qdrant_collection}__")


def test_a_trashed_product_leaves_a_server_too(pipeline: Pipeline, qdrant_url: str) -> None:
    """Its point is deleted by id; the others stay as they are."""
    pipeline.report()
    before = pipeline.held()
    gone = min(before.rows)
    pipeline.shop("trash", id=int(gone))
    pipeline.report()
    after = pipeline.held()
    assert before.points.keys() - after.points.keys() == {gone}
    assert after.points.keys() == after.rows.keys()
