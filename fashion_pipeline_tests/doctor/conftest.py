from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline_tests.doctor.examining import GOOD, Make
from fashion_pipeline_tests.doctor.serving import KEY, ServedStore, Serving


@pytest.fixture(scope="package")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Serve the shops that the tests put into it, over http and https."""
    with Serving(tmp_path_factory.mktemp("serving")).started() as started:
        yield started


@pytest.fixture
def make(serving: Serving, tmp_path: Path) -> Make:
    """Return a function that makes a shop with a few products, and a stores.yaml for it."""

    def made(scheme: str = "https", *, images: tuple[bytes, ...] = (GOOD,) * 4, **settings: Any) -> ServedStore:
        shop = ModelShop(id="atelier", origin=serving.origins[scheme], keys=[KEY])
        for number, content in enumerate(images):
            shop.add(name=f"Coat {number}", price="10", images=[shop.upload(f"{number}.jpg", content)])
        serving.shops["atelier"] = shop
        return ServedStore(serving, shop, tmp_path, settings=settings)

    return made
