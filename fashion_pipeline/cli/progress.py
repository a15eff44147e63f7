"""How a run looks while it runs: bars on a terminal, plain lines elsewhere.

Runs tell how far they are as log records of ``fashion_pipeline.progress``, which carry the asset,
the store, how much is done, how much there is in all, and at the end how much was refused.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import TextIO

import click

LINE_EVERY_S = 2.0
WIDE = 80
"""Columns of a terminal that has room for bars; a narrower one shows the numbers alone."""


@contextlib.contextmanager
def show_progress() -> Iterator[None]:
    """Show the progress of the runs in the block, on standard error."""
    log = logging.getLogger("fashion_pipeline.progress")
    with contextlib.ExitStack() as stack:
        handler = stack.enter_context(_bars()) if sys.stderr.isatty() else _Lines()
        log.addHandler(handler)
        stack.callback(log.removeHandler, handler)
        log.propagate = False
        try:
            yield
        finally:
            log.propagate = True


class _Lines(logging.Handler):
    """A line when an asset is done with a store, and now and then before."""

    def __init__(self) -> None:
        super().__init__()
        self.began: dict[tuple[str, str], float] = {}
        self.said_at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        told = vars(record)
        now = time.monotonic()
        key = (told["store"], told["asset"])
        began = self.began.setdefault(key, now)
        finished = told["refused"] is not None
        if not finished and (not told["done"] or now - self.said_at < LINE_EVERY_S):
            return
        self.said_at = now
        of = f" of {told['total']:,}" if told["total"] is not None and not finished else ""
        refused = f", {told['refused']:,} refused" if told["refused"] else ""
        rate = f", {told['done'] / (now - began):,.0f}/s" if now - began > 1 else ""
        click.echo(f"  {told['store']}  {told['asset']:<15} {told['done']:>6,}{of}{refused}{rate}", err=True)


@contextlib.contextmanager
def _bars() -> Iterator[logging.Handler]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.fields[store]}", style="bold"),
        TextColumn("{task.fields[asset]}"),
        *([BarColumn(bar_width=24)] if console.width >= WIDE else []),
        MofNCompleteColumn(),
        TextColumn("{task.fields[refused]}", style="yellow"),
        TextColumn("{task.fields[rate]}", style="dim"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )

    class Bars(logging.Handler):
        """One bar for each store and asset."""

        def __init__(self) -> None:
            super().__init__()
            self.tasks: dict[tuple[str, str], tuple[TaskID, float]] = {}

        def emit(self, record: logging.LogRecord) -> None:
            told = vars(record)
            key = (told["store"], told["asset"])
            if key not in self.tasks:
                fields = {"store": told["store"], "asset": told["asset"], "refused": "", "rate": ""}
                self.tasks[key] = (progress.add_task("", total=None, **fields), time.monotonic())
            task, began = self.tasks[key]
            lasted = time.monotonic() - began
            finished = told["refused"] is not None
            progress.update(
                task,
                completed=told["done"],
                total=max(told["done"], 1) if finished else told["total"],
                refused=f"{told['refused']:,} refused" if told["refused"] else "",
                rate=f"{told['done'] / lasted:,.0f}/s" if lasted > 0.5 else "",
            )
            if finished and not told["done"]:
                progress.update(task, completed=1)

    with progress, _logged_to(sys.stderr):  # rich has put itself there: what is logged stands above the bars
        yield Bars()


@contextlib.contextmanager
def _logged_to(stream: TextIO) -> Iterator[None]:
    """Let what is logged to a stream go to this one; else it would be written into the bars."""
    handlers = [each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler]
    before = [(handler, handler.stream) for handler in handlers]
    for handler in handlers:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler, own in before:
            handler.setStream(own)
