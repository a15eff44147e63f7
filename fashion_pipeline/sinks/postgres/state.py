"""Small values that PostgreSQL keeps for each store, by key: the table ``sink_state``."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fashion_pipeline.sinks.postgres.schema import sink_state

ROWS_DIGEST = "rows_digest"
"""Key of the digest of a store's rows."""


async def remembered(connection: AsyncConnection, store_id: str, key: str) -> str | None:
    """Return the value stored under a key, or None."""
    return await connection.scalar(
        select(sink_state.c.value).where(sink_state.c.store_id == store_id, sink_state.c.key == key)
    )


async def remember(connection: AsyncConnection, store_id: str, key: str, value: str) -> None:
    """Store a value under a key. An equal value is not written again."""
    statement = insert(sink_state).values(store_id=store_id, key=key, value=value)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["store_id", "key"],
            set_={"value": statement.excluded.value},
            where=sink_state.c.value != statement.excluded.value,
        )
    )


async def forget(connection: AsyncConnection, store_id: str, key: str) -> None:
    """Delete the value stored under a key."""
    await connection.execute(delete(sink_state).where(sink_state.c.store_id == store_id, sink_state.c.key == key))
