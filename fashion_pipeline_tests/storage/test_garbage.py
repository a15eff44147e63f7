"""What nothing refers to goes, and nothing else."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.records import EmbeddedImage
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.garbage import Freed, collect
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.references import referred, stores_with_tables
from fashion_pipeline.storage.tables import write_table
from fashion_pipeline.storage.vectors import VectorRef
from fashion_pipeline_tests.builders import FINGERPRINT, Shop, product, sha, vector_of

NOW = datetime.now(UTC)
PIXELS = np.zeros((224, 224, 3), np.uint8)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home in a directory: only there do files have a time of their last use."""
    return Home(tmp_path / "home")


def age(home: Home, **by: float) -> None:
    """Let everything below a home be written so long ago."""
    then = (NOW - timedelta(**by)).timestamp()
    for path in Path(str(home.root)).rglob("*"):
        os.utime(path, (then, then))


def gc(home: Home, *referred_to: str, **options: Any) -> dict[str, tuple[int, int]]:
    """Collect, and return what was found of each kind: files and bytes."""
    given = {"fingerprints": {FINGERPRINT}, "pixel_spec": "new", "now": NOW, "dry_run": False, **options}
    found = collect(home, referred=frozenset(referred_to), **given)
    kinds: dict[str, Freed] = {
        name: getattr(found, name) for name in ("blobs", "pixels", "vectors", "temporary") if getattr(found, name).bytes
    }
    return {name: (freed.files, freed.bytes) for name, freed in kinds.items()}


def test_pictures_that_no_table_names_go(home: Home) -> None:
    """Blobs and pixels of others stay; pixels of an older pipeline go whatever they show; a dry run only counts."""
    kept, dead = home.blobs.put(b"kept"), home.blobs.put(b"dead")
    for spec in ("old", "new"):
        for sha256 in (kept, dead):
            home.pixels(spec).put(sha256, PIXELS)
    age(home, days=2)
    expected = {"blobs": (1, 4), "pixels": (3, 3 * PIXELS.nbytes)}
    assert gc(home, kept, dry_run=True) == expected
    assert home.blobs.exists(dead)
    assert gc(home, kept) == expected
    assert (home.blobs.exists(kept), home.blobs.exists(dead)) == (True, False)
    assert home.pixels("new").get(kept) is not None
    assert gc(home, kept) == {}


def test_what_a_run_may_have_just_written_stays(home: Home) -> None:
    """A day has to pass; bytes that are stored again are young again."""
    dead = home.blobs.put(b"dead")
    home.vectors(FINGERPRINT).append([dead], vector_of(dead)[None])
    age(home, hours=23)
    assert gc(home) == {}
    age(home, days=2)
    home.blobs.put(b"dead")
    assert gc(home).keys() == {"vectors"}
    assert home.blobs.exists(dead)


def test_left_over_files_of_killed_runs_go(home: Home) -> None:
    """Temporary names are removed wherever they lie, and nothing that merely looks odd."""
    names = ["tables/raw_products/.a.parquet.0a1b2c3d.tmp", "blobs/aa/.x.tmp", ".home.json.x.tmp", "vectors/f/.p.tmp"]
    for name in [*names, "tables/raw_products/a.parquet", "notes.tmp"]:
        path = Path(str(home.root / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12")
    age(home, days=2)
    assert gc(home) == {"temporary": (4, 8)}
    assert (home.root / "notes.tmp").exists()


def test_vectors_go_with_their_file_or_out_of_it(home: Home) -> None:
    """A part without a used vector is removed, a mostly unused one is rewritten, and every other vector keeps its place."""
    vectors = home.vectors(FINGERPRINT)
    names = [sha256_hex(bytes([number])) for number in range(9)]
    parts = [names[:3], names[3:6], names[6:]]
    places = {
        name: place
        for part in parts
        for name, place in zip(part, vectors.append(part, np.stack([vector_of(name) for name in part])), strict=True)
    }
    age(home, days=2)
    kept = [names[5], *names[6:8]]  # of the parts none, one of three, and two of three
    files, size = gc(home, *kept)["vectors"]
    assert files == 1
    assert size > 3 * 768 * 4
    index = vectors.index()
    assert index == {name: places[name] for name in [names[5], *names[6:]]}
    assert np.array_equal(vectors.load([places[name] for name in kept]), np.stack([vector_of(name) for name in kept]))
    with pytest.raises(DamagedFile, match="purged"):
        vectors.load([places[names[4]]])
    age(home, days=2)
    assert gc(home, *kept) == {}


def test_vectors_of_a_model_that_nothing_uses_go(home: Home) -> None:
    """Unless it is just being tried: then the youngest file keeps them all."""
    for _ in range(2):
        home.vectors("a" * 16).append([sha("kept")], vector_of("0" * 8)[None])
    age(home, days=2)
    assert gc(home, sha("kept"), fingerprints={"a" * 16}) == {}
    home.vectors("a" * 16).append([sha("kept")], vector_of("0" * 8)[None])
    young = next((home.root / "vectors" / ("a" * 16)).iterdir())
    os.utime(str(young), (NOW.timestamp(), NOW.timestamp()))
    assert gc(home, sha("kept")) == {}
    age(home, days=2)
    assert gc(home, sha("kept"))["vectors"][0] == 3


def test_a_part_that_cannot_be_read_is_left_alone(home: Home) -> None:
    """What is damaged, or merely cannot be reached at the moment, is nobody's to remove unseen."""
    (part,) = {place.part for place in home.vectors(FINGERPRINT).append([sha("x")], vector_of(sha("x"))[None])}
    path = home.root / "vectors" / FINGERPRINT / f"{part}.parquet"
    path.write_bytes(b"x")
    age(home, days=2)
    assert gc(home) == {}
    assert path.exists()


def test_every_digest_that_a_table_names_is_referred_to(home: Home) -> None:
    """Published, older and rejected images count, of every store that has a table."""
    shop = Shop(home.vectors(FINGERPRINT)).add(product("1"), product("2"))
    shop.bytes_of["1-0"], shop.older["1-0"] = "a", ("b", "c")
    shop.save(home)
    write_table(home.table("embeddings", "other"), shop.tables()["embeddings"], EmbeddedImage)
    assert referred(home, shop.store.id) == {sha(name) for name in ("a", "b", "c", "2-0")}
    assert stores_with_tables(home) == (shop.store.id, "other")
    home.table("quality_passed", shop.store.id).write_bytes(b"x")
    with pytest.raises(DamagedFile):
        referred(home, shop.store.id)


def test_forgotten_vectors_are_not_found_and_the_others_are(home: Home) -> None:
    """Other places stay valid; a part without any vector is removed."""
    vectors = home.vectors(FINGERPRINT)
    names = [sha(name) for name in "abc"]
    places = vectors.append(names, np.stack([vector_of(name) for name in names]))
    assert vectors.forget([names[1], sha("unknown")]) == 1
    assert vectors.index() == {names[0]: places[0], names[2]: places[2]}
    assert np.array_equal(vectors.load([places[2]])[0], vector_of(names[2]))
    assert places[0] == VectorRef(places[0].part, 0)
    assert vectors.forget(names) == 2
    assert list(vectors.root.iterdir()) == []
