from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from fashion_pipeline.errors import BadUrl, BlockedAddress, HostUnavailable
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.redaction import printable
from fashion_pipeline.stores import Store
from fashion_pipeline.web.guard import Guard, is_public, parse, redact


def resolver(*addresses: str) -> Guard:
    """Return a guard that resolves every name to these addresses."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return Guard(resolver=resolve)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "::8.8.8.8"],
)
def test_public_addresses_are_public(address: str) -> None:
    """Public IPv4 and IPv6 addresses pass, also IPv4 inside IPv6."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "168.63.129.16",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fe80::1",
        "fe80::1%eth0",
        "192.0.0.192",
        "192.88.99.1",
        "100.100.100.200",
        "2001:10::1",
        "3fff::1",
        "::ffff:0:7f00:1",
        "fd00:ec2::254",
        "fc00::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_private_addresses_are_not_public(address: str) -> None:
    """No spelling of a private, shared, multicast, reserved or tunnelled address counts as public."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.test/x.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "gopher://a.test/",
        "//a.test/x.jpg",
        "/x.jpg",
        "",
        "http:///x.jpg",
        "http://user:secret@a.test/x.jpg",
        "http://a b.test/x.jpg",
        "http://a.test:0/x.jpg",
        "http://[fe80::1%25eth0]/x.jpg",
        "http://a\n.test/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://xn--/x.jpg",
        "http://xn--zzzzzzzzz99999/x.jpg",
        f"http://{'a' * 64}.test/x.jpg",
        f"http://{'a.' * 127}test/x.jpg",
        "http://a..test/x.jpg",
        "http://.a.test/x.jpg",
        "http://a.test../x.jpg",
        "http://127%2e0.0.1/x.jpg",
        "http://a'b.test/x.jpg",
        "http://a.test\\@127.0.0.1/x.jpg",
        "\ud800",
        f"http://a.test/{'x' * 1_000_000}",
    ],
)
def test_a_url_that_is_not_http_is_refused_without_a_lookup(url: str) -> None:
    """A URL with another scheme or form is refused before any lookup, and its secrets stay out of the message."""
    with pytest.raises(BadUrl) as refused:
        parse(url)
    assert refused.value.reason is Reason.BAD_URL
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("FTP://a.test/x?key=secret", "is neither http nor https"),
        ("http://user:secret@a.test/x", "holds a user name or a password"),
        ("http://a..test/x", "has no host that can be looked up"),
        ("http://a.test:65536/x#secret", "has no possible port"),
        ("http://xn--/x", "is not a URL (Malformed A-label, no Punycode eligible content found)"),
    ],
)
def test_a_refusal_names_the_url_and_the_problem(url: str, problem: str) -> None:
    """The message holds the URL without its secrets, the problem, and where to correct it."""
    with pytest.raises(BadUrl) as refused:
        parse(url)
    assert refused.value.url == redact(url)
    assert str(refused.value) == f"{redact(url)!r} {problem}; correct it in the shop"


def test_every_valid_port_is_parsed() -> None:
    """Ports from 1 to 65535 are parsed; without one, the scheme's default counts."""
    urls = ["http://a.test:1/", "http://a.test:65535/", "http://a.test/", "https://a.test/"]
    assert [parse(url).url for url in urls] == urls
    assert [parse(url).origin for url in urls] == [
        ("http", "a.test", 1),
        ("http", "a.test", 65_535),
        ("http", "a.test", 80),
        ("https", "a.test", 443),
    ]


async def test_every_address_must_be_public() -> None:
    """One private address among public ones is enough to block a name."""
    assert (await resolver("8.8.8.8", "1.1.1.1").judge("https://a.test/x")).addresses == ("8.8.8.8", "1.1.1.1")
    with pytest.raises(BlockedAddress) as refused:
        await resolver("8.8.8.8", "10.0.0.1").judge("https://a.test/x?secret")
    assert (refused.value.reason, refused.value.url) == (Reason.BLOCKED_ADDRESS, "https://a.test/x")
    assert str(refused.value).startswith(
        "https://a.test/x leads to an address that is not public; correct it in the shop"
    )
    assert "list 'a.test' under allow_private_hosts in stores.yaml" in str(refused.value)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "127.0.0.1", "[::1]", "[::ffff:7f00:1]"],
)
async def test_odd_spellings_are_judged_by_their_address(host: str) -> None:
    """Whatever this machine's resolver turns into loopback is blocked."""
    with pytest.raises((BlockedAddress, BadUrl)):
        await Guard().judge(f"http://{host}/")


@pytest.mark.parametrize(("port", "allowed"), [(80, True), (443, True), (8080, True), (22, False), (5432, False)])
def test_only_web_ports_and_the_stores_own_are_allowed(port: int, *, allowed: bool) -> None:
    """An image URL may use ports 80, 443 and its shop's own, so that no other service is reached."""
    store = Store.model_validate(
        {
            "id": "a",
            "url": "https://shop.example:8080/sub",
            "consumer_key": SecretStr("k"),
            "consumer_secret": SecretStr("s"),
        }
    )
    guard = Guard.of(store)
    if allowed:
        assert guard.check(f"http://a.test:{port}/x").port == port
    else:
        with pytest.raises(BlockedAddress) as refused:
            guard.check(f"http://a.test:{port}/x?secret")
        assert (refused.value.reason, refused.value.url) == (Reason.BLOCKED_PORT, f"http://a.test:{port}/x")
        assert f"http://a.test:{port}/x names port {port}; allowed are 80, 443, 8080: correct the address" in str(
            refused.value
        )


