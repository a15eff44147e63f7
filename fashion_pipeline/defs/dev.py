"""The Dagster UI and its daemon as processes beside the command line."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from fashion_pipeline.errors import FashionError, SettingsError

HOST = "127.0.0.1"
PR_SET_PDEATHSIG = 1
WORKSPACE = """\
load_from:
  - python_module:
      module_name: fashion_pipeline.definitions
      location_name: fashion_pipeline
"""


def serve_ui(*, port: int, store_ids: Sequence[str]) -> None:
    """Run the web server and the daemon until one ends or the user interrupts.

    They get their end from the kernel when this process is killed.

    Raises:
        SettingsError: the port is taken.
        FashionError: a service ended by itself.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            msg = f"port {port} on {HOST} is taken ({error.strerror}); name another with --port"
            raise SettingsError(msg) from error
    workspace = Path(os.environ["DAGSTER_HOME"]) / "workspace.yaml"
    workspace.write_text(WORKSPACE, "utf-8")
    quiet = [
        "-w",
        str(workspace),
        "--log-level",
        "warning",
        "--code-server-log-level",
        "error",
    ]  # it warns of reloads
    commands = {
        "web server": [
            "fashion_pipeline.defs.webserver",
            *quiet,
            "--host",
            HOST,
            "--port",
            str(port),
            "--suppress-warnings",
            "--dagster-log-level",
            "warning",
        ],
        "daemon": ["dagster._daemon", "run", *quiet],
    }
    environment = _environment()
    services = {name: _start(arguments, workspace.parent, environment) for name, arguments in commands.items()}
    for service in services.values():
        if service.stdout is not None:
            threading.Thread(target=_repeat, args=(service.stdout,), daemon=True).start()
    try:
        _wait_until_up(port, services)
        print(f"Dagster UI: http://{HOST}:{port}   (Ctrl-C stops it and everything it started)")  # noqa: T201
        print(f"Stores: {', '.join(store_ids) or 'none yet'}.")  # noqa: T201
        print("First: Catalog, then fashion, then Materialize all, and choose a store. See docs/ui.md.")  # noqa: T201
        sys.stdout.flush()  # a file or a pipe would get them at the end
        ended = _wait(services)
        msg = f"the {ended} ended by itself (exit code {services[ended].returncode}); its last lines are above"
        raise FashionError(msg)
    finally:
        for service in services.values():
            if service.poll() is None:
                service.send_signal(signal.SIGTERM)
        for service in services.values():
            try:
                service.wait(15)
            except subprocess.TimeoutExpired:
                service.kill()


def _environment() -> dict[str, str]:
    """Return the services' environment: what this process finds, they find from another folder too."""
    package = str(Path(__file__).resolve().parents[2])
    return {
        **os.environ,
        "FASHION_STORES": str(Path(os.environ.get("FASHION_STORES") or "stores.yaml").absolute()),
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        "PYTHONWARNINGS": "ignore",
    }


def _repeat(said: IO[bytes]) -> None:
    """Print what a service says, but for the events of runs, a hundred for each: the UI shows them."""
    for line in said:
        if b" - dagster - DEBUG - " not in line:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


def _start(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a service in a folder without a ``.env``: Dagster would let one win over the real environment."""
    return subprocess.Popen(  # noqa: S603 - our own arguments
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - started from the main thread, before any other
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine


def _wait_until_up(port: int, services: dict[str, subprocess.Popen[bytes]]) -> None:
    import time

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for name, service in services.items():
            if service.poll() is not None:
                msg = f"the {name} did not start (exit code {service.returncode}); its last lines are above"
                raise FashionError(msg)
        try:
            _direct.open(f"http://{HOST}:{port}/server_info", timeout=2)
        except OSError:
            time.sleep(0.2)
        else:
            return
    msg = f"the web server did not answer on http://{HOST}:{port} within two minutes"
    raise FashionError(msg)


def _wait(services: dict[str, subprocess.Popen[bytes]]) -> str:
    while True:
        for name, service in services.items():
            try:
                service.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
            return name
