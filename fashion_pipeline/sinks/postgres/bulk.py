"""Copy many rows into PostgreSQL at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fashion_pipeline.outcomes import Status


async def copy_into(
    connection: AsyncConnection, name: str, like: Table, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Copy rows into a temporary table that exists until the transaction ends.

    Nested loops are switched off for the transaction: PostgreSQL takes a table that has just been
    filled for almost empty, and would scan it once for every row of the other table.
    """
    await connection.execute(text("SET LOCAL enable_nestloop = off"))
    types = ", ".join(f"{column} {like.c[column].type.compile(connection.dialect)}" for column in columns)
    await connection.execute(text(f"CREATE TEMPORARY TABLE {name} ({types}) ON COMMIT DROP"))
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None:
        msg = "a connection from the pool has no driver's connection"
        raise TypeError(msg)
    async with driver.cursor() as cursor, cursor.copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            await copy.write_row([_plain(row[column]) for column in columns])
    await connection.execute(text(f"ANALYZE {name}"))


def _plain(value: Any) -> Any:
    """Return a value as COPY takes it: a list for a tuple, a string for a member of an enum."""
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value.value if isinstance(value, Status) else value
