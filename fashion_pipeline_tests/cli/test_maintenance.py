"""The commands that keep a deployment in order, as processes on a real pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import dagster as dg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from fashion_pipeline.cli.exit_codes import exit_code
from fashion_pipeline.cli.main import cli
from fashion_pipeline.cli.terminal import confirm
from fashion_pipeline.defs.runs import sync_partitions
from fashion_pipeline.errors import FashionError, StorePurged
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.drift import Kind
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline_tests.builders import another_checkpoint
from fashion_pipeline_tests.pipeline import Pipeline


def sql(pipeline: Pipeline, statement: str) -> None:
    """Change PostgreSQL behind the pipeline's back."""

    async def run() -> None:
        async with database(pipeline.database_url) as engine, engine.begin() as connection:
            await connection.execute(text(statement))

    asyncio.run(run())


def test_drift_ends_with_exit_code_1_and_repaired_without_the_shop(pipeline: Pipeline) -> None:
    """``reconcile`` names what differs and changes nothing; ``--repair`` mends it although the shop is gone."""
    pipeline.report()
    before = pipeline.held()
    one, other, *_ = sorted(before.rows)
    sql(pipeline, f"UPDATE products SET price = 1 WHERE external_id = '{one}'")  # noqa: S608 - ours
    with vector_store(Settings.read(), pipeline.home) as client:
        client.delete(ALIAS, [str(before.rows[other][0])])
    pipeline.describe(url="http://127.0.0.1:1")
    ran = pipeline.command("reconcile", pipeline.store_id)
    assert ran.returncode == 1
    assert f"1 row_wrong: {Kind.ROW_WRONG.text}: {one} (price)" in ran.stderr
    assert f"1 point_missing: {Kind.POINT_MISSING.text}: {other}" in ran.stderr
    assert f"reconcile {pipeline.store_id} --repair" in ran.stderr
    assert pipeline.held() != before
    repaired = pipeline.command("reconcile", "--repair", "--json")
    assert repaired.returncode == 0, repaired.stderr
    answer = json.loads(repaired.stdout.splitlines()[-1])
    assert answer["stores"][pipeline.store_id]["drift"] == {"row_wrong": 1, "point_missing": 1}
    assert answer["stores"][pipeline.store_id]["left"] == {}
    assert answer["strays"]["drift"] == {}
    assert pipeline.held() == before


def command(*arguments: str) -> Result:
    """Run the command line in this process, which spares it the imports."""
    ran = CliRunner().invoke(cli, arguments)
    if isinstance(ran.exception, FashionError):
        ran.exit_code, ran.stderr_bytes = exit_code(ran.exception), str(ran.exception).encode()
    return ran


