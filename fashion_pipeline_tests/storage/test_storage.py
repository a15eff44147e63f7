from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from fashion_pipeline.errors import DamagedFile, LockTimeout, SettingsError, StorageError, TableTooNew
from fashion_pipeline.outcomes import OK, Outcome, Reason, Status
from fashion_pipeline.records import TABLES, EmbeddedImage, FetchedImage, Image, JudgedImage, Product, Table
from fashion_pipeline.storage.files import digest, file_lock, make_directory, put, sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table
from fashion_pipeline.storage.vectors import VectorRef, Vectors

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


@pytest.fixture(params=["local", "object store"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(tmp_path / "home" if request.param == "local" else f"memory://{tmp_path.name}-{os.getpid()}")


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


def test_a_full_disk_is_named_with_the_bytes_needed(tmp_path: Path) -> None:
    """A write that does not fit fails with the bytes it needed, and leaves the old file alone."""
    home = Home(tmp_path)
    path = home.root / "file"
    put(path, b"old")
    limited = (
        "import resource, signal, sys; from fashion_pipeline.storage.files import put; from fashion_pipeline.storage.home import Home; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "put(Home(sys.argv[1]).root / 'file', b'x' * 5000)"
    )
    ran = subprocess.run([sys.executable, "-c", limited, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "StorageFull" in ran.stderr
    assert "no space left for 5,000 bytes" in ran.stderr
    assert path.read_bytes() == b"old"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file"]


def test_the_same_bytes_lie_there_once_and_are_checked(home: Home) -> None:
    """A blob that does not hold its own digest is removed and refused, so that it is fetched again."""
    sha256 = home.blobs.put(b"a dress")
    assert sha256 == sha256_hex(b"a dress") == home.blobs.put(b"a dress")
    assert home.blobs.get(sha256) == b"a dress"
    home.blobs.path(sha256).write_bytes(b"a shoe")
    with pytest.raises(DamagedFile):
        home.blobs.get(sha256)
    assert not home.blobs.exists(sha256)


def test_pixels_are_a_cache(home: Home) -> None:
    """Pixels come back as they were; missing or cut ones are simply not there."""
    pixels = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(224, 224, 3)
    cache = home.pixels("spec-1")
    assert cache.get("ab" * 32) is None
    cache.put("ab" * 32, pixels)
    found = cache.get("ab" * 32)
    assert found is not None
    assert np.array_equal(found, pixels)
    assert home.pixels("spec-2").get("ab" * 32) is None
    cache.drop(["ab" * 32, "cd" * 32])
    assert cache.get("ab" * 32) is None


def test_vectors_are_found_in_whatever_part_they_lie(home: Home) -> None:
    """Parts are only added; the index names the part and row of each digest, and order is kept."""
    vectors = home.vectors("f" * 16)
    assert vectors.index() == {}
    rows = np.random.default_rng(0).normal(size=(5, 768)).astype(np.float32)
    first = vectors.append(["a", "b", "c"], rows[:3])
    second = vectors.append(["d", "e"], rows[3:])
    assert vectors.index() == dict(zip("abcde", [*first, *second], strict=True))
    assert np.array_equal(vectors.load([second[1], first[0], first[2]]), rows[[4, 0, 2]])


def test_what_is_asked_for_is_found_in_few_parts(home: Home) -> None:
    """A store's vectors cost what the store has: where its table says that they lie, no other store's part is read."""

    class Watched(Vectors):
        def _digests(self, path: UPath) -> Any:
            read.append(path.stem)
            return super()._digests(path)

    read: list[str] = []
    vectors = Watched(home.vectors("f" * 16).root)
    assert vectors.find(["a"]) == {}
    places = [place for names in ("ab", "cd", "ef") for place in vectors.append(list(names), np.ones((2, 768)))]
    parts = [place.part for place in places[::2]]
    assert vectors.find([], first=parts) == {}
    assert vectors.find(["f", "c"], first=parts[1:]) == {"c": places[2], "f": places[5]}
    assert set(read) == set(parts[1:])
    assert vectors.find(["b", "x"]) == {"b": places[1]}
    assert set(read) == set(parts)
    vectors.forget(["c"])
    assert vectors.find(["c", "d", ""]) == {"d": places[3]}


def test_a_damaged_part_has_no_vectors(home: Home) -> None:
    """What cannot be read is not in the index, so that it is embedded again."""
    vectors = home.vectors("f" * 16)
    place = vectors.append(["a"], np.ones((1, 768)))[0]
    next(iter(vectors.root.glob("*.parquet"))).write_bytes(b"PAR1")
    assert vectors.index() == vectors.find(["a"], first=[place.part]) == {}
    with pytest.raises(DamagedFile):
        vectors.load([place])
    with pytest.raises(DamagedFile):
        vectors.load([VectorRef("nowhere", 0)])


def test_a_lock_waits_and_then_says_who_holds_what(tmp_path: Path) -> None:
    """A second holder waits for its timeout; shared holders do not exclude each other."""
    path = tmp_path / "a.lock"
    with (
        file_lock(path, timeout_s=0, what="the demo", shared=True),
        file_lock(path, timeout_s=0, what="the demo", shared=True),
        pytest.raises(LockTimeout, match="the demo is held by another process"),
        file_lock(path, timeout_s=0, what="the demo"),
    ):
        pytest.fail("an exclusive lock was given beside a shared one")
    with file_lock(path, timeout_s=0, what="the demo"):
        pass


def test_local_databases_need_a_local_home() -> None:
    """An object store cannot hold a database; the message names the two settings."""
    with pytest.raises(SettingsError, match="FASHION_DATABASE_URL and FASHION_QDRANT_URL"):
        Home("memory://bucket").local("postgres")


def test_the_homes_id_is_made_once(home: Home) -> None:
    """The same home has the same id, in every process."""
    assert home.id == Home(home.root).id


@pytest.mark.parametrize("damage", ["", "[]", "{}", "id"])
def test_a_damaged_home_says_where_its_id_is_known(home: Home, damage: str) -> None:
    """A home without a readable id is not given a new one: the databases know whose they are."""
    assert home.id
    (home.root / "home.json").write_text(damage)
    with pytest.raises(DamagedFile, match="pipeline_state"):
        _ = Home(home.root).id


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the home should be is a sentence, for directories and for files below it."""
    (tmp_path / "home").write_text("a file")
    with pytest.raises(SettingsError, match="FASHION_HOME"):
        make_directory(tmp_path / "home" / "dagster")
    with pytest.raises(StorageError, match="FASHION_HOME"):
        put(Home(tmp_path / "home").root / "home.json", b"{}")


def test_a_digest_ignores_order_and_nothing_else() -> None:
    """Equal sets of pairs have equal digests."""
    assert digest([("a", "1"), ("b", "2")]) == digest({"b": "2", "a": "1"})
    assert digest([("a", "1")]) != digest([("a", "2")])


@pytest.mark.parametrize("url", ["s4://bucket/home", "adl://bucket/home"])
def test_an_object_store_without_its_driver_is_named(url: str) -> None:
    """A scheme that nothing here can open, for want of a package or for ever, is a sentence and not a traceback."""
    with pytest.raises(SettingsError, match=f"FASHION_HOME is {url}, and its files cannot be reached"):
        Home(url)
