from __future__ import annotations

import zlib

import pytest

from fashion_pipeline.images.png import without_ignored_chunks
from fashion_pipeline_tests.images.hostile.pngs import END, chunk, header, pixels, png

PLAIN = png(header(), pixels(), END)


def test_a_png_without_metadata_stays_as_it_is() -> None:
    """Nothing is copied where nothing is dropped."""
    assert without_ignored_chunks(PLAIN) is PLAIN


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"tEXt", b"Comment\0x"),
        chunk(b"iTXt", b"Comment\0\0\0\0\0x", crc=1),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000))),
        chunk(b"prVt", b"x"),
        chunk(b"gAMA", b"\0\0\xb1\x8f", crc=1),
        chunk(b"tRNS", b"x"),
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"iCCP", b"icc\0\0no profile"),
    ],
)
def test_what_browsers_ignore_is_dropped(added: bytes) -> None:
    """Text, private chunks, and ancillary chunks that are damaged, of a wrong size or too large."""
    assert without_ignored_chunks(png(header(), added, added, pixels(), added, END)) == PLAIN


def test_what_changes_the_look_is_kept() -> None:
    """Transparency, gamma, profile, orientation and animation stay in their order."""
    used = [
        chunk(b"gAMA", b"\0\0\xb1\x8f"),
        chunk(b"sRGB", b"\0"),
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x")),
        chunk(b"tRNS", bytes(6)),
        chunk(b"eXIf", b"II*\0"),
        chunk(b"acTL", bytes(8)),
        chunk(b"fcTL", bytes(26)),
    ]
    data = png(header(), *used, pixels(), chunk(b"fdAT", b"x"), END)
    assert without_ignored_chunks(data) is data


def test_critical_chunks_are_kept_though_damaged() -> None:
    """A wrong check sum of pixels is for the decoder to judge."""
    data = png(header(), chunk(b"IDAT", b"x", crc=1), chunk(b"ABCD"), END)
    assert without_ignored_chunks(data) is data


def test_a_cut_chunk_and_what_follows_the_end_stay() -> None:
    """A file that is cut is still recognised as cut."""
    cut = PLAIN[:-20] + chunk(b"tEXt", b"x", size=1_000)
    assert without_ignored_chunks(cut) == cut
    after = PLAIN + chunk(b"tEXt", b"x")
    assert without_ignored_chunks(after) == after
