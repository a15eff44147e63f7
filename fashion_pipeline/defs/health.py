"""What is true of all stores together, as a job of its own that needs neither a store nor a shop.

A check beside a store's asset shows the store that was run last. These look at every store at
once, from what PostgreSQL and Qdrant hold, and name each in a table, beside an asset of their own.
"""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
from croniter import croniter
from dagster._core.scheduler.instigation import SensorInstigatorData as SensorData

from fashion_pipeline.defs.checks import SAMPLE, STORES_ANSWER, Cell, sample, stores_answer, table, warn
from fashion_pipeline.defs.cursors import News
from fashion_pipeline.defs.resources import PostgresResource, QdrantResource
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import Store, StoreList

if TYPE_CHECKING:
    from fashion_pipeline.sinks.desired import ProductOutcome
    from fashion_pipeline.sinks.postgres.health import StoreHealth

ALL_STORES = dg.AssetSpec(
    "all_stores",
    group_name="health",
    description="Every store together, as both sinks hold them. Nothing makes it: the job health checks it.",
)
"""What the checks are about. Of an asset that the stores' runs make, the UI shows no check that is older than its last
run: with hundreds of stores, none of these (Dagster 1.13)."""

STORES_READ = dg.AssetCheckSpec(
    "stores_read",
    asset=ALL_STORES.key,
    description="Each store was compared with its shop since its last but one sweep was due.",
)
STORES_LISTED = dg.AssetCheckSpec(
    "stores_listed", asset=ALL_STORES.key, description="Each store that the sinks hold is in stores.yaml."
)
STORES_LEFT_TO_RETRY = dg.AssetCheckSpec(
    "stores_left_to_retry", asset=ALL_STORES.key, description="What is to be tried again is tried at its time."
)
STORES_REFUSE_AS_USUAL = dg.AssetCheckSpec(
    "stores_refuse_as_usual",
    asset=ALL_STORES.key,
    description="No store refuses a share of its products that is clearly above the median of its earlier days, or "
    "60 % of them while it has none.",
)
STORES_CONFIGURED = dg.AssetCheckSpec(
    "stores_configured", asset=ALL_STORES.key, description="stores.yaml has no mistake; a store with one is not run."
)
STORES_AWAIT_CONSENT = dg.AssetCheckSpec(
    "stores_await_consent",
    asset=ALL_STORES.key,
    description="No removal in any store waits for a person's consent.",
)
STORES_AGREE = dg.AssetCheckSpec(
    "stores_agree",
    asset=ALL_STORES.key,
    description="Each store has as many live rows in PostgreSQL as products in Qdrant's live collection.",
)


@dg.multi_asset_check(
    name="all_stores",
    specs=[
        STORES_CONFIGURED,
        STORES_ANSWER,
        STORES_READ,
        STORES_LISTED,
        STORES_AWAIT_CONSENT,
        STORES_LEFT_TO_RETRY,
        STORES_REFUSE_AS_USUAL,
        STORES_AGREE,
    ],
)
def all_stores(
    context: dg.AssetCheckExecutionContext, postgres: PostgresResource, qdrant: QdrantResource
) -> Iterator[dg.AssetCheckResult]:
    """Check every store that stores.yaml lists or the sinks hold."""
    from fashion_pipeline.sinks.postgres.health import StoreHealth

    now = SystemClock().now()
    listed = Settings.read().store_list()
    yield _stores_configured(listed)
    yield _stores_answer(context.instance, listed, now)
    found, left, rows, points = asyncio.run(_look(postgres, qdrant, now))
    stores = {store_id: found.get(store_id, StoreHealth()) for store_id in sorted({*listed, *found, *rows})}
    yield _stores_read(stores, listed, now)
    yield _stores_listed(stores, listed, rows)
    yield _stores_await_consent(stores)
    yield _stores_left_to_retry(stores, left)
    yield _stores_refuse_as_usual(stores)
    yield _stores_agree(rows, points)


def _stores_configured(listed: StoreList) -> dg.AssetCheckResult:
    problems = [str(error) for error in listed.misconfigured.values()]
    fine = f"{len(listed):,} stores, no mistake"
    return warn(STORES_CONFIGURED, problems, fine=fine, metadata={"misconfigured": len(problems)})


