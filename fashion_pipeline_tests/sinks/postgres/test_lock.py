"""One run of a store at a time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fashion_pipeline.errors import DatabaseUnavailable, LockTimeout
from fashion_pipeline.sinks.postgres.lock import store_lock


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
