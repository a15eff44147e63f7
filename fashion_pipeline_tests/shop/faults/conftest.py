from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from fashion_pipeline.model_shop.api import app
from fashion_pipeline.web.client import Web
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.shop.faults.stage import AGENT, Stage, shop_and_store


async def loopback(host: str, port: int) -> Sequence[str]:
    """Resolve every name to this machine."""
    return ("127.0.0.1",)


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def atelier(clock: HandClock) -> AsyncIterator[Stage]:
    """A store, and a client that reaches its shop, in this process, and nothing else."""
    model, store = shop_and_store("atelier")
    guard = Guard(allow_private_hosts=("shop.example",), resolver=loopback)
    transport = httpx.ASGITransport(app({model.id: model}))
    async with Web(guard=guard, clock=clock, user_agent=AGENT, transport=transport) as web:
        yield Stage(model, store, clock, web)
