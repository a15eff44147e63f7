"""Drift: every kind is named, changes nothing while it is only looked at, and is repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from fashion_pipeline.errors import CollectionMismatch
from fashion_pipeline.local.qdrant import local_qdrant
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.desired import product_id
from fashion_pipeline.sinks.drift import SAMPLE, Kind
from fashion_pipeline.sinks.outcomes import read_outcomes
from fashion_pipeline.sinks.postgres.engine import database
from fashion_pipeline.sinks.qdrant.collections import ALIAS, ModelCollection, alias_target
from fashion_pipeline.sinks.reconcile import Reconciled, inspect_orphans, inspect_store, reconcile_store
from fashion_pipeline.storage.home import Home
from fashion_pipeline_tests.builders import FINGERPRINT, NOW, Shop, product, sha, store, vector_of

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

STORE = "atelier-nord"
LATER = NOW + timedelta(hours=1)
COLLECTION = ModelCollection.of(ALIAS, FINGERPRINT)


@dataclass
class Kept:
    """One store of four products, without drift; product 4 has three images."""

    sinks: Sinks
    shop: Shop

    async def reconcile(self, *, repair: bool = True, **options: Any) -> Reconciled:
        """Look, and repair."""
        return await reconcile_store(self.sinks, self.shop.store, now=LATER, repair=repair, **options)

    async def sql(self, statement: str) -> None:
        """Change PostgreSQL behind the pipeline's back."""
        async with self.sinks.engine.begin() as connection:
            await connection.execute(text(statement))

    async def contents(self) -> tuple[list[Any], dict[str, Any]]:
        """Return everything in both sinks but the times of writes, vectors rounded."""
        columns = "id, external_id, title, price, archived_at IS NULL, image_sha256"
        async with self.sinks.engine.connect() as connection:
            rows = (await connection.execute(text(f"SELECT {columns} FROM products ORDER BY id"))).all()  # noqa: S608 - ours
            outcomes = (await connection.execute(text("SELECT * FROM product_outcomes ORDER BY external_id"))).all()
        with self.sinks.qdrant() as client:
            records, _ = client.scroll(ALIAS, limit=100, with_payload=True, with_vectors=True)
        points = {
            str(record.id): (record.payload, [round(float(number), 4) for number in record.vector or ()])  # type: ignore[arg-type]
            for record in records
        }
        return [*map(tuple, rows), *(tuple(row)[:-1] for row in outcomes)], points


@pytest.fixture
async def kept(database_url: str, home: Home) -> AsyncIterator[Kept]:
    """Yield a store that a repair has put into two empty sinks."""
    shop = Shop(home.vectors(FINGERPRINT), store=store(images="all"))
    shop.add(*(product(name) for name in "123"), product("4", pictures=3)).save(home)
    async with database(database_url, home_id=home.id) as engine:
        made = Kept(Sinks(home, engine, partial(local_qdrant, home)), shop)
        filled = await made.reconcile()
        assert filled.before.counts == {"row_missing": 4, "outcome_wrong": 4, "no_collection": 6}
        assert not filled.remaining
        yield made


def point(name: str) -> str:
    return str(product_id(STORE, name))


def set_payload(**payload: Any) -> Callable[[QdrantClient], Any]:
    return lambda client: client.set_payload(ALIAS, payload=payload, points=[point("1")])


def move(client: QdrantClient) -> None:
    """Give a point's payload and vector another id, as a writer with random ids would."""
    from qdrant_client import models as qm

    (record,) = client.retrieve(ALIAS, ids=[point("1")], with_payload=True, with_vectors=True)
    copy = qm.PointStruct(id=str(uuid4()), vector=record.vector, payload=record.payload)  # type: ignore[arg-type]
    client.upsert(ALIAS, points=[copy])


def foreign(payload: dict[str, Any]) -> Callable[[QdrantClient], Any]:
    from qdrant_client import models as qm

    return lambda client: client.upsert(ALIAS, points=[qm.PointStruct(id=7, vector=[1.0] * 768, payload=payload)])


def another_vector(client: QdrantClient) -> None:
    from qdrant_client import models as qm

    client.update_vectors(ALIAS, points=[qm.PointVectors(id=point("1"), vector=vector_of(sha("x")).tolist())])


IN_POSTGRES = {
    "DELETE FROM products WHERE external_id = '1'": {"row_missing": 1, "outcome_wrong": 1},
    "UPDATE products SET archived_at = now() WHERE external_id = '1'": {"row_archived": 1, "outcome_wrong": 1},
    "UPDATE products SET price = 1, title = 'x' WHERE external_id = '1'": {"row_wrong": 1},
    "UPDATE products SET id = gen_random_uuid() WHERE external_id = '1'": {"row_wrong": 1, "outcome_wrong": 1},
    "UPDATE sink_state SET value = 'x' WHERE key = 'rows_digest'": {"rows_digest": 1},
    "DELETE FROM product_outcomes WHERE external_id = '1'": {"outcome_wrong": 1},
    "UPDATE product_outcomes SET in_qdrant = false": {"outcome_wrong": 4},
    "UPDATE products SET external_id = '99' WHERE external_id = '1'": {"row_missing": 1},
}


