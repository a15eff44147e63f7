"""The command line, killed with SIGKILL at a named moment.

Run as a program, it reads one JSON object a line, ``{"moment": …, "arguments": […], "environment":
{…}}``, runs the command line in a fork of itself (which spares every run the imports), and writes
the fork's wait status. The moments:

* ``start:<asset>``: the first moment inside that asset's function;
* ``renamed:<asset>``: the moment after its table's new file has taken the old one's place;
* ``after:<seconds>``: whatever it is doing then; ``"signal"`` names another signal than 9;
* ``never:``: it is left alone.

The interpreter's own profiling hook watches for the first two: nothing of the program under test is
replaced. ``"log"`` names a file that takes what the command prints.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from fashion_pipeline.cli.main import main as command_line
from fashion_pipeline.embedding.load import import_open_clip

PROGRAM = ("-m", "fashion_pipeline_tests.killed")


def main() -> None:
    """Serve requests until standard input ends."""
    import_open_clip()
    for name in ("open_clip", "pyarrow.parquet", "qdrant_client", "fashion_pipeline.definitions"):
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request["moment"], request["arguments"], request["environment"], log=request.get("log"))
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


def run(moment: str, arguments: Sequence[str], environment: dict[str, str], *, log: str | None = None) -> NoReturn:
    """Run the command line, and do not come back from the moment."""
    os.environ.update(environment)
    sys.argv = ["fashion-pipeline", *arguments]
    sys.stdin.close()
    if log is not None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
    kind, asset = moment.split(":")
    if kind in {"start", "renamed"}:
        watch = _Watch(kind, asset)
        threading.setprofile(watch)
        sys.setprofile(watch)
    command_line()


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
