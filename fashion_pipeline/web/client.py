"""One bounded HTTP exchange, repeated while that can help.

A ``Web`` belongs to one run. It holds a few connections to each host, and one budget of requests
per host name that the shop's API and its pictures share.
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
from fashion_pipeline.web.connections import Connections, ssl_context
from fashion_pipeline.web.guard import Guard, Target, printable, redact
from fashion_pipeline.web.pinned import ADDRESSES
from fashion_pipeline.web.repeat import Try, repeating
from fashion_pipeline.web.replies import Limits, Reply, read_body, refusal, usable
from fashion_pipeline.web.turns import HostLimiter

__all__ = ["Limits", "Reply", "Web", "ssl_context", "user_agent"]

CONNECT_TIMEOUT_S = 10.0
ADDRESSES_KEPT = timedelta(seconds=60)
"""How long judged addresses serve further requests to their host, so that connections are reused."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TIMEOUT = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S).as_dict()  # the deadline bounds the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a caller asked for; see ``Web.get``."""

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
        clock: waits, and tells how far away a Retry-After date is.
        user_agent: see ``user_agent``.
        connections_per_host: requests to one host at a time, by everything that shares this.
        ca_file: PEM file of a private authority, trusted beside the public ones.
        transport: what sends requests instead of sockets, for instance an application in this
            process; the guard judges all the same.
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
        self._connections = Connections(at_once=connections_per_host, ca_file=ca_file, transport=transport)
        self._judged: dict[tuple[str, str, int], tuple[datetime, tuple[str, ...]]] = {}
        self._turns: dict[str, HostLimiter] = {}

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
        """Ask for a URL, again where that can help, within ``limits``.

        Args:
            url: absolute.
            limits: of each try, and how many.
            headers: beside Host, User-Agent and Accept-Encoding.
            auth: signs each request, before it is sent, to the URL's own origin, never to another
                one it redirects to: not http in place of https either.
            accept: statuses that are an answer; default: 2xx and 304.
            raw: return the answer whatever its status, once repeating it no longer helps.
            encodings: let the host compress; otherwise a compressed body is refused.

        Raises:
            BadUrl, BlockedAddress: by the guard; with a ``status`` where the host redirects there.
            BadReply: too large, compressed, or redirected too often.
            RefusedByHost: 404 and 410 (``gone``), other 3xx and 4xx (``http_error``).
            HostUnavailable: no name, no answer, a transfer broken off (``truncated``), 408, 425,
                429 or 5xx, or a 2xx that ``accept`` does not take; ``retry_after_s`` is the pause
                the host asked for.
        """
        asked = _Asked(
            limits=limits, headers=headers or {}, auth=auth, accept=accept or usable, raw=raw, encodings=encodings
        )
        made: Try = await repeating(clock=self._clock, limits=limits)(self._follow, url, asked)
        if made.error is not None and not raw:
            raise made.error
        return made.reply

    async def _follow(self, url: str, asked: _Asked) -> Try:
        """Make one try: ask, and follow redirects, each judged like the first URL."""
        origin = target = self.guard.check(url)
        left_s = asked.limits.deadline_s
        made: Try | None = None
        for hops_left in range(asked.limits.max_redirects, -1, -1):
            with _led_by(url, made):
                if made is not None:
                    target = self.guard.check(_joined(target.url, made.reply.headers["location"]))
                made = await self._ask(target, asked, asked.auth if target.origin == origin.origin else None, left_s)
            redirected = made.reply.status in _REDIRECTS and "location" in made.reply.headers
            if made.error is None or not redirected or (asked.raw and not hops_left):
                return made
            left_s -= made.seconds
        msg = f"{redact(url)} redirects more than {asked.limits.max_redirects} times; correct the address in the shop"
        raise BadReply(msg, reason=Reason.TOO_MANY_REDIRECTS, url=redact(url))

    async def _ask(self, target: Target, asked: _Asked, auth: httpx.Auth | None, left_s: float) -> Try:
        """Wait for a turn at the host, make one exchange, and say what its status means."""
        url = redact(target.url)
        turns = self._turns.setdefault(target.host, HostLimiter(at_once=self.connections_per_host, clock=self._clock))
        loop = asyncio.get_running_loop()
        async with turns.one() as begun:
            started = loop.time()
            try:
                async with asyncio.timeout(left_s):
                    reply = await self._exchange(target, asked, auth)
            except TimeoutError:
                msg = f"{url} took longer than {asked.limits.deadline_s:g} s; it is tried again later"
                raise HostUnavailable(msg, reason=Reason.TOO_SLOW, url=url) from None
            error = None if asked.accept(reply.status) else refusal(reply, url=url, now=self._clock.now())
            turns.note(error, begun=begun)
            return Try(reply, error, loop.time() - started)

    async def _exchange(self, target: Target, asked: _Asked, auth: httpx.Auth | None) -> Reply:
        request = httpx.Request(
            "GET",
            target.url,
            headers={
                "User-Agent": self._user_agent,
                "Accept": "*/*",
                "Accept-Encoding": "gzip, deflate" if asked.encodings else "identity",
                **asked.headers,
            },
            extensions={ADDRESSES: await self._addresses(target), "timeout": _TIMEOUT},
        )
        if auth is not None:
            request = await anext(auth.async_auth_flow(request))
        async with self._connections.of(target) as transport:
            with self._translated(target):
                response = await transport.handle_async_request(request)
            async with contextlib.aclosing(response):
                body = b""
                if asked.raw or asked.accept(response.status_code):
                    body = await read_body(
                        response, url=redact(target.url), limits=asked.limits, plain=not asked.encodings
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
    def _translated(self, target: Target) -> Iterator[None]:
        """Say in our words why no answer began; the host's addresses are judged anew next time."""
        url = redact(target.url)
        try:
            yield
        except httpx.TransportError as error:
            self._judged.pop(target.origin, None)
            what = printable(error) or type(error).__name__
            if _is_tls(error):
                advice = (
                    "that port does not speak https; correct the address"
                    if "WRONG_VERSION_NUMBER" in str(error)
                    else "the certificate cannot be trusted; for a private authority set ca_file"
                )
                msg = f"{url}: {advice} ({what})"
                raise HostUnavailable(msg, reason=Reason.TLS_ERROR, url=url) from error
            problem = "did not answer"
            if isinstance(error, httpx.RemoteProtocolError):
                problem = "did not answer as a web server does"
            msg = f"{url}: the host {problem} ({what}); it is tried again later"
            raise HostUnavailable(msg, reason=Reason.UNREACHABLE, url=url) from error


@contextlib.contextmanager
def _led_by(url: str, made: Try | None) -> Iterator[None]:
    """Say of what the guard refuses behind a redirect that it was the host of ``url`` who led there."""
    try:
        yield
    except (BadUrl, BlockedAddress) as error:
        if made is None:
            raise
        msg = f"{redact(url)} redirects: {error}"
        raise type(error)(msg, reason=error.reason, url=redact(url), status=made.reply.status) from error


def _joined(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: of urljoin, at half an IPv6 address
        msg = f"{printable(location)!r} is not a URL ({printable(error)}); correct it there"
        raise BadUrl(msg, reason=Reason.BAD_URL, url=redact(url)) from error


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def user_agent(contact: str) -> str:
    """Say who asks, and where a shop owner reaches them."""
    name = f"fashion-pipeline/{__version__}"
    return f"{name} (+{contact})" if contact else name
