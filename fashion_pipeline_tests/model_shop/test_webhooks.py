from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fashion_pipeline.model_shop.webhooks import Webhook, delivery, php_json, ping, signature
from fashion_pipeline_tests.model_shop.recordings import below_x, moment, recorded, type_in, whole_shop

OF_THE_CONNECTION = {"Host", "Accept", "Accept-Encoding", "Connection", "Content-Length"}
FROM_OTHER_BYTES = {"X-WC-Webhook-Signature", "X-WC-Webhook-Delivery-ID"}

DELIVERIES: dict[str, list[dict[str, Any]]] = {
    name: recorded(name)  # type: ignore[misc]
    for name in (
        *("webhook_product_created", "webhook_product_deleted_trash", "webhook_product_published"),
        *("webhook_product_restored", "webhook_product_unpublished", "webhook_product_updated"),
        *("webhook_product_updated_coalesced", "webhook_three_updates", "webhook_variation_updated"),
    )
}


def headers(sent: dict[str, Any]) -> dict[str, str]:
    """Return the recorded headers that are the webhook's own."""
    return {name: below_x(value) for name, value in sent["headers"] if name not in OF_THE_CONNECTION}


@pytest.mark.parametrize("name", DELIVERIES)
def test_deliveries_as_recorded(name: str) -> None:
    """A delivery has the recorded headers in their order, and the product as it is now, field by field."""
    for sent in DELIVERIES[name]:
        expected, body = headers(sent), json.loads(sent["body_text"])
        webhook = Webhook(int(expected["X-WC-Webhook-ID"]), expected["X-WC-Webhook-Topic"], sent["secret"])
        shop = whole_shop()
        if body.get("type") == "variation":
            variation = shop.variations[body["id"]]
            variation.modified = moment(body["date_modified_gmt"])
            variation.fields |= {"regular_price": body["regular_price"], "sale_price": ""}
        elif len(body) > 1:
            product = type_in(shop, body)
            if body["id"] == 12:  # whose price a plugin had written past the sale
                product.fields |= {"price": body["price"], "on_sale": body["on_sale"]}
        made = delivery(shop, webhook, body["id"])
        ours = dict(made.headers)
        assert list(ours) == list(expected)
        assert {key: value for key, value in ours.items() if key not in FROM_OTHER_BYTES} == {
            key: value for key, value in expected.items() if key not in FROM_OTHER_BYTES
        }
        assert ours["X-WC-Webhook-Signature"] == signature(made.body, sent["secret"])
        spelled = json.loads(made.body)
        assert list(spelled) == list(body)
        assert spelled | {"related_ids": []} == below_x(body) | {"related_ids": []}


@pytest.mark.parametrize("name", DELIVERIES)
def test_bytes_and_signatures_as_recorded(name: str) -> None:
    """Recorded bodies are spelled byte for byte as PHP spells them, and signed over those bytes."""
    for sent in DELIVERIES[name]:
        body = php_json(json.loads(sent["body_text"]))
        assert body == sent["body_text"].encode()
        assert signature(body, sent["secret"]) == headers(sent)["X-WC-Webhook-Signature"]


def test_pings_as_recorded() -> None:
    """A ping is a form with the webhook's id: no topic, no signature."""
    pings: list[dict[str, Any]] = recorded("webhook_pings")  # type: ignore[assignment]
    for number, sent in enumerate(pings, start=2):
        made = ping(Webhook(number, "product.updated", "secret"))
        assert dict(made.headers) == headers(sent)
        assert made.body == base64.b64decode(sent["body_b64"])


def test_a_deletion_for_ever_is_told_of_by_nobody() -> None:
    """Of a product that is gone there is nothing to deliver, as the empty recording says."""
    assert not recorded("webhook_product_force_deleted")
    shop = whole_shop()
    shop.force_delete(105)
    with pytest.raises(KeyError):
        delivery(shop, Webhook(3, "product.updated", "secret"), 105)


def test_delivery_ids_repeat_within_a_second() -> None:
    """Deliveries of one webhook in one second share their id, as recorded: it proves nothing."""
    sent = {headers(each)["X-WC-Webhook-Delivery-ID"] for each in DELIVERIES["webhook_three_updates"]}
    assert len(sent) == 1
    shop, webhook = whole_shop(), Webhook(3, "product.updated", "secret")
    ids = [dict(delivery(shop, webhook, key).headers)["X-WC-Webhook-Delivery-ID"] for key in (12, 14, 16)]
    shop.clock.advance(1)
    later = dict(delivery(shop, webhook, 12).headers)["X-WC-Webhook-Delivery-ID"]
    assert (len(set(ids)), later == ids[0]) == (1, False)
