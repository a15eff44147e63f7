"""URLs and replies that strangers could make for an image, each with its expected outcome.

``Internet`` simulates the network for them: names and public addresses lead to one server on loopback,
every address that is not public to another one, which no request may reach.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import httpx

from fashion_pipeline.outcomes import Reason
from fashion_pipeline.web.guard import system_resolver
from fashion_pipeline_tests.web.server import Answer, Asked, Site, Wire

IMAGE = b"\xff\xd8\xff\xe0" + b"image data" * 8 + b"image!"
CAP_BYTES = 1000

SHOP = "93.184.216.34"
_PUBLIC = {SHOP, "2606:4700::1111", f"::ffff:{SHOP}", "64:ff9b::5db8:d822", "2002:5db8:d822::1"}

_NAMES: Mapping[str, Sequence[str]] = {
    "shop.example": [SHOP],
    "xn--bcher-kva.example": [SHOP],
    "two.example": [SHOP, "2606:4700::1111"],
    "mapped.example": [f"::ffff:{SHOP}"],
    "nat64.example": ["64:ff9b::5db8:d822"],
    "6to4.example": ["2002:5db8:d822::1"],
    "intranet.example": ["10.0.0.5"],
    "127.0.0.1.names.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "first.example": [SHOP, "10.0.0.5"],
    "last.example": ["::1", SHOP],
    "link.example": ["fe80::1%eth0"],
    "privatenat.example": ["64:ff9b::a00:1"],
    "private6to4.example": ["2002:a00:1::1"],
}
_NOWHERE = {"nowhere.example", "xn--hop-t0e.example"}
REBINDING: Mapping[str, Sequence[str]] = {
    "rebinds.example": [SHOP, "127.0.0.1"],
    "unbinds.example": ["127.0.0.1", SHOP],
    "moves.example": [SHOP, "169.254.169.254"],
}
"""Names that resolve to another address at each lookup; the last one stays."""

_OK: tuple[str, ...] = (
    "http://shop.example/a.jpg",
    "https://shop.example/a.jpg",
    "HTTP://SHOP.EXAMPLE/a.jpg",
    "http://shop.example./a.jpg",
    "http://shop.example:80/a.jpg",
    "http://shop.example:/a.jpg",
    "http://shop.example:443/a.jpg",
    "http://shop.example:0080/a.jpg",
    "http://@shop.example/a.jpg",
    "http://shop.example",
    "http://shop.example?a.jpg",
    "http://shop.example#@127.0.0.1/",
    "http://shop.example/@127.0.0.1/",
    "http://shop.example/?url=http://127.0.0.1/",
    "http://shop.example/;http://127.0.0.1/",
    "http://shop.example//127.0.0.1/a.jpg",
    "http://shop.example/../../etc/passwd",
    "http://shop.example/%2e%2e/%00.jpg",
    "http://shop.example/a b.jpg ",
    "http://shop.example/\\\\127.0.0.1\\a.jpg",
    "http://shop.example/\N{DRESS}.jpg",
    "http://shop.example/\u202egpj.exe",
    "http://shop.example/a.jpg%0d%0aHost:%20127.0.0.1",
    f"http://shop.example/{'a' * 20_000}.jpg",
    f"http://{SHOP}/a.jpg",
    "http://1572395042/a.jpg",
    "http://0x5db8d822/a.jpg",
    "http://93.184.55330/a.jpg",
    "http://[2606:4700::1111]/a.jpg",
    "http://[2606:4700:0:0:0:0:0:1111]:80/a.jpg",
    "http://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/a.jpg",
    "http://xn--bcher-kva.example/a.jpg",
    "http://shop\N{IDEOGRAPHIC FULL STOP}example/a.jpg",
    "http://two.example/a.jpg",
    "http://mapped.example/a.jpg",
    "http://nat64.example/a.jpg",
    "http://6to4.example/a.jpg",
    "http://rebinds.example/a.jpg",
)

_BAD_URL: tuple[str, ...] = (
    "",
    " ",
    ".",
    "a.jpg",
    "/a.jpg",
    "//shop.example/a.jpg",
    "///a.jpg",
    "://shop.example/a.jpg",
    "shop.example/a.jpg",
    "shop.example:80/a.jpg",
    "http",
    "http:",
    "http:/",
    "http://",
    "http:///a.jpg",
    "http:a.jpg",
    "http:/shop.example/a.jpg",
    "http:\\\\shop.example\\a.jpg",
    "http:/\\shop.example/a.jpg",
    "https://?a.jpg",
    "https://#a.jpg",
    "http://:80/a.jpg",
    "http://./a.jpg",
    "ftp://shop.example/a.jpg",
    "file:///etc/passwd",
    "file://shop.example/a.jpg",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:image/png;base64,iVBORw0KGgo=",
    "javascript:alert(1)",
    "blob:https://shop.example/a",
    "ws://shop.example/a.jpg",
    "dict://127.0.0.1:11211/stats",
    "ldap://127.0.0.1/",
    "jar:http://shop.example!/a.jpg",
    "view-source:http://shop.example/a.jpg",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/images/json",
    "unix:/var/run/docker.sock",
    "mailto:shop@shop.example",
    "about:blank",
    "\\\\shop.example\\share\\a.jpg",
    "httpx://shop.example/a.jpg",
    "http://user@shop.example/a.jpg",
    "http://user:secret@shop.example/a.jpg",
    "http://:@shop.example/a.jpg",
    "http://127.0.0.1@shop.example/a.jpg",
    "http://shop.example@127.0.0.1/a.jpg",
    "http://shop.example:80@127.0.0.1/a.jpg",
    "http://shop.example%2f@127.0.0.1/a.jpg",
    "http://shop.example\\@127.0.0.1/a.jpg",
    "http://a@shop.example@127.0.0.1/a.jpg",
    "\thttp://shop.example/a.jpg",
    " http://shop.example/a.jpg",
    "ht\ntp://shop.example/a.jpg",
    "http://shop\t.example/a.jpg",
    "http://shop.example/a\r\nHost: 127.0.0.1",
    "http://127.0.0.1\r\n.shop.example/a.jpg",
    "http://shop.example/\x00a.jpg",
    "http://shop.example\x00.evil.example/a.jpg",
    "http://shop.example/\x7f",
    "http://shop.example/\ud800.jpg",
    "http://\udfff/a.jpg",
    "http://shop .example/a.jpg",
    "http://127%2e0%2e0%2e1/a.jpg",
    "http://%6c%6fcalhost/a.jpg",
    "http://shop.example%00.evil.example/a.jpg",
    "http://0177.0.0.1/a.jpg",
    "http://0251.0376.0251.0376/a.jpg",
    "http://0135.0270.0330.042/a.jpg",
    "http://256.0.0.1/a.jpg",
    "http://[::1/a.jpg",
    "http://::1/a.jpg",
    "http://[::1]x/a.jpg",
    "http://[::1]]/a.jpg",
    "http://[fe80::1%25eth0]/a.jpg",
    "http://[fe80::1%eth0]/a.jpg",
    "http://[127.0.0.1]/a.jpg",
    "http://[]/a.jpg",
    "http://[v1.a]/a.jpg",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/a.jpg",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/a.jpg",
    "http://\u24dbocalhost/a.jpg",
    "http://local\u00adhost/a.jpg",
    "http://local\u200bhost/a.jpg",
    "http://xn--/a.jpg",
    "http://xn--zzzzzzzzz99999/a.jpg",
    "http://a..example/a.jpg",
    "http://.shop.example/a.jpg",
    "http://shop.example../a.jpg",
    "http://*.shop.example/a.jpg",
    "http://shop.example,127.0.0.1/a.jpg",
    "http://shop.example;127.0.0.1/a.jpg",
    "http://$(id)/a.jpg",
    "http://'shop.example'/a.jpg",
    "http://<b>/a.jpg",
    "http://{host}/a.jpg",
    f"http://{'a' * 64}.example/a.jpg",
    f"http://{'a.' * 127}example/a.jpg",
    f"http://{'a.' * 30_000}example/a.jpg",
    "http://" + "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 60_000 + ".example/a.jpg",
    f"http://{'[' * 60_000}",
    f"http://{'@' * 60_000}127.0.0.1/",
    f"http://shop.example/{'a' * 1_000_000}",
    "a" * 1_000_000,
    "http://shop.example:0/a.jpg",
    "http://shop.example:65536/a.jpg",
    "http://shop.example:-1/a.jpg",
    "http://shop.example:http/a.jpg",
    "http://shop.example:80:80/a.jpg",
    f"http://shop.example:{'9' * 5000}/a.jpg",
)

_BLOCKED_PORT: tuple[str, ...] = tuple(
    f"http://{host}:{port}/a.jpg"
    for host, ports in {
        "shop.example": (1, 22, 25, 81, 2375, 5432, 6333, 6379, 8080, 9200, 11211, 65535),
        "127.0.0.1": (22, 6379),
        "[::1]": (5432,),
    }.items()
    for port in ports
)

_BLOCKED_HOSTS: tuple[str, ...] = (
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0x0.0x0.0x1",
    "0x7f.1",
    "0177.0x0.1",
    "017700000001",
    "127\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}1",
    "localhost",
    "localhost.",
    "LocalHost",
    "0",
    "0.0.0.0",
    "0x0",
    "0.1.2.3",
    "10.0.0.1",
    "10.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "3232235521",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "169.254.43518",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "168.63.129.16",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:169.254.169.254]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:10::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[4000::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "intranet.example",
    "127.0.0.1.names.example",
    "metadata.example",
    "first.example",
    "last.example",
    "link.example",
    "privatenat.example",
    "private6to4.example",
    "unbinds.example",
)

_REDIRECTS: Mapping[str, Reason | None] = {
    "/a.jpg": None,
    "a.jpg": None,
    "../../a.jpg": None,
    "?a": None,
    "//shop.example/a.jpg": None,
    "https://shop.example/a.jpg": None,
    "\N{LATIN SMALL LETTER E WITH ACUTE}.jpg": None,
    "http://shop.example/a.jpg, http://127.0.0.1/": None,
    "/to/%2Fto%2F%252Fa.jpg": None,
    "/to/%2Fto%2F%252Fto%252F%25252Fa.jpg": Reason.TOO_MANY_REDIRECTS,
    "": Reason.TOO_MANY_REDIRECTS,
    "#": Reason.TOO_MANY_REDIRECTS,
    "http://127.0.0.1/": Reason.BLOCKED_ADDRESS,
    "http://2130706433/": Reason.BLOCKED_ADDRESS,
    "//127.0.0.1/": Reason.BLOCKED_ADDRESS,
    "//[::ffff:169.254.169.254]/latest/meta-data/": Reason.BLOCKED_ADDRESS,
    "http://localhost/": Reason.BLOCKED_ADDRESS,
    "http://intranet.example/": Reason.BLOCKED_ADDRESS,
    "http://first.example/": Reason.BLOCKED_ADDRESS,
    "/to/http:%2F%2F127.0.0.1%2F": Reason.BLOCKED_ADDRESS,
    "/to/%2Fto%2Fhttp:%252F%252F10.0.0.1%252F": Reason.BLOCKED_ADDRESS,
    "http://moves.example/to/https:%2F%2Fmoves.example%2F": Reason.BLOCKED_ADDRESS,
    "http://shop.example:22/": Reason.BLOCKED_PORT,
    "http://127.0.0.1:6379/": Reason.BLOCKED_PORT,
    "http://user:secret@shop.example/a.jpg": Reason.BAD_URL,
    "http://shop.example@127.0.0.1/": Reason.BAD_URL,
    "file:///etc/passwd": Reason.BAD_URL,
    "gopher://127.0.0.1:6379/_": Reason.BAD_URL,
    "data:image/png;base64,iVBORw0KGgo=": Reason.BAD_URL,
    "javascript:alert(1)": Reason.BAD_URL,
    "http://": Reason.TOO_MANY_REDIRECTS,
    "http://[": Reason.BAD_URL,
    "http:////]": Reason.BAD_URL,
    "http:////a.[": Reason.BAD_URL,
    "http:////[x]/": Reason.BAD_URL,
    "http://xn--/": Reason.BAD_URL,
    "http://127%2e0.0.1/": Reason.BAD_URL,
    "http://a b/": Reason.BAD_URL,
    "/a\tb": Reason.BAD_URL,
    f"/{'a' * 70_000}": Reason.BAD_URL,
    "http://nowhere.example/": Reason.UNRESOLVABLE,
}


URLS: Mapping[str, Reason | None] = {
    **dict.fromkeys(_OK),
    **dict.fromkeys(_BAD_URL, Reason.BAD_URL),
    **dict.fromkeys(_BLOCKED_PORT, Reason.BLOCKED_PORT),
    **{f"http://{host}/a.jpg": Reason.BLOCKED_ADDRESS for host in _BLOCKED_HOSTS},
    "https://127.0.0.1/a.jpg": Reason.BLOCKED_ADDRESS,
    "http://127.0.0.1:443/a.jpg": Reason.BLOCKED_ADDRESS,
    "http://nowhere.example/a.jpg": Reason.UNRESOLVABLE,
    "http://\N{CYRILLIC SMALL LETTER DZE}hop.example/a.jpg": Reason.UNRESOLVABLE,
    **{f"http://shop.example/redirect/{number}": reason for number, reason in enumerate(_REDIRECTS.values())},
}
"""URLs of images, and the reason each must fail with; None if it must succeed."""

OF_THIS_MACHINE = ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.1", "localhost", "0")
"""Spellings that a real resolver leads to this machine."""


def _ok(*headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", b""])


_CHUNKED = _ok(b"Transfer-Encoding: chunked")

ANSWERS: Mapping[str, tuple[Answer | Wire, Reason | None]] = {
    "whole": (Answer(IMAGE), None),
    "whole in chunks": (Answer(IMAGE, announced=-1), None),
    "from a cache": (Answer(IMAGE, status=203), None),
    "until it closes": (Wire(_ok() + IMAGE), None),
    "of 1996": (Wire(b"HTTP/1.0 200 OK\r\n\r\n" + IMAGE), None),
    "with bare line feeds": (Wire(b"HTTP/1.1 200 OK\n\n" + IMAGE), None),
    "as html": (Answer(IMAGE, headers={"Content-Type": "text/html"}), None),
    "with a cookie": (Answer(IMAGE, headers={"Set-Cookie": "id=1; Domain=example"}), None),
    "with a location": (Answer(IMAGE, headers={"Location": "http://127.0.0.1/"}), None),
    "identity": (Answer(IMAGE, headers={"Content-Encoding": "identity"}), None),
    "after hints": (Wire(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + _ok() + IMAGE), None),
    "with ten thousand headers": (Wire(_ok(*[b"a: b"] * 10_000) + IMAGE), None),
    "with an endless validator": (Answer(IMAGE, headers={"ETag": "e" * 90_000}), None),
    "the same length twice": (Wire(_ok(b"Content-Length: 90", b"Content-Length: 90") + IMAGE), None),
    "more than announced": (Wire(_ok(b"Content-Length: 90") + IMAGE + b"HTTP/1.1 200 OK\r\n\r\n"), None),
    "of exactly the cap": (Answer(b"x" * CAP_BYTES), None),
    "nothing": (Answer(), Reason.EMPTY),
    "204": (Answer(status=204), Reason.EMPTY),
    "205": (Answer(status=205), Reason.EMPTY),
    "304 unasked": (Answer(status=304), Reason.EMPTY),
    "201": (Answer(IMAGE, status=201), Reason.HTTP_ERROR),
    "202 with a puzzle": (Answer(b"<script>", status=202), Reason.HTTP_ERROR),
    "206": (Answer(IMAGE, status=206, headers={"Content-Range": "bytes 0-89/500"}), Reason.TRUNCATED),
    "226": (Answer(IMAGE, status=226), Reason.HTTP_ERROR),
    "101": (Wire(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n"), Reason.UNREACHABLE),
    "300": (Answer(IMAGE, status=300), Reason.HTTP_ERROR),
    "302 to nowhere": (Answer(status=302), Reason.HTTP_ERROR),
    "305": (Answer(status=305, headers={"Location": "http://127.0.0.1/"}), Reason.HTTP_ERROR),
    "401": (Answer(status=401, headers={"WWW-Authenticate": "Basic"}), Reason.HTTP_ERROR),
    "404": (Answer(IMAGE, status=404), Reason.GONE),
    "410": (Answer(status=410), Reason.GONE),
    "407": (Answer(status=407), Reason.HTTP_ERROR),
    "429 until next year": (Answer(status=429, headers={"Retry-After": "9" * 400}), Reason.RATE_LIMITED),
    "429 until never": (Answer(status=429, headers={"Retry-After": "1 Jan 99999999999 00:00"}), Reason.RATE_LIMITED),
    "500": (Answer(IMAGE, status=500), Reason.HTTP_ERROR),
    "503 with nonsense": (Answer(status=503, headers={"Retry-After": "\xb2"}), Reason.HTTP_ERROR),
    "999": (Answer(status=999), Reason.HTTP_ERROR),
    "of 1991": (Wire(IMAGE), Reason.UNREACHABLE),
    "a closed door": (Wire(b""), Reason.UNREACHABLE),
    "half a status": (Wire(b"HTTP/1.1 2"), Reason.UNREACHABLE),
    "half a head": (Wire(b"HTTP/1.1 200 OK\r\nContent-"), Reason.UNREACHABLE),
    "status 000": (Wire(b"HTTP/1.1 000 Nothing\r\n\r\n"), Reason.UNREACHABLE),
    "status abc": (Wire(b"HTTP/1.1 abc\r\n\r\n"), Reason.UNREACHABLE),
    "ssh": (Wire(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.UNREACHABLE),
    "redis": (Wire(b"-ERR unknown command 'GET'\r\n"), Reason.UNREACHABLE),
    "smtp": (Wire(b"220 mail.example ESMTP\r\n"), Reason.UNREACHABLE),
    "http/2": (Wire(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), Reason.UNREACHABLE),
    "a terminal's escapes": (Wire(b"\x1b[2J\x1b[31mHTTP/1.1 200 OK\r\n\r\n"), Reason.UNREACHABLE),
    "endless headers": (Wire(b"HTTP/1.1 200 OK\r\n", again=b"a: b\r\n" * 1000), Reason.UNREACHABLE),
    "an endless header": (Wire(b"HTTP/1.1 200 OK\r\na: ", again=b"b" * 10_000), Reason.UNREACHABLE),
    "an endless status": (Wire(b"HTTP/1.1 200 ", again=b"O" * 10_000), Reason.UNREACHABLE),
    "a null in a header": (Wire(_ok(b"a: \x00") + IMAGE), Reason.UNREACHABLE),
    "a header without a name": (Wire(_ok(b": b") + IMAGE), Reason.UNREACHABLE),
    "a space in a name": (Wire(_ok(b"Content Length: 5") + IMAGE), Reason.UNREACHABLE),
    "length -5": (Wire(_ok(b"Content-Length: -5") + IMAGE), Reason.UNREACHABLE),
    "length +5": (Wire(_ok(b"Content-Length: +5") + IMAGE), Reason.UNREACHABLE),
    "length five": (Wire(_ok(b"Content-Length: five") + IMAGE), Reason.UNREACHABLE),
    "length of 5,000 digits": (Wire(_ok(b"Content-Length: " + b"9" * 5000) + IMAGE), Reason.UNREACHABLE),
    "two lengths": (Wire(_ok(b"Content-Length: 5", b"Content-Length: 6") + IMAGE), Reason.UNREACHABLE),
    "two lengths in one": (Wire(_ok(b"Content-Length: 5, 6") + IMAGE), Reason.UNREACHABLE),
    "unknown transfer": (Wire(_ok(b"Transfer-Encoding: gzip, chunked") + IMAGE), Reason.UNREACHABLE),
    "less than announced": (Answer(IMAGE, announced=500), Reason.TRUNCATED),
    "no last chunk": (Wire(_CHUNKED + b"5a\r\n" + IMAGE + b"\r\n"), Reason.TRUNCATED),
    "a chunk cut short": (Wire(_CHUNKED + b"ff\r\n" + IMAGE), Reason.TRUNCATED),
    "a chunk of zz": (Wire(_CHUNKED + b"zz\r\n" + IMAGE), Reason.TRUNCATED),
    "a chunk of -1": (Wire(_CHUNKED + b"-1\r\n" + IMAGE), Reason.TRUNCATED),
    "a chunk of 16 exabytes": (Wire(_CHUNKED + b"ffffffffffffffff\r\n" + IMAGE), Reason.TRUNCATED),
    "a chunk of 30 digits": (Wire(_CHUNKED + b"f" * 30 + b"\r\n" + IMAGE), Reason.TRUNCATED),
    "a chunk longer than it says": (Wire(_CHUNKED + b"1\r\n" + IMAGE + b"\r\n0\r\n\r\n"), Reason.TRUNCATED),
    "an endless chunk size": (Wire(_CHUNKED, again=b"0" * 10_000), Reason.TRUNCATED),
    "endless trailers": (Wire(_CHUNKED + b"0\r\n", again=b"a: b\r\n" * 1000), Reason.TRUNCATED),
    "an endless body": (Wire(_ok(), again=b"x" * 10_000), Reason.FILE_TOO_LARGE),
    "endless chunks": (Wire(_CHUNKED, again=b"1\r\nx\r\n" * 1000), Reason.FILE_TOO_LARGE),
    "announced too large": (Answer(announced=CAP_BYTES + 1), Reason.FILE_TOO_LARGE),
    "too large": (Answer(b"x" * (CAP_BYTES + 1)), Reason.FILE_TOO_LARGE),
    "too large in chunks": (Answer(b"x" * (CAP_BYTES + 1), announced=-1), Reason.FILE_TOO_LARGE),
    "a gzip bomb": (Answer(gzip.compress(bytes(10**7)), headers={"Content-Encoding": "gzip"}), Reason.ENCODED),
    "deflated": (Answer(zlib.compress(IMAGE), headers={"Content-Encoding": "deflate"}), Reason.ENCODED),
    "gzip, gzip": (Answer(IMAGE, headers={"Content-Encoding": "gzip, gzip"}), Reason.ENCODED),
    "br": (Answer(IMAGE, headers={"Content-Encoding": "br"}), Reason.ENCODED),
    "zstd": (Answer(IMAGE, headers={"Content-Encoding": "zstd"}), Reason.ENCODED),
    "an endless encoding": (Answer(IMAGE, headers={"Content-Encoding": "\x1b[31m" * 5000}), Reason.ENCODED),
}
"""What a host may send, and the reason the image must fail with; None if it must succeed."""

SLOW: Mapping[str, Wire] = {
    "a head that drips": Wire(b"HTTP/1.1 200 OK\r\n", again=b"a: b\r\n", pause_s=0.01),
    "a body that drips": Wire(_ok(b"Content-Length: 500"), again=b"x", pause_s=0.01),
    "chunks that drip": Wire(_CHUNKED, again=b"1\r\nx\r\n", pause_s=0.01),
    "trailers that drip": Wire(_CHUNKED + b"0\r\n", again=b"a: b\r\n", pause_s=0.01),
    "hints for ever": Wire(b"", again=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10),
    "hints that drip": Wire(b"", again=b"HTTP/1.1 103 Early Hints\r\n\r\n", pause_s=0.01),
}
"""What a host may send for ever that breaks no limit but the deadline."""


class _Everywhere(Site):
    """A site where every path is an image, except that /redirect/N and /to/LOCATION redirect."""

    def find(self, asked: Asked) -> Answer | Wire:
        _, first, *rest = asked.path.split("/", 2)
        if first == "redirect" and rest[0].isdecimal():
            return Answer(status=302, headers={"Location": tuple(_REDIRECTS)[int(rest[0])]})
        if first == "to":
            return Answer(status=302, headers={"Location": unquote(rest[0])})
        return Answer(IMAGE)


class Internet(httpx.AsyncBaseTransport):
    """An async context manager: ``public`` is where all public addresses lead, ``private`` where all others do.

    It sends what it is given to whatever address it is given, as sockets do. ``asked`` counts the
    lookups of each name.
    """

    def __init__(self) -> None:
        self.public = _Everywhere()
        self.private = Site()
        self.asked: Counter[str] = Counter()
        self._sockets = httpx.AsyncHTTPTransport()

    async def __aenter__(self) -> Self:
        await self.public.__aenter__()
        await self.private.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._sockets.aclose()
        await self.public.__aexit__(kind, error, traceback)
        await self.private.__aexit__(kind, error, traceback)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Resolve the names of these tables; the real resolver handles numbers and this machine."""
        self.asked[host] += 1
        if host in _NOWHERE:
            raise OSError(host)
        if host in REBINDING:
            return [REBINDING[host][min(self.asked[host], len(REBINDING[host])) - 1]]
        return _NAMES.get(host) or await system_resolver(host, port)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the server that its address leads to."""
        site = self.public if request.url.host in _PUBLIC else self.private
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=site.port)
        return await self._sockets.handle_async_request(request)
