"""The health of the stores: what is due, what needs a retry, when each shop was last read."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.outcomes import GONE, Reason, Status
from fashion_pipeline.read_state import ReadState
from fashion_pipeline.sinks.desired import ProductOutcome
from fashion_pipeline.sinks.outcomes import outcome_of
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import product_outcomes, sink_state
from fashion_pipeline.sinks.postgres.state import remember, remembered

DAYS = 30
"""Days for which a store's figures are kept; of each day, the last ones."""

LEAST_HISTORY = 3
"""Days of figures that it takes to know the usual share."""

TOO_MANY = 0.6
"""While a store has no history, a share of rejected products from here on is reported."""

FEWEST_PRODUCTS = 10
"""A store with fewer products has no share that means anything."""

JUMP = 0.1
"""A share of rejected products this far above the usual one is reported."""

FEW_ATTEMPTS = 4
"""After fewer failures in a row than this, the last attempt is at most forty minutes old: it may recover soon."""

_DATES = {"last_read": "read_at", "last_sweep": "swept_at"}
_HISTORY = "refused_by_day"
_OVERDUE = timedelta(hours=1)
_IS_GONE = f"(reasons && ARRAY{sorted(map(str, GONE))} AND NOT 'awaiting_consent' = ANY(reasons))"
_NEEDS_RETRY = "(status = 'failed' OR 'unreadable' = ANY(reasons) OR (status = 'ok' AND next_retry_at IS NOT NULL))"


def needs_retry(outcome: ProductOutcome) -> bool:
    """Whether a product is tried again: it failed, shows an older image, or cannot be read for now."""
    older_image = outcome.status is Status.OK and outcome.next_retry_at is not None
    return outcome.status is Status.FAILED or Reason.UNREADABLE in outcome.reasons or older_image


@dataclass(frozen=True, slots=True)
class Day:
    """A day's last figures: the products that the shop has, and how many of them were rejected."""

    day: date
    products: int
    refused: int

    @property
    def share(self) -> float:
        """Share of rejected products, from 0 to 1."""
        return self.refused / self.products if self.products else 0.0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """The health of one store.

    Attributes:
        products: products that the shop had at the last run.
        refused, needs_retry, overdue: of these, the rejected ones; those that are tried again; and
            those whose retry was due more than an hour ago.
        waiting: products whose removal waits for a person's consent.
        read_at: when the shop was last read to the end; None: never, as far as is known.
        swept_at: when it was last compared as a whole, with a listing that was accepted.
        history: figures of earlier days, the oldest first.
    """

    products: int = 0
    refused: int = 0
    needs_retry: int = 0
    overdue: int = 0
    waiting: int = 0
    read_at: datetime | None = None
    swept_at: datetime | None = None
    history: tuple[Day, ...] = ()

    @property
    def share(self) -> float:
        """Share of rejected products, from 0 to 1."""
        return self.refused / self.products if self.products else 0.0

    @property
    def usual_share(self) -> float | None:
        """The median share of earlier days; None while there are fewer than ``LEAST_HISTORY``."""
        return statistics.median(day.share for day in self.history) if len(self.history) >= LEAST_HISTORY else None

    @property
    def jumped(self) -> bool:
        """Whether clearly more products are rejected than usual, or, while nothing is usual yet, most of them."""
        if self.usual_share is None:
            return self.products >= FEWEST_PRODUCTS and self.share >= TOO_MANY
        return self.share - self.usual_share >= JUMP


@dataclass(frozen=True, slots=True)
class DueProducts:
    """The products of a store that are due for a retry.

    Attributes:
        latest: when the last of them became due.
        soon: at least one may recover at any moment. Otherwise all have failed for hours, or are
            rejected images, and a later retry loses nothing.
    """

    latest: datetime
    soon: bool


