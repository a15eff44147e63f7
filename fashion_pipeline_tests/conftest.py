"""Fixtures for every room: a home, a fresh database, and for whole stories a pipeline on a shop of the demo's."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from qdrant_client import QdrantClient
from sqlalchemy import make_url

from fashion_pipeline import redaction
from fashion_pipeline.demo.stage import ModelServer, start_server
from fashion_pipeline.embedding.tiny import make_tiny
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.sinks.postgres.migrate import migrate
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.killed import Forks
from fashion_pipeline_tests.model_shop.control import CONTROLLED
from fashion_pipeline_tests.pipeline import Pipeline
from fashion_pipeline_tests.qdrant_server import QdrantServer


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


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test blank the words that another one used as a password."""
    monkeypatch.setattr(redaction, "_forms", set())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an empty home."""
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the server that FASHION_TEST_DATABASE_URL names, or an embedded one, with a migrated template.

    The workers of pytest-xdist share one embedded server; each has a template of its own.
    """
    with ExitStack() as stack:
        url = os.environ.get("FASHION_TEST_DATABASE_URL")
        if not url:
            base = tmp_path_factory.getbasetemp()
            run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
            url = stack.enter_context(embedded_postgres(Home(run / "embedded")))
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


@pytest.fixture
def qdrant_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of the server that FASHION_TEST_QDRANT_URL names, or of the suite's own.

    The settings name it, with a collection that no other test has; what is made of it is removed.
    """
    name = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("FASHION_QDRANT_COLLECTION", name)
    with ExitStack() as stack:
        url = os.environ.get("FASHION_TEST_QDRANT_URL")
        if not url:
            server = QdrantServer(tmp_path / "qdrant-server")
            server.start()
            stack.callback(server.kill)
            url = server.url
        monkeypatch.setenv("FASHION_QDRANT_URL", url)
        yield url
        client = QdrantClient(url=url, check_compatibility=False)
        stack.callback(client.close)
        remove_collections(client, name)


def remove_collections(client: QdrantClient, alias: str) -> None:
    """Remove the collections of an alias, and with them the alias."""
    for item in client.get_collections().collections:
        if item.name.startswith(f"{alias}__"):
            client.delete_collection(item.name)


SHOPS = 200
PRODUCTS = 16


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """Yield a server of small shops, which tests may change."""
    folder = tmp_path_factory.mktemp("shops")
    with start_server(folder, products=PRODUCTS, stores=SHOPS, program=CONTROLLED, draw_ahead=False) as server:
        yield server


@pytest.fixture(scope="session")
def unused_shops(shops: ModelServer) -> Iterator[str]:
    return itertools.chain(shops.store_ids)


Kill = Callable[[str, Pipeline], int]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Yield what runs the command line without its imports."""
    process = Forks()
    yield process
    process.close()


@pytest.fixture
def kill(forks: Forks) -> Kill:
    """Return what runs a pipeline's ``ingest`` until a moment, and returns the signal that ended it."""

    def ask(moment: str, pipeline: Pipeline) -> int:
        return os.WTERMSIG(forks.run(moment, ["ingest", pipeline.store_id], environment=pipeline.environment))

    return ask


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a generated checkpoint."""
    return f"local-dir:{make_tiny(tmp_path_factory.mktemp('models') / 'checkpoint')}"


Make = Callable[[str], Pipeline]


@pytest.fixture
def make_pipeline(shops: ModelServer, unused_shops: Iterator[str], model: str, tmp_path: Path, forks: Forks) -> Make:
    """Return what makes a pipeline, on a database, for a shop that no other test has touched."""

    def make(url: str) -> Pipeline:
        made = Pipeline(tmp_path / "work", shops, next(unused_shops), database_url=url, model=model)
        made.forks = forks
        return made

    return make


@pytest.fixture
def pipeline(make_pipeline: Make, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Return a pipeline of the test's own, which this process's environment names."""
    made = make_pipeline(database_url)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", "")
    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs whole pipelines as slow."""
    for item in items:
        if "shops" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
