from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import uvicorn

from fashion_pipeline.definitions import defs
from fashion_pipeline.defs import sensors
from fashion_pipeline.defs.automation import SWEEP, unfinished_stores
from fashion_pipeline.defs.cursors import Due, News
from fashion_pipeline.defs.resources import PARTITION_TAG, PostgresResource
from fashion_pipeline.defs.runs import run_store
from fashion_pipeline.defs.sensors import MOST_REQUESTS, new_products, retry_due
from fashion_pipeline.demo.catalogue import environment, model_shops, stores_yaml
from fashion_pipeline.errors import DatabaseUnavailable
from fashion_pipeline.model_shop.api import app
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome, product_id
from fashion_pipeline.sinks.outcomes import publish_outcomes
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline_tests.pipeline import Pipeline

JOB = defs.resolve_job_def("ingest_store")
STORES = 500
MINUTE = timedelta(minutes=1)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Evaluate the sensor as if a minute had passed since the last round of questions."""
    if cursor is not None and not (memory := News.read(cursor))[1] and memory[0].asked_at is not None:
        memory[0].asked_at -= MINUTE
        cursor = memory[0].model_dump_json()
    return tick_at_once(instance, cursor)


def tick_at_once(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    found = new_products(dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs))
    assert isinstance(found, dg.SensorResult)
    return found


def requested(result: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in result.run_requests or []]


def ended(instance: dg.DagsterInstance, store_id: str, status: str, **more: Any) -> str:
    """Let a run of a store have ended just now; return its id."""
    run = instance.create_run_for_job(JOB, tags={PARTITION_TAG: store_id}, status=dg.DagsterRunStatus.STARTED, **more)
    event = dg.DagsterEvent(dg.DagsterEventType[f"RUN_{status}"].value, JOB.name, message=status)
    instance.report_dagster_event(event, run.run_id)
    return run.run_id


def later(cursor: str | None, minutes: float) -> str:
    """Return the cursor as it would be if the last failures, and wishes for a pause, had come earlier."""
    memory = News.read(cursor)[0]
    if memory.asked_at is not None:
        memory.asked_at -= minutes * MINUTE
    for known in memory.stores.values():
        if known.failed_at is not None:
            known.failed_at -= minutes * MINUTE
        if known.quiet_until is not None:
            known.quiet_until -= minutes * MINUTE
    return memory.model_dump_json()


def test_a_store_never_seen_is_added_and_requested_in_one_tick(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """A store new in stores.yaml becomes a partition and gets its first run without anybody's help."""
    first = tick(instance)
    assert requested(first) == [pipeline.store_id]
    assert [request.partition_keys for request in first.dynamic_partitions_requests or []] == [[pipeline.store_id]]


