"""The values that travel: products, pictures, and the rows of the four stage tables.

A table is what a stage has made of one store. Its rows are frozen dataclasses; ``storage`` turns
them into Parquet and back. ``SCHEMA_VERSION`` names the shape: files of a newer one are refused,
and a column that an older file lacks takes its field's default, so a new field needs one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from fashion_pipeline.outcomes import OK, Outcome, Reason, Status, rejected

SCHEMA_VERSION = 1

VECTOR_SIZE = 768

Row_co = TypeVar("Row_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Table(Generic[Row_co]):
    """One stage's output for one store: its rows, and what is to be remembered beside them."""

    rows: tuple[Row_co, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as the shop lists it: ``position`` 0 is the primary one.

    ``variation_ids`` are the variations that the shop shows with it; with ``images: primary`` they are not read.
    """

    image_id: str
    url: str
    position: int
    modified_at: datetime | None = None
    variation_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """A product the shop has or had, as of the last time it was seen.

    Attributes:
        external_id: the shop's own id.
        status: WooCommerce's: publish, draft, pending, private, future, trash.
        price_text: the price as the shop wrote it, ``""`` for none.
        price: ``price_text`` read, rounded half-up to 2 places; None where it cannot be.
        currency: three capital letters.
        content_hash: hex SHA-256 of everything here that can change a row, a payload or a picture.
        first_seen_at: when this pipeline first saw it; the row's ``created_at``.
        outcome: whether it may be published, by the gate.
    """

    external_id: str
    kind: str
    status: str
    title: str
    description: str
    price_text: str
    price: Decimal | None
    currency: str
    product_url: str
    in_stock: bool
    password_protected: bool
    categories: tuple[str, ...]
    images: tuple[Image, ...]
    created_in_shop_at: datetime | None
    modified_in_shop_at: datetime | None
    content_hash: str
    first_seen_at: datetime
    last_seen_at: datetime
    outcome: Outcome = OK


def redacted(product: Product) -> Product:
    """Return what is kept of a purged product: its id, and the dates by which the shop's listings are read."""
    return replace(
        product,
        title="",
        description="",
        price_text="",
        price=None,
        product_url="",
        in_stock=False,
        password_protected=False,
        categories=(),
        images=(),
        content_hash="",
        outcome=rejected(Reason.PURGED),
    )


def is_redacted(product: Product) -> bool:
    """Whether a product was purged."""
    return Reason.PURGED in product.outcome.reasons


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """A picture of a publishable product, and where its bytes are.

    Attributes:
        sha256: hex digest of the bytes now behind ``url``; None until they were fetched.
        last_good_sha256: the last bytes this picture had, or the one that was its product's first before
            it; what is shown while ``url`` fails.
        etag, last_modified: the host's validators, for conditional requests.
        checked_at: when the host last confirmed or delivered the bytes, or refused them.
        older_sha256s: the bytes shown before ``sha256``, newest first: they stay in search while what is
            now behind ``url`` cannot be judged for the moment.
    """

    external_id: str
    image_id: str
    position: int
    url: str
    image_modified_at: datetime | None
    sha256: str | None
    last_good_sha256: str | None
    size_bytes: int | None
    etag: str | None
    last_modified: str | None
    checked_at: datetime | None
    outcome: Outcome
    older_sha256s: tuple[str, ...] = ()

    @property
    def shown_sha256(self) -> str | None:
        """The bytes that stand for this picture: its own, or while it only fails, its last good."""
        if self.outcome.ok:
            return self.sha256
        return self.last_good_sha256 if self.outcome.status is Status.FAILED else None

    @property
    def history(self) -> tuple[str, ...]:
        """The bytes that stand for this picture, and those that did before them, newest first."""
        known = dict.fromkeys((self.shown_sha256, *self.older_sha256s))
        return tuple(sha256 for sha256 in known if sha256 is not None)

    @property
    def stale(self) -> bool:
        """Whether older bytes stand in for a picture that cannot be fetched at the moment."""
        return not self.outcome.ok and self.shown_sha256 is not None


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """Some bytes, measured once, and the verdict of the store's thresholds on the measurements.

    Attributes:
        width, height: pixels, after EXIF orientation; 0 where the header could not be read.
        sharpness: variance of the Laplacian of the grey image scaled to at most 500 px.
        problem: the reason that ended the measuring early, for instance ``truncated``.
        measured_with: version of the measuring code.
    """

    sha256: str
    size_bytes: int
    width: int
    height: int
    image_format: str
    animated: bool
    transparent: bool
    sharpness: float | None
    problem: str | None
    problem_detail: str
    measured_with: int
    outcome: Outcome

    @property
    def undecided(self) -> bool:
        """Whether a decoder failed on these bytes, so that nothing is known of them yet."""
        return self.outcome.status is Status.FAILED and Reason.BLOB_MISSING not in self.outcome.reasons


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """Where the vector of some bytes lies: row ``index`` of the append-only part ``part``."""

    sha256: str
    fingerprint: str
    part: str
    index: int
    outcome: Outcome = OK


TABLES: Mapping[str, type] = {
    "raw_products": Product,
    "fetched_images": FetchedImage,
    "quality_passed": JudgedImage,
    "embeddings": EmbeddedImage,
}
