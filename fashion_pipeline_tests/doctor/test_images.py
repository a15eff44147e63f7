from __future__ import annotations

import pytest

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline_tests.doctor.examining import GOOD, LABELS, Make, everywhere, examine
from fashion_pipeline_tests.doctor.serving import jpeg
from fashion_pipeline_tests.model_shop import faults


def test_a_third_of_the_images_below_the_thresholds(make: Make) -> None:
    """The finding counts what would be refused by setting; the advice names the main one and the median of its images."""
    small = jpeg(file_bytes=30_000, square_px=60)
    bad = (small, small, jpeg(sharp=False), jpeg(side_px=390, file_bytes=20_000, square_px=60))
    served = make(images=(*bad, *(GOOD,) * 8))
    served.settings["quality"] = {"gate": "classic"}
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"quality"}
    expected = "4 of 12 would be refused: min_file_bytes (50,000) 3, min_side_px (400) 1, min_sharpness (100) 1"
    assert table.found["quality"] == expected
    assert table.advice == (
        "It works, but should be improved: 4 of 12 images would be refused, 3 of them by quality.min_file_bytes "
        "(50,000; their median is 30,000 bytes), 2 by it alone: lower it for this store in stores.yaml, or "
        "upload better images."
    )
    assert table.code == 0
    served.settings["quality"] = {"min_file_bytes": 20_000, "min_side_px": 1, "min_sharpness": 0}
    assert examine(served).are(Verdict.OK) == LABELS


def test_a_third_of_the_images_blurred(make: Make) -> None:
    """With the edges gate the advice names its settings, and the median blur."""
    served = make(images=(*(jpeg(sharp=False),) * 3, jpeg(file_bytes=1_000), *(GOOD,) * 8))
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"quality"}
    assert table.found["quality"] == "3 of 12 would be refused: max_edge_blur_px (1.4) 3"
    assert "3 of them by quality.max_edge_blur_px (1.4; their median is " in table.advice
    assert " px), 3 by it alone: raise it for this store in stores.yaml" in table.advice


def test_a_sample_of_a_large_shop(make: Make) -> None:
    """The sample of a large shop spans its oldest to its newest products, and the whole shop is estimated."""
    old, new = jpeg(file_bytes=0, square_px=60), GOOD
    served = make(images=(*(old,) * 65, *(new,) * 65))
    served.settings["quality"] = {"gate": "classic"}
    table = examine(served, "--images", "24")
    sampled = int(table.found["products"].split(" of ")[1].split()[0])
    assert 20 <= sampled <= 24
    refused, of = (int(part) for part in table.found["quality"].split(" would")[0].split(" of "))
    assert of == sampled
    assert 0.3 < refused / of < 0.7
    assert "of the shop's 130 products" in table.found["quality"]
    assert sum("/uploads/" in asked.path for asked in served.shop.asked) == sampled


@pytest.mark.parametrize("option", ["--images", "--pictures"])
def test_without_images(option: str, make: Make) -> None:
    """With --images 0, or under its old name --pictures, no image is fetched, and that is no failure."""
    served = make()
    table = examine(served, option, "0")
    assert table.code == 0
    assert table.are(Verdict.NOT_TRIED) == {"products", "images", "quality"}
    assert not any("/uploads/" in asked.path for asked in served.shop.asked)


def test_images_that_are_lost(make: Make) -> None:
    """Lost images are counted by reason, with one product to check; a private address gets no request."""
    served = make()
    lost, elsewhere, *_ = served.shop.products
    served.shop.forget_image(f"{served.shop.url}/wp-content/uploads/0.jpg")
    served.shop.edit(elsewhere, images=["http://10.0.0.1/a.jpg"])
    table = examine(served)
    assert table.are(Verdict.WARNING) == {"images"}
    assert table.found["images"] == "2 of 4 fetched from 1 host, median 60 kB; lost: blocked_address 1, gone 1"
    assert f"check the image of product {elsewhere}: http://10.0.0.1/a.jpg leads to" in table.advice
    served.shop.edit(elsewhere, images=[f"{served.shop.url}/wp-content/uploads/1.jpg"])
    table = examine(served)
    assert f"check the image of product {lost}: {served.shop.url}/wp-content/uploads/0.jpg" in table.advice


def test_no_image_at_all(make: Make) -> None:
    """A shop none of whose images can be fetched is a failure."""
    served = make()
    served.shop.fault = faults.only(everywhere(403, "Hotlink!"), path="/uploads/")
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"images"}
    assert table.verdicts["quality"] == Verdict.NOT_TRIED
    assert table.found["images"] == "0 of 4 fetched; lost: http_error 4"


def test_images_that_come_too_late(make: Make) -> None:
    """Images for which the time does not suffice are counted, and the others are judged."""
    served = make()
    served.shop.fault = faults.only(faults.slow(60), path="/uploads/[012]")
    table = examine(served, "--seconds", "1")
    assert table.verdicts["images"] == Verdict.WARNING
    assert table.found["images"].endswith("; lost: no time for 3")
    assert table.found["quality"] == "0 of 1 would be refused"


def test_a_file_too_large_is_a_threshold(make: Make) -> None:
    """An image too large to fetch counts as refused by max_file_bytes, not as lost."""
    table = examine(make(quality={"max_file_bytes": 50_000}))
    assert table.verdicts["images"] == Verdict.OK
    assert table.found["quality"] == "4 of 4 would be refused: max_file_bytes (50,000) 4"
    assert table.verdicts["quality"] == Verdict.FAILED
    assert "raise it for this store" in table.advice


def test_what_no_threshold_decides(make: Make) -> None:
    """Where files are not images, the advice names one of them instead of a setting."""
    table = examine(make(images=(b"<html>" * 10_000,) * 2 + (GOOD,)))
    assert table.found["quality"] == "2 of 3 would be refused: not_an_image 2"
    assert "no threshold decides this: check the image of product" in table.advice
