from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.assets import TABLE_ASSETS
from fashion_pipeline.defs.runs import instance, run_store
from fashion_pipeline.demo.media import Garment, ProductImage, image_file
from fashion_pipeline.settings import Settings
from fashion_pipeline_tests.conftest import Kill
from fashion_pipeline_tests.pipeline import Pipeline

SINKS = ("postgres_products", "qdrant_points")
UPSTREAM = {
    "raw_products": set(),
    "fetched_images": {"raw_products"},
    "quality_passed": {"fetched_images"},
    "embeddings": {"quality_passed"},
    "postgres_products": {"embeddings"},
    "qdrant_points": {"embeddings", "postgres_products"},
}


def test_the_graph_is_the_one_in_the_picture() -> None:
    """The six assets, and what is checked of all stores, have exactly these names and edges; a change shows up in review."""
    graph = defs.resolve_asset_graph()
    edges = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert edges == {**UPSTREAM, "all_stores": set()}


def test_the_assets_show_these_groups_kinds_and_checks() -> None:
    """Groups, kinds and checks are what the UI sorts by; a change shows up in review."""
    graph = defs.resolve_asset_graph()
    nodes = {name: graph.get(dg.AssetKey(name)) for name in UPSTREAM}
    assert {node.group_name for node in nodes.values()} == {"fashion"}
    assert {name: node.kinds for name, node in nodes.items()} == {
        "raw_products": {"woocommerce", "parquet"},
        "fetched_images": {"http", "parquet"},
        "quality_passed": {"pillow", "parquet"},
        "embeddings": {"pytorch", "parquet"},
        "postgres_products": {"postgres"},
        "qdrant_points": {"qdrant"},
    }
    assert {name: {key.name for key in node.check_keys} for name, node in nodes.items()} == {
        "raw_products": {"listing_complete"},
        "fetched_images": set(),
        "quality_passed": set(),
        "embeddings": {"vectors_sound"},
        "postgres_products": {"removals_held", "left_to_retry"},
        "qdrant_points": {"sinks_agree"},
    }


@pytest.mark.parametrize("name", UPSTREAM)
def test_every_column_is_described(name: str) -> None:
    """The UI says of each column what the row type's docstring says."""
    schema: Any = defs.resolve_asset_graph().get(dg.AssetKey(name)).metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns if not column.description] == []


def test_a_first_run_fills_both_sinks_and_a_second_one_costs_nothing(pipeline: Pipeline) -> None:
    """What passes is in both sinks under the same ids; an unchanged shop is not fetched, decoded, embedded or written."""
    report = pipeline.report()
    held = pipeline.held()
    assert len(held.rows) == report["rows_written"] == report["points_written"] > 0
    assert held.points == {key: (title, float(price), sha) for key, (_, title, price, sha) in held.rows.items()}
    again = pipeline.report()
    work = ("fetched", "decoded", "embedded", "rows_written", "points_written", "payloads_written", "points_deleted")
    assert {name: again[name] for name in work} == dict.fromkeys(work, 0)
    assert pipeline.held() == held


def test_a_sweep_of_an_unchanged_shop_writes_nothing(pipeline: Pipeline) -> None:
    """The full comparison finds nothing to do after a run that did everything."""
    pipeline.report()
    swept = pipeline.report(sweep=True)
    work = ("decoded", "embedded", "rows_written", "rows_archived", "points_written", "payloads_written")
    assert {name: swept[name] for name in work} == dict.fromkeys(work, 0)


def test_a_changed_price_writes_one_row_and_one_payload(pipeline: Pipeline) -> None:
    """A price costs no picture, no vector: one row, one payload."""
    pipeline.report()
    changed = next(iter(pipeline.held().rows))
    pipeline.shop("edit", id=int(changed), fields={"price": "17.50", "regular_price": "17.50"})
    report = pipeline.report()
    assert [report[name] for name in ("rows_written", "payloads_written", "points_written", "fetched", "embedded")] == [
        *(1, 1, 0, 0, 0)
    ]
    held = pipeline.held()
    assert held.rows[changed][2] == Decimal("17.50")
    assert held.points[changed][1] == 17.5