def _stores_answer(instance: dg.DagsterInstance, listed: StoreList, now: datetime) -> dg.AssetCheckResult:
    """Repeat what the sensor saw last: this job asks no shop."""
    cursor = None
    if instance.schedule_storage is not None:  # an instance in memory has none, and no sensors
        for state in instance.all_instigator_state():
            if state.instigator_name == "new_products" and isinstance(state.instigator_data, SensorData):
                cursor = state.instigator_data.cursor
    memory, _ = News.read(cursor)
    memory.keep(listed)
    return stores_answer(memory.silent(now), paused={store.id for store in listed.values() if store.paused})


def _stores_await_consent(stores: "Mapping[str, StoreHealth]") -> dg.AssetCheckResult:
    waiting = {store_id: health.waiting for store_id, health in stores.items() if health.waiting}
    problems = []
    if waiting:
        problems.append(
            f"{sum(waiting.values()):,} removals wait for consent in {len(waiting)} stores: {_some(list(waiting))}. If they "
            "are right, run fashion-pipeline ingest STORE --allow-removals"
        )
    rows: list[dict[str, Cell]] = [{"store": store_id, "products": number} for store_id, number in waiting.items()]
    shown = table(rows, {"store": "string", "products": "int"})
    return warn(STORES_AWAIT_CONSENT, problems, fine="no removal waits for consent", metadata={"waiting": shown})


async def _look(
    postgres: PostgresResource, qdrant: QdrantResource, now: datetime
) -> "tuple[dict[str, StoreHealth], tuple[ProductOutcome, ...], dict[str, int], dict[str, int]]":
    from fashion_pipeline.sinks.postgres.health import products_to_retry, store_health
    from fashion_pipeline.sinks.postgres.queries import live_counts
    from fashion_pipeline.sinks.qdrant.collections import alias_name
    from fashion_pipeline.sinks.qdrant.points import primary_counts

    async with postgres.open() as engine:
        found = await store_health(engine, now=now)
        left = await products_to_retry(engine, most=SAMPLE)
        rows = await live_counts(engine)
    with qdrant.open() as client:
        points = primary_counts(client, alias_name(client), sorted({*found, *rows}))
    return found, left, rows, points


def _stores_read(stores: "Mapping[str, StoreHealth]", listed: StoreList, now: datetime) -> dg.AssetCheckResult:
    rows: list[dict[str, Cell]] = []
    late = []
    for store_id, health in stores.items():
        store = listed.get(store_id)
        state = _state(store_id, listed)
        swept_at = health.swept_at or health.read_at
        hours = {"read": _hours(health.read_at, now), "swept": _hours(swept_at, now)}
        rows.append({"store": store_id, "state": state, **hours})
        if state == "listed" and store is not None and (swept_at is None or swept_at < _last_but_one(store, now)):
            late.append(store_id)
    problems = []
    if late:
        problems.append(
            f"{len(late)} stores were not compared with their shop since their last but one sweep was due: {_some(late)}. "
            "Their runs say why; fashion-pipeline doctor STORE finds out what the shop refuses. If there were no sweeps, "
            "switch on the schedule of their time: another sweep: in stores.yaml is another schedule, which begins off"
        )
    shown = table(rows, {"store": "string", "state": "string", "read": "float", "swept": "float"})
    return warn(
        STORES_READ,
        problems,
        fine="every store was compared with its shop lately",
        metadata={"hours since a store was read, and swept": shown},
    )


def _state(store_id: str, listed: StoreList) -> str:
    if store_id in listed.misconfigured:
        return "misconfigured"
    store = listed.get(store_id)
    return "detached" if store is None else "paused" if store.paused else "listed"


