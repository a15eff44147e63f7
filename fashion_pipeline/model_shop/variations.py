"""Variations of the model shop: things of their own, from which the parent has its price and its stock.

What the parent's payload says was read in WooCommerce's source (``WC_Product_Variable`` and its
data store) and holds in the recordings:

- ``price`` is the lowest of the published variations, ``""`` where none has one;
- ``stock_status`` is ``instock`` if any variation is, private ones too, else ``onbackorder`` if
  any is, else ``outofstock``; a parent that manages stock itself has its own, and so have those
  of its variations that manage none;
- ``variations`` lists published and private ones by menu order and id;
- a variation without an image shows the parent's first.

A variation that is added, saved or deleted moves the parent's modified date.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.shop import ModelProduct, ModelShop


def variations_of(shop: ModelShop, parent_id: int) -> list[ModelProduct]:
    """Return a product's variations in the shop's order; those of a trashed product are in the trash too."""
    parent = shop.products.get(parent_id)
    if parent is None or parent.status == "trash":
        return []
    own = (variation for variation in list(shop.variations.values()) if variation.parent_id == parent_id)
    return sorted(own, key=lambda variation: (variation.fields.get("menu_order", 0), variation.id))


def living(shop: ModelShop) -> list[ModelProduct]:
    """Return every variation that is not in the trash with its parent."""
    parents = {product.id for product in list(shop.products.values()) if product.status != "trash"}
    return [variation for variation in list(shop.variations.values()) if variation.parent_id in parents]


def of_parent(shop: ModelShop, parent: ModelProduct) -> dict[str, Any]:
    """Return the fields that a variable product's payload has from its variations."""
    variations = variations_of(shop, parent.id)
    fields: dict[str, Any] = {"has_options": True}
    if not variations and "variations" in parent.fields:
        return fields  # ids of variations that nobody will ask for
    fields["variations"] = [variation.id for variation in variations]
    if not parent.fields.get("manage_stock"):
        statuses = {stock_of(shop, variation)["stock_status"] for variation in variations}
        ranked = ("instock", "onbackorder", "outofstock")
        fields["stock_status"] = next((status for status in ranked if status in statuses), "outofstock")
    if variations:
        prices = prices_of(variations)
        shown = [variation for variation in variations if variation.status == "publish"]
        fields |= {
            "price": prices[0] if prices else "",
            "on_sale": any(is_on_sale(variation) for variation in shown),
        }
    return fields


def stock_of(shop: ModelShop, variation: ModelProduct) -> dict[str, Any]:
    """Return a variation's stock: its own, or the parent's where only that one manages it."""
    parent = shop.products[variation.parent_id].fields
    if variation.fields.get("manage_stock") or not parent.get("manage_stock"):
        return {"stock_status": variation.fields.get("stock_status", "instock")}
    return {
        "manage_stock": "parent",
        "stock_quantity": parent.get("stock_quantity"),
        "stock_status": parent.get("stock_status", "instock"),
    }


def price_of(variation: ModelProduct) -> str:
    """Return what a variation costs now."""
    fields = variation.fields
    return str(fields.get("price", fields.get("sale_price") or fields.get("regular_price", "")))


def is_on_sale(variation: ModelProduct) -> bool:
    """Whether a variation's price is its sale price."""
    sale_price = variation.fields.get("sale_price", "")
    return bool(sale_price) and sale_price == price_of(variation)


def prices_of(variations: list[ModelProduct]) -> list[str]:
    """Return the prices of the published variations, the lowest first."""
    priced = (price_of(variation) for variation in variations if variation.status == "publish")
    return sorted((price for price in priced if price), key=float)


def picture_of(shop: ModelShop, variation: ModelProduct) -> list[int]:
    """Return a variation's image, as a list of none or one: its own, or the parent's first."""
    return variation.attachments or shop.products[variation.parent_id].attachments[:1]


def permalink(shop: ModelShop, variation: ModelProduct) -> str:
    """Return the parent's page with the variation chosen."""
    parent = shop.products[variation.parent_id]
    chosen = "&".join(f"attribute_{slug}={quote(option)}" for slug, option in _options(variation))
    return f"{shop.url}/product/{parent.slug}/" + (f"?{chosen}" if chosen else "")


def name_of(variation: ModelProduct) -> str:
    """Return the options of a variation, as its own name."""
    return ", ".join(str(attribute["option"]) for attribute in variation.fields.get("attributes", []))


def slug_of(shop: ModelShop, variation: ModelProduct) -> str:
    """Return a variation's name in addresses."""
    return "-".join([shop.products[variation.parent_id].slug, *(option for _, option in _options(variation))])


def _options(variation: ModelProduct) -> Iterator[tuple[str, str]]:
    for attribute in variation.fields.get("attributes", []):
        yield str(attribute["slug"]), "-".join(str(attribute["option"]).lower().split())


def touch(shop: ModelShop, parent_id: int, at: datetime) -> None:
    """Move a parent's modified date, if there is one still."""
    if parent_id in shop.products:
        shop.products[parent_id].modified = at
