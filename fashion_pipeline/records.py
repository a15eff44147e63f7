"""The values that stages exchange: products, images, and the rows of the four stage tables.

A table is a stage's output for one store. Its rows are frozen dataclasses; ``storage`` writes them
to Parquet and reads them back. ``SCHEMA_VERSION`` is the version of the columns: files of a newer
version are refused, and a column that an older file lacks takes its field's default, so every new
field needs one.
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
    """One stage's output for one store.

    Attributes:
        rows: the rows, frozen dataclasses of one type.
        metadata: what the stage remembers beside its rows, for instance a cursor.
    """

    rows: tuple[Row_co, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the shop lists it.

    Attributes:
        image_id: The shop's own id of the image.
        url: The image's address, as entered in the shop.
        position: The place in the product's gallery; 0 is the primary image.
        modified_at: When the shop last changed the image; None if it gives no date.
        variation_ids: The variations that the shop shows with this image; not read with ``images: primary``.
    """

    image_id: str
    url: str
    position: int
    modified_at: datetime | None = None
    variation_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """A product that the shop has or had, as last seen.

    Attributes:
        external_id: The shop's own id of the product.
        kind: WooCommerce's product type: simple, variable, grouped, external, or a plugin's own.
        status: WooCommerce's status: publish, draft, pending, private, future or trash.
        title: The product's name, as plain text.
        description: The product's description, as plain text.
        price_text: The price as the shop wrote it; empty if there is none.
        price: The price, rounded half-up to 2 places; None if it cannot be read.
        currency: The price's currency, as three capital letters.
        product_url: The address of the product's page.
        in_stock: Whether the shop can sell it at present.
        password_protected: Whether the shop protects the product with a password.
        categories: The names of its categories, in the shop's order.
        images: Its images, as the shop lists them.
        created_in_shop_at: When it was created in the shop; None if the shop gives no date.
        modified_in_shop_at: When it was last changed in the shop; None if the shop gives no date.
        content_hash: The hex SHA-256 of all content that can change a row, a payload or an image.
        first_seen_at: When this pipeline first saw it; becomes the row's ``created_at``.
        last_seen_at: When this pipeline last saw it in the shop.
        outcome: Whether the product may be published, and why not.
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
    """Return what is kept of a purged product: its id, and the dates that reading the shop's listings needs."""
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
    """An image of a publishable product, and the digest of its stored bytes.

    Attributes:
        external_id: The shop's own id of the product.
        image_id: The shop's own id of the image.
        position: The place in the product's gallery; 0 is the primary image.
        url: The image's address, as the shop lists it.
        image_modified_at: When the shop last changed the image; None if it gives no date.
        sha256: The hex SHA-256 of the bytes now at ``url``; None until they are fetched.
        last_good_sha256: The hex SHA-256 of the bytes used while ``url`` fails: the image's last good ones,
            or those of the product's previous primary image.
        size_bytes: The size of the bytes at ``url``; for a file over the limit, its least possible size.
        etag: The host's ETag header, for conditional requests.
        last_modified: The host's Last-Modified header, for conditional requests.
        checked_at: When the host last delivered, confirmed or refused the bytes.
        outcome: Whether the image was fetched, and why not.
        older_sha256s: The digests used before ``sha256``, newest first; one of them stays in search while
            ``sha256`` cannot be judged.
        doubtful_since: When the host began to send replies that a host in trouble sends, such as endless
            redirects; None after a good reply.
        doubted_sha256: The hex SHA-256 of such a reply's bytes, which the host sent for several images.
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
    doubtful_since: datetime | None = None
    doubted_sha256: str | None = None

    @property
    def shown_sha256(self) -> str | None:
        """The digest of the bytes to use: the image's own, or its last good ones while fetching fails."""
        if self.outcome.ok:
            return self.sha256
        return self.last_good_sha256 if self.outcome.status is Status.FAILED else None

    @property
    def history(self) -> tuple[str, ...]:
        """The digests of the bytes to use and of those used before them, newest first."""
        known = dict.fromkeys((self.shown_sha256, *self.older_sha256s))
        return tuple(sha256 for sha256 in known if sha256 is not None)

    @property
    def stale(self) -> bool:
        """Whether older bytes are used because the image cannot be fetched at present."""
        return not self.outcome.ok and self.shown_sha256 is not None


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """An image's measurements, taken once, and the verdict of the store's thresholds on them.

    Attributes:
        sha256: The hex SHA-256 of the image's bytes.
        size_bytes: The size of the file.
        width: The width in pixels, after EXIF orientation; 0 if the header cannot be read.
        height: The height in pixels, after EXIF orientation; 0 if the header cannot be read.
        image_format: The file's format, by its content: JPEG, PNG, WEBP, GIF, AVIF or another; empty if unknown.
        animated: Whether more frames follow the first one, which is the one used.
        transparent: Whether some pixel is not opaque.
        sharpness: The variance of the Laplacian of the grey image scaled to at most 500 px; None if not measured.
        problem: The reason that ended measuring early, for instance ``truncated``; None if there is none.
        problem_detail: The figures or the error of ``problem``, for people.
        measured_with: The version of the measuring code.
        outcome: Whether the image passed the thresholds, and why not.
        edge_blur_px: The blur of the sharper edges as the standard deviation of a Gaussian, in pixels of the
            image scaled to at most 2,000 px; None if not measured.
        perceptual_hash: 64 bits in hex; equal in most bits for copies at other sizes; empty if not measured.
        mirrored_hash: The perceptual hash of the image mirrored left to right; empty if not measured.
        colours: Shares of 8 hues x 3 saturations x 3 values in the centre, 10,000 in all; empty if not measured.
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
    edge_blur_px: float | None = None
    perceptual_hash: str = ""
    mirrored_hash: str = ""
    colours: tuple[int, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether a decoder failed on these bytes, so that there is no verdict yet."""
        return self.outcome.status is Status.FAILED and Reason.BLOB_MISSING not in self.outcome.reasons


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """Where the vector of an image is stored.

    Attributes:
        sha256: The hex SHA-256 of the image's bytes.
        fingerprint: The model's fingerprint; vectors of different fingerprints never mix.
        part: The append-only Parquet part that holds the vector; empty if there is none.
        index: The vector's row in that part; -1 if there is none.
        outcome: Whether the image was embedded, and why not.
    """

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
