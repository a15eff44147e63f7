"""Files that are not images, or have a format that is not decoded."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
from collections.abc import Iterator

from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.images.drawing import checks, encode
from fashion_pipeline_tests.images.hostile.case import Case

_HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def cases() -> Iterator[Case]:
    """Yield the files."""
    jpeg, png = encode(checks(64, 48)), encode(checks(64, 48), "PNG")
    for name, data in {
        "nothing": b"",
        "one byte": b"\xff",
        "two bytes of a JPEG": b"\xff\xd8",
        "seven bytes of a PNG": png[:7],
        "zeros": bytes(200),
        "spaces": b" " * 200,
        "an HTML error page": _HTML,
        "HTML in capitals after a BOM": b"\xef\xbb\xbf" + _HTML.upper(),
        "HTML after blank lines": b"\r\n\r\n  " + _HTML,
        "HTML in UTF-16": b"\xff\xfe" + _HTML.decode().encode("utf-16-le"),
        "a page of a bot check": b"<script>window.location.reload()</script>",
        "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "an SVG with a script": _SVG,
        "an SVG after a prolog": b'<?xml version="1.0"?><!DOCTYPE svg>' + _SVG,
        "a compressed SVG": gzip.compress(_SVG, mtime=0),
        "a JSON error": b'{"code":"rest_forbidden","data":{"status":403}}',
        "a JSON list": b"[]",
        "plain text": b"Too many requests",
        "a data URI": b"data:image/png;base64," + base64.b64encode(png),
        "an image in base64": base64.b64encode(jpeg),
        "a PHP notice before a JPEG": b"<br />\n<b>Notice</b>: Undefined index<br />" + jpeg,
        "a hundred line feeds before a JPEG": b"\n" * 100 + jpeg,
        "a JavaScript": b"var GIF89a=1;",
        "a PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
        "a ZIP with a JPEG inside": _zip(jpeg),
        "a gzipped JPEG": gzip.compress(jpeg, mtime=0),
        "an ELF program": b"\x7fELF\x02\x01\x01" + bytes(57),
        "a Windows program": b"MZ\x90\x00" + bytes(60),
        "a WAV": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(20),
        "an AVI": b"RIFF\x24\x00\x00\x00AVI LIST" + bytes(20),
        "an MP4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42" + bytes(20),
        "a QuickTime film": b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  " + bytes(20),
        "a Matroska film": b"\x1aE\xdf\xa3" + bytes(40),
        "an MP3": b"ID3\x04" + bytes(40),
        "a font": b"wOF2" + bytes(40),
        "a TGA": encode(checks(16, 16), "TGA"),
        "a PPM": encode(checks(16, 16), "PPM"),
        "a PCX": encode(checks(16, 16), "PCX"),
        "a DDS": encode(checks(16, 16).convert("RGBA"), "DDS"),
        "an ICNS": encode(checks(64, 64), "ICNS"),
        "an SGI": encode(checks(16, 16), "SGI"),
        "a FITS": b"SIMPLE  =                    T".ljust(2880),
        "an XBM": encode(checks(16, 16).convert("1"), "XBM"),
        "a cursor": b"\x00\x00\x02\x00" + encode(checks(16, 16), "ICO")[4:],
        "a WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
        "an EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(40),
        "a JPEG 2000 codestream": b"\xff\x4f\xff\x51" + bytes(40),
        "a JPEG XR": b"II\xbc\x01" + bytes(40),
        "a BigTIFF": b"II+\x00\x08\x00" + bytes(40),
        "a QOI": b"qoif\x00\x00\x00\x10\x00\x00\x00\x10\x03\x00" + bytes(40),
        "an MNG": b"\x8aMNG\r\n\x1a\n" + bytes(40),
        "a JNG": b"\x8bJNG\r\n\x1a\n" + bytes(40),
        "a PNG sent as text": png.replace(b"\r\n", b"\n", 1),
        "a GIF of another version": b"GIF88a" + encode(checks(16, 16), "GIF")[6:],
    }.items():
        yield Case(name, data, (Reason.NOT_AN_IMAGE,))
    for name, data in {
        "a BMP": encode(checks(16, 16), "BMP"),
        "a TIFF": encode(checks(16, 16), "TIFF"),
        "a big-endian TIFF": b"MM\x00*\x00\x00\x00\x08" + bytes(40),
        "a TIFF whose directory is its own next": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
        "a raw file of a camera": b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(40),
        "an ICO": encode(checks(16, 16), "ICO"),
        "a PSD": b"8BPS\x00\x01" + bytes(40),
        "an EPS with a program": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\nshowpage\n",
        "a JPEG 2000": encode(checks(16, 16), "JPEG2000"),
        "a JPEG XL codestream": b"\xff\x0a" + bytes(40),
        "a JPEG XL": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40),
        "a HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40),
        "a HEIC sequence": b"\x00\x00\x00\x18ftyphevc\x00\x00\x00\x00msf1hevc" + bytes(40),
        "a HEIF of an unknown codec": b"\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00mif1" + bytes(40),
    }.items():
        yield Case(name, data, (Reason.FORMAT_NOT_ALLOWED,))


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.jpg"), data)
    return buffer.getvalue()
