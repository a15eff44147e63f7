"""Many rows into PostgreSQL at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fashion_pipeline.outcomes import Status


async def copy_into(
    connection: AsyncConnection, name: str, like: Table, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Put rows into a temporary table that lives as long as the transaction, and have it joined whole.

    Nested loops are switched off until the transaction ends: of a table that has just been filled
    PostgreSQL believes that it is almost empty, and would walk through it once for every row.
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
    """Return what COPY's text form takes: lists for tuples, strings for members of an enum."""
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value.value if isinstance(value, Status) else value
