"""One store of the demo's shops, run through the real pipeline, for tests of whole stories."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import text

from fashion_pipeline.cli.report import store_report
from fashion_pipeline.defs.runs import StoreResult, run_store, sync_partitions
from fashion_pipeline.demo.catalogue import environment, keys
from fashion_pipeline.demo.stage import ModelServer
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.outcomes import read_outcomes
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.killed import Forks
from fashion_pipeline_tests.model_shop.control import TOKEN


@dataclass(frozen=True)
class Held:
    """What both sinks hold of one store, by external id."""

    rows: dict[str, tuple[Any, ...]]
    points: dict[str, tuple[Any, ...]]
    archived: frozenset[str]


def hear_interrupts() -> None:
    """Undo what a shell does to programs in its background: they, and whatever they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def at_progress(happen: Callable[[], None], *, asset: str, finished: bool = False) -> Iterator[None]:
    """Let something happen when a run tells that an asset has begun, or is done."""

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told = vars(record)
            if told["asset"] == asset and (told["refused"] is not None) is finished:
                happen()

    log, watch = logging.getLogger("fashion_pipeline.progress"), Watch()
    level = log.level
    log.addHandler(watch)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(watch)
        log.setLevel(level)


class Pipeline:
    """A home, a database and one store; every method works on the real parts."""

    def __init__(self, folder: Path, server: ModelServer, store_id: str, *, database_url: str, model: str) -> None:
        self.folder = folder
        self.server = server
        self.store_id = store_id
        self.database_url = database_url
        self.forks = Forks()
        self.environment = {
            "FASHION_STORES": str(folder / "stores.yaml"),
            "FASHION_HOME": str(folder / "home"),
            "FASHION_DATABASE_URL": database_url,
            "FASHION_MODEL": model,
            "STORE_KEY": keys(store_id)[0],
            "STORE_SECRET": keys(store_id)[1],
            **environment(server.stores),
        }
        self.describe()

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    def describe(self, **more: object) -> None:
        """Write stores.yaml, with further keys for the store."""
        store = {
            "id": self.store_id,
            "url": self.server.shop_url(self.store_id),
            "consumer_key": "${STORE_KEY}",
            "consumer_secret": "${STORE_SECRET}",
            "allow_private_hosts": ["127.0.0.1"],
            **more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stores.yaml").write_text(json.dumps({"stores": [store]}), "utf-8")

    def run(self, **options: bool) -> StoreResult:
        """Run all six assets in this process, on an instance in memory."""
        from fashion_pipeline.definitions import defs

        with dg.DagsterInstance.ephemeral() as opened:
            sync_partitions(opened, [self.store_id])
            return run_store(opened, defs.resolve_job_def("ingest_store"), self.store_id, **options)

    def report(self, **options: bool) -> dict[str, Any]:
        """Run, and return what the command line would print as JSON; the run must succeed."""
        result = self.run(**options)
        if result.error is not None:
            raise result.error
        return store_report(result.counts, result.seconds, self.outcomes())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process that already has the imports."""
        environment = {**os.environ, **self.environment}
        return self.forks.command(arguments, environment=environment, folder=self.folder)

    def cold_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line as a shell does."""
        return subprocess.run(
            [sys.executable, "-m", "fashion_pipeline.cli", *arguments],
            env={**os.environ, **self.environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command line as a process, and a process group, of its own, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "fashion_pipeline.cli", *arguments],
            env={**os.environ, **self.environment},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=hear_interrupts,  # noqa: PLW1509 - one system call
        )

    def outcomes(self) -> tuple[Any, ...]:
        """Return what stands in ``product_outcomes``."""

        async def read() -> tuple[Any, ...]:
            async with database(self.database_url) as engine:
                return await read_outcomes(engine, store_id=self.store_id)

        return asyncio.run(read())

    def held(self) -> Held:
        """Read both sinks."""

        async def read() -> list[Any]:
            async with database(self.database_url) as engine, engine.connect() as connection:
                found = await connection.execute(text("SELECT * FROM products"))
                return list(found.mappings())

        rows = asyncio.run(read())
        with vector_store(Settings.read(), self.home) as client:
            points, _ = client.scroll(
                Settings.read().qdrant_collection, limit=10_000, with_payload=True, with_vectors=False
            )
        payloads = [found for point in points if (found := point.payload or {}).get("store_id") == self.store_id]
        rows = [row for row in rows if row["store_id"] == self.store_id]
        live = [row for row in rows if row["archived_at"] is None]
        return Held(
            {row["external_id"]: (row["id"], row["title"], row["price"], row["image_sha256"]) for row in live},
            {str(item["external_id"]): (item["title"], item["price"], item["image_sha256"]) for item in payloads},
            frozenset(row["external_id"] for row in rows if row["archived_at"] is not None),
        )

    def shop(self, do: str, **order: Any) -> dict[str, Any]:
        """Change the running shop."""
        request = urllib.request.Request(  # noqa: S310 - loopback http
            f"{self.server.shop_url(self.store_id)}/_control",
            data=json.dumps({"do": do, **order}).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback http
            found: dict[str, Any] = json.load(answer)
        return found

    def images(self) -> dict[str, str]:
        """Return the picture's address of every row, by external id."""

        async def read() -> dict[str, str]:
            async with database(self.database_url) as engine, engine.connect() as connection:
                found = await connection.execute(text("SELECT external_id, image_url FROM products"))
                return {row.external_id: row.image_url for row in found}

        return asyncio.run(read())


WORK = ("fetched", "decoded", "embedded", "rows_written", "rows_archived", "points_written", "points_deleted")


def did(report: dict[str, Any]) -> dict[str, int]:
    """Return what a run did, without what it did not."""
    return {name: report[name] for name in (*WORK, "payloads_written") if report[name]}


def rows(pipeline: Pipeline, columns: str) -> dict[str, tuple[Any, ...]]:
    """Return some columns of every row, archived ones too, by external id."""

    async def read() -> dict[str, tuple[Any, ...]]:
        async with database(pipeline.database_url) as engine, engine.connect() as connection:
            found = await connection.execute(text(f"SELECT external_id, {columns} FROM products"))  # noqa: S608 - ours
            return {row[0]: tuple(row[1:]) for row in found}

    return asyncio.run(read())


def outcome(pipeline: Pipeline, external_id: str) -> tuple[str, str, list[str], bool, bool]:
    """Return stage, status, reasons, and whether the product is in each sink."""
    (found,) = (told for told in pipeline.outcomes() if told.external_id == external_id)
    return found.stage, found.status.value, [str(it.value) for it in found.reasons], found.in_postgres, found.in_qdrant


def published(pipeline: Pipeline) -> list[str]:
    """Return the ids of the live rows, in order."""
    return sorted(pipeline.held().rows)
