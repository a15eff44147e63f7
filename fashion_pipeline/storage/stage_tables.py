"""The four stage tables of one store as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fashion_pipeline.errors import StorageError
from fashion_pipeline.records import TABLES, EmbeddedImage, FetchedImage, JudgedImage, Product, Table
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table

_EMPTY: Table[Any] = Table(())


@dataclass(frozen=True, slots=True)
class StageTables:
    """What the stages produced for one store.

    Attributes:
        products: The table of ``raw_products``; the others are those of the stages after it.
        missing: The assets without a table; theirs are empty here.
    """

    products: Table[Product] = _EMPTY
    images: Table[FetchedImage] = _EMPTY
    judged: Table[JudgedImage] = _EMPTY
    embedded: Table[EmbeddedImage] = _EMPTY
    missing: tuple[str, ...] = ()

    @classmethod
    def read(cls, home: Home, store_id: str) -> StageTables:
        """Read a store's tables.

        Raises:
            DamagedFile: one cannot be read.
            TableTooNew: a newer version of this package wrote one.
        """
        found = {asset: read_table(home.table(asset, store_id), row) for asset, row in TABLES.items()}
        return cls.of({asset: table for asset, table in found.items() if table is not None})

    @classmethod
    def of(cls, tables: dict[str, Table[Any]]) -> StageTables:
        """Return tables given by their assets' names."""
        return cls(
            products=tables.get("raw_products", _EMPTY),
            images=tables.get("fetched_images", _EMPTY),
            judged=tables.get("quality_passed", _EMPTY),
            embedded=tables.get("embeddings", _EMPTY),
            missing=tuple(sorted(asset for asset in TABLES if asset not in tables)),
        )

    @property
    def fingerprint(self) -> str:
        """The model that the vectors are of; ``""`` before the first embedding."""
        return self.embedded.metadata.get("fingerprint", "")

    @property
    def model_name(self) -> str:
        """The value of ``FASHION_MODEL`` when the vectors were made; ``""`` if it was not recorded."""
        return self.embedded.metadata.get("model", "")

    def complete(self, store_id: str) -> StageTables:
        """Return these tables if none is missing: what a missing table lacks must not be removed from the sinks.

        Raises:
            StorageError: one is missing.
        """
        if self.missing:
            msg = f"there is no table of {', '.join(self.missing)}"
            raise StorageError(msg, store_id=store_id, advice=f"run fashion-pipeline ingest {store_id} first")
        return self

    def with_products(self, products: Table[Product]) -> StageTables:
        """Return these tables with another table of products."""
        return replace(self, products=products)
