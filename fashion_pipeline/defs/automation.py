"""The job of one store, and what starts it by the clock: the sweeps' schedules."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from fashion_pipeline.defs.assets import TABLE_ASSETS
from fashion_pipeline.defs.resources import PARTITION_TAG
from fashion_pipeline.errors import FashionError
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import DEFAULT_SWEEP, Store

SWEEP: dict[str, Any] = {"resources": {"run": {"config": {"sweep": True}}}}
"""The configuration of a run that compares the whole shop."""

ingest_store = dg.define_asset_job(
    "ingest_store",
    selection=dg.AssetSelection.assets(*TABLE_ASSETS, "postgres_products", "qdrant_points"),
    description="All six assets of one store: reads its shop, and brings both sinks into step with it.",
)


def is_sweep(run: dg.DagsterRun) -> bool:
    """Whether a run was to compare the whole shop."""
    resources: Any = run.run_config.get("resources", {})
    return bool(resources.get("run", {}).get("config", {}).get("sweep"))


def runnable(listed: Mapping[str, Store], *, busy: set[str]) -> dict[str, Store]:
    """Return the stores that may be run by themselves: neither paused nor busy."""
    return {store_id: store for store_id, store in listed.items() if not store.paused and store_id not in busy}


def unfinished_stores(instance: dg.DagsterInstance, *, sweeps: bool = False) -> set[str]:
    """Return the stores that a run (or with ``sweeps``, a sweep) is under way or queued for, whatever started it."""
    from dagster import DagsterRunStatus as RunStatus

    unfinished = [RunStatus.QUEUED, RunStatus.NOT_STARTED, RunStatus.STARTING, RunStatus.STARTED, RunStatus.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(statuses=unfinished))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags and (is_sweep(run) or not sweeps)}


def missing_partitions(instance: dg.DagsterInstance, listed: Mapping[str, Store]) -> list[str]:
    """Return the stores that are no partition yet. One that left ``stores.yaml`` stays one, with its history."""
    known = set(instance.get_dynamic_partitions("stores"))
    return [store_id for store_id in listed if store_id not in known]


def sweep_schedules() -> list[dg.ScheduleDefinition]:
    """One schedule for each distinct ``sweep`` in stores.yaml, requesting the sweep of its stores.

    Where stores.yaml cannot be read there is one for the default time, so that the location still loads.
    """
    try:
        listed = Settings.read().store_list()
    except (
        FashionError
    ) as error:  # the location loads all the same: its sensors and the check stores_configured report it
        dg.get_dagster_logger().warning("%s", error)
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
        listed = Settings.read().store_list()
        # Another run is waited for: a store that always has news would else never be swept.
        ready = runnable(listed, busy=unfinished_stores(context.instance, sweeps=True))
        due = {store_id: store for store_id, store in ready.items() if store.sweep == cron}
        if not due:
            return dg.SkipReason("no store is due: they are paused, or their last sweep is still under way")
        if missing := missing_partitions(context.instance, due):
            context.instance.add_dynamic_partitions("stores", missing)
        at = context.scheduled_execution_time.isoformat()
        return [
            dg.RunRequest(run_key=f"{store_id} sweep {at}", partition_key=store_id, run_config=SWEEP)
            for store_id in due
        ]

    return sweep
