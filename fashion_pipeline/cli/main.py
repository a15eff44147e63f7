"""The command line: ``fashion-pipeline``.

Exit codes: 0 done, 1 something failed that a retry may mend, 2 wrong use or configuration. With
``--json``, ``demo`` and ``ingest`` print as their last line one JSON object; the rest goes to
standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fashion_pipeline import __version__
from fashion_pipeline.cli import maintenance, model
from fashion_pipeline.cli.progress import show_progress
from fashion_pipeline.errors import (
    CollectionMismatch,
    ConfigurationError,
    DatabaseMismatch,
    FashionError,
    ModelError,
    NoSuchPoint,
    SettingsError,
    ShopError,
    TableTooNew,
    UnreadableImage,
    without_store,
)
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import NO_STORES

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from fashion_pipeline.cli.report import InSinks
    from fashion_pipeline.sinks.desired import ProductOutcome
    from fashion_pipeline.sinks.qdrant.search import Match

WRONG_CONFIGURATION = (
    ConfigurationError,
    CollectionMismatch,
    DatabaseMismatch,
    ModelError,
    ShopError,
    TableTooNew,
)

DEMO_FOLDER = Path(".demo")


def main() -> NoReturn:
    """Run the command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's wish ends a run as Ctrl-C does
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped; run the same command again to go on")
        sys.unraisablehook = lambda _: None  # what the run left open is not news
        sys.exit(130)
    except FashionError as error:
        _say(str(error))
        sys.exit(exit_code(error))
    except UnicodeEncodeError:
        wrong = [argument for argument in sys.argv if not argument.isprintable()]
        if not wrong:
            raise
        _say(f"{wrong[0]!r} is not text in UTF-8: nothing is called so")
        sys.exit(2)
    sys.exit(0)


def exit_code(error: BaseException | None) -> int:
    """Return the exit code that an error stands for."""
    if error is None:
        return 0
    return 2 if isinstance(error, WRONG_CONFIGURATION) and not error.retryable else 1


def _say(sentence: str) -> None:
    click.echo(f"fashion-pipeline: {sentence}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--verbose", "-v", is_flag=True, help="Log what happens, to standard error.")
def cli(*, verbose: bool) -> None:
    """Keep PostgreSQL and Qdrant exactly in step with WooCommerce shops."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s" if verbose else "fashion-pipeline: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("fashion_pipeline").setLevel(logging.DEBUG if verbose else logging.INFO)
    for noisy in ("httpx", "httpcore", "huggingface_hub", "open_clip", "PIL", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if not verbose:  # what it says of generators that a stopped run left open concerns nobody
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")


@cli.command(short_help="Write a commented stores.yaml and .env.example.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(), help="Where to write them.")
def init(folder: Path) -> None:
    """Write a commented stores.yaml and .env.example to begin with; nothing is overwritten."""
    from fashion_pipeline.cli.init import next_steps, write_starter

    for path in write_starter(folder):
        click.echo(f"Wrote {path}")
    click.echo("\n".join(next_steps(folder)))


@cli.command(short_help="Find out what is wrong with every shop, or with STORE's.")
@click.argument("store", required=False)
@click.option(
    "--images",
    "--pictures",
    type=click.IntRange(0, 500),
    default=60,
    help="Products whose images are inspected; 0: none.",
)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=60.0, help="Time limit of each store.")
@_json
def doctor(store: str | None, *, images: int, seconds: float, as_json: bool) -> None:
    """Find out what is wrong with every shop (or with STORE's): keys, REST API, clock, images."""
    from fashion_pipeline.doctor.run import run_doctor

    if not run_doctor(Settings.read(), store, images=images, seconds=seconds, as_json=as_json):
        sys.exit(1)


@cli.command(short_help="Bring one STORE into step with both sinks.")
@click.argument("store")
@click.option("--sweep", is_flag=True, help="Compare the whole shop, not only what changed.")
@click.option("--allow-removals", is_flag=True, help="Consent to many removals at once, and to an empty listing.")
@_json
def ingest(store: str, *, sweep: bool, allow_removals: bool, as_json: bool) -> None:
    """Bring one STORE into step with both sinks: all six assets, no UI needed."""
    from fashion_pipeline.defs.runs import instance

    settings = Settings.read()
    settings.store_list().require(store)
    with _services(), instance(settings) as opened:
        error, report = _run(opened, store, sweep=sweep, allow_removals=allow_removals)
    if as_json:
        click.echo(json.dumps({"stores": {store: report}}))
    if error is not None:
        sys.exit(exit_code(error))


@cli.command(short_help="Take two model shops through the whole pipeline.")
@click.option("--folder", type=click.Path(path_type=Path), default=DEMO_FOLDER, help="Where the demo keeps its files.")
@click.option("--model", default="tiny", help="tiny (generated, untrained), hf-hub:OWNER/NAME or local-dir:/path.")
@click.option("--products", type=click.IntRange(1, 100_000), default=None, help="Products of each shop.")
@click.option("--stores", type=click.IntRange(1, 1000), default=None, help="Number of shops.")
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0, help="Wait of the shops before every answer.")
@_json
def demo(
    *, folder: Path, model: str, products: int | None, stores: int | None, latency_ms: float, as_json: bool
) -> None:
    """Take two small shops, served on this machine, through the whole pipeline."""
    from fashion_pipeline.cli.report import COUNTS
    from fashion_pipeline.defs.runs import instance

    started = time.monotonic()
    reports: dict[str, Any] = {}
    worst: BaseException | None = None
    with _demo_shops(folder, model=model, products=products, stores=stores, latency_ms=latency_ms) as shop_count:
        settings = Settings.read()
        with _services(), instance(settings) as opened:
            for store_id in settings.store_list():
                error, reports[store_id] = _run(opened, store_id)
                worst = worst or error
            if worst is None:
                _show_searches(list(settings.store_list()))
            did = sum(report[name] for report in reports.values() for name in COUNTS)
            page = folder / "demo.html"
            if did or not page.exists():
                _write_page(page, reports, model=model)
    total = time.monotonic() - started
    if worst is None and did == 0:
        click.echo("Nothing changed in the shops: 0 fetched, 0 decoded, 0 embedded, 0 written.", err=True)
    click.echo(f"{shop_count} shops in {total:.1f} s. Look at {page}; then: make ui", err=True)
    if model == "tiny":
        click.echo(
            "The model was 'tiny': untrained, generated on this machine. Its neighbours follow colour and layout, "
            "not fashion; FASHION_MODEL's default is Marqo's FashionSigLIP.",
            err=True,
        )
    if as_json:
        click.echo(json.dumps({"stores": reports}))
    if worst is not None:
        sys.exit(exit_code(worst))


