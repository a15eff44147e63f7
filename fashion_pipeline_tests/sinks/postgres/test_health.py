from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome, product_id
from fashion_pipeline.sinks.outcomes import publish_outcomes
from fashion_pipeline.sinks.postgres.health import (
    DAYS,
    Day,
    DueProducts,
    StoreHealth,
    due_stores,
    needs_retry,
    products_to_retry,
    remember_run,
    store_health,
)
from fashion_pipeline.sinks.postgres.queries import purge_rows
from fashion_pipeline_tests.builders import NOW

HOUR = timedelta(hours=1)


def outcome(store_id: str, name: str, status: Status = Status.OK, *reasons: Reason, **more: Any) -> ProductOutcome:
    return ProductOutcome(
        store_id=store_id,
        external_id=name,
        product_id=product_id(store_id, name),
        title=name,
        stage="postgres_products",
        status=status,
        reasons=reasons,
        **more,
    )


NORTH = (
    outcome("north", "ok"),
    outcome("north", "stale", Status.OK, Reason.HTTP_ERROR, next_retry_at=NOW - 2 * HOUR),
    outcome("north", "hidden", Status.OK, Reason.UNREADABLE, next_retry_at=NOW + HOUR),
    outcome("north", "failed", Status.FAILED, Reason.UNREACHABLE, next_retry_at=NOW - HOUR / 2),
    outcome("north", "waiting", Status.FAILED),
    outcome("north", "scheduled", Status.REJECTED, Reason.NOT_PUBLISHED, next_retry_at=NOW - HOUR),
    outcome("north", "refused", Status.REJECTED, Reason.TOO_SMALL),
    outcome("north", "trashed", Status.REJECTED, Reason.TRASHED),
    outcome("north", "withheld", Status.REJECTED, Reason.AWAITING_CONSENT, Reason.TRASHED),
)


async def publish(engine: AsyncEngine, store_id: str, *outcomes: ProductOutcome) -> None:
    await publish_outcomes(engine, store_id=store_id, outcomes=outcomes, now=NOW)


async def test_what_is_due_is_told_by_store(engine: AsyncEngine) -> None:
    """A store is due by the last of its products whose time has come, whatever they wait for."""
    await publish(engine, "north", *NORTH)
    await publish(engine, "south", outcome("south", "later", Status.FAILED, next_retry_at=NOW + HOUR))
    assert await due_stores(engine, now=NOW) == {"north": DueProducts(NOW - HOUR / 2, soon=True)}
    due = await due_stores(engine, now=NOW + HOUR)
    assert {store_id: outcome.latest for store_id, outcome in due.items()} == {"north": NOW + HOUR, "south": NOW + HOUR}


async def test_what_may_be_well_by_now_is_told_from_what_failed_for_long(engine: AsyncEngine) -> None:
    """A first failure and a scheduled product are retried soon; dead links and rejected images may wait for others."""
    due = {"next_retry_at": NOW - HOUR}
    dead = outcome("north", "dead", Status.FAILED, Reason.UNREACHABLE, attempts=4, **due)
    gone = replace(outcome("north", "gone", Status.REJECTED, Reason.GONE, **due), stage="fetched_images")
    scheduled = replace(outcome("north", "1", Status.REJECTED, Reason.NOT_PUBLISHED, **due), stage="raw_products")
    for more, soon in (
        ((), False),
        ((scheduled,), True),
        ((outcome("north", "2", Status.FAILED, attempts=3, **due),), True),
        ((outcome("north", "3", Status.OK, Reason.HTTP_ERROR, attempts=1, **due),), True),
    ):
        await publish(engine, "north", dead, gone, *more)
        assert (await due_stores(engine, now=NOW))["north"].soon is soon


async def test_a_store_is_counted_as_the_run_counted_it(engine: AsyncEngine) -> None:
    """Gone products are not counted; which products need a retry is the same in SQL and in Python."""
    await publish(engine, "north", *NORTH)
    health = (await store_health(engine, now=NOW))["north"]
    assert health == StoreHealth(products=8, refused=3, needs_retry=4, overdue=1, waiting=1)
    assert sum(map(needs_retry, NORTH)) == health.needs_retry
    found = await products_to_retry(engine, most=3)
    assert [outcome.external_id for outcome in found] == ["stale", "failed", "hidden"]
    assert found[0] == replace(NORTH[1], in_postgres=False)


async def test_each_days_last_figures_are_kept(engine: AsyncEngine) -> None:
    """A store's history is its earlier days, the last 30; a purged store has none."""
    for number in range(DAYS + 5):
        now = NOW + number * timedelta(days=1)
        for outcomes in ((), NORTH[: 1 + number % 2 * 6]):
            read = {"read_at": now.isoformat(), "swept_at": NOW.isoformat()}
            await remember_run(engine, store_id="north", read=read, outcomes=outcomes, now=now)
    await remember_run(engine, store_id="north", read={}, outcomes=NORTH, now=now)
    health = (await store_health(engine, now=now))["north"]
    assert (health.read_at, health.swept_at) == (now, NOW)
    assert len(health.history) == DAYS - 1
    assert health.history[-1] == Day(date(2026, 12, 24), 7, 2)
    assert health.usual_share == 2 / 7
    await purge_rows(engine, "north")
    assert await store_health(engine, now=now) == {}


@pytest.mark.parametrize(
    ("earlier", "refused", "jumped"),
    [
        ([], 100, True),
        ([], 59, False),
        ([10, 10], 100, True),
        ([10, 10, 10], 19, False),
        ([10, 90, 10], 20, True),
        ([90] * 3, 10, False),
    ],
)
def test_a_jump_is_told_from_what_is_usual(earlier: list[int], refused: int, *, jumped: bool) -> None:
    """One odd day does not move the median; before there are three days, most of the products are too many; fewer refusals are no trouble."""
    history = tuple(Day(date(2026, 11, 1 + number), 100, count) for number, count in enumerate(earlier))
    assert StoreHealth(products=100, refused=refused, history=history).jumped is jumped
    assert StoreHealth(history=history).share == 0.0
