"""Decoders in separate processes: a hang, a crash or a lack of memory costs one image only.

A run decodes strangers' bytes here and nowhere else. Each worker (``worker``) has its own socket to
this process, so the end of one does not affect the others. It does not get the run's environment,
and starts when the first image arrives.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import Pipe
from typing import IO, TYPE_CHECKING, Literal

from fashion_pipeline.errors import DecoderFailed, DecoderUnavailable, UnreadableImage
from fashion_pipeline.images.capacity import cores
from fashion_pipeline.images.decode import MODEL_SIDE_PX
from fashion_pipeline.images.measure import Findings, found_unreadable
from fashion_pipeline.images.worker import NO_MEMORY, Answer, Task, memory_bound
from fashion_pipeline.outcomes import Reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

DEADLINE_S = 30.0
"""For one image; the largest allowed image takes two or three seconds."""

CPU_S = 15.0
"""Processor time for one image. Unlike the deadline it does not depend on how busy the machine is, so that the image
is rejected, not retried."""

_PROGRAM = ("-m", "fashion_pipeline.images.worker")
_START_S = 120.0
_GRACE_S = 10.0
_ANSWER_BYTES = 64 * 1024
_PIXELS_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A small RGB copy of an image, and the findings of the original."""

    image: Image.Image
    original: Findings


class Decoders:
    """Up to ``count`` workers, each started when it is first needed and then reused. Thread-safe.

    Args:
        count: the most workers at one time.
        deadline_s: for one image.
        cpu_s: processor time for one image.
        program: the worker's command line after Python and its options; the socket's number is appended.
    """

    def __init__(
        self,
        count: int,
        *,
        deadline_s: float = DEADLINE_S,
        cpu_s: float = CPU_S,
        program: Sequence[str] = _PROGRAM,
    ) -> None:
        self.count = count
        self.deadline_s = deadline_s
        self.cpu_s = cpu_s
        self._program = tuple(program)
        self._places: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._places.put(None)

    def measure(self, data: bytes, *, max_pixels: int) -> tuple[Findings, np.ndarray | None]:
        """Do what ``measure.measure`` does, in a worker.

        Raises:
            DecoderFailed: the decoder hung, crashed or exceeded its memory limit.
            DecoderUnavailable: no worker can be started.
        """
        try:
            reply, pixels = self._ask(self._task("measure", max_pixels), data)
        except DecoderFailed:
            raise
        except UnreadableImage as error:
            return found_unreadable(error), None
        return reply.findings, None if reply.findings.problem else _array(reply, pixels)

    def render(self, data: bytes, *, max_pixels: int) -> np.ndarray:
        """Return the model's pixels, ``uint8[224, 224, 3]``.

        Raises:
            UnreadableImage: the bytes cannot be decoded.
            DecoderFailed: the decoder hung, crashed or exceeded its memory limit; it may be retried.
            DecoderUnavailable: no worker can be started.
        """
        reply, pixels = self._ask(self._task("render", max_pixels), data)
        _refuse(reply.findings)
        return _array(reply, pixels)

    def shrink(self, data: bytes, *, side_px: int, max_pixels: int) -> Shrunk:
        """Return a copy that fits into a square of ``side_px``; raises as ``render`` does."""
        from PIL import Image

        reply, pixels = self._ask(self._task("shrink", max_pixels, side_px), data)
        _refuse(reply.findings)
        return Shrunk(Image.frombytes("RGB", reply.pixels_size, pixels), reply.findings)

    def close(self) -> None:
        """End the idle workers; further tasks start new ones."""
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._places.get_nowait())
        for worker in idle:
            if worker is not None:
                worker.end()
            self._places.put(None)

    def _task(self, do: Literal["measure", "render", "shrink"], max_pixels: int, side_px: int = 0) -> Task:
        return Task(do, max_pixels, self.deadline_s, self.cpu_s, side_px)

    def _after_fork(self) -> None:
        """Drop the workers in a forked process: they belong to its parent, and must notice when that ends."""
        places, self._places = self._places.queue, queue.LifoQueue()
        for worker in places:
            if worker is not None:
                worker.disown()
            self._places.put(None)

    def _ask(self, task: Task, data: bytes) -> tuple[Answer, bytes]:
        """Do a task. If it ends the worker for any reason but the deadline, try once more with a fresh worker."""
        worker = self._places.get()
        try:
            if worker is None or worker.has_exited():
                worker = _Worker(self._program)
            try:
                return worker.ask(task, data)
            except DecoderFailed as error:
                if error.reason is Reason.DECODER_TIMEOUT:
                    raise
            worker = _Worker(self._program)
            return worker.ask(task, data)
        finally:
            self._places.put(worker)


@cache
def decoders() -> Decoders:
    """Return this process's decoders: one per core."""
    made = Decoders(cores())
    atexit.register(made.close)
    os.register_at_fork(after_in_child=made._after_fork)  # noqa: SLF001 - our own
    return made


