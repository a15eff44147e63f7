"""What 76d922e left runs on with this code: nothing is fetched, decoded, embedded or written again."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg.rows import dict_row
from qdrant_client import QdrantClient

from fashion_pipeline_tests import old_home

pytestmark = pytest.mark.slow

NOTHING = dict.fromkeys(
    (
        "fetched",
        "decoded",
        "embedded",
        "rows_written",
        "rows_archived",
        "points_written",
        "payloads_written",
        "points_deleted",
    ),
    0,
)
ASSETS = ("raw_products", "fetched_images", "quality_passed", "embeddings", "postgres_products", "qdrant_points")
OLD_RUNS = 6
MEASURED_ONCE_MORE = {"nord": 4, "sud": 6}
"""Stored images that a store's first run decodes: the old code measured less of them."""
VERDICTS = "store_id, external_id, product_id, title, stage, status, reasons, in_postgres, in_qdrant"
"""What an outcome says, but for the figures: they are now those of the new measures."""


@dataclass(frozen=True)
class Old:
    """The home in a folder of the test's own, and the URL of a database that holds the dump."""

    folder: Path
    database_url: str

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    def rows(self, table: str, columns: str = "*") -> list[dict[str, Any]]:
        """Read a table, in an order that depends on its rows alone."""
        with psycopg.connect(plain(self.database_url), row_factory=dict_row) as connection:
            found = connection.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608 - our own names
        return sorted(found, key=str)

    def points(self) -> dict[str, tuple[Any, Any]]:
        """Read what readers of search see: each point's payload and vector."""
        client = QdrantClient(path=str(self.home / "qdrant"))
        try:
            found, _ = client.scroll("products", limit=1000, with_payload=True, with_vectors=True)
        finally:
            client.close()
        return {str(point.id): (point.payload, point.vector) for point in found}

    def files(self) -> dict[str, bytes]:
        """Read the pictures' bytes and the vectors."""
        paths = [path for part in ("blobs", "vectors") for path in (self.home / part).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.home)): path.read_bytes() for path in paths}

    def instance(self) -> dg.DagsterInstance:
        """Open Dagster's instance, with the dagster.yaml that lies in it."""
        return dg.DagsterInstance.from_config(str(self.dagster_home))


def plain(database_url: str) -> str:
    """Return a URL as psycopg reads it."""
    return database_url.replace("postgresql+psycopg://", "postgresql://")


@pytest.fixture
def old(tmp_path: Path, empty_database_url: str) -> Old:
    """Return what the old code left, restored to where it has never been."""
    old_home.unpack(tmp_path)
    with psycopg.connect(plain(empty_database_url), autocommit=True) as connection:
        connection.execute(old_home.DUMP.read_text("utf-8"))
    return Old(tmp_path, empty_database_url)


@pytest.fixture
def shops(old: Old) -> Iterator[list[Any]]:
    """Serve the shops as they were, and yield them."""
    served = old_home.shops(old_home.images_of(old.folder), trashed=True)
    with old_home.serving(served):
        yield list(served.values())


def test_the_old_home_and_database_run_on_and_nothing_is_done_again(old: Old, shops: list[Any]) -> None:
    """After an upgrade, reads and sweeps find every row and point as the old code left it, dates included."""
    rows, tombstones, outcomes = old.rows("products"), old.rows("tombstones"), old.rows("product_outcomes", VERDICTS)
    points, files = old.points(), old.files()
    assert (len(rows), sum(row["archived_at"] is not None for row in rows), len(tombstones)) == (8, 1, 1)

    runs = [(store_id, how) for store_id in old_home.STORES for how in ([], ["--sweep"])]
    *reports, reconciled = old_home.commands(
        old.folder,
        old.database_url,
        ["migrate"],
        *(["ingest", store_id, *how, "--json"] for store_id, how in runs),
        ["reconcile", "--json"],
    )
    for (store_id, how), reported in zip(runs, reports, strict=True):
        found, expected = reported["stores"][store_id], old_home.EXPECTED[store_id]
        measured = 0 if how else MEASURED_ONCE_MORE[store_id]
        assert {name: found[name] for name in NOTHING} == {**NOTHING, "decoded": measured}
        assert (found["products"], found["rejected"], found["failed"]) == (
            expected["products"],
            expected["rejected"],
            {},
        )
    brought = [each for shop in shops for each in shop.asked if "/uploads/" in each.path and each.status == 200]
    assert not brought

    columns = ", ".join(rows[0])  # a later version may have more
    assert old.rows("products", columns) == rows  # ids, created_at and updated_at among them
    assert old.rows("tombstones", ", ".join(tombstones[0])) == tombstones
    assert old.rows("product_outcomes", VERDICTS) == outcomes
    assert old.points() == points
    assert old.files() == files

    for store_id in old_home.STORES:
        found, expected = reconciled["stores"][store_id], old_home.EXPECTED[store_id]
        assert (found["drift"], found["rows"], found["points"], found["vectors"]) == (
            {},
            expected["rows"],
            expected["points"],
            expected["points"],
        )
    assert reconciled["strays"]["drift"] == {}
    with old.instance() as instance:
        history = instance.get_runs()
    assert len(history) == OLD_RUNS + len(runs)
    assert {run.status for run in history} == {dg.DagsterRunStatus.SUCCESS}


def test_the_old_dagster_instance_keeps_its_history_partitions_and_cursors(
    old: Old, shops: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade, the UI shows the old runs, sensors and schedules are still on, and no store is run anew."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    for name, value in old_home.settings(old.folder, old.database_url).items():
        monkeypatch.setenv(name, value)
    old_home.commands(old.folder, old.database_url, ["migrate"])
    defs: dg.Definitions = importlib.import_module(old_home.DEFINITIONS).defs
    with old.instance() as instance:
        assert set(instance.get_dynamic_partitions("stores")) == set(old_home.STORES)
        for asset in ASSETS:
            assert instance.get_materialized_partitions(dg.AssetKey(asset)) == set(old_home.STORES)
        runs = instance.get_runs()
        assert len(runs) == OLD_RUNS
        assert all(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_SUCCESS) for run in runs)

        states = {state.name: state for state in instance.all_instigator_state()}
        cursors = {name: states[name].instigator_data.cursor for name in ("new_products", "retry_due")}  # type: ignore[union-attr]
        for name, cursor in cursors.items():
            context = dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                definitions=defs,
                resources={key: value for key, value in (defs.resources or {}).items() if key == "postgres"},
            )
            ticked = defs.resolve_sensor_def(name).evaluate_tick(context)
            assert (ticked.run_requests or [], ticked.dynamic_partitions_requests or []) == ([], [])
            assert not ticked.log_key  # a cursor that cannot be read is begun anew, with a warning
    assert listed(old, "sensor") == {"new_products", "retry_due"}
    assert listed(old, "schedule") == {"health_daily", "sweep_0_3_x_x_x"}


def listed(old: Old, kind: str) -> set[str]:
    """Return the sensors, or the schedules, that are on in the code location that the old workspace.yaml names."""
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", kind, "list", "-w", str(old.dagster_home / "workspace.yaml")],
        cwd=old.dagster_home,
        env={
            **old_home.environment(old.folder, old.database_url),
            "DAGSTER_HOME": str(old.dagster_home),
            "PYTHONWARNINGS": "ignore",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.splitlines() if line.startswith(f"{kind.title()}: ")]
    return {words[1] for words in lines if words[2] == "[RUNNING]"}
