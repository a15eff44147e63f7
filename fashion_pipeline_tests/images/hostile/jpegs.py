"""JPEGs: truncated at every segment, with impossible headers, with damaged metadata of every kind."""

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

_SOI, _EOI, _SOS, _DQT, _DHT, _SOF0, _SOF2, _APP0, _APP1, _APP2, _APP14, _COM, _DRI = (
    0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xC0, 0xC2, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDD,
)  # fmt: skip


_END = b"\xff\xd9"


def cases() -> Iterator[Case]:
    """Yield the files."""
    yield from _whole()
    yield from _cut()
    yield from _headers()
    yield from _scans()
    yield from _metadata()
    yield from _tails()


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return (marker, start, end) of each segment up to the first scan, whose data is the last one's."""
    found, position = [(_SOI, 0, 2)], 2
    while True:
        marker, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _SOS:
            return [*found, (marker, position, len(data))]
        found.append((marker, position, position + 2 + size))
        position += 2 + size


def _find(data: bytes, marker: int) -> tuple[int, int]:
    return next((start, end) for kind, start, end in segments(data) if kind == marker)


def _without(data: bytes, marker: int) -> bytes:
    for kind, start, end in reversed(segments(data)):
        if kind == marker:
            data = data[:start] + data[end:]
    return data


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def _with(data: bytes, *added: bytes) -> bytes:
    return data[:2] + b"".join(added) + data[2:]


def _patched(data: bytes, marker: int, offset: int, new: bytes) -> bytes:
    at = _find(data, marker)[0] + offset
    return data[:at] + new + data[at + len(new) :]


def _sized(data: bytes, width: int, height: int) -> bytes:
    return _patched(data, _SOF0, 5, struct.pack(">HH", height, width))


def _board() -> bytes:
    return encode(checks(WIDTH, HEIGHT), quality=90)


def _plain(mode: str, colour: object, **options: object) -> bytes:
    return encode(Image.new(mode, SIZE, colour), quality=95, **options)  # type: ignore[arg-type]