async def due_stores(engine: AsyncEngine, *, now: datetime) -> dict[str, DueProducts]:
    """Return the due products of each store that has any."""
    outcome = product_outcomes.c
    refused = (outcome.status == Status.REJECTED.value) & (outcome.stage != "raw_products")  # there it may be scheduled
    soon = ~refused & (outcome.attempts < FEW_ATTEMPTS)
    statement = select(
        outcome.store_id, func.max(outcome.next_retry_at).label("latest"), func.bool_or(soon).label("soon")
    )
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(statement.where(outcome.next_retry_at <= now).group_by(outcome.store_id))
            return {row.store_id: DueProducts(row.latest, row.soon) for row in rows}


async def remember_run(
    engine: AsyncEngine, *, store_id: str, read: Mapping[str, str], outcomes: Iterable[ProductOutcome], now: datetime
) -> None:
    """Store what ``store_health`` reports later: when the shop was read, and today's figures.

    Args:
        read: the metadata of the table ``raw_products``, with ``read_at`` and ``swept_at`` in ISO form; after a
            run that could not read the shop, they are those of the run before.
    """
    here = [outcome for outcome in outcomes if not outcome.is_gone]
    today = Day(now.astimezone(UTC).date(), len(here), sum(outcome.status is Status.REJECTED for outcome in here))
    with translate(engine.url):
        async with engine.begin() as connection:
            known = _days(await remembered(connection, store_id, _HISTORY))
            days = [*(day for day in known if day.day < today.day), today][-DAYS:]
            written = json.dumps([[day.day.isoformat(), day.products, day.refused] for day in days])
            state = ReadState.from_metadata(read)
            dates = {"last_read": state.read_at, "last_sweep": state.swept_at}
            written_dates = {key: date.isoformat() for key, date in dates.items() if date is not None}
            for key, value in ({_HISTORY: written} | written_dates).items():
                await remember(connection, store_id, key, value)


async def store_health(engine: AsyncEngine, *, now: datetime) -> dict[str, StoreHealth]:
    """Return the health of every store in PostgreSQL."""
    counts = text(f"""
        SELECT store_id,
            count(*) FILTER (WHERE NOT {_IS_GONE}) AS products,
            count(*) FILTER (WHERE NOT {_IS_GONE} AND status = 'rejected') AS refused,
            count(*) FILTER (WHERE {_NEEDS_RETRY}) AS needs_retry,
            count(*) FILTER (WHERE {_NEEDS_RETRY} AND next_retry_at < :overdue) AS overdue,
            count(*) FILTER (WHERE 'awaiting_consent' = ANY(reasons)) AS waiting
        FROM product_outcomes GROUP BY store_id
    """)  # noqa: S608 - constants of this module
    remembered = select(sink_state).where(sink_state.c.key.in_([*_DATES, _HISTORY]))
    today = now.astimezone(UTC).date()
    found: dict[str, dict[str, Any]] = {}
    with translate(engine.url):
        async with engine.connect() as connection:
            for row in (await connection.execute(counts, {"overdue": now - _OVERDUE})).mappings():
                found[row["store_id"]] = {name: row[name] for name in row if name != "store_id"}
            for row in (await connection.execute(remembered)).mappings():
                values = found.setdefault(row["store_id"], {})
                if row["key"] in _DATES:
                    values[_DATES[row["key"]]] = datetime.fromisoformat(row["value"])
                else:
                    values["history"] = tuple(day for day in _days(row["value"]) if day.day < today)
    return {store_id: StoreHealth(**values) for store_id, values in sorted(found.items())}


async def products_to_retry(engine: AsyncEngine, *, most: int) -> tuple[ProductOutcome, ...]:
    """Return some of the products that need a retry, of all stores, those that have waited longest first."""
    statement = select(product_outcomes).where(text(_NEEDS_RETRY))
    ordered = statement.order_by(product_outcomes.c.next_retry_at, product_outcomes.c.store_id).limit(most)
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = (await connection.execute(ordered)).mappings().all()
    return tuple(outcome_of(row) for row in rows)


def _days(value: str | None) -> tuple[Day, ...]:
    return tuple(Day(date.fromisoformat(day), *counts) for day, *counts in json.loads(value or "[]"))
