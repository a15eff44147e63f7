"""Serves model shops of this process over http and https, so that tests can change them."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import trustme
import uvicorn
from click.testing import CliRunner, Result
from PIL import Image

from fashion_pipeline.cli.main import cli
from fashion_pipeline.model_shop.api import app
from fashion_pipeline.model_shop.shop import Key, ModelShop
from fashion_pipeline_tests.model_shop.wire import protocol

KEY = Key("ck_a_key_of_the_test", "cs_a_secret_of_the_test")


@dataclass
class Serving:
    """Two servers of the same shops, with and without TLS."""

    folder: Path
    shops: dict[str, ModelShop] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def ca_file(self) -> Path:
        """The authority of the https server's certificate."""
        return self.folder / "ca.pem"

    @contextlib.contextmanager
    def started(self) -> Iterator[Serving]:
        """Serve until the block ends."""
        self.folder.mkdir(exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(self.folder / "server.pem")
        with contextlib.ExitStack() as stack:
            for scheme in ("http", "https"):
                self.origins[scheme] = stack.enter_context(self._served(scheme))
            yield self

    @contextlib.contextmanager
    def on_one_port(self) -> Iterator[str]:
        """Give one host and port that both servers share, as the usual ports share a host."""
        with _Switch(self.origins) as switch:
            thread = threading.Thread(target=switch.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield f"127.0.0.1:{switch.server_address[1]}"
            finally:
                switch.shutdown()
                thread.join()

    @contextlib.contextmanager
    def _served(self, scheme: str) -> Iterator[str]:
        pem = self.folder / "server.pem" if scheme == "https" else None
        config = uvicorn.Config(
            app(self.shops),
            log_level="critical",
            access_log=False,
            date_header=False,
            server_header=False,
            http=protocol(),
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,
            ssl_certfile=pem,
            ssl_keyfile=pem,
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            listener.close()


class _Switch(socketserver.ThreadingTCPServer):
    """Forwards a connection that begins as TLS does to the https server, any other to the http server."""

    daemon_threads = True

    def __init__(self, origins: dict[str, str]) -> None:
        self.origins = origins
        super().__init__(("127.0.0.1", 0), _Switched)


class _Switched(socketserver.BaseRequestHandler):
    server: _Switch

    def handle(self) -> None:
        scheme = "https" if self.request.recv(1, socket.MSG_PEEK) == b"\x16" else "http"
        host, port = self.server.origins[scheme].rpartition("/")[2].split(":")
        with socket.create_connection((host, int(port))) as inner:
            back = threading.Thread(target=_pour, args=(inner, self.request))
            back.start()
            _pour(self.request, inner)
            back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65_536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)


@dataclass
class ServedStore:
    """A shop, and its entry in a ``stores.yaml``.

    ``settings`` replace keys of the entry (None removes one), ``others`` are the keys of further
    entries, and ``variables`` replace environment variables.
    """

    serving: Serving
    shop: ModelShop
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[str, str | None] = field(default_factory=dict)

    def describe(self) -> None:
        """Write stores.yaml: this store, and others."""
        stores = [self._entry(self.settings), *map(self._entry, self.others)]
        (self.folder / "stores.yaml").write_text(json.dumps({"stores": stores}), "utf-8")

    def _entry(self, keys: dict[str, Any]) -> dict[str, Any]:
        entry = {
            "id": self.shop.id,
            "url": self.shop.url,
            "consumer_key": "${STORE_KEY}",
            "consumer_secret": "${STORE_SECRET}",
            "allow_private_hosts": ["127.0.0.1"],
            "ca_file": str(self.serving.ca_file),
            **keys,
        }
        return {key: value for key, value in entry.items() if value is not None}

    @property
    def environment(self) -> dict[str, str | None]:
        """The environment of the command line."""
        return {
            "FASHION_STORES": str(self.folder / "stores.yaml"),
            "FASHION_HOME": str(self.folder / "home"),
            "FASHION_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
            "STORE_KEY": KEY.consumer_key,
            "STORE_SECRET": KEY.consumer_secret,
            **self.variables,
        }

    def command(self, *arguments: str) -> Result:
        """Run the command line in this process."""
        self.describe()
        return CliRunner(env=self.environment).invoke(cli, list(arguments))


def jpeg(*, side_px: int = 480, file_bytes: int = 60_000, square_px: int = 16, sharp: bool = True) -> bytes:
    """Return a square JPEG, padded behind its end to a number of bytes."""
    places = np.indices((side_px, side_px)).sum(axis=0)
    values = places // square_px % 2 * 200 if sharp else places * 255 / (2 * side_px)
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "JPEG", quality=70)
    return buffer.getvalue().ljust(file_bytes, b"\0")
