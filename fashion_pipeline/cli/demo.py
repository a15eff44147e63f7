"""The command ``demo``: model shops, served on this machine, through the whole pipeline."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fashion_pipeline.cli.exit_codes import exit_code
from fashion_pipeline.cli.ingest import run_and_report
from fashion_pipeline.cli.report import COUNTS, hit_line
from fashion_pipeline.cli.search import similar_to_product
from fashion_pipeline.cli.status import read_sinks
from fashion_pipeline.cli.terminal import json_option, say
from fashion_pipeline.services import Services

DEMO_FOLDER = Path(".demo")


@click.command(short_help="Run the whole pipeline on two demo shops.")
@click.option("--folder", type=click.Path(path_type=Path), default=DEMO_FOLDER, help="Where the demo keeps its files.")
@click.option("--model", default="tiny", help="tiny (generated, untrained), hf-hub:OWNER/NAME or local-dir:/path.")
@click.option("--products", type=click.IntRange(1, 100_000), default=None, help="Products in each shop.")
@click.option("--stores", type=click.IntRange(1, 1000), default=None, help="Number of shops.")
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0, help="Delay of every response from the shops.")
@json_option
def demo(
    *, folder: Path, model: str, products: int | None, stores: int | None, latency_ms: float, as_json: bool
) -> None:
    """Run the whole pipeline on two small shops that this machine serves."""
    from fashion_pipeline.defs.runs import instance

    started = time.monotonic()
    reports: dict[str, Any] = {}
    first_error: BaseException | None = None
    page = folder / "demo.html"
    with demo_shops(folder, model=model, products=products, stores=stores, latency_ms=latency_ms) as shop_count:
        services = Services.read()
        store_ids = list(services.settings.store_list())
        with services.postgres_url(), instance(services.settings) as opened:
            for store_id in store_ids:
                error, reports[store_id] = run_and_report(services, opened, store_id)
                first_error = first_error or error
            if first_error is None:
                _show_searches(services, store_ids)
            changes = sum(report[name] for report in reports.values() for name in COUNTS)
            if changes or not page.exists():
                _write_page(services, page, reports, model=model)
    if first_error is None and changes == 0:
        click.echo("Nothing changed in the shops: 0 fetched, 0 decoded, 0 embedded, 0 written.", err=True)
    click.echo(f"Synced {shop_count} shops in {time.monotonic() - started:.1f} s.", err=True)
    click.echo(f"Open {page} in a browser, or run: make ui", err=True)
    if model == "tiny":
        click.echo(
            "This demo used the model 'tiny', which is generated and untrained: it compares colour and layout, not "
            "fashion. For real shops, FASHION_MODEL defaults to Marqo's FashionSigLIP.",
            err=True,
        )
    if as_json:
        click.echo(json.dumps({"stores": reports}))
    if first_error is not None:
        sys.exit(exit_code(first_error))


@contextlib.contextmanager
def demo_shops(
    folder: Path,
    *,
    model: str = "tiny",
    products: int | None = None,
    stores: int | None = None,
    latency_ms: float = 0.0,
) -> Iterator[int]:
    """Serve the demo's shops, point this process's settings at them alone, and yield their number."""
    from fashion_pipeline.demo.catalogue import PRODUCTS, STORES, environment, stores_yaml
    from fashion_pipeline.demo.stage import start_server

    count = stores or STORES
    folder = folder.absolute()
    for name in [name for name in os.environ if name.startswith("FASHION_") and not name.startswith("FASHION_TEST_")]:
        say(f"the demo ignores {name} and keeps everything under {folder}")
        del os.environ[name]
    with start_server(folder / "shops", products=products or PRODUCTS, stores=count, latency_ms=latency_ms) as server:
        (folder / "stores.yaml").write_text(stores_yaml(server.port, count), "utf-8")
        os.environ.update(environment(count))
        os.environ.update(
            {
                "FASHION_STORES": str(folder / "stores.yaml"),
                "FASHION_HOME": str(folder / "home"),
                "FASHION_MODEL": model,
            }
        )
        yield count


def _write_page(services: Services, path: Path, reports: Mapping[str, Any], *, model: str) -> None:
    """Write one page about what the pipeline stored: accepted, rejected and why, and similar products."""
    from datetime import UTC, datetime

    from fashion_pipeline.demo.page.figures import StoreState
    from fashion_pipeline.demo.page.write import write_page

    listed = services.settings.store_list()
    states = [
        StoreState(listed[store_id], stored.rows, stored.points or 0, stored.outcomes, reports.get(store_id, {}))
        for store_id, stored in read_sinks(services, list(listed)).items()
    ]
    with services.qdrant() as client:
        write_page(path, states, client=client, blobs=services.home.blobs, model=model, made_at=datetime.now(UTC))


def _show_searches(services: Services, store_ids: Sequence[str], count: int = 3) -> None:
    """Print the products most similar to a few of the published ones."""
    published = [one for stored in read_sinks(services, store_ids).values() for one in stored.outcomes if one.in_qdrant]
    for outcome in published[len(published) // (2 * count) :: max(1, len(published) // count)][:count]:
        click.echo(f"Similar to {outcome.title!r} ({outcome.store_id} {outcome.external_id}):", err=True)
        for hit in similar_to_product(services, outcome.store_id, outcome.external_id, within=None, limit=3):
            click.echo(f"  {hit_line(hit)}", err=True)
