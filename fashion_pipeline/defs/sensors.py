"""What requests a store's run as soon as there is a reason: news in its shop, a failed run, a product that is due."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from fashion_pipeline.defs.automation import (
    SWEEP,
    ingest_store,
    is_sweep,
    missing_partitions,
    runnable,
    unfinished_stores,
)
from fashion_pipeline.defs.checks import evaluation, stores_answer
from fashion_pipeline.defs.cursors import Due, News, StoreNews
from fashion_pipeline.defs.partitions import stores
from fashion_pipeline.defs.resources import PARTITION_TAG, PostgresResource
from fashion_pipeline.defs.runs import failed_on_sink
from fashion_pipeline.outcomes import Clock, SystemClock
from fashion_pipeline.services import Services
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.files import digest
from fashion_pipeline.stores import Store

if TYPE_CHECKING:
    from fashion_pipeline.shop.news import Recent
    from fashion_pipeline.shop.poll import Answers
    from fashion_pipeline.shop.rest import Shop
    from fashion_pipeline.sinks.postgres.health import DueProducts

DEADLINE_S = 7.0
"""For the answers of all shops; with what comes before and after, a tick of 500 stores takes less than 10 s."""
NOT_INGESTING = {"reconcile_store"}
"""Jobs of one store whose end says nothing about its shop."""
MOST_REQUESTS = 200
"""Of one tick; the others follow in the next."""
MOST_ENDED_RUNS = 1000
"""Counted in one tick; the others follow in the next."""
MOST_BYTES = 8 * 1024 * 1024
_OVERLAP = timedelta(minutes=1)
"""Runs that ended so shortly before the last count are looked at again: their rows may have come late."""


@dg.sensor(
    job=ingest_store,
    minimum_interval_seconds=30,
    description="Asks every shop each minute what changed, and requests a run of each store with news.",
)
def new_products(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask every shop, all at once, whether a product is new or changed, and request its store's run.

    A shop that does not answer in time delays no other, and is asked again at the next tick. A
    store whose run failed is run again, whoever started that run, after a wait that doubles from 5
    minutes to 6 hours; from 30 seconds to 15 minutes where PostgreSQL or Qdrant did not answer. A run
    that a person terminated is not. A shop that sends Retry-After is left alone for so long, up to a
    day. One that refuses the keys, or has not answered for 45 minutes, fails the check stores_answer.
    """
    clock = SystemClock()
    now = clock.now()
    memory, problem = News.read(context.cursor)
    if problem:
        context.log.warning("the cursor cannot be read (%s): it is begun anew, and every store is run once", problem)
    settings = Settings.read()
    listed = settings.store_list()
    ready = runnable(listed, busy=unfinished_stores(context.instance))
    memory.keep([*listed, *listed.misconfigured])
    for store_id, error in listed.misconfigured.items():
        context.log.warning("store %s is misconfigured and is not asked: %s", store_id, error)
    _count_ended_runs(context.instance, memory, now=now)
    asked = [ready[store_id] for store_id in memory.in_turn(ready) if memory.may_ask(store_id, now)]
    answers = asyncio.run(_ask(asked, memory, settings=settings, clock=clock))
    for store_id, why in _silence(answers).items():
        context.log.warning("store %s (%s) gives no answer: %s", store_id, listed[store_id].url, why)
    _record_silence(answers, memory, now=now)
    for store_id, seconds in answers.pauses.items():
        memory.of(store_id).pause(seconds, now=now)
    requests = _requests([store.id for store in asked], answers.recent, memory, now=now)
    if memory.is_full_round(now):
        memory.asked_at = now
    memory.first += sorted(answers.not_asked)
    memory.last = sorted(answers.late)
    added = missing_partitions(context.instance, listed)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else _nothing_new(listed, asked, answers),
        dynamic_partitions_requests=[stores.build_add_request(added)] if added else [],
        asset_events=_silence_report(memory, listed, now=now),
        cursor=memory.model_dump_json(),
    )


