"""Prints an examination as a table: colored and wrapped on a terminal, one line per finding elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from fashion_pipeline.doctor.examine import Examination
from fashion_pipeline.doctor.findings import Finding, Tried, Verdict

_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.NOT_TRIED: "dim",
}
_VERDICTS = max(map(len, Verdict))
_LABELS = max(len(tried.label) for tried in Tried)


def show(examination: Examination, *, is_last: bool) -> None:
    """Print one store's table and its advice to standard output."""
    if sys.stdout.isatty():
        _show_on_terminal(examination)
    else:
        click.echo("\n".join(lines(examination)))
    if not is_last:
        click.echo()


def lines(examination: Examination) -> Iterator[str]:
    """Yield the table as plain lines, not wrapped."""
    yield _title(examination)
    for verdict, label, found in _rows(examination.findings):
        yield f"  {verdict:<{_VERDICTS}}  {label:<{_LABELS}}  {found}".rstrip()
    yield f"  {examination.advice}"


def _show_on_terminal(examination: Examination) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    table.add_column(width=0)
    table.add_column(width=_VERDICTS, no_wrap=True)
    table.add_column(min_width=_LABELS, no_wrap=True)
    table.add_column(overflow="fold")
    for verdict, label, found in _rows(examination.findings):
        faint = "dim" if verdict is Verdict.NOT_TRIED else ""
        table.add_row("", Text(verdict, _STYLES[verdict]), Text(label, faint), Text(found, faint))
    console = Console(highlight=False)
    console.print(Text(_title(examination), "bold"))
    console.print(table)
    console.print(
        Text(examination.advice, _STYLES[examination.verdict] if examination.verdict is not Verdict.OK else "")
    )


def _title(examination: Examination) -> str:
    paused = ", paused" if examination.store.paused else ""
    return f"{examination.store.id}  {examination.store.url}  ({examination.seconds:.1f} s{paused})"


def _rows(findings: Sequence[Finding]) -> Iterator[tuple[Verdict, str, str]]:
    """Yield the table's rows; the checks that were not made come last, one row for each reason."""
    for finding in findings:
        if finding.verdict is not Verdict.NOT_TRIED:
            yield finding.verdict, finding.tried.label, finding.found
    not_made = [finding for finding in findings if finding.verdict is Verdict.NOT_TRIED]
    for why in dict.fromkeys(finding.found for finding in not_made):
        labels = ", ".join(finding.tried.label for finding in not_made if finding.found == why)
        yield Verdict.NOT_TRIED, "", f"{labels}: {why}"
