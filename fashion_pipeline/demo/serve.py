"""The demo's shops as a separate process: ``python -m fashion_pipeline.demo.serve --help``."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from fashion_pipeline.demo.catalogue import PRODUCTS, STORES, model_shops
from fashion_pipeline.demo.stage import PORT_TAKEN
from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import ModelShop

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Handler


class _Server(uvicorn.Server):
    """A server that prints a line when it is ready, and ends with its parent process."""

    def __init__(self, config: uvicorn.Config, origin: str) -> None:
        super().__init__(config)
        self.origin = origin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"ready {self.origin}\n")
        sys.stdout.flush()

    def end_with_parent(self) -> None:
        """Stop when standard input ends: it is a pipe from the parent, closed even when the parent is killed."""
        while os.read(0, 1):  # not sys.stdin: its lock would block the interpreter's shutdown
            pass
        self.should_exit = True


def main(
    arguments: Sequence[str] | None = None,
    *,
    handler: Handler | None = None,
    http: type[asyncio.Protocol] | None = None,
) -> int:
    """Serve until interrupted; return the exit status.

    Args:
        arguments: of the command line.
        handler: sees each request before its shop does; the demo needs none.
        http: the protocol of a connection; uvicorn's own by default.
    """
    given = _parser().parse_args(arguments)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", given.port))
    except OSError as error:
        sys.stderr.write(f"port {given.port}: {error.strerror}\n")
        return PORT_TAKEN
    scheme = "https" if given.tls_cert else "http"
    origin = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    shops = model_shops(
        origin,
        image_folder=given.folder / "images",
        products=given.products,
        stores=given.stores,
        latency_s=given.latency_ms / 1000,
    )
    config = uvicorn.Config(
        app(shops, handler=handler),
        log_level="warning",
        access_log=False,
        http=http or "auto",
        date_header=False,  # the shop's clock sets Date
        lifespan="off",
        timeout_graceful_shutdown=1,
        ssl_certfile=given.tls_cert,
        ssl_keyfile=given.tls_key,
    )
    server = _Server(config, origin)
    if given.end_with_stdin:
        threading.Thread(target=server.end_with_parent, daemon=True).start()
    if given.draw_ahead:
        threading.Thread(target=_draw, args=(list(shops.values()),), daemon=True).start()
    server.run(sockets=[listener])
    return 0


def _draw(shops: Sequence[ModelShop]) -> None:
    """Draw every image before it is requested, shop by shop."""
    for shop in shops:
        for upload in list(shop.uploads.values()):
            upload.read()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fashion_pipeline.demo.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--products", type=int, default=PRODUCTS, help="products of each shop")
    parser.add_argument("--stores", type=int, default=STORES, help="number of shops")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="delay of every response")
    parser.add_argument("--folder", type=Path, required=True, help="where drawn images are kept")
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate: serve https")
    parser.add_argument("--tls-key", type=Path, help="PEM key of the certificate")
    parser.add_argument("--draw-ahead", action="store_true", help="draw all images in the background at the start")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input is closed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
