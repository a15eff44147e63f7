"""Dagster's web server behind a guard, for ``dev``.

    python -m fashion_pipeline.defs.webserver --host 127.0.0.1 --port 3000 -w workspace.yaml

Dagster's web server has no authentication, runs mutations that come by GET, and looks at neither
Host nor Origin (1.13.27): any web page in the same browser could launch runs and wipe assets. The
guard answers only requests that were made to this server by name, by itself or by no page at all.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FACTORY = "create_app_from_workspace_process_context"
_OWN = {"same-origin", "none"}  # Fetch Metadata: the UI itself, or a person who typed the address


class Guard:
    """An ASGI application that passes on only what the UI itself, or a program on this machine, asks.

    Args:
        app: the application behind.
        hosts: values of the Host header that name this server, with the port.
    """

    def __init__(self, app: App, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 with the reason, or pass the request on."""
        problem = self.problem(scope) if scope["type"] in {"http", "websocket"} else ""
        if not problem:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": f"{problem}\n".encode()})

    def problem(self, scope: Scope) -> str:
        """Return why a request is refused; ``""`` for one that is not."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "").lower() not in self._hosts:  # DNS rebinding: a stranger's name for this address
            return "this server is not known by that host name: use the address that fashion-pipeline dev printed"
        if scope["type"] == "http" and scope["method"] == "GET" and "query" in parse_qs(scope["query_string"].decode()):
            return "queries come by POST: by GET any page could run a mutation"
        return "another site's page may not use this server" if self._is_foreign(scope, headers) else ""

    def _is_foreign(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self._hosts:  # "null" too
            return True
        if headers.get("sec-fetch-site", "none") in _OWN:
            return False
        followed_link = scope["type"] == "http" and scope["method"] == "GET"
        return not (followed_link and headers.get("sec-fetch-mode") == "navigate")


def names_of(arguments: list[str]) -> list[str]:
    """Return the Host headers of a server that is started with these arguments, on a loopback address."""
    port = arguments[arguments.index("--port") + 1]
    return [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]


def main() -> None:
    """Run ``dagster-webserver`` with this process's arguments, its application behind the guard."""
    from dagster_webserver import cli

    internals: dict[str, Any] = vars(cli)
    create_app = internals[_FACTORY]

    def create_guarded_app(*args: Any, **kwargs: Any) -> Guard:
        return Guard(create_app(*args, **kwargs), names_of(sys.argv))

    internals[_FACTORY] = create_guarded_app  # it has no way to add middleware
    internals["main"]()


if __name__ == "__main__":
    main()
