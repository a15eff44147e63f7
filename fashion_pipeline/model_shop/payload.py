"""A product of the model shop as WooCommerce 11.0.1 spells it, field by field and in its order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from fashion_pipeline.model_shop.attachments import image_payload
from fashion_pipeline.model_shop.shop import ModelProduct, ModelShop
from fashion_pipeline.model_shop.variations import (
    is_on_sale,
    name_of,
    of_parent,
    permalink,
    picture_of,
    price_of,
    prices_of,
    slug_of,
    stock_of,
    variations_of,
)

SYMBOLS = {
    "CHF": ("Swiss franc", "&#67;&#72;&#70;"),
    "DKK": ("Danish krone", "kr."),
    "EUR": ("Euro", "&euro;"),
    "GBP": ("Pound sterling", "&pound;"),
    "JPY": ("Japanese yen", "&yen;"),
    "PLN": ("Polish z&#x142;oty", "&#122;&#322;"),
    "SEK": ("Swedish krona", "&#107;&#114;"),
    "USD": ("United States (US) dollar", "&#36;"),
}
DECIMAL_COMMA = frozenset({"EUR", "PLN", "SEK", "DKK"})

_DEFAULTS: dict[str, Any] = {
    "type": "simple",
    "status": "publish",
    "featured": False,
    "catalog_visibility": "visible",
    "description": "",
    "short_description": "",
    "sku": "",
    "price": "",
    "regular_price": "",
    "sale_price": "",
    "date_on_sale_from": None,
    "date_on_sale_from_gmt": None,
    "date_on_sale_to": None,
    "date_on_sale_to_gmt": None,
    "on_sale": False,
    "purchasable": True,
    "total_sales": 0,
    "virtual": False,
    "downloadable": False,
    "downloads": [],
    "download_limit": -1,
    "download_expiry": -1,
    "external_url": "",
    "button_text": "",
    "tax_status": "taxable",
    "tax_class": "",
    "manage_stock": False,
    "stock_quantity": None,
    "backorders": "no",
    "backorders_allowed": False,
    "backordered": False,
    "low_stock_amount": None,
    "sold_individually": False,
    "weight": "",
    "dimensions": {"length": "", "width": "", "height": ""},
    "shipping_required": True,
    "shipping_taxable": True,
    "shipping_class": "",
    "shipping_class_id": 0,
    "reviews_allowed": True,
    "average_rating": "0.00",
    "rating_count": 0,
    "upsell_ids": [],
    "cross_sell_ids": [],
    "parent_id": 0,
    "purchase_note": "",
    "categories": [{"id": 15, "name": "Uncategorized", "slug": "uncategorized"}],
    "brands": [],
    "tags": [],
    "images": [],
    "attributes": [],
    "default_attributes": [],
    "variations": [],
    "grouped_products": [],
    "menu_order": 0,
    "price_html": "",
    "related_ids": [],
    "meta_data": [],
    "stock_status": "instock",
    "has_options": False,
    "post_password": "",
    "global_unique_id": "",
}

_VARIATION_FIELDS = (
    *("id", "type", "date_created", "date_created_gmt", "date_modified", "date_modified_gmt", "description"),
    *("permalink", "sku", "global_unique_id", "price", "regular_price", "sale_price", "date_on_sale_from"),
    *("date_on_sale_from_gmt", "date_on_sale_to", "date_on_sale_to_gmt", "on_sale", "status", "purchasable"),
    *("virtual", "downloadable", "downloads", "download_limit", "download_expiry", "tax_status", "tax_class"),
    *("manage_stock", "stock_quantity", "stock_status", "backorders", "backorders_allowed", "backordered"),
    *("low_stock_amount", "weight", "dimensions", "shipping_class", "shipping_class_id", "image"),
    *("gallery_image_ids", "attributes", "menu_order", "meta_data", "name", "parent_id"),
)
_NOT_OF_A_VARIATION = frozenset({"srcset", "sizes", "thumbnail"})


def product_payload(shop: ModelShop, product: ModelProduct) -> dict[str, Any]:
    """Spell a product out as ``/products/<id>`` does.

    ``related_ids`` are drawn anew for each answer, as WooCommerce shuffles them: nobody may take
    them for a change of the product.
    """
    api = f"{shop.url}/wp-json/wc/v3/products"
    body: dict[str, Any] = {
        "id": product.id,
        "name": "",
        "slug": product.slug + ("__trashed" if product.status == "trash" and product.slug else ""),
        "permalink": _permalink(shop, product),
        "date_created": _local(shop, product.created),
        "date_created_gmt": _gmt(product.created),
        "date_modified": _local(shop, product.modified),
        "date_modified_gmt": _gmt(product.modified),
        **_DEFAULTS,
    }
    body |= product.fields
    if body["type"] == "variable":
        body |= of_parent(shop, product)
    if body["type"] == "grouped":
        body |= _of_children(shop, body) | product.fields
    if not body["price"] and "price" not in product.fields:
        body["price"] = body["sale_price"] if _is_on_sale(shop, body) else body["regular_price"]
    price = body["price"]
    if "regular_price" not in product.fields and body["type"] not in {"variable", "grouped"}:
        body["regular_price"] = price
    body["on_sale"] = body["on_sale"] or product.fields.get("on_sale", bool(price) and price == body["sale_price"])
    body["backordered"] = body["stock_status"] == "onbackorder"
    body["shipping_required"] = body["shipping_taxable"] = not body["virtual"]
    buyable = bool(price) and body["type"] not in {"external", "grouped"}
    body["purchasable"] = product.fields.get("purchasable", buyable)
    body["has_options"] = product.fields.get("has_options", body["type"] == "variable")
    body["price_html"] = price_range(shop, _prices_below(shop, product)) or price_html(shop, body)
    body["images"] = [image_payload(shop, shop.attachments[key]) for key in product.attachments]
    body["related_ids"] = _related(shop, product)
    body["_links"] = {
        "self": [
            {"href": f"{api}/{product.id}", "targetHints": {"allow": ["GET", "POST", "PUT", "PATCH", "DELETE"]}},
        ],
        "collection": [{"href": api}],
    }
    return body


def variation_as_product(shop: ModelShop, variation: ModelProduct) -> dict[str, Any]:
    """Spell a variation out as ``/products/<its id>`` does, and as webhooks send it."""
    parent = shop.products[variation.parent_id]
    name = f"{parent.fields['name']} - {name_of(variation)}" if name_of(variation) else parent.fields["name"]
    stand_in = replace(
        variation,
        slug=slug_of(shop, variation),
        attachments=picture_of(shop, variation),
        fields={
            "name": name,
            "price": price_of(variation),
            "total_sales": "0",
            "reviews_allowed": False,
            "categories": [],
            "parent_id": parent.id,
            **variation.fields,
            **stock_of(shop, variation),
            "type": "variation",
        },
    )
    body = product_payload(shop, stand_in)
    body |= {"permalink": permalink(shop, variation), "related_ids": []}
    body["_links"]["up"] = [{"href": f"{shop.url}/wp-json/wc/v3/products/{parent.id}"}]
    return body


def variation_payload(shop: ModelShop, variation: ModelProduct, *, below_parent: bool) -> dict[str, Any]:
    """Spell a variation out as ``/products/<parent>/variations`` does, or as ``/variations``: their links differ."""
    body = variation_as_product(shop, variation)
    image = next(iter(body["images"]), None)
    body |= {
        "name": name_of(variation),
        "on_sale": is_on_sale(variation),
        "image": image and {name: value for name, value in image.items() if name not in _NOT_OF_A_VARIATION},
        "gallery_image_ids": [],
    }
    api = f"{shop.url}/wp-json/wc/v3"
    if below_parent:
        collection = f"{api}/products/{variation.parent_id}/variations"
        hints = {"targetHints": {"allow": ["GET", "POST", "PUT", "PATCH", "DELETE"]}}
    else:
        collection, hints = f"{api}/variations", {}
    links = {
        "self": [{"href": f"{collection}/{variation.id}", **hints}],
        "collection": [{"href": collection}],
        "up": [{"href": f"{api}/products/{variation.parent_id if below_parent else 0}"}],
    }
    return {name: body[name] for name in _VARIATION_FIELDS} | {"_links": links}


def price_range(shop: ModelShop, prices: list[str]) -> str:
    """Return the lowest and the highest of ascending prices as the shop's pages show them, if they differ."""
    if not prices or float(prices[0]) == float(prices[-1]):
        return ""
    low, high = (
        _amount(shop, price).replace('amount">', 'amount" aria-hidden="true">', 1) for price in (prices[0], prices[-1])
    )
    said = f"Price range: {_plain(shop, prices[0])} through {_plain(shop, prices[-1])}"
    return f'{low} <span aria-hidden="true">&ndash;</span> {high}<span class="screen-reader-text">{said}</span>'


