"""The process that starts the embedded PostgreSQL, watches it, and stops it after its last user."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from fashion_pipeline.local.account import drop_privileges, server_account
from fashion_pipeline.local.postgres import ANOTHER_LIVES, LOOK_S, POLL_S, RESTARTS, SOCKET_NAME, STOP_S, _environment


class _Supervisor:
    """Keeps one server running until its last user is gone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        launch = json.loads((root / "launch.json").read_text())
        self.programs = Path(launch["programs"])
        self.socket_directory = Path(launch["socket_directory"])
        self.account = server_account(enter=[root], execute=self.programs / "postgres")
        self.users_gone = threading.Event()
        self.told_to_stop = False

    def run(self) -> None:
        """Detach, serve, and return when nobody needs the server any more."""
        alive = (self.root / "supervisor.lock").open("a")
        try:
            self._wait_for(alive, LOOK_S)  # somebody may be looking whether it is held
        except BlockingIOError:
            sys.exit(ANOTHER_LIVES)
        if os.fork():  # the lock goes with the child: when this process ends, the supervisor is known to live
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        threading.Thread(target=self._wait_for_users, daemon=True).start()
        for _ in range(RESTARTS + 1):
            server = self._serve()
            while server.poll() is None and not self._over():
                self.users_gone.wait(0.1)
            if self._over():
                self._end(server)
                break
            self._say(f"PostgreSQL ended by itself with status {server.returncode}")
        if self.users_gone.is_set():  # else their URLs name it
            shutil.rmtree(self.socket_directory, ignore_errors=True)

    def _over(self) -> bool:
        return self.users_gone.is_set() or self.told_to_stop

    def _stop(self, *_: object) -> None:
        self.told_to_stop = True

    def _wait_for_users(self) -> None:
        """Hold ``users.lock`` alone, once that is possible, and until this process ends."""
        self.users = (self.root / "users.lock").open("a")
        fcntl.flock(self.users, fcntl.LOCK_EX)
        self.users_gone.set()

    def _serve(self) -> subprocess.Popen[bytes]:
        """Start the server when nothing is left of the one before it.

        Every process of a server holds ``data.lock`` by inheritance. Who gets it knows that none
        lives, whatever ``postmaster.pid`` says: that file may name a zombie, or a stranger who
        has got the number since.
        """
        with (self.root / "data.lock").open("a") as lock:
            try:
                self._wait_for(lock, STOP_S)
            except BlockingIOError:
                self._say(f"processes of an earlier server are still alive and hold {lock.name}; giving up")
                raise
            self._remove_stale_pids()
            return subprocess.Popen(  # noqa: S603 - the wheel's own program
                [self.programs / "postgres", "-D", self.data, *self._options()],
                preexec_fn=drop_privileges(self.account, death_signal=signal.SIGINT),  # noqa: PLW1509 - only system calls
                pass_fds=[lock.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
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
        return [f"--{name}={value}" for name, value in settings.items()]

    @staticmethod
    def _wait_for(lock: IO[str], seconds: float) -> None:
        """Take a lock, or raise BlockingIOError after so long."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(POLL_S)

    def _remove_stale_pids(self) -> None:
        """Remove lock files that would stop the start, and leave the others to PostgreSQL."""
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
    def _say(sentence: str) -> None:
        sys.stderr.write(f"supervisor: {sentence}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    _Supervisor(Path(sys.argv[1])).run()
