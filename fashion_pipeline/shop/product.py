"""Parses a payload of ``wc/v3/products`` into a ``Product``; the gate decides whether it may be published.

Everything here is pure and works on one product at a time.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import OK, Outcome, Reason, rejected
from fashion_pipeline.records import Image, Product
from fashion_pipeline.redaction import printable
from fashion_pipeline.shop.gallery import (
    NO_VARIATIONS,
    UNSTORABLE,
    Variations,
    absolute,
    entries,
    own_images,
    read_gmt,
    with_variations,
)
from fashion_pipeline.stores import Store

FIELDS = (
    "id,type,status,name,description,short_description,price,permalink,external_url,stock_status,post_password,"
    "categories,images,variations,date_created_gmt,date_modified_gmt"
)
"""The ``_fields`` that a request for payloads must have."""

_PRICE = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_ID = re.compile(r"[1-9][0-9]{0,18}")
_LONGEST_PRICE = 64
_TOO_EXPENSIVE = Decimal(100_000_000)
_CENT = Decimal("0.01")

# Every alternative stops at the next "<", so that hostile markup costs linear time.
_MARKUP = re.compile(
    r"""<!--|-->|<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9]*+)(?:(?:[^<>"']|"[^"<]*+"|'[^'<]*+')*+>|[^<>]*+>)"""
)
_SILENT = frozenset({"script", "style"})
_BLOCK = re.compile(
    "address|article|aside|blockquote|br|dd|div|dl|dt|figcaption|figure|footer|h[1-6]|header|hr|li|main|nav|ol|p|pre"
    "|section|table|td|th|tr|ul"
)


def parse(
    payload: Mapping[str, Any],
    *,
    store: Store,
    currency: str,
    now: datetime,
    first_seen_at: datetime,
    variations: Variations = NO_VARIATIONS,
    images_before: Iterable[Image] = (),
) -> Product:
    """Parse one product as the REST API returns it, and apply the gate.

    Fields that are missing count as empty, and so do fields of a form that ``problem_of`` reports. Of
    a password only its existence is kept.

    Args:
        payload: one element of ``/products``, or the response of ``/products/<id>``.
        store: decides about ``images`` and ``accept_free``.
        currency: the shop's, three capital letters.
        now: when the payload was read; becomes ``last_seen_at``.
        first_seen_at: stored unchanged.
        variations: of this product, where they were read. Only their images are used: the payload
            already has their lowest price and their stock.
        images_before: the images of the last read. Some stay while variations cannot be read.

    Raises:
        ShopProtocolError: the payload has no id, so it is not a product.
    """
    external_id = product_id(payload, store=store)
    kind = _text(payload, "type")
    price_text = _price_text(payload.get("price"))
    price = read_price(price_text)
    product = Product(
        external_id=external_id,
        kind=kind,
        status=_text(payload, "status"),
        title=" ".join(plain_text(_text(payload, "name")).split()),
        description=plain_text(_text(payload, "description")) or plain_text(_text(payload, "short_description")),
        price_text=price_text,
        price=price if isinstance(price, Decimal) else None,
        currency=currency,
        product_url=(_url(payload, "external_url", store) if kind == "external" else "")
        or _url(payload, "permalink", store),
        in_stock=_text(payload, "stock_status") != "outofstock",
        password_protected=bool(payload.get("post_password")),
        categories=_categories(payload.get("categories")),
        images=with_variations(own_images(payload.get("images"), store), variations, images_before, store),
        created_in_shop_at=read_gmt(payload.get("date_created_gmt")),
        modified_in_shop_at=read_gmt(payload.get("date_modified_gmt")),
        content_hash="",
        first_seen_at=first_seen_at,
        last_seen_at=now,
    )
    return replace(product, content_hash=content_hash(product), outcome=gate(product, store))


def problem_of(payload: Mapping[str, Any]) -> str:
    """Return what makes a payload unreadable: a known field in a form that WooCommerce does not use; ``""`` for nothing.

    A plugin that changes the response may write a list as an object with numeric keys, or a text as a
    number: both are read as meant.
    """
    for name in ("images", "categories"):
        if entries(payload.get(name)) is None:
            return f"its field {name} is neither a list nor an object with numeric keys"
    for name in ("status", "name", "description", "short_description", "price", "permalink", "stock_status"):
        if isinstance(payload.get(name), list | Mapping | bool) and payload[name] is not False:
            return f"its field {name} is no text"
    return ""


def gate(product: Product, store: Store) -> Outcome:
    """Decide whether a product may be published; the outcome lists every reason against it.

    The store decides about prices of 0 (``accept_free``) and sold-out products (``sold_out``).

    ``catalog_visibility`` is none: a hidden product is published and can be bought.
    """
    reasons: list[Reason] = []
    details: list[str] = []
    if product.status == "trash":
        reasons.append(Reason.TRASHED)
    elif product.status != "publish":
        reasons.append(Reason.NOT_PUBLISHED)
        details.append(f"its status is {product.status or 'missing'}")
    if product.password_protected:
        reasons.append(Reason.PASSWORD_PROTECTED)
    if not product.title:
        reasons.append(Reason.NO_TITLE)
    if not product.images:
        reasons.append(Reason.NO_IMAGE)
    price = read_price(product.price_text)
    if isinstance(price, Reason):
        reasons.append(price)
        if product.price_text:
            details.append(f"its price is {product.price_text!r}")
    elif price == 0 and not store.accept_free:
        reasons.append(Reason.ZERO_PRICE)
    if not product.in_stock and store.sold_out == "remove":
        reasons.append(Reason.SOLD_OUT)
    scheduled_at = product.created_in_shop_at if product.status == "future" else None
    return rejected(*reasons, detail="; ".join(details), look_again_at=scheduled_at) if reasons else OK


def read_price(text: str) -> Decimal | Reason:
    """Parse a price as the REST API writes it (always with a point), rounded half-up to 2 places; or return why not."""
    if not text:
        return Reason.NO_PRICE
    if len(text) >= _LONGEST_PRICE or not _PRICE.fullmatch(text):
        return Reason.BAD_PRICE
    price = Decimal(text)
    if price >= _TOO_EXPENSIVE:
        return Reason.PRICE_OUT_OF_RANGE
    price = price.quantize(_CENT, ROUND_HALF_UP)
    return Reason.PRICE_OUT_OF_RANGE if price >= _TOO_EXPENSIVE else price


def content_hash(product: Product) -> str:
    """Hex SHA-256 of what a row, a payload or an image depends on.

    The modified date is not part of it: a save that changes nothing costs nothing.
    """
    parts = [
        product.external_id,
        product.kind,
        product.status,
        product.title,
        product.description,
        product.price_text,
        product.currency,
        product.product_url,
        product.in_stock,
        product.password_protected,
        product.categories,
        [
            (image.image_id, image.url, image.position, _iso(image.modified_at), *image.variation_ids)
            for image in product.images
        ],
        _iso(product.created_in_shop_at),
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def product_id(payload: Mapping[str, Any], *, store: Store) -> str:
    """Return the shop's id of a payload, as text.

    Raises:
        ShopProtocolError: there is none.
    """
    value = payload.get("id")
    if isinstance(value, str) and _ID.fullmatch(value):  # a plugin made a text of it
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    msg = (
        f"a product came without a numeric id (fields: {printable(', '.join(sorted(payload)))}); "
        f"a plugin changes the response of {store.url}/wp-json/wc/v3/products"
    )
    raise ShopProtocolError(msg, store_id=store.id, advice="switch plugins off one by one to find it")


def plain_text(markup: str) -> str:
    """Strip tags, comments, scripts and styles, then unescape once; one line for each block of text."""
    pieces: list[str] = []
    position, silent_until = 0, ""
    for match in _MARKUP.finditer(markup):
        found, name = match[0], (match["name"] or "").lower()
        if silent_until:
            if found == silent_until or (match["end"] and name == silent_until):
                silent_until, position = "", match.end()
            continue
        if found == "-->":
            continue
        pieces.append(markup[position : match.start()])
        position = match.end()
        if found == "<!--":
            silent_until = "-->"
        elif name in _SILENT and not match["end"]:
            silent_until = name
        elif _BLOCK.fullmatch(name):
            pieces.append("\n")
    if not silent_until:
        pieces.append(markup[position:])
    text = UNSTORABLE.sub("", html.unescape("".join(pieces)))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _text(payload: Mapping[str, Any], key: str) -> str:
    value = payload.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):  # a title such as 501
        return str(value)
    return UNSTORABLE.sub("", value) if isinstance(value, str) else ""


def _url(payload: Mapping[str, Any], key: str, store: Store) -> str:
    """Return a URL, resolved as the shop's pages do; ``""`` for none that a browser could open."""
    text = _text(payload, key).strip()
    url = absolute(text, store) if text else ""
    return url if url.lower().startswith(("https://", "http://")) else ""


def _price_text(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)[:_LONGEST_PRICE]
    return UNSTORABLE.sub("", value).strip()[:_LONGEST_PRICE] if isinstance(value, str) else ""


def _categories(value: object) -> tuple[str, ...]:
    found = [entry for entry in entries(value) or [] if isinstance(entry, Mapping)]
    names = (" ".join(plain_text(_text(entry, "name")).split()) for entry in found)
    return tuple(name for name in names if name)


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
