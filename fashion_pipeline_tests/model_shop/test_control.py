from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import httpx

from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.payload import product_payload
from fashion_pipeline.model_shop.shop import ModelShop, ShopClock
from fashion_pipeline_tests.model_shop.control import TOKEN, handle


def shop() -> ModelShop:
    """Return an empty shop, its clock standing still."""
    return ModelShop("x", clock=ShopClock(datetime(2026, 3, 1, tzinfo=UTC)))


async def order(model: ModelShop, body: Any, *, token: str = TOKEN, controlled: bool = True) -> httpx.Response:
    """Send an order to a server that obeys orders, or to one that does not."""
    served = app({model.id: model}, handler=handle if controlled else None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=served)) as client:
        headers = {"authorization": f"Bearer {token}"}
        return await client.post(f"{model.url}/_control", json=body, headers=headers)


async def test_every_verb_reaches_the_shop() -> None:
    """A shop can be driven over HTTP through its whole life."""
    model = shop()
    picture = base64.b64encode(b"picture").decode()
    url = (await order(model, {"do": "upload", "path": "2026/03/a.jpg", "content": picture})).json()["url"]
    key = (await order(model, {"do": "add", "fields": {"name": "A", "price": "5", "images": [url]}})).json()["id"]
    await order(model, {"do": "clock", "advance": 60})
    await order(model, {"do": "edit", "id": key, "fields": {"price": "6"}})
    await order(model, {"do": "edit_silently", "id": key, "fields": {"name": "B"}})
    body = product_payload(model, model.products[key])
    assert (body["price"], body["name"], body["date_modified_gmt"]) == ("6", "B", "2026-03-01T00:01:00")
    await order(model, {"do": "set_image", "url": url, "content": base64.b64encode(b"new").decode()})
    assert model.uploads["2026/03/a.jpg"].read() == b"new"
    other = (await order(model, {"do": "upload", "path": "2026/03/b.jpg", "content": picture})).json()["url"]
    await order(model, {"do": "set_image", "url": url, "copy_of": other, "shop_knows": True})
    assert model.uploads["2026/03/a.jpg"].read() == b"picture"
    await order(model, {"do": "forget_image", "url": other})
    assert list(model.uploads) == ["2026/03/a.jpg"]
    fields = {"regular_price": "7", "image": url}
    variation = (await order(model, {"do": "add_variation", "parent": key, "fields": fields})).json()["id"]
    await order(model, {"do": "edit_variation", "id": variation, "fields": {"regular_price": "8"}})
    assert product_payload(model, model.products[key])["price"] == "8"
    await order(model, {"do": "delete_variation", "id": variation})
    assert not model.variations
    await order(model, {"do": "trash", "id": key})
    assert model.products[key].status == "trash"
    await order(model, {"do": "untrash", "id": key})
    await order(model, {"do": "set", "currency": "GBP", "latency_s": 0.5})
    assert (model.products[key].status, model.currency, model.latency_s) == ("publish", "GBP", 0.5)
    scheduled = model.add(name="S", status="future")
    assert (await order(model, {"do": "cron"})).json()["published"] == [scheduled]
    at = (await order(model, {"do": "clock", "at": "2026-04-01T02:00:00+02:00"})).json()["now"]
    assert at == "2026-04-01T00:00:00+00:00"
    await order(model, {"do": "force_delete", "id": key})
    assert key not in model.products
    assert (await order(model, {"do": "asked", "clear": True})).json()["asked"] == []


async def test_a_wrong_order_says_what_is_wrong() -> None:
    """Unknown verbs, ids and contents are refused with a sentence."""
    model = shop()
    for body, status in (
        ({"do": "burn"}, 400),
        ([], 400),
        ({"do": "trash", "id": 99}, 404),
        ({"do": "trash"}, 404),
        ({"do": "upload", "path": "a.jpg", "content": "%%%"}, 400),
    ):
        answer = await order(model, body)
        assert answer.status_code == status
        assert answer.json()["error"]


async def test_control_needs_the_token() -> None:
    """A wrong token is refused, and a server without the handler has no such address."""
    model = shop()
    key = model.add(name="A")
    assert (await order(model, {"do": "trash", "id": key}, token="guess")).status_code == 401
    assert (await order(model, {"do": "trash", "id": key}, controlled=False)).status_code == 404
    assert model.products[key].status == "publish"
