"""One bounded HTTP exchange, retried while that can help.

A ``Web`` belongs to one run. It holds a few connections to each host, and one request budget per
host name, shared by the shop's API and its images.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from fashion_pipeline import __version__
from fashion_pipeline.errors import BadReply, BadUrl, BlockedAddress, HostUnavailable
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.redaction import printable
from fashion_pipeline.web.connections import Connections, ssl_context
from fashion_pipeline.web.guard import Guard, Target, redact
from fashion_pipeline.web.limiter import HostLimiter
from fashion_pipeline.web.pinned import ADDRESSES
from fashion_pipeline.web.replies import RETRIED, Limits, Reply, read_body, refusal, usable
from fashion_pipeline.web.retry import Attempt, retrying

__all__ = ["Limits", "Reply", "Web", "ssl_context", "user_agent"]

CONNECT_TIMEOUT_S = 10.0
ADDRESSES_KEPT = timedelta(seconds=60)
"""How long judged addresses are reused for further requests to their host, so that connections are too."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TIMEOUT = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S).as_dict()  # the deadline bounds the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """How a caller wants a URL requested; see ``Web.get``."""

    limits: Limits
    headers: Mapping[str, str]
    auth: httpx.Auth | None
    accept: Callable[[int], bool]
    raw: bool
    encodings: bool


class Web:
    """The HTTP client of one run; an async context manager.

    Args:
        guard: judges every URL and every redirect.
        clock: waits, and measures the time until a Retry-After date.
        user_agent: see ``user_agent``.
        connections_per_host: concurrent requests to one host, by everything that shares this client.
        ca_file: PEM file of a private authority, trusted beside the public ones.
        transport: sends requests instead of sockets, for instance to an application in this
            process; the guard judges URLs all the same.
    """

    def __init__(
        self,
        *,
        guard: Guard,
        clock: Clock,
        user_agent: str,
        connections_per_host: int = 4,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.guard = guard
        self._clock = clock
        self._user_agent = user_agent
        self.connections_per_host = connections_per_host
        self._connections = Connections(limit=connections_per_host, ca_file=ca_file, transport=transport)
        self._judged: dict[tuple[str, str, int], tuple[datetime, tuple[str, ...]]] = {}
        self._limiters: dict[str, HostLimiter] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connections.aclose()

    async def get(
        self,
        url: str,
        *,
        limits: Limits,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        accept: Callable[[int], bool] | None = None,
        raw: bool = False,
        encodings: bool = False,
    ) -> Reply:
        """Request a URL, and retry where that can help, within ``limits``.

        Args:
            url: absolute.
            limits: of each attempt, and the number of attempts.
            headers: in addition to Host, User-Agent and Accept-Encoding.
            auth: signs each request to the URL's own origin, never one to another origin that it
                redirects to; http in place of https is another origin.
            accept: whether a status is a usable reply; default: 2xx and 304.
            raw: return the reply whatever its status, once retrying no longer helps.
            encodings: let the host compress the body; otherwise a compressed body is refused.

        Raises:
            BadUrl, BlockedAddress: by the guard; with a ``status`` where the host redirects there.
            BadReply: too large, compressed, or redirected too often.
            RefusedByHost: 404 and 410 (``gone``), other 3xx and 4xx (``http_error``).
            HostUnavailable: no address, no reply, an interrupted transfer (``truncated``), 408,
                425, 429 or 5xx, or a 2xx that ``accept`` does not take; ``retry_after_s`` is the
                pause the host asked for.
        """
        options = _Options(
            limits=limits, headers=headers or {}, auth=auth, accept=accept or usable, raw=raw, encodings=encodings
        )
        attempt: Attempt = await retrying(clock=self._clock, limits=limits)(self._follow, url, options)
        if attempt.error is not None and not raw:
            raise attempt.error
        return attempt.reply

    async def _follow(self, url: str, options: _Options) -> Attempt:
        """Make one attempt: request the URL and follow redirects, each judged like the first URL."""
        origin = target = self.guard.check(url)
        remaining_s = options.limits.deadline_s
        previous: Attempt | None = None
        for hops_remaining in range(options.limits.max_redirects, -1, -1):
            with _naming_redirect(url, previous):
                if previous is not None:
                    target = self.guard.check(_join(target.url, previous.reply.headers["location"]))
                auth = options.auth if target.origin == origin.origin else None
                attempt = await self._request(target, options, auth, remaining_s)
            redirected = attempt.reply.status in _REDIRECTS and "location" in attempt.reply.headers
            if attempt.error is None or not redirected or (options.raw and not hops_remaining):
                return attempt
            remaining_s -= attempt.seconds
            previous = attempt
        msg = (
            f"{redact(url)} redirects more than {options.limits.max_redirects} times; use the final address in the shop"
        )
        raise BadReply(msg, reason=Reason.TOO_MANY_REDIRECTS, url=redact(url))

    async def _request(self, target: Target, options: _Options, auth: httpx.Auth | None, deadline_s: float) -> Attempt:
        """Wait for a slot at the host, make one exchange, and translate its status."""
        url = redact(target.url)
        limiter = self._limiters.setdefault(
            target.host, HostLimiter(limit=self.connections_per_host, clock=self._clock)
        )
        loop = asyncio.get_running_loop()
        async with limiter.slot() as begun:
            started = loop.time()
            try:
                async with asyncio.timeout(deadline_s):
                    reply = await self._exchange(target, options, auth)
            except TimeoutError:
                msg = f"{url} took longer than {options.limits.deadline_s:g} s"
                raise HostUnavailable(msg, reason=Reason.TOO_SLOW, url=url, advice=RETRIED) from None
            error = None if options.accept(reply.status) else refusal(reply, url=url, now=self._clock.now())
            limiter.record(error, begun=begun)
            return Attempt(reply, error, loop.time() - started)

    async def _exchange(self, target: Target, options: _Options, auth: httpx.Auth | None) -> Reply:
        request = httpx.Request(
            "GET",
            target.url,
            headers={
                "User-Agent": self._user_agent,
                "Accept": "*/*",
                "Accept-Encoding": "gzip, deflate" if options.encodings else "identity",
                **options.headers,
            },
            extensions={ADDRESSES: await self._addresses(target), "timeout": _TIMEOUT},
        )
        if auth is not None:
            request = await anext(auth.async_auth_flow(request))
        async with self._connections.to(target) as transport:
            with self._translate_errors(target):
                response = await transport.handle_async_request(request)
            async with contextlib.aclosing(response):
                body = b""
                if options.raw or options.accept(response.status_code):
                    body = await read_body(
                        response, url=redact(target.url), limits=options.limits, plain=not options.encodings
                    )
        return Reply(response.status_code, response.headers, body, str(target.url))

    async def _addresses(self, target: Target) -> tuple[str, ...]:
        """Judge a host's addresses, or use those judged in the last minute."""
        now = self._clock.now()
        judged_at, addresses = self._judged.get(target.origin, (now, ()))
        if not addresses or not timedelta(0) <= now - judged_at < ADDRESSES_KEPT:
            addresses = (await self.guard.judge(target.url)).addresses
            self._judged[target.origin] = (now, addresses)
        return addresses

    @contextlib.contextmanager
    def _translate_errors(self, target: Target) -> Iterator[None]:
        """Raise our own error where no reply began; the host's addresses are judged again next time."""
        url = redact(target.url)
        try:
            yield
        except httpx.TransportError as error:
            self._judged.pop(target.origin, None)
            what = printable(error) or type(error).__name__
            if _is_tls(error):
                problem, advice = (
                    ("that port does not speak https", "correct the address")
                    if "WRONG_VERSION_NUMBER" in str(error)
                    else ("the certificate cannot be trusted", "for a private authority set ca_file")
                )
                msg = f"{url}: {problem} ({what})"
                raise HostUnavailable(msg, reason=Reason.TLS_ERROR, url=url, advice=advice) from error
            problem = "did not answer"
            if isinstance(error, httpx.RemoteProtocolError):
                problem = "did not answer as a web server does"
            msg = f"{url}: the host {problem} ({what})"
            raise HostUnavailable(msg, reason=Reason.UNREACHABLE, url=url, advice=RETRIED) from error


@contextlib.contextmanager
def _naming_redirect(url: str, redirect: Attempt | None) -> Iterator[None]:
    """Say, where the guard refuses the target of a redirect, that ``url`` redirected there."""
    try:
        yield
    except (BadUrl, BlockedAddress) as error:
        if redirect is None:
            raise
        msg = f"{redact(url)} redirects: {error.message}"
        raise type(error)(
            msg, reason=error.reason, url=redact(url), status=redirect.reply.status, advice=error.advice
        ) from error


def _join(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: of urljoin, at half an IPv6 address
        msg = f"{printable(location)!r} is not a URL ({printable(error)})"
        raise BadUrl(msg, reason=Reason.BAD_URL, url=redact(url), advice="correct it there") from error


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def user_agent(contact: str) -> str:
    """Return the User-Agent: this program, and where a shop owner can reach its operator."""
    name = f"fashion-pipeline/{__version__}"
    return f"{name} (+{contact})" if contact else name
