"""The command line, killed with SIGKILL at a named moment.

Run as a program, it reads one JSON object a line, ``{"moment": …, "arguments": […], "environment":
{…}}``, runs the command line in a fork of itself (which spares every run the imports), and writes
the fork's wait status. The moments:

* ``start:<asset>``: the first moment inside that asset's function;
* ``renamed:<asset>``: the moment after its table's new file has taken the old one's place.

The interpreter's own profiling hook watches for them: nothing of the program under test is replaced.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from fashion_pipeline.cli import main as command_line
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
            run(request["moment"], request["arguments"], request["environment"])
        print(os.waitpid(child, 0)[1], flush=True)  # noqa: T201 - the answer


def run(moment: str, arguments: Sequence[str], environment: dict[str, str]) -> None:
    """Run the command line, and do not come back from the moment."""
    os.environ.update(environment)
    sys.argv = ["fashion-pipeline", *arguments]
    sys.stdin.close()
    watch = _Watch(*moment.split(":"))
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
            in_storage = code.co_filename.endswith("fashion_pipeline/storage.py")
            hit = in_storage and path is not None and path.parent.name == self.asset
        else:
            return
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
