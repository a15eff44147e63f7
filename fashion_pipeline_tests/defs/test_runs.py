from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.runs import PROCESS_TAG, instance, report_orphans
from fashion_pipeline.errors import SettingsError
from fashion_pipeline.settings import Settings
from fashion_pipeline_tests.conftest import Kill
from fashion_pipeline_tests.pipeline import Pipeline


def test_a_killed_command_lines_run_is_reported_failed_at_the_next_start(pipeline: Pipeline, kill: Kill) -> None:
    """A run whose process is gone does not stay "started", where it would block its store and the GPU's pool."""
    kill("start:quality_passed", pipeline)
    with instance(Settings.read()) as opened:
        assert [run.status for run in opened.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_a_run_of_a_living_process_is_left_alone(pipeline: Pipeline) -> None:
    """Only runs of the command line whose process has ended are orphans; the daemon's are its own."""
    with dg.DagsterInstance.ephemeral() as opened:
        job = defs.resolve_job_def("ingest_store")
        for tags in ({}, {PROCESS_TAG: "1@0.00"}):
            opened.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
        orphans = report_orphans(opened)
        statuses = {run.run_id: run.status for run in opened.get_runs()}
    assert len(orphans) == 1
    assert statuses.pop(orphans[0]) is dg.DagsterRunStatus.FAILURE
    assert list(statuses.values()) == [dg.DagsterRunStatus.STARTED]


def test_another_instance_must_be_a_directory(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A ``DAGSTER_HOME`` that is relative, or not there, is refused with its name, and nothing is made of it."""
    for wrong in ("relative", str(tmp_path / "nowhere")):
        monkeypatch.setenv("DAGSTER_HOME", wrong)
        with pytest.raises(SettingsError, match=f"DAGSTER_HOME={wrong}: "), instance(Settings.read()):
            pass
    assert not (tmp_path / "nowhere").exists()
