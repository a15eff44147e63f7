"""The cache of model-ready pixels."""

from __future__ import annotations

import numpy as np

from fashion_pipeline.storage.home import Home


def test_pixels_are_a_cache(home: Home) -> None:
    """Pixels come back as they were; missing or cut ones are simply not there."""
    pixels = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(224, 224, 3)
    cache = home.pixels("spec-1")
    assert cache.get("ab" * 32) is None
    cache.put("ab" * 32, pixels)
    found = cache.get("ab" * 32)
    assert found is not None
    assert np.array_equal(found, pixels)
    assert home.pixels("spec-2").get("ab" * 32) is None
    cache.drop(["ab" * 32, "cd" * 32])
    assert cache.get("ab" * 32) is None
