"""How many requests one host gets at a time, and how long it is paused after it reported overload."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from fashion_pipeline.errors import WebError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.web.retry import LONGEST_PAUSE_S

_OVERLOADED = frozenset({429, 503})
"""Statuses about the host as a whole, not about the URL that was requested."""
_LONGEST_OWN_PAUSE_S = 8.0


class HostLimiter:
    """The request budget of one host, shared by everything that requests from it, and its pauses.

    A pause that the host asked for (Retry-After) is kept. After a 429 or 503 without Retry-After,
    the pause is drawn from up to 1, 2, 4, then 8 seconds, until a request succeeds. A Retry-After
    beyond ``LONGEST_PAUSE_S`` is not waited for here: it ends the exchange that received it.

    Args:
        limit: requests to the host at one time.
        clock: waits out the pauses.
    """

    def __init__(self, *, limit: int, clock: Clock) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._clock = clock
        self._paused_until: datetime | None = None
        self._overloads_in_a_row = 0

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a free slot and for the end of the host's pause; yield the value ``record`` takes as ``begun``."""
        async with self._slots:
            while 0 < (remaining_s := self._pause_s()) <= LONGEST_PAUSE_S:  # more: the clock was set back
                await self._clock.sleep(remaining_s)
            yield self._overloads_in_a_row

    def record(self, error: WebError | None, *, begun: int) -> None:
        """Record how an exchange ended.

        Args:
            error: None for success.
            begun: the value ``slot`` yielded; concurrent exchanges that fail together count once.
        """
        if error is None or error.status not in _OVERLOADED:
            self._overloads_in_a_row = 0
            return
        self._overloads_in_a_row = max(self._overloads_in_a_row, begun + 1)
        pause_s = error.retry_after_s
        if pause_s is None:
            ceiling_s = min(_LONGEST_OWN_PAUSE_S, 2.0 ** min(begun, 8))
            pause_s = random.uniform(0, ceiling_s)  # noqa: S311 - jitter, not a secret
        if self._pause_s() < pause_s <= LONGEST_PAUSE_S:
            self._paused_until = self._clock.now() + timedelta(seconds=pause_s)

    def _pause_s(self) -> float:
        if self._paused_until is None:
            return 0.0
        return (self._paused_until - self._clock.now()).total_seconds()
