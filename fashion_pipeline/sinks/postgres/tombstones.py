"""What was purged by hand, and must not come back by itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.errors import StorePurged
from fashion_pipeline.records import Product, Table, redacted
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import products, tombstones

_WHOLE_STORE = ""


async def purged_products(engine: AsyncEngine, store_id: str) -> frozenset[str]:
    """Return the ids of a store's purged products.

    Raises:
        StorePurged: the whole store was.
    """
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(select(tombstones).where(tombstones.c.store_id == store_id))
            known = {row.external_id: row.purged_at for row in rows}
            cut_off = _WHOLE_STORE in known and await connection.scalar(
                select(exists().where(products.c.store_id == store_id))
            )
    if _WHOLE_STORE in known:
        rest = f"; its purge was cut off: fashion-pipeline purge {store_id} finishes it" if cut_off else ""
        msg = (
            f"store {store_id} was purged on {known[_WHOLE_STORE]:%Y-%m-%d} and is not read any more: take it out of "
            f"stores.yaml, or let it come back with fashion-pipeline purge {store_id} --undo{rest}"
        )
        raise StorePurged(msg)
    return frozenset(known)


async def without_purged(engine: AsyncEngine, store_id: str, table: Table[Product]) -> Table[Product]:
    """Return a store's products with what is left of the purged ones, should their purge have been cut off.

    Raises:
        StorePurged: the whole store was.
    """
    purged = await purged_products(engine, store_id)
    return Table(tuple(redacted(row) if row.external_id in purged else row for row in table.rows), table.metadata)


async def purged_stores(engine: AsyncEngine) -> frozenset[str]:
    """Return the stores that were purged as a whole."""
    with translate(engine.url):
        async with engine.connect() as connection:
            statement = select(tombstones.c.store_id).where(tombstones.c.external_id == _WHOLE_STORE)
            return frozenset(await connection.scalars(statement))


async def set_tombstone(engine: AsyncEngine, store_id: str, external_id: str | None, *, now: datetime) -> None:
    """Remember that a product, or (None) a whole store, was purged; the first date stays."""
    statement = insert(tombstones).values(store_id=store_id, external_id=external_id or _WHOLE_STORE, purged_at=now)
    with translate(engine.url):
        async with engine.begin() as connection:
            await connection.execute(statement.on_conflict_do_nothing())


async def lift_tombstone(engine: AsyncEngine, store_id: str, external_id: str | None) -> bool:
    """Forget that a product, or (None) a whole store, was purged; return whether it was."""
    where = tombstones.c.store_id == store_id, tombstones.c.external_id == (external_id or _WHOLE_STORE)
    with translate(engine.url):
        async with engine.begin() as connection:
            return (await connection.execute(delete(tombstones).where(*where))).rowcount > 0
