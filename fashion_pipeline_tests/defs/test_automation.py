from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs.automation import ingest_store, new_products, sweep_schedules, unfinished_stores
from fashion_pipeline_tests.pipeline import Pipeline


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs)
    found = new_products(context)
    assert isinstance(found, dg.SensorResult)
    return found


def requested(result: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in result.run_requests or []]


def test_a_store_never_seen_is_added_and_requested_in_one_tick(pipeline: Pipeline) -> None:
    """A store new in stores.yaml becomes a partition and gets its first run without anybody's help."""
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(instance)
    assert requested(first) == [pipeline.store_id]
    assert [request.partition_keys for request in first.dynamic_partitions_requests or []] == [[pipeline.store_id]]


def test_only_news_is_requested(pipeline: Pipeline) -> None:
    """An unchanged shop requests nothing; an edit and a trashed product each request one run."""
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(instance)
        quiet = tick(instance, first.cursor)
        assert requested(quiet) == []
        product = pipeline.shop("add", fields={"name": "New", "regular_price": "10"})["id"]
        added = tick(instance, quiet.cursor)
        assert requested(added) == [pipeline.store_id]
        assert requested(tick(instance, added.cursor)) == []
        pipeline.shop("trash", id=product)
        assert requested(tick(instance, added.cursor)) == [pipeline.store_id]


def test_a_dead_shop_says_why_and_delays_nobody(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop that cannot be read is passed over with a sentence, and asked again at the next tick."""
    monkeypatch.setenv("STORE_SECRET", "cs_wrong")
    with dg.DagsterInstance.ephemeral() as instance:
        failed = tick(instance)
        assert requested(failed) == []
        monkeypatch.setenv("STORE_SECRET", pipeline.environment["STORE_SECRET"])
        assert requested(tick(instance, failed.cursor)) == [pipeline.store_id]


def test_a_store_with_an_unfinished_run_is_not_requested(pipeline: Pipeline) -> None:
    """Neither the sensor nor a sweep piles up runs behind one that is under way."""
    with dg.DagsterInstance.local_temp() as instance:
        instance.add_dynamic_partitions("stores", [pipeline.store_id])
        instance.create_run_for_job(
            defs.resolve_job_def("ingest_store"),
            tags={"dagster/partition": pipeline.store_id},
            status=dg.DagsterRunStatus.STARTED,
        )
        assert unfinished_stores(instance) == {pipeline.store_id}
        assert requested(tick(instance)) == []
        sweep = sweep_schedules()[0]
        assert isinstance(sweep(dg.build_schedule_context(instance=instance)), dg.SkipReason)


def test_a_paused_store_is_left_alone(pipeline: Pipeline) -> None:
    """``paused: true`` stops runs quietly, from the sensor and from the sweep."""
    pipeline.describe(paused=True)
    with dg.DagsterInstance.local_temp() as instance:
        assert requested(tick(instance)) == []
        assert isinstance(sweep_schedules()[0](dg.build_schedule_context(instance=instance)), dg.SkipReason)


def test_each_distinct_cron_has_its_schedule(pipeline: Pipeline) -> None:
    """A store's ``sweep`` becomes a schedule that requests a sweep of this store."""
    pipeline.describe(sweep="*/30 2-4 * * 1,5")
    schedules = sweep_schedules()
    assert [(schedule.name, schedule.cron_schedule) for schedule in schedules] == [
        ("sweep_xby30_2to4_x_x_1and5", "*/30 2-4 * * 1,5")
    ]
    with dg.DagsterInstance.local_temp() as instance:
        requests = schedules[0](
            dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 11, 20, 3, tzinfo=UTC))
        )
    assert isinstance(requests, list)
    assert [(request.partition_key, request.run_config) for request in requests] == [
        (pipeline.store_id, {"resources": {"run": {"config": {"sweep": True}}}})
    ]


def test_the_location_loads_without_a_stores_file(pipeline: Pipeline) -> None:
    """Before there is a stores.yaml the location loads, with the default sweep."""
    (pipeline.folder / "stores.yaml").unlink()
    assert [schedule.cron_schedule for schedule in sweep_schedules()] == ["0 3 * * *"]
    assert ingest_store.name == "ingest_store"
