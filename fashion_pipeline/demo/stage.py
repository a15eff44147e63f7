"""Starts the model shops as a separate process, on a port that stays the same from run to run."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fashion_pipeline.demo.catalogue import PRODUCTS, STORES, store_ids
from fashion_pipeline.errors import SettingsError

_START_S = 60.0
_STOP_S = 10.0
PORT_TAKEN = 3
"""Exit status of the server when another program uses its port."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A running server of model shops."""

    origin: str
    port: int
    pid: int
    stores: int

    def shop_url(self, store_id: str) -> str:
        """Return the address of a shop."""
        return f"{self.origin}/{store_id}"

    @property
    def store_ids(self) -> list[str]:
        """The ids of its shops."""
        return store_ids(self.stores)


@contextlib.contextmanager
def start_server(
    folder: Path,
    *,
    products: int = PRODUCTS,
    stores: int = STORES,
    latency_ms: float = 0.0,
    program: str = "fashion_pipeline.demo.serve",
    tls: tuple[Path, Path] | None = None,
    draw_ahead: bool = True,
) -> Iterator[ModelServer]:
    """Serve the demo's shops until the block ends; the server never outlives this process.

    The port is chosen once and kept in ``folder/port``, because the pipeline stores the URLs of shops
    and images. Drawn images and ``server.log`` are kept in ``folder`` too.

    Args:
        folder: the demo's own folder; created if it does not exist.
        products: products of each shop.
        stores: number of shops.
        latency_ms: delay of every response.
        program: the module to run; a test's own may let tests change the shops.
        tls: PEM certificate and key; then https.
        draw_ahead: draw all images in the background from the start.

    Raises:
        SettingsError: the recorded port is in use, or the server did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recorded = _recorded_port(folder)
    with (folder / "server.log").open("wb") as log:
        command = [
            *(sys.executable, "-m", program, "--end-with-stdin", "--folder", str(folder)),
            *("--port", str(recorded), "--products", str(products), "--stores", str(stores)),
            *("--latency-ms", str(latency_ms)),
            *(("--tls-cert", str(tls[0]), "--tls-key", str(tls[1])) if tls else ()),
            *(("--draw-ahead",) if draw_ahead else ()),
        ]
        process = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
            start_new_session=True,  # an interrupt at the terminal is for the caller alone
        )
    try:
        origin = _wait_until_ready(process, folder, recorded)
        port = int(origin.rpartition(":")[2])
        (folder / "port").write_text(f"{port}\n", "utf-8")
        yield ModelServer(origin, port, process.pid, stores)
    finally:
        _stop(process)


def _recorded_port(folder: Path) -> int:
    try:
        text = (folder / "port").read_text("utf-8").strip()
    except FileNotFoundError:
        return 0
    if not text.isdigit() or not 0 < int(text) < 65_536:
        msg = f"{folder / 'port'} holds {text[:20]!r}, not a port; delete the file, and the demo chooses a port"
        raise SettingsError(msg)
    return int(text)


def _environment() -> dict[str, str]:
    """Return the server's environment, in which this package can be imported."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _wait_until_ready(process: subprocess.Popen[bytes], folder: Path, port: int) -> str:
    """Return the origin that the server prints when it is ready."""
    log = folder / "server.log"
    if process.stdout is None:
        msg = "the demo's server was started without standard output; this is a bug"
        raise SettingsError(msg)
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline().decode() if ready else ""
    if line.startswith("ready "):
        return line.removeprefix("ready ").strip()
    if ready and process.wait(_STOP_S) == PORT_TAKEN:
        msg = (
            f"another program uses port {port}, where the demo's shops ran before; "
            f"stop that program, or delete {folder / 'port'} to let the demo choose a free port"
        )
        raise SettingsError(msg)
    logged = log.read_text("utf-8", "replace").strip() or "(the log is empty)"
    msg = f"the demo's shops did not start; see {log}, which ends with: {logged.splitlines()[-1][:400]}"
    raise SettingsError(msg)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
