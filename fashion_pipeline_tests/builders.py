"""Records, stage tables and checkpoints for tests: everything that a room reads and another room wrote."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from upath import UPath

from fashion_pipeline.outcomes import OK, Outcome, Reason, rejected
from fashion_pipeline.records import TABLES, EmbeddedImage, FetchedImage, Image, JudgedImage, Product, Table
from fashion_pipeline.sinks.desired import Desired, desired_state
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.stage_tables import StageTables
from fashion_pipeline.storage.tables import write_table
from fashion_pipeline.storage.vectors import VectorRef, Vectors
from fashion_pipeline.stores import Store
from fashion_pipeline_tests.clock import MONDAY

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FINGERPRINT = "f" * 16


def store(store_id: str = "atelier-nord", **changes: Any) -> Store:
    """Return a store with keys made up for the test."""
    values = {"id": store_id, "url": "https://shop.example", "consumer_key": "k", "consumer_secret": "s"}
    return Store.model_validate({**values, **changes})


def local_store(url: str = "https://shop.test", **changes: Any) -> Store:
    """Return a store that may reach this machine."""
    return store("a", **{"url": url, "allow_private_hosts": ("127.0.0.1",), **changes})


def sha(text: str) -> str:
    """Return the digest that stands for an image's bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


AVAILABILITY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("price", {"price_text": "17.50", "price": Decimal("17.50")}),
    ("currency", {"currency": "CHF"}),
    ("stock", {"in_stock": False}),
    ("categories", {"categories": ("Dresses", "Hats & Caps")}),
)
"""The most frequent changes in a shop, by name, with the changed fields; no image is involved."""


def image(url: str, *, image_id: str = "1", position: int = 0, modified_at: datetime | None = MONDAY) -> Image:
    """Return an image as a shop lists it."""
    return Image(image_id, url, position, modified_at)


def product(external_id: str, *images: Image, pictures: int = 1, **changes: Any) -> Product:
    """Return a publishable product with these images; without any, with ``pictures`` images of its own."""
    own = (Image(f"{external_id}-{n}", f"https://cdn.example/{external_id}/{n}.jpg", n) for n in range(pictures))
    whole = Product(
        external_id=external_id,
        kind="simple",
        status="publish",
        title=f"Dress {external_id}",
        description="",
        price_text="19.90",
        price=Decimal("19.90"),
        currency="EUR",
        product_url=f"https://shop.example/{external_id}",
        in_stock=True,
        password_protected=False,
        categories=("Dresses",),
        images=images or tuple(own),
        created_in_shop_at=NOW,
        modified_in_shop_at=NOW,
        content_hash=sha(external_id),
        first_seen_at=NOW,
        last_seen_at=NOW,
    )
    return replace(whole, **changes)


FETCHED = FetchedImage(
    external_id="1",
    image_id="1",
    position=0,
    url="https://shop.test/a.jpg",
    image_modified_at=MONDAY,
    sha256="a" * 64,
    last_good_sha256="a" * 64,
    size_bytes=100,
    etag='"1"',
    last_modified=None,
    checked_at=MONDAY,
    outcome=OK,
)


def fetched(**changes: Any) -> FetchedImage:
    """Return an image's row: fetched on Monday, with changes."""
    return replace(FETCHED, **changes)


