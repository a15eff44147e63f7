"""Commands that maintain a deployment: ``reconcile``, ``purge``, ``gc``, ``migrate``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import click

from fashion_pipeline.cli.exit_codes import FAILED
from fashion_pipeline.cli.terminal import confirm, json_option
from fashion_pipeline.errors import FashionError, SettingsError, StorageError, without_store
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.read_state import ReadState
from fashion_pipeline.records import Product
from fashion_pipeline.services import Services
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.references import model_of, referred, stores_with_tables
from fashion_pipeline.storage.tables import read_table
from fashion_pipeline.stores import NO_STORES, Store, StoreList

if TYPE_CHECKING:
    from fashion_pipeline.sinks.access import Sinks
    from fashion_pipeline.sinks.drift import Drift
    from fashion_pipeline.sinks.reconcile import Reconciled
    from fashion_pipeline.storage.garbage import Collected


@click.command(short_help="Compare both sinks with the tables, and report drift.")
@click.argument("store", required=False)
@click.option("--repair", is_flag=True, help="Repair the drift, and compare again.")
@click.option("--allow-removals", is_flag=True, help="Carry out removals that wait for consent.")
@click.option("--no-vectors", is_flag=True, help="Compare hashes and payloads only; read no vectors.")
@json_option
def reconcile(store: str | None, *, repair: bool, allow_removals: bool, no_vectors: bool, as_json: bool) -> None:
    """Compare both sinks with the tables of STORE, or of every store, and report drift; no shop is contacted."""
    reconciliation = _Reconciliation(repair=repair, allow_removals=allow_removals, vectors=not no_vectors)
    asyncio.run(reconciliation.run(store))
    if as_json:
        click.echo(json.dumps(reconciliation.report))
    sys.exit(FAILED if reconciliation.drifted else 0)


class _Reconciliation:
    """Compares the stores one by one, and prints what it finds as it goes."""

    def __init__(self, *, repair: bool, allow_removals: bool, vectors: bool) -> None:
        self.repair = repair
        self.options = {"repair": repair, "allow_removals": allow_removals, "vectors": vectors}
        self.drifted = False
        self.report: dict[str, Any] = {"stores": {}}

    async def run(self, store_id: str | None) -> None:
        from fashion_pipeline.sinks.postgres.queries import known_stores
        from fashion_pipeline.sinks.reconcile import inspect_orphans

        listed = Settings.read().store_list()
        async with opened() as (url, sinks):
            known = sorted({*listed, *stores_with_tables(sinks.home), *await known_stores(sinks.engine)})
            if store_id is not None and store_id not in known:
                listed.require(store_id)
            if not known:
                click.echo(NO_STORES, err=True)
            for wanted in known if store_id is None else [store_id]:
                if wanted in listed.misconfigured:
                    self._failed(wanted, listed.misconfigured[wanted])
                    continue
                await self._store(url, sinks, store_or_detached(wanted, listed, sinks.home))
            if store_id is None:
                with sinks.qdrant() as client:
                    self._strays(inspect_orphans(client, known, repair=self.repair))

    async def _store(self, url: str, sinks: Sinks, store: Store) -> None:
        from fashion_pipeline.sinks.postgres.lock import store_lock
        from fashion_pipeline.sinks.reconcile import reconcile_store

        try:
            async with store_lock(url, store.id):
                done = await reconcile_store(sinks, store, now=SystemClock().now(), **self.options)
        except FashionError as error:
            self._failed(store.id, error)
            return
        self.drifted |= bool(done.remaining)
        self.report["stores"][store.id] = done.as_json()
        click.echo("\n".join(_lines(store.id, done)), err=True)

    def _failed(self, store_id: str, error: FashionError) -> None:
        self.drifted = True
        click.echo(f"{store_id}: {without_store(error, store_id)}", err=True)
        self.report["stores"][store_id] = {"error": str(error)}

    def _strays(self, drift: Drift) -> None:
        self.report["strays"] = drift.as_json()
        if drift:
            self.drifted |= not self.repair
            click.echo("\n".join(["points of unknown stores:", *drift.lines()]), err=True)
            if self.repair:
                click.echo("  repaired", err=True)


def _lines(store_id: str, done: Reconciled) -> Iterator[str]:
    before = done.before
    compared = f"{before.rows:,} rows, {before.points:,} points, {before.vectors:,} vectors compared"
    yield f"{store_id}: {compared}{'' if before else ', no drift'}"
    yield from before.lines()
    if before.withheld:
        yield (
            f"  {before.withheld:,} products wait for your consent to be removed; "
            f"to agree, run fashion-pipeline ingest {store_id} --allow-removals"
        )
    if done.after is not None:
        yield "  repaired" if not done.after else "  repaired, except:"
        yield from done.after.lines()
    elif before.repairable:
        yield f"  nothing was changed; to repair this, run fashion-pipeline reconcile {store_id} --repair"
    elif before:
        yield f"  nothing was changed; to repair this, run fashion-pipeline ingest {store_id} --sweep"


@click.command(short_help="Permanently remove a product or a whole store.")
@click.argument("store")
@click.argument("product", required=False)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--undo", is_flag=True, help="Let purged data return with the next sweep.")
@json_option
def purge(store: str, product: str | None, *, yes: bool, undo: bool, as_json: bool) -> None:
    """Permanently remove PRODUCT of STORE (its id in the shop), or all of STORE, from everywhere."""
    what = f"product {product} of {store}" if product else f"store {store}"
    if not (yes or undo):
        confirm(f"Permanently remove everything of {what}?")
    with removal_lock():
        report = asyncio.run(_undo(store, product, what) if undo else _purge(store, product, what))
    if as_json:
        click.echo(json.dumps(report))


async def _purge(store_id: str, external_id: str | None, what: str) -> dict[str, int]:
    from fashion_pipeline.sinks.postgres.lock import store_lock
    from fashion_pipeline.sinks.postgres.queries import known_stores
    from fashion_pipeline.sinks.postgres.tombstones import purged_stores
    from fashion_pipeline.sinks.purge import is_known, purge_product, purge_store

    now = SystemClock().now()
    async with opened() as (url, sinks):
        known = {*stores_with_tables(sinks.home), *await known_stores(sinks.engine), *await purged_stores(sinks.engine)}
        if store_id not in known:
            Settings.read().store_list().require(store_id)
        async with store_lock(url, store_id):
            if external_id is None:
                done = await purge_store(sinks, store_id, now=now)
            else:
                if not await is_known(sinks, store_id, external_id):
                    msg = f"nothing is known of {what}: list the store's products with fashion-pipeline outcomes {store_id}"
                    raise SettingsError(msg)
                done = await purge_product(sinks, store_id, external_id, now=now)
    click.echo(
        f"{what}: removed {done.rows:,} rows, {done.points:,} points, {done.vectors:,} vectors, {done.pictures:,} images "
        f"({done.bytes:,} bytes), {done.tables:,} tables"
        + (f"; kept {done.shared:,} images that other products use" if done.shared else ""),
        err=True,
    )
    click.echo(f"Later runs leave it out. To undo this, run {_undo_command(store_id, external_id)}", err=True)
    return done.as_json()


async def _undo(store_id: str, external_id: str | None, what: str) -> dict[str, int]:
    from fashion_pipeline.sinks.postgres.lock import store_lock
    from fashion_pipeline.sinks.postgres.tombstones import lift_tombstone
    from fashion_pipeline.sinks.purge import restore

    async with opened() as (url, sinks), store_lock(url, store_id):
        lifted = await lift_tombstone(sinks.engine, store_id, external_id)
        if external_id is not None:
            lifted |= await restore(sinks, store_id, external_id)
        if not lifted:
            msg = f"{what} was not purged, so there is nothing to undo; check the ids"
            raise SettingsError(msg)
    click.echo(f"{what} may return; to sync it now, run fashion-pipeline ingest {store_id} --sweep", err=True)
    return {"lifted": 1}


def _undo_command(store_id: str, external_id: str | None) -> str:
    return f"fashion-pipeline purge {store_id} {f'{external_id} ' if external_id else ''}--undo"


@click.command(short_help="Remove files that nothing refers to.")
@click.option("--dry-run", is_flag=True, help="Report what would be removed, and remove nothing.")
@json_option
def gc(*, dry_run: bool, as_json: bool) -> None:
    """Remove images, vectors and temporary files that nothing refers to, except those of the last day."""
    with removal_lock():
        done = asyncio.run(_collect(dry_run=dry_run))
    freed = dataclasses.asdict(done)
    for name, one in freed.items():
        click.echo(f"{name:<10} {one['files']:>8,} files {one['bytes']:>15,} bytes", err=True)
    total = sum(one["bytes"] for one in freed.values())
    action = "would be removed" if dry_run else "removed"
    click.echo(f"{total:,} bytes {action}; files of the last day are kept", err=True)
    if as_json:
        click.echo(json.dumps(freed))


async def _collect(*, dry_run: bool) -> Collected:
    from fashion_pipeline.images.decode import PIXEL_SPEC
    from fashion_pipeline.sinks.postgres.queries import live_counts
    from fashion_pipeline.sinks.qdrant.collections import collections
    from fashion_pipeline.storage.garbage import collect

    async with opened() as (_, sinks):
        home, kept = sinks.home, set(stores_with_tables(sinks.home))
        for store_id, rows in (await live_counts(sinks.engine)).items():
            if not home.table("fetched_images", store_id).exists():
                msg = (
                    f"{rows:,} live rows, but the table that lists their images is lost, so it is unknown which images "
                    "are still needed"
                )
                raise StorageError(
                    msg,
                    store_id=store_id,
                    advice=f"run fashion-pipeline ingest {store_id} --sweep first, or purge the store",
                )
        with sinks.qdrant() as client:
            fingerprints = {each.fingerprint for each in collections(client)}
    fingerprints |= {model_of(home, store_id) for store_id in kept}
    referred_to = frozenset().union(*(referred(home, store_id) for store_id in kept))
    return collect(
        home,
        referred=referred_to,
        fingerprints=fingerprints,
        pixel_spec=PIXEL_SPEC,
        now=SystemClock().now(),
        dry_run=dry_run,
    )


@click.command()
def migrate() -> None:
    """Migrate PostgreSQL's tables to this version."""
    from fashion_pipeline.sinks.postgres.migrate import head
    from fashion_pipeline.sinks.postgres.migrate import migrate as migrate_to_head

    with Services.read().postgres_url() as url:
        migrate_to_head(url)
    click.echo(f"PostgreSQL's tables are at this version (revision {head()}).")


# --- shared by the commands ---------------------------------------------------------------------


def removal_lock() -> contextlib.AbstractContextManager[None]:
    """Let one command at a time remove files: two that rewrite the same file of vectors would undo each other."""
    return file_lock(Home(Settings.read().home_path).lock("removal"), timeout_s=60, what="the removal of files")


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[tuple[str, Sinks]]:
    """Open the home and both sinks, and yield PostgreSQL's URL (for locks) with them."""
    from fashion_pipeline.sinks.access import Sinks
    from fashion_pipeline.sinks.postgres.engine import database

    services = Services.read()
    with services.postgres_url() as url:
        async with database(url, home_id=services.home.id) as engine:
            yield url, Sinks(services.home, engine, services.qdrant)


def store_or_detached(store_id: str, listed: StoreList, home: Home) -> Store:
    """Return a store of stores.yaml; a detached one gets the image setting of its last run."""
    if store_id in listed:
        return listed[store_id]
    table = read_table(home.table("raw_products", store_id), Product)
    images = ReadState.from_metadata(table.metadata).images if table is not None else ""
    return Store.model_construct(id=store_id, images=images or "primary")
