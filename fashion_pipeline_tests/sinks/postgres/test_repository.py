"""One product at a time in PostgreSQL, on a real server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from fashion_pipeline.sinks.postgres.repository import ProductRepository
from fashion_pipeline.sinks.postgres.rows import RowCounts, apply_rows
from fashion_pipeline_tests.builders import NOW, shop

STORE = "atelier-nord"
LATER = NOW + timedelta(hours=1)


async def test_the_repository_handles_one_product(engine: AsyncEngine, tmp_path: Path) -> None:
    """Create, look up, exists and count work inside the caller's transaction; create is an upsert."""
    row = shop(tmp_path, 1).desired().products[0]
    async with AsyncSession(engine) as session, session.begin():
        repository = ProductRepository(session)
        assert await repository.exists("1", STORE) is False
        assert await repository.create(row, now=NOW) == row.id
        assert await repository.create(replace(row, title="Coat"), now=LATER) == row.id
        found = await repository.get_by_external_id("1", STORE)
        assert found is not None
        assert (found["title"], found["price"], found["created_at"]) == ("Coat", Decimal("19.90"), NOW)
        assert await repository.get_by_external_id("2", STORE) is None
        assert await repository.exists("1", STORE) is True
        assert (await repository.count(), await repository.count("maison-sud")) == (1, 0)


async def test_a_price_set_for_one_product_and_set_back_in_the_shop_is_put_right(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """Writing one row forgets the store's digest with it, so that the store's next run compares every row."""
    desired = shop(tmp_path, 2).desired()
    await apply_rows(engine, store_id=STORE, desired=desired, now=NOW)
    async with AsyncSession(engine) as session, session.begin():
        await ProductRepository(session).create(replace(desired.products[0], price=Decimal("5.00")), now=LATER)
    assert await apply_rows(engine, store_id=STORE, desired=desired, now=LATER) == RowCounts(written=1)
    async with engine.connect() as connection:
        prices = await connection.scalars(text("SELECT price FROM products"))
        assert prices.all() == [Decimal("19.90")] * 2


async def test_a_product_that_is_rolled_back_leaves_the_digest(engine: AsyncEngine, tmp_path: Path) -> None:
    """Row and digest change in one transaction: neither is written, or both."""
    desired = shop(tmp_path, 2).desired()
    await apply_rows(engine, store_id=STORE, desired=desired, now=NOW)
    state = text("SELECT key, value FROM sink_state ORDER BY key")
    async with engine.connect() as connection:
        before = (await connection.execute(state)).all()
    async with AsyncSession(engine) as session:
        await ProductRepository(session).create(replace(desired.products[0], price=Decimal("5.00")), now=LATER)
        await session.rollback()
    async with engine.connect() as connection:
        assert (await connection.execute(state)).all() == before
