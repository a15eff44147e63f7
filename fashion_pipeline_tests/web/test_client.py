from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trustme

from fashion_pipeline.errors import BadReply, BlockedAddress, HostUnavailable, RefusedByHost, SettingsError
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.client import Limits, Web, ssl_context, user_agent
from fashion_pipeline.web.guard import Guard
from fashion_pipeline_tests.clock import HandClock
from fashion_pipeline_tests.web.server import Answer, Asked, Script, Site, Wire

LIMITS = Limits(max_bytes=1000, deadline_s=10.0, max_redirects=3)


async def loopback(host: str, port: int) -> Sequence[str]:
    """Resolve every name to this machine."""
    return ["127.0.0.1"]


def web(clock: HandClock | None = None, **options: object) -> Web:
    """Return a client that may reach 127.0.0.1 and shop.test."""
    guard = Guard(allow_private_hosts=["127.0.0.1", "shop.test"], resolver=loopback)
    values = {"guard": guard, "clock": clock or HandClock(), "user_agent": user_agent("me@a.test"), **options}
    return Web(**values)  # type: ignore[arg-type]


async def test_a_reply_is_complete() -> None:
    """A 200 returns its status, headers and body; the request has our User-Agent and accepts no encodings."""
    async with Site({"/a?b=1": Answer(b"hello", headers={"ETag": '"1"'})}) as site, web() as client:
        reply = await client.get(site.url("/a?b=1"), limits=LIMITS, headers={"Accept": "image/*"})
    assert (reply.status, reply.body, reply.headers["etag"], reply.url) == (200, b"hello", '"1"', site.url("/a?b=1"))
    sent = site.asked[0].headers
    assert sent["user-agent"] == "fashion-pipeline/0.1.0 (+me@a.test)"
    assert (sent["accept-encoding"], sent["accept"]) == ("identity", "image/*")


async def test_a_private_server_that_is_not_allowed_is_never_reached() -> None:
    """However its address is written, a server on this machine gets no request."""
    async with Site({"/": Answer(b"secret")}) as site:
        guard = Guard(allow_ports={80, 443, site.port})
        async with Web(guard=guard, clock=HandClock(), user_agent="t") as client:
            for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::ffff:127.0.0.1]"):
                with pytest.raises(BlockedAddress):
                    await client.get(site.url(host=host), limits=LIMITS)
    assert site.asked == []


async def test_a_redirect_into_a_private_network_is_refused() -> None:
    """Each hop is judged like the first URL."""
    async with Site({"/": Answer(b"secret")}) as inside:
        answers = {"/a.jpg": Answer(status=302, headers={"Location": inside.url("/")})}
        async with Site(answers) as outside:
            guard = Guard(allow_private_hosts=["shop.test"], allow_ports={80, 443, inside.port}, resolver=loopback)
            async with Web(guard=guard, clock=HandClock(), user_agent="t") as client:
                with pytest.raises(BlockedAddress):
                    await client.get(outside.url("/a.jpg", host="shop.test"), limits=LIMITS)
    assert (len(outside.asked), inside.asked) == (1, [])


async def test_the_connection_goes_to_the_judged_address_under_the_urls_name() -> None:
    """A name is resolved once for judging and connecting, so a different second DNS answer changes nothing."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    guard = Guard(allow_private_hosts=["shop.test"], resolver=rebinding)
    async with Site({"/a": Answer(b"hello")}) as site, web(guard=guard) as client:
        await client.get(site.url("/a", host="shop.test"), limits=LIMITS)
    assert site.asked[0].headers["host"] == f"shop.test:{site.port}"
    assert len(answers) == 1


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """A host with a dead address and a live one is reached."""

    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    clock, guard = HandClock(), Guard(allow_private_hosts=["shop.test"], resolver=two)
    async with Site({"/a": Answer(b"hello")}) as site, web(clock, guard=guard) as client:
        assert (await client.get(site.url("/a", host="shop.test"), limits=LIMITS)).body == b"hello"
    assert clock.waits == []


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would choose the address itself and bypass the guard."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with Site({"/a": Answer(b"hello")}) as site, web() as client:
        assert (await client.get(site.url("/a"), limits=LIMITS)).body == b"hello"


async def test_certificates_are_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    """A certificate for shop.test, signed by the authority in ca_file, is accepted for that name only."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.test").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with Site({"/a": Answer(b"hello")}, tls=context) as site:
        async with web(ca_file=ca_file) as client:
            assert (await client.get(site.url("/a", host="shop.test"), limits=LIMITS)).body == b"hello"
            with pytest.raises(HostUnavailable) as wrong_name:
                await client.get(site.url("/a"), limits=LIMITS)
        clock = HandClock()
        async with web(clock) as client:
            with pytest.raises(HostUnavailable) as unknown_authority:
                await client.get(site.url("/a", host="shop.test"), limits=LIMITS)
    assert {wrong_name.value.reason, unknown_authority.value.reason} == {Reason.TLS_ERROR}
    assert clock.waits == []  # a retry would not change a certificate


