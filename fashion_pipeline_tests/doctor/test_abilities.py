from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from starlette.responses import Response

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline.model_shop.shop import Key
from fashion_pipeline_tests.doctor.examining import LABELS, Make, examine
from fashion_pipeline_tests.doctor.serving import KEY
from fashion_pipeline_tests.model_shop import faults

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault


def old_version(version: str) -> Fault:
    """Report another version of WooCommerce in the system status."""

    def apply(response: Response) -> Response:
        body = json.loads(bytes(response.body))
        body["environment"]["version"] = version
        return Response(json.dumps(body), response.status_code, {"content-type": "application/json"})

    return lambda request: Change(apply=apply) if request.url.path.endswith("/system_status") else None


def test_old_woocommerce(make: Make) -> None:
    """A WooCommerce before 5.8 fails by its version and because it ignores modified_after; all other checks are made."""
    served = make()
    served.shop.fault = faults.together(faults.old_woocommerce(), old_version("5.7.2"))
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"WooCommerce", "changes"}
    assert table.are(Verdict.OK) == LABELS - {"WooCommerce", "changes"}
    assert table.found["WooCommerce"].startswith("5.7.2 on ")
    assert table.found["changes"] == "modified_after is not supported"
    assert (table.code, table.advice) == (1, "Fix first: update WooCommerce to 5.8 or newer (1 more above).")


def test_no_date_header(make: Make) -> None:
    """A shop without Date header works by this machine's clock, with a warning."""
    served = make()
    served.shop.fault = faults.no_date()
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"clock"}
    assert table.are(Verdict.OK) == LABELS - {"clock"}
    assert table.found["clock"] == "the shop sends no Date header"
    assert table.code == 0
    assert table.advice.startswith(
        "It works, but should be improved: configure the shop's server to send a Date header"
    )


@pytest.mark.parametrize(
    ("scheme", "skew", "verdict"),
    [
        ("https", timedelta(minutes=-10), Verdict.WARNING),
        ("http", timedelta(minutes=10), Verdict.WARNING),
        ("http", timedelta(hours=3), Verdict.FAILED),
    ],
)
def test_clocks_that_differ(scheme: str, skew: timedelta, verdict: Verdict, make: Make) -> None:
    """Minutes are a warning; over http, where a signature is valid for 15 minutes, more is a failure."""
    served = make(scheme)
    served.shop.clock.set(datetime.now(UTC) + skew)
    table = examine(served)
    assert table.verdicts["clock"] == verdict
    assert ("behind" if skew < timedelta(0) else "ahead of") in table.found["clock"]
    assert table.code == (1 if verdict is Verdict.FAILED else 0)


def test_no_totals(make: Make) -> None:
    """Without X-WP-Total reading works but no sweep is complete: a warning that says so."""
    served = make()
    served.shop.fault = faults.no_totals()
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"statuses"}
    assert "pass the header X-WP-Total" in table.advice


def test_a_parameter_that_a_plugin_drops(make: Make) -> None:
    """A shop that supports modified_after and ignores it has a plugin or a cache to fix, not an old version."""
    served = make()
    served.shop.fault = faults.only(faults.old_woocommerce(), path="/products$")
    table = examine(served)
    assert table.found["changes"] == "modified_after is supported, but ignored"
    assert "drops the parameter modified_after" in table.advice


def test_hidden_products_do_not_make_a_shop_obedient(make: Make) -> None:
    """An empty page whose total counts products does not prove that modified_after works."""
    served = make()
    served.shop.hidden = set(served.shop.products)
    served.shop.fault = faults.old_woocommerce()
    assert examine(served).found["changes"] == "modified_after is not supported"


@pytest.mark.parametrize(
    ("currency", "may_view", "verdict", "found"),
    [
        (None, {"products"}, Verdict.FAILED, "this key may not read it: 403"),
        ("GBP", {"products"}, Verdict.OK, "GBP in stores.yaml"),
        ("GBP", {"products", "settings"}, Verdict.WARNING, "GBP in stores.yaml, EUR in the shop"),
    ],
)
def test_currency(currency: str | None, may_view: set[str], verdict: Verdict, found: str, make: Make) -> None:
    """The currency is the shop's or that of stores.yaml; none is a failure, and two different ones are a warning."""
    served = make(currency=currency)
    served.shop.keys = [Key(KEY.consumer_key, KEY.consumer_secret, "read", frozenset(may_view))]
    table = examine(served)
    assert table.verdicts["currency"] == verdict
    assert found in table.found["currency"]
    assert ("unknown: this key may not read the version" in table.found["WooCommerce"]) == ("settings" not in may_view)


def test_an_empty_shop(make: Make) -> None:
    """A shop without products works, with a warning that it may be the wrong one."""
    table = examine(make(images=()))
    assert table.are(Verdict.FAILED) == set()
    assert table.verdicts["statuses"] == Verdict.WARNING
    assert table.verdicts["images"] == table.verdicts["quality"] == Verdict.NOT_TRIED
