from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fashion_pipeline.outcomes import Outcome, Reason, Status, failed, rejected

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_waits_double_up_to_a_day_and_never_end() -> None:
    """A failure is tried again after 5 minutes at first and daily in the end, for ever."""
    outcome: Outcome | None = None
    waits = []
    for attempt in range(1, 41):
        outcome = failed(Reason.UNREACHABLE, detail="", before=outcome, now=NOW)
        assert outcome.next_retry_at is not None
        assert outcome.attempts == attempt
        waits.append(outcome.next_retry_at - NOW)
    assert timedelta(seconds=150) <= waits[0] <= timedelta(seconds=300)
    assert all(timedelta(hours=12) <= wait <= timedelta(days=1) for wait in waits[9:])


def test_attempts_start_again_after_a_success_or_a_refusal() -> None:
    """Only failures in a row lengthen the wait."""
    before = rejected(Reason.GONE)
    assert failed(Reason.UNREACHABLE, detail="", before=before, now=NOW).attempts == 1


def test_the_hosts_own_wish_is_obeyed_up_to_a_day() -> None:
    """Retry-After lengthens the wait, but never beyond a day."""
    hour = failed(Reason.RATE_LIMITED, detail="", before=None, now=NOW, retry_after_s=3600)
    month = failed(Reason.RATE_LIMITED, detail="", before=None, now=NOW, retry_after_s=30 * 86_400)
    assert hour.next_retry_at == NOW + timedelta(hours=1)
    assert month.next_retry_at == NOW + timedelta(days=1)


def test_every_reason_says_itself_in_plain_words() -> None:
    """A reason is a stable word for programs and a sentence for people."""
    for reason in Reason:
        assert reason.value == reason.name.lower()
        assert len(reason.text.split()) >= 3
    assert rejected(Reason.TOO_SMALL).status is Status.REJECTED
