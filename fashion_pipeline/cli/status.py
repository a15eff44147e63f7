"""The commands ``status`` and ``outcomes``: what the sinks hold, and why the rest is not in them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from fashion_pipeline.cli.exit_codes import FAILED
from fashion_pipeline.cli.report import InSinks, outcome_lines, status_lines
from fashion_pipeline.cli.terminal import json_option, say
from fashion_pipeline.errors import FashionError, SettingsError, VectorStoreError
from fashion_pipeline.services import Services
from fashion_pipeline.stores import NO_STORES, STORE_ID

if TYPE_CHECKING:
    from fashion_pipeline.sinks.desired import ProductOutcome

READ_TIMEOUT_S = 10.0
"""How long ``status`` waits for each answer of a Qdrant server."""


@click.command(short_help="Show each store's rows, points and rejected products.")
@click.argument("store", required=False)
@json_option
def status(store: str | None, *, as_json: bool) -> None:
    """Show what both sinks hold of each store (or only of STORE), and why other products are missing."""
    services = Services.read()
    listed = services.settings.store_list()
    wanted = [listed.require(store).id] if store else [*listed, *_known_ids(listed.misconfigured)]
    unreachable: FashionError | None = None
    with services.postgres_url():  # an embedded server starts once
        try:
            sinks = read_sinks(services, wanted, detached=store is None)
        except VectorStoreError as error:  # what PostgreSQL knows is shown all the same
            unreachable = error
            sinks = asyncio.run(_read_postgres(services, wanted, detached=store is None))
    if as_json:
        report: dict[str, Any] = {"stores": {store_id: stored.as_json() for store_id, stored in sinks.items()}}
        if listed.misconfigured:
            report["misconfigured"] = {name: str(error) for name, error in listed.misconfigured.items()}
        click.echo(json.dumps(report))
        _exit_if(unreachable)
        return
    if not sinks:
        say(NO_STORES)
    for store_id, stored in sinks.items():
        mistake = listed.misconfigured.get(store_id)
        click.echo("\n".join(status_lines(store_id, stored, store=listed.get(store_id), misconfigured=mistake)))
    for name in [name for name in listed.misconfigured if name not in sinks and not store]:
        click.echo(f"{name}: misconfigured: {listed.misconfigured[name]}")
    _exit_if(unreachable)


def _exit_if(unreachable: FashionError | None) -> None:
    """Report the sink that could not be read, with exit code 1."""
    if unreachable is not None:
        say(str(unreachable))
        sys.exit(FAILED)


def _known_ids(names: Iterable[str]) -> list[str]:
    """Return the names that are ids of stores; an entry without an id is named by its line."""
    return [name for name in names if STORE_ID.fullmatch(name)]


@click.command(short_help="Explain the outcome of STORE's products, or of one.")
@click.argument("store")
@click.argument("product", required=False)
def outcomes(store: str, product: str | None) -> None:
    """Explain the outcome of all of STORE's products, or of one PRODUCT (its id in the shop)."""
    services = Services.read()
    listed = services.settings.store_list()
    with services.postgres_url():  # an embedded server starts once
        found, purged = asyncio.run(_read_outcomes(services, store, product))
    if not found:
        what = f"product {product!r} of {store}" if product else f"store {store}"
        if purged:
            msg = (
                f"nothing is known of {what}: the store was purged; "
                f"to let it return, run fashion-pipeline purge {store} --undo"
            )
            raise SettingsError(msg)
        listed.require(store)  # a store that is no longer listed is explained as long as its outcomes are known
        how = f"{store} --sweep first, and use the product's id in the shop" if product else f"{store} first"
        msg = f"nothing is known of {what}: run fashion-pipeline ingest {how}"
        raise SettingsError(msg)
    for outcome in sorted(found, key=lambda each: (len(each.external_id), each.external_id)):  # in numeric order
        click.echo("\n".join(outcome_lines(outcome)))


async def _read_outcomes(
    services: Services, store_id: str, external_id: str | None
) -> tuple[Sequence[ProductOutcome], bool]:
    """Return the outcomes of a store or of one product, and whether the store was purged."""
    from fashion_pipeline.sinks.outcomes import read_outcomes
    from fashion_pipeline.sinks.postgres.tombstones import purged_stores

    async with services.postgres() as engine:
        found = await read_outcomes(engine, store_id=store_id, external_id=external_id)
        return found, store_id in await purged_stores(engine)


def read_sinks(services: Services, store_ids: Sequence[str], *, detached: bool = False) -> dict[str, InSinks]:
    """Return what both sinks hold of some stores; ``detached``: also of those that stores.yaml does not list."""
    from fashion_pipeline.sinks.qdrant.collections import alias_name
    from fashion_pipeline.sinks.qdrant.points import primary_counts

    stored = asyncio.run(_read_postgres(services, store_ids, detached=detached))
    with services.qdrant(timeout_s=READ_TIMEOUT_S) as client:
        points = primary_counts(client, alias_name(client), list(stored))
    return {store_id: replace(each, points=points.get(store_id, 0)) for store_id, each in stored.items()}


async def _read_postgres(services: Services, store_ids: Sequence[str], *, detached: bool) -> dict[str, InSinks]:
    from fashion_pipeline.sinks.outcomes import read_outcomes
    from fashion_pipeline.sinks.postgres.queries import live_counts
    from fashion_pipeline.sinks.postgres.tombstones import purged_stores

    async with services.postgres() as engine:
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
