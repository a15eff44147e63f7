from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import Response

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline_tests.doctor.examining import LABELS, Make, everywhere, examine
from fashion_pipeline_tests.doctor.serving import Serving
from fashion_pipeline_tests.model_shop import faults

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault


@pytest.mark.parametrize("status", [301, 404])
def test_plain_permalinks(status: int, make: Make) -> None:
    """A shop whose REST API works with ?rest_route= only gets the advice to choose other permalinks."""
    served = make()
    served.shop.fault = faults.plain_permalinks(status)
    table = examine(served)
    assert table.are(Verdict.OK) == {"address", "connection"}
    assert table.are(Verdict.FAILED) == {"REST API"}
    assert table.found["REST API"].endswith("/?rest_route=/ works")
    expected = "the shop's permalinks are set to Plain: choose another structure under Settings > Permalinks"
    assert (table.code, table.advice) == (1, f"Fix first: {expected}.")


def test_http_only(make: Make) -> None:
    """A shop over http works with a signature; the missing encryption is a warning, with exit code 0."""
    table = examine(make("http"))
    assert table.are(Verdict.WARNING) == {"connection"}
    assert table.are(Verdict.OK) == LABELS - {"connection"}
    assert "https does not work" in table.found["connection"]
    assert table.found["keys"] == "OAuth header: accepted"
    assert table.code == 0
    assert table.advice.startswith("It works, but should be improved: install a certificate on the shop")


def test_http_only_where_https_is_configured(make: Make, serving: Serving) -> None:
    """Where the url says https and only http works, the finding says so, with the url that works."""
    url = f"{serving.origins['http']}/atelier"
    table = examine(make(url=url.replace("http:", "https:")))
    assert table.are(Verdict.FAILED) == {"connection"}
    assert "that port does not speak https" in table.found["connection"]
    assert f"set the store's url to {url}:" in table.advice
    assert table.code == 1


def test_https_would_answer_too(make: Make, serving: Serving) -> None:
    """A store whose url says http while its shop has https gets the advice to use https."""
    served = make()
    with serving.on_one_port() as host:
        served.settings["url"] = f"http://{host}/atelier"
        table = examine(served, "--images", "0")
    assert table.are(Verdict.WARNING) == {"connection"}
    assert (table.code, table.advice) == (
        0,
        f"It works, but should be improved: set the store's url to https://{host}/atelier.",
    )


def test_not_woocommerce(make: Make) -> None:
    """A WordPress whose index lists no wc/v3 gets the advice to activate WooCommerce."""
    served = make()

    def apply(response: Response) -> Response:
        return Response(json.dumps({"namespaces": ["wp/v2"]}), 200, {"content-type": "application/json"})

    served.shop.fault = lambda _: Change(apply=apply)
    table = examine(served)
    assert table.found["REST API"] == "/wp-json/ exists, but without wc/v3"
    assert "activate the plugin WooCommerce" in table.advice


def test_an_index_that_needs_a_login(make: Make) -> None:
    """An index that needs a login is no problem where the keys open the rest."""
    served = make()
    body = json.dumps({"code": "rest_login_required", "message": "Log in.", "data": {"status": 401}})
    closed: Fault = lambda _: Response(body, 401, media_type="application/json")  # noqa: E731
    served.shop.fault = faults.only(closed, path="wp-json/$")
    table = examine(served)
    assert table.are(Verdict.OK) == LABELS
    assert "needs a login: 401 (rest_login_required: Log in.)" in table.found["REST API"]


def test_rewrite_rules_that_are_missing(make: Make) -> None:
    """Where the web server lacks the rewrite rules of pretty permalinks, the advice is to fix them."""
    served = make()
    served.shop.fault = faults.only(everywhere(404, "Not Found"), path="/wp-json")
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"REST API"}
    assert "does not pass /wp-json/ to WordPress" in table.advice


def test_a_private_address(make: Make) -> None:
    """A private address that is not allowed gets no request."""
    served = make(allow_private_hosts=None)
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"address"}
    assert table.are(Verdict.NOT_TRIED) == LABELS - {"address"}
    assert table.found["address"] == "127.0.0.1 leads to an address that is not public"
    assert "list its host under allow_private_hosts" in table.advice
    assert table.code == 1
    assert not served.shop.asked


@pytest.mark.parametrize(
    ("store", "label", "found", "advice"),
    [
        ({"url": "https://127.0.0.1:9/x"}, "connection", "the host did not answer", "check that the shop is up"),
        ({"url": "https://nowhere.invalid/x"}, "address", "nowhere.invalid has no address", "DNS"),
        (
            {"ca_file": None},
            "connection",
            "the certificate cannot be trusted (",
            "set ca_file to the certificate of its private authority",
        ),
    ],
)
def test_what_is_not_reached(store: dict[str, Any], label: str, found: str, advice: str, make: Make) -> None:
    """A host name without address, a closed port and an untrusted certificate are distinguished."""
    table = examine(make(**store))
    assert table.are(Verdict.FAILED) == {label}
    assert found in table.found[label]
    assert advice in table.advice