class _Worker:
    """One process, and this end of its socket."""

    def __init__(self, program: Sequence[str]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._connection, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-P", *program, str(theirs.fileno())]
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    command,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                self._connection.close()
                self._log.close()
                raise _unavailable(str(error)) from error
        try:
            is_ready = self._connection.poll(_START_S) and self._connection.recv_bytes(16)
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            status, line = self._ended(), self._last_log_line()
            self.end()
            raise _unavailable(line or f"exit status {status}")

    def has_exited(self) -> bool:
        """Whether the process has ended; if so, release its resources."""
        if not self._connection.closed and (self._connection.poll(0) or self._process.poll() is not None):
            self.end()
        return self._connection.closed

    def ask(self, task: Task, data: bytes) -> tuple[Answer, bytes]:
        """Do a task, or end the process and raise why it was not done."""
        try:
            self._connection.send_bytes(json.dumps(asdict(task)).encode())
            self._connection.send_bytes(data)
            if self._connection.poll(task.deadline_s + _GRACE_S):
                reply = self._connection.recv_bytes(_ANSWER_BYTES)
                return _checked(task, reply, self._connection.recv_bytes(_PIXELS_BYTES))
        except (EOFError, OSError) as error:
            failure = self._failure(task)
            self.end()
            raise failure from error
        except BaseException:  # the reply to an abandoned task must not be taken for the next one's
            self.end()
            raise
        self.end()
        raise _timeout(task)

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        if not self._connection.closed:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._log.close()

    def disown(self) -> None:
        """Close this process's copies of what belongs to its parent."""
        self._connection.close()
        self._log.close()
        self._process.returncode = 0  # it is the parent's to wait for

    def _failure(self, task: Task) -> UnreadableImage:
        status = self._ended()
        if status == -signal.SIGPROF:
            msg = f"it needs more than {task.cpu_s:g} s of processor time; save it again and upload it again"
            return UnreadableImage(msg, reason=Reason.UNDECODABLE)
        if status == -signal.SIGALRM:
            return _timeout(task)
        if status == NO_MEMORY:
            bound = memory_bound(task.max_pixels) >> 20
            msg = f"the decoder exceeded its memory limit of {bound:,} MiB; it is tried again later"
            return DecoderFailed(msg, reason=Reason.DECODER_MEMORY)
        if status == -signal.SIGKILL:
            msg = "the system killed the decoder, most likely because memory ran out; it is tried again later"
            return DecoderFailed(msg, reason=Reason.DECODER_MEMORY)
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        line = self._last_log_line()
        msg = f"the decoder crashed ({how}{': ' * bool(line)}{line}); it is tried again later"
        return DecoderFailed(msg, reason=Reason.DECODER_CRASHED)

    def _ended(self) -> int:
        try:
            return self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _last_log_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return lines[-1][:200] if lines else ""


def _environment() -> dict[str, str]:
    """Return the environment a worker needs to import its decoders, and nothing else of this process's."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        # Keep the memory of one image (at most 64 MiB) for the next: page faults on returned memory
        # would take a fifth of the time per image.
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
        "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    }


def _checked(task: Task, reply: bytes, pixels: bytes) -> tuple[Answer, bytes]:
    """Validate a reply: the process that wrote it has read a stranger's bytes."""
    from pydantic import TypeAdapter, ValidationError

    try:
        answer = TypeAdapter(Answer).validate_json(reply)
    except ValidationError:
        answer = None
    side = MODEL_SIDE_PX if task.do != "shrink" else task.side_px
    if answer is not None and answer.findings.problem is None:
        width, height = answer.pixels_size
        fits = 0 < width <= side and 0 < height <= side and len(pixels) == 3 * width * height
        if not fits or (task.do != "shrink" and width * height != side * side):
            answer = None
    if answer is None:
        msg = "the decoder sent a malformed reply; it is tried again later"
        raise DecoderFailed(msg, reason=Reason.DECODER_CRASHED)
    return answer, pixels


def _array(answer: Answer, pixels: bytes) -> np.ndarray:
    import numpy as np

    width, height = answer.pixels_size
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _refuse(found: Findings) -> None:
    if found.problem is not None:
        raise UnreadableImage(
            found.problem_detail,
            reason=found.problem,
            width=found.width,
            height=found.height,
            image_format=found.image_format,
        )


def _timeout(task: Task) -> DecoderFailed:
    msg = f"the decoder exceeded its time limit of {task.deadline_s:g} s; it is tried again later"
    return DecoderFailed(msg, reason=Reason.DECODER_TIMEOUT)


def _unavailable(why: str) -> DecoderUnavailable:
    msg = f"no decoder process can be started ({why}); check that the machine has free memory and processes"
    return DecoderUnavailable(msg)
