"""Products and images for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from fashion_pipeline.outcomes import OK, Outcome
from fashion_pipeline.records import FetchedImage, Image, Product
from fashion_pipeline.stores import Store
from fashion_pipeline_tests.clock import MONDAY


def store(url: str = "https://shop.test", **values: Any) -> Store:
    """Return a store that may reach this machine."""
    keys = {"consumer_key": SecretStr("k"), "consumer_secret": SecretStr("s")}
    return Store.model_validate({"id": "a", "url": url, "allow_private_hosts": ("127.0.0.1",), **keys, **values})


def image(url: str, *, image_id: str = "1", position: int = 0, modified_at: datetime | None = MONDAY) -> Image:
    """Return an image as a shop lists it."""
    return Image(image_id, url, position, modified_at)


def product(external_id: str, *images: Image, outcome: Outcome = OK) -> Product:
    """Return a product with these images."""
    return Product(
        external_id=external_id,
        kind="simple",
        status="publish",
        title="Coat",
        description="",
        price_text="10",
        price=None,
        currency="EUR",
        product_url="https://shop.test/coat",
        in_stock=True,
        password_protected=False,
        categories=(),
        images=images,
        created_in_shop_at=None,
        modified_in_shop_at=None,
        content_hash="",
        first_seen_at=MONDAY,
        last_seen_at=MONDAY,
        outcome=outcome,
    )


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
