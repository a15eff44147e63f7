"""The command ``ingest``: one store's run, in this process."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from fashion_pipeline.cli.exit_codes import exit_code
from fashion_pipeline.cli.progress import show_progress
from fashion_pipeline.cli.report import InSinks, consent_lines, store_lines, store_report
from fashion_pipeline.cli.status import read_sinks
from fashion_pipeline.cli.terminal import json_option, say
from fashion_pipeline.errors import FashionError, without_store
from fashion_pipeline.services import Services

if TYPE_CHECKING:
    from dagster import DagsterInstance


@click.command(short_help="Sync one STORE to PostgreSQL and Qdrant.")
@click.argument("store")
@click.option("--sweep", is_flag=True, help="Read the whole shop, not only what changed.")
@click.option("--allow-removals", is_flag=True, help="Allow many removals at once, and an empty listing.")
@json_option
def ingest(store: str, *, sweep: bool, allow_removals: bool, as_json: bool) -> None:
    """Sync one STORE to PostgreSQL and Qdrant: all six assets, without the UI."""
    from fashion_pipeline.defs.runs import instance

    services = Services.read()
    services.settings.store_list().require(store)
    with services.postgres_url(), instance(services.settings) as opened:
        error, report = run_and_report(services, opened, store, sweep=sweep, allow_removals=allow_removals)
    if as_json:
        click.echo(json.dumps({"stores": {store: report}}))
    if error is not None:
        sys.exit(exit_code(error))


def run_and_report(
    services: Services, opened: DagsterInstance, store_id: str, **options: bool
) -> tuple[BaseException | None, dict[str, Any]]:
    """Run one store, print its report, and return the run's error and the store's part of the JSON object."""
    from fashion_pipeline.definitions import defs
    from fashion_pipeline.defs.runs import run_store

    job = defs.resolve_job_def("ingest_store")
    with show_progress():
        result = run_store(opened, job, store_id, **options)
    stored = InSinks()
    with contextlib.suppress(FashionError):  # a sink that is down is already the run's own error
        stored = read_sinks(services, [store_id])[store_id]
    report = store_report(result.counts, result.seconds, stored.outcomes)
    lines = store_lines(store_id, report, stored)
    first, *rest = lines if "postgres_products" in result.counts else lines[:3]  # older outcomes are not this run's
    click.echo("\n".join(["", click.style(first, bold=True), *rest, ""]), err=True)
    for line in consent_lines(store_id, stored.outcomes):
        click.echo(line, err=True)
    if result.error is not None:
        say(f"{store_id}: {_sentence(result.error, store_id)}")
    return result.error, report


def _sentence(error: BaseException, store_id: str) -> str:
    if isinstance(error, FashionError):
        return without_store(error, store_id)
    return f"unexpected {type(error).__name__}: {error}; see the run's log in the Dagster UI"
