"""A store's points, in Qdrant's local mode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from upath import UPath

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.sinks.desired import product_id
from fashion_pipeline.sinks.qdrant.applied import read_points
from fashion_pipeline.sinks.qdrant.collections import ALIAS, ModelCollection, ensure_collection
from fashion_pipeline.sinks.qdrant.points import (
    PointCounts,
    apply_points,
    apply_product,
    first_seen,
    primary_counts,
    purge_points,
    refresh_points,
)
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.vectors import VectorRef, Vectors
from fashion_pipeline_tests.builders import (
    AVAILABILITY,
    FINGERPRINT,
    NOW,
    Shop,
    product,
    sha,
    shop,
    store,
    vector_of,
)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

STORE = "atelier-nord"


@pytest.fixture
def client(home: Home) -> Iterator[QdrantClient]:
    """Yield a client of an empty local Qdrant."""
    with local_qdrant(home) as opened:
        yield opened


@pytest.fixture
def collection(client: QdrantClient) -> str:
    """Return the collection of the tests' model."""
    return ensure_collection(client, FINGERPRINT, home_id="home-1").name


def put(client: QdrantClient, made: Shop, **options: Any) -> tuple[int, int, int]:
    """Apply a shop's points and return how many were written, rewritten and deleted."""
    counts = counted(client, made, **options)
    return counts.points_written, counts.payloads_written, counts.points_deleted


def counted(client: QdrantClient, made: Shop, **options: Any) -> PointCounts:
    """Apply a shop's points."""
    desired = made.desired()
    return apply_points(
        client,
        collection=ensure_collection(client, made.fingerprint, home_id="home-1").name,
        store_id=made.store.id,
        desired=desired.points,
        digest=desired.points_digest,
        vectors=made.vectors,
        live=options.pop("live", ()),
        **options,
    )


