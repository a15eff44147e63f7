"""What the sinks should hold for one store, and what became of every product: a function of the stage tables.

A product is desired when the gate let it pass, its primary picture's bytes passed the quality gate
and these bytes have a vector. Then it has a row in PostgreSQL and, under the same id, a point in
Qdrant; with ``images: all`` each further picture that came as far has a point of its own.
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

from fashion_pipeline.outcomes import GONE, OK, Outcome, Reason, Status
from fashion_pipeline.records import EmbeddedImage, FetchedImage, Image, JudgedImage, Product, Table
from fashion_pipeline.storage.files import digest, sha256_hex
from fashion_pipeline.storage.vectors import VectorRef
from fashion_pipeline.stores import Store

NAMESPACE = uuid5(NAMESPACE_URL, "fashion-pipeline")
"""Every id of this pipeline is made from this one; changing it would make every product a new one."""

FINAL_STAGE = "postgres_products"
"""The stage of a product that came all the way."""


@dataclass(frozen=True, slots=True)
class DesiredPoint:
    """One picture's point.

    Attributes:
        place: where its vector lies.
        payload: JSON values, ``point_hash`` among them.
        point_hash: hex SHA-256 of the rest of the payload, which names bytes and model too.
    """

    point_id: UUID
    product_id: UUID
    place: VectorRef
    sha256: str
    payload: Mapping[str, Any]
    point_hash: str


@dataclass(frozen=True, slots=True)
class DesiredProduct:
    """One product's row, and its points, the primary picture's first."""

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
        stage: the asset it stopped at; ``postgres_products`` where it came all the way.
        reasons: of the status; a product with status ok and reasons shows an older picture, or is
            not read at present, as a whole or its variations.
        in_postgres, in_qdrant: what the sinks hold; written by each of them.
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


def desired_state(
    *,
    store: Store,
    products: Table[Product],
    images: Table[FetchedImage],
    judged: Table[JudgedImage],
    embedded: Table[EmbeddedImage],
    fingerprint: str,
) -> Desired:
    """Decide what the sinks should hold; every product gets exactly one outcome."""
    return _Decision(store, images, judged, embedded, fingerprint).of(products)


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far one picture came; ``told`` is what keeps the newest one where it is ``stale``."""

    stage: str
    outcome: Outcome
    sha256: str | None = None
    place: VectorRef | None = None
    fetched: FetchedImage | None = None
    told: Outcome = OK
    stale: bool = False


class _Decision:
    def __init__(
        self,
        store: Store,
        images: Table[FetchedImage],
        judged: Table[JudgedImage],
        embedded: Table[EmbeddedImage],
        fingerprint: str,
    ) -> None:
        self.store = store
        self.fingerprint = fingerprint
        self.fetched = {(row.external_id, row.image_id): row for row in images.rows}
        self.judged = {row.sha256: row for row in judged.rows}
        self.embedded = {row.sha256: row for row in embedded.rows if row.fingerprint == fingerprint}

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

    def _primary(self, product: Product) -> _Progress:
        if not product.outcome.ok:
            return _Progress("raw_products", product.outcome)
        if product.price is None or not product.images:
            reason = Reason.NO_IMAGE if not product.images else Reason.NO_PRICE
            return _Progress("raw_products", Outcome(Status.REJECTED, (reason,)))
        return self._picture(product, min(product.images, key=lambda image: image.position))

    def _picture(self, product: Product, image: Image) -> _Progress:
        fetched = self.fetched.get((product.external_id, image.image_id))
        if fetched is None:
            return _Progress("fetched_images", _waiting("its picture has not been fetched yet"))
        sha256, told = fetched.shown_sha256, fetched.outcome
        judged = None if sha256 is None else self.judged.get(sha256)
        if judged is not None and judged.undecided:
            told = judged.outcome if fetched.outcome.ok else fetched.outcome
            judged = self._stand_in(fetched) or judged
            sha256 = judged.sha256
        if sha256 is None or (fetched.stale and (judged is None or not judged.outcome.ok)):
            return _Progress("fetched_images", fetched.outcome)  # older bytes that are refused do not stand in
        if judged is None:
            return _Progress("quality_passed", _waiting("its picture has not been judged yet"), sha256)
        if not judged.outcome.ok:
            return _Progress("quality_passed", judged.outcome, sha256)
        embedded = self.embedded.get(sha256)
        if embedded is None or not embedded.outcome.ok:
            outcome = _waiting("its picture has no vector yet") if embedded is None else embedded.outcome
            return _Progress("embeddings", outcome, sha256)
        stale = fetched.stale or sha256 != fetched.shown_sha256
        return _Progress(FINAL_STAGE, OK, sha256, VectorRef(embedded.part, embedded.index), fetched, told, stale)

    def _stand_in(self, fetched: FetchedImage) -> JudgedImage | None:
        """Return the bytes shown before those that cannot be judged for the moment, if these passed."""
        for sha256 in fetched.history:
            judged = self.judged.get(sha256)
            if judged is None or not judged.undecided:
                return judged if judged is not None and judged.outcome.ok else None
        return None

    def _desired(self, product: Product, primary: _Progress) -> DesiredProduct | None:
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
            for image_id, picture in self._further(product, primary.fetched):
                point_id = uuid5(identity, image_id)
                points.setdefault(point_id, self._point(row, picture, point_id, shown_by[image_id]))
        values = {name: getattr(row, name) for name in ROW_FIELDS}
        return DesiredProduct(**values, points=tuple(points.values()))

    def _further(self, product: Product, primary: FetchedImage) -> Iterator[tuple[str, _Progress]]:
        for image in sorted(product.images, key=lambda image: image.position):
            if image.image_id != primary.image_id:
                picture = self._picture(product, image)
                if picture.place is not None:
                    yield image.image_id, picture

    def _point(
        self, row: DesiredProduct, picture: _Progress, point_id: UUID, variation_ids: tuple[str, ...]
    ) -> DesiredPoint:
        if picture.place is None or picture.sha256 is None or picture.fetched is None:
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
            "image_url": picture.fetched.url,
            "image_sha256": picture.sha256,
            "is_primary": point_id == row.id,
            "position": picture.fetched.position,
            "fingerprint": self.fingerprint,
            "stale": picture.stale,
        }
        if variation_ids:
            payload["variation_ids"] = list(variation_ids)
        point_hash = hash_of(payload)
        return DesiredPoint(
            point_id, row.id, picture.place, picture.sha256, {**payload, "point_hash": point_hash}, point_hash
        )

    def _outcome(self, product: Product, primary: _Progress) -> ProductOutcome:
        # A product that shows its last good picture came all the way, and says what keeps the new one.
        told = primary.told if primary.fetched is not None else primary.outcome
        if told.ok and product.outcome.ok:
            told = product.outcome  # the shop may not let it be read at present, or its variations
        return ProductOutcome(
            store_id=self.store.id,
            external_id=product.external_id,
            product_id=product_id(self.store.id, product.external_id),
            title=product.title,
            stage=primary.stage,
            status=primary.outcome.status,
            reasons=told.reasons,
            detail=told.detail,
            attempts=told.attempts,
            next_retry_at=told.next_retry_at,
            image_sha256=primary.sha256,
        )


def hash_of(payload: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a payload, whatever the order of its keys; ``point_hash`` itself does not count."""
    return sha256_hex(_canonical({key: value for key, value in payload.items() if key != "point_hash"}))


def _waiting(detail: str) -> Outcome:
    return Outcome(Status.FAILED, detail=detail)


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=str).encode()