@pytest.mark.parametrize("damage", IN_POSTGRES)
async def test_drift_in_postgres_is_named_and_repaired(kept: Kept, damage: str) -> None:
    """A look changes nothing, a repair leaves both sinks as they were, and the next look finds nothing."""
    before = await kept.contents()
    await kept.sql(damage)
    wrong = await kept.contents()
    seen = (await kept.reconcile(repair=False)).before
    assert await kept.contents() == wrong
    assert (seen.counts, seen.withheld) == (IN_POSTGRES[damage], 0)
    done = await kept.reconcile()
    assert (done.before.counts, done.remaining.counts) == (seen.counts, {})
    assert await kept.contents() == before
    assert not await inspect_store(kept.sinks, kept.shop.store, now=LATER, vectors=True)


async def test_a_missing_digest_is_no_drift(kept: Kept) -> None:
    """A purge takes it away: the next run looks at everything, and nothing is wrong until then."""
    await kept.sql("DELETE FROM sink_state WHERE key = 'rows_digest'")
    with kept.sinks.qdrant() as client:
        client.delete_payload(ALIAS, ["store_digest"], [point(name) for name in "1234"])
    assert not await inspect_store(kept.sinks, kept.shop.store, now=LATER, vectors=True)


async def test_a_lost_collection_is_made_of_the_vectors_that_are_left(kept: Kept) -> None:
    """An image whose vector is lost too waits for a run; the others can be found again."""
    with kept.sinks.qdrant() as client:
        client.delete_collection(COLLECTION.name)
    kept.shop.vectors.forget([sha("1-0")])
    look = await kept.reconcile()
    assert look.before.counts == {"no_collection": 5, "vector_lost": 1}
    assert look.remaining.counts == {"point_missing": 1}
    with kept.sinks.qdrant() as client:
        assert client.count(ALIAS).count == 5


IN_QDRANT: dict[str, tuple[Callable[[QdrantClient], Any], dict[str, int]]] = {
    "a row without a point": (lambda client: client.delete(ALIAS, [point("1")]), {"point_missing": 1}),
    "a payload edited under its hash": (set_payload(title="x"), {"point_payload": 1}),
    "a payload's hash": (set_payload(point_hash="x"), {"point_payload": 1}),
    "other bytes": (set_payload(image_sha256=sha("x")), {"point_picture": 1}),
    "another model": (set_payload(fingerprint="x"), {"point_model": 1}),
    "another store": (set_payload(store_id="maison-sud"), {"point_missing": 1}),
    "another vector": (another_vector, {"point_vector": 1}),
    "another digest": (set_payload(store_digest="x"), {"points_digest": 1}),
    "a copy under another id": (move, {"point_duplicate": 1}),
    "a stranger's point": (foreign({"store_id": STORE, "product_id": 5}), {"point_foreign": 1}),
    "everything": (lambda client: client.delete_collection(COLLECTION.name), {"no_collection": 6}),
}


@pytest.mark.parametrize("damage", IN_QDRANT)
async def test_drift_in_qdrant_is_named_and_repaired(kept: Kept, damage: str) -> None:
    """Wrong points, payloads, vectors, ids and digests are reported and repaired."""
    change, counts = IN_QDRANT[damage]
    before = await kept.contents()
    with kept.sinks.qdrant() as client:
        change(client)
    assert (await kept.reconcile(repair=False)).before.counts == counts
    done = await kept.reconcile()
    assert (done.before.counts, done.remaining.counts) == (counts, {})
    assert await kept.contents() == before


async def test_a_product_that_left_the_tables_takes_row_and_points_along(kept: Kept) -> None:
    """A row that is live and should not be is reported and removed, with its points."""
    kept.shop.trash("4")
    kept.shop.save(kept.sinks.home)
    done = await kept.reconcile()
    assert done.before.counts == {"row_unwanted": 1, "outcome_wrong": 1, "point_unwanted": 3}
    assert not done.remaining
    rows, points = await kept.contents()
    assert len(points) == 3
    assert [row[4] for row in rows[:4] if row[1] == "4"] == [False]


async def test_vectors_are_not_read_where_that_is_not_wanted(kept: Kept) -> None:
    """Without them a wrong vector under a right hash is not seen, and the numbers say that none was compared."""
    with kept.sinks.qdrant() as client:
        another_vector(client)
    looked = await kept.reconcile(repair=False, vectors=False)
    assert (looked.before.counts, looked.before.vectors) == ({}, 0)
    assert (await kept.reconcile(repair=False)).before.vectors == 6


