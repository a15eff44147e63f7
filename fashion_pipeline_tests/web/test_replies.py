from __future__ import annotations

import httpx
import pytest

from fashion_pipeline.errors import HostUnavailable, RefusedByHost
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.replies import Reply, refusal, retry_after_s, usable
from fashion_pipeline_tests.clock import MONDAY


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (101, HostUnavailable, Reason.HTTP_ERROR),
        (301, RefusedByHost, Reason.HTTP_ERROR),
        (400, RefusedByHost, Reason.HTTP_ERROR),
        (403, RefusedByHost, Reason.HTTP_ERROR),
        (404, RefusedByHost, Reason.GONE),
        (408, HostUnavailable, Reason.HTTP_ERROR),
        (410, RefusedByHost, Reason.GONE),
        (425, HostUnavailable, Reason.HTTP_ERROR),
        (429, HostUnavailable, Reason.RATE_LIMITED),
        (500, HostUnavailable, Reason.HTTP_ERROR),
        (503, HostUnavailable, Reason.HTTP_ERROR),
        (599, HostUnavailable, Reason.HTTP_ERROR),
    ],
)
def test_every_error_status_has_one_meaning(status: int, kind: type[Exception], reason: Reason) -> None:
    """404 and 410 mean gone, server errors and rate limits are retried, other 4xx are refusals."""
    error = refusal(Reply(status, httpx.Headers(), b"", ""), url="https://a.test/x", now=MONDAY)
    assert not usable(status)
    assert (type(error), error.reason, error.status) == (kind, reason, status)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Mon, 16 Nov 2026 12:01:30 GMT", 90.0),
        ("Mon, 16 Nov 2026 12:01:30 -0000", 90.0),
        ("Mon, 16 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 400, float("inf")),
        ("Mon, 16 Nov 99999999999 12:00:00 GMT", None),
        ("Mon, 16 Nov 2026 99999999999:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are read, a past date means now, and anything else is ignored."""
    assert retry_after_s(value, now=MONDAY) == seconds
