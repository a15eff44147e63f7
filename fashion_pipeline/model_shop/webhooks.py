"""What a shop's webhooks deliver, as recorded from WooCommerce 11.0.1.

A delivery holds the product as it is when it is sent, not as it was at the event; two events
before that are one delivery, and none is repeated. A trashed product is ``product.deleted``, with
nothing but its id; no webhook announces one that is deleted for ever.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from fashion_pipeline.model_shop.payload import product_payload, variation_as_product
from fashion_pipeline.model_shop.shop import ModelShop

_AGENT = "WooCommerce/11.0.1 Hookshot (WordPress/7.0.4)"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription: ``topic`` is ``product.`` and created, updated, published, restored or deleted."""

    id: int
    topic: str
    secret: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A POST to the webhook's address; Host and what belongs to the connection come from whoever sends it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


def delivery(shop: ModelShop, webhook: Webhook, product_id: int) -> Delivery:
    """Return what a webhook sends about a product, or a variation, now.

    Raises:
        KeyError: the shop has no such product.
    """
    resource, event = webhook.topic.split(".")
    body = php_json({"id": product_id} if event == "deleted" else _payload(shop, product_id))
    headers = (
        ("User-Agent", _AGENT),
        ("Content-Type", "application/json"),
        ("X-WC-Webhook-Source", f"{shop.url}/"),
        ("X-WC-Webhook-Topic", webhook.topic),
        ("X-WC-Webhook-Resource", resource),
        ("X-WC-Webhook-Event", event),
        ("X-WC-Webhook-Signature", signature(body, webhook.secret)),
        ("X-WC-Webhook-ID", str(webhook.id)),
        ("X-WC-Webhook-Delivery-ID", _delivery_id(shop, webhook)),
    )
    return Delivery(headers, body)


def ping(webhook: Webhook) -> Delivery:
    """Return what is sent when a webhook is made: a form, without topic and without signature."""
    headers = (("User-Agent", _AGENT), ("Content-Type", "application/x-www-form-urlencoded"))
    return Delivery(headers, f"webhook_id={webhook.id}".encode())


def signature(body: bytes, secret: str) -> str:
    """Return X-WC-Webhook-Signature: base64 of HMAC-SHA256 over the body as it is sent."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def php_json(value: Any) -> bytes:
    """Encode as PHP's ``json_encode`` does: ASCII, no spaces, slashes escaped."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()


def _payload(shop: ModelShop, product_id: int) -> dict[str, Any]:
    if product_id in shop.variations:
        return variation_as_product(shop, shop.variations[product_id])
    return product_payload(shop, shop.products[product_id])


def _delivery_id(shop: ModelShop, webhook: Webhook) -> str:
    """Hash webhook and second, as WooCommerce does: deliveries of one second share their id."""
    parts = f"{shop.url} {webhook.id} {shop.clock.now().timestamp():.0f}"
    return hashlib.md5(parts.encode(), usedforsecurity=False).hexdigest()
