"""Purging: gone from everywhere, and not to come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import text

from fashion_pipeline.errors import DamagedFile, StorePurged, VectorStoreUnavailable
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.records import Product
from fashion_pipeline.settings import Settings
from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.desired import product_id
from fashion_pipeline.sinks.outcomes import read_outcomes
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.postgres.queries import purge_rows
from fashion_pipeline.sinks.postgres.rows import RowCounts, apply_rows
from fashion_pipeline.sinks.postgres.tombstones import lift_tombstone, purged_products, purged_stores, set_tombstone
from fashion_pipeline.sinks.purge import Purged, is_known, purge_product, purge_store, restore
from fashion_pipeline.sinks.qdrant.client import vector_store
from fashion_pipeline.sinks.qdrant.collections import ALIAS, ensure_collection
from fashion_pipeline.sinks.qdrant.points import purge_points
from fashion_pipeline.sinks.reconcile import inspect_store, reconcile_store
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table
from fashion_pipeline_tests.builders import FINGERPRINT, NOW, Shop, product, sha, store

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http.models import PointStruct, Record

NORTH, SOUTH = "atelier-nord", "maison-sud"


@pytest.fixture
async def sinks(database_url: str, home: Home) -> AsyncIterator[Sinks]:
    """Yield two stores without drift. Products 1 and 2 of the first share an image, as do 3 and the other store's 1."""
    async with database(database_url, home_id=home.id) as engine:
        made = Sinks(home, engine, partial(local_qdrant, home))
        for shop in shops(home):
            shop.save(home)
            for name in {
                shop.bytes_of.get(image.image_id, image.image_id)
                for it in shop.products.values()
                for image in it.images
            }:
                home.blobs.put(name.encode())
                home.pixels("spec").put(sha(name), np.zeros((224, 224, 3), np.uint8))
            await reconcile_store(made, shop.store, now=NOW, repair=True)
        yield made


def shops(home: Home) -> tuple[Shop, Shop]:
    vectors = home.vectors(FINGERPRINT)
    north = Shop(vectors, store=store(NORTH, images="all"), bytes_of={"1-0": "a", "2-0": "a", "3-0": "b"})
    north.add(product("1", pictures=2), product("2"), product("3"), product("4"))
    return north, Shop(vectors, store=store(SOUTH), bytes_of={"1-0": "b"}).add(product("1"))


async def numbers(sinks: Sinks, store_id: str) -> tuple[int, int, int]:
    """Count a store's rows, outcomes and points, of whatever state and model."""
    async with sinks.engine.connect() as connection:
        of = {"store_id": store_id}
        rows = await connection.scalar(text("SELECT count(*) FROM products WHERE store_id = :store_id"), of)
        outcomes = await connection.scalar(text("SELECT count(*) FROM product_outcomes WHERE store_id = :store_id"), of)
    with sinks.qdrant() as client:
        records, _ = client.scroll(ALIAS, limit=100, with_payload=True)
    return (
        int(rows or 0),
        int(outcomes or 0),
        sum((record.payload or {}).get("store_id") == store_id for record in records),
    )


def stored(home: Home) -> tuple[set[str], set[str], set[str]]:
    """Return the digests of the blobs, pixels and vectors there are."""
    blobs = {path.name for path in (home.root / "blobs").glob("*/*")}
    pixels = {path.name for path in (home.root / "pixels").glob("*/*/*")}
    return blobs, pixels, set(home.vectors(FINGERPRINT).index())


async def test_the_same_bytes_in_two_stores_stay_while_anyone_refers_to_them(sinks: Sinks) -> None:
    """One store purged leaves the other whole: its blob, its vector in its place, its row and its point."""
    done = await purge_store(sinks, NORTH, now=NOW)
    assert (done.rows, done.points, done.pictures, done.vectors, done.shared, done.tables) == (4, 5, 3, 3, 1, 4)
    assert await numbers(sinks, NORTH) == (0, 0, 0)
    assert stored(sinks.home) == ({sha("b")}, {sha("b")}, {sha("b")})
    assert not await inspect_store(sinks, store(SOUTH), now=NOW, vectors=True)
    assert (await purge_store(sinks, SOUTH, now=NOW)).pictures == 1
    assert stored(sinks.home) == (set(), set(), set())


