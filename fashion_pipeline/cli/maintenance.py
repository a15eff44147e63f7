"""Commands that keep a deployment in order: ``reconcile``, ``purge``, ``gc``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import click

from fashion_pipeline.errors import FashionError, SettingsError, StorageError, without_store
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.read_state import ReadState
from fashion_pipeline.records import Product
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.files import file_lock
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.references import model_of, referred, stores_with_tables
from fashion_pipeline.storage.tables import read_table
from fashion_pipeline.stores import NO_STORES, Store, StoreList

if TYPE_CHECKING:
    from fashion_pipeline.sinks.drift import Drift
    from fashion_pipeline.sinks.reconcile import Reconciled, Sinks
    from fashion_pipeline.storage.garbage import Collected

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")


@click.command(short_help="Hold both sinks against the tables, and name what differs.")
@click.argument("store", required=False)
@click.option("--repair", is_flag=True, help="Put right what differs, and look again.")
@click.option("--allow-removals", is_flag=True, help="Consent to removals that wait for a person.")
@click.option("--no-vectors", is_flag=True, help="Do not read the vectors back: hashes and payloads only.")
@_json
def reconcile(store: str | None, *, repair: bool, allow_removals: bool, no_vectors: bool, as_json: bool) -> None:
    """Hold both sinks against the tables of STORE, or of every store, and name what differs; no shop is asked."""
    looks = _Looks(repair=repair, allow_removals=allow_removals, vectors=not no_vectors)
    asyncio.run(looks.at(store))
    if as_json:
        click.echo(json.dumps(looks.told))
    sys.exit(1 if looks.wrong else 0)


class _Looks:
    """One look at each store, told as it goes."""

    def __init__(self, *, repair: bool, allow_removals: bool, vectors: bool) -> None:
        self.repair = repair
        self.options = {"repair": repair, "allow_removals": allow_removals, "vectors": vectors}
        self.wrong = False
        self.told: dict[str, Any] = {"stores": {}}

    async def at(self, store_id: str | None) -> None:
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
            self.wrong = True
            click.echo(f"{store.id}: {without_store(error, store.id)}", err=True)
            self.told["stores"][store.id] = {"error": str(error)}
            return
        self.wrong |= bool(done.remaining)
        self.told["stores"][store.id] = done.as_json()
        click.echo("\n".join(_lines(store.id, done)), err=True)

    def _strays(self, drift: Drift) -> None:
        self.told["strays"] = drift.as_json()
        if drift:
            self.wrong |= not self.repair
            click.echo("\n".join(["points of no store:", *drift.lines()]), err=True)
            if self.repair:
                click.echo("  repaired", err=True)


def _lines(store_id: str, done: Reconciled) -> Iterator[str]:
    seen = done.before
    compared = f"{seen.rows:,} rows, {seen.points:,} points, {seen.vectors:,} vectors compared"
    yield f"{store_id}: {compared}{'' if seen else ': in step'}"
    yield from seen.lines()
    if seen.withheld:
        yield (
            f"  {seen.withheld:,} products are kept until you agree: fashion-pipeline ingest {store_id} --allow-removals"
        )
    if done.after is not None:
        yield "  repaired" if not done.after else "  repaired, but for:"
        yield from done.after.lines()
    elif seen.repairable:
        yield f"  nothing was changed: fashion-pipeline reconcile {store_id} --repair"
    elif seen:
        yield f"  nothing was changed: fashion-pipeline ingest {store_id} --sweep"


@click.command(short_help="Remove a product, or a whole store, for ever.")
@click.argument("store")
@click.argument("product", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--undo", is_flag=True, help="Let what was purged come back with the next sweep.")
@_json
def purge(store: str, product: str | None, *, yes: bool, undo: bool, as_json: bool) -> None:
    """Remove PRODUCT of STORE (the shop's id), or all of STORE, from everywhere and for ever."""
    what = f"product {product} of {store}" if product else f"store {store}"
    if not (yes or undo):
        confirm(f"Remove everything of {what}, for ever?")
    with removal_lock():
        told = asyncio.run(_undo(store, product, what) if undo else _purge(store, product, what))
    if as_json:
        click.echo(json.dumps(told))


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
                    msg = f"nothing is known of {what}: see the shop's ids with fashion-pipeline outcomes {store_id}"
                    raise SettingsError(msg)
                done = await purge_product(sinks, store_id, external_id, now=now)
    click.echo(
        f"{what}: removed {done.rows:,} rows, {done.points:,} points, {done.vectors:,} vectors, {done.pictures:,} pictures "
        f"({done.bytes:,} bytes), {done.tables:,} tables"
        + (f"; {done.shared:,} pictures stay, others have them too" if done.shared else ""),
        err=True,
    )
    click.echo(f"It does not come back, until: {_undo_command(store_id, external_id)}", err=True)
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
            msg = f"{what} was not purged"
            raise SettingsError(msg)
    click.echo(f"{what} may come back: fashion-pipeline ingest {store_id} --sweep", err=True)
    return {"lifted": 1}


def _undo_command(store_id: str, external_id: str | None) -> str:
    return f"fashion-pipeline purge {store_id} {f'{external_id} ' if external_id else ''}--undo"


@click.command(short_help="Remove files that nothing refers to.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be removed.")
@_json
def gc(*, dry_run: bool, as_json: bool) -> None:
    """Remove pictures, vectors and left-over files that nothing refers to, but for those of the last day."""
    with removal_lock():
        done = asyncio.run(_collect(dry_run=dry_run))
    freed = dataclasses.asdict(done)
    for name, one in freed.items():
        click.echo(f"{name:<10} {one['files']:>8,} files {one['bytes']:>15,} bytes", err=True)
    total = sum(one["bytes"] for one in freed.values())
    kept = "what was written within the last day is left alone"
    click.echo(f"{total:,} bytes {'would be removed' if dry_run else 'removed'}; {kept}", err=True)
    if as_json:
        click.echo(json.dumps(freed))


async def _collect(*, dry_run: bool) -> Collected:
    from fashion_pipeline.images.decode import PIXEL_SPEC
    from fashion_pipeline.sinks.postgres.queries import live_counts
    from fashion_pipeline.sinks.qdrant.collections import PREFIX, collections
    from fashion_pipeline.storage.garbage import collect

    async with opened() as (_, sinks):
        home, kept = sinks.home, set(stores_with_tables(sinks.home))
        for store_id, rows in (await live_counts(sinks.engine)).items():
            if not home.table("fetched_images", store_id).exists():
                msg = (
                    f"store {store_id} has {rows:,} live rows, and its table of pictures is lost, so that nothing says "
                    f"which pictures it needs: fashion-pipeline ingest {store_id} --sweep first (or purge it)"
                )
                raise StorageError(msg)
        with sinks.qdrant() as client:
            fingerprints = {name.removeprefix(PREFIX) for name in collections(client)}
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


# --- what the commands share --------------------------------------------------------------------


def removal_lock() -> contextlib.AbstractContextManager[None]:
    """Hold what removes files apart: of two that rewrite one file of vectors, one would bring back what the other removed."""
    return file_lock(Home(Settings.read().home_path).lock("removal"), timeout_s=60, what="the removal of files")


def confirm(question: str) -> None:
    """Go on only with a person's word.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
        msg = f"{question} Nobody can be asked here: add --yes"
        raise click.UsageError(msg)
    click.confirm(question, abort=True, err=True)


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[tuple[str, Sinks]]:
    """Open the home and both sinks; PostgreSQL's URL is for locks."""
    from fashion_pipeline.defs.resources import QdrantResource, home, postgres_url
    from fashion_pipeline.sinks.postgres.engine import database
    from fashion_pipeline.sinks.reconcile import Sinks

    with postgres_url() as url:
        async with database(url, home_id=home().id) as engine:
            yield url, Sinks(home(), engine, QdrantResource().open)


def store_or_detached(store_id: str, listed: StoreList, home: Home) -> Store:
    """Return a store as stores.yaml describes it; of a detached one, what its last run left: its id and pictures."""
    if store_id in listed:
        return listed[store_id]
    table = read_table(home.table("raw_products", store_id), Product)
    images = ReadState.from_metadata(table.metadata).images if table is not None else ""
    return Store.model_construct(id=store_id, images=images or "primary")
