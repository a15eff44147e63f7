"""Translate the errors of PostgreSQL's driver into messages that name the database and never a password."""

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
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, psycopg.errors.DiskFull):
            msg = f"PostgreSQL at {place(url)} has no disk space ({_first_line(str(cause))}): free some on its disk, and run again"
            raise DatabaseUnavailable(msg) from None
        if isinstance(cause, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            msg = f"PostgreSQL at {place(url)} was blocked by another writer ({_first_line(str(cause))}): run again"
            raise DatabaseUnavailable(msg) from None
        if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
            msg = f"PostgreSQL at {place(url)} {_reason(str(cause))}"
            raise DatabaseUnavailable(msg) from None
        msg = f"PostgreSQL at {place(url)} refused a statement: {_first_line(str(cause))}"
        raise DatabaseError(msg) from error


def place(url: URL) -> str:
    """Name a database without its user's password."""
    host = url.host or url.query.get("host") or "the local socket"
    return f"{host}{f':{url.port}' if url.port else ''}, database {url.database}"


def _reason(message: str) -> str:
    if "password authentication failed" in message or "no password supplied" in message:
        return "refuses the user or the password: correct them in FASHION_DATABASE_URL"
    if "does not exist" in message and "database" in message:
        return "has no such database: create it, or correct FASHION_DATABASE_URL"
    return f"does not answer ({_first_line(message)}): check that it runs and that FASHION_DATABASE_URL names it"


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or ["no reason given"])[0]
