"""The embedded PostgreSQL's processes, as tests start, watch and kill them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home

ROOT = Path(__file__).parents[2]

USE = """
import sys
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.storage.home import Home
with embedded_postgres(Home(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def ask(url: str, statement: str) -> object:
    """Return the one value a statement selects."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        found = connection.execute(statement)
        row = found.fetchone() if found.description else None
        return None if row is None else row[0]


def pid_of(home: Home, what: str) -> int:
    """Return the number of the server (``server``), or of the supervisor above it."""
    server = int((home.local("postgres") / "data" / "postmaster.pid").read_text().split()[0])
    if what == "server":
        return server
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


def kill(numbers: list[int]) -> None:
    """Kill processes that are not ours to reap, and return when they are dead."""
    opened = [os.pidfd_open(number) for number in numbers]
    for descriptor in opened:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    for descriptor in opened:
        select.select([descriptor], [], [])
        os.close(descriptor)


@contextmanager
def user(home: Home) -> Iterator[subprocess.Popen[str]]:
    """Run another process that uses the server until its input ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", USE, str(home.root)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def wait_until_nothing_runs(home: Home) -> None:
    """Return when every process of the server has ended: each of them holds this lock."""
    for name in ("supervisor.lock", "data.lock"):
        with file_lock(home.local("postgres") / name, timeout_s=30, what=name):
            pass