def _record_silence(answers: "Answers", memory: News, *, now: datetime) -> None:
    """Record which shops answered and which did not; one whose turn did not come keeps what is known of it."""
    for store_id in answers.recent:
        memory.of(store_id).answered()
    for store_id, why in answers.failed.items():
        memory.of(store_id).kept_silent(why, refused=store_id in answers.refused, now=now)
    for store_id in answers.late:
        memory.of(store_id).kept_silent(f"no answer within {DEADLINE_S:g} s", refused=False, now=now)


def _silence_report(memory: News, listed: Mapping[str, Store], *, now: datetime) -> list[dg.AssetCheckEvaluation]:
    """Report the silent shops in the check ``stores_answer`` when they are others than before."""
    silent = memory.silent(now)
    if memory.reported == list(silent):
        return []
    memory.reported = list(silent)
    return [evaluation(stores_answer(silent, paused={store.id for store in listed.values() if store.paused}))]


def _count_ended_runs(instance: dg.DagsterInstance, memory: News, *, now: datetime) -> None:
    """Record which runs succeeded and failed since the last tick, whoever started them.

    Only a person terminates a run: it is not retried, until there is news or a sweep is due.
    """
    from dagster import DagsterRunStatus as RunStatus

    since, memory.checked_at = memory.checked_at, now
    if since is None:  # every store is about to be run
        return
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED],
            updated_after=since - _OVERLAP,
        ),
        limit=MOST_ENDED_RUNS,
        order_by="update_timestamp",
        ascending=True,
    )
    if len(records) == MOST_ENDED_RUNS:
        memory.checked_at = records[-1].update_timestamp.replace(tzinfo=UTC)
    for record in records:
        run = record.dagster_run
        known = memory.stores.get(run.tags.get(PARTITION_TAG, ""))
        if known is None or run.job_name in NOT_INGESTING:
            continue
        ended_at = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
        ended_at = ended_at.replace(tzinfo=UTC)
        if run.status is not RunStatus.FAILURE:
            known.settle(ended_at=ended_at)
        elif not known.is_counted(ended_at):
            sink_failed = failed_on_sink(instance, run.run_id)
            known.fail(run.run_id, ended_at=ended_at, sweep=is_sweep(run), sink_failed=sink_failed)


async def _ask(asked: Sequence[Store], memory: News, *, settings: Settings, clock: Clock) -> "Answers":
    """Ask the shops, in this order, what changed since their last answers."""
    from fashion_pipeline.shop.poll import poll
    from fashion_pipeline.shop.read import OVERLAP
    from fashion_pipeline.shop.rest import Shop
    from fashion_pipeline.web.client import Limits

    limits = Limits(max_bytes=MOST_BYTES, deadline_s=DEADLINE_S, attempts=1)  # the next tick is the next attempt
    services = Services(settings)

    @contextlib.asynccontextmanager
    async def open_shop(store: Store) -> "AsyncIterator[Shop]":
        async with services.web(store, clock) as web:
            yield Shop(store, web, limits=limits)

    questions = [(store, (memory.of(store.id).at or clock.now()) - OVERLAP) for store in asked]
    return await poll(questions, open_shop=open_shop, clock=clock, deadline_s=DEADLINE_S)


def _requests(
    asked: Sequence[str], recent: "Mapping[str, Recent]", memory: News, *, now: datetime
) -> list[dg.RunRequest]:
    """Request the runs of stores with news, or whose last run failed, and remember what they answered.

    Stores beyond ``MOST_REQUESTS`` are not remembered, so that they have news at the next tick too;
    their turn comes first then.
    """
    requests: list[dg.RunRequest] = []
    memory.first = []
    for store_id in asked:
        answer = recent.get(store_id)
        if answer is None:
            continue
        known = memory.of(store_id)
        change = _change(known, answer, now=now)
        if change and len(requests) == MOST_REQUESTS:
            memory.first.append(store_id)
            continue
        if change:
            key = f"{store_id} {known.failures} {change}"
            config = SWEEP if known.sweep else None
            requests.append(dg.RunRequest(run_key=key, partition_key=store_id, run_config=config))
        known.at, known.rows = answer.at, sorted(answer.rows)
    return requests


