"""Model shops on real sockets, in this process: as ``demo.serve`` serves them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import uvicorn

from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline_tests.model_shop.control import handle
from fashion_pipeline_tests.model_shop.wire import protocol


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to pytest."""
        yield


@contextlib.asynccontextmanager
async def served(
    shops: Mapping[str, ModelShop], *, control: bool = False, tls: Path | None = None
) -> AsyncIterator[int]:
    """Serve shops on 127.0.0.1 until the block ends; gives the port. Shops may be added meanwhile.

    With ``control`` they obey orders over HTTP (see ``model_shop.control``). ``tls`` is a PEM file of key and certificate.
    """
    config = uvicorn.Config(
        app(shops, handler=handle if control else None),
        http=protocol(),
        log_level="critical",
        log_config=None,
        ssl_certfile=tls,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