async def test_an_expired_certificate_is_not_trusted(tmp_path: Path) -> None:
    """An expired certificate is refused even from a known authority; a trailing dot in the name is accepted."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    expired, valid = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.test", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(expired)
    authority.issue_cert("shop.test").configure_cert(valid)
    answers = {"/a": Answer(b"hello")}
    async with Site(answers, tls=expired) as old, Site(answers, tls=valid) as new, web(ca_file=ca_file) as client:
        with pytest.raises(HostUnavailable, match="expired") as refused:
            await client.get(old.url("/a", host="shop.test"), limits=LIMITS)
        assert (await client.get(new.url("/a", host="shop.test."), limits=LIMITS)).body == b"hello"
    assert refused.value.reason is Reason.TLS_ERROR
    assert old.asked == []


async def test_a_silent_host_runs_into_the_deadline() -> None:
    """No reply is waited for beyond the deadline."""
    limits = Limits(max_bytes=1000, deadline_s=0.05, attempts=1)
    async with Site() as site, web() as client:
        site.hold()
        with pytest.raises(HostUnavailable) as slow:
            await client.get(site.url(), limits=limits)
    assert slow.value.reason is Reason.TOO_SLOW


async def test_https_on_a_plain_port_is_named() -> None:
    """A port that does not speak TLS is not reported as a certificate error."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, web() as client:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HostUnavailable, match="does not speak https") as plain:
            await client.get(f"https://127.0.0.1:{port}/a", limits=LIMITS)
    assert plain.value.reason is Reason.TLS_ERROR


def test_a_ca_file_without_a_certificate_is_reported(tmp_path: Path) -> None:
    """The message names the file and the required format."""
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(SettingsError, match=r"ca\.pem.*PEM"):
        ssl_context(tmp_path / "ca.pem")


def test_a_tls_context_is_built_once() -> None:
    """A context costs 25 ms, so it is cached per authority file."""
    assert ssl_context(None) is ssl_context(None)


async def test_server_errors_are_retried() -> None:
    """A 503 followed by a 200 returns the 200, after a wait on the clock."""
    clock = HandClock()
    async with Site({"/a": [Answer(status=503), Answer(b"hello")]}) as site, web(clock) as client:
        assert (await client.get(site.url("/a"), limits=LIMITS)).body == b"hello"
    assert len(site.asked) == 2
    assert sum(clock.waits) > 0


async def test_retries_end() -> None:
    """After the last attempt, the error states the host's status."""
    async with Site({"/a": Answer(status=500)}) as site, web() as client:
        with pytest.raises(HostUnavailable) as failure:
            await client.get(site.url("/a"), limits=LIMITS)
    assert (len(site.asked), failure.value.status) == (4, 500)


async def test_refusals_are_not_retried() -> None:
    """A 404 is requested once."""
    async with Site() as site, web() as client:
        with pytest.raises(RefusedByHost) as gone:
            await client.get(site.url("/a"), limits=LIMITS)
    assert (len(site.asked), gone.value.reason) == (1, Reason.GONE)


async def test_retry_after_pauses_the_whole_host() -> None:
    """Nothing is sent to a host before the pause it asked for is over."""
    clock = HandClock()
    at: list[float] = []
    started = clock.now()

    def answer(asked: Asked) -> Answer:
        at.append((clock.now() - started).total_seconds())
        return Answer(status=429, headers={"Retry-After": "50"}) if len(at) == 1 else Answer(b"hello")

    async with Site({"/a": answer, "/b": answer}) as site, web(clock) as client:
        once = Limits(max_bytes=1000, deadline_s=10.0, attempts=1)
        with pytest.raises(HostUnavailable):
            await client.get(site.url("/a"), limits=once)
        await client.get(site.url("/b"), limits=once)
    assert at == [0.0, 50.0]


async def test_a_long_retry_after_ends_the_exchange() -> None:
    """A host that asks for an hour is not waited for within a run; the error carries the hour."""
    clock = HandClock()
    answers = {"/a": Answer(status=429, headers={"Retry-After": "3600"})}
    async with Site(answers) as site, web(clock) as client:
        with pytest.raises(HostUnavailable) as later:
            await client.get(site.url("/a"), limits=LIMITS)
    assert (len(site.asked), clock.waits) == (1, [])
    assert (later.value.reason, later.value.retry_after_s) == (Reason.RATE_LIMITED, 3600.0)


