"""AVIFs: nested boxes, sizes declared only in boxes, and images composed of images."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from PIL import Image

from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode
from fashion_pipeline_tests.images.hostile.case import Case

SIDE = 64
SIZE = (SIDE, SIDE)


def box(kind: bytes, data: bytes = b"", *, size: int | None = None) -> bytes:
    """Return a box (ISO 14496-12, 4.2); its length is right unless it is given."""
    return struct.pack(">I", len(data) + 8 if size is None else size) + kind + data


def full(kind: bytes, data: bytes, *, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with a version and flags."""
    return box(kind, bytes((version,)) + flags.to_bytes(3, "big") + data)


@cache
def _red() -> bytes:
    return encode(Image.new("RGB", SIZE, "red"), "AVIF", speed=10)


def _inner(data: bytes, *path: bytes) -> bytes:
    """Return what a box holds, by the path to it; boxes with a version are stepped into."""
    for kind in path:
        at = data.index(kind) + 4
        data = data[at : at - 8 + int.from_bytes(data[at - 8 : at - 4], "big")]
    return data


def grid(rows: int, columns: int, *, size: tuple[int, int] | None = None, tiles: int | None = None) -> bytes:
    """Return an image laid out of red squares, each the same item's bytes (ISO 23008-12, 6.6.2.3).

    Args:
        size: that the grid claims, by default what its squares fill.
        tiles: squares that are there, by default all.
    """
    width, height = size or (columns * SIDE, rows * SIDE)
    count = rows * columns if tiles is None else tiles
    layout = bytes((0, 1, rows - 1, columns - 1)) + struct.pack(">II", width, height)
    square = _inner(_red(), b"mdat")
    names = full(b"infe", struct.pack(">HH", 1, 0) + b"grid\0", version=2) + b"".join(
        full(b"infe", struct.pack(">HH", item, 0) + b"av01\0", version=2) for item in range(2, count + 2)
    )
    refers = box(
        b"dimg", struct.pack(">HH", 1, count) + b"".join(struct.pack(">H", item) for item in range(2, count + 2))
    )
    properties = (
        full(b"ispe", struct.pack(">II", width, height))
        + full(b"ispe", struct.pack(">II", SIDE, SIDE))
        + box(b"av1C", _inner(_red(), b"av1C"))
        + full(b"pixi", bytes((3, 8, 8, 8)))
    )
    owns = struct.pack(">I", count + 1) + struct.pack(">HB", 1, 2) + bytes((1, 4))
    owns += b"".join(struct.pack(">HB", item, 3) + bytes((2, 0x83, 4)) for item in range(2, count + 2))

    def meta(layout_at: int, square_at: int) -> bytes:
        entry = struct.pack(">HHH", 1, 0, 1) + struct.pack(">II", layout_at, len(layout))
        for item in range(2, count + 2):
            entry += struct.pack(">HHH", item, 0, 1) + struct.pack(">II", square_at, len(square))
        return full(
            b"meta",
            full(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + full(b"pitm", struct.pack(">H", 1))
            + full(b"iloc", b"\x44\0" + struct.pack(">H", count + 1) + entry)
            + full(b"iinf", struct.pack(">H", count + 1) + names)
            + full(b"iref", refers)
            + box(b"iprp", box(b"ipco", properties) + full(b"ipma", owns)),
        )

    start = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    begin = len(start) + len(meta(0, 0)) + 8
    return start + meta(begin, begin + len(layout)) + box(b"mdat", layout + square)


def cases() -> Iterator[Case]:
    """Yield the files."""
    yield from _whole()
    yield from _cut()
    yield from _boxes()
    yield from _grids()


def _whole() -> Iterator[Case]:
    yield Case("a plain AVIF", _red(), size=SIZE, colour=(255, 0, 0), animated=False, transparent=False)
    clear = encode(Image.new("RGBA", SIZE, (0, 0, 0, 0)), "AVIF", speed=10)
    yield Case("an AVIF that is all clear", clear, colour=(255, 255, 255), transparent=True)
    board = checks(SIDE, 48)
    two = encode(board, "AVIF", save_all=True, append_images=[checks(SIDE, 48, seed=1)], speed=10)
    yield Case("an AVIF sequence", two, size=(SIDE, 48), animated=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield Case("an AVIF that is turned", encode(board, "AVIF", exif=exif, speed=10), size=(48, SIDE))
    yield Case("an AVIF of one pixel", encode(Image.new("RGB", (1, 1)), "AVIF"), (Reason.TOO_SMALL,), size=(1, 1))
    words = Image.Exif()
    words[0x010E] = "a coat"
    rubbish = encode(board, "AVIF", exif=words, speed=10).replace(b"II*\0", b"XX*\0").replace(b"MM\0*", b"XX\0*")
    yield Case("an AVIF with EXIF of rubbish", rubbish, (Reason.UNDECODABLE,))
    profile = encode(board, "AVIF", icc_profile=b"rubbish" * 20, speed=10)
    yield Case("an AVIF with a profile of rubbish", profile, size=(SIDE, 48))


def _cut() -> Iterator[Case]:
    data = encode(checks(SIDE, SIDE), "AVIF", speed=10)
    meta, pixels = data.index(b"meta") - 4, data.index(b"mdat") - 4
    for name, size in {
        "inside its index": (meta + pixels) // 2,
        "inside its pixels": (pixels + len(data)) // 2,
        "one byte before its end": len(data) - 1,
    }.items():
        yield Case(f"an AVIF cut {name}", data[:size], (Reason.TRUNCATED,))
    yield Case("an AVIF without its pixels", data[:pixels], (Reason.UNDECODABLE,))
    yield Case("an AVIF of its brands only", data[:meta], (Reason.UNDECODABLE,))
    yield Case("an AVIF followed by HTML", data + b"<html>", size=SIZE)
    yield Case("an AVIF followed by a box", data + box(b"free", bytes(500)), size=SIZE)


def _boxes() -> Iterator[Case]:
    data = _red()
    pixels = data.index(b"mdat") + 4
    size_box = data.index(b"ispe") + 8
    for width, height in ((2**31, 2**31), (65_536, 65_536), (0, 0)):
        claims = data[:size_box] + struct.pack(">II", width, height) + data[size_box + 8 :]
        yield Case(f"an AVIF that claims {width} x {height}", claims, (Reason.UNDECODABLE,))
    claims = data[:size_box] + struct.pack(">II", 12_000, 12_000) + data[size_box + 8 :]
    yield Case("an AVIF that claims 12,000 x 12,000", claims, (Reason.TOO_MANY_PIXELS,), (12_000, 12_000))
    yield Case("an AVIF of 49 million pixels that claims 64 x 64", _more_than_it_says(), size=SIZE)
    for name, bad in {
        "pixels of rubbish": data[:pixels] + b"\xa5" * (len(data) - pixels),
        "pixels of zeros": data[:pixels] + bytes(len(data) - pixels),
        "no index": data[: data.index(b"meta") - 4] + data[pixels - 8 :],
        "a film's codec": data.replace(b"av01", b"hvc1"),
        "another codec's settings": data.replace(b"av1C", b"hvcC"),
        "brands without end": box(b"ftyp", b"avif\0\0\0\0" + b"avif" * 100_000),
        "boxes a thousand deep": box(b"ftyp", b"avif\0\0\0\0avif") + _deep(1_000),
        "an index of nothing": box(b"ftyp", b"avif\0\0\0\0avif") + full(b"meta", b""),
    }.items():
        yield Case(f"an AVIF with {name}", bad, (Reason.UNDECODABLE,))
    long = box(b"ftyp", b"avif\0\0\0\0avif") + box(b"meta", bytes(50), size=2**31)
    yield Case("an AVIF with a box of two gigabytes", long, (Reason.TRUNCATED,))


@cache
def _more_than_it_says() -> bytes:
    """49 million pixels whose box says 64 x 64: the decoder shrinks them, once it has them all."""
    data = encode(Image.new("L", (7_000, 7_000), 128), "AVIF", speed=10, quality=10, subsampling="4:0:0")
    size_box = data.index(b"ispe") + 8
    return data[:size_box] + struct.pack(">II", SIDE, SIDE) + data[size_box + 8 :]


def _deep(levels: int) -> bytes:
    data = b""
    for _ in range(levels):
        data = full(b"meta", data)
    return data


def _grids() -> Iterator[Case]:
    red = (255, 0, 0)
    yield Case("an AVIF laid out of four squares", grid(2, 2), size=(128, 128), colour=red)
    yield Case("a grid that is cut to size", grid(2, 2, size=(100, 90)), size=(100, 90), colour=red)
    yield Case("a grid of 65,536 squares that are one", grid(256, 256, tiles=1), (Reason.UNDECODABLE,))
    yield Case("a grid of 10,000 squares", grid(100, 100), (Reason.TOO_MANY_PIXELS,), (6_400, 6_400))
    yield Case("a grid with a square too few", grid(2, 2, tiles=3), (Reason.UNDECODABLE,))
    yield Case("a grid larger than its squares", grid(2, 2, size=(5_000, 5_000)), (Reason.UNDECODABLE,))
