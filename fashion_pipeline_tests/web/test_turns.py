from __future__ import annotations

import asyncio

import pytest

from fashion_pipeline.errors import BadReply, HostUnavailable, WebError
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.turns import HostLimiter
from fashion_pipeline_tests.clock import HandClock


def busy(status: int = 503, retry_after_s: float | None = None) -> HostUnavailable:
    return HostUnavailable("busy", reason=Reason.HTTP_ERROR, url="u", status=status, retry_after_s=retry_after_s)


async def waited(turns: HostLimiter, clock: HandClock, error: WebError | None = None) -> float:
    """Take one turn that ends with an error or none, and return how long it was waited for."""
    clock.waits.clear()
    async with turns.one() as begun:
        turns.note(error, begun=begun)
    return sum(clock.waits)


async def test_a_host_that_is_busy_is_left_alone_longer_each_time() -> None:
    """Without a Retry-After the pause is drawn from up to 1, 2, 4, then 8 seconds, until an answer comes."""
    longest = [0.0] * 8
    for _ in range(200):
        clock = HandClock()
        turns = HostLimiter(at_once=4, clock=clock)
        waits = [await waited(turns, clock, busy()) for _ in range(8)]
        longest = [max(pair) for pair in zip(longest, waits, strict=True)]
        assert all(wait <= limit for wait, limit in zip(waits, [0, 1, 2, 4, 8, 8, 8, 8], strict=True))
        await waited(turns, clock)
        await waited(turns, clock, busy())
        assert await waited(turns, clock) <= 1
    assert longest[4] > 4


async def test_failures_side_by_side_count_once() -> None:
    """Four requests that meet one overload are one reason to wait, not four."""
    clock = HandClock()
    turns = HostLimiter(at_once=4, clock=clock)
    together = asyncio.Barrier(4)

    async def ask() -> None:
        async with turns.one() as begun:
            await together.wait()
            turns.note(busy(), begun=begun)

    await asyncio.gather(*(ask() for _ in range(4)))
    assert await waited(turns, clock) <= 1


async def test_the_longest_wish_of_a_host_counts() -> None:
    """A pause that it asked for is kept, and a shorter one of another answer does not end it."""
    clock = HandClock()
    turns = HostLimiter(at_once=4, clock=clock)
    async with turns.one() as begun:
        turns.note(busy(429, 50), begun=begun)
        turns.note(busy(429, 5), begun=begun)
    assert await waited(turns, clock) == 50


@pytest.mark.parametrize(
    "error",
    [None, busy(500), busy(429, 61), busy(429, float("inf")), BadReply("x", reason=Reason.ENCODED, url="u")],
)
async def test_what_says_nothing_about_the_host_or_asks_too_much_is_not_waited_for(error: WebError | None) -> None:
    """One broken picture, or a wish of more than a minute, holds up no other picture."""
    clock = HandClock()
    turns = HostLimiter(at_once=4, clock=clock)
    await waited(turns, clock, error)
    assert await waited(turns, clock) == 0


async def test_a_clock_that_is_set_back_prolongs_no_pause() -> None:
    """A pause is never longer than the longest that is waited for."""
    clock = HandClock()
    turns = HostLimiter(at_once=4, clock=clock)
    await waited(turns, clock, busy(429, 50))
    clock.advance(days=-1)
    assert await waited(turns, clock) == 0
