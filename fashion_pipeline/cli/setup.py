"""Commands before the first run: ``init``, ``check``, ``doctor``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from fashion_pipeline.cli.exit_codes import FAILED, WRONG_USE
from fashion_pipeline.cli.terminal import json_option
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import NO_STORES


@click.command(short_help="Write a commented stores.yaml and .env.example.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(), help="Where to write them.")
def init(folder: Path) -> None:
    """Write a commented stores.yaml and .env.example to start from; existing files are not overwritten."""
    from fashion_pipeline.cli.init import next_steps, write_starter

    for path in write_starter(folder):
        click.echo(f"Wrote {path}")
    click.echo("\n".join(next_steps(folder)))


@click.command(short_help="Check the settings and stores.yaml; no shop is contacted.")
@json_option
def check(*, as_json: bool) -> None:
    """Check the settings and every entry of stores.yaml; no shop and no database is contacted."""
    listed = Settings.read().store_list()
    for name, error in listed.misconfigured.items():
        click.echo(f"{name}: {error}", err=True)
    if listed:
        click.echo(f"{len(listed)} valid stores: {', '.join(listed)}", err=True)
    elif not listed.misconfigured:
        click.echo(NO_STORES, err=True)
    if as_json:
        errors = {name: str(error) for name, error in listed.misconfigured.items()}
        click.echo(json.dumps({"valid": list(listed), "misconfigured": errors}))
    if listed.misconfigured:
        sys.exit(WRONG_USE)


@click.command(short_help="Check every shop, or only STORE's, for problems.")
@click.argument("store", required=False)
@click.option(
    "--images",
    "--pictures",
    type=click.IntRange(0, 500),
    default=60,
    help="Products whose images are inspected; 0: none.",
)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=60.0, help="Time limit for each store.")
@json_option
def doctor(store: str | None, *, images: int, seconds: float, as_json: bool) -> None:
    """Check every shop (or only STORE's) for problems: keys, REST API, clock, images."""
    from fashion_pipeline.doctor.run import run_doctor

    if not run_doctor(Settings.read(), store, images=images, seconds=seconds, as_json=as_json):
        sys.exit(FAILED)
