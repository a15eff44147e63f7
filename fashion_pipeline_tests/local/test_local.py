"""The embedded PostgreSQL, started for real, and the local Qdrant's lock."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from fashion_pipeline.errors import DatabaseMismatch, DatabaseUnavailable, LockTimeout, SettingsError, VectorStoreError
from fashion_pipeline.local import postgres as local_postgres
from fashion_pipeline.local.account import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, drop_privileges, server_account
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.local.qdrant import local_qdrant
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
    """Return when no process of the server is left: each of them holds this lock."""
    for name in ("supervisor.lock", "data.lock"):
        with file_lock(home.local("postgres") / name, timeout_s=30, what=name):
            pass


def test_it_serves_over_a_private_socket_only(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """No port is open, nobody else may enter the socket's directory, data is flushed, and the start is said."""
    caplog.set_level(logging.INFO, "fashion_pipeline.local")
    with embedded_postgres(home) as url, embedded_postgres(home, database="dagster") as other:
        assert ask(url, "SHOW listen_addresses") == ""
        assert ask(url, "SHOW fsync") == "on"
        assert ask(url, "SELECT current_database()") == "fashion"
        assert ask(other, "SELECT current_database()") == "dagster"
        assert ask(url, "SHOW server_encoding") == "UTF8"
        directory = Path(str(ask(url, "SHOW unix_socket_directories")))
        assert directory.stat().st_mode & 0o777 == 0o700
    assert [record.getMessage() for record in caplog.records] == [
        f"FASHION_DATABASE_URL is not set: started an embedded PostgreSQL under {home.local('postgres')}"
    ]
    wait_until_nothing_runs(home)
    assert not directory.exists()


def test_data_stays_and_a_second_process_shares_the_server(home: Home) -> None:
    """The server outlives the process that started it while another one uses it."""
    with user(home) as first:
        assert first.stdout is not None
        url = first.stdout.readline().strip()
        ask(url, "CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        with embedded_postgres(home) as again:
            assert again == url
            first.kill()
            first.wait()
            assert ask(again, "SELECT count(*) FROM kept") == 1000
    wait_until_nothing_runs(home)
    with embedded_postgres(home) as later:
        assert ask(later, "SELECT count(*) FROM kept") == 1000


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


def test_many_processes_may_start_it_at_once(home: Home) -> None:
    """One starts it, the others find it."""
    with user(home) as first, user(home) as second, user(home) as third:
        urls = {process.stdout.readline() for process in (first, second, third) if process.stdout is not None}
    assert len(urls) == 1
    assert urls != {""}


def test_a_second_supervisor_leaves_the_first_alone(home: Home) -> None:
    """One that a killed process left on its way is no obstacle: who starts another finds that it serves."""
    with embedded_postgres(home) as url:
        assert local_postgres._Cluster(home.local("postgres").absolute())._launch() is False
        assert ask(url, "SELECT 1") == 1


def test_data_of_another_major_version_is_refused(home: Home) -> None:
    """The advice names both versions; nothing is converted by itself."""
    data = home.local("postgres") / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseMismatch, match="made by PostgreSQL 9"), embedded_postgres(home):
        pass


def test_a_server_that_cannot_start_says_why(home: Home) -> None:
    """The end of the server's own log is in the sentence; once that is seen to, it starts."""
    with embedded_postgres(home):
        pass
    wait_until_nothing_runs(home)
    configuration = home.local("postgres") / "data" / "postgresql.conf"
    before = configuration.read_text()
    configuration.write_text("nonsense = 1\n")
    with pytest.raises(DatabaseUnavailable, match="nonsense"), embedded_postgres(home):
        pass
    configuration.write_text(before)
    with embedded_postgres(home) as url:
        assert ask(url, "SELECT 1") == 1
    wait_until_nothing_runs(home)


def test_an_object_store_cannot_hold_it() -> None:
    """The sentence names the variables to set."""
    with pytest.raises(SettingsError, match="FASHION_DATABASE_URL"), embedded_postgres(Home("memory://bucket")):
        pass


def test_root_lends_the_least_capability_that_lets_the_server_through(tmp_path: Path) -> None:
    """None where everybody may walk, reading past closed directories, and more only for a closed program."""
    program = tmp_path / "bin" / "postgres"
    program.parent.mkdir()
    program.touch()
    program.chmod(0o711)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    account = server_account(enter=[closed], execute=program)
    if os.geteuid() != 0:
        assert account is None
        return
    assert account is not None
    assert account.uid != 0
    assert account.capability == CAP_DAC_READ_SEARCH
    program.chmod(0o700)
    closed_program = server_account(enter=[], execute=program)
    assert closed_program is not None
    assert closed_program.capability == CAP_DAC_OVERRIDE


def test_an_ordinary_user_runs_it_as_itself() -> None:
    """Without root there is nothing to become; the server belongs to who started it."""
    with tempfile.TemporaryDirectory() as directory:
        # Root plays another user, who may have to read past a closed directory to find Python.
        account = server_account(enter=[ROOT, Path(os.__file__)], execute=Path(sys.executable).resolve())
        owner = os.geteuid() if account is None else account.uid
        os.chown(directory, owner, -1)
        home = Home(directory)
        ended = subprocess.run(
            [sys.executable, "-c", USE, directory],
            preexec_fn=drop_privileges(account, death_signal=signal.SIGKILL),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert (home.local("postgres") / "data").stat().st_uid == owner
        wait_until_nothing_runs(home)


def test_the_local_qdrant_lets_one_process_in_at_a_time(home: Home) -> None:
    """The second waits, up to its time; then the sentence says what is held."""
    with local_qdrant(home) as client:
        assert client.get_collections().collections == []
        with pytest.raises(LockTimeout, match="local Qdrant"), local_qdrant(home, timeout_s=0):
            pass
    with local_qdrant(home, timeout_s=0):
        pass


def test_a_damaged_local_qdrant_says_what_to_do(home: Home) -> None:
    """Files that are not Qdrant's are a sentence: the vectors lie elsewhere, so the directory can go."""
    with local_qdrant(home):
        pass
    (home.local("qdrant") / "meta.json").write_text("{")
    with pytest.raises(VectorStoreError, match="move that directory away"), local_qdrant(home):
        pass


def test_a_thread_that_waits_for_the_local_qdrant_gets_it(home: Home) -> None:
    """Opening waits for the lock instead of failing as the client itself would."""
    opened = threading.Event()

    def second() -> None:
        with local_qdrant(home):
            opened.set()

    with local_qdrant(home):
        thread = threading.Thread(target=second)
        thread.start()
        assert not opened.is_set()
    thread.join()
    assert opened.is_set()
