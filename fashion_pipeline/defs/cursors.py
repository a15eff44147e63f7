"""What the sensors remember between ticks: JSON in their cursors, which the instance keeps across restarts."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from fashion_pipeline.outcomes import LONGEST_RETRY_S

FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=6)
SILENT = timedelta(minutes=45)
"""A shop that has not answered for so long is reported, so that its check is red within the hour."""
_FIRST_SINK_WAIT = timedelta(seconds=30)
_LONGEST_SINK_WAIT = timedelta(minutes=15)
_ROUND = timedelta(seconds=45)  # a tick comes every 30 s
_GATHERED = timedelta(minutes=50)  # less than the hour after which ``health`` calls a product overdue


def wait_after(times: int) -> timedelta:
    """Return the pause after something failed, or helped nothing, so many times in a row: 5 minutes to 6 hours."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(times - 1, 16))


def wait_after_sink(times: int) -> timedelta:
    """Return the pause after a sink failed so many runs in a row: 30 seconds to 15 minutes."""
    return min(_LONGEST_SINK_WAIT, _FIRST_SINK_WAIT * 2.0 ** min(times - 1, 16))


class _Cursor(BaseModel):
    """A cursor of this version: another version's, or a damaged one, is not read but begun anew."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def read(cls, text: str | None) -> tuple[Self, str]:
        """Return what a cursor holds, and why that is nothing where it should be something."""
        if not text:
            return cls(), ""
        try:
            return cls.model_validate_json(text), ""
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(str(part) for part in problem["loc"]) or "it"
            return cls(), f"{place}: {problem['msg']}"


class StoreNews(BaseModel):
    """What ``new_products`` knows of one store.

    Attributes:
        at: the shop's clock at its last answer.
        rows: what it answered then; a row that is not among them is news.
        quiet_until: until when the shop asked to be left alone.
        failures: runs that failed since the last that succeeded.
        failed_at, failed_run: the last of these.
        sink_failed: the last of these failed because PostgreSQL or Qdrant did not answer.
        sweep: one of these was a sweep, so that the next is one too.
        ended_at: of the last run that was counted, whatever became of it.
        silent_since: when the shop first failed to answer, of the failures in a row.
        silence: why it did not answer last.
        refused: it refuses the keys.
    """

    model_config = ConfigDict(extra="forbid")

    at: AwareDatetime | None = None
    rows: list[str] = []
    quiet_until: AwareDatetime | None = None
    failures: int = 0
    failed_at: AwareDatetime | None = None
    failed_run: str = ""
    sweep: bool = False
    sink_failed: bool = False
    ended_at: AwareDatetime | None = None
    silent_since: AwareDatetime | None = None
    silence: str = ""
    refused: bool = False

    def is_counted(self, ended_at: datetime) -> bool:
        """Whether a run that ended then was recorded before."""
        return self.ended_at is not None and ended_at <= self.ended_at

    def settle(self, *, ended_at: datetime) -> None:
        """Record a run after which nothing is to be retried: it succeeded, or a person terminated it. Idempotent."""
        if not self.is_counted(ended_at):
            self.ended_at = ended_at
            self.failures, self.failed_at, self.failed_run, self.sweep, self.sink_failed = 0, None, "", False, False

    def fail(self, run_id: str, *, ended_at: datetime, sweep: bool, sink_failed: bool) -> None:
        """Record a run that failed. Idempotent."""
        if not self.is_counted(ended_at):
            self.ended_at = ended_at
            self.failures = self.failures + 1 if self.sink_failed == sink_failed else 1
            self.failed_at, self.failed_run, self.sweep = ended_at, run_id, self.sweep or sweep
            self.sink_failed = sink_failed

    def answered(self) -> None:
        """Record that the shop answered."""
        self.silent_since, self.silence, self.refused = None, "", False

    def kept_silent(self, why: str, *, refused: bool, now: datetime) -> None:
        """Record that the shop did not answer, or refused the keys."""
        self.silent_since, self.silence, self.refused = self.silent_since or now, why, refused

    def is_silent(self, now: datetime) -> bool:
        """Whether a person has to look: the keys are refused, or the shop has not answered for a while."""
        return self.refused or (self.silent_since is not None and now >= self.silent_since + SILENT)

    def pause(self, seconds: float, *, now: datetime) -> None:
        """Leave the shop alone as it asked, for a day at most."""
        self.quiet_until = now + timedelta(seconds=min(seconds, LONGEST_RETRY_S))

    def may_run(self, now: datetime) -> bool:
        """Whether the wait after the last failed run is over, and the pause that the shop asked for, news or not."""
        is_quiet = self.quiet_until is not None and now < self.quiet_until <= now + timedelta(seconds=LONGEST_RETRY_S)
        return not is_quiet and (self.failed_at is None or now >= self.failed_at + self._wait())

    def _wait(self) -> timedelta:
        return wait_after_sink(self.failures) if self.sink_failed else wait_after(self.failures)


class News(_Cursor):
    """The cursor of ``new_products``.

    Attributes:
        checked_at: runs that ended before were counted.
        first: stores whose turn did not come at the last tick, or whose request did not fit into it.
        last: stores that were asked at the last tick and did not answer in time.
        asked_at: when all shops were last asked.
        reported: the silent stores as the check ``stores_answer`` last reported them; None: it has not yet.
    """

    format: Literal[2] = 2
    checked_at: AwareDatetime | None = None
    stores: dict[str, StoreNews] = {}
    first: list[str] = []
    last: list[str] = []
    asked_at: AwareDatetime | None = None
    reported: list[str] | None = None

    def of(self, store_id: str) -> StoreNews:
        """Return what is known of a store, for changing."""
        return self.stores.setdefault(store_id, StoreNews())

    def keep(self, store_ids: Collection[str]) -> None:
        """Forget the stores that are not among these."""
        self.stores = {store_id: known for store_id, known in self.stores.items() if store_id in store_ids}

    def is_full_round(self, now: datetime) -> bool:
        """Whether it is time to ask every shop; between two rounds only failed runs are retried."""
        return self.asked_at is None or not timedelta() <= now - self.asked_at < _ROUND

    def may_ask(self, store_id: str, now: datetime) -> bool:
        """Whether a store is to be asked at this tick."""
        known = self.of(store_id)
        return known.may_run(now) and (self.is_full_round(now) or (known.failures > 0 and known.sink_failed))

    def silent(self, now: datetime) -> dict[str, StoreNews]:
        """Return the stores whose shop a person has to look at."""
        return {store_id: known for store_id, known in sorted(self.stores.items()) if known.is_silent(now)}

    def in_turn(self, store_ids: Iterable[str]) -> list[str]:
        """Sort stores: who was left over comes first, and who kept others waiting last."""
        first, last = set(self.first), set(self.last)
        return sorted(store_ids, key=lambda store_id: (store_id not in first, store_id in last))


class StoreDue(BaseModel):
    """When ``retry_due`` last requested a run of a store, and how often since something else fell due."""

    model_config = ConfigDict(extra="forbid")

    at: AwareDatetime
    times: int


class Due(_Cursor):
    """The cursor of ``retry_due``."""

    format: Literal[1] = 1
    stores: dict[str, StoreDue] = {}

    def keep(self, store_ids: Collection[str], *, now: datetime) -> None:
        """Forget the stores that are not among these, but for those whose last request is recent: they are to wait."""
        self.stores = {
            store_id: known
            for store_id, known in self.stores.items()
            if store_id in store_ids or now < known.at + _GATHERED
        }

    def in_turn(self, store_ids: Iterable[str]) -> list[str]:
        """Sort stores: whose last request lies furthest back comes first."""
        return sorted(store_ids, key=lambda store_id: self.stores[store_id].at if store_id in self.stores else _NEVER)

    def request(self, store_id: str, *, latest: datetime, soon: bool, now: datetime) -> str | None:
        """Return the key of a run for what is due in a store, or None while one would come too early.

        What is due at random moments is gathered for a while; what a run did not change is tried
        again ever more rarely.

        Args:
            latest: when the last thing that is due fell due.
            soon: whether something that is due may be well by now; what has failed for long is
                gathered for longer, or a hundred dead images would be a hundred runs a day.
            now: by this machine's clock.
        """
        known = self.stores.get(store_id)
        times = 1
        if known is not None:
            same = latest <= known.at
            if now < known.at + (wait_after(known.times) if same else FIRST_WAIT if soon else _GATHERED):
                return None
            times = known.times + 1 if same else 1
        self.stores[store_id] = StoreDue(at=now, times=times)
        return f"{store_id} due {latest.isoformat()} {times}"


_NEVER = datetime.min.replace(tzinfo=UTC)
