from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline_tests.doctor.examining import Make, examine
from fashion_pipeline_tests.model_shop import faults


@pytest.mark.parametrize("honest", [True, False])
def test_capped_pages(make: Make, *, honest: bool) -> None:
    """A shop that puts fewer products on a page than asked for gets a warning with the size of its pages."""
    served = make()
    served.shop.page_cap, served.shop.honest_cap = 2, honest
    table = examine(served)
    assert "page size" in table.are(Verdict.WARNING)
    assert table.found["page size"] == "2 products on a page, although 100 are asked for"


def test_a_cache_that_answers_from_the_past(make: Make) -> None:
    """A cache that holds yesterday's listing fails, by a request that no cache has seen."""
    served = make()
    served.shop.fault = faults.stale_cache()
    assert "cache" not in examine(served).are(Verdict.FAILED)
    for product in list(served.shop.products):
        served.shop.edit(product, price="77")
    table = examine(served)
    assert "cache" in table.are(Verdict.FAILED)
    assert table.found["cache"] == "a cache answers with products of the past"
    assert "exempt /wp-json/ from the cache" in table.advice


def test_a_cache_that_names_itself(make: Make) -> None:
    """A header of a cache that held the answer is a warning though nothing is old yet."""

    def hit(_: Request) -> Change:
        def apply(response: Response) -> Response:
            response.headers["x-cache"] = "HIT from edge"
            return response

        return Change(apply=apply)

    served = make()
    served.shop.fault = hit
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"cache"}
    assert table.found["cache"] == "a cache keeps the shop's answers (header x-cache)"
