"""Sinks that die in the middle of a batch: a sentence, and the next application leaves what one leaves."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import make_url

from fashion_pipeline.errors import DatabaseError, DatabaseUnavailable, VectorStoreError, VectorStoreUnavailable
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.desired import Desired, DesiredProduct
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.migrate import migrate
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.rows import RowCounts, apply_rows
from fashion_pipeline.sinks.qdrant import limits
from fashion_pipeline.sinks.qdrant.applied import read_points
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS, ModelCollection, ensure_collection
from fashion_pipeline.sinks.qdrant.points import apply_points
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import NOW, Shop, product, shop
from fashion_pipeline_tests.qdrant_server import QdrantServer
from fashion_pipeline_tests.wire import dying

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

STORE = "atelier-nord"


class Tripwire(tuple[DesiredProduct, ...]):  # noqa: SLOT001 - the test sets ``happen``
    """Products during whose reading something happens, once."""

    happen: Callable[[], None]

    def __iter__(self) -> Iterator[DesiredProduct]:
        for number, item in enumerate(super().__iter__()):
            if number == len(self) // 2:
                self.happen()
            yield item


async def test_postgres_that_dies_in_the_middle_of_a_batch(home: Home, tmp_path: Path) -> None:
    """A server killed between two rows of a COPY is a sentence; nothing half-written stays, and the next run writes all."""
    desired = shop(tmp_path, 400).desired()
    products = Tripwire(desired.products)
    pid_file = home.local("postgres") / "data" / "postmaster.pid"

    def kill() -> None:
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

    products.happen = kill
    with embedded_postgres(home) as url:
        migrate(url)
        async with database(url) as engine:
            with pytest.raises(DatabaseUnavailable, match="does not answer"):
                await apply_rows(engine, store_id=STORE, desired=Desired(products, desired.outcomes), now=NOW)
        with embedded_postgres(home) as again:
            async with database(again) as engine:
                assert await live_counts(engine) == {}
                counts = await apply_rows(engine, store_id=STORE, desired=desired, now=NOW)
                assert counts == RowCounts(written=400)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (psycopg.errors.DiskFull("could not extend file"), DatabaseUnavailable, "has no disk space .*free some"),
        (
            psycopg.errors.DeadlockDetected("deadlock detected"),
            DatabaseUnavailable,
            "was blocked by another writer.*run again",
        ),
        (psycopg.errors.AdminShutdown("terminating connection"), DatabaseUnavailable, "does not answer"),
        (psycopg.errors.UndefinedTable("no such table"), DatabaseError, "refused a statement"),
    ],
)
def test_what_the_database_complains_of_is_told_apart(
    error: psycopg.Error, kind: type[DatabaseError], words: str
) -> None:
    """A full disk is not a server that is down, and neither is a statement that is wrong."""
    with pytest.raises(kind, match=words) as raised, translate(make_url("postgresql://u:s3cret@db.example/shop")):
        raise error
    assert type(raised.value) is kind
    assert "s3cret" not in str(raised.value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """Yield Qdrant's REST API as a process."""
    running = QdrantServer(tmp_path_factory.mktemp("qdrant"))
    running.start()
    yield running
    running.kill()


def opened(url: str, home: Home) -> AbstractContextManager[QdrantClient]:
    return vector_store(Settings.model_validate({"qdrant_url": url}), home)


def put(client: QdrantClient, made: Shop, **options: Any) -> Any:
    desired = made.desired()
    return apply_points(
        client,
        collection=ModelCollection.of(ALIAS, made.fingerprint).name,
        store_id=STORE,
        desired=desired.points,
        digest=desired.points_digest,
        vectors=made.vectors,
        live=(),
        **options,
    )


@pytest.mark.parametrize("heard", [False, True], ids=["lost", "applied but not confirmed"])
def test_qdrant_that_dies_after_any_request(
    server: QdrantServer, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    """At whatever request it dies, the next ordinary application leaves every point, payload and vector right."""
    monkeypatch.setattr(limits, "BATCH", 2)
    made = shop(tmp_path, 7)
    before = dict(made.products)
    after = {name: item for name, item in before.items() if name not in {"1", "2", "3"}}
    after |= {name: replace(before[name], title="Coat") for name in ("5", "6")} | {"9": product("9")}
    asked: list[str] = []
    messages: set[str] = set()
    for number in range(1, 100):  # the first asks for the version
        with opened(server.url, home) as client:
            if number == 1:
                ensure_collection(client, made.fingerprint, home_id="home-1")
            made.products, made.bytes_of = before, {}
            put(client, made, full=True)
            made.products, made.bytes_of = after, {"7-0": "another"}
            with dying(server.port, after=number, heard=heard) as (url, asked):
                try:
                    with opened(url, home) as cut:
                        put(cut, made)
                    break
                except VectorStoreUnavailable as error:
                    messages.add(str(error).partition("(")[0])
            put(client, made)
            there = read_points(client, f"products__{made.fingerprint}", STORE, whole=True)
            wanted = {point.point_id: point.point_hash for point in made.desired().points}
            assert {key: point.point_hash for key, point in there.items()} == wanted, asked[-1]
    assert number == len(asked) > 10
    assert all(sentence.endswith("does not answer ") for sentence in messages)
    kinds = {line.split()[0] + line.partition("/points")[2].partition("?")[0] for line in asked}
    assert {"PUT", "POST/delete", "POST/batch", "POST/payload", "POST/payload/delete"} <= kinds


def test_a_local_qdrant_without_room_says_so(home: Home, tmp_path: Path) -> None:
    """SQLite's error is a sentence that names the folder, and with room the next application writes what is missing."""
    made = shop(tmp_path, 60)
    local = Settings.model_validate({})
    with vector_store(local, home) as client:
        ensure_collection(client, made.fingerprint, home_id="home-1")
        put(client, shop(tmp_path / "one", 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    made.desired()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(VectorStoreError, match=r"cannot be written.*has room"), vector_store(local, home) as client:
            put(client, made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with vector_store(local, home) as client:
        put(client, made)
        assert put(client, made, full=True).points_written == 0
        assert len(read_points(client, f"products__{made.fingerprint}", STORE)) == 60
    with vector_store(local, home) as client:
        assert len(read_points(client, f"products__{made.fingerprint}", STORE)) == 60