async def test_a_listed_host_may_be_private_on_any_port() -> None:
    """A host in the store's allow_private_hosts may resolve to any address; similar names may not."""
    values = {"id": "a", "url": "https://shop.test", "consumer_key": "k", "consumer_secret": "s"}
    store = Store.model_validate(values | {"allow_private_hosts": ["shop.test", "[::1]"]})

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    guard = Guard.of(store, resolver=resolve)
    for url in ("http://SHOP.test.:8899/x", "http://[::1]:8899/x"):
        assert (await guard.judge(url)).addresses == ("127.0.0.1",)
    for url in ("http://shop.test.evil.test/x", "http://evilshop.test/x"):
        with pytest.raises(BlockedAddress):
            await guard.judge(url)


async def test_a_name_server_that_hangs_is_not_waited_for() -> None:
    """A lookup has its own timeout, and concurrent callers of one name share a lookup."""
    asked: list[str] = []

    async def hang(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        await asyncio.Event().wait()
        raise AssertionError

    guard = Guard(resolver=hang, lookup_timeout_s=0.05)
    urls = ["http://a.test/1", "http://a.test/2", "https://a.test/3", "http://b.test/1"]
    found = await asyncio.gather(*(guard.judge(url) for url in urls), return_exceptions=True)
    assert asked == ["a.test", "b.test"]
    for url, error in zip(urls, found, strict=True):
        assert isinstance(error, HostUnavailable)
        assert (error.reason, error.url) == (Reason.UNRESOLVABLE, url)
        assert "no answer within 0.05 s" in str(error)


async def test_a_lookup_survives_a_caller_that_is_cancelled() -> None:
    """A caller that runs into its deadline does not cancel the lookup for other callers."""
    answers = asyncio.Event()

    async def resolve(host: str, port: int) -> Sequence[str]:
        await answers.wait()
        return ["8.8.8.8"]

    guard = Guard(resolver=resolve)
    first, second = (asyncio.create_task(guard.judge("http://a.test/")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    answers.set()
    assert (await second).addresses == ("8.8.8.8",)
    assert first.cancelled()


async def test_a_lookup_that_nobody_waits_for_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """If every caller was cancelled, a failed lookup is not logged."""
    fails = asyncio.Event()

    async def resolve(host: str, port: int) -> Sequence[str]:
        await fails.wait()
        raise OSError(host)

    waiting = asyncio.create_task(Guard(resolver=resolve).judge("http://a.test/"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    del waiting
    fails.set()
    for _ in range(9):
        await asyncio.sleep(0)
    gc.collect()
    assert not caplog.records


async def test_hanging_lookups_do_not_delay_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """With forty hanging lookups, other names still resolve and bytes can still be stored."""
    release = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **more: Any) -> Any:
        if host.startswith("slow"):
            release.wait()
            raise socket.gaierror(host)
        return real("8.8.8.8", *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    guard = Guard()
    slow = [asyncio.create_task(guard.judge(f"http://slow{number}.test/")) for number in range(40)]
    try:
        await asyncio.sleep(0)
        assert (await guard.judge("http://quick.test/")).addresses == ("8.8.8.8",)
        assert await asyncio.to_thread(lambda: "stored") == "stored"
    finally:
        release.set()
    found = await asyncio.gather(*slow, return_exceptions=True)
    assert all(isinstance(error, HostUnavailable) for error in found)


async def test_a_name_without_an_address_is_retryable() -> None:
    """A name that does not resolve is a temporary failure of the host, not of the image, and is not cached."""
    answers: list[Sequence[str] | OSError] = [OSError("a.test"), [], ["8.8.8.8"], ["10.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    guard = Guard(resolver=resolve)
    for _ in range(2):
        with pytest.raises(
            HostUnavailable, match=r"http://a\.test/x has no address.*; check its name, or"
        ) as unresolved:
            await guard.judge("http://a.test/x?secret")
        assert (unresolved.value.reason, unresolved.value.url) == (Reason.UNRESOLVABLE, "http://a.test/x")
    assert (await guard.judge("http://a.test/x")).addresses == ("8.8.8.8",)
    with pytest.raises(BlockedAddress):
        await guard.judge("http://a.test/x")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@a.test/x.jpg?consumer_secret=cs_1#f", "https://a.test/x.jpg"),
        ("https://a.test/x.jpg#token=t", "https://a.test/x.jpg"),
        ("https://u:p@a.test/http://b.test/@c/d.jpg", "https://a.test/http://b.test/@c/d.jpg"),
        ("u:p@ss@a.test/x.jpg", "a.test/x.jpg"),
    ],
)
def test_messages_hold_no_keys(url: str, shown: str) -> None:
    """User, query and fragment never reach a message; the path does."""
    assert redact(url) == shown


def test_messages_contain_no_terminal_control_characters() -> None:
    """Escapes, line breaks and text direction marks in a URL or a reply are replaced."""
    assert redact("http://a.test/\x1b[2J\n\u202e") == "http://a.test/\ufffd[2J\ufffd\ufffd"
    assert len(printable("x" * 1_000_000)) == 200
