from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fashion_pipeline.defs.cursors import Due, News, StoreNews, wait_after

NOW = datetime(2026, 11, 20, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_waits_double_from_five_minutes_to_six_hours() -> None:
    """A shop that fails for days is run four times a day, not once a minute."""
    assert [wait_after(times) / MINUTE for times in (1, 2, 3, 7, 8, 500)] == [5, 10, 20, 320, 360, 360]


def test_a_failed_store_waits_and_a_success_ends_the_wait() -> None:
    """Each failure in a row lengthens the wait; a run is counted once, and an older one read late changes nothing."""
    known = StoreNews()
    assert known.may_run(NOW)
    for number in (1, 2):
        ended_at = NOW + number * MINUTE
        known.fail(f"run {number}", ended_at=ended_at, sweep=number == 1, sink_failed=False)
        known.fail(f"run {number}", ended_at=ended_at, sweep=False, sink_failed=False)
    assert (known.failures, known.failed_run, known.sweep) == (2, "run 2", True)
    assert not known.may_run(NOW + 11 * MINUTE)
    assert known.may_run(NOW + 12 * MINUTE)
    known.settle(ended_at=NOW)
    assert known.failures == 2
    known.settle(ended_at=NOW + 3 * MINUTE)
    assert (known.failures, known.sweep, known.may_run(NOW)) == (0, False, True)


def test_a_store_whose_sink_failed_waits_for_less() -> None:
    """PostgreSQL and Qdrant are often back in seconds: 30 seconds, then doubling, at most 15 minutes."""
    known = StoreNews()
    waits = []
    for number in range(1, 8):
        ended_at = NOW + number * timedelta(hours=1)
        known.fail(f"run {number}", ended_at=ended_at, sweep=False, sink_failed=True)
        seconds = next(each for each in range(0, 1000, 30) if known.may_run(ended_at + timedelta(seconds=each)))
        waits.append(seconds)
    assert waits == [30, 60, 120, 240, 480, 900, 900]
    known.fail("run 8", ended_at=NOW + timedelta(hours=9), sweep=False, sink_failed=False)
    assert known.failures == 1


def test_between_two_rounds_only_what_a_sink_failed_is_asked() -> None:
    """The sensor ticks twice a minute, and asks each shop once a minute all the same."""
    memory = News(asked_at=NOW)
    memory.of("a").fail("run", ended_at=NOW, sweep=False, sink_failed=True)
    memory.of("b").fail("run", ended_at=NOW, sweep=False, sink_failed=False)
    soon = NOW + timedelta(seconds=31)
    assert [name for name in "abc" if memory.may_ask(name, soon)] == ["a"]
    assert [name for name in "abc" if memory.may_ask(name, NOW + MINUTE)] == ["a", "c"]
    assert memory.may_ask("c", NOW - MINUTE), "a clock that was set back stops nothing"


def test_a_shop_is_reported_when_a_person_has_to_look() -> None:
    """Refused keys at once; no answer after 45 minutes; an answer ends both."""
    known = StoreNews()
    known.kept_silent("no answer", refused=False, now=NOW)
    known.kept_silent("no answer", refused=False, now=NOW + 44 * MINUTE)
    assert not known.is_silent(NOW + 44 * MINUTE)
    assert known.is_silent(NOW + 45 * MINUTE)
    known.answered()
    assert not known.is_silent(NOW + 90 * MINUTE)
    known.kept_silent("HTTP 401", refused=True, now=NOW)
    assert known.is_silent(NOW)


def test_a_shop_that_asks_for_a_pause_is_left_alone() -> None:
    """As long as it asked, and a day at most; a clock that was set back does not make it longer."""
    known = StoreNews()
    known.pause(600, now=NOW)
    assert not known.may_run(NOW + 9 * MINUTE)
    assert known.may_run(NOW + 10 * MINUTE)
    known.pause(1e9, now=NOW)
    assert not known.may_run(NOW + timedelta(hours=23))
    assert known.may_run(NOW + timedelta(days=1))
    assert known.may_run(NOW - MINUTE)


def test_who_was_left_over_comes_first_and_who_kept_others_waiting_last() -> None:
    """A few shops that hang cannot take every turn, and nobody is passed over twice."""
    memory = News(first=["d"], last=["a"])
    assert memory.in_turn(["a", "b", "c", "d"]) == ["d", "b", "c", "a"]


@pytest.mark.parametrize("text", ["{]", "[]", '{"a-shop": {"at": "2026-11-20T17:00:00+00:00", "rows": []}}'])
def test_a_cursor_that_cannot_be_read_is_begun_anew(text: str) -> None:
    """Damage, or another version's form, is said and survived; what was written is read as it was."""
    for cursor in (News, Due):
        found, problem = cursor.read(text)
        assert found == cursor()
        assert problem
        assert cursor.read(None) == (cursor(), "")
    written = News(stores={"a": StoreNews(at=NOW, rows=["1 x publish"], failures=2, failed_at=NOW)}, first=["a"])
    assert News.read(written.model_dump_json()) == (written, "")


def test_what_is_due_is_gathered_and_what_stays_due_is_tried_ever_more_rarely() -> None:
    """One state is requested once under one key; a later one under another, at the earliest after five minutes."""
    memory = Due()
    first = memory.request("a", latest=NOW, soon=True, now=NOW)
    assert first is not None
    assert memory.request("a", latest=NOW + MINUTE, soon=True, now=NOW + 2 * MINUTE) is None
    later = memory.request("a", latest=NOW + MINUTE, soon=True, now=NOW + 5 * MINUTE)
    keys = [first, later]
    waits = []
    now = last = NOW + 5 * MINUTE
    while len(keys) < 5:  # the run has changed nothing
        now += MINUTE
        if (key := memory.request("a", latest=NOW + MINUTE, soon=True, now=now)) is not None:
            keys.append(key)
            waits.append((now - last) / MINUTE)
            last = now
    assert waits == [5, 10, 20]
    assert len(set(keys)) == 5


def test_what_has_failed_for_long_is_gathered_for_longer() -> None:
    """Dead pictures, each due at a moment of its own, are a run an hour at most; what may be well by now waits for none."""
    memory = Due()
    assert memory.request("a", latest=NOW, soon=False, now=NOW)
    assert memory.request("a", latest=NOW + MINUTE, soon=False, now=NOW + 49 * MINUTE) is None
    assert memory.request("a", latest=NOW + MINUTE, soon=True, now=NOW + 49 * MINUTE)
    assert memory.request("a", latest=NOW + 50 * MINUTE, soon=False, now=NOW + 99 * MINUTE)
    memory.keep((), now=NOW + 148 * MINUTE)  # the run left nothing due
    assert memory.request("a", latest=NOW + 148 * MINUTE, soon=False, now=NOW + 148 * MINUTE) is None
    memory.keep((), now=NOW + 149 * MINUTE)
    assert not memory.stores


def test_the_store_whose_last_request_lies_furthest_back_is_the_first() -> None:
    """When more is due than a tick may request, every store has its turn."""
    memory = Due()
    memory.request("a", latest=NOW, soon=True, now=NOW)
    memory.request("b", latest=NOW, soon=True, now=NOW - MINUTE)
    assert memory.in_turn({"a", "b", "c"}) == ["c", "b", "a"]
