from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import dagster as dg
import pytest

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.automation import SWEEP, ingest_store, sweep_schedules
from fashion_pipeline.settings import Settings
from fashion_pipeline_tests.pipeline import Pipeline


def described(pipeline: Pipeline, **sweeps: str | None) -> None:
    """Write stores.yaml with stores by name, each with a sweep time; None: the default."""
    pipeline.describe()
    (store,) = json.loads((pipeline.folder / "stores.yaml").read_text())["stores"]
    stores = [{**store, "id": name} | ({"sweep": sweep} if sweep else {}) for name, sweep in sweeps.items()]
    (pipeline.folder / "stores.yaml").write_text(json.dumps({"stores": stores}))


def swept(schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance) -> list[str]:
    at = datetime(2026, 11, 20, 3, tzinfo=UTC)
    found = schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))
    if isinstance(found, dg.SkipReason):
        return []
    assert isinstance(found, list)
    assert all(request.run_config == SWEEP for request in found)
    assert len({request.run_key for request in found}) == len(found)
    return [str(request.partition_key) for request in found]


def test_stores_with_one_time_share_a_schedule(pipeline: Pipeline) -> None:
    """There is one schedule for each distinct ``sweep``; it sweeps its own stores, and makes their partitions."""
    described(pipeline, a="*/30 2-4 * * 1,5", b=None, c="*/30 2-4 * * 1,5")
    schedules = {schedule.name: schedule for schedule in sweep_schedules()}
    assert {name: schedule.cron_schedule for name, schedule in schedules.items()} == {
        "sweep_xby30_2to4_x_x_1and5": "*/30 2-4 * * 1,5",
        "sweep_0_3_x_x_x": "0 3 * * *",
    }
    with dg.DagsterInstance.local_temp() as instance:
        assert swept(schedules["sweep_xby30_2to4_x_x_1and5"], instance) == ["a", "c"]
        assert instance.get_dynamic_partitions("stores") == ["a", "c"]
        assert swept(schedules["sweep_0_3_x_x_x"], instance) == ["b"]


def test_a_sweep_leaves_out_who_is_paused_and_who_is_being_swept(pipeline: Pipeline) -> None:
    """Sweeps do not pile up behind each other; one that meets another run of its store waits until that ends."""
    described(pipeline, a=None, b=None, c=None)
    text = json.loads((pipeline.folder / "stores.yaml").read_text())
    text["stores"][0]["paused"] = True
    (pipeline.folder / "stores.yaml").write_text(json.dumps(text))
    (schedule,) = sweep_schedules()
    with dg.DagsterInstance.local_temp() as instance:
        sweep, _ = (
            instance.create_run_for_job(
                defs.resolve_implicit_global_asset_job_def(),
                run_config=config,
                tags={"dagster/partition": store_id},
                status=dg.DagsterRunStatus.STARTED,
            )
            for store_id, config in (("b", SWEEP), ("c", {}))
        )
        assert swept(schedule, instance) == ["c"]
        instance.report_run_canceled(sweep)
        assert swept(schedule, instance) == ["b", "c"]


@pytest.mark.parametrize("cron", ["every night", "0 25 * * *", "0 3 * *", "@daily"])
def test_a_time_that_is_none_is_a_mistake_with_its_line(pipeline: Pipeline, cron: str) -> None:
    """A bad ``sweep`` does not load as another time, or as none: file, line, store and key are named."""
    path = pipeline.folder / "stores.yaml"
    path.write_text(
        f"stores:\n  - id: a\n    url: https://a.example\n    consumer_key: ${{STORE_KEY}}\n"
        f"    consumer_secret: ${{STORE_SECRET}}\n    sweep: '{cron}'\n"
    )
    assert [schedule.cron_schedule for schedule in sweep_schedules()] == ["0 3 * * *"]
    (error,) = Settings.read().store_list().misconfigured.values()
    assert re.search(r"stores\.yaml:6: store 'a': sweep: is not a cron expression", str(error))


@pytest.mark.parametrize("content", ["stores: [", "", "stores: 7", "\xff"])
def test_the_location_loads_whatever_stores_yaml_holds(pipeline: Pipeline, content: str) -> None:
    """A file that cannot be read fails the ticks, with its message; the location with its UI stays."""
    (pipeline.folder / "stores.yaml").write_text(content, "latin-1")
    assert [schedule.cron_schedule for schedule in sweep_schedules()] == ["0 3 * * *"]


def test_the_location_loads_without_a_stores_file(pipeline: Pipeline) -> None:
    """Before there is a stores.yaml the location loads, with the default sweep."""
    (pipeline.folder / "stores.yaml").unlink()
    assert [schedule.cron_schedule for schedule in sweep_schedules()] == ["0 3 * * *"]
    assert ingest_store.name == "ingest_store"