async def test_a_purged_product_leaves_its_id_and_an_outcome(sinks: Sinks) -> None:
    """Its rows, points and images are removed, except an image that another product has; its store has no drift."""
    done = await purge_product(sinks, NORTH, "1", now=NOW)
    assert done == Purged(rows=1, points=2, pictures=1, bytes=len("1-1"), vectors=1, shared=1)
    assert stored(sinks.home)[0] == {sha(name) for name in ("a", "b", "4-0")}
    (row,) = (row for row in _products(sinks.home) if row.external_id == "1")
    assert (row.title, row.images, row.price, row.outcome.reasons) == ("", (), None, (Reason.PURGED,))
    (outcome,) = await read_outcomes(sinks.engine, store_id=NORTH, external_id="1")
    assert (outcome.title, outcome.reasons, outcome.in_postgres, outcome.in_qdrant) == (
        "",
        (Reason.PURGED,),
        False,
        False,
    )
    assert not await inspect_store(sinks, store(NORTH, images="all"), now=NOW, vectors=True)
    assert (await purge_product(sinks, NORTH, "1", now=NOW)) == Purged()


async def test_a_points_payload_that_lies_does_not_save_it(sinks: Sinks) -> None:
    """A product's points are found by their ids too, and in every model's collection."""
    north, _ = shops(sinks.home)
    first, second = (point.point_id for point in north.desired().products[0].points)
    with sinks.qdrant() as client:
        client.set_payload(ALIAS, payload={"product_id": "x", "store_id": "x"}, points=[str(second)])
        other = ensure_collection(client, "0" * 16, home_id=sinks.home.id).name
        (record,) = client.retrieve(ALIAS, ids=[str(first)], with_payload=True, with_vectors=True)
        client.upsert(other, points=[_again(record)])
    assert (await purge_product(sinks, NORTH, "1", now=NOW)).points == 3
    with sinks.qdrant() as client:
        assert client.count(other).count == 0


async def test_a_purge_that_was_cut_off_is_finished_by_the_next(sinks: Sinks) -> None:
    """With Qdrant down, the tombstone and the tables record what remains; the next purge removes it."""
    down = replace(sinks, open_qdrant=partial(_dead, sinks.home))
    for purge in (partial(purge_product, external_id="4"), purge_store):
        with pytest.raises(VectorStoreUnavailable):
            await purge(down, store_id=NORTH, now=NOW)
    with pytest.raises(StorePurged):
        await purged_products(sinks.engine, NORTH)
    done = await purge_store(sinks, NORTH, now=NOW)
    assert (done.rows, done.points, done.pictures, done.tables) == (4, 5, 3, 4)
    assert await numbers(sinks, NORTH) == (0, 0, 0)


async def test_the_next_run_finishes_the_purge_of_a_product(sinks: Sinks) -> None:
    """Its row goes, live or archived, whatever the digest says; a dry run leaves it."""
    whole = shops(sinks.home)[0].desired()
    rest = replace(whole, products=whole.products[:3])
    apply = partial(apply_rows, sinks.engine, store_id=NORTH, now=NOW)
    for archived in (False, True):
        await apply(desired=whole)
        if archived:
            async with sinks.engine.begin() as connection:
                await connection.execute(text("UPDATE products SET archived_at = now() WHERE external_id = '4'"))
            assert await apply(desired=rest) == RowCounts()
        await set_tombstone(sinks.engine, NORTH, "4", now=NOW)
        await apply(desired=rest, dry_run=True)
        assert (await numbers(sinks, NORTH))[0] == 4
        await apply(desired=rest)
        assert (await numbers(sinks, NORTH))[0] == 3
        await lift_tombstone(sinks.engine, NORTH, "4")


