"""The desired state of both sinks for one store, and every product's outcome: a function of the stage tables.

A product is desired when it may be published, its primary image passed the quality gate and that image
has a vector. Then it has a row in PostgreSQL and, under the same id, a point in
Qdrant; with ``images: all`` each further image that came as far has its own point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from fashion_pipeline.outcomes import GONE, Outcome, Reason, Status
from fashion_pipeline.records import FetchedImage, Product, Table
from fashion_pipeline.sinks.image_progress import ImageProgress, ImageStages
from fashion_pipeline.storage.files import digest, sha256_hex
from fashion_pipeline.storage.stage_tables import StageTables
from fashion_pipeline.storage.vectors import VectorRef
from fashion_pipeline.stores import Store

NAMESPACE = uuid5(NAMESPACE_URL, "fashion-pipeline")
"""Every id of this pipeline is made from this one; changing it would make every product a new one."""


@dataclass(frozen=True, slots=True)
class DesiredPoint:
    """One image's point.

    Attributes:
        point_id: The point's id: the product's for its primary image, else made of both ids.
        product_id: The product's id, the same as in PostgreSQL.
        place: Where its vector is stored.
        sha256: The hex SHA-256 of the image's bytes.
        payload: JSON values, ``point_hash`` among them.
        point_hash: The hex SHA-256 of the rest of the payload, which names the image and the model too.
    """

    point_id: UUID
    product_id: UUID
    place: VectorRef
    sha256: str
    payload: Mapping[str, Any]
    point_hash: str


@dataclass(frozen=True, slots=True)
class DesiredProduct:
    """One product's row, and its points, the primary image's first.

    Attributes:
        id: The product's id, made of the store's and the shop's; the same in both sinks.
        store_id: The store's id in stores.yaml.
        external_id: The shop's own id of the product.
        title: The product's name, as plain text.
        description: The product's description, as plain text.
        price: The price, to 2 places.
        currency: The price's currency, as three capital letters.
        image_url: The address of the primary image.
        product_url: The address of the product's page.
        in_stock: Whether the shop can sell it at present.
        categories: The names of its categories, in the shop's order.
        image_sha256: The hex SHA-256 of the primary image's bytes.
        stale: Whether an older image is shown because the newest one cannot be used at present.
        created_at: When this pipeline first saw the product.
        points: Its points in Qdrant.
    """

    id: UUID
    store_id: str
    external_id: str
    title: str
    description: str
    price: Decimal
    currency: str
    image_url: str
    product_url: str
    in_stock: bool
    categories: tuple[str, ...]
    image_sha256: str
    stale: bool
    created_at: datetime
    points: tuple[DesiredPoint, ...] = ()

    @property
    def row_hash(self) -> str:
        """Hex SHA-256 of everything the row holds."""
        values = {name: getattr(self, name) for name in ROW_FIELDS}
        return sha256_hex(_canonical(values))


ROW_FIELDS = tuple(name for name in DesiredProduct.__dataclass_fields__ if name != "points")


@dataclass(frozen=True, slots=True)
class ProductOutcome:
    """How far one product came, why it stopped there, and when it is tried again.

    Attributes:
        stage: the asset it stopped at; ``postgres_products`` if it is published.
        reasons: of the status; a product with status ok and reasons shows an older image, or it or its
            variations cannot be read at present.
        in_postgres, in_qdrant: whether the sinks have it; each sink writes its own.
    """

    store_id: str
    external_id: str
    product_id: UUID
    title: str
    stage: str
    status: Status
    reasons: tuple[Reason, ...] = ()
    detail: str = ""
    attempts: int = 0
    next_retry_at: datetime | None = None
    image_sha256: str | None = None
    in_postgres: bool = False
    in_qdrant: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether the product is gone, and nobody is waited for to agree to that."""
        return bool(GONE & set(self.reasons)) and Reason.AWAITING_CONSENT not in self.reasons


@dataclass(frozen=True)
class Desired:
    """What one store's part of the sinks should be."""

    products: tuple[DesiredProduct, ...]
    outcomes: tuple[ProductOutcome, ...]

    @cached_property
    def points(self) -> tuple[DesiredPoint, ...]:
        """Every point of every product."""
        return tuple(point for product in self.products for point in product.points)

    @cached_property
    def rows_digest(self) -> str:
        """Equal for equal rows."""
        return digest((str(product.id), product.row_hash) for product in self.products)

    @cached_property
    def points_digest(self) -> str:
        """Equal for equal points."""
        return digest((str(point.point_id), point.point_hash) for point in self.points)


def product_id(store_id: str, external_id: str) -> UUID:
    """Return a product's id, the same in both sinks and for ever."""
    return uuid5(NAMESPACE, f"{store_id}/{external_id}")


