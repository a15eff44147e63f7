"""A process that decodes strangers' images one by one; a bad image ends only this process.

``python -m fashion_pipeline.images.worker FD`` serves the socket FD: a task (JSON) and a file's
bytes in, findings (JSON) and pixels out. Its replies are never unpickled: a process
that an image has taken over can send its parent numbers and pixels, but no code.

The kernel enforces its limits, whatever a decoder does: SIGALRM ends it at a task's deadline,
SIGPROF when a task has used too much processor time, RLIMIT_AS limits its memory, and it can write neither a core dump nor a file. It exits when its
parent has ended for any reason, and when it has been idle for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from fashion_pipeline.errors import UnreadableImage
from fashion_pipeline.images.decode import decode, render
from fashion_pipeline.images.measure import Findings, found_of, found_unreadable, measure
from fashion_pipeline.images.thumbnail import shrink
from fashion_pipeline.outcomes import Reason

IDLE_S = 10.0
"""How long a worker waits for a task before it exits."""

NO_MEMORY = 70
"""Exit status of a worker that ran out of memory."""

_PROCESS_BYTES = 256 * 1024 * 1024
_BYTES_PER_PIXEL = 24
_LARGEST_ALLOCATION_PER_PIXEL = 8
_LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with some bytes.

    Attributes:
        do: ``measure`` (findings, and the model's pixels), ``render`` (the model's pixels only),
            ``shrink`` (RGB pixels that fit into a square of ``side_px``).
        max_pixels: larger images are refused.
        deadline_s: after this the kernel ends the process.
        cpu_s: after so much processor time the kernel ends the process.
        side_px: for ``shrink`` only.
    """

    do: Literal["measure", "render", "shrink"]
    max_pixels: int
    deadline_s: float
    cpu_s: float
    side_px: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Findings, and the size of the RGB pixels that follow; (0, 0) if there are none."""

    findings: Findings
    pixels_size: tuple[int, int] = (0, 0)


Work = Callable[[Task, bytes], tuple[Answer, bytes]]


def memory_bound(max_pixels: int) -> int:
    """Return the memory limit of a worker in bytes, for images of at most ``max_pixels``.

    The most demanding decoder (WebP with transparency and a colour profile) was measured at 20
    bytes per pixel.
    """
    return _PROCESS_BYTES + _BYTES_PER_PIXEL * max_pixels


def answer(task: Task, data: bytes) -> tuple[Answer, bytes]:
    """Do one task; return the answer and the pixels that follow it."""
    if task.do == "measure":
        findings, pixels = measure(data, max_pixels=task.max_pixels)
        if pixels is None:
            return Answer(findings), b""
        return Answer(findings, (pixels.shape[1], pixels.shape[0])), pixels.tobytes()
    try:
        decoded = decode(data, max_pixels=task.max_pixels)
    except UnreadableImage as error:
        return Answer(found_unreadable(error)), b""
    if task.do == "render":
        pixels = render(decoded.image)
        return Answer(found_of(decoded), (pixels.shape[1], pixels.shape[0])), pixels.tobytes()
    small = shrink(decoded.image, task.side_px)
    return Answer(found_of(decoded), small.size), small.tobytes()


def serve(connection: Connection, work: Work = answer) -> None:
    """Do tasks until there are no more, or until one ends this process."""
    _load_decoders()
    _limit_process()
    connection.send_bytes(b"ready")
    while connection.poll(IDLE_S):
        task, data = Task(**json.loads(connection.recv_bytes())), connection.recv_bytes()
        _limit_memory(memory_bound(task.max_pixels))
        signal.setitimer(signal.ITIMER_REAL, task.deadline_s)
        signal.setitimer(signal.ITIMER_PROF, task.cpu_s)
        try:
            found, pixels = work(task, data)
        except MemoryError:
            os._exit(NO_MEMORY)
        if found.findings.problem is Reason.UNDECODABLE and _was_short_of_memory(task.max_pixels):
            os._exit(NO_MEMORY)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(json.dumps(asdict(found)).encode())
        connection.send_bytes(pixels)


def main(work: Work = answer) -> None:
    """Serve the socket that the command line names."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # sent to the whole process group; the parent handles them and closes the socket
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    warnings.simplefilter("ignore")  # Pillow warns of damaged metadata, which nobody would read
    with contextlib.suppress(EOFError, ConnectionError):
        serve(Connection(int(sys.argv[1])), work)


def _load_decoders() -> None:
    """Import the decoders before the limits apply and the first deadline runs."""
    import numpy as np  # noqa: F401
    from PIL import AvifImagePlugin, Image, ImageCms, MpoImagePlugin, WebPImagePlugin  # noqa: F401

    from fashion_pipeline.images import edges, signature  # noqa: F401

    Image.preinit()


def _limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LOG_BYTES, _LOG_BYTES))
    with contextlib.suppress(OSError):  # if memory runs out, the kernel should kill this process first
        Path("/proc/self/oom_score_adj").write_text("900")


def _was_short_of_memory(max_pixels: int) -> bool:
    """Whether an allocation may have failed: the decoders of WebP, AVIF and some JPEGs report that as damage.

    A process that used much memory for an earlier image may be wrong; a fresh process then tries again.
    """
    status = Path("/proc/self/status")
    peak = re.search(r"VmPeak:\s+(\d+) kB", status.read_text()) if status.exists() else None
    bound = resource.getrlimit(resource.RLIMIT_AS)[0]
    return peak is not None and int(peak[1]) * 1024 + _LARGEST_ALLOCATION_PER_PIXEL * max_pixels > bound


def _limit_memory(size: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


if __name__ == "__main__":
    main()
