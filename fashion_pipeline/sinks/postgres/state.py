"""What PostgreSQL remembers of a store, by key."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from fashion_pipeline.sinks.postgres.schema import (
    sink_state,
)

ROWS_DIGEST = "rows_digest"

"""Name of the digest in ``sink_state``."""


async def remembered(connection: AsyncConnection, store_id: str, key: str) -> str | None:
    """Return what ``sink_state`` holds under a key."""
    return await connection.scalar(
        select(sink_state.c.value).where(sink_state.c.store_id == store_id, sink_state.c.key == key)
    )


async def remember(connection: AsyncConnection, store_id: str, key: str, value: str) -> None:
    """Write a value into ``sink_state``; one that is there already costs nothing."""
    statement = insert(sink_state).values(store_id=store_id, key=key, value=value)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["store_id", "key"],
            set_={"value": statement.excluded.value},
            where=sink_state.c.value != statement.excluded.value,
        )
    )
