"""Opening a database: whose it is, which version it has, and what a failure says."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.errors import DatabaseError, DatabaseMismatch, DatabaseUnavailable, SettingsError
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.rows import apply_rows
from fashion_pipeline.sinks.postgres.schema import sqlalchemy_url
from fashion_pipeline_tests.builders import NOW, product, shop
from fashion_pipeline_tests.conftest import Server

STORE = "atelier-nord"


async def test_a_database_belongs_to_one_home(database_url: str) -> None:
    """The first home owns it; another is refused with a sentence that says how to change that."""
    async with database(database_url, home_id="home-1"), database(database_url, home_id="home-1"):
        pass
    with pytest.raises(DatabaseMismatch, match="belongs to another home, home-1"):
        async with database(database_url, home_id="home-2"):
            pass


async def test_a_database_without_tables_says_what_to_run(empty_database_url: str) -> None:
    """Missing migrations are a sentence."""
    with pytest.raises(DatabaseMismatch, match="run fashion-pipeline migrate"):
        async with database(empty_database_url):
            pass


async def test_a_newer_database_is_refused(engine: AsyncEngine, database_url: str) -> None:
    """Tables of a version this one does not know are not written to."""
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE fashion_schema_version SET version_num = '9999'"))
    with pytest.raises(DatabaseMismatch, match="newer version"):
        async with database(database_url):
            pass


async def test_an_unreachable_database_and_a_refused_statement_are_ours(engine: AsyncEngine, tmp_path: Path) -> None:
    """The driver's errors come out as sentences, without the password."""
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1") as unreachable:
        async with database("postgresql://user:s3cret@127.0.0.1:1/shop"):
            pass
    assert "s3cret" not in str(unreachable.value)
    desired = shop(tmp_path).add(product("1", currency="EURO")).desired()
    with pytest.raises(DatabaseError, match="refused a statement"):
        await apply_rows(engine, store_id=STORE, desired=desired, now=NOW)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_cannot_hold_every_title_is_refused(postgres_server: Server, encoding: str) -> None:
    """A title in Japanese must not fail a run in the middle: the encoding is named when the database is opened."""
    name = f"fashion_test_{uuid.uuid4().hex[:8]}"
    postgres_server.run(f"CREATE DATABASE {{}} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0", name)
    try:
        with pytest.raises(DatabaseMismatch, match=f"has the encoding {encoding}"):
            async with database(postgres_server.url_of(name)):
                pass
    finally:
        postgres_server.run("DROP DATABASE {} WITH (FORCE)", name)


async def test_a_database_of_any_date_style_is_read(database_url: str) -> None:
    """The session sets its own style and encoding: a role's are for other clients."""
    name = make_url(database_url).database
    async with database(database_url) as engine, engine.begin() as connection:
        await connection.execute(text(f"ALTER DATABASE \"{name}\" SET datestyle TO 'German, DMY'"))
        await connection.execute(text(f"ALTER DATABASE \"{name}\" SET client_encoding TO 'LATIN1'"))
    async with database(database_url) as engine, engine.connect() as connection:
        assert await connection.scalar(text("SELECT now()::text LIKE '20%'"))
        assert await connection.scalar(text("SHOW client_encoding")) == "UTF8"
        assert isinstance(await connection.scalar(text("SELECT now()")), datetime)


def test_a_url_without_a_database_is_refused() -> None:
    """PostgreSQL would take the one that has the user's name, and the tables would land there."""
    for url in ("postgresql://user@host:5432", "postgresql://user@host:5432/"):
        with pytest.raises(SettingsError, match="names no database"):
            sqlalchemy_url(url)
