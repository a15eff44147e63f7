"""A web server on loopback that sends whatever a test prescribes, well-formed or not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that arrived; header names in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send.

    Attributes:
        announced: Content-Length, where it differs from the body's; -1 for chunked.
        stalls: send the headers and the body, but never end.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    stalls: bool = False


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes to send as they are, HTTP or not, before the connection is closed.

    Attributes:
        first: sent once.
        again: sent after that for ever, as fast as they are read, or with pauses.
        pause_s: the pause before each ``again``.
    """

    first: bytes
    again: bytes = b""
    pause_s: float = 0.0


Script = Answer | Wire | list[Answer] | Callable[[Asked], Answer | Wire]


class Site:
    """An async context manager: ``answers`` by path, ``asked`` in order; other paths are 404.

    The items of a list are sent one by one, the last one for ever. While ``held``, requests wait
    for ``release``; ``most_concurrent`` is the largest number of requests answered at one time,
    ``connections`` the number of connections opened, ``open`` the number still open.
    """

    def __init__(self, answers: Mapping[str, Script] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Script] = dict(answers or {})
        self.asked: list[Asked] = []
        self.most_concurrent = self.connections = 0
        self._tls = tls
        self._concurrent = 0
        self._open = asyncio.Event()
        self._open.set()
        self._arrived = asyncio.Condition()
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._open.set()
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks)

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        """Return the URL of a path, under a name of the test's choice."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{host}:{self.port}{path}"

    def hold(self) -> None:
        """Accept requests, but answer none until ``release``."""
        self._open.clear()

    def release(self) -> None:
        """Answer the requests that wait."""
        self._open.set()

    @property
    def open(self) -> int:
        """Return how many connections are open."""
        return len(self._writers)

    async def closed(self, number: int) -> None:
        """Wait until ``number`` connections have ended."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.connections - self.open >= number)

    async def arrived(self, number: int) -> None:
        """Wait until ``number`` requests have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.asked) >= number)

    def paths(self) -> list[str]:
        """Return the requested paths, in order."""
        return [asked.path for asked in self.asked]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client is done
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()
            async with self._arrived:
                self._arrived.notify_all()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        asked = Asked(head[0].split(" ")[1], {name.lower(): value for name, value in headers.items()})
        async with self._arrived:
            self.asked.append(asked)
            self._arrived.notify_all()
        self._concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self._concurrent)
        await self._open.wait()
        self._concurrent -= 1
        answer = self.find(asked)
        if isinstance(answer, Wire):
            await self._send(answer, writer)
            return False
        writer.write(_wire(answer))
        await writer.drain()
        if answer.stalls:
            await self._ended.wait()
        return answer.announced in {None, -1, len(answer.body)}

    async def _send(self, wire: Wire, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.first)
        await writer.drain()
        while wire.again and not self._ended.is_set():
            await asyncio.sleep(wire.pause_s)
            writer.write(wire.again)
            await writer.drain()

    def find(self, asked: Asked) -> Answer | Wire:
        """Return the answer to a request."""
        script = self.answers.get(asked.path, Answer(status=404))
        if callable(script):
            return script(asked)
        if isinstance(script, list):
            return script.pop(0) if len(script) > 1 else script[0]
        return script


def _wire(answer: Answer) -> bytes:
    headers = dict(answer.headers)
    body = answer.body
    if answer.announced == -1:
        headers["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif answer.status != 304:
        headers["Content-Length"] = str(len(body) if answer.announced is None else answer.announced)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} Said\r\n{lines}\r\n".encode("latin-1") + body