def test_a_point_carries_its_vector_and_its_payload(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """What was desired is what Qdrant holds, under the product's id."""
    made = shop(tmp_path, 3)
    assert put(client, made) == (3, 0, 0)
    (record,) = client.retrieve(collection, ids=[str(product_id(STORE, "2"))], with_vectors=True)
    assert isinstance(record.vector, list)
    assert np.allclose(np.asarray(record.vector, np.float32), vector_of(sha("2-0")), atol=1e-6)
    payload = dict(record.payload or {})
    payload.pop("store_digest", None)
    assert payload == dict(made.desired().products[1].points[0].payload)


def test_an_unchanged_store_writes_nothing(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """The digest answers; and where everything is compared, nothing differs."""
    made = shop(tmp_path, 3)
    put(client, made)
    assert put(client, made) == (0, 0, 0)
    assert put(client, made, full=True) == (0, 0, 0)
    assert counted(client, made).present == {product_id(STORE, name) for name in "123"}


def test_a_changed_field_sends_no_vector_and_a_changed_picture_does(
    client: QdrantClient, collection: str, tmp_path: Path
) -> None:
    """The part lies unread while only payloads change: it could even be lost."""
    made = shop(tmp_path, 3)
    put(client, made)
    made.add(replace(made.products["1"], title="Coat"))
    made.desired()
    for part in made.vectors.root.glob("*.parquet"):
        part.rename(part.with_suffix(".away"))
    assert put(client, made) == (0, 1, 0)
    made.bytes_of["2-0"] = "another"
    assert put(client, made) == (1, 0, 0)
    (record,) = client.retrieve(collection, ids=[str(product_id(STORE, "2"))], with_vectors=True)
    assert np.allclose(np.asarray(record.vector, np.float32), vector_of(sha("another")), atol=1e-6)


@pytest.mark.parametrize(("name", "changed"), AVAILABILITY)
def test_availability_costs_a_payload_for_each_point_and_no_vector(
    client: QdrantClient, collection: str, tmp_path: Path, name: str, changed: dict[str, Any]
) -> None:
    """Another price, currency, stock or category is one payload for each of a product's images."""
    made = shop(tmp_path, 2, store=store(images="all")).add(product("3", pictures=3))
    put(client, made)
    made.add(replace(made.products["3"], **changed))
    for part in made.vectors.root.glob("*.parquet"):
        part.unlink()
    assert put(client, made) == (0, 3, 0)
    stored = [dict(record.payload or {}) for record in client.scroll(collection, limit=10)[0]]
    payloads = [payload for payload in stored if payload["external_id"] == "3"]
    wanted = {"price": 17.5, "currency": "CHF", "stock": False, "categories": ["Dresses", "Hats & Caps"]}[name]
    assert [payload["in_stock" if name == "stock" else name] for payload in payloads] == [wanted] * 3


def test_whatever_is_wrong_in_qdrant_is_put_right(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """A lost point by any run; an edited or foreign one by a full comparison; a restored snapshot by its digest."""
    made = shop(tmp_path, 4)
    put(client, made)
    client.delete(collection, points_selector=[str(product_id(STORE, "1"))])
    assert put(client, made) == (1, 0, 0)
    second = str(product_id(STORE, "2"))
    client.set_payload(collection, payload={"point_hash": "x"}, points=[second])
    third = str(product_id(STORE, "3"))
    client.set_payload(collection, payload={"fingerprint": "another model's"}, points=[third])
    assert put(client, made, full=True) == (1, 1, 0)
    every: list[Any] = [str(product_id(STORE, name)) for name in "1234"]
    client.set_payload(collection, payload={"store_digest": "yesterday's", "point_hash": "y"}, points=every)
    assert put(client, made) == (0, 4, 0)


def test_a_killed_application_leaves_no_digest_that_lies(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """A run that ends half-way, followed by the old state again, is found although the number matches."""
    made = shop(tmp_path, 3)
    put(client, made)
    before = dict(made.products)
    made.add(replace(made.products["1"], title="Coat"))
    made.bytes_of["3-0"] = "lost"
    desired = made.desired()
    lost = made.embedded[sha("lost")]
    (made.vectors.root / f"{lost.part}.parquet").unlink()
    with pytest.raises(DamagedFile):
        put(client, made)
    client.overwrite_payload(
        collection, payload=dict(desired.points[0].payload), points=[str(desired.points[0].point_id)]
    )
    made.products = before
    made.bytes_of.clear()
    assert put(client, made) == (0, 1, 0)


def test_a_point_leaves_when_its_row_is_not_live(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """PostgreSQL decides: what waits for consent there stays here, and goes when it goes."""
    made = shop(tmp_path, 3)
    put(client, made)
    gone = product_id(STORE, "3")
    del made.products["3"]
    waiting = counted(client, made, live=[gone])
    assert (waiting.points_deleted, gone in waiting.present) == (0, True)
    assert put(client, made, live=[]) == (0, 0, 1)
    assert gone not in read_points(client, collection, STORE)


def test_further_pictures_come_and_go_with_the_setting(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """Points of images that are no longer published are deleted although their product is live."""
    made = shop(tmp_path, store=store(images="all")).add(product("1", pictures=3))
    assert put(client, made) == (3, 0, 0)
    made.store = store()
    assert put(client, made, live=[product_id(STORE, "1")]) == (0, 0, 2)


def test_a_dry_run_writes_nothing(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """It returns the difference; Qdrant stays as it is."""
    made = shop(tmp_path, 3)
    assert put(client, made, dry_run=True) == (3, 0, 0)
    assert read_points(client, collection, STORE) == {}


def test_one_product_alone_makes_the_next_run_compare(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """Writing a single product is no statement about its store."""
    made = shop(tmp_path, 2)
    put(client, made)
    changed = replace(made.products["1"], title="Coat")
    points = shop(tmp_path / "one").add(changed)
    desired = points.desired()
    apply_product(client, collection=collection, store_id=STORE, points=desired.points, vectors=points.vectors)
    assert put(client, made) == (0, 1, 0)


def test_a_price_set_for_one_product_and_set_back_in_the_shop_is_put_right(
    client: QdrantClient, collection: str, tmp_path: Path
) -> None:
    """Writing one product's points forgets the store's digest, whichever of its points carries it."""
    made = shop(tmp_path, 3)
    put(client, made)
    before = dict(made.products)
    for external_id, unchanged in before.items():
        made.add(replace(unchanged, price=Decimal("5.00")))
        changed = next(each for each in made.desired().products if each.external_id == external_id)
        apply_product(client, collection=collection, store_id=STORE, points=changed.points, vectors=made.vectors)
        made.products = dict(before)
        assert put(client, made) == (0, 1, 0)


def test_stores_do_not_touch_each_other(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """Each store's points are compared, counted and purged by themselves."""
    north = shop(tmp_path / "north", 2)
    south = shop(tmp_path / "south", 3, store=store("maison-sud"))
    put(client, north)
    put(client, south)
    assert put(client, north, full=True) == (0, 0, 0)
    assert purge_points(client, "maison-sud") == 3
    assert put(client, north) == (0, 0, 0)
    assert len(read_points(client, collection, STORE)) == 2


def refresh(
    client: QdrantClient, collection: str, made: Shop, vectors: Vectors, **options: Any
) -> tuple[int, int, int]:
    """Keep the old model's collection true, and return how many points were written, rewritten and deleted."""
    counts = refresh_points(
        client,
        collection=ModelCollection.named(ALIAS, collection),
        store_id=STORE,
        desired=made.desired().points,
        live=options.pop("live", ()),
        vectors=vectors,
        **options,
    )
    return counts.points_written, counts.payloads_written, counts.points_deleted


def test_another_models_collection_is_kept_true(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """While it is live, it gets payloads, deletions, and the vectors that its own model has made."""
    made = shop(tmp_path, 3)
    put(client, made)
    old, made.vectors = made.vectors, Vectors(UPath(tmp_path / "new"))
    made.fingerprint, made.embedded = "new", {}
    made.add(replace(made.products["1"], title="Coat"), product("4"))
    made.bytes_of["2-0"] = "another"
    del made.products["3"]
    old.append([sha("another"), sha("4-0")], np.stack([vector_of(sha("x")), vector_of(sha("y"))]))
    assert refresh(client, collection, made, old) == (2, 1, 1)
    assert refresh(client, collection, made, old) == (0, 0, 0)
    (record,) = client.retrieve(collection, ids=[str(product_id(STORE, "4"))], with_vectors=True)
    assert np.allclose(np.asarray(record.vector, np.float32), vector_of(sha("y")), atol=1e-6)
    assert (record.payload or {})["fingerprint"] == FINGERPRINT
    client.set_payload(collection, payload={"title": "x"}, points=[str(record.id)])
    assert refresh(client, collection, made, old, full=True) == (0, 1, 0)


def test_what_the_other_model_has_no_vector_of_stays_as_it_was(
    client: QdrantClient, collection: str, tmp_path: Path
) -> None:
    """A changed image keeps its old vector, marked stale, with the new payload; a new product waits; a later vector is used."""
    made = shop(tmp_path, 3)
    put(client, made)
    old, made.vectors = made.vectors, Vectors(UPath(tmp_path / "new"))
    made.fingerprint, made.embedded = "new", {}
    made.bytes_of["2-0"] = "another"
    made.add(replace(made.products["2"], title="Coat"), product("4"))
    assert refresh(client, collection, made, old) == (0, 1, 0)
    assert refresh(client, collection, made, old) == (0, 0, 0)
    by_product = {
        str((record.payload or {})["external_id"]): record.payload or {} for record in client.scroll(collection)[0]
    }
    assert by_product.keys() == {"1", "2", "3"}
    assert (by_product["2"]["stale"], by_product["2"]["image_sha256"], by_product["2"]["title"]) == (
        True,
        sha("2-0"),
        "Coat",
    )
    assert by_product["2"]["fingerprint"] == FINGERPRINT
    old.append([sha("another"), sha("4-0")], np.stack([vector_of(sha("x")), vector_of(sha("y"))]))
    assert refresh(client, collection, made, old) == (2, 0, 0)
    assert len(read_points(client, collection, STORE)) == 4


def test_points_remember_when_a_product_was_first_seen(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """The earliest date in any model's collection counts."""
    made = shop(tmp_path, 1)
    put(client, made)
    made.add(replace(made.products["1"], first_seen_at=NOW + timedelta(days=1)))
    made.fingerprint, made.embedded = "new", {}
    put(client, made)
    assert first_seen(client, STORE) == {"1": NOW}
    assert first_seen(client, "maison-sud") == {}


def test_primary_points_are_counted_by_store(client: QdrantClient, collection: str, tmp_path: Path) -> None:
    """Further images do not count: the number is compared with PostgreSQL's live rows."""
    put(client, shop(tmp_path / "north", store=store(images="all")).add(product("1", pictures=3), product("2")))
    put(client, shop(tmp_path / "south", 1, store=store("maison-sud")))
    counts = primary_counts(client, collection, [STORE, "maison-sud", "nobody"])
    assert (counts[STORE], counts["maison-sud"], counts.get("nobody", 0)) == (2, 1, 0)


@pytest.mark.parametrize("wrong", [float("nan"), 0.0, 2.0])
def test_a_stored_vector_that_is_not_sound_is_discarded(
    client: QdrantClient, collection: str, tmp_path: Path, wrong: float
) -> None:
    """One damaged vector, of an older version, stops no other point, and the next run embeds its image again."""
    made = shop(tmp_path, 3)
    damaged = made.desired().points[1]
    part = damaged.place.part
    names = made.vectors.parts()[made.vectors.root / f"{part}.parquet"]
    values = made.vectors.load([VectorRef(part, index) for index in range(len(names))])
    values[damaged.place.index] = wrong
    (replaced, *_) = made.vectors.append(names, values)
    (made.vectors.root / f"{replaced.part}.parquet").rename(made.vectors.root / f"{part}.parquet")
    with pytest.raises(DamagedFile, match="1 stored vectors were damaged") as caught:
        put(client, made)
    assert "the next run embeds these images again" in str(caught.value)
    assert client.count(collection).count == 2
    assert not made.vectors.find([damaged.sha256])
