from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from fashion_pipeline_tests.pipeline import Pipeline, hear_interrupts

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(pipeline: Pipeline, port: int) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Start ``dev``, wait for its address, and yield it with every process it started."""
    environment = {**os.environ, **pipeline.environment}
    environment.pop("PYTHONUNBUFFERED", None)  # the address comes through a pipe at once all the same
    del environment["FASHION_DATABASE_URL"]  # the embedded server must end too
    with subprocess.Popen(
        [sys.executable, "-m", "fashion_pipeline.cli", "dev", "--port", str(port)],
        env=environment,
        cwd=pipeline.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - one system call
    ) as process:
        try:
            assert process.stdout is not None
            assert any(f"http://127.0.0.1:{port}" in line for line in process.stdout)
            family = psutil.Process(process.pid).children(recursive=True)
            home = str(pipeline.folder / "home")
            family += [
                item for item in psutil.process_iter(["cmdline"]) if home in " ".join(item.info["cmdline"] or [])
            ]
            yield process, family
        finally:
            process.kill()


def test_killed_it_leaves_no_process_and_the_next_start_works(pipeline: Pipeline) -> None:
    """SIGKILL ends the web server, the daemon, their code servers and PostgreSQL; Ctrl-C does so on a second start."""
    port = free_port()
    for end in (signal.SIGKILL, signal.SIGINT):
        with started(pipeline, port) as (process, family):
            assert len({item.pid for item in family}) >= 4
            services = [item for item in family if "dagster" in " ".join(item.cmdline())]
            # Where no .env lies: Dagster would let it win over the real environment.
            assert {item.cwd() for item in services} == {str(pipeline.folder / "home" / "dagster")}
            process.send_signal(end)
            process.wait()
            _, alive = psutil.wait_procs(family, timeout=90)
            assert alive == []


def test_a_taken_port_is_one_sentence(pipeline: Pipeline) -> None:
    """The address is checked before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = pipeline.cold_command("dev", "--port", str(port))
    assert ran.returncode == 2
    assert f"port {port} on 127.0.0.1 is taken" in ran.stderr
    assert "--port" in ran.stderr


@pytest.mark.parametrize("port", ["0", "http", "70000"])
def test_a_port_that_is_none_is_refused(pipeline: Pipeline, port: str) -> None:
    """Nonsense is answered before anything is started."""
    assert pipeline.cold_command("dev", "--port", port).returncode == 2