def test_nobody_to_ask_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, or with standard input closed, what removes for ever says to add ``--yes``."""
    for closed in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdin", closed)
        with pytest.raises(click.UsageError, match="add --yes"):
            confirm("Remove all of it?")


def test_what_is_purged_does_not_come_back_until_that_is_undone(pipeline: Pipeline) -> None:
    """A product and a whole store go from everywhere and stay away, through sweeps too; ``--undo`` lets them return."""
    pipeline.report()
    before = pipeline.held()
    one = min(before.rows)
    unsure = command("purge", pipeline.store_id, one)
    assert (unsure.exit_code, "add --yes" in unsure.stderr) == (2, True)
    purged = command("purge", pipeline.store_id, one, "--yes", "--json")
    assert purged.exit_code == 0, purged.stderr
    assert json.loads(purged.stdout)["points"] == 1
    pipeline.report(sweep=True)
    others = {key: row for key, row in before.rows.items() if key != one}
    assert pipeline.held().rows == others
    (outcome,) = (each for each in pipeline.outcomes() if each.external_id == one)
    assert (outcome.reasons, outcome.title) == ((Reason.PURGED,), "")
    assert command("reconcile", pipeline.store_id).exit_code == 0
    assert command("purge", pipeline.store_id, one, "--undo").exit_code == 0
    pipeline.report()
    unknown = command("outcomes", pipeline.store_id, one).exception
    assert f"run fashion-pipeline ingest {pipeline.store_id} --sweep first" in str(unknown)
    pipeline.report(sweep=True)
    assert pipeline.held() == before

    assert command("purge", pipeline.store_id, "--yes").exit_code == 0
    assert (pipeline.held().rows, pipeline.held().points, pipeline.held().archived) == ({}, {}, frozenset())
    assert not [path for path in (pipeline.folder / "home" / "blobs").glob("*/*") if path.is_file()]
    unknown = command("outcomes", pipeline.store_id).exception
    assert f"the store was purged; to let it return, run fashion-pipeline purge {pipeline.store_id} --undo" in str(
        unknown
    )
    refused = pipeline.run()
    assert isinstance(refused.error, StorePurged)
    assert f"purge {pipeline.store_id} --undo" in str(refused.error)
    assert command("purge", pipeline.store_id, "--undo").exit_code == 0
    pipeline.report()
    assert pipeline.held().rows == before.rows


def test_gc_removes_what_a_changed_shop_left_behind(pipeline: Pipeline) -> None:
    """The image of a product that is gone is removed after a day; the next run has nothing to do, and fetches nothing."""
    pipeline.report()
    gone = min(pipeline.held().rows)
    (sha256,) = (row[3] for key, row in pipeline.held().rows.items() if key == gone)
    pipeline.shop("trash", id=int(gone))
    pipeline.report()
    for path in pipeline.folder.rglob("*"):
        os.utime(path, (0, 1))
    dry = json.loads(command("gc", "--dry-run", "--json").stdout)
    assert dry["blobs"]["files"] == 1
    assert pipeline.home.blobs.exists(sha256)
    assert json.loads(command("gc", "--json").stdout) == dry
    assert not pipeline.home.blobs.exists(sha256)
    report = pipeline.report(sweep=True)
    assert (report["fetched"], report["embedded"], report["rows_written"]) == (0, 0, 0)
    shutil.rmtree(pipeline.folder / "home" / "tables")
    lost = command("gc")
    assert (lost.exit_code, "table that lists their images is lost" in lost.stderr) == (1, True)


def test_gc_and_a_purge_do_not_remove_at_once(pipeline: Pipeline) -> None:
    """The second waits, and does its work when the first has ended."""
    pipeline.report()
    product = next(iter(pipeline.held().rows))
    with contextlib.ExitStack() as removing:
        removing.enter_context(file_lock(pipeline.home.lock("removal"), timeout_s=0, what="this test"))
        with pipeline.started("purge", pipeline.store_id, product, "--yes") as purge:
            with pytest.raises(subprocess.TimeoutExpired):
                purge.wait(timeout=3)
            assert product in pipeline.held().rows
            removing.close()
            purge.communicate()
            assert purge.returncode == 0
    assert product not in pipeline.held().rows


def test_models_are_listed_promoted_and_dropped(
    pipeline: Pipeline, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``model status`` shows both, readers are moved back and forth, and only what they do not see can be dropped."""
    pipeline.report()
    points = len(pipeline.held().points)
    monkeypatch.setenv("FASHION_MODEL", another_checkpoint(model, tmp_path / "another"))
    pipeline.report()
    models = json.loads(command("model", "status", "--json").stdout)["models"]
    assert {(it["points"], it["vectors"], it["shown"], it["wanted"]) for it in models.values()} == {
        (points, points, False, False),
        (points, points, True, True),
    }
    (old,) = (fingerprint for fingerprint, it in models.items() if not it["shown"])
    (new,) = models.keys() - {old}
    assert models[old]["name"] == model
    refused = command("model", "drop", new, "--yes")
    assert (refused.exit_code, f"model {new}" in refused.stderr and "is live" in refused.stderr) == (2, True)
    assert command("model", "promote", old).exit_code == 0
    dropped = command("model", "drop", new, "--yes")
    assert (dropped.exit_code, f"removed {points} points and {points} vectors of model {new}" in dropped.stderr) == (
        0,
        True,
    )
    lines = command("model", "status").stdout
    assert f"{old} ({model}): {points} points, {points} stored vectors - live, wanted" in lines
    assert new not in lines


def test_the_job_repairs_one_store_from_the_ui(pipeline: Pipeline) -> None:
    """``reconcile_store`` takes the store's partition, needs no shop, and fails where it may only look."""
    from fashion_pipeline.definitions import defs

    pipeline.report()
    before = pipeline.held()
    pipeline.describe(url="http://127.0.0.1:1")
    sql(pipeline, "DELETE FROM products")
    with dg.DagsterInstance.ephemeral() as opened:
        sync_partitions(opened, [pipeline.store_id])
        job = defs.resolve_job_def("reconcile_store")
        only_look = {"ops": {"reconcile_sinks": {"config": {"repair": False}}}}
        looked = job.execute_in_process(
            instance=opened, partition_key=pipeline.store_id, run_config=only_look, raise_on_error=False
        )
        assert not looked.success
        assert job.execute_in_process(instance=opened, partition_key=pipeline.store_id).success
    assert pipeline.held() == before
