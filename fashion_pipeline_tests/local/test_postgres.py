"""The embedded PostgreSQL, started for real."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fashion_pipeline.errors import DatabaseMismatch, DatabaseUnavailable, SettingsError
from fashion_pipeline.local.account import drop_privileges, server_account
from fashion_pipeline.local.postgres import embedded_postgres
from fashion_pipeline.storage.files import make_directory
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.local.embedded import ROOT, USE, ask, user, wait_until_nothing_runs

pytestmark = pytest.mark.slow


def test_it_serves_over_a_private_socket_only(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """No port is open, only its user may enter the socket's directory, data is flushed, and the start is logged."""
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


def test_many_processes_may_start_it_at_once(home: Home) -> None:
    """One starts it, the others find it."""
    with user(home) as first, user(home) as second, user(home) as third:
        urls = {process.stdout.readline() for process in (first, second, third) if process.stdout is not None}
    assert len(urls) == 1
    assert urls != {""}


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


def test_a_copy_of_a_home_uses_a_server_of_its_own(home: Home, tmp_path: Path) -> None:
    """``cp -a`` of a home in use, then a command on the copy: neither reaches the other's data, and both go on."""
    with embedded_postgres(home) as url:
        ask(url, "CREATE TABLE whose AS SELECT 'original' AS home")
        ask(url, "CHECKPOINT")
        (tmp_path / "copy").mkdir()
        subprocess.run(["/bin/cp", "-a", str(home.local("postgres")), str(tmp_path / "copy")], check=True)
        with embedded_postgres(Home(tmp_path / "copy")) as copied:
            assert copied != url
            ask(copied, "UPDATE whose SET home = 'copy'")
            assert ask(copied, "SELECT home FROM whose") == "copy"
        assert ask(url, "SELECT home FROM whose") == "original"
        with embedded_postgres(home) as again:
            assert again == url
    wait_until_nothing_runs(Home(tmp_path / "copy"))
    wait_until_nothing_runs(home)


@pytest.mark.parametrize("launch", ["[]", "{", '{"socket_directory": 7}'])
def test_a_damaged_launch_file_is_written_again(home: Home, launch: str) -> None:
    """What is in it is only a memory of where the server listened."""
    make_directory(home.local("postgres"))
    (home.local("postgres") / "launch.json").write_text(launch)
    with embedded_postgres(home) as url:
        assert ask(url, "SELECT 1") == 1
    wait_until_nothing_runs(home)


def test_variables_for_other_servers_reach_it_not(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """``PGOPTIONS``, ``PGSERVICE`` and their like would fail every connection with a misleading message."""
    for name, value in {
        "PGSERVICE": "nowhere",
        "PGOPTIONS": "-c nonsense=1",
        "PGPORT": "1",
        "PGHOSTADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    with embedded_postgres(home) as url:
        assert ask(url, "SELECT 1") == 1
    wait_until_nothing_runs(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only a root user's server runs under another account")
def test_the_account_of_a_root_users_server_may_not_connect(home: Home) -> None:
    """It may have been given the right to read root's files, which whoever can connect could use."""
    with embedded_postgres(home) as url:
        directory = Path(str(ask(url, "SHOW unix_socket_directories")))
        assert directory.stat().st_uid != 0, "the server runs as root"
        rules = "SELECT string_agg(type || ' ' || auth_method || ' ' || array_to_string(options, ','), ';') FROM pg_hba_file_rules"
        assert ask(url, rules) == "local peer map=owner"
        assert Path(str(ask(url, "SHOW ident_file"))).read_text() == "owner root postgres\n"
        assert ask(url, "SELECT current_user") == "postgres"
    wait_until_nothing_runs(home)
