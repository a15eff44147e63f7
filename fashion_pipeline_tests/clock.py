"""A clock that a test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MONDAY = datetime(2026, 11, 16, 12, 0, tzinfo=UTC)


class HandClock:
    """Stands still, except that waiting moves it; remembers every wait, in seconds."""

    def __init__(self, now: datetime = MONDAY) -> None:
        self._now = now
        self.waits: list[float] = []

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self._now

    def advance(self, **by: float) -> None:
        """Move on by ``timedelta(**by)``."""
        self._now += timedelta(**by)

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.waits.append(seconds)
        self._now += timedelta(seconds=seconds)