def _hours(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else round((now - moment).total_seconds() / 3600, 1)


def _last_but_one(store: Store, now: datetime) -> datetime:
    times = croniter(store.sweep, now.astimezone(UTC))
    times.get_prev(datetime)
    last_but_one: datetime = times.get_prev(datetime)
    return last_but_one


def _stores_listed(
    stores: "Mapping[str, StoreHealth]", listed: StoreList, rows: Mapping[str, int]
) -> dg.AssetCheckResult:
    detached = [store_id for store_id in stores if store_id not in listed and store_id not in listed.misconfigured]
    paused = [store_id for store_id in stores if store_id in listed and listed[store_id].paused]
    problems = []
    if detached:
        problems.append(
            f"{len(detached)} stores left stores.yaml: {_some(detached)}. What the sinks hold of them stays in search and "
            "grows old: put them back into stores.yaml, or remove them with fashion-pipeline purge STORE"
        )
    metadata = {
        "detached": table(
            [{"store": store_id, "rows": rows.get(store_id, 0)} for store_id in detached],
            {"store": "string", "rows": "int"},
        ),
        "paused": ", ".join(paused) or "none",
    }
    return warn(STORES_LISTED, problems, fine="every store is in stores.yaml", metadata=metadata)


def _stores_left_to_retry(
    stores: "Mapping[str, StoreHealth]", left: "tuple[ProductOutcome, ...]"
) -> dg.AssetCheckResult:
    number = sum(health.needs_retry for health in stores.values())
    overdue = [store_id for store_id, health in stores.items() if health.overdue]
    problems = []
    if overdue:
        problems.append(
            f"{sum(health.overdue for health in stores.values()):,} of {number:,} products to be tried again are more than "
            f"an hour late, in {len(overdue)} stores: {_some(overdue)}. Switch on the sensor retry_due, or run a store "
            "with fashion-pipeline ingest STORE"
        )
    rows: list[dict[str, Cell]] = [
        {"store": store_id, "left": health.needs_retry, "overdue": health.overdue}
        for store_id, health in stores.items()
        if health.needs_retry
    ]
    metadata = {
        "left": number,
        "stores": table(rows, {"store": "string", "left": "int", "overdue": "int"}),
        "sample": sample(left),
    }
    return warn(STORES_LEFT_TO_RETRY, problems, fine=f"{number:,} are left, each tried at its time", metadata=metadata)


def _stores_refuse_as_usual(stores: "Mapping[str, StoreHealth]") -> dg.AssetCheckResult:
    jumped = [store_id for store_id, health in stores.items() if health.jumped]
    problems = []
    if jumped:
        problems.append(
            f"{len(jumped)} stores refuse clearly more of their products than usual: {_some(jumped)}. "
            "fashion-pipeline status STORE counts the reasons; what changed is often the shop's theme, its images' host "
            "or a threshold"
        )
    rows: list[dict[str, Cell]] = [
        {
            "store": store_id,
            "products": health.products,
            "refused": health.refused,
            "percent": round(100 * health.share, 1),
            "usual": None if health.usual_share is None else round(100 * health.usual_share, 1),
        }
        for store_id, health in stores.items()
    ]
    columns = {"store": "string", "products": "int", "refused": "int", "percent": "float", "usual": "float"}
    shown = table(rows, columns)
    return warn(STORES_REFUSE_AS_USUAL, problems, fine="no store refuses more than usual", metadata={"refused": shown})


def _stores_agree(rows: Mapping[str, int], points: Mapping[str, int]) -> dg.AssetCheckResult:
    counted = {store_id: (rows.get(store_id, 0), points.get(store_id, 0)) for store_id in sorted({*rows, *points})}
    wrong = [store_id for store_id, (in_postgres, in_qdrant) in counted.items() if in_postgres != in_qdrant]
    problems = []
    if wrong:
        problems.append(
            f"PostgreSQL and Qdrant differ in {len(wrong)} stores: {_some(wrong)}. fashion-pipeline reconcile STORE "
            "--repair puts a store right"
        )
    shown = table(
        [{"store": store_id, "rows": both[0], "points": both[1]} for store_id, both in counted.items()],
        {"store": "string", "rows": "int", "points": "int"},
    )
    return warn(STORES_AGREE, problems, fine="equal in every store", metadata={"stores": shown})


def _some(store_ids: list[str]) -> str:
    more = len(store_ids) - SAMPLE
    return ", ".join(store_ids[:SAMPLE]) + (f" and {more} more" if more > 0 else "")


health = dg.define_asset_job(
    "health",
    selection=dg.AssetSelection.checks(all_stores),
    description="Looks at all stores together: their age, what is left to retry, what is refused, and both sinks.",
)
health_daily = dg.ScheduleDefinition(
    name="health_daily",
    job=health,
    cron_schedule="0 6 * * *",
    description="Looks at all stores together once a day (UTC); the checks of the asset all_stores show what it found.",
)