@dataclass
class Shop:
    """The four tables of one store, small and easy to change; every image passes unless a field below changes that.

    Attributes:
        bytes_of: the name of an image's bytes, by its id; ``""`` for an image that has none.
        older: what named the bytes it had before, newest first.
    """

    vectors: Vectors
    store: Store = field(default_factory=store)
    fingerprint: str = FINGERPRINT
    products: dict[str, Product] = field(default_factory=dict)
    bytes_of: dict[str, str] = field(default_factory=dict)
    older: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fetched: dict[str, Outcome] = field(default_factory=dict)
    judged: dict[str, Outcome] = field(default_factory=dict)
    embedded: dict[str, VectorRef] = field(default_factory=dict)

    def add(self, *products: Product) -> Shop:
        """Put products in, new or changed."""
        self.products.update((item.external_id, item) for item in products)
        return self

    def trash(self, *external_ids: str) -> Shop:
        """Let the shop move products to the trash."""
        for external_id in external_ids:
            self.products[external_id] = replace(self.products[external_id], outcome=rejected(Reason.TRASHED))
        return self

    def desired(self) -> Desired:
        """Embed what has no vector, and decide."""
        return desired_state(store=self.store, tables=StageTables.of(self.tables()))

    def save(self, home: Home) -> Desired:
        """Leave the tables in a home, as a run does, and decide."""
        for asset, table in self.tables().items():
            write_table(home.table(asset, self.store.id), table, TABLES[asset])
        return self.desired()

    def tables(self) -> dict[str, Table[Any]]:
        """Embed what has no vector, and return the four tables."""
        fetched = tuple(self._fetched())
        passing = {sha256 for row in fetched for sha256 in (row.sha256, *row.older_sha256s) if sha256 is not None}
        self._embed(sorted(passing - self.embedded.keys()))
        return {
            "raw_products": Table(tuple(self.products.values())),
            "fetched_images": Table(fetched),
            "quality_passed": Table(tuple(_judged(sha256, self.judged.get(sha256, OK)) for sha256 in sorted(passing))),
            "embeddings": Table(
                tuple(
                    EmbeddedImage(sha256, self.fingerprint, place.part, place.index)
                    for sha256, place in self.embedded.items()
                ),
                {"fingerprint": self.fingerprint},
            ),
        }

    def _fetched(self) -> Iterable[FetchedImage]:
        for item in self.products.values():
            for image in item.images:
                named = self.bytes_of.get(image.image_id, image.image_id)
                sha256 = sha(named) if named else None
                outcome = self.fetched.get(image.image_id, OK)
                yield FetchedImage(
                    external_id=item.external_id,
                    image_id=image.image_id,
                    position=image.position,
                    url=image.url,
                    image_modified_at=None,
                    sha256=sha256,
                    last_good_sha256=sha256,
                    size_bytes=60_000,
                    etag=None,
                    last_modified=None,
                    checked_at=NOW,
                    outcome=outcome,
                    older_sha256s=tuple(sha(older) for older in self.older.get(image.image_id, ())),
                )

    def _embed(self, sha256s: list[str]) -> None:
        if sha256s:
            vectors = np.stack([vector_of(sha256) for sha256 in sha256s])
            self.embedded.update(zip(sha256s, self.vectors.append(sha256s, vectors), strict=True))


def shop(directory: Path, count: int = 0, **options: Any) -> Shop:
    """Return a shop of ``count`` products, numbered from 1."""
    made = Shop(Vectors(UPath(directory / "vectors")), **options)
    return made.add(*(product(str(number)) for number in range(1, count + 1)))


def vector_of(sha256: str) -> np.ndarray:
    """Return the ``float32[768]`` of length 1 that stands for some bytes."""
    drawn = np.random.default_rng(int(sha256[:8], 16)).standard_normal(768).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def _judged(sha256: str, outcome: Outcome) -> JudgedImage:
    return JudgedImage(
        sha256=sha256,
        size_bytes=60_000,
        width=800,
        height=800,
        image_format="JPEG",
        animated=False,
        transparent=False,
        sharpness=200.0,
        problem=None,
        problem_detail="",
        measured_with=1,
        outcome=outcome,
    )


def another_checkpoint(model: str, directory: Path, factor: float = 1.5) -> str:
    """Copy a ``local-dir:`` checkpoint with other weights, and return the copy's name."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model.removeprefix("local-dir:"), directory)
    weights = load_file(directory / "open_clip_model.safetensors")
    for name in weights:
        weights[name] *= factor
    save_file(weights, directory / "open_clip_model.safetensors")
    return f"local-dir:{directory}"
