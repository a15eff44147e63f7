"""What a model shop publishes, told from its raw state; imports nothing of the reader that it judges."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from fashion_pipeline.model_shop.shop import ModelProduct, ModelShop


@dataclass(frozen=True, slots=True)
class Shown:
    """What a customer would see of a product."""

    title: str
    price: Decimal
    in_stock: bool
    link: str
    picture: str
    categories: tuple[str, ...]


DELETED = "deleted"
"""Why a product that the shop has no more is not shown."""


def state(shop: ModelShop, product_id: int) -> Shown | str:
    """Return what is shown of a product, or in a word why it is not."""
    product = shop.products.get(product_id)
    if product is None:
        return DELETED
    fields = product.fields
    if product.status != "publish":
        return "trashed" if product.status == "trash" else "not_published"
    if fields.get("post_password"):
        return "password_protected"
    if not product.attachments:
        return "no_image"
    price = _price(product)
    return price if isinstance(price, str) else _shown(shop, product, price)


def published(shop: ModelShop) -> dict[str, Shown]:
    """Return everything that is shown, by id."""
    states = {str(key): state(shop, key) for key in shop.products}
    return {key: shown for key, shown in states.items() if isinstance(shown, Shown)}


def _price(product: ModelProduct) -> Decimal | str:
    text = product.fields.get("price", "")
    if not text:
        return "no_price"
    try:
        price = Decimal(text)
    except InvalidOperation:
        return "bad_price"
    return price.quantize(Decimal("0.01")) if price else "zero_price"


def _shown(shop: ModelShop, product: ModelProduct, price: Decimal) -> Shown:
    return Shown(
        title=product.fields["name"],
        price=price,
        in_stock=product.fields.get("stock_status", "instock") != "outofstock",
        link=f"{shop.origin}/{shop.id}/product/{product.slug}/",
        picture=shop.attachments[product.attachments[0]].url,
        categories=tuple(
            category["name"] for category in product.fields.get("categories", [{"name": "Uncategorized"}])
        ),
    )