def price_html(shop: ModelShop, body: dict[str, Any]) -> str:
    """Return a price as the shop's pages show it; empty where there is none."""
    if not body["price"]:
        return ""
    price = _amount(shop, body["price"])
    if not body["on_sale"] or not body["regular_price"]:
        return price
    before = _amount(shop, body["regular_price"])
    return (
        f'<del aria-hidden="true">{before}</del> '
        f'<span class="screen-reader-text">Original price was: {_plain(shop, body["regular_price"])}.</span>'
        f'<ins aria-hidden="true">{price}</ins>'
        f'<span class="screen-reader-text">Current price is: {_plain(shop, body["price"])}.</span>'
    )


def symbol(currency: str) -> str:
    """Return a currency's sign, as the HTML entity WooCommerce answers with; its code where it has none."""
    return SYMBOLS.get(currency, ("", currency))[1]


def _plain(shop: ModelShop, price: str) -> str:
    try:
        number = f"{float(price):,.2f}"
    except ValueError:
        number = price
    if shop.currency in DECIMAL_COMMA:
        number = number.translate(str.maketrans(",.", ".,"))
    return symbol(shop.currency) + number


def _amount(shop: ModelShop, price: str) -> str:
    sign = symbol(shop.currency)
    number = _plain(shop, price).removeprefix(sign)
    return (
        '<span class="woocommerce-Price-amount amount"><bdi>'
        f'<span class="woocommerce-Price-currencySymbol" translate="no">{sign}</span>{number}</bdi></span>'
    )


