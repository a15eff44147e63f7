"""The lock that lets one run of a store work at a time, on any machine: an advisory lock in PostgreSQL.

The lock belongs to a session, so it is proven: a pooler that hands one server session to several
clients would give the lock to all of them. A run also takes a number, the store's epoch; every
transaction that publishes checks it, so a run that lost its session writes nothing after another
one has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from fashion_pipeline.errors import DatabaseMismatch, LockLost, LockTimeout
from fashion_pipeline.sinks.postgres.errors import translate
from fashion_pipeline.sinks.postgres.schema import sqlalchemy_url

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection

log = logging.getLogger(__name__)

_INTERRUPT_EVERY_S = 0.1
HEARTBEAT_S = 15.0
"""How often a long stage's lock is looked at."""
_PROBES = 2
_EPOCH = "lock_epoch"
_HOLDS = """
    SELECT pg_backend_pid() = :pid AND EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
        AND (classid::bigint << 32 | objid::bigint) = :key
    )
"""

_held: dict[str, StoreLock] = {}
"""The locks that this process holds, by store id."""


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
        self.epoch: str | None = None
        self._key = int.from_bytes(hashlib.sha256(f"store {store_id}".encode()).digest()[:8], signed=True)
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._pid = 0
        self._lost = False
        self._using = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        from sqlalchemy import NullPool, create_engine

        options = {"keepalives_idle": 30, "application_name": f"fashion-pipeline {self.store_id}"}
        self._engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)
        try:
            with translate(self.url):
                self._acquire(self._engine)
                self._prove(self._engine)
                self.epoch = self._next_epoch()
        except BaseException:
            self._release()
            raise
        _held[self.store_id] = self
        threading.Thread(target=self._watch, daemon=True, name=f"lock of {self.store_id}").start()
        return self

    def _acquire(self, engine: Engine) -> None:
        from sqlalchemy import text
        from sqlalchemy.exc import OperationalError

        key = {"key": self._key}
        self._connection = connection = engine.connect()
        for setting in ("statement_timeout", "idle_session_timeout"):  # a server's own would end the wait, or the lock
            connection.execute(
                text("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = :name"), {"name": setting}
            )
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

    def _prove(self, engine: Engine) -> None:
        """Check that the session is this connection's own, as a session-level lock needs.

        A pooler in transaction mode gives an idle client's server session to the next client that asks.

        Raises:
            DatabaseMismatch: it is shared.
        """
        from sqlalchemy import text

        connection = self._connection
        if connection is None:
            return
        self._pid = connection.scalar(text("SELECT pg_backend_pid()")) or 0
        with contextlib.ExitStack() as stack:
            shared = False
            for _ in range(_PROBES):
                other = stack.enter_context(engine.connect())
                other.exec_driver_sql("BEGIN")  # holds a server session until the connection is closed
                shared = shared or other.scalar(text("SELECT pg_backend_pid()")) == self._pid
                other.exec_driver_sql("SELECT 1")
            for_own = not shared and connection.scalar(text(_HOLDS), {"pid": self._pid, "key": self._key})
        if not for_own:
            msg = (
                "PostgreSQL is behind a pooler that shares one session among clients (pgbouncer in transaction mode, for "
                "instance), and cannot hold a store's lock; set FASHION_DATABASE_URL to the server itself, or to a pool in "
                "session mode"
            )
            raise DatabaseMismatch(msg)

    def _next_epoch(self) -> str | None:
        """Count the store's epoch up; None where the database has no tables yet, which opening it reports."""
        from sqlalchemy import text
        from sqlalchemy.exc import ProgrammingError

        if self._connection is None:
            return None
        statement = text("""
            INSERT INTO sink_state AS s (store_id, key, value) VALUES (:store_id, :key, '1')
            ON CONFLICT (store_id, key) DO UPDATE SET value = (s.value::bigint + 1)::text RETURNING value
        """)
        try:
            return str(self._connection.scalar(statement, {"store_id": self.store_id, "key": _EPOCH}))
        except ProgrammingError:
            return None

    def _watch(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with contextlib.suppress(LockLost):
                self.verify()

    def verify(self) -> None:
        """Ask PostgreSQL whether this run still holds the lock.

        Raises:
            LockLost: it does not, or its session is gone.
        """
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        with self._using:
            if self._connection is None:  # released
                return
            try:
                holds = self._connection.scalar(text(_HOLDS), {"pid": self._pid, "key": self._key})
            except SQLAlchemyError:
                holds = False
            self._lost = self._lost or not holds
        self.check()

    def check(self) -> None:
        """Raise if the lock is known to be lost; asks nobody.

        Raises:
            LockLost: it is.
        """
        if self._lost:
            raise self.lost()

    def lost(self) -> LockLost:
        """Return the error of a run that may write no more."""
        msg = "the run lost its lock: PostgreSQL ended the session that held it, so another run may be at work"
        return LockLost(msg, store_id=self.store_id, advice="nothing more was written; the store is run again")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        """Close the connection, and the lock with it."""
        from sqlalchemy.exc import SQLAlchemyError

        self._ended.set()
        if _held.get(self.store_id) is self:
            del _held[self.store_id]
        with self._using:
            if self._connection is not None:
                with contextlib.suppress(SQLAlchemyError):  # its session may be gone
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


async def assert_held(connection: AsyncConnection, store_id: str) -> None:
    """Check inside a transaction that no other run has begun since this one took the store's lock.

    Until the transaction ends, no other run can begin. Where this process holds no lock of the store,
    as in a test of one write, there is nothing to check.

    Raises:
        LockLost: another run has begun.
    """
    from sqlalchemy import text

    lock = _held.get(store_id)
    if lock is None or lock.epoch is None:
        return
    statement = text("SELECT value FROM sink_state WHERE store_id = :store_id AND key = :key FOR SHARE")
    if await connection.scalar(statement, {"store_id": store_id, "key": _EPOCH}) != lock.epoch:
        raise lock.lost()
