"""PostgreSQL: one row for every product that came all the way.

Bulk writes go by COPY into a temporary table and an anti-join, so that an unchanged row costs
neither a write nor a lock. The digest of a store's rows lies in the same database, written in the
same transaction: a restored backup brings its own digest, which does not match.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, Text, any_, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from fashion_pipeline.errors import DatabaseMismatch
from fashion_pipeline.sinks.bulk import copy_into
from fashion_pipeline.sinks.desired import ROW_FIELDS, Desired, DesiredProduct
from fashion_pipeline.sinks.migrate import VERSION_TABLE, head, known_revisions
from fashion_pipeline.sinks.reconcile import Removals, guard_removals
from fashion_pipeline.sinks.schema import pipeline_state, product_outcomes, products, sink_state, sqlalchemy_url
from fashion_pipeline.sinks.trouble import explained, place

GUARDED = timedelta(days=7)
"""Removals are counted over so long."""

ROWS_DIGEST = "rows_digest"
"""Name of the digest in ``sink_state``."""

_CONSENT = "consented_at"


# --- the database ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def database(url: str, *, home_id: str | None = None) -> AsyncIterator[AsyncEngine]:
    """Open a migrated database, for the event loop this is called in.

    Args:
        url: a PostgreSQL URL, whatever driver it names.
        home_id: the id of the home that works with it; a database without an owner becomes its
            own. None: whoever it belongs to.

    Raises:
        DatabaseUnavailable: it does not answer, or refuses the user. Also for what happens inside.
        DatabaseMismatch: it is not migrated, or too far, or belongs to another home.
        DatabaseError: it refuses a statement.
    """
    target = sqlalchemy_url(url)
    engine = create_async_engine(target, pool_size=2, max_overflow=8, pool_pre_ping=True)
    try:
        with explained(target):
            await _check_version(engine)
            if home_id is not None:
                await _check_home(engine, home_id)
            yield engine
    finally:
        await engine.dispose()


async def _check_version(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        try:
            found = (await connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))).scalar()  # noqa: S608 - a constant
        except ProgrammingError:
            found = None
    where = f"PostgreSQL at {place(engine.url)}"
    if found is None:
        msg = f"{where} has no tables of this pipeline: run fashion-pipeline migrate"
        raise DatabaseMismatch(msg)
    if found not in known_revisions():
        msg = f"{where} has the tables of a newer version (revision {found}; this one knows {head()}): upgrade this one"
        raise DatabaseMismatch(msg)
    if found != head():
        msg = f"{where} has older tables (revision {found}, needed is {head()}): run fashion-pipeline migrate"
        raise DatabaseMismatch(msg)


async def _check_home(engine: AsyncEngine, home_id: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            insert(pipeline_state).values(key="home_id", value=home_id).on_conflict_do_nothing(index_elements=["key"])
        )
        owner = await connection.scalar(select(pipeline_state.c.value).where(pipeline_state.c.key == "home_id"))
    if owner != home_id:
        msg = (
            f"PostgreSQL at {place(engine.url)} belongs to another home, {owner} (this one is {home_id}): set "
            "FASHION_HOME to that home, or FASHION_DATABASE_URL to another database; if that home is lost and this "
            f'one replaces it, write {{"id": "{owner}"}} into home.json under FASHION_HOME'
        )
        raise DatabaseMismatch(msg)


# --- one product ----------------------------------------------------------------------------------


class ProductRepository:
    """Products, one at a time, in somebody else's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, product: DesiredProduct, *, now: datetime) -> UUID:
        """Write a product's row, new or changed, and make it live; return its id."""
        values = {**row_values(product), "updated_at": now, "archived_at": None}
        statement = insert(products).values(values)
        kept = {key: value for key, value in statement.excluded.items() if key in values}
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["store_id", "external_id"], set_=kept)
        )
        return product.id

    async def get_by_external_id(self, store_id: str, external_id: str) -> dict[str, Any] | None:
        """Return a product's row as a mapping, archived or not, or None."""
        found = await self._session.execute(
            select(products).where(products.c.store_id == store_id, products.c.external_id == external_id)
        )
        row = found.mappings().one_or_none()
        return None if row is None else dict(row)

    async def exists(self, store_id: str, external_id: str) -> bool:
        """Whether a product has a live row."""
        row = await self.get_by_external_id(store_id, external_id)
        return row is not None and row["archived_at"] is None

    async def count(self, store_id: str | None = None) -> int:
        """Count the live rows, of one store or of all."""
        statement = select(func.count()).select_from(products).where(products.c.archived_at.is_(None))
        if store_id is not None:
            statement = statement.where(products.c.store_id == store_id)
        return int((await self._session.execute(statement)).scalar_one())


