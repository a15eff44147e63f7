"""PNGs: chunks that are wrong, that expand, or that are missing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode
from fashion_pipeline_tests.images.hostile.case import Case

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDE = 32
SIZE = (SIDE, SIDE)
RED = (255, 0, 0)


def chunk(kind: bytes, data: bytes = b"", *, crc: int | None = None, size: int | None = None) -> bytes:
    """Return a chunk; its check sum and length are right unless they are given."""
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data) if size is None else size) + kind + data + struct.pack(">I", check)


def header(
    width: int = SIDE, height: int = SIDE, depth: int = 8, colour: int = 2, *, interlace: int = 0, odd: bytes = b"\0\0"
) -> bytes:
    """Return the header's chunk; ``odd`` are its compression and filter methods."""
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + odd + bytes((interlace,)))


def pixels(row: bytes = bytes(RED) * SIDE, rows: int = SIDE, *, filter_type: int = 0) -> bytes:
    """Return the chunk of rows that are all the same."""
    return chunk(b"IDAT", zlib.compress((bytes((filter_type,)) + row) * rows))


END = chunk(b"IEND")


def png(*chunks: bytes) -> bytes:
    """Return a file of these chunks."""
    return SIGNATURE + b"".join(chunks)


def cases() -> Iterator[Case]:
    """Yield the files."""
    yield from _whole()
    yield from _cut()
    yield from _headers()
    yield from _pixels()
    yield from _chunks()
    yield from _animations()


