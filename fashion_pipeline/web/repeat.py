"""When another try can help, and how long to wait before it."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_random_exponential

from fashion_pipeline.errors import WebError
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.web.replies import Limits, Reply

LONGEST_PAUSE_S = 60.0
"""The longest Retry-After that is waited for inside a run; a longer one ends the exchange."""


@dataclass(frozen=True, slots=True)
class Try:
    """An answer, and the error it stands for unless the caller accepts its status.

    Attributes:
        seconds: that it took, waiting for a turn at the host not counted.
    """

    reply: Reply
    error: WebError | None = None
    seconds: float = 0.0


def repeating(*, clock: Clock, limits: Limits) -> AsyncRetrying:
    """Return what calls a function until it succeeds, cannot, or was called ``limits.attempts`` times.

    The function returns a ``Try`` or raises; the last one's result or error is what the caller
    gets. Waits are drawn from all of up to 1, 2, 4, … 30 seconds (full jitter: M. Brooker,
    "Exponential Backoff And Jitter", 2015).
    """

    def worth_it(state: RetryCallState) -> bool:
        error = _error(state)
        return isinstance(error, WebError) and _may_help(error, limits)

    return AsyncRetrying(
        sleep=clock.sleep,
        stop=stop_after_attempt(limits.attempts),
        wait=wait_random_exponential(multiplier=1, max=30),
        retry=worth_it,
        retry_error_callback=_last,
    )


def _may_help(error: WebError, limits: Limits) -> bool:
    """Whether another try in this run may help: not against a bad certificate, a long pause, or an odd 2xx."""
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
    made: Try = state.outcome.result()
    return made.error


def _last(state: RetryCallState) -> Try | None:
    return state.outcome.result() if state.outcome is not None else None
