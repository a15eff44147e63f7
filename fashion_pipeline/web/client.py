"""One bounded HTTP exchange, repeated while that can help.

A ``Web`` belongs to one run. It holds one ``httpx.AsyncClient`` per host with a few connections
(in httpx 0.28 a single pool of 64 is several times slower than that), and one budget of requests
per host name that the shop's API and its pictures share.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from fashion_pipeline import __version__
from fashion_pipeline.errors import BadReply, HostUnavailable, SettingsError
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.web.guard import Guard, Target, redact
from fashion_pipeline.web.pinned import ADDRESSES, PinnedTransport
from fashion_pipeline.web.repeat import LONGEST_PAUSE_S, Try, repeating
from fashion_pipeline.web.replies import Limits, Reply, read_body, refusal, usable

__all__ = ["Limits", "Reply", "Web", "ssl_context", "user_agent"]

CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30.0
ADDRESSES_KEPT = timedelta(seconds=60)
"""How long judged addresses serve further requests to their host, so that connections are reused."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a caller asked for; see ``Web.get``."""

    limits: Limits
    headers: Mapping[str, str]
    auth: httpx.Auth | None
    accept: Callable[[int], bool]
    raw: bool
    encodings: bool


@dataclass(slots=True)
class _Turns:
    """The budget of one host name, and until when it asked for a pause."""

    free: asyncio.Semaphore
    paused_until: datetime | None = None


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
        self._ca_file = ca_file
        self._transport = transport
        self._clients: dict[tuple[str, str, int], httpx.AsyncClient] = {}
        self._judged: dict[tuple[str, str, int], tuple[datetime, tuple[str, ...]]] = {}
        self._turns: dict[str, _Turns] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._clients:
            await self._clients.popitem()[1].aclose()

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
            auth: sent to the URL's own origin, never to another one it redirects to.
            accept: statuses that are an answer; default: 2xx and 304.
            raw: return the answer whatever its status, once repeating it no longer helps.
            encodings: let the host compress; otherwise a compressed body is refused.

        Raises:
            BadUrl, BlockedAddress: by the guard.
            BadReply: too large, compressed, or redirected too often.
            RefusedByHost: 404 and 410 (``gone``), other 4xx (``http_error``).
            HostUnavailable: no name, no answer, a transfer broken off (``truncated``), 408, 425,
                429 or 5xx; ``retry_after_s`` is the pause the host asked for.
        """
        asked = _Asked(
            limits=limits, headers=headers or {}, auth=auth, accept=accept or usable, raw=raw, encodings=encodings
        )
        made: Try = await repeating(clock=self._clock, attempts=limits.attempts)(self._follow, url, asked)
        if made.error is not None and not raw:
            raise made.error
        return made.reply

    async def _follow(self, url: str, asked: _Asked) -> Try:
        """Make one try: ask, and follow redirects, each judged like the first URL."""
        origin = target = self.guard.check(url)
        for hops_left in range(asked.limits.max_redirects, -1, -1):
            auth = asked.auth if _origin(target) == _origin(origin) else None
            made = await self._ask(target, asked, auth)
            location = made.reply.headers.get("location")
            if made.error is None or made.reply.status not in _REDIRECTS or location is None:
                return made
            if not hops_left:
                break
            target = self.guard.check(_joined(target.url, location))
        if asked.raw:
            return made
        msg = f"{redact(url)} redirects more than {asked.limits.max_redirects} times; correct the address in the shop"
        raise BadReply(msg, reason=Reason.TOO_MANY_REDIRECTS, url=redact(url), status=made.reply.status)

    async def _ask(self, target: Target, asked: _Asked, auth: httpx.Auth | None) -> Try:
        """Wait for a turn at the host, make one exchange, and say what its status means."""
        url = redact(target.url)
        turns = self._turns.setdefault(target.host, _Turns(asyncio.Semaphore(self.connections_per_host)))
        async with turns.free:
            if turns.paused_until is not None and turns.paused_until > self._clock.now():
                await self._clock.sleep((turns.paused_until - self._clock.now()).total_seconds())
            try:
                async with asyncio.timeout(asked.limits.deadline_s):
                    reply = await self._exchange(target, asked, auth)
            except TimeoutError:
                msg = f"{url} took longer than {asked.limits.deadline_s:g} s; it is tried again later"
                raise HostUnavailable(msg, reason=Reason.TOO_SLOW, url=url) from None
            if asked.accept(reply.status):
                return Try(reply)
            error = refusal(reply, url=url, now=self._clock.now())
            if error.retry_after_s is not None and error.retry_after_s <= LONGEST_PAUSE_S:
                turns.paused_until = self._clock.now() + timedelta(seconds=error.retry_after_s)
        return Try(reply, error)

    async def _exchange(self, target: Target, asked: _Asked, auth: httpx.Auth | None) -> Reply:
        addresses = await self._addresses(target)
        headers = {
            "User-Agent": self._user_agent,
            "Accept-Encoding": "gzip, deflate" if asked.encodings else "identity",
            **asked.headers,
        }
        client = self._client(target)
        stream = client.stream("GET", target.url, headers=headers, auth=auth, extensions={ADDRESSES: addresses})
        with self._translated(target):
            async with stream as response:
                body = b""
                if asked.raw or asked.accept(response.status_code):
                    body = await read_body(
                        response, url=redact(target.url), limits=asked.limits, plain=not asked.encodings
                    )
        return Reply(response.status_code, response.headers, body, str(target.url))

    async def _addresses(self, target: Target) -> tuple[str, ...]:
        """Judge a host's addresses, or use those judged in the last minute."""
        now = self._clock.now()
        judged_at, addresses = self._judged.get(_origin(target), (now, ()))
        if not addresses or not timedelta(0) <= now - judged_at < ADDRESSES_KEPT:
            addresses = (await self.guard.judge(target.url)).addresses
            self._judged[_origin(target)] = (now, addresses)
        return addresses

    def _client(self, target: Target) -> httpx.AsyncClient:
        key = _origin(target)
        if key not in self._clients:
            inner = self._transport or httpx.AsyncHTTPTransport(
                verify=ssl_context(self._ca_file),
                trust_env=False,
                limits=httpx.Limits(
                    max_connections=self.connections_per_host,
                    max_keepalive_connections=self.connections_per_host,
                    keepalive_expiry=KEEP_ALIVE_S,
                ),
            )
            self._clients[key] = httpx.AsyncClient(
                transport=PinnedTransport(inner),
                trust_env=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none is kept
                timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),  # the deadline bounds the rest
            )
        return self._clients[key]

    @contextlib.contextmanager
    def _translated(self, target: Target) -> Iterator[None]:
        """Say in our words why no answer began; the host's addresses are judged anew next time."""
        url = redact(target.url)
        try:
            yield
        except httpx.TransportError as error:
            self._judged.pop(_origin(target), None)
            if _is_tls(error):
                advice = (
                    "that port does not speak https; correct the address"
                    if "WRONG_VERSION_NUMBER" in str(error)
                    else "the certificate cannot be trusted; for a private authority set ca_file"
                )
                msg = f"{url}: {advice} ({error})"
                raise HostUnavailable(msg, reason=Reason.TLS_ERROR, url=url) from error
            what = str(error) or type(error).__name__
            msg = f"{url}: the host did not answer ({what}); it is tried again later"
            raise HostUnavailable(msg, reason=Reason.UNREACHABLE, url=url) from error
        except UnicodeError as error:  # httpx reads a Location by itself, "http://xn--/" too
            msg = f"{url} redirects to what is not a URL ({error}); correct the address in the shop"
            raise BadReply(msg, reason=Reason.BAD_URL, url=url) from error


def _origin(target: Target) -> tuple[str, str, int]:
    return target.scheme, target.host, target.port


def _joined(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return url.join(location)
    except httpx.InvalidURL as error:
        msg = f"{redact(url)} redirects to what is not a URL ({error}); correct the address in the shop"
        raise BadReply(msg, reason=Reason.BAD_URL, url=redact(url)) from error


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


@cache
def ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the process's one context per authority file; building one takes about 25 ms.

    Raises:
        SettingsError: the file holds no certificate.
    """
    context = httpx.create_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            msg = f"ca_file {ca_file} cannot be used ({error}); it must hold the authority's certificate in PEM form"
            raise SettingsError(msg) from error
    return context


def user_agent(contact: str) -> str:
    """Say who asks, and where a shop owner reaches them."""
    name = f"fashion-pipeline/{__version__}"
    return f"{name} (+{contact})" if contact else name
