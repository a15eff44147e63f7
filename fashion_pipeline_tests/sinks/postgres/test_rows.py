"""A store's rows in PostgreSQL, on a real server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from fashion_pipeline.outcomes import Outcome, Reason, Status, rejected
from fashion_pipeline.sinks.desired import Desired, product_id
from fashion_pipeline.sinks.postgres.queries import first_seen, live_counts, live_ids
from fashion_pipeline.sinks.postgres.rows import RowCounts, apply_rows
from fashion_pipeline_tests.builders import AVAILABILITY, NOW, product, shop

STORE = "atelier-nord"
LATER = NOW + timedelta(hours=1)


async def rows(engine: AsyncEngine, *, columns: str = "external_id, title, updated_at, archived_at") -> list[Any]:
    """Return the store's rows, as PostgreSQL has them."""
    async with engine.connect() as connection:
        found = await connection.execute(text(f"SELECT {columns} FROM products ORDER BY external_id"))  # noqa: S608 - our own columns
        return [tuple(row) for row in found]


async def put(engine: AsyncEngine, desired: Desired, now: datetime = NOW, **options: Any) -> RowCounts:
    """Apply one store's state."""
    return await apply_rows(engine, store_id=STORE, desired=desired, now=now, **options)


async def test_the_first_application_writes_every_row_with_its_values(engine: AsyncEngine, tmp_path: Path) -> None:
    """What was desired is what PostgreSQL holds, prices exact, text of any script, arrays as arrays."""
    odd = product("9", title="Robe «été»\t\\N\n夏", price=Decimal("99999999.99"), categories=("a,b", '"c"', "{}"))
    made = shop(tmp_path, 2).add(odd)
    assert await put(engine, made.desired()) == RowCounts(written=3)
    found = await rows(engine, columns="id, title, price, currency, categories, created_at, in_stock")
    assert found[-1] == (
        product_id(STORE, "9"), odd.title, odd.price, "EUR", list(odd.categories), NOW, True,
    )  # fmt: skip


async def test_an_unchanged_row_costs_no_write(engine: AsyncEngine, tmp_path: Path) -> None:
    """Only the row that changed is written, and only its updated_at moves; even in a full comparison."""
    made = shop(tmp_path, 5)
    await put(engine, made.desired())
    assert await put(engine, made.desired(), LATER, full=True) == RowCounts()
    made.add(replace(made.products["3"], title="Coat"))
    assert await put(engine, made.desired(), LATER) == RowCounts(written=1)
    assert [updated for _, _, updated, _ in await rows(engine)] == [NOW, NOW, LATER, NOW, NOW]
    async with engine.connect() as connection:
        versions = await connection.execute(text("SELECT count(DISTINCT xmin::text) FROM products"))
        assert versions.scalar_one() == 2


async def test_availability_costs_one_row(engine: AsyncEngine, tmp_path: Path) -> None:
    """Another price, currency, stock or category writes the product's row, once, and no other."""
    made = shop(tmp_path, 3)
    await put(engine, made.desired())
    for _, changed in AVAILABILITY:
        made.add(replace(made.products["2"], **changed))
        assert await put(engine, made.desired(), LATER) == RowCounts(written=1)
    found = await rows(engine, columns="price, currency, in_stock, categories")
    assert found[1] == (Decimal("17.50"), "CHF", False, ["Dresses", "Hats & Caps"])
    assert found[0] == found[2] == (Decimal("19.90"), "EUR", True, ["Dresses"])


async def test_leaving_archives_and_coming_back_keeps_id_and_creation(engine: AsyncEngine, tmp_path: Path) -> None:
    """A row is never deleted: it is archived, and its return clears that and nothing else."""
    made = shop(tmp_path, 5)
    await put(engine, made.desired())
    back = made.products["2"]
    made.trash("2")
    assert await put(engine, made.desired(), LATER) == RowCounts(archived=1)
    assert (await rows(engine))[1][3] == LATER
    assert product_id(STORE, "2") not in await live_ids(engine, STORE)
    assert (await first_seen(engine, STORE))["2"] == NOW
    made.add(back)
    assert await put(engine, made.desired(), LATER + timedelta(hours=1)) == RowCounts(written=1)
    assert await rows(engine, columns="id, created_at, archived_at") == [
        (product_id(STORE, str(number)), NOW, None) for number in range(1, 6)
    ]


