"""Which URLs may be requested, judged by the addresses they lead to.

An image's URL is a string that a stranger typed into a shop. Its host name is resolved, every
address must be public, and the connection goes to an address that was judged: a name that
resolves differently a moment later (DNS rebinding) changes nothing. One private address among
public ones blocks the name: no honest host has that, and picking the public one would leave the
choice to whoever controls the name. Spellings of a private address (``2130706433``, ``0x7f.1``, IPv6
forms with an IPv4 address inside) are judged after resolution, so none needs a rule of its own.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from fashion_pipeline.errors import BadUrl, BlockedAddress, HostUnavailable
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.redaction import printable
from fashion_pipeline.stores import Store

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Maps a host name and a port to its addresses as text; raises ``OSError`` where there are none."""

DEFAULT_PORTS = {"http": 80, "https": 443}

LOOKUP_TIMEOUT_S = 10.0
_MAX_LOOKUPS = 64

_CHECK_NAME = "check its name, or this machine's DNS"
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")  # RFC 1035, 2.3.4; _ is seen in the wild
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: everything else has a special use
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, 2.5.5.1: likewise; also holds :: and ::1
_SPECIAL = (  # public by number, or so in some versions of Python, but not for web servers
    IPv4Network("168.63.129.16/32"),  # Azure's own host agent to its guests
    IPv4Network("192.0.0.0/24"),  # RFC 6890: IETF protocol assignments; Oracle's cloud has its metadata there
    IPv4Network("192.88.99.0/24"),  # RFC 7526: the former 6to4 relay
    IPv6Network("2001::/23"),  # RFC 6890: IETF protocol assignments, Teredo among them
    IPv6Network("3fff::/20"),  # RFC 9637: documentation
)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be requested.

    Attributes:
        url: the URL as parsed.
        scheme: ``http`` or ``https``.
        host: in ASCII (IDNA), lower case, without brackets.
        port: the explicit one, or the scheme's default.
        addresses: the judged addresses to connect to, in the resolver's order; empty until judged.
    """

    url: httpx.URL
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...] = ()

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port (RFC 6454): credentials, connections and judged addresses belong to one."""
        return self.scheme, self.host, self.port


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Look up A and AAAA records with the machine's resolver.

    Lookups have threads of their own: a name server that hangs holds one for up to half a minute,
    and the event loop's few threads are needed to store bytes.
    """
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_lookup_threads(), look_up)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@cache
def _lookup_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MAX_LOOKUPS, "lookup")


class Guard:
    """Judges URLs for one store.

    Args:
        allow_private_hosts: host names or addresses, as in a URL, that may resolve to any address
            and use any port; for test shops.
        allow_ports: ports allowed for all other hosts.
        resolver: looks up addresses.
        lookup_timeout_s: the longest wait for the resolver.
    """

    def __init__(
        self,
        *,
        allow_private_hosts: Collection[str] = (),
        allow_ports: Collection[int] = (80, 443),
        resolver: Resolver = system_resolver,
        lookup_timeout_s: float = LOOKUP_TIMEOUT_S,
    ) -> None:
        self._allowed_hosts = frozenset(_plain_host(host) for host in allow_private_hosts)
        self._allowed_ports = frozenset(allow_ports)
        self._resolver = resolver
        self._lookup_timeout_s = lookup_timeout_s
        self._lookups: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    @classmethod
    def of(cls, store: Store, *, resolver: Resolver = system_resolver) -> Guard:
        """Return the guard of a store: ports 80 and 443, the store's own, and its private hosts."""
        shop = parse(store.url)
        return cls(
            allow_private_hosts=store.allow_private_hosts,
            allow_ports={*DEFAULT_PORTS.values(), shop.port},
            resolver=resolver,
        )

    def check(self, url: str | httpx.URL) -> Target:
        """Judge what can be judged without a lookup; ``addresses`` stays empty.

        Raises:
            BadUrl: the URL is not http or https, holds a user name, or has no host.
            BlockedAddress: its port is not allowed.
        """
        target = parse(url)
        if target.port not in self._allowed_ports and target.host not in self._allowed_hosts:
            ports = ", ".join(str(port) for port in sorted(self._allowed_ports))
            msg = f"{redact(url)} names port {target.port}; allowed are {ports}: correct the address in the shop"
            raise BlockedAddress(msg, reason=Reason.BLOCKED_PORT, url=redact(url))
        return target

    async def judge(self, url: str | httpx.URL) -> Target:
        """Resolve the URL's host and judge every address it has.

        Raises:
            BadUrl, BlockedAddress: as ``check``; also if any address is not public.
            HostUnavailable: the name has no address, or the lookup timed out.
        """
        target = self.check(url)
        try:
            addresses = await self._resolve(target)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError; UnicodeError: not a name after all
            what = printable(error) or f"no answer within {self._lookup_timeout_s:g} s"
            msg = f"the host of {redact(url)} has no address ({what})"
            raise HostUnavailable(msg, reason=Reason.UNRESOLVABLE, url=redact(url), advice=_CHECK_NAME) from error
        if not addresses:
            msg = f"the host of {redact(url)} has no address"
            raise HostUnavailable(msg, reason=Reason.UNRESOLVABLE, url=redact(url), advice=_CHECK_NAME)
        if target.host not in self._allowed_hosts and not all(is_public(address) for address in addresses):
            msg = f"{redact(url)} leads to an address that is not public"
            advice = (
                "correct it in the shop, or, "
                f"for a test shop, list {target.host!r} under allow_private_hosts in stores.yaml"
            )
            raise BlockedAddress(msg, reason=Reason.BLOCKED_ADDRESS, url=redact(url), advice=advice)
        return replace(target, addresses=addresses)

    async def _resolve(self, target: Target) -> tuple[str, ...]:
        """Look a name up; concurrent callers share one lookup."""
        lookup = self._lookups.get(target.host)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(target))
            self._lookups[target.host] = lookup
            lookup.add_done_callback(partial(self._looked_up, target.host))
        return await asyncio.shield(lookup)

    async def _look_up(self, target: Target) -> tuple[str, ...]:
        async with asyncio.timeout(self._lookup_timeout_s):
            return tuple(await self._resolver(target.host, target.port))

    def _looked_up(self, host: str, lookup: asyncio.Task[tuple[str, ...]]) -> None:
        self._lookups.pop(host)
        if not lookup.cancelled():
            lookup.exception()  # marks it as retrieved; otherwise asyncio logs an error that no caller waited for


