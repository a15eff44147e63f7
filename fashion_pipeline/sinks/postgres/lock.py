"""The lock that lets one run of a store work at a time, on any machine: an advisory lock in PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from fashion_pipeline.errors import LockTimeout
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import sqlalchemy_url

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Engine

log = logging.getLogger(__name__)

_INTERRUPT_EVERY_S = 0.1


def store_lock(url: str, store_id: str, *, timeout_s: float | None = None) -> StoreLock:
    """Return the lock of a store, for ``with`` or ``async with``.

    It has its own connection, so PostgreSQL releases it when the process dies.

    Args:
        timeout_s: how long to wait for another run of the store; None: without limit.

    Raises:
        LockTimeout: (on entering) the other run took longer.
        DatabaseUnavailable: (on entering) PostgreSQL does not answer.
    """
    return StoreLock(url, store_id, timeout_s)


class StoreLock:
    """See ``store_lock``."""

    def __init__(self, url: str, store_id: str, timeout_s: float | None) -> None:
        self.url = sqlalchemy_url(url)
        self.store_id = store_id
        self.timeout_s = timeout_s
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        from sqlalchemy import NullPool, create_engine

        options = {"keepalives_idle": 30, "application_name": f"fashion-pipeline {self.store_id}"}
        self._engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)
        try:
            with translate(self.url):
                self._acquire(self._engine)
        except BaseException:
            self._release()
            raise
        return self

    def _acquire(self, engine: Engine) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import OperationalError

        key = {"key": int.from_bytes(hashlib.sha256(f"store {self.store_id}".encode()).digest()[:8], signed=True)}
        self._connection = connection = engine.connect()
        if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
            return
        log.info("store %s: another run is working on it; waiting for it to end", self.store_id)
        milliseconds = 0 if self.timeout_s is None else max(1, int(self.timeout_s * 1000))
        connection.execute(text("SELECT set_config('lock_timeout', :value, false)"), {"value": f"{milliseconds}ms"})
        try:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
            msg = f"another run is working on it; waited {self.timeout_s:g} s"
            raise LockTimeout(msg, store_id=self.store_id, advice="try again later") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        """Close the connection, and the lock with it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    async def __aenter__(self) -> Self:
        waiting = asyncio.get_running_loop().run_in_executor(None, self.__enter__)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            while not waiting.done():  # otherwise Ctrl-C would wait for the thread, and so for the other run
                self._interrupt()
                await asyncio.wait([waiting], timeout=_INTERRUPT_EVERY_S)
            self._release()
            raise

    def _interrupt(self) -> None:
        """Cancel the statement that the other thread waits for, if there is one."""
        from sqlalchemy.exc import SQLAlchemyError

        connection = self._connection
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):  # it has been closed since
                cast("psycopg.Connection", connection.connection.dbapi_connection).cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._release)
