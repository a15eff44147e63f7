"""A worker whose decoder misbehaves as the bytes prescribe, for tests of failing decoders.

``python -m fashion_pipeline_tests.images.misbehaving FD`` is a worker like any other, but for these bytes.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from fashion_pipeline.images.measure import Findings
from fashion_pipeline.images.worker import Answer, Task, answer, main
from fashion_pipeline.outcomes import Reason

PROGRAM = ("-m", "fashion_pipeline_tests.images.misbehaving")

_MARK = b"misdeed:"


class Misdeed(StrEnum):
    """How a decoder misbehaves."""

    HANG = "hang"
    WAIT = "wait"
    CRASH = "crash"
    CRASH_ONCE = "crash once"
    EAT = "eat"
    EAT_AND_BLAME = "eat and blame"
    KILLED = "killed"
    LEAVE = "leave"
    RAISE = "raise"
    LIE = "lie"
    TOO_FEW = "too few"
    TELL = "tell"


def misbehaving(misdeed: Misdeed, where: object = "") -> bytes:
    """Return bytes that make a decoder misbehave.

    WAIT waits for a file, CRASH_ONCE leaves one behind, RAISE says it.
    """
    return b"%s%s:%s" % (_MARK, misdeed.encode(), str(where).encode())


def work(task: Task, data: bytes) -> tuple[Answer, bytes]:
    """Misbehave if the bytes say so, else do the task."""
    if not data.startswith(_MARK):
        return answer(task, data)
    misdeed, _, where = data.removeprefix(_MARK).decode().partition(":")
    if misdeed == Misdeed.TELL:
        return _told(f"{sorted(os.environ)} {os.getpid()}")
    if misdeed == Misdeed.LIE:
        return Answer(Findings("1", 1, "JPEG", problem="whatever")), b""  # type: ignore[arg-type]
    if misdeed == Misdeed.EAT_AND_BLAME:
        with contextlib.suppress(MemoryError):
            _eat(where)
        return Answer(Findings(1, 1, "WEBP", problem=Reason.UNDECODABLE)), b""
    if misdeed == Misdeed.TOO_FEW:
        return _told("")[0], bytes(10)
    _DEEDS[Misdeed(misdeed)](where)
    return _told("")


def _told(words: str) -> tuple[Answer, bytes]:
    return Answer(Findings(1, 1, "JPEG", problem_detail=words), (224, 224)), bytes(224 * 224 * 3)


def _wait(where: str) -> None:
    while not Path(where).is_file():
        pass


def _crash_once(where: str) -> None:
    if not Path(where).exists():
        Path(where).touch()
        os.kill(os.getpid(), signal.SIGSEGV)


def _eat(_: str) -> None:
    eaten = []
    while True:
        eaten.append(bytes(4 * 1024 * 1024))


def _raise(words: str) -> None:
    raise RuntimeError(words)


_DEEDS: dict[Misdeed, Callable[[str], None]] = {
    Misdeed.HANG: _wait,
    Misdeed.WAIT: _wait,
    Misdeed.CRASH: lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    Misdeed.CRASH_ONCE: _crash_once,
    Misdeed.EAT: _eat,
    Misdeed.KILLED: lambda _: os.kill(os.getpid(), signal.SIGKILL),
    Misdeed.LEAVE: lambda _: os._exit(0),
    Misdeed.RAISE: _raise,
}

if __name__ == "__main__":
    main(work)
