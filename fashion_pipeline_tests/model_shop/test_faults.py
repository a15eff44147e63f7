from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from oauthlib.oauth1 import Client

from fashion_pipeline_tests.model_shop import faults
from fashion_pipeline_tests.model_shop.recordings import READER, ask, products_url, recorded_shop

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault


async def statuses(fault: Fault, *queries: str) -> list[int]:
    """Ask a shop with a fault for its products, and return what it answers."""
    shop = recorded_shop()
    shop.fault = fault
    return [(await ask(shop, products_url(query), key=READER)).status_code for query in queries]


async def test_a_fault_may_be_limited() -> None:
    """First counts the requests that a fault acted on, only chooses them by path and query."""
    down = faults.only(faults.database_down(), path="/products$", query={"page": "2"})
    twice = faults.first(2, down)
    assert await statuses(twice, "?page=2", "?page=1", "/12", "?page=2", "?page=2") == [500, 200, 200, 500, 200]


async def test_faults_meet() -> None:
    """The first fault that answers does, and all change the answer, in whatever order."""
    shop = recorded_shop()
    for order in (1, -1):
        meeting = (faults.no_date(), faults.slow(0.001), faults.maintenance(), faults.database_down())[::order]
        shop.fault = faults.together(*meeting)
        answer = await ask(shop, products_url(), key=READER)
        assert answer.status_code == (503 if order == 1 else 500)
        assert "date" not in answer.headers
    assert [(asked.status, asked.path) for asked in shop.asked] == [
        (503, "/x/wp-json/wc/v3/products"),
        (500, "/x/wp-json/wc/v3/products"),
    ]


@pytest.mark.parametrize("after_bytes", [None, 5])
async def test_a_dropped_connection_in_process(after_bytes: int | None) -> None:
    """Without a connection to close, a dropped one is the error that a client meets."""
    with pytest.raises(httpx.ReadError):
        await statuses(faults.drops(after_bytes), "")


async def test_a_firewall_knows_libraries() -> None:
    """Libraries are refused by their User-Agent, a reader that says who it is passes."""
    shop = recorded_shop()
    shop.fault = faults.firewall()
    for agent, status in (
        ("python-httpx/0.28.1", 403),
        ("WooCommerce API Client-Python/3.0.0", 403),
        ("", 403),
        ("fashion-pipeline/1.0 (+https://reader.example)", 200),
    ):
        assert (await ask(shop, products_url(), key=READER, headers={"user-agent": agent})).status_code == status


async def test_old_woocommerce_ignores_dates() -> None:
    """Before 5.8 the index has no modified_after, and a query with it brings everything."""
    shop = recorded_shop()
    shop.fault = faults.old_woocommerce()
    index = (await ask(shop, "https://store.example/x/wp-json/wc/v3")).json()
    assert "modified_after" not in index["routes"]["/wc/v3/products"]["endpoints"][0]["args"]
    answer = await ask(shop, products_url("?modified_after=2040-01-01T00:00:00&per_page=5"), key=READER)
    assert answer.headers["x-wp-total"] == "71"


async def test_plain_permalinks_leave_a_way() -> None:
    """Keys count with ?rest_route= only where the query spells wp-json/wc/ without an escape."""
    shop = recorded_shop()
    shop.fault = faults.plain_permalinks()
    url = "https://store.example/x/?rest_route=%2Fwc%2Fv3%2Fproducts&per_page=3"
    assert (await ask(shop, url, key=READER)).status_code == 401
    answer = await ask(shop, f"{url}&_=wp-json/wc/", key=READER)
    assert (answer.status_code, len(answer.json())) == (200, 3)


async def test_a_stripped_header_leaves_the_query() -> None:
    """Keys in the query get past a server that drops the Authorization header."""
    shop = recorded_shop()
    shop.fault = faults.strips_authorization()
    assert (await ask(shop, products_url(), key=READER)).status_code == 401
    keys = f"?consumer_key={READER.consumer_key}&consumer_secret={READER.consumer_secret}"
    assert (await ask(shop, products_url(keys))).status_code == 200


async def test_hidden_products_are_counted() -> None:
    """What the key may not see is left out of its page, counted in the total, and 403 by its id."""
    shop = recorded_shop()
    first = (await ask(shop, products_url("?per_page=3"), key=READER)).json()
    shop.hidden = {first[1]["id"]}
    answer = await ask(shop, products_url("?per_page=3"), key=READER)
    assert [row["id"] for row in answer.json()] == [first[0]["id"], first[2]["id"]]
    assert answer.headers["x-wp-total"] == "71"
    alone = await ask(shop, products_url(f"/{first[1]['id']}"), key=READER)
    assert (alone.status_code, alone.json()["code"]) == (403, "woocommerce_rest_cannot_view")


async def test_a_signature_outlives_a_changed_query() -> None:
    """A plugin that drops a parameter does so behind the check of the signature."""
    shop = recorded_shop()
    shop.fault = faults.same_page()
    signer = Client(READER.consumer_key, READER.consumer_secret, signature_method="HMAC-SHA256")
    bodies = []
    for page in (1, 2):
        url, headers, _ = signer.sign(products_url(f"?per_page=2&page={page}", scheme="http"))
        bodies.append([row["id"] for row in (await ask(shop, url, headers=headers)).json()])
    assert bodies[0] == bodies[1]
