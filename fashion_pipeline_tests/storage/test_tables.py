"""Stage tables as Parquet files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.errors import DamagedFile, TableTooNew
from fashion_pipeline.outcomes import OK, Outcome, Reason, Status
from fashion_pipeline.records import TABLES, EmbeddedImage, FetchedImage, Image, JudgedImage, Product, Table
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table

NOW = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)
FAILED = Outcome(Status.FAILED, (Reason.HTTP_ERROR, Reason.TOO_SLOW), "503", 2, NOW)
PRODUCT = Product(
    external_id="12",
    kind="simple",
    status="publish",
    title="Robe d'été 👗 שמלה",
    description="",
    price_text="12.5",
    price=Decimal("12.50"),
    currency="EUR",
    product_url="https://shop.example/p/12",
    in_stock=True,
    password_protected=False,
    categories=("Dresses", "Été"),
    images=(Image("7", "https://shop.example/7.jpg", 0, NOW), Image("8", "https://shop.example/8.jpg", 1)),
    created_in_shop_at=None,
    modified_in_shop_at=NOW,
    content_hash="ab" * 32,
    first_seen_at=NOW,
    last_seen_at=NOW,
)
FETCHED = FetchedImage(
    "12", "7", 0, "https://shop.example/7.jpg", NOW, None, "cd" * 32, 12, '"etag"', None, NOW, FAILED
)
JUDGED = JudgedImage("cd" * 32, 60_000, 800, 1000, "JPEG", False, False, 123.25, None, "", 1, OK)  # noqa: FBT003 - a row
EMBEDDED = EmbeddedImage("cd" * 32, "f" * 16, "part", 3)
ROWS: dict[str, Any] = {
    "raw_products": PRODUCT,
    "fetched_images": FETCHED,
    "quality_passed": JUDGED,
    "embeddings": EMBEDDED,
}


@pytest.mark.parametrize("asset", TABLES)
def test_a_table_comes_back_as_it_was_written(home: Home, asset: str) -> None:
    """Every row type, with its nested values, and the metadata survive the file, wherever it lies."""
    table = Table((ROWS[asset], ROWS[asset]), {"cursor": "2026-11-20T12:00:00"})
    path = home.table(asset, "atelier-nord")
    assert read_table(path, TABLES[asset]) is None
    write_table(path, table, TABLES[asset])
    assert read_table(path, TABLES[asset]) == table


def test_an_empty_table_is_a_table(home: Home) -> None:
    """A store without products is something else than a store that was never read."""
    path = home.table("raw_products", "atelier-nord")
    write_table(path, Table(()), Product)
    assert read_table(path, Product) == Table(())


def rewritten(path: Any, *, version: str | None = None, without: str | None = None) -> None:
    table = pq.read_table(pa.BufferReader(path.read_bytes()))
    metadata = dict(table.schema.metadata)
    if without:
        table = table.drop_columns([without])
    if version:
        metadata[b"schema_version"] = version.encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    path.write_bytes(sink.getvalue().to_pybytes())


def test_a_newer_table_is_refused(home: Home) -> None:
    """An older program never guesses at a newer file."""
    path = home.table("raw_products", "s")
    write_table(path, Table((PRODUCT,)), Product)
    rewritten(path, version="2")
    with pytest.raises(TableTooNew, match="schema version 2"):
        read_table(path, Product)


def test_a_column_that_an_older_table_lacks_takes_its_default(home: Home) -> None:
    """A field with a default can be added without rewriting what is there."""
    path = home.table("raw_products", "s")
    write_table(path, Table((replace(PRODUCT, outcome=FAILED),)), Product)
    rewritten(path, without="outcome")
    assert read_table(path, Product) == Table((PRODUCT,))


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"<html>", b"\0" * 5000])
def test_a_foreign_file_is_refused_with_advice(home: Home, damage: bytes) -> None:
    """Whatever lies at a table's path, the answer is a table or a sentence."""
    path = home.table("raw_products", "s")
    write_table(path, Table((PRODUCT,)), Product)
    path.write_bytes(damage)
    with pytest.raises(DamagedFile, match="next run makes it again"):
        read_table(path, Product)


def test_a_truncated_table_is_refused(home: Home) -> None:
    """Half a file is never read as a whole one."""
    path = home.table("raw_products", "s")
    write_table(path, Table((PRODUCT,) * 100), Product)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFile):
        read_table(path, Product)


def test_a_table_of_another_kind_is_refused(home: Home) -> None:
    """A file copied to the wrong asset does not become its rows."""
    path = home.table("raw_products", "s")
    write_table(path, Table((EMBEDDED,)), EmbeddedImage)
    with pytest.raises(DamagedFile):
        read_table(path, Product)