# --- a store's rows -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What one application did (or in a dry run, would do).

    Attributes:
        withheld, kept: external ids of rows that are not desired and stay; see ``Removals``.
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
    """Make a store's rows what they should be, in one transaction.

    Where the digest kept beside them and their number match, nothing further is read.

    Args:
        full: compare every column whatever the digest says.
        allow_removals: archive however many there are; a person has agreed.
        dry_run: change nothing, and return what would be done.
    """
    with explained(engine.url):
        async with engine.connect() as connection, connection.begin() as transaction:
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
    """Delete, archived or not, the rows of purged products whose purge was cut off."""
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
    """Decide about the live rows that are not in ``desired_rows``, the temporary table."""
    leaving = await connection.execute(
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
        leaving.scalars().all(), desired.outcomes, live=live, recently_archived=int(recently or 0), allow=allow
    )


async def free_ids(connection: AsyncConnection, store_id: str) -> None:
    """Delete rows that hold the id of another product: ids are computed, so such a row was made by hand."""
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
    """Write the rows that differ, archived ones that came back among them."""
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


async def _archive(connection: AsyncConnection, store_id: str, leaving: Collection[str], now: datetime) -> None:
    if leaving:
        ids = literal(sorted(leaving), ARRAY(Text()))  # one parameter: PostgreSQL takes 65,535
        await connection.execute(
            update(products)
            .where(products.c.store_id == store_id, products.c.external_id == any_(ids))
            .values(archived_at=now, updated_at=now)
        )


# --- what others ask ------------------------------------------------------------------------------


async def first_seen(engine: AsyncEngine, store_id: str) -> dict[str, datetime]:
    """Return when each product of a store was first seen, by external id; archived rows count."""
    with explained(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.external_id, products.c.created_at).where(products.c.store_id == store_id)
            )
            return {row.external_id: row.created_at for row in rows}


async def live_ids(engine: AsyncEngine, store_id: str) -> frozenset[UUID]:
    """Return the ids of a store's live rows."""
    with explained(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.id).where(products.c.store_id == store_id, products.c.archived_at.is_(None))
            )
            return frozenset(rows.scalars())


async def live_external_ids(engine: AsyncEngine, store_id: str) -> frozenset[str]:
    """Return the shop's ids of a store's live rows."""
    with explained(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.external_id).where(products.c.store_id == store_id, products.c.archived_at.is_(None))
            )
            return frozenset(rows.scalars())


async def live_counts(engine: AsyncEngine) -> dict[str, int]:
    """Return how many live rows each store has; a store without any is not in it."""
    with explained(engine.url):
        async with engine.connect() as connection:
            rows = await connection.execute(
                select(products.c.store_id, func.count().label("rows"))
                .where(products.c.archived_at.is_(None))
                .group_by(products.c.store_id)
            )
            return {row.store_id: row.rows for row in rows}


async def known_stores(engine: AsyncEngine) -> frozenset[str]:
    """Return the stores that have a row, live or archived."""
    with explained(engine.url):
        async with engine.connect() as connection:
            return frozenset(await connection.scalars(select(products.c.store_id).distinct()))


async def has_row(engine: AsyncEngine, store_id: str, external_id: str) -> bool:
    """Whether PostgreSQL holds anything of a product: a row, archived or not, or an outcome."""
    with explained(engine.url):
        async with engine.connect() as connection:
            for table in (products, product_outcomes):
                there = select(table.c.store_id).where(table.c.store_id == store_id, table.c.external_id == external_id)
                if (await connection.execute(there)).first() is not None:
                    return True
    return False


async def purge_rows(engine: AsyncEngine, store_id: str, external_id: str | None = None) -> int:
    """Delete everything PostgreSQL holds of a store, or of one product; return how many rows of ``products`` that was.

    Archived rows go too, and the store's digest: its next application compares everything.
    """

    def of(table: Table) -> list[ColumnElement[bool]]:
        narrowed = [] if external_id is None else [table.c.external_id == external_id]
        return [table.c.store_id == store_id, *narrowed]

    with explained(engine.url):
        async with engine.begin() as connection:
            state = delete(sink_state).where(sink_state.c.store_id == store_id)
            await connection.execute(state if external_id is None else state.where(sink_state.c.key == ROWS_DIGEST))
            await connection.execute(delete(product_outcomes).where(*of(product_outcomes)))
            return (await connection.execute(delete(products).where(*of(products)))).rowcount


# --- below ----------------------------------------------------------------------------------------


def row_values(product: DesiredProduct) -> dict[str, Any]:
    """Return a product's row by column."""
    return {name: getattr(product, name) for name in ROW_FIELDS}


async def count_live(connection: AsyncConnection, store_id: str) -> int:
    """Count a store's live rows."""
    counted = await connection.scalar(
        select(func.count())
        .select_from(products)
        .where(products.c.store_id == store_id, products.c.archived_at.is_(None))
    )
    return int(counted or 0)


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