@cli.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=3000, help="Port of the web server on 127.0.0.1.")
@click.option("--demo", "with_demo", is_flag=True, help="With the demo's shops, and nothing of your own.")
def dev(*, port: int, with_demo: bool) -> None:
    """Start the local services and the Dagster UI; Ctrl-C stops them."""
    from fashion_pipeline.defs.dev import serve_ui
    from fashion_pipeline.defs.runs import instance

    with contextlib.ExitStack() as stack:
        if with_demo:
            stack.enter_context(_demo_shops(DEMO_FOLDER, model="tiny", products=None, stores=None, latency_ms=0))
        settings = Settings.read()
        stack.enter_context(_services())
        with instance(settings):
            pass
        serve_ui(port=port, store_ids=list(settings.store_list()))


@cli.command(short_help="Say what each store has in both sinks, and what is kept out.")
@click.argument("store", required=False)
@_json
def status(store: str | None, *, as_json: bool) -> None:
    """Say of each store (or of one STORE) what it has in both sinks, and what keeps the rest out."""
    from fashion_pipeline.cli.report import status_lines

    listed = Settings.read().store_list()
    wanted = [listed.require(store).id] if store else list(listed)
    with _services():
        sinks = _read_sinks(wanted, detached=store is None)
    if as_json:
        click.echo(json.dumps({"stores": {store_id: told.as_json() for store_id, told in sinks.items()}}))
        return
    if not sinks:
        _say(NO_STORES)
    for store_id, told in sinks.items():
        click.echo("\n".join(status_lines(store_id, told, store=listed.get(store_id))))