def parse(url: str | httpx.URL) -> Target:
    """Read a URL's scheme, host and port.

    Raises:
        BadUrl: it is not a URL, not http or https, holds a user name, or has no host.
    """
    try:
        parsed = httpx.URL(url)
        _ = parsed.host  # httpx decodes it again when it sends, and fails on "xn--" followed by invalid Punycode
    except (httpx.InvalidURL, UnicodeError) as error:
        msg = f"{redact(url)!r} is not a URL ({printable(error)})"
        raise BadUrl(msg, reason=Reason.BAD_URL, url=redact(url), advice="correct it in the shop") from None
    host = _plain_host(parsed.raw_host.decode("ascii"))
    problem = ""
    if parsed.scheme not in DEFAULT_PORTS:
        problem = "is neither http nor https"
    elif parsed.userinfo:
        problem = "holds a user name or a password"
    elif not (_NAME.fullmatch(host) or _is_ipv6(host)):
        problem = "has no host that can be looked up"
    elif parsed.port is not None and not 0 < parsed.port < 65_536:
        problem = "has no possible port"
    if problem:
        msg = f"{redact(url)!r} {problem}"
        raise BadUrl(msg, reason=Reason.BAD_URL, url=redact(url), advice="correct it in the shop")
    return Target(parsed, parsed.scheme, host, parsed.port or DEFAULT_PORTS[parsed.scheme])


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet; an IPv4 address inside an IPv6 one is judged instead.

    ``ipaddress.is_global`` alone calls 64:ff9b::7f00:1, 2002:7f00:1::, ::127.0.0.1 and 224.0.0.1
    global, and "not private" lets 100.64.0.1 through (measured on Python 3.11).
    """
    ip = _unwrap(ip_address(address))
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL)


def redact(url: str | httpx.URL) -> str:
    """Return a URL for messages: without user, query and fragment, and ``printable``."""
    text = str(url).split("?")[0].split("#")[0]
    scheme, mark, rest = text.partition("://")
    if mark:
        authority, slash, path = rest.partition("/")
        text = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    else:
        text = text.rpartition("@")[2]
    return printable(text)


def _unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address embeds, or the address itself."""
    if isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip in _NAT64 or ip in _COMPATIBLE:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


def _plain_host(host: str) -> str:
    return host.strip("[]").removesuffix(".").lower()


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ip_address(host), IPv6Address) and "%" not in host
    except ValueError:
        return False
