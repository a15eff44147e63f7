"""How the stores are, as PostgreSQL tells it: what is due, what is left to retry, when each was last read."""

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
"""So many days of a store's figures are kept, each day's last."""

LEAST_HISTORY = 3
"""Days that it takes to say what is usual."""

JUMP = 0.1
"""Points of share above the usual one that are unusual."""

FEW_ATTEMPTS = 4
"""So many failures in a row, and a product was last tried up to forty minutes ago: it may yet recover soon."""

_DATES = {"last_read": "read_at", "last_sweep": "swept_at"}
_HISTORY = "refused_by_day"
_OVERDUE = timedelta(hours=1)
_IS_GONE = f"(reasons && ARRAY{sorted(map(str, GONE))} AND NOT 'awaiting_consent' = ANY(reasons))"
_NEEDS_RETRY = "(status = 'failed' OR 'unreadable' = ANY(reasons) OR (status = 'ok' AND next_retry_at IS NOT NULL))"


def needs_retry(told: ProductOutcome) -> bool:
    """Whether a product is to be tried again: it failed, shows an older picture, or cannot be read at present."""
    older_picture = told.status is Status.OK and told.next_retry_at is not None
    return told.status is Status.FAILED or Reason.UNREADABLE in told.reasons or older_picture


@dataclass(frozen=True, slots=True)
class Day:
    """What stood at the end of a day: products that the shop has, and how many of them were refused."""

    day: date
    products: int
    refused: int

    @property
    def share(self) -> float:
        """Refused, from 0 to 1."""
        return self.refused / self.products if self.products else 0.0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How one store is.

    Attributes:
        products: that the shop has, by the last run.
        refused, left, overdue: of these are refused; are to be tried again; and should have been
            tried more than an hour ago.
        read_at: when its shop was last read to the end; None: never, as far as is known.
        swept_at: when it was last compared as a whole, by a listing that was believed and acted on.
        history: of earlier days, the oldest first.
    """

    products: int = 0
    refused: int = 0
    left: int = 0
    overdue: int = 0
    read_at: datetime | None = None
    swept_at: datetime | None = None
    history: tuple[Day, ...] = ()

    @property
    def share(self) -> float:
        """Refused, from 0 to 1."""
        return self.refused / self.products if self.products else 0.0

    @property
    def usual_share(self) -> float | None:
        """The median of earlier days; None while there are fewer than ``LEAST_HISTORY``."""
        return statistics.median(day.share for day in self.history) if len(self.history) >= LEAST_HISTORY else None

    @property
    def jumped(self) -> bool:
        """Whether clearly more is refused than usual."""
        return self.usual_share is not None and self.share - self.usual_share >= JUMP


@dataclass(frozen=True, slots=True)
class DueProducts:
    """The products of a store that are to be looked at again by now.

    Attributes:
        latest: when the last of them fell due.
        soon: one of them may be well at any moment. Else all have failed for hours, or are pictures
            that were refused, and looking at them a little later loses nothing.
    """

    latest: datetime
    soon: bool


async def due_stores(engine: AsyncEngine, *, now: datetime) -> dict[str, DueProducts]:
    """Return what is due in each store that has something due."""
    told = product_outcomes.c
    refused = (told.status == Status.REJECTED.value) & (told.stage != "raw_products")  # there it may be scheduled
    soon = ~refused & (told.attempts < FEW_ATTEMPTS)
    statement = select(told.store_id, func.max(told.next_retry_at).label("latest"), func.bool_or(soon).label("soon"))
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(statement.where(told.next_retry_at <= now).group_by(told.store_id))
            return {row.store_id: DueProducts(row.latest, row.soon) for row in rows}


async def remember_run(
    engine: AsyncEngine, *, store_id: str, read: Mapping[str, str], outcomes: Iterable[ProductOutcome], now: datetime
) -> None:
    """Keep what ``store_health`` tells of a store later: when its shop was read, and today's figures.

    Args:
        read: the metadata of the table ``raw_products``, whose ``read_at`` and ``swept_at`` are in ISO form; a run
            that could not read the shop brings those of the one before.
    """
    here = [told for told in outcomes if not told.is_gone]
    today = Day(now.astimezone(UTC).date(), len(here), sum(told.status is Status.REJECTED for told in here))
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
    """Return how every store is that PostgreSQL knows of."""
    counts = text(f"""
        SELECT store_id,
            count(*) FILTER (WHERE NOT {_IS_GONE}) AS products,
            count(*) FILTER (WHERE NOT {_IS_GONE} AND status = 'rejected') AS refused,
            count(*) FILTER (WHERE {_NEEDS_RETRY}) AS left,
            count(*) FILTER (WHERE {_NEEDS_RETRY} AND next_retry_at < :overdue) AS overdue
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
                told = found.setdefault(row["store_id"], {})
                if row["key"] in _DATES:
                    told[_DATES[row["key"]]] = datetime.fromisoformat(row["value"])
                else:
                    told["history"] = tuple(day for day in _days(row["value"]) if day.day < today)
    return {store_id: StoreHealth(**told) for store_id, told in sorted(found.items())}


async def left_products(engine: AsyncEngine, *, most: int) -> tuple[ProductOutcome, ...]:
    """Return some of the products that are to be tried again, of all stores, those that waited longest first."""
    statement = select(product_outcomes).where(text(_NEEDS_RETRY))
    ordered = statement.order_by(product_outcomes.c.next_retry_at, product_outcomes.c.store_id).limit(most)
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = (await connection.execute(ordered)).mappings().all()
    return tuple(outcome_of(row) for row in rows)


def _days(value: str | None) -> tuple[Day, ...]:
    return tuple(Day(date.fromisoformat(day), *counts) for day, *counts in json.loads(value or "[]"))
