"""Alembic's scripts, on the server the tests run with."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from fashion_pipeline.errors import DatabaseMismatch, DatabaseUnavailable, SettingsError
from fashion_pipeline.sinks.postgres.migrate import VERSION_TABLE, head, migrate
from fashion_pipeline.sinks.postgres.schema import metadata, sqlalchemy_url

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, in the checkout."""
    environment = {**os.environ, "FASHION_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def connect(url: str) -> psycopg.Connection:
    """Open a connection of our own."""
    return psycopg.connect(
        sqlalchemy_url(url).set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    )


def test_up_check_down_and_up_again(empty_database_url: str) -> None:
    """The scripts make exactly the tables that the code describes, and take them back."""
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "-1"], ["upgrade", "head"], ["check"]):
        ended = alembic(empty_database_url, *arguments)
        assert ended.returncode == 0, ended.stderr


def test_the_extension_is_there_where_the_server_has_it(empty_database_url: str) -> None:
    """uuid-ossp is made if it can be, is not missed if it cannot, and stays after a downgrade."""
    migrate(empty_database_url)
    assert alembic(empty_database_url, "downgrade", "base").returncode == 0
    with connect(empty_database_url) as connection:
        offered = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'uuid-ossp'").fetchone()
        made = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'uuid-ossp'").fetchone()
    assert offered == made


def test_two_processes_may_migrate_at_once(empty_database_url: str) -> None:
    """An advisory lock lets one through at a time, and the second finds nothing to do."""
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: alembic(empty_database_url, "upgrade", "head"), range(2)))
    assert [process.returncode for process in ended] == [0, 0], [process.stderr for process in ended]


def test_tables_of_others_are_none_of_our_business(database_url: str) -> None:
    """A database shared with another program passes the check."""
    with connect(database_url) as connection:
        connection.execute("CREATE TABLE somebody_elses (id int)")
    assert alembic(database_url, "check").returncode == 0


def test_migrate_from_code_is_idempotent(empty_database_url: str) -> None:
    """Calling it twice leaves the head revision and every table."""
    migrate(empty_database_url)
    migrate(empty_database_url)
    with connect(empty_database_url) as connection:
        found = connection.execute("SELECT version_num FROM fashion_schema_version").fetchone()
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert found == (head(),)
    assert {name for (name,) in tables} == {*metadata.tables, VERSION_TABLE}


def test_a_database_of_a_newer_version_is_not_touched(database_url: str) -> None:
    """An unknown revision is a sentence, not a traceback of Alembic's."""
    with connect(database_url) as connection:
        connection.execute("UPDATE fashion_schema_version SET version_num = '9999'")
    with pytest.raises(DatabaseMismatch, match="newer version"):
        migrate(database_url)


def test_errors_name_the_database_and_never_the_password() -> None:
    """The message about a database that cannot be reached, or a URL that cannot be read, has no secret."""
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1, database shop") as unreachable:
        migrate("postgresql://user:s3cret@127.0.0.1:1/shop")
    with pytest.raises(SettingsError) as unreadable:
        migrate("s3cret")
    assert "s3cret" not in str(unreachable.value) + str(unreadable.value)
