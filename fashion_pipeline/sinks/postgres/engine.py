"""Open PostgreSQL: an engine on a database whose version and owner have been checked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import event, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fashion_pipeline.errors import DatabaseMismatch
from fashion_pipeline.sinks.postgres.errors import place, translate
from fashion_pipeline.sinks.postgres.migrate import VERSION_TABLE, head, known_revisions
from fashion_pipeline.sinks.postgres.schema import pipeline_state, sqlalchemy_url


@contextlib.asynccontextmanager
async def database(url: str, *, home_id: str | None = None) -> AsyncIterator[AsyncEngine]:
    """Open a migrated database, for the running event loop. Errors inside the ``with`` block are translated too.

    Args:
        url: a PostgreSQL URL with any driver.
        home_id: id of the home that uses it; a database without an owner becomes that home's. None:
            the owner is not checked.

    Raises:
        DatabaseUnavailable: it does not answer, or refuses the user.
        DatabaseMismatch: it is not migrated, was migrated by a newer version, or belongs to another home.
        DatabaseError: it refuses a statement.
    """
    target = sqlalchemy_url(url)
    engine = create_async_engine(target, pool_size=2, max_overflow=8, pool_pre_ping=True)
    event.listen(engine.sync_engine, "connect", _configure)
    try:
        with translate(target):
            await _check_encoding(engine)
            await _check_version(engine)
            if home_id is not None:
                await _check_home(engine, home_id)
            yield engine
    finally:
        await engine.dispose()


def _configure(connection: DBAPIConnection, _: object) -> None:
    """Set what this pipeline relies on, whatever the server's or the role's own settings are."""
    cursor = connection.cursor()
    for setting in (
        "datestyle TO 'ISO'",
        "client_encoding TO 'UTF8'",
        "statement_timeout TO 0",
        "idle_in_transaction_session_timeout TO 0",
    ):
        cursor.execute(f"SET SESSION {setting}")
    cursor.close()
    connection.commit()


async def _check_encoding(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        encoding = await connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        msg = (
            f"PostgreSQL at {place(engine.url)} has the encoding {encoding}, which cannot hold every title: create the "
            "database with ENCODING 'UTF8' TEMPLATE template0"
        )
        raise DatabaseMismatch(msg)


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
        msg = f"{where} has the tables of a newer version (revision {found}; this version knows {head()}): upgrade fashion-pipeline"
        raise DatabaseMismatch(msg)
    if found != head():
        msg = f"{where} has older tables (revision {found}; this version needs {head()}): run fashion-pipeline migrate"
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
