"""One run of a store at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from fashion_pipeline.errors import DatabaseMismatch, DatabaseUnavailable, LockLost, LockTimeout
from fashion_pipeline.sinks.postgres import lock
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.lock import StoreLock, assert_held, store_lock
from fashion_pipeline.sinks.postgres.queries import live_counts
from fashion_pipeline.sinks.postgres.rows import apply_rows
from fashion_pipeline_tests.builders import NOW, shop


def test_a_second_run_of_a_store_is_refused_after_its_time(database_url: str) -> None:
    """Another store is free; the same store waits for its timeout."""
    with store_lock(database_url, "atelier-nord"):
        with store_lock(database_url, "maison-sud"):
            pass
        with pytest.raises(LockTimeout, match="atelier-nord"), store_lock(database_url, "atelier-nord", timeout_s=0.01):
            pass
    with store_lock(database_url, "atelier-nord", timeout_s=0.01):
        pass


async def test_a_second_run_waits_and_then_goes_on(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Waiting leaves the event loop free, is logged, and ends when the first run does."""
    caplog.set_level(logging.INFO)
    order = []
    waits = asyncio.Event()
    loop = asyncio.get_running_loop()
    logger = logging.getLogger("fashion_pipeline.sinks.postgres.lock")

    def waiting(_: logging.LogRecord) -> bool:
        loop.call_soon_threadsafe(waits.set)
        return True

    logger.addFilter(waiting)

    async def second() -> None:
        async with store_lock(database_url, "atelier-nord"):
            order.append("second")

    async with store_lock(database_url, "atelier-nord"):
        task = asyncio.create_task(second())
        await waits.wait()
        order.append("first")
    await task
    logger.removeFilter(waiting)
    assert order == ["first", "second"]
    assert "another run is working on it" in caplog.text


async def test_who_is_stopped_while_waiting_ends_at_once(database_url: str) -> None:
    """Ctrl-C does not wait for the run that is waited for, and leaves no lock behind."""
    waits = asyncio.Event()
    loop = asyncio.get_running_loop()
    logger = logging.getLogger("fashion_pipeline.sinks.postgres.lock")

    def waiting(_: logging.LogRecord) -> bool:
        loop.call_soon_threadsafe(waits.set)
        return True

    async def second() -> None:
        async with store_lock(database_url, "atelier-nord"):
            pytest.fail("the first run still has it")

    logger.addFilter(waiting)
    logger.setLevel(logging.INFO)
    with store_lock(database_url, "atelier-nord"):
        task = asyncio.create_task(second())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await loop.shutdown_default_executor()
    logger.removeFilter(waiting)
    logger.setLevel(logging.NOTSET)
    with store_lock(database_url, "atelier-nord", timeout_s=0.01):
        pass


def test_no_server_is_a_sentence() -> None:
    """A lock that cannot be asked for says so."""
    with pytest.raises(DatabaseUnavailable), store_lock("postgresql://user@127.0.0.1:1/shop", "atelier-nord"):
        pass


def end_session_of_lock(database_url: str, store_id: str) -> None:
    """Let PostgreSQL end the session that holds a store's lock, as an administrator or a failover does."""
    with psycopg.connect(database_url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        (ended,) = connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s",
            (f"fashion-pipeline {store_id}",),
        ).fetchone() or (False,)
    assert ended


async def test_a_lost_lock_is_noticed_and_writes_nothing_more(database_url: str, tmp_path: Path) -> None:
    """When its session is gone, a run says so at its next stage; once another run has begun, it publishes nothing."""
    desired = shop(tmp_path, 2).desired()
    with store_lock(database_url, "atelier-nord") as lost:
        lost.verify()
        end_session_of_lock(database_url, "atelier-nord")
        with pytest.raises(LockLost, match="store atelier-nord: the run lost its lock"):
            lost.verify()
        with pytest.raises(LockLost):
            lost.check()
        async with database(database_url) as engine:
            with StoreLock(database_url, "atelier-nord", timeout_s=1):
                lock._held["atelier-nord"] = lost  # this process is the one that lost it
                with pytest.raises(LockLost):
                    await apply_rows(engine, store_id="atelier-nord", desired=desired, now=NOW)
            assert await live_counts(engine) == {}