@pytest.mark.parametrize("sweep", [False, True])
def test_a_picture_replaced_in_place_writes_one_vector(pipeline: Pipeline, tmp_path: Path, *, sweep: bool) -> None:
    """A new picture under the old address costs one download, one decode, one vector, one row and one point.

    WooCommerce moves the picture's date, and the product's only when the product is saved: the
    incremental read finds a saved one, the sweep finds both.
    """
    pipeline.report()
    before = pipeline.held()
    changed = next(iter(before.rows))
    garment = Garment(
        kind="dress",
        colour="red",
        second_colour="white",
        pattern="dotted",
        fabric="linen",
        seed=991,
        size=(900, 1200),
    )
    fresh = image_file(ProductImage(garment), tmp_path)
    url = pipeline.images()[changed]
    pipeline.shop("set_image", url=url, content=base64.b64encode(fresh).decode(), shop_knows=True)
    if not sweep:
        pipeline.shop("edit", id=int(changed), fields={})
    report = pipeline.report(sweep=sweep)
    counted = ("fetched", "decoded", "embedded", "rows_written", "points_written", "points_deleted")
    assert {name: report[name] for name in counted} == {**dict.fromkeys(counted, 1), "points_deleted": 0}
    after = pipeline.held()
    assert after.points[changed][2] != before.points[changed][2]
    assert {key: value for key, value in after.rows.items() if key != changed} == {
        key: value for key, value in before.rows.items() if key != changed
    }


def test_a_trashed_product_leaves_both_sinks_and_comes_back_as_itself(pipeline: Pipeline) -> None:
    """Trashing archives one row and deletes one point; untrashing brings the same id back."""
    pipeline.report()
    before = pipeline.held()
    trashed = next(iter(before.rows))
    pipeline.shop("trash", id=int(trashed))
    report = pipeline.report()
    assert (report["rows_archived"], report["points_deleted"], report["rows_written"]) == (1, 1, 0)
    held = pipeline.held()
    assert held.archived == {trashed}
    assert trashed not in held.points
    pipeline.shop("untrash", id=int(trashed))
    pipeline.shop("edit", id=int(trashed), fields={"status": "publish"})
    pipeline.report()
    assert pipeline.held() == before


@pytest.mark.parametrize(
    "moment", [*(f"start:{asset}" for asset in UPSTREAM), *(f"renamed:{asset}" for asset in TABLE_ASSETS)]
)
def test_a_killed_run_is_repaired_by_the_next(pipeline: Pipeline, kill: Kill, moment: str) -> None:
    """SIGKILL at the start of any asset, or right after any table's rename: the next run leaves exactly the right state."""
    assert kill(moment, pipeline) == signal.SIGKILL
    pipeline.report()
    held = pipeline.held()
    expected = {key: (title, float(price), sha) for key, (_, title, price, sha) in held.rows.items()}
    assert held.points == expected
    told = {outcome.external_id for outcome in pipeline.outcomes() if outcome.status == "ok"}
    assert set(held.rows) == told
    assert pipeline.held().archived == frozenset()
    again = pipeline.report(sweep=True)
    assert (again["rows_written"], again["points_written"], again["embedded"]) == (0, 0, 0)


def test_the_location_loads_without_the_heavy_packages() -> None:
    """A code location pays for Dagster only; torch and the rest are paid by the runs that use them."""
    program = (
        "import sys, fashion_pipeline.definitions; "
        "print([name for name in ('torch', 'open_clip', 'qdrant_client', 'pyarrow') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_no_secret_is_in_what_dagster_stores(pipeline: Pipeline) -> None:
    """Keys and database addresses appear neither in events nor in run configuration."""
    with instance(Settings.read()) as opened:
        run_store(opened, defs.resolve_job_def("ingest_store"), pipeline.store_id)
        runs = opened.get_runs()
        text = json.dumps([dict(run.run_config) for run in runs]) + "".join(
            str(entry) for run in runs for entry in opened.all_logs(run.run_id)
        )
    assert len(runs) == 1
    assert runs[0].status is dg.DagsterRunStatus.SUCCESS
    for secret in (pipeline.environment["STORE_KEY"], pipeline.environment["STORE_SECRET"]):
        assert secret not in text