def _whole() -> Iterator[Case]:
    yield Case("a plain PNG", png(header(), pixels(), END), size=SIZE, colour=RED, transparent=False)
    yield Case("an interlaced PNG", encode(_interlaced(), "PNG"), size=SIZE)
    grey16 = Image.fromarray(np.full(SIZE, 40_000, np.uint16))
    yield Case("grey of 16 bits", encode(grey16, "PNG"), colour=(156, 156, 156))
    row16 = b"\xff\x80\x00\x00\x00\x00" * SIDE
    yield Case("colours of 16 bits", png(header(depth=16), pixels(row16), END), colour=RED)
    clear16 = b"\x00\x00\x00\x00\x00\x00\x00\x00" * SIDE
    yield Case(
        "clear colours of 16 bits", png(header(depth=16, colour=6), pixels(clear16), END), colour=(255, 255, 255)
    )
    for depth in (1, 2, 4):
        row = b"\xff" * (SIDE * depth // 8)
        white = (255, 255, 255)
        yield Case(f"grey of {depth} bits", png(header(depth=depth, colour=0), pixels(row), END), colour=white)
        palette = chunk(b"PLTE", bytes(RED) * 2**depth)
        yield Case(
            f"a palette of {depth} bits", png(header(depth=depth, colour=3), palette, pixels(row), END), colour=RED
        )
    for mode, colour in {"RGBA": (0, 0, 0, 0), "LA": (0, 0), "RGB": (0, 0, 0), "L": 0, "P": 0}.items():
        options = {} if mode.endswith("A") else {"transparency": colour}
        data = encode(Image.new(mode, SIZE, colour), "PNG", **options)  # type: ignore[arg-type]
        yield Case(f"{mode} that is all clear", data, colour=(255, 255, 255), transparent=True)
    half = encode(Image.new("RGBA", SIZE, (255, 0, 0, 128)), "PNG")
    yield Case("half clear on white", half, colour=(255, 127, 127), transparent=True)
    opaque = encode(Image.new("RGBA", SIZE, (255, 0, 0, 255)), "PNG")
    yield Case("an alpha that hides nothing", opaque, colour=RED, transparent=False)
    yield Case("a PNG of one pixel", encode(Image.new("RGB", (1, 1)), "PNG"), (Reason.TOO_SMALL,), size=(1, 1))
    line = encode(Image.new("1", (1_000_000, 1)), "PNG")
    yield Case("a line of a million", line, (Reason.UNDECODABLE, Reason.TOO_SMALL), size=(1_000_000, 1))
    longest = encode(Image.new("1", (65_535, 8)), "PNG")
    yield Case("the longest line allowed", longest, size=(65_535, 8))


def _interlaced() -> Image.Image:
    return checks(SIDE, SIDE)


def _cut() -> Iterator[Case]:
    data = encode(checks(SIDE, SIDE), "PNG")
    middle = data.index(b"IDAT") + 200
    for name, cut in {
        "after its signature": data[:8],
        "inside its header": data[:20],
        "after its header": data[:33],
        "in front of its pixels": data[: data.index(b"IDAT") - 2],
        "inside its pixels": data[:middle],
    }.items():
        yield Case(f"a PNG cut {name}", cut, (Reason.TRUNCATED,))
    yield Case("a PNG cut behind its pixels", data[: data.index(b"IEND") - 6], size=SIZE)
    yield Case("a PNG without its end", data[: data.index(b"IEND") - 4], size=SIZE)
    yield Case("a PNG followed by HTML", data + b"<html>", size=SIZE)
    yield Case("a PNG followed by a ZIP", data + b"PK\x03\x04" + bytes(500), size=SIZE)


def _headers() -> Iterator[Case]:
    column = png(header(1, 40_000_000, colour=0), pixels(b"\0", 1), END)
    yield Case("a PNG that is a column of 40,000,000", column, (Reason.UNDECODABLE, Reason.TOO_SMALL))
    line = png(header(40_000_001, 1, colour=0), pixels(b"\0", 1), END)
    yield Case("a PNG that is a line of 40,000,001", line, (Reason.TOO_MANY_PIXELS, Reason.TOO_SMALL))
    for width, height in ((12_000, 12_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)):
        data = png(header(width, height, colour=0), pixels(b"\0", 1), END)
        yield Case(f"a PNG that claims {width} x {height}", data, (Reason.TOO_MANY_PIXELS,), (width, height))
    yield Case("the largest size allowed, and no pixels", png(header(8_000, 5_000), pixels(), END), (Reason.TRUNCATED,))
    for name, bad in {
        "no width": header(0, SIDE),
        "no height": header(SIDE, 0),
        "a depth of 3": header(depth=3),
        "colours of type 5": header(colour=5),
        "another filter method": header(odd=b"\0\1"),
        "a header of 4 bytes": chunk(b"IHDR", b"\0\0\0\1"),
        "a header of a wrong check sum": header()[:-4] + b"\0\0\0\0",
        "no header": b"",
    }.items():
        yield Case(f"a PNG with {name}", png(bad, pixels(), END), (Reason.UNDECODABLE,))
    yield Case("a PNG of two headers", png(header(), header(8, 8), pixels(), END), (Reason.UNDECODABLE,))
    yield Case("a PNG with another compression", png(header(odd=b"\1\0"), pixels(), END), colour=RED)
    yield Case("a PNG with an unknown critical chunk", png(header(), chunk(b"ABCD", b"x"), pixels(), END), colour=RED)
    bare = zlib.compressobj(wbits=-15)
    apples = chunk(b"IDAT", bare.compress(b"\0" + bytes(4 * SIDE)) + bare.flush())
    own = chunk(b"CgBI", b"\x50\0\x20\x06")
    yield Case("a PNG of Apple's own kind", png(own, header(colour=6), apples, END), (Reason.UNDECODABLE,))
    yield Case("an interlace of 7", png(header(interlace=7), pixels(), END), (Reason.UNDECODABLE,))


def _pixels() -> Iterator[Case]:
    rows = (b"\0" + bytes(RED) * SIDE) * SIDE
    packed = zlib.compress(rows)
    yield Case(
        "pixels in many chunks",
        png(header(), *(chunk(b"IDAT", packed[at : at + 1]) for at in range(len(packed))), END),
        colour=RED,
    )
    yield Case("pixels in chunks of nothing", png(header(), *[chunk(b"IDAT")] * 1000, pixels(), END), colour=RED)
    yield Case(
        "pixels that swell to 60 MB",
        png(header(), chunk(b"IDAT", zlib.compress(rows + bytes(60_000_000), 9)), END),
        colour=RED,
    )
    for name, data in {
        "no pixels": png(header(), END),
        "pixels that are not compressed": png(header(), chunk(b"IDAT", rows), END),
        "pixels of rubbish": png(header(), chunk(b"IDAT", b"\x78\x9c" + b"\xa5" * 500), END),
        "a filter that there is not": png(header(), pixels(filter_type=9), END),
        "a palette that is missing": png(header(colour=3), pixels(b"\1" * SIDE), END),
    }.items():
        yield Case(f"a PNG with {name}", data, (Reason.UNDECODABLE,))
    yield Case("pixels for half of the rows", png(header(), pixels(rows=SIDE // 2), END), size=SIZE)
    yield Case("pixels of a wrong check sum", png(header(), chunk(b"IDAT", packed, crc=1), END), colour=RED)
    for name, palette in {
        "of nothing": chunk(b"PLTE"),
        "of half a colour": chunk(b"PLTE", b"\xff\0"),
        "of one colour": chunk(b"PLTE", bytes(RED)),
    }.items():
        yield Case(f"a palette {name}", png(header(colour=3), palette, pixels(b"\xff" * SIDE), END), size=SIZE)
    far = png(header(colour=3), chunk(b"PLTE", bytes(RED) * 300), pixels(b"\xff" * SIDE), END)
    yield Case("a palette of 300 colours", far, (Reason.UNDECODABLE,))


def _chunks() -> Iterator[Case]:
    swelling = zlib.compress(bytes(60_000_000), 9)
    for name, added in {
        "text that swells to 60 MB": chunk(b"zTXt", b"Comment\0\0" + swelling),
        "international text that swells": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + swelling),
        "a profile that swells to 60 MB": chunk(b"iCCP", b"icc\0\0" + swelling),
    }.items():
        yield Case(f"a PNG with {name}", png(header(), added, pixels(), END), colour=RED)
    megabyte = zlib.compress(bytes(1_000_000), 9)
    many = [chunk(b"zTXt", b"Comment\0\0" + megabyte)] * 80
    yield Case("a PNG with 80 MB of text", png(header(), *many, pixels(), END), colour=RED)
    little = b"II*\x00\x08\x00\x00\x00"
    for name, added in {
        "text of a megabyte": chunk(b"tEXt", b"Comment\0" + b"x" * 1_000_000),
        "text without a key": chunk(b"tEXt", b"\0"),
        "compressed text of rubbish": chunk(b"zTXt", b"Comment\0\0rubbish"),
        "a profile of rubbish": chunk(b"iCCP", b"icc\0\0rubbish"),
        "a profile whose content is rubbish": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"rubbish" * 50)),
        "a gamma of nothing": chunk(b"gAMA", bytes(4)),
        "a gamma of four billion": chunk(b"gAMA", b"\xff" * 4),
        "primaries of rubbish": chunk(b"cHRM", b"\xff" * 32),
        "a density of nothing": chunk(b"pHYs", bytes(9)),
        "a time that there is not": chunk(b"tIME", b"\xff" * 7),
        "EXIF of rubbish": chunk(b"eXIf", b"rubbish"),
        "EXIF whose directory is its own next": chunk(b"eXIf", little + b"\0\0\x08\0\0\0"),
        "a private chunk of a megabyte": chunk(b"prVt", bytes(1_000_000)),
        "a thousand private chunks": chunk(b"prVt", b"x") * 1000,
        "transparency for the wrong kind": chunk(b"tRNS", bytes(300)),
    }.items():
        yield Case(f"a PNG with {name}", png(header(), added, pixels(), END), size=SIZE)
    for name, added in {
        "a gamma of one byte": chunk(b"gAMA", b"x"),
        "an sRGB chunk of nothing": chunk(b"sRGB"),
        "a density of one byte": chunk(b"pHYs", b"x"),
        "transparency of one byte": chunk(b"tRNS", b"x"),
        "a chunk of a wrong check sum": chunk(b"gAMA", bytes(4), crc=1),
        "transparency of a wrong check sum": chunk(b"tRNS", b"\0\xff\0\0\0\0", crc=1),
        "text of a wrong check sum": chunk(b"iTXt", b"Comment\0\0\0\0\0x", crc=1),
        "a profile of a wrong check sum": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x"), crc=1),
        "a profile of another compression": chunk(b"iCCP", b"icc\0\1" + zlib.compress(b"x")),
        "a profile without an end to its name": chunk(b"iCCP", b"icc"),
        "a count of frames of a wrong check sum": chunk(b"acTL", struct.pack(">II", 2, 0), crc=1),
    }.items():
        yield Case(f"a PNG with {name}", png(header(), added, pixels(), END), colour=RED, animated=False)
    for name, added in {
        "a chunk without a name": chunk(b"\0\0\0\0", b"x"),
    }.items():
        yield Case(f"a PNG with {name}", png(header(), added, pixels(), END), (Reason.UNDECODABLE,))
    endless = png(header(), chunk(b"tEXt", b"a\0b", size=2**31), pixels(), END)
    yield Case("a chunk of two gigabytes", endless, (Reason.TRUNCATED,))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(checks(SIDE, 48), "PNG", exif=exif)
    yield Case("a PNG that EXIF turns", turned, size=(48, SIDE))


def _animations() -> Iterator[Case]:
    still = struct.pack(">II", 1, 0)
    frame = struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 10, 0, 0)
    outside = struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 2**31, 2**31, 1, 10, 0, 0)
    huge = struct.pack(">IIIIIHHBB", 0, 2**20, 2**20, 0, 0, 1, 10, 0, 0)
    two = encode(Image.new("RGB", SIZE, RED), "PNG", save_all=True, append_images=[Image.new("RGB", SIZE, "blue")])
    yield Case("an animated PNG", two, animated=True, colour=RED)
    yield Case(
        "an animation of one frame",
        png(header(), chunk(b"acTL", still), chunk(b"fcTL", frame), pixels(), END),
        animated=False,
    )
    for name, count in {"no": 0, "10,000": 10_000, "four billion": 2**32 - 1}.items():
        announced = chunk(b"acTL", struct.pack(">II", count, 0))
        yield Case(
            f"an animation of {name} frames", png(header(), announced, chunk(b"fcTL", frame), pixels(), END), size=SIZE
        )
    frames = [
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * number + 1, 1, 1, 0, 0, 1, 10, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * number + 2) + zlib.compress(b"\0\0\0\0"))
        for number in range(5_000)
    ]
    announced = chunk(b"acTL", struct.pack(">II", 5_001, 0))
    yield Case(
        "5,001 frames",
        png(header(), announced, chunk(b"fcTL", frame), pixels(), *frames, END),
        animated=True,
        colour=RED,
    )
    begun = chunk(b"acTL", struct.pack(">II", 2, 0))
    for name, control in {"outside its canvas": outside, "of a trillion pixels": huge}.items():
        yield Case(
            f"a frame {name}", png(header(), begun, chunk(b"fcTL", control), pixels(), END), (Reason.UNDECODABLE,)
        )
