"""Shows the progress of runs: bars on a terminal, plain lines elsewhere.

Runs log their progress to ``fashion_pipeline.progress``. Each record has the asset, the store, the
number done, the total, and at the end the number rejected.
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
"""Columns of a terminal that has room for bars; a narrower one shows only the numbers."""


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
    """Prints a line when an asset has finished a store, and at intervals until then."""

    def __init__(self) -> None:
        super().__init__()
        self.began: dict[tuple[str, str], float] = {}
        self.printed_at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        now = time.monotonic()
        key = (fields["store"], fields["asset"])
        began = self.began.setdefault(key, now)
        finished = fields["refused"] is not None
        if not finished and (not fields["done"] or now - self.printed_at < LINE_EVERY_S):
            return
        self.printed_at = now
        of = f" of {fields['total']:,}" if fields["total"] is not None and not finished else ""
        rejected = f", {fields['refused']:,} rejected" if fields["refused"] else ""
        rate = f", {fields['done'] / (now - began):,.0f}/s" if now - began > 1 else ""
        click.echo(f"  {fields['store']}  {fields['asset']:<15} {fields['done']:>6,}{of}{rejected}{rate}", err=True)


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
        TextColumn("{task.fields[rejected]}", style="yellow"),
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
            fields = vars(record)
            key = (fields["store"], fields["asset"])
            if key not in self.tasks:
                columns = {"store": fields["store"], "asset": fields["asset"], "rejected": "", "rate": ""}
                self.tasks[key] = (progress.add_task("", total=None, **columns), time.monotonic())
            task, began = self.tasks[key]
            elapsed_s = time.monotonic() - began
            finished = fields["refused"] is not None
            progress.update(
                task,
                completed=fields["done"],
                total=max(fields["done"], 1) if finished else fields["total"],
                rejected=f"{fields['refused']:,} rejected" if fields["refused"] else "",
                rate=f"{fields['done'] / elapsed_s:,.0f}/s" if elapsed_s > 0.5 else "",
            )
            if finished and not fields["done"]:
                progress.update(task, completed=1)

    with progress, _logged_to(sys.stderr):  # rich has replaced sys.stderr: log lines appear above the bars
        yield Bars()


@contextlib.contextmanager
def _logged_to(stream: TextIO) -> Iterator[None]:
    """Redirect the root logger's stream handlers, which would otherwise write into the bars."""
    handlers = [each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler]
    before = [(handler, handler.stream) for handler in handlers]
    for handler in handlers:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler, own in before:
            handler.setStream(own)
