"""Image bytes by their digest."""

from __future__ import annotations

import pytest

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.storage.files import sha256_hex
from fashion_pipeline.storage.home import Home


def test_the_same_bytes_lie_there_once_and_are_checked(home: Home) -> None:
    """A blob that does not hold its own digest is removed and refused, so that it is fetched again."""
    sha256 = home.blobs.put(b"a dress")
    assert sha256 == sha256_hex(b"a dress") == home.blobs.put(b"a dress")
    assert home.blobs.get(sha256) == b"a dress"
    home.blobs.path(sha256).write_bytes(b"a shoe")
    with pytest.raises(DamagedFile):
        home.blobs.get(sha256)
    assert not home.blobs.exists(sha256)