def _whole() -> Iterator[Case]:
    board = _board()
    yield Case("a plain JPEG", board, size=SIZE, animated=False, transparent=False)
    yield Case("a progressive JPEG", encode(checks(WIDTH, HEIGHT), progressive=True), size=SIZE)
    yield Case("a grey JPEG", _plain("L", 90), colour=(90, 90, 90))
    yield Case("a JPEG without subsampling", encode(checks(WIDTH, HEIGHT), subsampling=0), size=SIZE)
    yield Case("a JPEG stored as RGB", _plain("RGB", (200, 90, 40), keep_rgb=True), colour=(200, 90, 40))
    cyan = _plain("CMYK", (255, 0, 0, 0))
    yield Case("a CMYK JPEG of Adobe's", cyan, colour=(0, 255, 255))
    yield Case("a CMYK JPEG without Adobe's marker", _without(cyan, _APP14), colour=(0, 255, 255))
    yield Case("a CMYK JPEG that is all black", _plain("CMYK", (0, 0, 0, 255)), colour=(0, 0, 0))
    yield Case("a YCCK JPEG", _patched(_plain("CMYK", (127, 127, 127, 0)), _APP14, 15, b"\x02"), size=SIZE)
    stereo = encode(checks(WIDTH, HEIGHT), "MPO", save_all=True, append_images=[checks(WIDTH, HEIGHT, seed=1)])
    yield Case("a stereo image", stereo, size=SIZE, animated=False)
    yield Case("a stereo image without its second", stereo[: len(stereo) // 2 + 100], size=SIZE)
    yield Case("restart markers", encode(checks(WIDTH, HEIGHT), restart_marker_blocks=1), size=SIZE)
    yield Case("a single pixel", encode(Image.new("RGB", (1, 1))), (Reason.TOO_SMALL,), size=(1, 1))
    yield Case("a line of 65,500", encode(Image.new("L", (65_500, 1))), (Reason.TOO_SMALL,), size=(65_500, 1))
    yield Case("a column of 65,500", encode(Image.new("L", (1, 65_500))), (Reason.TOO_SMALL,), size=(1, 65_500))


def _cut() -> Iterator[Case]:
    board = _board()
    for number, (marker, start, end) in enumerate(segments(board)):
        if marker not in {_SOI, _SOS}:
            yield Case(f"a JPEG cut before segment {number}", board[: start + 1], (Reason.TRUNCATED,))
            yield Case(f"a JPEG cut inside segment {number}", board[: (start + end) // 2], (Reason.TRUNCATED,))
    scan = _find(board, _SOS)[0]
    yield Case("a JPEG cut before its scan", board[:scan], (Reason.TRUNCATED,))
    yield Case("a JPEG cut inside its scan's header", board[: scan + 6], (Reason.TRUNCATED,))
    for share in (0.02, 0.5, 0.9):
        cut = board[: scan + 14 + int((len(board) - scan - 14) * share)]
        yield Case(f"a JPEG cut after {share:.0%} of its scan", cut, (Reason.TRUNCATED,))
    progressive = encode(checks(WIDTH, HEIGHT), progressive=True)
    yield Case("a progressive JPEG cut in half", progressive[: len(progressive) // 2], (Reason.TRUNCATED,))
    yield Case("a JPEG without its last marker", board[:-2], size=SIZE)
    yield Case("a JPEG without its last byte", board[:-1], size=SIZE)
    yield Case("a progressive JPEG without its last marker", progressive[:-2], size=SIZE)
    yield Case("a JPEG without its last block", board[:-20], (Reason.TRUNCATED,))
    yield Case("a JPEG of two markers", b"\xff\xd8\xff\xd9", (Reason.UNDECODABLE,))


def _headers() -> Iterator[Case]:
    board = _board()
    for width, height in ((65_535, 65_535), (12_000, 12_000), (20_000, 20_000), (40_000, 1_001)):
        claimed = (width, height)
        yield Case(
            f"a JPEG that claims {width} x {height}", _sized(board, width, height), (Reason.TOO_MANY_PIXELS,), claimed
        )
    grey = (128, 128, 128)  # what no scan covers: a decoder cannot distinguish this from a grey image
    yield Case("a JPEG that claims more than it holds", _sized(board, 800, 800), size=(800, 800), colour=grey)
    yield Case("a JPEG that claims less than it holds", _sized(board, 32, 16), size=(32, 16))
    yield Case("a JPEG of no width", _sized(board, 0, 48), (Reason.UNDECODABLE,))
    yield Case("a JPEG of no height", _sized(board, 64, 0), (Reason.UNDECODABLE,))
    yield Case("a JPEG of 12 bits", _patched(board, _SOF0, 4, b"\x0c"), (Reason.UNDECODABLE,))
    yield Case("a JPEG of no components", _patched(board, _SOF0, 9, b"\x00"), (Reason.UNDECODABLE,))
    yield Case("a JPEG of two components", _patched(board, _SOF0, 9, b"\x02"), (Reason.UNDECODABLE,))
    yield Case("a JPEG of 255 components", _patched(board, _SOF0, 9, b"\xff"), (Reason.UNDECODABLE,))
    yield Case("a sampling of nothing", _patched(board, _SOF0, 11, b"\x00"), (Reason.UNDECODABLE,))
    yield Case("a sampling of 15 x 15", _patched(board, _SOF0, 11, b"\xff"), (Reason.UNDECODABLE,))
    for name, marker in {"lossless": 0xC3, "hierarchical": 0xC5, "reserved": 0xC8, "lossless arithmetic": 0xCB}.items():
        yield Case(f"a {name} JPEG", _patched(board, _SOF0, 1, bytes((marker,))), (Reason.UNDECODABLE,))
    yield Case("an arithmetic JPEG", _patched(_plain("L", 128), _SOF0, 1, b"\xc9"), size=SIZE)
    yield Case("no quantization table", _without(board, _DQT), (Reason.UNDECODABLE,))
    yield Case("no frame header", _without(board, _SOF0), (Reason.UNDECODABLE,))
    start, end = _find(board, _SOF0)
    yield Case("two frame headers", board[:end] + board[start:end] + board[end:], (Reason.UNDECODABLE,))
    yield Case("a Huffman table of too many codes", _patched(board, _DHT, 5, b"\xff" * 16), (Reason.UNDECODABLE,))
    yield Case("a segment of no length", _with(board, b"\xff\xe5\x00\x00"), size=SIZE)
    yield Case("a segment longer than the file", _with(board, b"\xff\xe5\xff\xff")[:2000], (Reason.TRUNCATED,))
    yield Case("fill bytes between markers", board[:2] + b"\xff" * 100 + board[2:], size=SIZE)


def _scans() -> Iterator[Case]:
    progressive = encode(checks(WIDTH, HEIGHT), progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scan = progressive[last:-2]
    yield Case("a progressive JPEG of 400 scans", progressive[:-2] + scan * 390 + b"\xff\xd9", size=SIZE)
    large = encode(Image.new("RGB", (3_000, 3_000)), progressive=True)
    again = large[large.rindex(b"\xff\xda") : -2]
    many = large[:-2] + again * 110 + _END
    yield Case("nine million pixels in 120 scans", many, (Reason.UNDECODABLE,), size=(3_000, 3_000))
    few = large[:-2] + again * 8 + _END
    yield Case("nine million pixels in 18 scans", few, size=(3_000, 3_000))
    yield Case("a progressive JPEG of 2,000 scans", progressive[:-2] + scan * 2_000, (Reason.UNDECODABLE,))
    yield Case("a JPEG of 100,000 scans", _board()[:-2] + b"\xff\xda\x00\x02" * 100_000, (Reason.UNDECODABLE,))
    board = _board()
    start = _find(board, _SOS)[0] + 14
    rubbish = np.random.default_rng(0).integers(0, 255, len(board) - start - 2, np.uint8).tobytes()
    yield Case("a scan of rubbish", board[:start] + rubbish.replace(b"\xff", b"\xfe") + b"\xff\xd9", size=SIZE)
    yield Case("a scan of zeros", board[:start] + bytes(5000) + b"\xff\xd9", size=SIZE)
    yield Case("a scan of nothing", board[:start] + b"\xff\xd9", size=SIZE)
    restarting = encode(checks(WIDTH, HEIGHT), restart_marker_blocks=1)
    yield Case("restart markers in disorder", restarting.replace(b"\xff\xd1", b"\xff\xd5"), size=SIZE)
    yield Case("restart markers announced and missing", _with(board, _segment(_DRI, b"\x00\x01")), size=SIZE)


def _metadata() -> Iterator[Case]:
    board = _board()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = SIZE if orientation < 5 else (HEIGHT, WIDTH)
        yield Case(f"EXIF orientation {orientation}", encode(checks(WIDTH, HEIGHT), exif=exif), size=size)
    for orientation in (0, 9, 65_535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield Case(f"EXIF orientation {orientation}", encode(checks(WIDTH, HEIGHT), exif=exif), size=SIZE)
    little = b"Exif\x00\x00II*\x00\x08\x00\x00\x00"
    for name, body in {
        "EXIF of rubbish": b"Exif\x00\x00MM\x00*rubbish",
        "EXIF of nothing": b"Exif\x00\x00",
        "EXIF of 65,533 bytes": b"Exif\x00\x00" + b"\xa5" * 65_527,
        "EXIF whose directory is its own next": little + b"\x00\x00\x08\x00\x00\x00",
        "EXIF with 65,535 entries": little + b"\xff\xff" + bytes(60),
        "EXIF with a value of four billion": little + b"\x01\x00\x12\x01\x03\x00" + b"\xff" * 8 + bytes(4),
        "EXIF with an offset beyond its end": little
        + b"\x01\x00\x12\x01\x02\x00\x10\x00\x00\x00\xff\xff\xff\x7f"
        + bytes(4),
        "EXIF with an orientation in words": little + b"\x01\x00\x12\x01\x02\x00\x04\x00\x00\x00six\x00" + bytes(4),
        "EXIF with a resolution of 1/0": little
        + b"\x01\x00\x1a\x01\x05\x00\x01\x00\x00\x00\x1a\x00\x00\x00"
        + bytes(4)
        + b"\x01"
        + bytes(7),
        "EXIF with a thumbnail beyond its end": little
        + b"\x01\x00\x01\x02\x04\x00\x01\x00\x00\x00\xff\xff\xff\x7f"
        + bytes(4),
        "XMP of half a document": b"http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta><rdf:RDF tiff:Orientation='6",
        "a multi-image index of rubbish": b"MPF\x00II*\x00\x08\x00\x00\x00\xff\xff" + bytes(40),
    }.items():
        marker = _APP2 if body.startswith(b"MPF") else _APP1
        yield Case(name, _with(board, _segment(marker, body)), size=SIZE)
    yield Case("EXIF ten times", _with(board, *[_segment(_APP1, b"Exif\x00\x00II*\x00" + bytes(5000))] * 10), size=SIZE)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, bodies in {
        "a profile of rubbish": [b"\x01\x01rubbish"],
        "a profile of nothing": [b"\x01\x01"],
        "a profile cut off": [b"\x01\x01" + profile[:200]],
        "a profile without its second half": [b"\x01\x02" + profile],
        "a profile in parts that disagree": [b"\x01\x02" + profile[:100], b"\x02\x03" + profile[100:]],
        "a profile of zeros": [b"\x01\x01" + bytes(500)],
        "a profile of 600 kB": [bytes((part, 10)) + b"\x00" * 60_000 for part in range(1, 11)],
        "a profile with four billion tags": [b"\x01\x01" + profile[:128] + b"\xff\xff\xff\xff" + profile[132:]],
    }.items():
        parts = (_segment(_APP2, b"ICC_PROFILE\x00" + body) for body in bodies)
        yield Case(name, _with(_plain("RGB", (200, 90, 40)), *parts), colour=(200, 90, 40))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield Case("a profile of another colour space", _plain("RGB", (200, 90, 40), icc_profile=lab), colour=(200, 90, 40))
    yield Case("a grey image with a profile of colours", _plain("L", 90, icc_profile=profile), colour=(90, 90, 90))
    for name, body in {
        "a JFIF header of nothing": b"",
        "a JFIF header with a density of nothing": b"JFIF\x00\x01\x01\x01\x00\x00\x00\x00\x00\x00",
        "a JFIF header with a preview that is missing": b"JFIF\x00\x01\x01\x01\x00\x48\x00\x48\xff\xff",
    }.items():
        yield Case(name, _with(_without(board, _APP0), _segment(_APP0, body)), size=SIZE)
    yield Case("an Adobe marker of one byte", _with(board, _segment(_APP14, b"A")), size=SIZE)
    photoshop = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\xff\xff\xff\xff"
    yield Case("Photoshop's resources beyond their end", _with(board, _segment(0xED, photoshop)), size=SIZE)
    yield Case("comments of 600 kB", _with(board, *[_segment(_COM, b"x" * 60_000)] * 10), size=SIZE)


def _tails() -> Iterator[Case]:
    board = _board()
    yield Case("a JPEG that is also HTML", _with(board, _segment(_COM, b"*/--><script>alert(1)</script>")), size=SIZE)
    for name, tail in {
        "an HTML page": b"<html><script>alert(1)</script></html>",
        "a PHP program": b"<?php system($_GET['c']); ?>",
        "a ZIP": b"PK\x03\x04" + bytes(100) + b"PK\x05\x06" + bytes(18),
        "another JPEG": encode(checks(100, 100, seed=1)),
        "a PNG": encode(checks(100, 100, seed=1), "PNG"),
        "a film": b"\x00\x00\x00\x18ftypmp42" + bytes(5000),
        "a megabyte of zeros": bytes(1_000_000),
    }.items():
        yield Case(f"a JPEG followed by {name}", board + tail, size=SIZE)