def desired_state(*, store: Store, tables: StageTables) -> Desired:
    """Decide what the sinks should hold; every product gets exactly one outcome."""
    return _Decision(store, tables).of(tables.products)


class _Decision:
    def __init__(self, store: Store, tables: StageTables) -> None:
        self.store = store
        self.fingerprint = tables.fingerprint
        self.images = ImageStages(tables)

    def of(self, products: Table[Product]) -> Desired:
        wanted: list[DesiredProduct] = []
        outcomes: list[ProductOutcome] = []
        for product in products.rows:
            primary = self._primary(product)
            desired = self._desired(product, primary)
            if desired is not None:
                wanted.append(desired)
            outcomes.append(self._outcome(product, primary))
        return Desired(tuple(wanted), tuple(outcomes))

    def _primary(self, product: Product) -> ImageProgress:
        if not product.outcome.ok:
            return ImageProgress("raw_products", product.outcome)
        if product.price is None or not product.images:
            reason = Reason.NO_IMAGE if not product.images else Reason.NO_PRICE
            return ImageProgress("raw_products", Outcome(Status.REJECTED, (reason,)))
        return self.images.progress(product.external_id, min(product.images, key=lambda image: image.position))

    def _desired(self, product: Product, primary: ImageProgress) -> DesiredProduct | None:
        if primary.place is None or primary.sha256 is None or primary.fetched is None or product.price is None:
            return None
        identity = product_id(self.store.id, product.external_id)
        row = DesiredProduct(
            id=identity,
            store_id=self.store.id,
            external_id=product.external_id,
            title=product.title,
            description=product.description,
            price=product.price,
            currency=product.currency,
            image_url=primary.fetched.url,
            product_url=product.product_url,
            in_stock=product.in_stock,
            categories=product.categories,
            image_sha256=primary.sha256,
            stale=primary.stale,
            created_at=product.first_seen_at.astimezone(UTC),
        )
        shown_by = {image.image_id: image.variation_ids for image in product.images}
        points = {identity: self._point(row, primary, identity, shown_by.get(primary.fetched.image_id, ()))}
        if self.store.images == "all":
            for image_id, progress in self._further(product, primary.fetched):
                point_id = uuid5(identity, image_id)
                points.setdefault(point_id, self._point(row, progress, point_id, shown_by[image_id]))
        values = {name: getattr(row, name) for name in ROW_FIELDS}
        return DesiredProduct(**values, points=tuple(points.values()))

    def _further(self, product: Product, primary: FetchedImage) -> Iterator[tuple[str, ImageProgress]]:
        for image in sorted(product.images, key=lambda image: image.position):
            if image.image_id != primary.image_id:
                progress = self.images.progress(product.external_id, image)
                if progress.place is not None:
                    yield image.image_id, progress

    def _point(
        self, row: DesiredProduct, image: ImageProgress, point_id: UUID, variation_ids: tuple[str, ...]
    ) -> DesiredPoint:
        if image.place is None or image.sha256 is None or image.fetched is None:
            msg = f"{row.store_id}/{row.external_id}: a point needs a vector"
            raise ValueError(msg)
        payload: dict[str, Any] = {
            "product_id": str(row.id),
            "store_id": row.store_id,
            "external_id": row.external_id,
            "title": row.title,
            "price": float(row.price),
            "currency": row.currency,
            "in_stock": row.in_stock,
            "categories": list(row.categories),
            "created_at": row.created_at.isoformat(),
            "product_url": row.product_url,
            "image_url": image.fetched.url,
            "image_sha256": image.sha256,
            "is_primary": point_id == row.id,
            "position": image.fetched.position,
            "fingerprint": self.fingerprint,
            "stale": image.stale,
        }
        if variation_ids:
            payload["variation_ids"] = list(variation_ids)
        point_hash = hash_of(payload)
        return DesiredPoint(
            point_id, row.id, image.place, image.sha256, {**payload, "point_hash": point_hash}, point_hash
        )

    def _outcome(self, product: Product, primary: ImageProgress) -> ProductOutcome:
        # A product that is published with an older image reports what keeps the newest one out.
        shown = primary.newest if primary.fetched is not None else primary.outcome
        if shown.ok and product.outcome.ok:
            shown = product.outcome  # it may carry reasons: the product, or its variations, cannot be read at present
        return ProductOutcome(
            store_id=self.store.id,
            external_id=product.external_id,
            product_id=product_id(self.store.id, product.external_id),
            title=product.title,
            stage=primary.stage,
            status=primary.outcome.status,
            reasons=shown.reasons,
            detail=shown.detail,
            attempts=shown.attempts,
            next_retry_at=shown.next_retry_at,
            image_sha256=primary.sha256,
        )


def hash_of(payload: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a payload, whatever the order of its keys; ``point_hash`` itself does not count."""
    return sha256_hex(_canonical({key: value for key, value in payload.items() if key != "point_hash"}))


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=str).encode()
