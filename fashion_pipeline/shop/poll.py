"""Asks many shops concurrently whether they have news.

A shop that hangs costs one socket until the deadline, and delays no other shop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime

from fashion_pipeline.errors import FashionError, ShopAuthError, ShopError, without_store
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.redaction import blank
from fashion_pipeline.shop.news import Recent, recent_changes
from fashion_pipeline.shop.rest import Pages
from fashion_pipeline.stores import Store

MAX_CONCURRENT = 256
"""Shops asked at a time: each holds a socket, and a process may usually open 1,024 files."""

OpenShop = Callable[[Store], AbstractAsyncContextManager[Pages]]


@dataclass(slots=True)
class Answers:
    """The result of one round, by store id. Each store answered, failed, is late or was not asked.

    Attributes:
        recent: the recent changes of the shops that answered.
        failed: the error of each shop that failed, in one line.
        refused: of these, the shops that refuse the keys: they do not recover by themselves.
        pauses: of the shops that failed, the seconds until the shop wants the next request.
        late: shops that were asked and did not answer in time.
        not_asked: shops whose turn did not come in time.
    """

    recent: dict[str, Recent] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    pauses: dict[str, float] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    not_asked: set[str] = field(default_factory=set)


async def poll(
    questions: Sequence[tuple[Store, datetime]],
    *,
    open_shop: OpenShop,
    clock: Clock,
    deadline_s: float,
    max_concurrent: int = MAX_CONCURRENT,
) -> Answers:
    """Ask every shop what changed since a moment of its own clock.

    Args:
        questions: stores and moments, in the order of their turns.
        open_shop: opens the API of a store's shop. It should not retry.
        clock: used where a shop sends no Date header.
        deadline_s: for the whole round; requests still open then are cancelled.
        max_concurrent: shops asked at a time.
    """
    answers = Answers(not_asked={store.id for store, _ in questions})
    turns = asyncio.Semaphore(max_concurrent)

    async def ask(store: Store, since: datetime) -> None:
        async with turns:
            answers.not_asked.discard(store.id)
            answers.late.add(store.id)
            try:
                async with open_shop(store) as shop:
                    answers.recent[store.id] = await recent_changes(shop, since, clock=clock)
            except FashionError as error:
                answers.failed[store.id] = _in_one_line(without_store(error, store.id))
                if isinstance(error, ShopAuthError):
                    answers.refused.add(store.id)
                if isinstance(error, ShopError) and error.retry_after_s is not None:
                    answers.pauses[store.id] = error.retry_after_s
            except Exception as error:  # noqa: BLE001 - no error of one shop may end the requests to the others
                answers.failed[store.id] = _in_one_line(f"{type(error).__name__}, which is a bug: {error}")
            answers.late.discard(store.id)

    tasks = [asyncio.create_task(ask(store, since)) for store, since in questions]
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=deadline_s)
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return answers


def _in_one_line(text: str) -> str:
    return " ".join(blank(text).split())
