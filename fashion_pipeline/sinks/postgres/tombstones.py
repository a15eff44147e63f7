"""Tombstones: products and stores that were purged, and that no run may bring back."""

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
        StorePurged: the whole store was purged.
    """
    with translate(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(select(tombstones).where(tombstones.c.store_id == store_id))
            known = {row.external_id: row.purged_at for row in rows}
            interrupted = _WHOLE_STORE in known and await connection.scalar(
                select(exists().where(products.c.store_id == store_id))
            )
    if _WHOLE_STORE in known:
        rest = f"; its purge was interrupted: fashion-pipeline purge {store_id} finishes it" if interrupted else ""
        msg = (
            f"store {store_id} was purged on {known[_WHOLE_STORE]:%Y-%m-%d} and is no longer read: remove it from "
            f"stores.yaml, or bring it back with fashion-pipeline purge {store_id} --undo{rest}"
        )
        raise StorePurged(msg)
    return frozenset(known)


async def without_purged(engine: AsyncEngine, store_id: str, table: Table[Product]) -> Table[Product]:
    """Return a store's products; those that were purged are redacted, in case their purge was interrupted.

    Raises:
        StorePurged: the whole store was purged.
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
    """Record that a product, or (None) a whole store, was purged; the first date stays."""
    statement = insert(tombstones).values(store_id=store_id, external_id=external_id or _WHOLE_STORE, purged_at=now)
    with translate(engine.url):
        async with engine.begin() as connection:
            await connection.execute(statement.on_conflict_do_nothing())


async def lift_tombstone(engine: AsyncEngine, store_id: str, external_id: str | None) -> bool:
    """Delete the tombstone of a product, or (None) of a whole store; return whether there was one."""
    where = tombstones.c.store_id == store_id, tombstones.c.external_id == (external_id or _WHOLE_STORE)
    with translate(engine.url):
        async with engine.begin() as connection:
            return (await connection.execute(delete(tombstones).where(*where))).rowcount > 0
