"""Whether another attempt can help, and how long to wait before it."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_random_exponential

from fashion_pipeline.errors import WebError
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.web.replies import Limits, Reply

LONGEST_PAUSE_S = 60.0
"""The longest Retry-After that is waited for within a run; a longer one ends the exchange."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that got a reply.

    Attributes:
        reply: what the host sent.
        error: the error its status stands for; None where the caller accepts that status.
        seconds: how long the attempt took, without waiting for a slot at the host.
    """

    reply: Reply
    error: WebError | None = None
    seconds: float = 0.0


def retrying(*, clock: Clock, limits: Limits) -> AsyncRetrying:
    """Return a caller that retries a function while that can help, at most ``limits.attempts`` times.

    The function returns an ``Attempt`` or raises; the caller gets the last attempt or error. Waits
    are drawn from all of up to 1, 2, 4, … 30 seconds (full jitter: M. Brooker, "Exponential
    Backoff And Jitter", 2015).
    """

    def can_help(state: RetryCallState) -> bool:
        error = _error(state)
        return isinstance(error, WebError) and _is_worth_retrying(error, limits)

    return AsyncRetrying(
        sleep=clock.sleep,
        stop=stop_after_attempt(limits.attempts),
        wait=wait_random_exponential(multiplier=1, max=30),
        retry=can_help,
        retry_error_callback=_last,
    )


def _is_worth_retrying(error: WebError, limits: Limits) -> bool:
    """Whether another attempt in this run may succeed: not after a bad certificate, a long pause, or an odd 2xx."""
    if error.reason is Reason.TLS_ERROR or (error.reason is Reason.TOO_SLOW and not limits.again_when_slow):
        return False
    if error.status is not None and error.status < 400:
        return False
    return error.retryable and (error.retry_after_s is None or error.retry_after_s <= LONGEST_PAUSE_S)


def _error(state: RetryCallState) -> BaseException | None:
    if state.outcome is None:
        return None
    if state.outcome.failed:
        return state.outcome.exception()
    attempt: Attempt = state.outcome.result()
    return attempt.error


def _last(state: RetryCallState) -> Attempt | None:
    return state.outcome.result() if state.outcome is not None else None
