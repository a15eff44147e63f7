"""How many requests a host has at a time, and when it is left alone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from fashion_pipeline.errors import WebError
from fashion_pipeline.outcomes import Clock
from fashion_pipeline.web.repeat import LONGEST_PAUSE_S

_BUSY = frozenset({429, 503})
"""Statuses that speak of the host as a whole, not of what was asked for."""
_LONGEST_OWN_PAUSE_S = 8.0


class HostLimiter:
    """The budget of one host name, shared by everything that asks it, and the pause it needs.

    A pause that the host asked for (Retry-After) is kept. Where it says 429 or 503 and no more, the
    pause is drawn from up to 1, 2, 4, then 8 seconds, as long as nothing else comes. A wish beyond
    ``LONGEST_PAUSE_S`` is not waited for here: it ends the exchange that met it.
    """

    def __init__(self, *, at_once: int, clock: Clock) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._clock = clock
        self._paused_until: datetime | None = None
        self._busy_in_a_row = 0

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[int]:
        """Wait for a turn and for the end of the host's pause; yields what ``note`` wants to know."""
        async with self._free:
            while 0 < (left_s := self._pause_s()) <= LONGEST_PAUSE_S:  # more: the clock was set back
                await self._clock.sleep(left_s)
            yield self._busy_in_a_row

    def note(self, error: WebError | None, *, begun: int) -> None:
        """Learn from how an exchange ended.

        Args:
            error: None where all is well.
            begun: what ``one`` gave; exchanges that ran side by side count once.
        """
        if error is None or error.status not in _BUSY:
            self._busy_in_a_row = 0
            return
        self._busy_in_a_row = max(self._busy_in_a_row, begun + 1)
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
