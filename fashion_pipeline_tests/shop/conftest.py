from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import Key, ModelShop, ShopClock
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.shop.reader import Reader
from fashion_pipeline_tests.shop.recordings import replay

NOW = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)

LONG_AGO = NOW - timedelta(days=30)

MakeStore = Callable[..., Store]


class StoppedClock:
    """A clock that stands still; waiting moves it."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock(NOW)


@pytest.fixture
def make_store() -> MakeStore:
    def make(**fields: object) -> Store:
        given: dict[str, object] = {
            "id": "atelier",
            "url": "https://shop.example/atelier",
            "consumer_key": SecretStr("ck_a_key_of_the_test"),
            "consumer_secret": SecretStr("cs_a_secret_of_the_test"),
        }
        return Store.model_validate(given | fields)

    return make


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()


@pytest.fixture
def model(store: Store) -> ModelShop:
    """A model shop without products, whose clock stands at ``NOW``."""
    key = Key(store.consumer_key.get_secret_value(), store.consumer_secret.get_secret_value())
    return ModelShop(id="atelier", origin="https://shop.example", keys=[key], clock=ShopClock(NOW))


@asynccontextmanager
async def web_of(*models: ModelShop, clock: StoppedClock) -> AsyncIterator[Web]:
    """Give a client that reaches these model shops, and nothing else."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.1",)

    guard = Guard(allow_private_hosts=("shop.example",), resolver=resolve)
    transport = httpx.ASGITransport(app({model.id: model for model in models}))
    async with Web(guard=guard, clock=clock, user_agent="tests", transport=transport) as client:
        yield client


@pytest.fixture
async def web(model: ModelShop, clock: StoppedClock) -> AsyncIterator[Web]:
    """A client that reaches the model shop."""
    async with web_of(model, clock=clock) as client:
        yield client


@pytest.fixture
def shop(store: Store, web: Web) -> Shop:
    return Shop(store, web)


def meanwhile(model: ModelShop, **events: Callable[[], object]) -> None:
    """Do something in the shop just before it answers a listing: ``at_3`` before the third one."""
    listings = 0

    def fault(request: Request) -> None:
        nonlocal listings
        if request.url.path.endswith("/products"):
            listings += 1
            events.get(f"at_{listings}", lambda: None)()

    model.fault = fault


def add_many(model: ModelShop, count: int, *, modified: datetime, every_s: float = 1) -> list[int]:
    """Add products, each modified so many seconds after the one before."""
    return [
        model.add(
            name=f"Product {number}",
            price="10",
            images=[f"https://shop.example/{number}.jpg"],
            created=datetime(2026, 1, 1, tzinfo=UTC),
            modified=(modified + timedelta(seconds=number * every_s)).replace(microsecond=0),
        )
        for number in range(count)
    ]


def poisoned(model: ModelShop, *culprits: int, fields: str = "price") -> Callable[[Request], Response | None]:
    """Fail as json_encode does, on every page that has a culprit with one of the fields."""

    def fault(request: Request) -> Response | None:
        query = {key: values[0] for key, values in parse_qs(request.url.query).items()}
        if not request.url.path.endswith("/products") or not set(query["_fields"].split(",")) & set(fields.split(",")):
            return None
        include = {int(key) for key in query.get("include", "").split(",") if key} or set(model.products)
        ids = sorted(include & set(model.products), reverse=query["order"] == "desc")
        first = (int(query["page"]) - 1) * int(query["per_page"])
        if not set(culprits) & set(ids[first : first + int(query["per_page"])]):
            return None
        response = replay("err_500_json_encode")
        response.headers["x-wp-total"] = str(len(ids))
        return response

    return fault


@pytest.fixture
def reader(store: Store, web: Web, clock: StoppedClock, model: ModelShop) -> Reader:
    """Return what reads the model shop."""
    return Reader(store, web, clock, model)
