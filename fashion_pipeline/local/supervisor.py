"""The process that starts the embedded PostgreSQL, watches it, and stops it after its last user."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from fashion_pipeline.local.account import drop_privileges, server_account

ANOTHER_SUPERVISOR = 3
"""Exit status of a supervisor that finds another one running."""

RESTARTS = 5
"""How often a supervisor restarts a server that dies by itself before it gives up."""

STOP_S = 30.0
"""How long a server may take to stop before it is signalled harder."""

LOCK_CHECK_S = 1.0
"""Longest time that another process holds ``supervisor.lock`` to check it."""

POLL_S = 0.02

SOCKET_NAME = ".s.PGSQL.5432"


def server_environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs. Nothing is inherited, so no ``PG*`` variable reaches them."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class _Supervisor:
    """Keeps one server running until its last user has ended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        launch = json.loads((root / "launch.json").read_text())
        self.programs = Path(launch["programs"])
        self.socket_directory = Path(launch["socket_directory"])
        self.account = server_account(enter=[root], execute=self.programs / "postgres")
        self.users_gone = threading.Event()
        self.stop_requested = False

    def run(self) -> None:
        """Detach, run the server, and return when no process uses it."""
        alive = (self.root / "supervisor.lock").open("a")
        try:
            self._wait_for(alive, LOCK_CHECK_S)  # another process may be checking whether it is held
        except BlockingIOError:
            sys.exit(ANOTHER_SUPERVISOR)
        if os.fork():  # the child inherits the lock: once this process ends, the supervisor is known to run
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        threading.Thread(target=self._wait_for_users, daemon=True).start()
        for _ in range(RESTARTS + 1):
            server = self._serve()
            while server.poll() is None and not self._finished():
                self.users_gone.wait(0.1)
            if self._finished():
                self._end(server)
                break
            self._log(f"PostgreSQL ended by itself with status {server.returncode}")
        if self.users_gone.is_set():  # otherwise the users' URLs still name it
            shutil.rmtree(self.socket_directory, ignore_errors=True)

    def _finished(self) -> bool:
        return self.users_gone.is_set() or self.stop_requested

    def _stop(self, *_: object) -> None:
        self.stop_requested = True

    def _wait_for_users(self) -> None:
        """Take ``users.lock`` exclusively as soon as that is possible, and keep it until this process ends."""
        self.users = (self.root / "users.lock").open("a")
        fcntl.flock(self.users, fcntl.LOCK_EX)
        self.users_gone.set()

    def _serve(self) -> subprocess.Popen[bytes]:
        """Start the server once every process of the previous one has ended.

        Each process of a server inherits ``data.lock``, so whoever gets the lock knows that none is
        alive. ``postmaster.pid`` does not show that: it may name a zombie, or an unrelated process
        that has the number now.
        """
        with (self.root / "data.lock").open("a") as lock:
            try:
                self._wait_for(lock, STOP_S)
            except BlockingIOError:
                self._log(f"processes of an earlier server are still alive and hold {lock.name}; giving up")
                raise
            self._remove_stale_pids()
            return subprocess.Popen(  # noqa: S603 - the wheel's own program
                [self.programs / "postgres", "-D", self.data, *self._options()],
                preexec_fn=drop_privileges(self.account, death_signal=signal.SIGINT),  # noqa: PLW1509 - only system calls
                pass_fds=[lock.fileno()],
                stdin=subprocess.DEVNULL,
                env=server_environment(),
                cwd="/",
            )

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if self.account is not None:
            settings |= self._access()
        return [f"--{name}={value}" for name, value in settings.items()]

    def _access(self) -> dict[str, str]:
        """Let only the user who runs the pipeline connect, not the account that runs the server.

        The server of a root user may have been given the right to read root's files, so that it reaches its
        home; whoever can connect can use that right (``COPY FROM PROGRAM``).
        """
        owner = pwd.getpwuid(os.geteuid()).pw_name
        rules = {"hba_file": "local all all peer map=owner\n", "ident_file": f"owner {owner} postgres\n"}
        for name, text in rules.items():
            temporary = self.root / f"{name}.tmp"
            temporary.write_text(text)
            temporary.chmod(0o644)
            temporary.replace(self.root / name)
        return {name: str(self.root / name) for name in rules}

    @staticmethod
    def _wait_for(lock: IO[str], seconds: float) -> None:
        """Take a lock, or raise BlockingIOError after this many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(POLL_S)

    def _remove_stale_pids(self) -> None:
        """Remove the lock files that would prevent the start, and leave the others to PostgreSQL."""
        for file in (self.data / "postmaster.pid", self.socket_directory / f"{SOCKET_NAME}.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                os.kill(int(file.read_text().split()[0]), 0)
                file.unlink()

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        """Stop the server: fast, then without a checkpoint, then by force."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(STOP_S)
                return

    @staticmethod
    def _log(sentence: str) -> None:
        sys.stderr.write(f"supervisor: {sentence}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    _Supervisor(Path(sys.argv[1])).run()