@pytest.mark.parametrize(
    ("answer", "size"),
    [(Answer(b"", announced=5000), 5000), (Answer(b"x" * 1001, announced=-1), 1001), (Answer(b"x" * 1001), 1001)],
)
async def test_a_body_over_the_cap_is_not_read(answer: Answer, size: int) -> None:
    """An announced size is checked before reading, otherwise the cap applies; the error carries the size."""
    async with Site({"/a": answer}) as site, web() as client:
        with pytest.raises(BadReply) as refused:
            await client.get(site.url("/a"), limits=LIMITS)
    assert (refused.value.reason, refused.value.size_bytes) == (Reason.FILE_TOO_LARGE, size)


async def test_a_body_of_exactly_the_cap_is_read() -> None:
    """A body of the cap's size is within it."""
    async with Site({"/a": Answer(b"x" * 1000)}) as site, web() as client:
        assert len((await client.get(site.url("/a"), limits=LIMITS)).body) == 1000


async def test_a_compressed_body_is_refused_unless_requested() -> None:
    """Compression hides a body's size: images refuse it, and for the shop the cap counts decompressed bytes."""
    packed = {"Content-Encoding": "gzip"}
    answers = {
        "/a": Answer(gzip.compress(b"hello"), headers=packed),
        "/bomb": Answer(gzip.compress(bytes(10**6)), headers=packed),
    }
    async with Site(answers) as site, web() as client:
        with pytest.raises(BadReply) as refused:
            await client.get(site.url("/a"), limits=LIMITS)
        assert refused.value.reason is Reason.ENCODED
        assert (await client.get(site.url("/a"), limits=LIMITS, encodings=True)).body == b"hello"
        with pytest.raises(BadReply) as bomb:
            await client.get(site.url("/bomb"), limits=LIMITS, encodings=True)
        assert bomb.value.reason is Reason.FILE_TOO_LARGE


async def test_a_damaged_encoding_is_reported() -> None:
    """A body that is not the gzip it claims to be does not crash a run."""
    answers = {"/a": Answer(b"not gzip", headers={"Content-Encoding": "gzip"})}
    async with Site(answers) as site, web() as client:
        with pytest.raises(BadReply) as refused:
            await client.get(site.url("/a"), limits=LIMITS, encodings=True)
    assert refused.value.reason is Reason.ENCODED


async def test_an_interrupted_transfer_is_retried() -> None:
    """A body shorter than announced is never accepted as complete."""
    answers: dict[str, Script] = {
        "/a": [Answer(b"hel", announced=5), Answer(b"hello")],
        "/b": Answer(b"hel", announced=5),
    }
    async with Site(answers) as site, web() as client:
        assert (await client.get(site.url("/a"), limits=LIMITS)).body == b"hello"
        with pytest.raises(HostUnavailable) as broken:
            await client.get(site.url("/b"), limits=LIMITS)
    assert broken.value.reason is Reason.TRUNCATED


async def test_a_slow_body_runs_into_the_deadline() -> None:
    """The deadline bounds the whole transfer, even while bytes keep arriving."""
    limits = Limits(max_bytes=1000, deadline_s=0.05, attempts=1)
    async with Site({"/a": Answer(b"x", announced=5, stalls=True)}) as site, web() as client:
        with pytest.raises(HostUnavailable) as slow:
            await client.get(site.url("/a"), limits=limits)
    assert slow.value.reason is Reason.TOO_SLOW


async def test_redirects_share_one_deadline() -> None:
    """A chain of hosts cannot multiply the time of one attempt."""
    limits = Limits(max_bytes=1000, deadline_s=0.3, max_redirects=5, attempts=1)
    dawdling = Wire(b"", again=b"HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n", pause_s=limits.deadline_s / 3)
    async with Site({"/a": dawdling}) as site, web() as client:
        with pytest.raises(HostUnavailable) as slow:
            await client.get(site.url("/a"), limits=limits)
    assert slow.value.reason is Reason.TOO_SLOW


@pytest.mark.parametrize("again", [True, False])
async def test_a_slow_host_is_retried_only_if_the_limits_say_so(*, again: bool) -> None:
    """A shop's page is worth a retry, an image is not."""
    limits = Limits(max_bytes=1000, deadline_s=0.05, attempts=2, again_when_slow=again)
    async with Site({"/a": Answer(b"x", announced=5, stalls=True)}) as site, web() as client:
        with pytest.raises(HostUnavailable):
            await client.get(site.url("/a"), limits=limits)
    assert len(site.asked) == 1 + again


async def test_a_partial_reply_is_not_retried() -> None:
    """A host that sends an unrequested 206 would send it again."""
    async with Site({"/a": Answer(b"x", status=206)}) as site, web() as client:
        with pytest.raises(HostUnavailable) as half:
            await client.get(site.url("/a"), limits=LIMITS, accept=(200).__eq__)
    assert (half.value.reason, len(site.asked)) == (Reason.TRUNCATED, 1)


