"""What a real WooCommerce 11.0.1 answered, and a model shop with the same products to ask the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import Attachment, Key, ModelProduct, ModelShop, ShopClock

FOLDERS = [Path(__file__).parents[1] / "fixtures" / name for name in ("woocommerce", "woocommerce_contract")]
ORIGIN = "https://store.example"
READER = Key("ck_reader", "cs_reader")
KEYS = (
    READER,
    Key("ck_writer", "cs_writer", permissions="write"),
    Key("ck_customer", "cs_customer", may_view=frozenset()),
)


@cache
def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def recorded(name: str) -> dict[str, Any]:
    """Return one recording: request and response."""
    for folder in FOLDERS:
        path = folder / f"{name}.json"
        if path.is_file():
            return _read(path)
    raise FileNotFoundError(name)


def moment(text: str | None) -> datetime | None:
    """Read a GMT date of a recording."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def recorded_shop() -> ModelShop:
    """Return a model shop with the ids, states and dates of the recorded one, below /x instead of /."""
    shop = ModelShop("x", origin=ORIGIN, keys=KEYS, clock=ShopClock(datetime(2026, 11, 20, 16, 5, tzinfo=UTC)))
    rows = recorded("products_status_any")["response"]["body"] + recorded("products_status_trash")["response"]["body"]
    opened = datetime(2026, 11, 20, 15, 55, 30, tzinfo=UTC)
    for row in rows:
        modified = moment(row["date_modified_gmt"])
        created = modified if row["status"] == "future" else opened + timedelta(seconds=row["id"])
        fields = {"name": row["name"], "status": row["status"]}
        shop.products[row["id"]] = ModelProduct(row["id"], f"slug-{row['id']}", fields, [], created, modified)
    return shop


TYPED = (
    *("name", "status", "type", "regular_price", "sale_price", "description", "short_description", "sku"),
    *("date_on_sale_from", "date_on_sale_from_gmt", "date_on_sale_to", "date_on_sale_to_gmt", "catalog_visibility"),
    *("tags", "brands", "categories", "external_url", "button_text", "attributes", "default_attributes", "virtual"),
    *("meta_data", "post_password", "featured", "stock_status", "manage_stock", "stock_quantity", "grouped_products"),
    *("menu_order", "weight", "backorders", "downloadable"),
)
"""What someone typed into a product; all else the shop makes of it."""
HEIGHTS = {64: 64, 300: 400, 600: 800, 800: 800, 1000: 1333, 2048: 2560}
"""Of the recorded pictures, by width: a payload does not tell them."""


def whole_shop() -> ModelShop:
    """Return a model shop into which was typed whatever was typed into the recorded one."""
    shop = ModelShop("x", origin=ORIGIN, keys=KEYS, clock=ShopClock(datetime(2026, 11, 20, 16, 5, tzinfo=UTC)))
    trashed = recorded("product_trashed_get_by_id")["response"]["body"]
    for row in (*recorded("products_per_page_100")["response"]["body"], trashed):
        type_in(shop, row)
    for row in recorded("variations_all_endpoint")["response"]["body"]:
        own = {name: row[name] for name in (*TYPED, "attributes") if name in row and name not in {"name", "type"}}
        created, modified = moment(row["date_created_gmt"]), moment(row["date_modified_gmt"])
        shop.variations[row["id"]] = ModelProduct(
            row["id"], "", own, [row["image"]["id"]], created, modified, parent_id=row["parent_id"]
        )
    return shop


def type_in(shop: ModelShop, row: dict[str, Any]) -> ModelProduct:
    """Put a recorded product, with its pictures, into a shop."""
    for image in row["images"]:
        created, modified = moment(image["date_created_gmt"]), moment(image["date_modified_gmt"])
        assert created
        assert modified
        width = int(image["sizes"].rpartition(" ")[2].removesuffix("px"))
        shop.attachments[image["id"]] = Attachment(
            image["id"],
            below_x(image["src"]),
            created,
            modified,
            (width, HEIGHTS[width]),
            alt=image["alt"],
            title=image["name"],
        )
    product = ModelProduct(
        id=row["id"],
        slug=row["slug"].removesuffix("__trashed") if row["status"] == "trash" else row["slug"],
        fields={name: row[name] for name in TYPED},
        attachments=[image["id"] for image in row["images"]],
        created=moment(row["date_created_gmt"]),
        modified=moment(row["date_modified_gmt"]),
    )
    shop.products[product.id] = product
    return product


def below_x(value: Any) -> Any:
    """Move a recorded value from the root of its host to /x, where the model lives."""
    if isinstance(value, str):
        return value.replace(f"{ORIGIN}/", f"{ORIGIN}/x/").replace("http://store.example/", "http://store.example/x/")
    if isinstance(value, dict):
        return {name: below_x(item) for name, item in value.items()}
    return [below_x(item) for item in value] if isinstance(value, list) else value


async def ask(
    shop: ModelShop, url: str, *, method: str = "GET", key: Key | None = None, **given: Any
) -> httpx.Response:
    """Ask the model shop, in process."""
    auth = (key.consumer_key, key.consumer_secret) if key else None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app({shop.id: shop}))) as client:
        return await client.request(method, url, auth=auth, **given)


def products_url(query: str = "", scheme: str = "https") -> str:
    """Return the address of the model's product listing."""
    return f"{scheme}://store.example/x/wp-json/wc/v3/products{query}"