async def test_a_run_that_holds_the_lock_publishes(database_url: str, tmp_path: Path) -> None:
    """The epoch of the run itself passes, again and again."""
    desired = shop(tmp_path, 2).desired()
    for _ in range(2):
        async with store_lock(database_url, "atelier-nord"), database(database_url) as engine:
            await apply_rows(engine, store_id="atelier-nord", desired=desired, now=NOW)
            assert await live_counts(engine) == {"atelier-nord": 2}


async def test_a_publishing_run_keeps_the_next_one_waiting(database_url: str) -> None:
    """While a transaction that checked the epoch is open, no other run can begin: there is no moment between."""
    first = StoreLock(database_url, "atelier-nord", None)
    with first:
        async with database(database_url) as engine, engine.begin() as connection:
            await assert_held(connection, "atelier-nord")
            end_session_of_lock(database_url, "atelier-nord")
            began = asyncio.create_task(asyncio.to_thread(StoreLock(database_url, "atelier-nord", None).__enter__))
            async with engine.connect() as observer:
                for _ in range(1000):
                    if began.done() or await observer.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                        break
                assert not began.done()
        (await began).__exit__(None, None, None)


def test_timeouts_of_the_server_end_neither_wait_nor_lock(database_url: str) -> None:
    """A role's statement_timeout and idle_session_timeout are for other clients."""
    name = make_url(database_url).database
    with psycopg.connect(database_url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        for setting in ("statement_timeout", "idle_session_timeout"):
            connection.execute(f"ALTER DATABASE \"{name}\" SET {setting} TO '50ms'")
    with store_lock(database_url, "atelier-nord") as held:
        with pytest.raises(LockTimeout), store_lock(database_url, "atelier-nord", timeout_s=0.2):
            pass
        held.verify()


@pytest.fixture
def pooler(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of the database behind pgbouncer, in the pool mode that the test names."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed: apt install pgbouncer")
    url = make_url(database_url)
    if url.host is None and os.geteuid() == 0:
        pytest.skip("a root user's embedded server lets nobody else connect: set FASHION_TEST_DATABASE_URL")
    host = url.host or url.query["host"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users = tmp_path / "users.txt"
    users.write_text('"postgres" ""\n')
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{url.database} = host={host} port={url.port or 5432} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\nauth_file = {users}\n"
        f"pool_mode = {request.param}\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n"
    )
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
            path.chmod(0o755)
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen([program, "-q", *as_user, str(config)], stderr=subprocess.PIPE) as process:
        behind = f"postgresql://postgres@127.0.0.1:{port}/{url.database}"
        try:
            yield behind
        finally:
            process.terminate()


def answering(url: str) -> str:
    """Wait until a server answers; return its URL."""
    for _ in range(1000):
        try:
            psycopg.connect(url, connect_timeout=1).close()
        except psycopg.OperationalError:
            continue
        return url
    pytest.fail("the pooler did not start")


@pytest.mark.parametrize("pooler", ["transaction"], indirect=True)
def test_a_pooler_that_shares_sessions_is_refused(pooler: str) -> None:
    """Two runs would hold one store's lock; the message says what to set."""
    with pytest.raises(DatabaseMismatch, match="session mode"), store_lock(answering(pooler), "atelier-nord"):
        pass


@pytest.mark.parametrize("pooler", ["session"], indirect=True)
def test_a_pooler_in_session_mode_holds_the_lock(pooler: str) -> None:
    """There a client keeps its session: a second run waits as it does without a pooler."""
    url = answering(pooler)
    with store_lock(url, "atelier-nord") as held:
        held.verify()
        with pytest.raises(LockTimeout), store_lock(url, "atelier-nord", timeout_s=0.1):
            pass
