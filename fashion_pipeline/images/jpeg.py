"""The number of scans of a JPEG, counted without decoding it."""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)  # in a scan, FF 00 is a byte and FF D0 to D7 a restart
_END, _SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset({0x01, 0xD8})


def scans(data: bytes) -> int:
    """Return how many scans the image itself has.

    Thumbnails in its metadata do not count, nor does what follows its end: a second image, or the
    video of a phone's moving photograph.
    """
    found, position = 0, 2
    while (marker := _MARKER.search(data, position)) is not None and marker[1][0] != _END:
        kind, position = marker[1][0], marker.end()
        if kind not in _WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
        found += kind == _SCAN
    return found
