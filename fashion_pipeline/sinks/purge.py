"""Remove a product, or a whole store, from everywhere, so that nothing brings it back.

The tombstone is written first. The tables, which list what there is to remove, are changed last: a
purge that is killed leaves a record of what remains, and the next call finishes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import TABLES, Product, Table, is_redacted, redacted
from fashion_pipeline.sinks.access import Sinks
from fashion_pipeline.sinks.desired import ProductOutcome, product_id
from fashion_pipeline.sinks.outcomes import publish_outcome
from fashion_pipeline.sinks.postgres.queries import has_row, purge_rows
from fashion_pipeline.sinks.postgres.tombstones import set_tombstone
from fashion_pipeline.sinks.qdrant.points import has_points, purge_points
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.references import names, referred, stores_with_tables
from fashion_pipeline.storage.tables import read_table, write_table


@dataclass(frozen=True, slots=True)
class Purged:
    """What one purge removed.

    Attributes:
        shared: images whose bytes stay, because another product or store uses them too.
    """

    rows: int = 0
    points: int = 0
    pictures: int = 0
    bytes: int = 0
    vectors: int = 0
    tables: int = 0
    shared: int = 0

    def as_json(self) -> dict[str, int]:
        """Return what ``purge --json`` prints."""
        return asdict(self)


async def purge_store(sinks: Sinks, store_id: str, *, now: datetime) -> Purged:
    """Remove everything of a store; the caller holds its lock.

    Raises:
        DamagedFile: a store's table cannot be read, so it is unknown which bytes it still uses.
        DatabaseError, VectorStoreError: a sink cannot be reached; call this again.
    """
    await set_tombstone(sinks.engine, store_id, None, now=now)
    own = referred(sinks.home, store_id)
    elsewhere = _elsewhere(sinks.home, store_id)
    with sinks.qdrant() as client:
        points = purge_points(client, store_id)
    rows = await purge_rows(sinks.engine, store_id)
    done = _remove_files(sinks.home, own, elsewhere)
    tables = 0
    for asset in TABLES:
        path = sinks.home.table(asset, store_id)
        if path.exists():
            path.unlink()
            tables += 1
    return replace(done, rows=rows, points=points, tables=tables)


async def purge_product(sinks: Sinks, store_id: str, external_id: str, *, now: datetime) -> Purged:
    """Remove everything of a product except its id; see ``purge_store`` for the errors."""
    await set_tombstone(sinks.engine, store_id, external_id, now=now)
    home = sinks.home
    tables = {asset: read_table(home.table(asset, store_id), row) for asset, row in TABLES.items()}
    fetched = tables["fetched_images"] or Table(())
    own = {sha256 for row in fetched.rows if row.external_id == external_id for sha256 in names(row)}
    others = {sha256 for row in fetched.rows if row.external_id != external_id for sha256 in names(row)}
    elsewhere = others | _elsewhere(home, store_id)
    identity = product_id(store_id, external_id)
    ids = _point_ids(identity, external_id, tables["raw_products"] or Table(()), fetched)
    with sinks.qdrant() as client:
        points = purge_points(client, store_id, product=identity, ids=ids)
    rows = await purge_rows(sinks.engine, store_id, external_id)
    await publish_outcome(sinks.engine, _purged_outcome(store_id, external_id), now=now)
    done = _remove_files(home, own, elsewhere)
    gone = own - others
    for asset, table in tables.items():
        if table is not None:
            remaining = Table(tuple(_remaining(table.rows, external_id, gone)), table.metadata)
            if remaining != table:
                write_table(home.table(asset, store_id), remaining, TABLES[asset])
    return replace(done, rows=rows, points=points)


async def is_known(sinks: Sinks, store_id: str, external_id: str) -> bool:
    """Whether any table or sink holds anything of a product."""
    table = read_table(sinks.home.table("raw_products", store_id), Product) or Table(())
    if any(row.external_id == external_id for row in table.rows):
        return True
    if await has_row(sinks.engine, store_id, external_id):
        return True
    with sinks.qdrant() as client:
        return has_points(client, product_id(store_id, external_id))


async def restore(sinks: Sinks, store_id: str, external_id: str) -> bool:
    """Make the next sweep find a purged product as a new one; return whether it was redacted."""
    path = sinks.home.table("raw_products", store_id)
    table: Table[Product] = read_table(path, Product) or Table(())
    rows = tuple(row for row in table.rows if row.external_id != external_id or not is_redacted(row))
    if len(rows) == len(table.rows):
        return False
    write_table(path, Table(rows, table.metadata), Product)
    return True


def _remaining(rows: Iterable[Any], external_id: str, gone: Collection[str]) -> Iterable[Any]:
    """Yield a table's rows without those of a product; its own row is redacted."""
    for row in rows:
        if isinstance(row, Product):
            yield redacted(row) if row.external_id == external_id else row
        elif getattr(row, "external_id", None) != external_id and getattr(row, "sha256", None) not in gone:
            yield row


def _point_ids(identity: UUID, external_id: str, products: Table[Product], fetched: Table[Any]) -> frozenset[UUID]:
    image_ids = {row.image_id for row in fetched.rows if row.external_id == external_id}
    image_ids |= {image.image_id for row in products.rows if row.external_id == external_id for image in row.images}
    return frozenset({identity, *(uuid5(identity, image_id) for image_id in image_ids)})


def _purged_outcome(store_id: str, external_id: str) -> ProductOutcome:
    return ProductOutcome(
        store_id=store_id,
        external_id=external_id,
        product_id=product_id(store_id, external_id),
        title="",
        stage="raw_products",
        status=Status.REJECTED,
        reasons=(Reason.PURGED,),
    )


def _elsewhere(home: Home, store_id: str) -> frozenset[str]:
    """Return the digests of all bytes that other stores use."""
    return frozenset().union(*(referred(home, other) for other in stores_with_tables(home) if other != store_id))


def _remove_files(home: Home, own: AbstractSet[str], elsewhere: AbstractSet[str]) -> Purged:
    """Remove bytes, pixels and vectors that nothing else uses."""
    gone = own - elsewhere
    removed = size = 0
    for sha256 in sorted(gone):
        freed = home.blobs.remove(sha256)
        removed, size = removed + (freed is not None), size + (freed or 0)
        for pixels in home.all_pixels():
            pixels.drop([sha256])
    vectors = sum(stored.forget(gone) for stored in home.all_vectors())
    return Purged(pictures=removed, bytes=size, vectors=vectors, shared=len(own & elsewhere))
