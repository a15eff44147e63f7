from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fashion_pipeline.errors import ShopUnavailable
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.shop.poll import poll
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline_tests.shop.conftest import NOW, MakeStore, StoppedClock


async def test_each_shop_answers_fails_or_is_given_up_by_itself(
    make_store: MakeStore, model: ModelShop, web: Web, clock: StoppedClock
) -> None:
    """One that answers, one that is down, one that meets a bug and one that hangs: none touches another."""
    model.add(name="New", modified=NOW)
    released = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open_shop(store: Store) -> AsyncIterator[Shop]:
        if store.id == "down":
            error = ShopUnavailable("the shop\nis down", store_id="down")
            error.retry_after_s = 600
            raise error
        if store.id == "bug":
            raise ZeroDivisionError
        if store.id == "hangs":
            await released.wait()
        yield Shop(store, web)

    stores = [make_store(id=name) for name in ("hangs", "down", "bug", "live")]
    questions = [(store, NOW) for store in stores]
    answers = await poll(questions, open_shop=open_shop, clock=clock, deadline_s=0.5, max_concurrent=3)
    assert set(answers.recent) <= {"live"}
    assert answers.failed["down"] == "the shop is down"
    assert answers.pauses == {"down": 600}
    assert "ZeroDivisionError" in answers.failed["bug"]
    assert answers.late >= {"hangs"}
    released.set()
    answers = await poll(questions, open_shop=open_shop, clock=clock, deadline_s=60, max_concurrent=3)
    assert set(answers.recent) == {"hangs", "live"}
    assert not answers.late | answers.not_asked


async def test_whose_turn_does_not_come_is_told_from_who_keeps_others_waiting(
    make_store: MakeStore, web: Web, clock: StoppedClock
) -> None:
    """Where shops that hang take every turn, the others count as not asked: they come first the next time."""

    @contextlib.asynccontextmanager
    async def hang(store: Store) -> AsyncIterator[Shop]:
        await asyncio.Event().wait()
        yield Shop(store, web)

    questions = [(make_store(id=name), NOW) for name in ("a", "b", "c")]
    answers = await poll(questions, open_shop=hang, clock=clock, deadline_s=0.1, max_concurrent=2)
    assert (answers.late, answers.not_asked) == ({"a", "b"}, {"c"})
    assert await poll([], open_shop=hang, clock=clock, deadline_s=60) is not None
