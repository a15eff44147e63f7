"""A product of the model shop as WooCommerce 11.0.1 spells it, field by field and in its order."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from fashion_pipeline.demo.shop import Attachment, ModelProduct, ModelShop

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
    if "price" not in product.fields:
        body["price"] = body["sale_price"] or body["regular_price"]
    price = body["price"]
    if "regular_price" not in product.fields and body["type"] not in {"variable", "grouped"}:
        body["regular_price"] = price
    body["on_sale"] = product.fields.get("on_sale", bool(price) and price == body["sale_price"])
    buyable = bool(price) and body["type"] not in {"external", "grouped"}
    body["purchasable"] = product.fields.get("purchasable", buyable)
    body["has_options"] = product.fields.get("has_options", bool(body["variations"]))
    body["price_html"] = price_html(shop, body)
    body["images"] = [_image(shop, shop.attachments[key]) for key in product.attachments]
    body["related_ids"] = _related(shop, product)
    body["_links"] = {
        "self": [
            {"href": f"{api}/{product.id}", "targetHints": {"allow": ["GET", "POST", "PUT", "PATCH", "DELETE"]}},
        ],
        "collection": [{"href": api}],
    }
    return body


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


def _permalink(shop: ModelShop, product: ModelProduct) -> str:
    if product.status in {"publish", "private"}:
        return f"{shop.url}/product/{product.slug}/"
    return f"{shop.url}/?post_type=product&p={product.id}"


def _gmt(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S") if moment else None


def _local(shop: ModelShop, moment: datetime | None) -> str | None:
    return moment.astimezone(shop.zone).strftime("%Y-%m-%dT%H:%M:%S") if moment else None


def _twice_local(shop: ModelShop, moment: datetime) -> str:
    """Return an attachment's local date, wrong by one more offset: WooCommerce 11.0.1 shows it so."""
    local = moment.astimezone(shop.zone)
    return (local + (local.utcoffset() or timedelta())).strftime("%Y-%m-%dT%H:%M:%S")


def _image(shop: ModelShop, attachment: Attachment) -> dict[str, Any]:
    stem, _, extension = attachment.url.rpartition(".")
    width, height = attachment.size
    smaller = [size for size in (300, 768, 600) if size < width]
    sized = [(size, f"{stem}-{size}x{round(height * size / width)}.{extension}") for size in smaller]
    return {
        "id": attachment.id,
        "date_created": _twice_local(shop, attachment.created),
        "date_created_gmt": _gmt(attachment.created),
        "date_modified": _twice_local(shop, attachment.modified),
        "date_modified_gmt": _gmt(attachment.modified),
        "src": attachment.url,
        "name": attachment.url.rpartition("/")[2],
        "alt": attachment.alt,
        "srcset": ", ".join(f"{url} {size}w" for size, url in [(width, attachment.url), *sized]) if sized else "",
        "sizes": f"(max-width: {width}px) 100vw, {width}px",
        "thumbnail": f"{stem}-300x300.{extension}" if width > 300 else attachment.url,
    }


def _related(shop: ModelShop, product: ModelProduct) -> list[int]:
    nearby = [key for key in range(product.id - 40, product.id + 40) if key in shop.products and key != product.id]
    return random.sample(nearby, min(5, len(nearby)))