def _is_on_sale(shop: ModelShop, body: dict[str, Any]) -> bool:
    """Whether there is a sale price, and its time has come and is not over."""
    now = _gmt(shop.clock.now()) or ""
    begun = (body["date_on_sale_from_gmt"] or now) <= now
    return bool(body["sale_price"]) and begun and now <= (body["date_on_sale_to_gmt"] or now)


def _children(shop: ModelShop, ids: list[int]) -> list[dict[str, Any]]:
    """Return the published products of a set."""
    there = [shop.products[key] for key in ids if key in shop.products]
    return [product_payload(shop, product) for product in there if product.status == "publish"]


def _of_children(shop: ModelShop, body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a grouped product has from those it groups: the lowest price, and whether one is reduced."""
    children = _children(shop, body["grouped_products"])
    prices = _ascending(child["price"] for child in children)
    return {"price": prices[0] if prices else "", "on_sale": any(child["on_sale"] for child in children)}


def _prices_below(shop: ModelShop, product: ModelProduct) -> list[str]:
    """Return the prices of a product's variations, or of what it groups, the lowest first."""
    if product.fields.get("type") == "grouped":
        return _ascending(child["price"] for child in _children(shop, product.fields.get("grouped_products", [])))
    return prices_of(variations_of(shop, product.id))


def _ascending(prices: Iterable[str]) -> list[str]:
    return sorted(filter(None, prices), key=float)


def _permalink(shop: ModelShop, product: ModelProduct) -> str:
    if product.status in {"publish", "private"}:
        return f"{shop.url}/product/{product.slug}/"
    return f"{shop.url}/?post_type=product&p={product.id}"


def _gmt(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S") if moment else None


def _local(shop: ModelShop, moment: datetime | None) -> str | None:
    return moment.astimezone(shop.zone).strftime("%Y-%m-%dT%H:%M:%S") if moment else None


def _related(shop: ModelShop, product: ModelProduct) -> list[int]:
    nearby = [key for key in range(product.id - 40, product.id + 40) if key in shop.products and key != product.id]
    return random.sample(nearby, min(5, len(nearby)))