async def test_too_many_removals_wait_and_consent_lets_them_pass(engine: AsyncEngine, tmp_path: Path) -> None:
    """Held back rows stay live until a person agrees; what was consented to does not count afterwards."""
    made = shop(tmp_path, 20)
    await put(engine, made.desired())
    made.trash(*map(str, range(1, 11)))
    counts = await put(engine, made.desired(), LATER)
    assert (counts.archived, len(counts.withheld)) == (0, 10)
    assert await live_counts(engine) == {STORE: 20}
    assert (await put(engine, made.desired(), LATER)).withheld == counts.withheld
    assert await put(engine, made.desired(), LATER, allow_removals=True) == RowCounts(archived=10)
    made.trash("11", "12")
    assert await put(engine, made.desired(), LATER + timedelta(days=1)) == RowCounts(archived=2)


async def test_a_product_leaves_on_evidence_about_itself_only(engine: AsyncEngine, tmp_path: Path) -> None:
    """A failing image and a product that the shop hides keep the row; a product in no table waits for consent."""
    made = shop(tmp_path, 20)
    await put(engine, made.desired())
    made.fetched["1-0"] = Outcome(Status.FAILED, (Reason.HTTP_ERROR,), "503")
    made.bytes_of["1-0"] = ""
    made.add(replace(made.products["2"], outcome=rejected(Reason.UNREADABLE)))
    del made.products["3"]
    made.trash("4")
    applied = await put(engine, made.desired(), LATER)
    assert applied == RowCounts(archived=1, withheld=("3",), kept=("1", "2"))
    assert await put(engine, made.desired(), LATER) == RowCounts(withheld=("3",), kept=("1", "2"))
    assert await put(engine, made.desired(), LATER, allow_removals=True) == RowCounts(archived=1, kept=("1", "2"))
    assert await live_counts(engine) == {STORE: 18}


async def test_as_many_leave_as_there_are(engine: AsyncEngine) -> None:
    """More than a statement has room for parameters: the whole of a large store, after a person agreed."""
    filled = """
        INSERT INTO products (store_id, external_id, title, price, image_url, product_url)
        SELECT :store_id, number, '', 1, '', '' FROM generate_series(1, 65536) number
    """
    async with engine.begin() as connection:
        await connection.execute(text(filled), {"store_id": STORE})
    assert await put(engine, Desired((), ()), allow_removals=True) == RowCounts(archived=65_536)


async def test_small_removals_add_up_over_seven_days(engine: AsyncEngine, tmp_path: Path) -> None:
    """Three a day are not a way around the guard; a week later they are forgotten."""
    made = shop(tmp_path, 10)
    await put(engine, made.desired())
    made.trash("1", "2", "3")
    assert (await put(engine, made.desired(), LATER)).archived == 3
    made.trash("4")
    assert (await put(engine, made.desired(), LATER + timedelta(days=6))).withheld == ("4",)
    assert (await put(engine, made.desired(), LATER + timedelta(days=7))).archived == 1


async def test_a_digest_that_matches_reads_nothing_and_a_restored_backup_does_not_match(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """A row changed by hand is found by a full comparison; an older state with its older digest by any."""
    made = shop(tmp_path, 3)
    await put(engine, made.desired())
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE products SET title = 'x' WHERE external_id = '1'"))
    assert await put(engine, made.desired(), LATER) == RowCounts()
    assert await put(engine, made.desired(), LATER, full=True) == RowCounts(written=1)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM products WHERE external_id = '3'"))
    assert await put(engine, made.desired(), LATER) == RowCounts(written=1)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE products SET title = 'yesterday'"))
        await connection.execute(text("UPDATE sink_state SET value = 'yesterday'"))
    assert await put(engine, made.desired(), LATER) == RowCounts(written=3)


async def test_a_dry_run_counts_and_changes_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    """It returns the difference; the rows and the digest stay."""
    made = shop(tmp_path, 3)
    assert await put(engine, made.desired(), dry_run=True) == RowCounts(written=3)
    assert await rows(engine) == []
    assert await put(engine, made.desired()) == RowCounts(written=3)


async def test_a_row_with_a_foreign_id_takes_the_right_one(engine: AsyncEngine, tmp_path: Path) -> None:
    """A row somebody inserted under a random id is the same product, and is corrected."""
    made = shop(tmp_path, 1)
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO products (store_id, external_id, title, price, image_url, product_url)
                VALUES (:store, '1', 'by hand', 1, '', '')
            """),
            {"store": STORE},
        )
    assert await put(engine, made.desired()) == RowCounts(written=1)
    assert await live_ids(engine, STORE) == {product_id(STORE, "1")}
