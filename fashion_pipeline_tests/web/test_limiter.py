from __future__ import annotations

import asyncio

import pytest

from fashion_pipeline.errors import BadReply, HostUnavailable, WebError
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.limiter import HostLimiter
from fashion_pipeline_tests.clock import HandClock


def overloaded(status: int = 503, retry_after_s: float | None = None) -> HostUnavailable:
    return HostUnavailable("overloaded", reason=Reason.HTTP_ERROR, url="u", status=status, retry_after_s=retry_after_s)


async def waited(limiter: HostLimiter, clock: HandClock, error: WebError | None = None) -> float:
    """Make one exchange that ends with this error or none, and return how long it waited for its slot."""
    clock.waits.clear()
    async with limiter.slot() as begun:
        limiter.record(error, begun=begun)
    return sum(clock.waits)


async def test_pauses_of_an_overloaded_host_get_longer() -> None:
    """Without a Retry-After the pause is drawn from up to 1, 2, 4, then 8 seconds, until a request succeeds."""
    longest = [0.0] * 8
    for _ in range(200):
        clock = HandClock()
        limiter = HostLimiter(limit=4, clock=clock)
        waits = [await waited(limiter, clock, overloaded()) for _ in range(8)]
        longest = [max(pair) for pair in zip(longest, waits, strict=True)]
        assert all(wait <= limit for wait, limit in zip(waits, [0, 1, 2, 4, 8, 8, 8, 8], strict=True))
        await waited(limiter, clock)
        await waited(limiter, clock, overloaded())
        assert await waited(limiter, clock) <= 1
    assert longest[4] > 4


async def test_concurrent_failures_count_once() -> None:
    """Four concurrent requests that meet the same overload lengthen the pause once, not four times."""
    clock = HandClock()
    limiter = HostLimiter(limit=4, clock=clock)
    together = asyncio.Barrier(4)

    async def ask() -> None:
        async with limiter.slot() as begun:
            await together.wait()
            limiter.record(overloaded(), begun=begun)

    await asyncio.gather(*(ask() for _ in range(4)))
    assert await waited(limiter, clock) <= 1


async def test_the_longest_retry_after_wins() -> None:
    """A pause that the host asked for is kept; a shorter one in another reply does not end it."""
    clock = HandClock()
    limiter = HostLimiter(limit=4, clock=clock)
    async with limiter.slot() as begun:
        limiter.record(overloaded(429, 50), begun=begun)
        limiter.record(overloaded(429, 5), begun=begun)
    assert await waited(limiter, clock) == 50


@pytest.mark.parametrize(
    "error",
    [
        None,
        overloaded(500),
        overloaded(429, 61),
        overloaded(429, float("inf")),
        BadReply("x", reason=Reason.ENCODED, url="u"),
    ],
)
async def test_errors_about_one_url_and_pauses_beyond_a_minute_do_not_pause_the_host(error: WebError | None) -> None:
    """One broken image, or a Retry-After of more than a minute, does not delay other images."""
    clock = HandClock()
    limiter = HostLimiter(limit=4, clock=clock)
    await waited(limiter, clock, error)
    assert await waited(limiter, clock) == 0


async def test_a_clock_that_is_set_back_does_not_prolong_a_pause() -> None:
    """No pause lasts longer than the longest one allowed, even if the clock is set back."""
    clock = HandClock()
    limiter = HostLimiter(limit=4, clock=clock)
    await waited(limiter, clock, overloaded(429, 50))
    clock.advance(days=-1)
    assert await waited(limiter, clock) == 0
