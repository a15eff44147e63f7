from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from fashion_pipeline.defs.webserver import Guard, names_of

HOSTS = names_of(["webserver", "--port", "3000"])
UI = "http://127.0.0.1:3000"


async def behind(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request that gets through."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"Dagster"})


async def ask(method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app=Guard(behind, HOSTS))
    async with httpx.AsyncClient(transport=transport, base_url=UI) as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/graphql?query=mutation%20%7B%20wipeAssets%20%7D", {}),
        ("GET", "/graphql?query=mutation%7Blaunch%7D", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
        ("POST", "/graphql", {"Origin": "https://evil.example"}),
        ("POST", "/graphql", {"Origin": "null"}),
        ("POST", "/graphql", {"Origin": "http://127.0.0.1:3001"}),
        ("POST", "/graphql", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        ("POST", "/graphql", {"Sec-Fetch-Site": "same-site"}),
        ("GET", "/", {"Host": "rebound.example:3000"}),
        ("GET", "/", {"Host": "127.0.0.1"}),
        ("GET", "/logs", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
    ],
)
async def test_what_another_page_sends_is_refused(method: str, path: str, headers: dict[str, str]) -> None:
    """No web page in the same browser launches a run, wipes an asset or reads a log, by whatever name it asks."""
    answer = await ask(method, path, headers)
    assert answer.status_code == 403
    assert answer.text.strip()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/assets", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
        ("POST", "/graphql", {"Origin": UI, "Sec-Fetch-Site": "same-origin"}),
        ("POST", "/graphql", {}),
        ("GET", "/", {"Host": "LOCALHOST:3000"}),
    ],
)
async def test_the_ui_itself_and_programs_get_through(method: str, path: str, headers: dict[str, str]) -> None:
    """The UI works, a link to it opens, and curl on this machine is no web page."""
    assert (await ask(method, path, headers)).text == "Dagster"


async def test_a_foreign_websocket_is_closed() -> None:
    """Subscriptions are judged like requests: a page may open a socket to any host."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:3000"), (b"origin", b"https://evil.example")]
    await Guard(behind, HOSTS)({"type": "websocket", "headers": headers}, behind, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]
