"""Which URLs may be asked for, judged by the addresses they lead to.

A picture's URL is a string that a stranger typed into a shop. The name in it is resolved, every
address it has must be public, and the connection goes to an address that was judged: a name that
resolves differently a moment later (DNS rebinding) changes nothing. Spellings of a private
address (``2130706433``, ``0x7f.1``, IPv6 forms with an IPv4 address inside) are judged after
resolution, so none needs a rule of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

from fashion_pipeline.errors import BadUrl, BlockedAddress, HostUnavailable
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.settings import Store

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to its addresses as text; raises ``OSError`` where there are none."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291: everything else has a special use
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, 2.5.5.1: likewise; also holds :: and ::1
_CLOUD_HOST = IPv4Address("168.63.129.16")  # public by number, but Azure's own host agent to its guests


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked for.

    Attributes:
        host: in ASCII (IDNA), lower case, without brackets.
        port: explicit or the scheme's own.
        addresses: the judged addresses to connect to, in the resolver's order; empty until judged.
    """

    url: httpx.URL
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...] = ()


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver for A and AAAA."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Judges URLs for one store.

    Args:
        allow_private_hosts: names or addresses, as a URL would write them, that may lead anywhere
            and name any port: test shops.
        allow_ports: ports that any other host may be asked on.
        resolver: where addresses come from.
    """

    def __init__(
        self,
        *,
        allow_private_hosts: Collection[str] = (),
        allow_ports: Collection[int] = (80, 443),
        resolver: Resolver = system_resolver,
    ) -> None:
        self._allowed_hosts = frozenset(_plain_host(host) for host in allow_private_hosts)
        self._allowed_ports = frozenset(allow_ports)
        self._resolve = resolver

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
        """Judge what can be judged without asking a resolver; ``addresses`` stays empty.

        Raises:
            BadUrl: not http or https, a user in it, or no host.
            BlockedAddress: a port that is not allowed.
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
            BadUrl, BlockedAddress: as ``check``; also where any address is not public.
            HostUnavailable: the name has no address.
        """
        target = self.check(url)
        try:
            addresses = tuple(await self._resolve(target.host, target.port))
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that no DNS name can have
            msg = f"the host of {redact(url)} has no address ({error}); check its name, or this machine's DNS"
            raise HostUnavailable(msg, reason=Reason.UNRESOLVABLE, url=redact(url)) from error
        if not addresses:
            msg = f"the host of {redact(url)} has no address; check its name, or this machine's DNS"
            raise HostUnavailable(msg, reason=Reason.UNRESOLVABLE, url=redact(url))
        if target.host not in self._allowed_hosts and not all(is_public(address) for address in addresses):
            msg = (
                f"{redact(url)} leads to an address that is not public; correct it in the shop, or, "
                f"for a test shop, list {target.host!r} under allow_private_hosts in stores.yaml"
            )
            raise BlockedAddress(msg, reason=Reason.BLOCKED_ADDRESS, url=redact(url))
        return replace(target, addresses=addresses)


def parse(url: str | httpx.URL) -> Target:
    """Read a URL's scheme, host and port.

    Raises:
        BadUrl: it is none, is not http or https, has a user in it, or no host.
    """
    try:
        parsed = httpx.URL(url)
        _ = parsed.host  # httpx reads it once more when it asks, and fails on "xn--" before what is not Punycode
    except (httpx.InvalidURL, UnicodeError) as error:
        msg = f"{redact(url)!r} is not a URL ({error}); correct it in the shop"
        raise BadUrl(msg, reason=Reason.BAD_URL, url=redact(url)) from None
    host = _plain_host(parsed.raw_host.decode("ascii"))
    problem = ""
    if parsed.scheme not in DEFAULT_PORTS:
        problem = "is neither http nor https"
    elif parsed.userinfo:
        problem = "holds a user name or a password"
    elif not host or "%" in host:
        problem = "has no host that can be looked up"
    elif parsed.port is not None and not 0 < parsed.port < 65_536:
        problem = "has no possible port"
    if problem:
        msg = f"{redact(url)!r} {problem}; correct it in the shop"
        raise BadUrl(msg, reason=Reason.BAD_URL, url=redact(url))
    return Target(parsed, parsed.scheme, host, parsed.port or DEFAULT_PORTS[parsed.scheme])


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet; an IPv4 address inside an IPv6 one counts.

    ``ipaddress.is_global`` alone calls 64:ff9b::7f00:1, 2002:7f00:1::, ::127.0.0.1 and 224.0.0.1
    global, and "not private" lets 100.64.0.1 through (measured on Python 3.11).
    """
    ip = _unwrap(ip_address(address))
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and ip != _CLOUD_HOST


def redact(url: str | httpx.URL) -> str:
    """Return a URL without user, query and fragment, for messages; whatever it is, at most 200 characters."""
    text = str(url).split("?")[0].split("#")[0]
    scheme, mark, rest = text.partition("://")
    if mark:
        authority, slash, path = rest.partition("/")
        text = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return text[:200]


def _unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, where it stands for one."""
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
    return host.strip("[]").rstrip(".").lower()
