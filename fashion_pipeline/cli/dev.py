"""The command ``dev``: the local services and the Dagster UI."""

from __future__ import annotations

import contextlib

import click

from fashion_pipeline.cli.demo import DEMO_FOLDER, demo_shops
from fashion_pipeline.settings import Settings


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=3000, help="Port of the web server on 127.0.0.1.")
@click.option("--demo", "with_demo", is_flag=True, help="Use the demo's shops instead of your own.")
def dev(*, port: int, with_demo: bool) -> None:
    """Start the local services and the Dagster UI; Ctrl-C stops them."""
    from fashion_pipeline.defs.dev import serve_ui
    from fashion_pipeline.defs.resources import postgres_url
    from fashion_pipeline.defs.runs import instance

    with contextlib.ExitStack() as stack:
        if with_demo:
            stack.enter_context(demo_shops(DEMO_FOLDER))
        settings = Settings.read()
        stack.enter_context(postgres_url())
        with instance(settings):
            pass
        serve_ui(port=port, store_ids=list(settings.store_list()))
