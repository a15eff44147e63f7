"""WebPs: huge canvases, chunks that contradict each other."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode
from fashion_pipeline_tests.images.hostile.case import Case

WIDTH, HEIGHT = 64, 48
SIZE = (WIDTH, HEIGHT)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    """Return a file of these chunks; its length is right unless it is given."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def chunk(kind: bytes, data: bytes, *, size: int | None = None) -> bytes:
    """Return a chunk, padded to an even length."""
    return kind + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def extended(width: int = WIDTH, height: int = HEIGHT, *, flags: int = 0) -> bytes:
    """Return the chunk that begins a file of several."""
    return chunk(
        b"VP8X", bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def animation_frame(image: bytes, x: int = 0, y: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Return the chunk of one frame."""
    numbers = b"".join(number.to_bytes(3, "little") for number in (x // 2, y // 2, width - 1, height - 1, 100))
    return chunk(b"ANMF", numbers + b"\0" + image)


def cases() -> Iterator[Case]:
    """Yield the files."""
    yield from _whole()
    yield from _cut()
    yield from _sizes()
    yield from _chunks()


def _whole() -> Iterator[Case]:
    board = checks(WIDTH, HEIGHT)
    yield Case("a lossy WebP", encode(board, "WEBP"), size=SIZE, animated=False, transparent=False)
    yield Case("a lossless WebP", encode(board, "WEBP", lossless=True), size=SIZE)
    clear = encode(Image.new("RGBA", SIZE, (255, 0, 0, 0)), "WEBP", exact=True)
    yield Case("a WebP that is all clear", clear, colour=(255, 255, 255), transparent=True)
    red, blue = Image.new("RGB", SIZE, "red"), Image.new("RGB", SIZE, "blue")
    two = encode(red, "WEBP", save_all=True, append_images=[blue], duration=100, lossless=True)
    yield Case("an animated WebP", two, animated=True, colour=(255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield Case("a WebP that EXIF turns", encode(board, "WEBP", exif=exif), size=(HEIGHT, WIDTH))
    yield Case("a WebP of one pixel", encode(Image.new("RGB", (1, 1)), "WEBP"), (Reason.TOO_SMALL,), size=(1, 1))
    line = encode(Image.new("RGB", (16_383, 1)), "WEBP", lossless=True)
    yield Case("a WebP that is a line", line, (Reason.TOO_SMALL,), size=(16_383, 1))
    five = encode(Image.new("RGB", (2_500, 2_000)), "WEBP", lossless=True)
    yield Case("five million pixels in 200 bytes", five, size=(2_500, 2_000), colour=(0, 0, 0))


def _cut() -> Iterator[Case]:
    for kind, data in {
        "lossy": encode(checks(WIDTH, HEIGHT), "WEBP"),
        "lossless": encode(checks(WIDTH, HEIGHT), "WEBP", lossless=True),
        "extended": encode(checks(WIDTH, HEIGHT).convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0"),
    }.items():
        for place, size in {"after its header": 12, "inside a chunk's header": 18, "in half": len(data) // 2}.items():
            yield Case(f"a {kind} WebP cut {place}", data[:size], (Reason.TRUNCATED,))
        metadata_only = kind == "extended"  # what is missing there is a part of its metadata, and no pixel
        reasons = () if metadata_only else (Reason.TRUNCATED,)
        yield Case(f"a {kind} WebP without its last bytes", data[:-8], reasons)
        yield Case(f"a {kind} WebP followed by HTML", data + b"<html>", size=SIZE)


def _sizes() -> Iterator[Case]:
    lossy = encode(checks(WIDTH, HEIGHT), "WEBP")
    lossless = encode(checks(WIDTH, HEIGHT), "WEBP", lossless=True)
    huge = bytearray(lossless)
    huge[21:25] = struct.pack("<I", 16_383 | 16_383 << 14)
    yield Case("a lossless WebP of 16,384 x 16,384", bytes(huge), (Reason.TOO_MANY_PIXELS,), (16_384, 16_384))
    wide = bytearray(lossy)
    wide[26:30] = struct.pack("<HH", 16_383, 16_383)
    yield Case("a lossy WebP of 16,383 x 16,383", bytes(wide), (Reason.TOO_MANY_PIXELS,), (16_383, 16_383))
    none = bytearray(lossy)
    none[26:30] = bytes(4)
    yield Case("a lossy WebP of nothing", bytes(none), (Reason.UNDECODABLE,))
    image = lossy[12:]
    canvas = riff(extended(2**24, 2**24), image)
    yield Case("a canvas of 16,777,216 x 16,777,216", canvas, (Reason.TOO_MANY_PIXELS,), (2**24, 2**24))
    yield Case("a canvas larger than its image", riff(extended(100, 100), image), (Reason.UNDECODABLE,))
    yield Case("a canvas smaller than its image", riff(extended(10, 10), image), (Reason.UNDECODABLE,))
    claims = riff(extended(flags=2), chunk(b"ANIM", bytes(6)), animation_frame(image, width=4_000, height=4_000))
    yield Case("an animation whose frame says it is larger than its canvas", claims, size=SIZE)
    inside = riff(extended(flags=2), chunk(b"ANIM", bytes(6)), animation_frame(bytes(huge)[12:]))
    yield Case("an animation whose frame claims more than its chunk", inside, (Reason.UNDECODABLE,))


def _chunks() -> Iterator[Case]:
    lossy = encode(checks(WIDTH, HEIGHT), "WEBP")
    image = lossy[12:]
    for name, data in {
        "nothing": riff(),
        "an unknown first chunk": riff(chunk(b"ABCD", bytes(10)), image),
        "a canvas and no image": riff(extended()),
        "an animation without frames": riff(extended(flags=2), chunk(b"ANIM", bytes(6))),
        "frames and no animation": riff(extended(), animation_frame(image)),
        "an image of rubbish": riff(chunk(b"VP8 ", b"\xa5" * 200)),
        "a lossless image of rubbish": riff(chunk(b"VP8L", b"\x2f\x3f\0\x0c\0" + b"\xa5" * 200)),
        "an image that is not a key frame": riff(chunk(b"VP8 ", b"\x01" + image[9:])),
        "alpha and nothing else": riff(extended(flags=16), chunk(b"ALPH", bytes(50))),
    }.items():
        yield Case(f"a WebP with {name}", data, (Reason.UNDECODABLE,))
    yield Case(
        "a WebP with a chunk longer than the file", riff(chunk(b"VP8 ", image[8:], size=2**31)), (Reason.UNDECODABLE,)
    )
    yield Case("a WebP longer than its file", riff(image, size=2**31), size=SIZE)
    noise = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    for name, extra, flags in (
        ("a profile of rubbish", chunk(b"ICCP", b"rubbish"), 32),
        ("EXIF of rubbish", chunk(b"EXIF", noise), 8),
        ("EXIF whose directory is its own next", chunk(b"EXIF", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), 8),
        ("XMP of rubbish", chunk(b"XMP ", noise), 4),
        ("chunks that there are not", chunk(b"ABCD", noise), 0),
    ):
        order = (extra, image) if flags == 32 else (image, extra)
        yield Case(f"a WebP with {name}", riff(extended(flags=flags), *order), size=SIZE)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield Case(
        "a WebP with another space's profile", encode(checks(WIDTH, HEIGHT), "WEBP", icc_profile=profile), size=SIZE
    )
    red = encode(Image.new("RGB", SIZE, "red"), "WEBP", lossless=True)[12:]
    many = riff(extended(flags=2), chunk(b"ANIM", bytes(6)), animation_frame(red), animation_frame(red) * 10_000)
    yield Case("a WebP of 10,001 frames", many, animated=True, colour=(255, 0, 0))
    broken = riff(extended(flags=2), chunk(b"ANIM", bytes(6)), animation_frame(red), animation_frame(b"\xa5" * 60))
    yield Case("a WebP whose second frame is rubbish", broken, (Reason.UNDECODABLE,))
