"""References to the bytes of images, from the stage tables of every store."""

from __future__ import annotations

from collections.abc import Iterator

from fashion_pipeline.records import EmbeddedImage, FetchedImage, JudgedImage
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table


def stores_with_tables(home: Home) -> tuple[str, ...]:
    """Return the stores that have a table in a home, listed in ``stores.yaml`` or not."""
    folder = home.root / "tables"
    if not folder.exists():
        return ()
    return tuple(sorted({path.stem for asset in folder.iterdir() for path in asset.glob("*.parquet")}))


def referred(home: Home, store_id: str) -> frozenset[str]:
    """Return the digests of all bytes that a store's tables name: of published, older, accepted and rejected images.

    Raises:
        DamagedFile: a table cannot be read, so it is unknown which bytes it names.
    """
    return frozenset(_named(home, store_id))


def model_of(home: Home, store_id: str) -> str:
    """Return the fingerprint of the model of a store's vectors; ``""`` for none."""
    table = read_table(home.table("embeddings", store_id), EmbeddedImage)
    return "" if table is None else table.metadata.get("fingerprint", "")


def _named(home: Home, store_id: str) -> Iterator[str]:
    fetched = read_table(home.table("fetched_images", store_id), FetchedImage)
    for row in fetched.rows if fetched is not None else ():
        yield from names(row)
    judged = read_table(home.table("quality_passed", store_id), JudgedImage)
    for verdict in judged.rows if judged is not None else ():
        yield verdict.sha256


def names(row: FetchedImage) -> Iterator[str]:
    """Yield the digests that an image's row names."""
    yield from (sha256 for sha256 in (row.sha256, row.last_good_sha256, *row.older_sha256s) if sha256 is not None)
