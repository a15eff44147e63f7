"""A home and a database that an older version made run on: nothing is fetched, embedded or written again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from fashion_pipeline.demo.catalogue import environment, stores_yaml
from fashion_pipeline.demo.stage import start_server

pytestmark = pytest.mark.slow

STORE = "atelier-nord"
PRODUCTS = 8
FIXTURES = Path(__file__).parent / "fixtures" / "upgrade"
"""One folder for each version. ``home.tar.xz`` holds its home after a run and a sweep of one demo store with eight
products, and the port of the shop, which is part of every stored URL; ``postgres.sql`` is a ``pg_dump --inserts``."""

MEASURED_ONCE_MORE = {"76d922e": 7}
"""Stored images that the first run after the upgrade decodes, because that version measured less."""

pytestmark = pytest.mark.parametrize("version", sorted(path.name for path in FIXTURES.iterdir()))


class Installation:
    """A restored home and database, and the command line of this version on them."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.dsn = database_url.replace("postgresql+psycopg://", "postgresql://")
        self.environment = {
            **os.environ,
            **environment(1),
            "FASHION_STORES": str(folder / "stores.yaml"),
            "FASHION_HOME": str(folder / "home"),
            "FASHION_DATABASE_URL": database_url,
            "FASHION_MODEL": "tiny",
            "DAGSTER_HOME": "",
        }

    def restore(self, version: str) -> None:
        with tarfile.open(FIXTURES / version / "home.tar.xz") as archive:
            archive.extractall(self.folder, filter="data")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute((FIXTURES / version / "postgres.sql").read_bytes())

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        command = [sys.executable, "-m", "fashion_pipeline.cli", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(
                "SELECT id, external_id, title, price, image_sha256, created_at, updated_at, archived_at"
                " FROM public.products ORDER BY external_id"
            ).fetchall()


@pytest.fixture
def installation(version: str, tmp_path: Path, empty_database_url: str) -> Iterator[Installation]:
    restored = Installation(tmp_path, empty_database_url)
    restored.restore(version)
    with start_server(tmp_path / "shops", products=PRODUCTS, stores=1, draw_ahead=False) as server:
        (tmp_path / "stores.yaml").write_text(stores_yaml(server.port, 1), "utf-8")
        restored.run("migrate")
        yield restored


def test_an_upgrade_costs_nothing_and_changes_nothing(version: str, installation: Installation) -> None:
    """A run and a sweep fetch, embed and write nothing; ids and dates stay; measurements are completed once."""
    before = installation.rows()
    decoded = [MEASURED_ONCE_MORE.get(version, 0), 0]
    for arguments, measured in zip((["ingest", STORE], ["ingest", STORE, "--sweep"]), decoded, strict=True):
        report = json.loads(installation.run(*arguments, "--json").splitlines()[-1])["stores"][STORE]
        done = ("fetched", "embedded", "rows_written", "rows_archived", "points_written", "points_deleted")
        assert {name: report[name] for name in done} == dict.fromkeys(done, 0)
        assert report["decoded"] == measured
        assert report["products"] == PRODUCTS
        assert report["payloads_written"] == 0
    assert installation.rows() == before
    reconciled = json.loads(installation.run("reconcile", "--json").splitlines()[-1])
    assert reconciled["stores"][STORE]["drift"] == reconciled["strays"]["drift"] == {}


def test_the_instance_keeps_its_history(version: str, installation: Installation) -> None:
    """Runs and partitions of the older version's Dagster instance are still there."""
    installation.run("ingest", STORE)
    with dg.DagsterInstance.from_config(str(installation.folder / "home" / "dagster")) as instance:
        runs = instance.get_runs()
        assert instance.get_dynamic_partitions("stores") == [STORE]
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 3
