from __future__ import annotations

import io
import logging
import sys

import pytest

from fashion_pipeline.cli.progress import show_progress

log = logging.getLogger("fashion_pipeline.progress")


def report(asset: str, done: int, total: int | None, refused: int | None = None) -> None:
    extra = {"asset": asset, "store": "atelier-nord", "done": done, "total": total, "refused": refused}
    log.info("progress", extra=extra)


def test_without_a_terminal_each_asset_ends_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log file there is one line for each asset and store, with the number rejected, on standard error."""
    log.setLevel(logging.INFO)
    with show_progress():
        report("fetched_images", 0, None)
        report("fetched_images", 30, 62)
        report("fetched_images", 62, 62, refused=1)
        report("embeddings", 54, 54, refused=0)
    said = capsys.readouterr()
    assert said.out == ""
    assert [" ".join(line.split()) for line in said.err.splitlines()] == [
        "atelier-nord fetched_images 62, 1 rejected",
        "atelier-nord embeddings 54",
    ]


def test_after_the_block_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The display ends with its block, also when that ends in an error."""
    log.setLevel(logging.INFO)
    with pytest.raises(ZeroDivisionError), show_progress():
        raise ZeroDivisionError
    report("embeddings", 54, 54, refused=0)
    assert capsys.readouterr().err == ""
    assert log.propagate


def test_what_is_logged_stands_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a log line goes the way of the bars, which know where they stand, and its own way afterwards."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        with show_progress():
            assert handler.stream is sys.stderr
            assert handler.stream is not terminal
        assert handler.stream is terminal
    finally:
        logging.getLogger().removeHandler(handler)


class Terminal(io.StringIO):
    """Something that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True