async def test_encodings_are_not_chained() -> None:
    """One encoding is accepted, never two: two expand a few bytes to gigabytes before they are counted."""
    twice = gzip.compress(gzip.compress(b"hello"))
    answers = {"/a": Answer(twice, headers={"Content-Encoding": "gzip, gzip"}), "/b": Answer(b"hello")}
    async with Site(answers) as site, web() as client:
        with pytest.raises(BadReply) as refused:
            await client.get(site.url("/a"), limits=LIMITS, encodings=True)
        assert (await client.get(site.url("/b"), limits=LIMITS, encodings=True)).body == b"hello"
    assert refused.value.reason is Reason.ENCODED


async def test_a_refused_redirect_target_names_the_redirect() -> None:
    """The message says that the address in the shop redirects there."""
    async with Site({"/a": Answer(status=302, headers={"Location": "http://10.0.0.1/"})}) as site, web() as client:
        with pytest.raises(BlockedAddress, match=r"/a redirects: .*10\.0\.0\.1.* not public") as refused:
            await client.get(site.url("/a"), limits=LIMITS)
    assert (refused.value.status, refused.value.url) == (302, site.url("/a"))


async def test_a_closed_port_is_unreachable() -> None:
    """A host that refuses connections is retried, then reported."""
    async with Site() as site:
        url = site.url("/a")
    clock = HandClock()
    async with web(clock) as client:
        with pytest.raises(HostUnavailable) as dead:
            await client.get(url, limits=LIMITS)
    assert (dead.value.reason, len(clock.waits)) == (Reason.UNREACHABLE, 3)


async def test_redirects_are_followed_up_to_the_limit() -> None:
    """Three redirects are followed, a fourth is not, and a loop ends."""
    answers = {f"/{hop}": Answer(status=302, headers={"Location": f"/{hop + 1}"}) for hop in range(4)}
    async with Site({**answers, "/4": Answer(b"hello")}) as site, web() as client:
        reply = await client.get(site.url("/1"), limits=LIMITS)
        assert (reply.body, reply.url) == (b"hello", site.url("/4"))
        with pytest.raises(BadReply) as refused:
            await client.get(site.url("/0"), limits=LIMITS)
    assert refused.value.reason is Reason.TOO_MANY_REDIRECTS


async def test_keys_stay_with_their_origin() -> None:
    """A redirect within the origin keeps the keys, one to another host drops them."""
    async with Site({"/b": Answer(b"b")}) as other:
        answers = {
            "/a": Answer(status=302, headers={"Location": "/there"}),
            "/there": Answer(status=302, headers={"Location": other.url("/b", host="shop.test")}),
        }
        async with Site(answers) as site, web() as client:
            await client.get(site.url("/a"), limits=LIMITS, auth=httpx.BasicAuth("key", "secret"))
    assert ["authorization" in asked.headers for asked in (*site.asked, *other.asked)] == [True, True, False]


async def test_cookies_are_not_kept() -> None:
    """A host cannot track this client by a cookie."""
    async with Site({"/a": Answer(b"a", headers={"Set-Cookie": "id=1"})}) as site, web() as client:
        for _ in range(2):
            await client.get(site.url("/a"), limits=LIMITS)
    assert "cookie" not in site.asked[1].headers


async def test_raw_returns_error_bodies_after_the_last_attempt() -> None:
    """A shop explains its errors in their bodies."""
    answers = {
        "/401": Answer(b"no", status=401),
        "/500": Answer(b"oh", status=500),
        "/302": Answer(status=302, headers={"Location": "/401"}),
    }
    async with Site(answers) as site, web() as client:
        limits = Limits(max_bytes=1000, deadline_s=10.0, attempts=2)
        got = [await client.get(site.url(path), limits=limits, raw=True) for path in answers]
    assert [(reply.status, reply.body) for reply in got] == [(401, b"no"), (500, b"oh"), (302, b"")]
    assert site.paths() == ["/401", "/500", "/500", "/302"]


async def test_accepted_statuses_are_replies() -> None:
    """A caller may accept any status as a reply; 304 is accepted by default."""
    async with Site({"/a": Answer(b"no", status=404), "/b": Answer(status=304)}) as site, web() as client:
        assert (await client.get(site.url("/a"), limits=LIMITS, accept=lambda status: status == 404)).body == b"no"
        assert (await client.get(site.url("/b"), limits=LIMITS)).status == 304


async def test_a_host_gets_no_more_concurrent_requests_than_its_budget() -> None:
    """All users of a client share one request budget per host."""
    async with Site({"/a": Answer(b"a")}) as site, web(connections_per_host=2) as client:
        site.hold()
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(client.get(site.url("/a"), limits=LIMITS))
            await site.arrived(2)
            site.release()
    assert (site.most_concurrent, len(site.asked)) == (2, 6)