@cli.command(short_help="Explain what became of STORE's products, or of one.")
@click.argument("store")
@click.argument("product", required=False)
def outcomes(store: str, product: str | None) -> None:
    """Explain what became of STORE's products, or of one PRODUCT (the shop's id)."""
    from fashion_pipeline.cli.report import outcome_lines
    from fashion_pipeline.defs.resources import PostgresResource
    from fashion_pipeline.sinks.outcomes import read_outcomes
    from fashion_pipeline.sinks.postgres.tombstones import purged_stores

    listed = Settings.read().store_list()

    async def read() -> tuple[tuple[ProductOutcome, ...], bool]:
        async with PostgresResource().open() as engine:
            told = await read_outcomes(engine, store_id=store, external_id=product)
            return told, store in await purged_stores(engine)

    with _services():
        found, purged = asyncio.run(read())
    if not found:
        what = f"product {product!r} of {store}" if product else f"store {store}"
        if purged:
            msg = f"nothing is known of {what}: the store was purged; fashion-pipeline purge {store} --undo lets it come back"
            raise SettingsError(msg)
        listed.require(store)  # one that left the file is explained, as long as anything is known of it
        how = f"{store} --sweep first; its id is the one that it has in the shop" if product else f"{store} first"
        msg = f"nothing is known of {what}: run fashion-pipeline ingest {how}"
        raise SettingsError(msg)
    for outcome in sorted(
        found, key=lambda each: (len(each.external_id), each.external_id)
    ):  # as numbers, which they are
        click.echo("\n".join(outcome_lines(outcome)))


@cli.command(short_help="Find what looks like a product, or like a picture.")
@click.argument("store")
@click.argument("product", required=False)
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Search by a picture.")
@click.option("--limit", type=click.IntRange(1, 100), default=5, help="Number of hits.")
@click.option("--everywhere", is_flag=True, help="In every store, not only in STORE.")
@_json
def search(store: str, product: str | None, *, image: Path | None, limit: int, everywhere: bool, as_json: bool) -> None:
    """Find what looks like PRODUCT of STORE (the shop's id), or like a picture."""
    if (product is None) == (image is None):
        msg = "name a PRODUCT, or a picture with --image"
        raise click.UsageError(msg)
    from fashion_pipeline.cli.report import hit_line

    Settings.read().store_list().require(store)
    with _services():
        hits = _hits(store, product=product, image=image, limit=limit, everywhere=everywhere)
    if as_json:
        click.echo(json.dumps([{"score": hit.score, **hit.payload} for hit in hits]))
        return
    for hit in hits:
        click.echo(hit_line(hit))


@cli.command()
def migrate() -> None:
    """Bring PostgreSQL's tables to this version."""
    from fashion_pipeline.sinks.postgres.migrate import head
    from fashion_pipeline.sinks.postgres.migrate import migrate as to_head

    with _services() as url:
        to_head(url)
    click.echo(f"PostgreSQL has the tables of this version (revision {head()}).")


# --- what the commands share --------------------------------------------------------------------


@contextlib.contextmanager
def _services() -> Iterator[str]:
    """Hold PostgreSQL for the whole command, so that an embedded one starts once."""
    from fashion_pipeline.defs.resources import postgres_url

    with postgres_url() as url:
        yield url


@contextlib.contextmanager
def _demo_shops(
    folder: Path, *, model: str, products: int | None, stores: int | None, latency_ms: float
) -> Iterator[int]:
    """Serve the demo's shops, and point this process's settings at them and at nothing else."""
    from fashion_pipeline.demo.catalogue import PRODUCTS, STORES, environment, stores_yaml
    from fashion_pipeline.demo.stage import start_server

    count = stores or STORES
    folder = folder.absolute()
    for name in [name for name in os.environ if name.startswith("FASHION_") and name != "FASHION_TEST_DATABASE_URL"]:
        _say(f"{name} is not used by the demo, which keeps everything under {folder}")
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


def _run(opened: DagsterInstance, store_id: str, **options: bool) -> tuple[BaseException | None, dict[str, Any]]:
    """Run one store, print what came of it, and return its error and its part of the JSON object."""
    from fashion_pipeline.cli.report import InSinks, consent_lines, store_lines, store_report
    from fashion_pipeline.definitions import defs
    from fashion_pipeline.defs.runs import run_store

    job = defs.resolve_job_def("ingest_store")
    with show_progress():
        result = run_store(opened, job, store_id, **options)
    told = InSinks()
    with contextlib.suppress(FashionError):  # a sink that is down is what the run's own error says
        told = _read_sinks([store_id])[store_id]
    report = store_report(result.counts, result.seconds, told.outcomes)
    lines = store_lines(store_id, report, told)
    first, *rest = lines if "postgres_products" in result.counts else lines[:3]  # what stood before is not news
    click.echo("\n".join(["", click.style(first, bold=True), *rest, ""]), err=True)
    for line in consent_lines(store_id, told.outcomes):
        click.echo(line, err=True)
    if result.error is not None:
        _say(f"{store_id}: {_sentence(result.error, store_id)}")
    return result.error, report


