"""Queries on PostgreSQL's table ``products``."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import product_outcomes, products, sink_state
from fashion_pipeline.sinks.postgres.state import ROWS_DIGEST


async def first_seen(engine: AsyncEngine, store_id: str) -> dict[str, datetime]:
    """Return when each product of a store was first seen, by external id; archived rows are included."""
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.external_id, products.c.created_at).where(products.c.store_id == store_id)
            )
            return {row.external_id: row.created_at for row in rows}


async def live_ids(engine: AsyncEngine, store_id: str) -> frozenset[UUID]:
    """Return the ids of a store's live rows."""
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.id).where(products.c.store_id == store_id, products.c.archived_at.is_(None))
            )
            return frozenset(rows.scalars())


async def live_external_ids(engine: AsyncEngine, store_id: str) -> frozenset[str]:
    """Return the external ids of a store's live rows."""
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.external_id).where(products.c.store_id == store_id, products.c.archived_at.is_(None))
            )
            return frozenset(rows.scalars())


async def live_counts(engine: AsyncEngine) -> dict[str, int]:
    """Return the number of live rows of each store that has any."""
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.store_id, func.count().label("rows"))
                .where(products.c.archived_at.is_(None))
                .group_by(products.c.store_id)
            )
            return {row.store_id: row.rows for row in rows}


async def known_stores(engine: AsyncEngine) -> frozenset[str]:
    """Return the stores that have rows, live or archived."""
    with translate(engine.url):
        async with engine.connect() as connection:
            return frozenset(await connection.scalars(select(products.c.store_id).distinct()))


async def has_row(engine: AsyncEngine, store_id: str, external_id: str) -> bool:
    """Whether PostgreSQL holds anything of a product: a row, archived or not, or an outcome."""
    with translate(engine.url):
        async with engine.connect() as connection:
            for table in (products, product_outcomes):
                there = select(table.c.store_id).where(table.c.store_id == store_id, table.c.external_id == external_id)
                if (await connection.execute(there)).first() is not None:
                    return True
    return False


async def purge_rows(engine: AsyncEngine, store_id: str, external_id: str | None = None) -> int:
    """Delete everything of a store, or of one product; return the number of deleted rows of ``products``.

    Archived rows are included, and the store's digest, so that its next run compares every row.
    """

    def of(table: Table) -> list[ColumnElement[bool]]:
        narrowed = [] if external_id is None else [table.c.external_id == external_id]
        return [table.c.store_id == store_id, *narrowed]

    with translate(engine.url):
        async with engine.begin() as connection:
            state = delete(sink_state).where(sink_state.c.store_id == store_id)
            await connection.execute(state if external_id is None else state.where(sink_state.c.key == ROWS_DIGEST))
            await connection.execute(delete(product_outcomes).where(*of(product_outcomes)))
            return (await connection.execute(delete(products).where(*of(products)))).rowcount


async def count_live(connection: AsyncConnection, store_id: str) -> int:
    """Count a store's live rows."""
    counted = await connection.scalar(
        select(func.count())
        .select_from(products)
        .where(products.c.store_id == store_id, products.c.archived_at.is_(None))
    )
    return int(counted or 0)