def _change(known: StoreNews, answer: "Recent", *, now: datetime) -> str:
    """Return what a run is requested for, in a form that no other reason has, or ``""`` for nothing.

    A tick that is evaluated twice from one cursor requests the same run twice: Dagster starts it once.
    """
    if known.failures:
        return f"after {known.failed_run}"
    if known.at is None:
        return f"first {now.isoformat()}"
    news = sorted(answer.rows - set(known.rows))
    return digest((row, known.at.isoformat()) for row in news)[:16] if news else ""


def _silence(answers: "Answers") -> dict[str, str]:
    """Say of each shop that was asked and did not answer why not, in one line."""
    late = dict.fromkeys(answers.late, f"none came within {DEADLINE_S:g} s; it is asked again at the next tick")
    unasked = dict.fromkeys(answers.not_asked, "its turn did not come in time; it is the first at the next tick")
    return dict(sorted({**answers.failed, **late, **unasked}.items()))


def _nothing_new(listed: Mapping[str, Store], asked: Sequence[Store], answers: "Answers") -> str:
    """Say in the list of ticks why nothing was requested."""
    silent = len(asked) - len(answers.recent)
    left_out = len(listed) - len(asked)
    said = f"no news in {len(answers.recent)} stores"
    said += f"; {silent} gave no answer, see the log" if silent else ""
    return said + (
        f"; {left_out} were not asked: paused, being run, waiting after a failed run, or have asked for a pause"
        if left_out
        else ""
    )


@dg.sensor(
    job=ingest_store,
    minimum_interval_seconds=60,
    description="Requests a run of each store with a product that is to be tried again, or published, by now.",
)
def retry_due(context: dg.SensorEvaluationContext, postgres: PostgresResource) -> dg.SensorResult | dg.SkipReason:
    """Request a run of each store with a product that is to be tried again now, or published by now.

    The sensor new_products does not notice these: an image host that recovers changes nothing in the
    shop, and a scheduled product that is published keeps its date.
    """
    now = SystemClock().now()
    memory, problem = Due.read(context.cursor)
    if problem:
        context.log.warning("the cursor cannot be read (%s): it is begun anew", problem)
    ready = runnable(Settings.read().store_list(), busy=unfinished_stores(context.instance))
    if not ready:
        return dg.SkipReason("no store may be run: they are paused, or a run of theirs is under way")
    due = asyncio.run(_due_stores(postgres, now))
    requests: list[dg.RunRequest] = []
    memory.keep(due, now=now)
    for store_id in memory.in_turn(due.keys() & ready.keys()):
        if len(requests) < MOST_REQUESTS and (
            key := memory.request(store_id, latest=due[store_id].latest, soon=due[store_id].soon, now=now)
        ):
            requests.append(dg.RunRequest(run_key=key, partition_key=store_id))
    added = missing_partitions(
        context.instance, {str(request.partition_key): ready[str(request.partition_key)] for request in requests}
    )
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else _nothing_due(due),
        dynamic_partitions_requests=[stores.build_add_request(added)] if added else [],
        cursor=memory.model_dump_json(),
    )


def _nothing_due(due: "Mapping[str, DueProducts]") -> str:
    if not due:
        return "nothing is due in any store"
    return (
        f"{len(due)} stores have something due, and none of them may be run now: paused, being run, or just run for it"
    )


async def _due_stores(postgres: PostgresResource, now: datetime) -> "dict[str, DueProducts]":
    from fashion_pipeline.sinks.postgres.health import due_stores

    async with postgres.open() as engine:
        return await due_stores(engine, now=now)
