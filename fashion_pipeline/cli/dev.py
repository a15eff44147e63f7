"""The command ``dev``: the local services and the Dagster UI."""

from __future__ import annotations

import contextlib

import click

from fashion_pipeline.cli.demo import DEMO_FOLDER, demo_shops
from fashion_pipeline.services import Services


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=3000, help="Port of the web server on 127.0.0.1.")
@click.option("--demo", "with_demo", is_flag=True, help="Use the demo's shops instead of your own.")
def dev(*, port: int, with_demo: bool) -> None:
    """Start the local services and the Dagster UI; Ctrl-C stops them."""
    from fashion_pipeline.defs.dev import serve_ui
    from fashion_pipeline.defs.runs import instance

    with contextlib.ExitStack() as stack:
        if with_demo:
            stack.enter_context(demo_shops(DEMO_FOLDER))
        services = Services.read()
        stack.enter_context(services.postgres_url())
        with instance(services.settings):
            pass
        serve_ui(port=port, store_ids=list(services.settings.store_list()))
