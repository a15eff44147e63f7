"""GIFs: frames outside their canvas, missing palettes, ten thousand frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode
from fashion_pipeline_tests.images.hostile.case import Case

SIDE = 32
SIZE = (SIDE, SIDE)
PALETTE = b"\xff\0\0\0\0\xff"
RED = (255, 0, 0)
TRAILER = b";"


def screen(width: int = SIDE, height: int = SIDE, *, palette: bytes = PALETTE, version: bytes = b"GIF89a") -> bytes:
    """Return the header, the canvas and a palette of two colours, or none."""
    return version + struct.pack("<HHBBB", width, height, 0x80 if palette else 0, 0, 0) + palette


def control(disposal: int = 0, *, transparent: int | None = None) -> bytes:
    """Return the extension that goes before a frame."""
    flags = disposal << 2 | (transparent is not None)
    return b"!\xf9\x04" + struct.pack("<BHBB", flags, 10, transparent or 0, 0)


def frame(
    width: int = SIDE,
    height: int = SIDE,
    x: int = 0,
    y: int = 0,
    *,
    flags: int = 0,
    bits: int = 2,
    data: bytes | None = None,
) -> bytes:
    """Return a frame all of colour 0, by default with LZW data of its own size."""
    packed = _lzw(width * height if width * height < 10**6 else 100) if data is None else data
    blocks = b"".join(bytes((len(packed[at : at + 255]),)) + packed[at : at + 255] for at in range(0, len(packed), 255))
    return b"," + struct.pack("<HHHHB", x, y, width, height, flags) + bytes((bits,)) + blocks + b"\0"


def _lzw(count: int) -> bytes:
    """Return so many zeros in codes of 3 bits: a clear code before every two, so that the codes never grow."""
    bits, length = 0, 0
    for code in [item for _ in range(-(-count // 2)) for item in (4, 0, 0)] + [5]:
        bits |= code << length
        length += 3
    return bits.to_bytes(-(-length // 8), "little")


def cases() -> Iterator[Case]:
    """Yield the files."""
    yield from _whole()
    yield from _cut()
    yield from _sizes()
    yield from _parts()
    yield from _animations()


def _whole() -> Iterator[Case]:
    yield Case("a plain GIF", screen() + frame() + TRAILER, size=SIZE, colour=RED, animated=False, transparent=False)
    yield Case("a GIF of 1987", screen(version=b"GIF87a") + frame() + TRAILER, colour=RED)
    yield Case("an interlaced GIF", screen() + frame(flags=64) + TRAILER, colour=RED)
    own = b"," + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0x80) + PALETTE[::-1] + frame()[10:]
    yield Case("a frame with a palette of its own", screen() + own + TRAILER, colour=(255, 0, 0))
    clear = screen() + control(transparent=0) + frame() + TRAILER
    yield Case("a GIF that is all clear", clear, colour=(255, 255, 255), transparent=True)
    yield Case("no palette at all", screen(palette=b"") + frame() + TRAILER, size=SIZE, colour=(0, 0, 0))
    yield Case("a GIF of one pixel", screen(1, 1) + frame(1, 1) + TRAILER, (Reason.TOO_SMALL,), size=(1, 1))
    noise = encode(checks(SIDE, SIDE), "GIF")
    yield Case("a GIF of many colours", noise, size=SIZE)


def _cut() -> Iterator[Case]:
    data = screen() + control() + frame() + TRAILER
    for name, size in {
        "after its header": 6,
        "inside its canvas": 9,
        "inside its palette": 16,
        "after its palette": 19,
        "inside an extension": 22,
        "after an extension": 27,
        "inside a frame's header": 33,
        "in front of its pixels": 38,
        "inside its pixels": len(data) - 60,
    }.items():
        yield Case(f"a GIF cut {name}", data[:size], (Reason.TRUNCATED,))
    yield Case("a GIF without its trailer", data[:-1], size=SIZE)
    yield Case("a GIF followed by HTML", data + b"<html>" * 100, size=SIZE, animated=False)


def _sizes() -> Iterator[Case]:
    yield Case("a canvas of nothing", screen(0, 0) + frame() + TRAILER, size=SIZE, colour=RED)
    yield Case("a frame of nothing", screen() + frame(0, 0) + TRAILER, (Reason.UNDECODABLE,))
    yield Case("a frame larger than its canvas", screen() + frame(64, 48) + TRAILER, size=(64, 48))
    yield Case("a frame beside its canvas", screen() + frame(8, 8, 100, 50) + TRAILER, size=(108, 58))
    yield Case("a frame that does not fill its canvas", screen() + frame(8, 8, 4, 4) + TRAILER, size=SIZE)
    for name, data in {
        "a canvas of 65,535 x 65,535": screen(65_535, 65_535) + frame(),
        "a frame of 65,535 x 65,535": screen() + frame(65_535, 65_535),
        "a huge frame to be cleared": screen() + control(2) + frame(65_535, 65_535),
        "a huge frame to be restored": screen() + control(3, transparent=0) + frame(65_535, 65_535),
        "a huge frame after a comment": screen() + b"!\xfe\x03a,b\0" + control(2) + frame(65_535, 65_535),
    }.items():
        yield Case(name, data + TRAILER, (Reason.TOO_MANY_PIXELS,), (65_535, 65_535))
    far = screen() + control(2) + frame(8, 8, 65_535, 65_535) + TRAILER
    yield Case("a frame at the end of the world", far, (Reason.TOO_MANY_PIXELS,), (65_543, 65_543))


def _parts() -> Iterator[Case]:
    yield Case("a GIF without a frame", screen() + TRAILER, (Reason.UNDECODABLE,))
    yield Case("codes of 0 bits", screen() + frame(bits=0) + TRAILER, size=SIZE)
    for bits in (12, 255):
        yield Case(f"codes of {bits} bits", screen() + frame(bits=bits) + TRAILER, (Reason.UNDECODABLE,))
    yield Case("codes of rubbish", screen() + frame(data=b"\xa5" * 500) + TRAILER, (Reason.TRUNCATED,))
    yield Case("no codes", screen() + frame(data=b"") + TRAILER, (Reason.TRUNCATED,))
    yield Case("codes for more pixels than there are", screen() + frame(data=_lzw(5_000)) + TRAILER, colour=RED)
    yield Case("codes for fewer pixels than there are", screen() + frame(data=_lzw(50)) + TRAILER, (Reason.TRUNCATED,))
    for name, extension in {
        "a comment of 600 kB": b"!\xfe" + (b"\xff" + b"x" * 255) * 2_400 + b"\0",
        "a thousand comments": b"!\xfe\x01x\0" * 1_000,
        "an extension that there is not": b"!\x42\x05abcde\0",
        "a text to be drawn": b"!\x01\x0c" + bytes(12) + b"\x05hello\0",
        "a loop of nothing": b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",
        "a loop that is cut off": b"!\xff\x0bNETSCAPE2.0\x01\x01\0",
        "a control of one byte": b"!\xf9\x01\0\0",
        "rubbish between its parts": b"\x99" * 500,
    }.items():
        reasons = (Reason.UNDECODABLE,) if name == "a control of one byte" else ()
        yield Case(f"a GIF with {name}", screen() + extension + frame() + TRAILER, reasons)
    yield Case(
        "a transparent colour beyond the palette", screen() + control(transparent=200) + frame() + TRAILER, colour=RED
    )


def _animations() -> Iterator[Case]:
    red, blue = Image.new("RGB", SIZE, "red"), Image.new("RGB", SIZE, "blue")
    two = encode(red, "GIF", save_all=True, append_images=[blue], duration=100)
    yield Case("an animated GIF", two, animated=True, colour=RED)
    small = control() + frame(1, 1)
    yield Case("a GIF of 10,001 frames", screen() + frame() + small * 10_000 + TRAILER, animated=True, colour=RED)
    for name, second in {
        "rubbish": frame(data=b"\xa5" * 100),
        "a trillion pixels": control(2) + frame(65_535, 65_535),
        "half a header": b",\0\0\0",
        "nothing": frame(0, 0),
    }.items():
        yield Case(
            f"a second frame of {name}", screen() + frame() + second + TRAILER, size=SIZE, animated=True, colour=RED
        )