def _sentence(error: BaseException, store_id: str) -> str:
    if isinstance(error, FashionError):
        return without_store(error, store_id)
    return f"{type(error).__name__}: {error} (not expected; the run's log in the Dagster UI has the whole story)"


def _read_sinks(store_ids: list[str], *, detached: bool = False) -> dict[str, InSinks]:
    """Return what both sinks hold of some stores (and of those not listed), and what stands for their products."""
    from fashion_pipeline.cli.report import InSinks
    from fashion_pipeline.defs.resources import PostgresResource, QdrantResource
    from fashion_pipeline.sinks.outcomes import read_outcomes
    from fashion_pipeline.sinks.postgres.queries import live_counts
    from fashion_pipeline.sinks.postgres.tombstones import purged_stores
    from fashion_pipeline.sinks.qdrant.collections import ALIAS
    from fashion_pipeline.sinks.qdrant.points import primary_counts

    async def read() -> dict[str, InSinks]:
        async with PostgresResource().open() as engine:
            rows = await live_counts(engine)
            purged = await purged_stores(engine)
            wanted = [*store_ids, *(sorted(set(rows) - set(store_ids)) if detached else [])]
            return {
                store_id: InSinks(
                    rows=rows.get(store_id, 0),
                    outcomes=await read_outcomes(engine, store_id=store_id),
                    purged=store_id in purged,
                )
                for store_id in wanted
            }

    told = asyncio.run(read())
    with QdrantResource().open() as client:
        points = primary_counts(client, ALIAS, list(told))
    return {store_id: replace(known, points=points.get(store_id, 0)) for store_id, known in told.items()}


def _hits(store: str, *, product: str | None, image: Path | None, limit: int, everywhere: bool) -> Sequence[Match]:
    """Search the collection that the alias names."""
    from fashion_pipeline.defs.resources import ModelResource, QdrantResource
    from fashion_pipeline.images.quality import render_blob
    from fashion_pipeline.sinks.desired import product_id
    from fashion_pipeline.sinks.qdrant.search import more_like
    from fashion_pipeline.sinks.qdrant.search import search as search_points

    within = None if everywhere else store
    if product is not None:
        try:
            with QdrantResource().open() as client:
                return more_like(client, product_id(store, product), store_id=within, limit=limit)
        except NoSuchPoint as error:
            msg = (
                f"product {product!r} of {store} is not in search: fashion-pipeline outcomes {store} {product} says why"
            )
            raise NoSuchPoint(msg) from error
    if image is None:
        return []
    quality = Settings.read().store_list().require(store).quality
    try:
        pixels = render_blob(image.read_bytes(), max_pixels=quality.max_pixels)
    except UnreadableImage as error:
        msg = f"--image {image}: {error}"
        raise SettingsError(msg) from error
    model = ModelResource()
    vector = model.encoder().encode(pixels[None])[0]
    fingerprint = model.checkpoint().fingerprint
    with QdrantResource().open() as client:
        return search_points(client, vector, fingerprint=fingerprint, store_id=within, limit=limit)


def _write_page(path: Path, reports: Mapping[str, Any], *, model: str) -> None:
    """Write one page of what the pipeline stored: accepted, refused and why, and what looks alike."""
    from datetime import UTC, datetime

    from fashion_pipeline.defs.resources import QdrantResource, home
    from fashion_pipeline.demo.page.figures import StoreState
    from fashion_pipeline.demo.page.write import write_page

    listed = Settings.read().store_list()
    states = [
        StoreState(listed[store_id], told.rows, told.points, told.outcomes, reports.get(store_id, {}))
        for store_id, told in _read_sinks(list(listed)).items()
    ]
    with QdrantResource().open() as client:
        write_page(path, states, client=client, blobs=home().blobs, model=model, made_at=datetime.now(UTC))


def _show_searches(stores: list[str], count: int = 3) -> None:
    """Print, for a few products, what looks like them."""
    from fashion_pipeline.cli.report import hit_line

    published = [outcome for told in _read_sinks(stores).values() for outcome in told.outcomes if outcome.in_qdrant]
    for outcome in published[len(published) // (2 * count) :: max(1, len(published) // count)][:count]:
        click.echo(f"More like {outcome.title!r} ({outcome.store_id} {outcome.external_id}):", err=True)
        for hit in _hits(outcome.store_id, product=outcome.external_id, image=None, limit=3, everywhere=True):
            click.echo(f"  {hit_line(hit)}", err=True)


for _command in (maintenance.reconcile, maintenance.purge, maintenance.gc, model.model):
    cli.add_command(_command)
