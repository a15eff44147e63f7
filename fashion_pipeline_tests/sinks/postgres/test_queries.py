"""Reading and purging rows, on a real server."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.sinks.desired import Desired
from fashion_pipeline.sinks.postgres.queries import purge_rows
from fashion_pipeline.sinks.postgres.rows import RowCounts, apply_rows
from fashion_pipeline.sinks.postgres.schema import products
from fashion_pipeline_tests.builders import NOW, shop

STORE = "atelier-nord"


async def test_stores_do_not_touch_each_other(engine: AsyncEngine, tmp_path: Path) -> None:
    """An empty store archives its own rows only, and purging one leaves the other."""
    made = shop(tmp_path, 2)
    await apply_rows(engine, store_id=STORE, desired=made.desired(), now=NOW)
    empty = Desired((), ())
    assert await apply_rows(engine, store_id="maison-sud", desired=empty, now=NOW) == RowCounts()
    assert await purge_rows(engine, "maison-sud") == 0
    assert await purge_rows(engine, STORE) == 2
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(products)) == 0
