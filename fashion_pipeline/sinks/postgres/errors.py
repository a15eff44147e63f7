"""What PostgreSQL's driver says, as sentences that name the database and never a password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from fashion_pipeline.errors import DatabaseError, DatabaseUnavailable


@contextlib.contextmanager
def translate(url: URL) -> Iterator[None]:
    """Turn the driver's errors into ours.

    Raises:
        DatabaseUnavailable: no answer, a refused user, a lost connection.
        DatabaseError: the database refused a statement.
    """
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:  # COPY goes past SQLAlchemy, with the driver's own errors
        said = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(said, psycopg.errors.DiskFull):
            msg = f"PostgreSQL at {place(url)} has no room ({_first_line(str(said))}): free some on its disk, and run again"
            raise DatabaseUnavailable(msg) from None
        if isinstance(said, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            msg = f"PostgreSQL at {place(url)} gave way to another writer ({_first_line(str(said))}): run again"
            raise DatabaseUnavailable(msg) from None
        if isinstance(said, psycopg.OperationalError | psycopg.InterfaceError):
            msg = f"PostgreSQL at {place(url)} {_reason(str(said))}"
            raise DatabaseUnavailable(msg) from None
        msg = f"PostgreSQL at {place(url)} refused a statement: {_first_line(str(said))}"
        raise DatabaseError(msg) from error


def place(url: URL) -> str:
    """Name a database without its user's password."""
    host = url.host or url.query.get("host") or "the local socket"
    return f"{host}{f':{url.port}' if url.port else ''}, database {url.database}"


def _reason(said: str) -> str:
    if "password authentication failed" in said or "no password supplied" in said:
        return "refuses the user or the password: see the ones in FASHION_DATABASE_URL"
    if "does not exist" in said and "database" in said:
        return "has no such database: create it, or correct FASHION_DATABASE_URL"
    return f"does not answer ({_first_line(said)}): see that it runs and that FASHION_DATABASE_URL names it"


def _first_line(said: str) -> str:
    return (said.strip().splitlines() or ["no reason given"])[0]
