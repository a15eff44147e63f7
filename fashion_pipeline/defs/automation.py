"""What starts a store's run by itself: a sensor on news in the shops, and the sweeps' schedules."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from fashion_pipeline.defs.assets import TABLE_ASSETS
from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.defs.resources import PARTITION_TAG, open_shop
from fashion_pipeline.errors import FashionError, StoresFileError
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.settings import DEFAULT_SWEEP, Settings, Store
from fashion_pipeline.storage import digest

if TYPE_CHECKING:
    from fashion_pipeline.shop.news import Recent

TICK_DEADLINE_S = 30.0
STORES_AT_ONCE = 50
MOST_REQUESTS = 200

ingest_store = dg.define_asset_job(
    "ingest_store",
    selection=dg.AssetSelection.assets(*TABLE_ASSETS, "postgres_products", "qdrant_points"),
    description="All six assets of one store: reads its shop, and brings both sinks into step with it.",
)


@dg.sensor(job=ingest_store, minimum_interval_seconds=60)
def new_products(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask every shop, in parallel, whether a product is new or changed, and request its store's run.

    A shop that does not answer in time delays no other: it is asked again at the next tick.
    """
    listed = {store.id: store for store in Settings.read().store_list().values() if not store.paused}
    memory: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
    busy = unfinished_stores(context.instance)
    asked = {store_id: store for store_id, store in listed.items() if store_id not in busy}
    answers = asyncio.run(_ask_all(asked, memory))
    requests: list[dg.RunRequest] = []
    for store_id, answer in answers.items():
        if isinstance(answer, str):
            context.log.warning("%s: %s", store_id, answer)
            continue
        known = memory.get(store_id)
        news = answer.rows - set(known["rows"]) if known else {"first run"}
        if news and len(requests) == MOST_REQUESTS:
            continue  # not remembered either: found again at the next tick
        memory[store_id] = {"at": answer.at.isoformat(), "rows": sorted(answer.rows)}
        if news:
            key = f"{store_id} {digest((row, '') for row in answer.rows)[:16]} {answer.at.isoformat() if not known else ''}"
            requests.append(dg.RunRequest(run_key=key.strip(), partition_key=store_id))
    missing = [store_id for store_id in listed if store_id not in context.instance.get_dynamic_partitions("stores")]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[stores.build_add_request(missing)] if missing else [],
        cursor=json.dumps({store_id: kept for store_id, kept in memory.items() if store_id in listed}),
    )


async def _ask_all(asked: Mapping[str, Store], memory: Mapping[str, Any]) -> "dict[str, Recent | str]":
    """Return each shop's recent changes, or the sentence that says why there is no answer."""
    from fashion_pipeline.shop.news import recent_changes
    from fashion_pipeline.shop.read import OVERLAP

    turns = asyncio.Semaphore(STORES_AT_ONCE)
    answers: dict[str, Recent | str] = dict.fromkeys(asked, f"no answer within {TICK_DEADLINE_S:g} s")

    async def ask(store: Store) -> None:
        clock = SystemClock()
        known = memory.get(store.id)
        since = datetime.fromisoformat(known["at"]) if known else clock.now()
        try:
            async with turns, open_shop(store, clock) as shop:
                answers[store.id] = await recent_changes(shop, since.astimezone(UTC) - OVERLAP, clock=clock)
        except FashionError as error:
            answers[store.id] = str(error)

    tasks = [asyncio.create_task(ask(store)) for store in asked.values()]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=TICK_DEADLINE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return answers


def unfinished_stores(instance: dg.DagsterInstance) -> set[str]:
    """Return the stores that a run is under way or queued for."""
    from dagster import DagsterRunStatus as RunStatus

    unfinished = [RunStatus.QUEUED, RunStatus.NOT_STARTED, RunStatus.STARTING, RunStatus.STARTED, RunStatus.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(job_name=ingest_store.name, statuses=unfinished))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


def sweep_schedules() -> list[dg.ScheduleDefinition]:
    """One schedule for each distinct ``sweep`` in stores.yaml, requesting the sweep of its stores.

    Without a stores.yaml there is one for the default time, so that the location still loads.
    """
    try:
        listed = Settings.read().store_list()
    except StoresFileError as error:
        if Settings.read().stores.exists():
            raise
        dg.get_dagster_logger().info("%s", error)
        return [_sweep(DEFAULT_SWEEP)]
    return [_sweep(cron) for cron in sorted({store.sweep for store in listed.values()} or {DEFAULT_SWEEP})]


def _sweep(cron: str) -> dg.ScheduleDefinition:
    name = "sweep_" + "_".join(cron.replace("*", "x").replace("/", "by").replace("-", "to").replace(",", "and").split())

    @dg.schedule(
        name=name,
        job=ingest_store,
        cron_schedule=cron,
        description=f"Compares the whole shop of every store with sweep: '{cron}' (UTC) with both sinks.",
    )
    def sweep(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        busy = unfinished_stores(context.instance)
        due = [
            store.id
            for store in Settings.read().store_list().values()
            if store.sweep == cron and not store.paused and store.id not in busy
        ]
        missing = [store_id for store_id in due if store_id not in context.instance.get_dynamic_partitions("stores")]
        if missing:
            context.instance.add_dynamic_partitions("stores", missing)
        if not due:
            return dg.SkipReason("no store is due: they are paused, or a run of theirs is under way")
        config = {"resources": {"run": {"config": {"sweep": True}}}}
        at = context.scheduled_execution_time.isoformat()
        return [
            dg.RunRequest(run_key=f"{store_id} sweep {at}", partition_key=store_id, run_config=config)
            for store_id in due
        ]

    return sweep
