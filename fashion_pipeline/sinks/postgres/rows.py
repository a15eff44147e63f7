"""PostgreSQL: one row for every published product.

Bulk writes use COPY into a temporary table and an anti-join, so that an unchanged row costs neither
a write nor a lock. The digest of a store's rows is written in the same transaction to the same
database: a restored backup brings its own digest, which then does not match.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, any_, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fashion_pipeline.sinks.desired import ROW_FIELDS, Desired, DesiredProduct
from fashion_pipeline.sinks.plan import Removals, guard_removals
from fashion_pipeline.sinks.postgres.bulk import copy_into
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.lock import assert_held
from fashion_pipeline.sinks.postgres.queries import count_live
from fashion_pipeline.sinks.postgres.schema import products
from fashion_pipeline.sinks.postgres.state import ROWS_DIGEST, remember, remembered

GUARDED = timedelta(days=7)
"""Removals within this time are counted together."""

_CONSENT = "consented_at"


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What was written, or in a dry run would be.

    Attributes:
        withheld, kept: external ids of rows that are not desired and stay live; see ``Removals``.
    """

    written: int = 0
    archived: int = 0
    withheld: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


async def apply_rows(
    engine: AsyncEngine,
    *,
    store_id: str,
    desired: Desired,
    now: datetime,
    full: bool = False,
    allow_removals: bool = False,
    dry_run: bool = False,
) -> RowCounts:
    """Bring a store's rows to the desired state, in one transaction.

    Where the stored digest and the number of rows match, no row is read.

    Args:
        full: compare every column, whatever the digest is.
        allow_removals: archive any number of rows; a person has consented.
        dry_run: write nothing, and return what would be written.
    """
    with translate(engine.url):
        async with engine.connect() as connection, connection.begin() as transaction:
            await assert_held(connection, store_id)
            await _finish_purges(connection, store_id)
            live = await count_live(connection, store_id)
            if not full and live == len(desired.products):
                known = await remembered(connection, store_id, ROWS_DIGEST)
                if known == desired.rows_digest:
                    await (transaction.rollback() if dry_run else transaction.commit())
                    return RowCounts()
            await copy_into(connection, "desired_rows", products, ROW_FIELDS, map(row_values, desired.products))
            await free_ids(connection, store_id)
            removals = await removals_of(connection, store_id, desired, live, now, allow=allow_removals)
            written = await _upsert(connection, store_id, now)
            await _archive(connection, store_id, removals.archived, now)
            if allow_removals and removals.archived:
                await remember(connection, store_id, _CONSENT, now.isoformat())
            as_desired = not removals.withheld and not removals.kept
            await remember(connection, store_id, ROWS_DIGEST, desired.rows_digest if as_desired else "")
            if dry_run:
                await transaction.rollback()
            else:
                await transaction.commit()
    withheld, kept = tuple(sorted(removals.withheld)), tuple(sorted(removals.kept))
    return RowCounts(written, len(removals.archived), withheld, kept)


async def _finish_purges(connection: AsyncConnection, store_id: str) -> None:
    """Delete the rows, archived or not, of purged products whose purge was interrupted."""
    await connection.execute(
        text("""
            DELETE FROM products p USING tombstones t
            WHERE p.store_id = :store_id AND t.store_id = p.store_id AND t.external_id = p.external_id
        """),
        {"store_id": store_id},
    )


async def removals_of(
    connection: AsyncConnection, store_id: str, desired: Desired, live: int, now: datetime, *, allow: bool
) -> Removals:
    """Decide what happens to the live rows that are not in the temporary table ``desired_rows``."""
    candidates = await connection.execute(
        text("""
            SELECT p.external_id FROM products p LEFT JOIN desired_rows d USING (external_id)
            WHERE p.store_id = :store_id AND p.archived_at IS NULL AND d.external_id IS NULL
        """),
        {"store_id": store_id},
    )
    consent = await remembered(connection, store_id, _CONSENT)
    since = max(now - GUARDED, datetime.fromisoformat(consent)) if consent else now - GUARDED
    recently = await connection.scalar(
        select(func.count())
        .select_from(products)
        .where(products.c.store_id == store_id, products.c.archived_at > since)
    )
    return guard_removals(
        candidates.scalars().all(), desired.outcomes, live=live, recently_archived=int(recently or 0), allow=allow
    )


async def free_ids(connection: AsyncConnection, store_id: str) -> None:
    """Delete rows that hold the id of another product. Ids are computed, so such a row was written by hand."""
    await connection.execute(
        text("""
            DELETE FROM products WHERE id = ANY(ARRAY(
                SELECT d.id
                FROM desired_rows d LEFT JOIN (SELECT * FROM products WHERE store_id = :store_id) p USING (external_id)
                WHERE p.id IS DISTINCT FROM d.id
            ))
        """),
        {"store_id": store_id},
    )


async def _upsert(connection: AsyncConnection, store_id: str, now: datetime) -> int:
    """Write the rows that differ, and archived rows that are desired again."""
    columns = ", ".join(ROW_FIELDS)
    theirs = ", ".join(f"p.{name}" for name in ROW_FIELDS)
    wanted = ", ".join(f"d.{name}" for name in ROW_FIELDS)
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in ROW_FIELDS)
    # All names below are constants of this module.
    statement = f"""
        INSERT INTO products ({columns}, updated_at)
        SELECT {wanted}, CAST(:now AS timestamptz)
        FROM desired_rows d LEFT JOIN (SELECT * FROM products WHERE store_id = :store_id) p USING (external_id)
        WHERE p.id IS NULL OR p.archived_at IS NOT NULL OR ({theirs}) IS DISTINCT FROM ({wanted})
        ON CONFLICT (store_id, external_id)
        DO UPDATE SET {changes}, updated_at = EXCLUDED.updated_at, archived_at = NULL
    """  # noqa: S608
    return (await connection.execute(text(statement), {"now": now, "store_id": store_id})).rowcount


async def _archive(connection: AsyncConnection, store_id: str, external_ids: Collection[str], now: datetime) -> None:
    if external_ids:
        ids = literal(sorted(external_ids), ARRAY(Text()))  # one parameter; PostgreSQL takes at most 65,535
        await connection.execute(
            update(products)
            .where(products.c.store_id == store_id, products.c.external_id == any_(ids))
            .values(archived_at=now, updated_at=now)
        )


def row_values(product: DesiredProduct) -> dict[str, Any]:
    """Return a product's row by column."""
    return {name: getattr(product, name) for name in ROW_FIELDS}