async def test_removals_beyond_the_bound_are_no_drift_until_a_person_agrees(kept: Kept) -> None:
    """What the guard holds back stays in both sinks, is counted apart, and goes with consent."""
    kept.shop.trash("1", "2", "3", "4")
    kept.shop.save(kept.sinks.home)
    before = (await kept.contents())[1]
    done = await kept.reconcile()
    assert (done.before.counts, done.before.withheld, done.remaining.counts) == ({"outcome_wrong": 4}, 4, {})
    assert (await kept.contents())[1] == before
    outcomes = await read_outcomes(kept.sinks.engine, store_id=STORE)
    assert all(outcome.reasons[0] is Reason.AWAITING_CONSENT for outcome in outcomes)
    assert all(outcome.in_postgres and outcome.in_qdrant for outcome in outcomes)
    agreed = await kept.reconcile(allow_removals=True)
    assert agreed.before.counts == {"row_unwanted": 4, "outcome_wrong": 4, "point_unwanted": 6}
    assert (await kept.contents())[1] == {}


async def test_a_lost_vector_is_named_and_left_to_the_next_run(kept: Kept) -> None:
    """What reconcile cannot make by itself it says; everything else is looked at all the same."""
    for part in kept.shop.vectors.root.glob("*.parquet"):
        part.unlink()
    with kept.sinks.qdrant() as client:
        set_payload(title="x")(client)
    done = await kept.reconcile()
    assert done.before.counts == {"point_payload": 1, "vector_lost": 6}
    assert done.remaining.counts == {"vector_lost": 6}
    assert not done.remaining.repairable


async def test_a_store_without_tables_is_not_emptied(kept: Kept) -> None:
    """Lost tables are drift that only a run can mend; a store of which nothing is kept has none."""
    before = await kept.contents()
    kept.sinks.home.table("quality_passed", STORE).unlink()
    done = await kept.reconcile()
    assert done.remaining.counts == {"no_tables": 6}
    assert await kept.contents() == before
    assert not await inspect_store(kept.sinks, store("maison-sud"), now=LATER)


async def test_points_of_a_store_that_nothing_knows_are_strays(kept: Kept) -> None:
    """Points of no store, or of one that is gone, are reported and deleted; those of a known store stay."""
    with kept.sinks.qdrant() as client:
        set_payload(store_id="gone")(client)
        foreign({"title": "no store"})(client)
        seen = inspect_orphans(client, [STORE], repair=False)
        assert seen.counts == {"point_stray": 2}
        assert inspect_orphans(client, [STORE, "gone"], repair=True).counts == {"point_stray": 1}
        assert inspect_orphans(client, [STORE, "gone"], repair=True).counts == {}
        assert alias_target(client) == COLLECTION


async def test_another_homes_points_are_not_taken_for_strays(kept: Kept, tmp_path: Path) -> None:
    """With FASHION_QDRANT_URL naming somebody else's Qdrant, all points there are of stores that nothing knows."""
    ours = Sinks(Home(tmp_path / "another"), kept.sinks.engine, kept.sinks.open_qdrant)
    with pytest.raises(CollectionMismatch, match="belongs to another home"), ours.qdrant() as client:
        inspect_orphans(client, [], repair=True)
    assert not (await kept.reconcile()).before


async def test_every_occurrence_is_counted_and_a_few_are_named(kept: Kept) -> None:
    """The examples name the product and what differs; they are few however much is wrong."""
    await kept.sql("UPDATE products SET title = 'x'")
    kept.shop.add(*(product(str(number)) for number in range(10, 30))).save(kept.sinks.home)
    drift = (await kept.reconcile(repair=False)).before
    assert drift.counts["row_missing"] == 20
    examples = drift.as_json()["examples"]
    assert examples["row_wrong"][0] == "1 (title)"
    assert len(examples["row_missing"]) == SAMPLE
    assert any(line.endswith(", …") for line in drift.lines())


def test_every_kind_has_words_of_its_own() -> None:
    """No two kinds are explained alike."""
    assert len({kind.text for kind in Kind}) == len(Kind)


async def test_a_changed_product_is_drift_until_it_is_applied(kept: Kept) -> None:
    """A run that was killed after its tables leaves drift in both sinks, which a repair ends without the shop."""
    kept.shop.add(replace(kept.shop.products["1"], title="Coat")).save(kept.sinks.home)
    done = await kept.reconcile()
    assert done.before.counts == {"row_wrong": 1, "outcome_wrong": 1, "point_payload": 1}
    assert not done.remaining
