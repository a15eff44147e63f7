"""The command line in a fork of a process that has the imports, left alone or killed at a named moment.

Run as a program, it reads one JSON object a line, ``{"moment": …, "arguments": […], "environment":
{…}}``, runs the command line in a fork of itself (which spares every run the imports), and writes
the fork's wait status. The moments:

* ``start:<asset>``: the first moment inside that asset's function;
* ``renamed:<asset>``: the moment after its table's new file has taken the old one's place;
* ``after:<seconds>``: whatever it is doing then; ``"signal"`` names another signal than 9;
* ``never:``: it is left alone.

The interpreter's own profiling hook watches for the first two: nothing of the program under test is
replaced. ``"log"`` names a file that takes what the command prints; ``"out"`` and ``"err"`` name one
each for standard output and standard error. ``"folder"`` is where it runs. The environment replaces
this process's own with ``"whole": true``, and is added to it otherwise.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from fashion_pipeline.cli.main import main as command_line
from fashion_pipeline.embedding.load import import_open_clip

PROGRAM = ("-m", "fashion_pipeline_tests.killed")


class Forks:
    """The program as a process, started by the first request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, moment: str, arguments: Sequence[str], **more: Any) -> int:
        """Run the command line in a fork, and return its wait status."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, *PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        process = self._process
        if process.stdin is None or process.stdout is None:
            msg = "the process was started without pipes"
            raise RuntimeError(msg)
        process.stdin.write(json.dumps({"moment": moment, "arguments": arguments, **more}) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def command(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as ``subprocess.run`` would, without its imports."""
        out, err = folder / "out.txt", folder / "err.txt"
        files = {"out": str(out), "err": str(err), "folder": str(folder)}
        status = self.run("never:", arguments, environment=dict(environment), whole=True, **files)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess([*arguments], code, out.read_text("utf-8"), err.read_text("utf-8"))

    def close(self) -> None:
        """End the process, where one was started."""
        if self._process is not None:
            with self._process as process:
                if process.stdin is not None:
                    process.stdin.close()


def main() -> None:
    """Serve requests until standard input ends."""
    import_open_clip()
    for name in ("open_clip", "pyarrow.parquet", "qdrant_client", "fashion_pipeline.definitions"):
        importlib.import_module(name)
    gc.freeze()  # a fork that collects garbage would copy every page
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _prepare(request)
            run(request["moment"], request["arguments"])
        kind, _, moment = request["moment"].partition(":")
        if kind == "after":
            _send_after(child, float(moment), request.get("signal", signal.SIGKILL))
        print(os.waitpid(child, 0)[1], flush=True)  # noqa: T201 - the answer


def _send_after(child: int, seconds: float, number: int) -> None:
    """Send a signal to a child that is still running by then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.005)
    os.kill(child, number)


def _prepare(request: Mapping[str, Any]) -> None:
    """Give the fork the environment, the folder and the files that a request names."""
    if request.get("whole"):
        os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdin.close()
    os.chdir(request.get("folder", "."))
    log = request.get("log")
    for descriptor, name in ((1, request.get("out", log)), (2, request.get("err", log))):
        if name is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(name, flags if name != log else flags | os.O_APPEND), descriptor)


def run(moment: str, arguments: Sequence[str]) -> NoReturn:
    """Run the command line, and do not come back from the moment."""
    sys.argv = ["fashion-pipeline", *arguments]
    kind, asset = moment.split(":")
    if kind in {"start", "renamed"}:
        watch = _Watch(kind, asset)
        threading.setprofile(watch)
        sys.setprofile(watch)
    code: object = 1
    try:
        command_line()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - what the interpreter would print at its end
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)  # the interpreter's own end takes seconds in a large fork


class _Watch:
    def __init__(self, kind: str, asset: str) -> None:
        self.kind = kind
        self.asset = asset

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if self.kind == "start" and event == "call" and code.co_name == self.asset:
            hit = code.co_filename.endswith("defs/assets.py")
        elif self.kind == "renamed" and event == "return" and code.co_name == "put":
            path = frame.f_locals.get("path")
            in_storage = code.co_filename.endswith("fashion_pipeline/storage/files.py")
            hit = in_storage and path is not None and path.parent.name == self.asset
        else:
            return
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
