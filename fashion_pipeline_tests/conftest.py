"""Fixtures for every room: a home under the test's own directory, and a fresh database."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from fashion_pipeline.local import embedded_postgres
from fashion_pipeline.sinks.migrate import migrate
from fashion_pipeline.storage import Home


class Server:
    """A PostgreSQL server on which tests make and drop databases."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg")
        self.template = f"fashion_template_{uuid.uuid4().hex[:8]}"

    def run(self, statement: str, *names: str) -> None:
        """Run one statement, with identifiers in place of ``{}``."""
        dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def url_of(self, name: str) -> str:
        """Return the URL of a database on this server."""
        return self.url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an empty home."""
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the server that FASHION_TEST_DATABASE_URL names, or an embedded one, with a migrated template."""
    with ExitStack() as stack:
        url = os.environ.get("FASHION_TEST_DATABASE_URL")
        if not url:
            url = stack.enter_context(embedded_postgres(Home(tmp_path_factory.mktemp("embedded"))))
        server = Server(url)
        server.run("CREATE DATABASE {}", server.template)
        stack.callback(server.run, "DROP DATABASE {} WITH (FORCE)", server.template)
        migrate(server.url_of(server.template))
        yield server


@pytest.fixture
def empty_database_url(postgres_server: Server) -> Iterator[str]:
    """Yield the URL of a database with nothing in it."""
    name = f"fashion_test_{uuid.uuid4().hex[:8]}"
    postgres_server.run("CREATE DATABASE {}", name)
    yield postgres_server.url_of(name)
    postgres_server.run("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database_url(postgres_server: Server) -> Iterator[str]:
    """Yield the URL of a migrated database with no rows."""
    name = f"fashion_test_{uuid.uuid4().hex[:8]}"
    postgres_server.run("CREATE DATABASE {} TEMPLATE {}", name, postgres_server.template)
    yield postgres_server.url_of(name)
    postgres_server.run("DROP DATABASE {} WITH (FORCE)", name)
