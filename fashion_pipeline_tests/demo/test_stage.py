from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme
from oauthlib.oauth1 import Client

from fashion_pipeline.demo.catalogue import keys
from fashion_pipeline.demo.stage import start_server
from fashion_pipeline.errors import SettingsError
from fashion_pipeline_tests.model_shop.control import CONTROLLED, TOKEN

pytestmark = pytest.mark.slow

A_PARENT = """
import sys
from pathlib import Path
from fashion_pipeline.demo.stage import start_server
with start_server(Path(sys.argv[1]), products=4, stores=1, draw_ahead=False) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def has_ended(pid: int) -> bool:
    """Wait up to 30 s for a process that need not be our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 30)[0])
    finally:
        os.close(handle)


def test_shops_are_served_on_a_port_that_stays(tmp_path: Path) -> None:
    """A server answers signed requests, changes on order, and comes back on its port."""
    with start_server(tmp_path, products=4, stores=2, program=CONTROLLED) as server:
        name, secret = keys("maison-sud")
        shop = server.shop_url("maison-sud")
        url = f"{shop}/wp-json/wc/v3/products?_fields=id%2Cname%2Cprice%2Cimages&orderby=id&order=asc"
        uri, headers, _ = Client(name, secret, signature_method="HMAC-SHA256").sign(url)
        rows = httpx.get(uri, headers=headers).raise_for_status().json()
        assert len(rows) == 4
        image = httpx.get(rows[0]["images"][0]["src"]).raise_for_status()
        assert image.headers["etag"]
        order = {"do": "edit", "id": rows[0]["id"], "fields": {"price": "1.99"}}
        reply = httpx.post(f"{shop}/_control", json=order, headers={"authorization": f"Bearer {TOKEN}"})
        assert reply.json() == {"ok": True}
        uri, headers, _ = Client(name, secret, signature_method="HMAC-SHA256").sign(url)
        answer = httpx.get(uri, headers=headers)
        assert answer.json()[0]["price"] == "1.99"
        assert answer.headers.get_list("date") == [answer.headers["date"]]
    assert has_ended(server.pid)
    with start_server(tmp_path, products=4, stores=2) as again:
        assert again.port == server.port


def test_https_with_a_private_authority(tmp_path: Path) -> None:
    """With a certificate the shops live under https, and Basic opens them."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = tmp_path / "cert.pem", tmp_path / "key.pem"
    with start_server(tmp_path / "demo", products=4, stores=1, tls=tls, draw_ahead=False) as server:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        url = f"{server.shop_url('atelier-nord')}/wp-json/wc/v3/products"
        answer = httpx.get(url, auth=keys("atelier-nord"), verify=context)
        assert answer.status_code == 200
        assert answer.json()[0]["permalink"].startswith(server.origin)
        assert server.origin.startswith("https://")


def test_a_killed_parent_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL of the process that started the server ends the server too."""
    with subprocess.Popen(
        [sys.executable, "-c", A_PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        server_pid = int(parent.stdout.readline())
        os.kill(server_pid, 0)
        parent.send_signal(signal.SIGKILL)
        assert has_ended(server_pid)


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """If another program has the recorded port, the message names the port and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (tmp_path / "port").write_text(f"{port}\n", "utf-8")
        with (
            pytest.raises(SettingsError, match=rf"another program uses port {port}.*delete"),
            start_server(tmp_path),
        ):
            pass


def test_a_port_file_with_something_else_is_said(tmp_path: Path) -> None:
    """A port file that holds no port is not guessed around."""
    (tmp_path / "port").write_text("eighty\n", "utf-8")
    with pytest.raises(SettingsError, match="not a port"), start_server(tmp_path):
        pass


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The end of the server's log is in the message."""
    tls = tmp_path / "none.pem", tmp_path / "none.key"
    with pytest.raises(SettingsError, match=r"did not start.*No such file"), start_server(tmp_path / "demo", tls=tls):
        pass
