"""An examination as a table: with colours, and wrapped, on a terminal; a line for each thing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from fashion_pipeline.doctor.examine import Examined
from fashion_pipeline.doctor.findings import Finding, Tried, Verdict

_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.NOT_TRIED: "dim",
}
_VERDICTS = max(map(len, Verdict))
_LABELS = max(len(tried.label) for tried in Tried)


def show(examined: Examined, *, is_last: bool) -> None:
    """Print one store's table and its sentence of advice, to standard output."""
    if sys.stdout.isatty():
        _show_on_terminal(examined)
    else:
        click.echo("\n".join(lines(examined)))
    if not is_last:
        click.echo()


def lines(examined: Examined) -> Iterator[str]:
    """Yield the table as plain lines, none of them wrapped."""
    yield _title(examined)
    for verdict, label, found in _rows(examined.findings):
        yield f"  {verdict:<{_VERDICTS}}  {label:<{_LABELS}}  {found}".rstrip()
    yield f"  {examined.advice}"


def _show_on_terminal(examined: Examined) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    table.add_column(width=0)
    table.add_column(width=_VERDICTS, no_wrap=True)
    table.add_column(min_width=_LABELS, no_wrap=True)
    table.add_column(overflow="fold")
    for verdict, label, found in _rows(examined.findings):
        faint = "dim" if verdict is Verdict.NOT_TRIED else ""
        table.add_row("", Text(verdict, _STYLES[verdict]), Text(label, faint), Text(found, faint))
    console = Console(highlight=False)
    console.print(Text(_title(examined), "bold"))
    console.print(table)
    console.print(Text(examined.advice, _STYLES[examined.verdict] if examined.verdict is not Verdict.OK else ""))


def _title(examined: Examined) -> str:
    paused = ", paused" if examined.store.paused else ""
    return f"{examined.store.id}  {examined.store.url}  ({examined.seconds:.1f} s{paused})"


def _rows(findings: Sequence[Finding]) -> Iterator[tuple[Verdict, str, str]]:
    """Yield the table's rows; what was not tried comes last, one row for each reason."""
    for finding in findings:
        if finding.verdict is not Verdict.NOT_TRIED:
            yield finding.verdict, finding.tried.label, finding.found
    left = [finding for finding in findings if finding.verdict is Verdict.NOT_TRIED]
    for why in dict.fromkeys(finding.found for finding in left):
        labels = ", ".join(finding.tried.label for finding in left if finding.found == why)
        yield Verdict.NOT_TRIED, "", f"{labels}: {why}"