async def test_a_store_whose_purge_was_cut_off_says_how_to_finish_it(sinks: Sinks) -> None:
    """As long as PostgreSQL has rows of it; afterwards it only says how it may come back."""
    await set_tombstone(sinks.engine, NORTH, None, now=NOW)
    with pytest.raises(
        StorePurged, match=f"--undo; its purge was interrupted: fashion-pipeline purge {NORTH} finishes it"
    ):
        await purged_products(sinks.engine, NORTH)
    await purge_store(sinks, NORTH, now=NOW)
    with pytest.raises(StorePurged, match=r"--undo$"):
        await purged_products(sinks.engine, NORTH)


async def test_a_repair_brings_nothing_back_whose_purge_was_cut_off(sinks: Sinks) -> None:
    """The tables still have it, the sinks no more: nothing of a product is written again, and a store is refused."""
    for purged in ("4", None):
        await set_tombstone(sinks.engine, NORTH, purged, now=NOW)
        with sinks.qdrant() as client:
            purge_points(client, NORTH, product=None if purged is None else product_id(NORTH, purged))
        await purge_rows(sinks.engine, NORTH, purged)
        if purged is not None:
            assert not (await reconcile_store(sinks, store(NORTH, images="all"), now=NOW, repair=True)).remaining
            assert await numbers(sinks, NORTH) == (3, 4, 4)
            (outcome,) = await read_outcomes(sinks.engine, store_id=NORTH, external_id=purged)
            assert (outcome.title, outcome.reasons, outcome.in_postgres) == ("", (Reason.PURGED,), False)
    with pytest.raises(StorePurged):
        await reconcile_store(sinks, store(NORTH, images="all"), now=NOW, repair=True)
    assert await numbers(sinks, NORTH) == (0, 0, 0)
    await purge_store(sinks, NORTH, now=NOW)
    assert not await inspect_store(sinks, store(NORTH), now=NOW)


async def test_tombstones_stand_until_they_are_lifted(sinks: Sinks) -> None:
    """A product's keeps it out, a store's refuses the store and says how to lift it; other stores are free."""
    await purge_product(sinks, NORTH, "2", now=NOW)
    assert await purged_products(sinks.engine, NORTH) == {"2"}
    await purge_store(sinks, NORTH, now=NOW)
    with pytest.raises(StorePurged, match=rf"{NORTH} was purged on 2026-11-21.*purge {NORTH} --undo"):
        await purged_products(sinks.engine, NORTH)
    assert await purged_stores(sinks.engine) == {NORTH}
    assert await purged_products(sinks.engine, SOUTH) == frozenset()
    assert await lift_tombstone(sinks.engine, NORTH, None)
    assert not await lift_tombstone(sinks.engine, NORTH, None)
    assert await purged_products(sinks.engine, NORTH) == {"2"}


async def test_what_is_exhumed_is_as_if_it_had_never_been_seen(sinks: Sinks) -> None:
    """Only what is buried can be; the next sweep then finds it new."""
    assert not await restore(sinks, NORTH, "1")
    await purge_product(sinks, NORTH, "1", now=NOW)
    assert await is_known(sinks, NORTH, "1")
    assert await restore(sinks, NORTH, "1")
    assert [row.external_id for row in _products(sinks.home)] == ["2", "3", "4"]
    assert not await is_known(sinks, NORTH, "99")


async def test_nothing_is_removed_unseen(sinks: Sinks) -> None:
    """While another store's table cannot be read nobody knows what it shares: the purge stops before anything goes."""
    before = await numbers(sinks, NORTH), stored(sinks.home)
    sinks.home.table("fetched_images", SOUTH).write_bytes(b"x")
    with pytest.raises(DamagedFile):
        await purge_store(sinks, NORTH, now=NOW)
    assert (await numbers(sinks, NORTH), stored(sinks.home)) == before


def _products(home: Home) -> tuple[Product, ...]:
    table = read_table(home.table("raw_products", NORTH), Product)
    assert table is not None
    return table.rows


def _dead(home: Home) -> AbstractContextManager[QdrantClient]:
    return vector_store(Settings.model_validate({"qdrant_url": "http://127.0.0.1:1"}), home)


def _again(record: Record) -> PointStruct:
    from qdrant_client import models as qm

    return qm.PointStruct(id=record.id, vector=record.vector, payload=record.payload)  # type: ignore[arg-type]
