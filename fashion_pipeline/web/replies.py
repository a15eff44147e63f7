"""What an exchange may cost, what a reply's status means, and how long a host asks us to wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from fashion_pipeline.errors import BadReply, HostUnavailable, RefusedByHost, WebError
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.redaction import printable

_GONE = frozenset({404, 410})
RETRIED = "it is retried later"
"""Advice for an error that the pipeline itself retries."""

_CONFIGURATION = "correct the host's configuration"
_LATER = frozenset({408, 425})
_RATE_LIMITED = 429
_INCOMPLETE = {204: Reason.EMPTY, 205: Reason.EMPTY, 206: Reason.TRUNCATED, 304: Reason.EMPTY}
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})  # only one: a chain multiplies how much a few bytes expand to


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one exchange may cost.

    Attributes:
        max_bytes: the largest body, after decompression.
        deadline_s: for one attempt with all its redirects, from the first lookup to the last byte;
            waiting for a slot at the host does not count.
        max_redirects: redirects to follow.
        attempts: the most attempts.
        again_when_slow: whether to retry after an attempt that exceeded the deadline.
    """

    max_bytes: int
    deadline_s: float
    max_redirects: int = 0
    attempts: int = 4
    again_when_slow: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """What a host sent back.

    Attributes:
        status: the HTTP status.
        headers: the reply's headers.
        body: the whole body, decompressed.
        url: the last URL requested, after redirects.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    url: str


def usable(status: int) -> bool:
    """Whether a status means success: 2xx, or 304."""
    return 200 <= status < 300 or status == 304


def refusal(reply: Reply, *, url: str, now: datetime) -> WebError:
    """Return the error that an unaccepted status stands for.

    Args:
        reply: the reply with that status.
        url: for the message, without secrets.
        now: the time a Retry-After date is compared with.
    """
    status, wait_s = reply.status, retry_after_s(reply.headers.get("retry-after"), now=now)
    if status in _GONE:
        msg = f"{url} answered {status}: it no longer exists"
        return RefusedByHost(msg, reason=Reason.GONE, url=url, status=status)
    if status == _RATE_LIMITED:
        msg = f"{url} answered 429: the host asks for fewer requests"
        return HostUnavailable(
            msg, reason=Reason.RATE_LIMITED, url=url, status=status, retry_after_s=wait_s, advice=RETRIED
        )
    if status >= 500 or status in _LATER:
        msg = f"{url} answered {status}"
        return HostUnavailable(
            msg, reason=Reason.HTTP_ERROR, url=url, status=status, retry_after_s=wait_s, advice=RETRIED
        )
    if status < 300 or status in _INCOMPLETE:
        msg = f"{url} answered {status} instead of the whole content"
        reason = _INCOMPLETE.get(status, Reason.HTTP_ERROR)
        return HostUnavailable(msg, reason=reason, url=url, status=status, advice=RETRIED)
    msg = f"{url} answered {status}"
    advice = "open it in a browser to see why the host refuses it"
    return RefusedByHost(msg, reason=Reason.HTTP_ERROR, url=url, status=status, advice=advice)


async def read_body(response: httpx.Response, *, url: str, limits: Limits, plain: bool) -> bytes:
    """Read a body as a stream, up to the cap.

    Args:
        response: its body must not have been read yet.
        url: for messages, without secrets.
        limits: ``max_bytes`` counts decompressed bytes.
        plain: refuse a compressed body, because none was requested.

    Raises:
        BadReply: the body is too large, by its announced length or as read, or it is compressed.
        HostUnavailable: the connection ended before the body did (``truncated``).
    """
    encoding = printable(response.headers.get("content-encoding", "").strip().lower())
    if encoding not in ({"", "identity"} if plain else {"", "identity", *_ENCODINGS}):
        msg = f"{url} came with the encoding {encoding}, which was not requested"
        raise BadReply(msg, reason=Reason.ENCODED, url=url, status=response.status_code, advice=_CONFIGURATION)
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.max_bytes:
        raise _too_large(url, int(announced), limits)
    body = bytearray()
    try:
        async for chunk in response.aiter_raw() if plain else response.aiter_bytes():
            body += chunk
            if len(body) > limits.max_bytes:
                raise _too_large(url, limits.max_bytes + 1, limits)
    except httpx.DecodingError as error:
        msg = f"{url} came with a damaged {encoding} encoding ({printable(error)})"
        raise BadReply(
            msg, reason=Reason.ENCODED, url=url, status=response.status_code, advice=_CONFIGURATION
        ) from error
    except httpx.TransportError as error:
        what = printable(error) or type(error).__name__
        msg = f"{url} broke off after {len(body):,} bytes ({what})"
        raise HostUnavailable(msg, reason=Reason.TRUNCATED, url=url, advice=RETRIED) from error
    return bytes(body)


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110, 10.2.3); None where it is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year of twenty digits
        return None
    if date.tzinfo is None:  # "-0000": UTC, without a stated time zone
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def _too_large(url: str, size_bytes: int, limits: Limits) -> BadReply:
    msg = f"{url} has at least {size_bytes:,} bytes; the limit is {limits.max_bytes:,}"
    return BadReply(msg, reason=Reason.FILE_TOO_LARGE, url=url, size_bytes=size_bytes)
