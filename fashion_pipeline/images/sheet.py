"""A contact sheet: many stored pictures at a glance, small enough to lie in a materialization's metadata."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from fashion_pipeline.errors import DamagedFile, UnreadableImage
from fashion_pipeline.images.thumbnail import encode_within
from fashion_pipeline.images.workers import decoders
from fashion_pipeline.storage.blobs import Blobs

if TYPE_CHECKING:
    from PIL import Image

Item = TypeVar("Item")

PICTURES = 24
COLUMNS = 8
SIDE_PX = 128
MAX_BYTES = 100_000

_PAPER = (255, 255, 255)
_GREY = (205, 203, 200)
_REFUSED = (196, 48, 36)
_GAP_PX = 6
_FRAME_PX = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet: its bytes (None where they are lost), and whether it was refused."""

    data: bytes | None
    refused: bool = False


def contact_sheet(
    tiles: Iterable[Tile],
    *,
    max_pixels: int,
    columns: int = COLUMNS,
    side_px: int = SIDE_PX,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Return a JPEG of at most ``max_bytes`` with the pictures in rows, in their order.

    Bytes that cannot be decoded are a grey tile; a refused picture has a red frame.

    Args:
        max_pixels: larger pictures are not decoded (``quality.max_pixels``).
        columns: pictures in a row.
        side_px: of the square that each picture is fitted into.

    Raises:
        ValueError: there are no tiles, or ``max_bytes`` holds no picture at all.
    """
    from PIL import Image

    drawn = [_draw(tile, side_px, max_pixels) for tile in tiles]
    if not drawn:
        msg = "a contact sheet needs at least one picture"
        raise ValueError(msg)
    columns = min(columns, len(drawn))
    rows = -(-len(drawn) // columns)
    step = side_px + _GAP_PX
    sheet = Image.new("RGB", (columns * step + _GAP_PX, rows * step + _GAP_PX), _PAPER)
    for number, picture in enumerate(drawn):
        row, column = divmod(number, columns)
        sheet.paste(picture, (_GAP_PX + column * step, _GAP_PX + row * step))
    return encode_within(sheet, "JPEG", max_bytes=max_bytes)


def sheet_markdown(
    pictures: Sequence[tuple[str, bool]],
    *,
    blobs: Blobs,
    max_pixels: int,
    count: int = PICTURES,
    max_bytes: int = MAX_BYTES,
) -> str:
    """Return Markdown of at most ``max_bytes`` that shows a sample of stored pictures.

    The sample shows refused pictures first, up to half of it, each kind spread evenly. The same
    pictures give the same text.

    Args:
        pictures: digest of the bytes, and whether the picture was refused.
        count: pictures on the sheet.
    """
    chosen = _sample(dict(pictures), count)
    if not chosen:
        return "No pictures."
    refused = sum(is_refused for _, is_refused in chosen)
    words = f"{len(chosen)} of {len(dict(pictures)):,} pictures" + (
        f"; red frame: refused ({refused})" if refused else ""
    )
    before, after = f"![{words}](data:image/jpeg;base64,", f")\n\n{words}"
    room = (max_bytes - len(before) - len(after)) // 4 * 3
    tiles = (Tile(_read(blobs, sha256), is_refused) for sha256, is_refused in chosen)
    data = contact_sheet(tiles, max_pixels=max_pixels, max_bytes=room)
    return before + base64.b64encode(data).decode("ascii") + after


def spread(items: Sequence[Item], count: int, *, phase: float = 0.5) -> list[Item]:
    """Return ``count`` items at even distances, or all where there are no more.

    Args:
        phase: where in its stretch each is taken, from 0 up to, not including, 1.
    """
    if len(items) <= count:
        return list(items)
    return [items[int((index + phase) * len(items) / count)] for index in range(count)]


def _sample(pictures: dict[str, bool], count: int) -> list[tuple[str, bool]]:
    refused = [sha256 for sha256, is_refused in pictures.items() if is_refused]
    passed = [sha256 for sha256, is_refused in pictures.items() if not is_refused]
    shown = spread(refused, max(count // 2, count - len(passed)))
    chosen = [
        *((sha256, True) for sha256 in shown),
        *((sha256, False) for sha256 in spread(passed, count - len(shown))),
    ]
    return list(islice(chosen, count))


def _read(blobs: Blobs, sha256: str) -> bytes | None:
    try:
        return blobs.get(sha256)
    except (FileNotFoundError, DamagedFile):
        return None


def _draw(tile: Tile, side_px: int, max_pixels: int) -> Image.Image:
    from PIL import Image, ImageDraw

    square = Image.new("RGB", (side_px, side_px), _GREY)
    if tile.data is not None:
        try:
            picture = decoders().shrink(tile.data, side_px=side_px, max_pixels=max_pixels).image
        except UnreadableImage:
            pass  # the square stays grey: that it cannot be shown is what there is to show
        else:
            square.paste(_PAPER, (0, 0, side_px, side_px))
            square.paste(picture, ((side_px - picture.width) // 2, (side_px - picture.height) // 2))
    if tile.refused:
        ImageDraw.Draw(square).rectangle((0, 0, side_px - 1, side_px - 1), outline=_REFUSED, width=_FRAME_PX)
    return square
