"""What a real WooCommerce 11.0.1 answered, and a model shop with the same products to ask the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from fashion_pipeline.demo.api import app
from fashion_pipeline.demo.shop import Key, ModelProduct, ModelShop, ShopClock

FOLDERS = [Path(__file__).parents[1] / "fixtures" / name for name in ("woocommerce", "woocommerce_contract")]
ORIGIN = "https://store.example"
READER = Key("ck_reader", "cs_reader")
KEYS = (
    READER,
    Key("ck_writer", "cs_writer", permissions="write"),
    Key("ck_customer", "cs_customer", may_view=frozenset()),
)


def recorded(name: str) -> dict[str, Any]:
    """Return one recording: request and response."""
    for folder in FOLDERS:
        path = folder / f"{name}.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return found
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
