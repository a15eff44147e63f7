"""The supervisor of the embedded PostgreSQL, and what it does when a process is killed."""

from __future__ import annotations

import os

import pytest

from fashion_pipeline.local import postgres as local_postgres
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.local.embedded import ask, kill, pid_of, user, wait_until_nothing_runs

pytestmark = pytest.mark.slow


def test_a_killed_owner_leaves_no_server_behind(home: Home) -> None:
    """The kernel frees its lock, and the server stops."""
    with user(home) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        supervisor, server = pid_of(home, "supervisor"), pid_of(home, "server")
        assert supervisor not in {owner.pid, os.getpid()}
        assert server != supervisor
    wait_until_nothing_runs(home)


@pytest.mark.parametrize("victims", [["server"], ["supervisor"], ["server", "supervisor"]])
def test_a_killed_server_or_supervisor_comes_back_with_every_row(home: Home, victims: list[str]) -> None:
    """Whatever is killed, the next use finds a server, recovered, although the dead are not even reaped yet."""
    with embedded_postgres(home) as url:
        ask(url, "CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        kill([pid_of(home, victim) for victim in victims])
        with embedded_postgres(home) as again:
            assert ask(again, "SELECT count(*) FROM kept") == 1000
    wait_until_nothing_runs(home)


def test_a_stale_pid_file_that_names_a_stranger_is_no_obstacle(home: Home) -> None:
    """A number from before a reboot may belong to anybody now."""
    with embedded_postgres(home):
        pass
    wait_until_nothing_runs(home)
    data = home.local("postgres") / "data"
    (data / "postmaster.pid").write_text(f"{os.getppid()}\n{data}\n0\n5432\n/tmp\n\n  \nready\n")
    with embedded_postgres(home) as url:
        assert ask(url, "SELECT 1") == 1
    wait_until_nothing_runs(home)


def test_a_second_supervisor_leaves_the_first_alone(home: Home) -> None:
    """A supervisor that a killed process started is used: starting another one finds it running."""
    with embedded_postgres(home) as url:
        assert local_postgres._Cluster(home.local("postgres").absolute())._launch() is False
        assert ask(url, "SELECT 1") == 1
