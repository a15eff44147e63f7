from __future__ import annotations

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.doctor.products import _speed
from fashion_pipeline_tests.doctor.examining import Make, examine, recorded_answer


def test_products_that_are_hidden(make: Make) -> None:
    """Products that are counted but missing from the page are a warning about the key's user."""
    served = make()
    served.shop.hidden = {min(served.shop.products)}
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"products"}
    assert "1 of 4 are missing from a page" in table.found["products"]


def test_a_slow_page() -> None:
    """A page of products that takes longer than 20 seconds is a warning."""
    assert _speed(recorded_answer("products_page1_id_asc", seconds=1)).verdict is Verdict.OK
    slow = _speed(recorded_answer("products_page1_id_asc", seconds=34))
    assert slow.verdict is Verdict.WARNING
    assert "took 34.00 s" in slow.found


def test_what_cannot_be_published(make: Make) -> None:
    """Products that the gate refuses are counted by reason, and their images are not fetched."""
    served = make()
    first, second, *_ = served.shop.products
    served.shop.edit(first, price="")
    served.shop.edit(second, post_password="vip")
    table = examine(served)
    assert (
        table.found["products"] == "2 of 4 published products pass the gate; refused: no_price 1, password_protected 1"
    )
    assert table.found["images"].startswith("2 of 2 fetched")
    assert sum("/uploads/" in asked.path for asked in served.shop.asked) == 2