def test_a_store_that_left_the_file_stays_a_partition_and_is_not_requested(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """It is detached: its history stays, nothing runs it, and it is as new should it come back."""
    first = tick(instance)
    instance.add_dynamic_partitions("stores", [pipeline.store_id])
    (pipeline.folder / "stores.yaml").write_text('{"stores": []}')
    gone = tick(instance, first.cursor)
    assert (requested(gone), gone.dynamic_partitions_requests) == ([], [])
    assert instance.get_dynamic_partitions("stores") == [pipeline.store_id]
    pipeline.describe()
    assert requested(tick(instance, gone.cursor)) == [pipeline.store_id]


def test_only_news_is_requested(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """An unchanged shop requests nothing, and the tick says so; an edit and a trashed product each request one run."""
    first = tick(instance)
    quiet = tick(instance, first.cursor)
    assert requested(quiet) == []
    assert quiet.skip_reason is not None
    assert quiet.skip_reason.skip_message == "no news in 1 stores"
    product = pipeline.shop("add", fields={"name": "New", "regular_price": "10"})["id"]
    added = tick(instance, quiet.cursor)
    assert requested(added) == [pipeline.store_id]
    assert requested(tick(instance, added.cursor)) == []
    pipeline.shop("trash", id=product)
    assert requested(tick(instance, added.cursor)) == [pipeline.store_id]


def test_a_tick_that_is_repeated_requests_the_same_run(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """A daemon killed before it kept the cursor asks for the run under the same key, and Dagster starts it once."""
    first = tick(instance)
    pipeline.shop("add", fields={"name": "New", "regular_price": "10"})
    keys = {request.run_key for _ in range(2) for request in tick(instance, first.cursor).run_requests or []}
    assert len(keys) == 1


@pytest.mark.parametrize("damaged", ["{]", '{"a-shop": {"at": "2026-11-20T17:00:00+00:00", "rows": []}}'])
def test_a_damaged_cursor_is_begun_anew(
    pipeline: Pipeline, instance: dg.DagsterInstance, damaged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tick warns, and runs every store once more, under a key that no earlier run had."""
    first = tick(instance)
    again = tick(instance, damaged)
    assert "the cursor cannot be read" in capsys.readouterr().err
    assert requested(again) == [pipeline.store_id]
    assert [it.run_key for it in again.run_requests or []] != [it.run_key for it in first.run_requests or []]
    assert requested(tick(instance, again.cursor)) == []


def test_a_shop_that_refuses_the_keys_is_told_and_asked_again(
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line names the store, its address and what to do, and no key; the next tick asks again."""
    monkeypatch.setenv("STORE_SECRET", "cs_wrong")
    failed = tick(instance)
    assert requested(failed) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert f"store {pipeline.store_id} ({pipeline.server.shop_url(pipeline.store_id)}) gives no answer: " in line
    assert "answered 401" in line
    assert pipeline.environment["STORE_KEY"] not in line
    assert "cs_wrong" not in line
    monkeypatch.setenv("STORE_SECRET", pipeline.environment["STORE_SECRET"])
    assert requested(tick(instance, failed.cursor)) == [pipeline.store_id]


def reported(result: dg.SensorResult) -> list[tuple[str, bool, str]]:
    """Return the check evaluations of a tick: name, whether it passed, and what it says."""
    return [
        (event.check_name, event.passed, str(event.description))
        for event in result.asset_events
        if isinstance(event, dg.AssetCheckEvaluation)
    ]


def test_refused_keys_are_red_at_once_and_green_again(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check stores_answer fails at the first tick after the keys were revoked, and only says so once."""
    first = tick(instance)
    assert [(name, passed) for name, passed, _ in reported(first)] == [("stores_answer", True)]
    monkeypatch.setenv("STORE_SECRET", "cs_wrong")
    refused = tick(instance, first.cursor)
    ((name, passed, description),) = reported(refused)
    assert (name, passed) == ("stores_answer", False)
    assert f"{pipeline.store_id}: the shop refuses the keys since " in description
    assert "fashion-pipeline doctor STORE" in description
    assert "cs_wrong" not in description
    assert reported(tick(instance, refused.cursor)) == []
    monkeypatch.setenv("STORE_SECRET", pipeline.environment["STORE_SECRET"])
    assert [(name, passed) for name, passed, _ in reported(tick(instance, refused.cursor))] == [("stores_answer", True)]


def test_a_misconfigured_store_stops_no_tick_of_the_others(
    pipeline: Pipeline, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    """One unset variable costs its own store; the others are asked and run, and the log names the mistake."""
    path = pipeline.folder / "stores.yaml"
    described = json.loads(path.read_text())["stores"][0]
    path.write_text(json.dumps({"stores": [{**described, "id": "unset", "consumer_key": "${UNSET_KEY}"}, described]}))
    assert requested(tick(instance)) == [pipeline.store_id]
    assert "store unset is misconfigured" in capsys.readouterr().err


def test_a_run_that_a_person_terminated_is_not_requested_again(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """A Terminate is meant: only news, or a sweep, starts the store again."""
    first = tick(instance)
    ended(instance, pipeline.store_id, "CANCELED")
    result = tick(instance, first.cursor)
    assert requested(result) == []
    assert requested(tick(instance, later(result.cursor, 600))) == []
    pipeline.shop("add", fields={"name": "New", "regular_price": "10"})
    assert requested(tick(instance, result.cursor)) == [pipeline.store_id]


def test_a_failed_run_of_the_catalog_is_requested_again(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """Whoever started it: a run of the Catalog, or of a backfill, has Dagster's own job."""
    first = tick(instance)
    job = defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, tags={PARTITION_TAG: pipeline.store_id}, status=dg.DagsterRunStatus.STARTED)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_FAILURE.value, job.name, message="failed"), run.run_id
    )
    result = tick(instance, first.cursor)
    assert requested(result) == []
    assert requested(tick(instance, later(result.cursor, 5))) == [pipeline.store_id]


def test_a_run_that_failed_on_a_sink_is_requested_again_soon(
    pipeline: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL away for a moment costs half a minute, not five: the shop is not to blame."""
    first = tick(instance)
    monkeypatch.setenv("FASHION_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/fashion")
    instance.add_dynamic_partitions("stores", [pipeline.store_id])
    failed = run_store(instance, JOB, pipeline.store_id)
    assert isinstance(failed.error, DatabaseUnavailable)
    result = tick(instance, first.cursor)
    known = News.read(result.cursor)[0].of(pipeline.store_id)
    assert (known.failures, known.sink_failed) == (1, True)
    assert requested(tick_at_once(instance, later(result.cursor, 0.5))) == [pipeline.store_id]


def test_a_shop_that_asks_for_a_pause_gets_it(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """Retry-After is remembered from tick to tick: the shop is not asked before, and then all is as ever."""
    pipeline.shop("faults", faults=[{"name": "busy", "status": 429, "retry_after": "3600"}])
    busy = tick(instance)
    pipeline.shop("faults", faults=[])
    quiet = tick(instance, busy.cursor)
    assert requested(quiet) == []
    assert quiet.skip_reason is not None
    assert "1 were not asked: " in str(quiet.skip_reason.skip_message)
    assert requested(tick(instance, later(quiet.cursor, 60))) == [pipeline.store_id]


def test_a_store_with_an_unfinished_run_is_not_requested(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """Neither sensor piles up runs behind one that is under way, whatever started it."""
    run = instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        tags={PARTITION_TAG: pipeline.store_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert unfinished_stores(instance) == {pipeline.store_id}
    waiting = tick(instance)
    assert requested(waiting) == []
    assert waiting.skip_reason is not None
    assert "1 were not asked" in str(waiting.skip_reason.skip_message)
    assert isinstance(due_tick(instance), dg.SkipReason)
    instance.report_run_canceled(run)
    assert requested(tick(instance, later(waiting.cursor, 1))) == [pipeline.store_id]


def test_a_paused_store_is_left_alone(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """``paused: true`` stops runs quietly; what was known of the store is known when it goes on."""
    first = tick(instance)
    pipeline.describe(paused=True)
    pipeline.shop("add", fields={"name": "New", "regular_price": "10"})
    paused = tick(instance, first.cursor)
    assert requested(paused) == []
    assert isinstance(due_tick(instance), dg.SkipReason)
    pipeline.describe()
    assert requested(tick(instance, paused.cursor)) == [pipeline.store_id]


def test_a_failed_run_is_requested_again_after_a_wait(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """Without news, under a key of its own each time, as a sweep where a sweep failed, and until a run succeeds."""
    result = tick(instance)
    keys = [request.run_key for request in result.run_requests or []]
    for attempt, minutes in ((1, 5), (2, 10)):
        ended(instance, pipeline.store_id, "FAILURE", run_config=SWEEP if attempt == 1 else {})
        result = tick(instance, result.cursor)
        assert requested(result) == []
        result = tick(instance, later(result.cursor, minutes - 1))
        assert requested(result) == []
        result = tick(instance, later(result.cursor, 1))
        (request,) = result.run_requests or []
        assert (request.partition_key, request.run_config) == (pipeline.store_id, SWEEP)
        keys.append(request.run_key)
    assert len(set(keys)) == 3
    ended(instance, pipeline.store_id, "SUCCESS")
    result = tick(instance, result.cursor)
    assert requested(result) == []
    pipeline.shop("add", fields={"name": "New", "regular_price": "10"})
    (request,) = tick(instance, result.cursor).run_requests or []
    assert request.run_config == {}


def test_what_a_sensor_knows_survives_a_restart(pipeline: Pipeline, tmp_path: Path) -> None:
    """Another process on the same instance goes on: no run twice, none forgotten, failures before it are counted."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as before:
        first = tick(before)
        ended(before, pipeline.store_id, "FAILURE")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as after:
        result = tick(after, first.cursor)
        assert requested(result) == []
        result = tick(after, later(result.cursor, 5))
        assert requested(result) == [pipeline.store_id]
        after.create_run_for_job(JOB, tags={PARTITION_TAG: pipeline.store_id}, status=dg.DagsterRunStatus.STARTED)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as last:
        assert requested(tick(last, result.cursor)) == []


def test_a_shop_that_is_down_is_not_run_again_before_it_answers(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """A run that failed because its shop is down would fail again: it is requested when the shop is back."""
    result = tick(instance)
    pipeline.shop("faults", faults=[{"name": "maintenance"}])
    ended(instance, pipeline.store_id, "FAILURE")
    result = tick(instance, later(tick(instance, result.cursor).cursor, 60))
    assert requested(result) == []
    pipeline.shop("faults", faults=[])
    assert requested(tick(instance, later(result.cursor, 60))) == [pipeline.store_id]


# --- many stores ------------------------------------------------------------------------------------


@contextmanager
def served(application: Any) -> Iterator[str]:
    """Serve an application on loopback, in a thread of this process; yield its origin."""
    config = uvicorn.Config(application, log_level="critical", date_header=False, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Counting:
    """An application that calls somebody after so many answers."""

    def __init__(self, application: Any, wanted: int, then: Callable[[], None]) -> None:
        self.application = application
        self.wanted = wanted
        self.then = then
        self.answered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.application(scope, receive, send)
        self.answered += 1
        if self.answered == self.wanted:
            self.then()


@pytest.mark.slow
def test_of_many_stores_the_dead_and_the_hanging_delay_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    """480 shops answer while 10 refuse and 10 hang, which give up only when all others were answered: nobody waited.

    At most 200 runs are requested in a tick, the others in the next ones, each store once.
    """
    shops: dict[str, Any] = {}
    hanging = socket.create_server(("127.0.0.1", 0), backlog=64)
    application = Counting(app(shops), 2 * (STORES - 20), hanging.close)
    with hanging, served(application) as origin:
        shops |= model_shops(origin, image_folder=tmp_path, products=2, stores=STORES)
        port = int(origin.rpartition(":")[2])
        text = stores_yaml(port, STORES)
        dead, deaf = list(shops)[::50], list(shops)[25::50]
        for lost, instead in ((dead, 1), (deaf, hanging.getsockname()[1])):
            for store_id in lost:
                text = text.replace(f"127.0.0.1:{port}/{store_id}\n", f"127.0.0.1:{instead}/{store_id}\n")
        (tmp_path / "stores.yaml").write_text(text)
        for name, value in environment(STORES).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FASHION_STORES", str(tmp_path / "stores.yaml"))
        monkeypatch.setattr(sensors, "DEADLINE_S", 60.0)
        results = [tick(instance)]
        answered = application.answered
        first = News.read(results[0].cursor)[0]
        for _ in range(2):
            results.append(tick(instance, results[-1].cursor))
    live = set(shops) - {*dead, *deaf}
    assert len(live) == STORES - 20
    assert (answered, first.last) == (application.wanted, [])
    assert {store_id for store_id, known in first.stores.items() if known.at} | set(first.first) == live
    assert [len(requested(result)) for result in results] == [MOST_REQUESTS, MOST_REQUESTS, 80]
    assert {store_id for result in results for store_id in requested(result)} == live


def test_a_shop_that_hangs_is_told_and_asked_again(
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Past the deadline it is given up, in one line, and has its turn after the others at the next tick."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        pipeline.describe(url=url)
        monkeypatch.setattr(sensors, "DEADLINE_S", 0.2)
        result = tick(instance)
    assert requested(result) == []
    assert f"store {pipeline.store_id} ({url}) gives no answer: none came within 0.2 s" in capsys.readouterr().err
    assert News.read(result.cursor)[0].last == [pipeline.store_id]
    monkeypatch.setattr(sensors, "DEADLINE_S", 60.0)
    pipeline.describe()
    assert requested(tick(instance, result.cursor)) == [pipeline.store_id]


# --- what is due ------------------------------------------------------------------------------------


def due_tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=defs, resources={"postgres": PostgresResource()}
    )
    found = retry_due(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def publish(pipeline: Pipeline, **due_in: timedelta | None) -> None:
    """Let products of a store be tried again in a while, or at no time."""
    now = datetime.now(UTC)
    outcomes = [
        ProductOutcome(
            store_id=pipeline.store_id,
            external_id=external_id,
            product_id=product_id(pipeline.store_id, external_id),
            title="A product",
            stage="fetched_images",
            status=Status.FAILED,
            reasons=(Reason.UNREACHABLE,),
            next_retry_at=None if wait is None else now + wait,
        )
        for external_id, wait in due_in.items()
    ]

    async def write() -> None:
        async with database(pipeline.database_url) as engine:
            await publish_outcomes(engine, store_id=pipeline.store_id, outcomes=outcomes, now=now)

    asyncio.run(write())


def test_what_is_due_is_run_though_the_shop_has_no_news(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """A product whose time has come requests a run of its store, once; one whose time is to come requests none."""
    publish(pipeline, a=5 * MINUTE, b=None)
    quiet = due_tick(instance)
    assert isinstance(quiet, dg.SensorResult)
    assert quiet.skip_reason == dg.SkipReason("nothing is due in any store")
    assert requested(quiet) == []
    publish(pipeline, a=-MINUTE, b=-2 * MINUTE)
    first = due_tick(instance, quiet.cursor)
    assert isinstance(first, dg.SensorResult)
    assert requested(first) == [pipeline.store_id]
    assert [request.partition_keys for request in first.dynamic_partitions_requests or []] == [[pipeline.store_id]]
    again = due_tick(instance, first.cursor)
    assert isinstance(again, dg.SensorResult)
    assert requested(again) == []
    assert again.skip_reason is not None
    memory = Due.read(first.cursor)[0]
    memory.stores[pipeline.store_id].at -= 5 * MINUTE
    publish(pipeline, a=-MINUTE)
    more = due_tick(instance, memory.model_dump_json())
    assert isinstance(more, dg.SensorResult)
    assert requested(more) == [pipeline.store_id]
    assert [it.run_key for it in more.run_requests or []] != [it.run_key for it in first.run_requests or []]


def test_a_store_that_left_the_file_has_nothing_due(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """What is detached is not run, whatever is due in it; a damaged cursor of this sensor is survived too."""
    publish(pipeline, a=-MINUTE)
    assert requested(due_tick(instance, "{]")) == [pipeline.store_id]  # type: ignore[arg-type]
    text = (pipeline.folder / "stores.yaml").read_text()
    (pipeline.folder / "stores.yaml").write_text(text.replace(f'"id": "{pipeline.store_id}"', '"id": "another"'))
    result = due_tick(instance)
    assert isinstance(result, dg.SensorResult)
    assert requested(result) == []
