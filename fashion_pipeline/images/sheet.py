"""A contact sheet: many stored images at a glance, small enough for a materialization's metadata."""

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

IMAGES = 24
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
    """One image of a sheet: its bytes (None if they are lost), and whether it was refused."""

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
    """Return a JPEG of at most ``max_bytes`` that shows the images in rows, in order.

    An image that cannot be decoded is a grey tile; a refused image has a red frame.

    Args:
        tiles: the images, in order.
        max_pixels: larger images are not decoded (``quality.max_pixels``).
        columns: images per row.
        side_px: side of the square that each image is fitted into.
        max_bytes: the largest size of the JPEG.

    Raises:
        ValueError: there are no tiles, or ``max_bytes`` is too small for any image.
    """
    from PIL import Image

    drawn = [_draw(tile, side_px, max_pixels) for tile in tiles]
    if not drawn:
        msg = "a contact sheet needs at least one image"
        raise ValueError(msg)
    columns = min(columns, len(drawn))
    rows = -(-len(drawn) // columns)
    step = side_px + _GAP_PX
    sheet = Image.new("RGB", (columns * step + _GAP_PX, rows * step + _GAP_PX), _PAPER)
    for number, image in enumerate(drawn):
        row, column = divmod(number, columns)
        sheet.paste(image, (_GAP_PX + column * step, _GAP_PX + row * step))
    return encode_within(sheet, "JPEG", max_bytes=max_bytes)


def sheet_markdown(
    images: Sequence[tuple[str, bool]],
    *,
    blobs: Blobs,
    max_pixels: int,
    count: int = IMAGES,
    max_bytes: int = MAX_BYTES,
) -> str:
    """Return Markdown of at most ``max_bytes`` that shows a sample of stored images.

    Refused images come first and fill up to half of the sample; both kinds are sampled evenly. The
    same images give the same text.

    Args:
        images: digest of the bytes, and whether the image was refused.
        blobs: stores the bytes.
        max_pixels: larger images are not decoded.
        count: images on the sheet.
        max_bytes: the largest size of the Markdown.
    """
    chosen = _sample(dict(images), count)
    if not chosen:
        return "No images."
    refused = sum(is_refused for _, is_refused in chosen)
    words = f"{len(chosen)} of {len(dict(images)):,} images" + (f"; red frame: refused ({refused})" if refused else "")
    before, after = f"![{words}](data:image/jpeg;base64,", f")\n\n{words}"
    room = (max_bytes - len(before) - len(after)) // 4 * 3
    tiles = (Tile(_read(blobs, sha256), is_refused) for sha256, is_refused in chosen)
    data = contact_sheet(tiles, max_pixels=max_pixels, max_bytes=room)
    return before + base64.b64encode(data).decode("ascii") + after


def spread(items: Sequence[Item], count: int, *, phase: float = 0.5) -> list[Item]:
    """Return ``count`` items at even distances, or all if there are no more.

    Args:
        items: the items to choose from.
        count: the number to return.
        phase: where in its interval each item is taken: 0 is the start, values below 1 are further on.
    """
    if len(items) <= count:
        return list(items)
    return [items[int((index + phase) * len(items) / count)] for index in range(count)]


def _sample(images: dict[str, bool], count: int) -> list[tuple[str, bool]]:
    refused = [sha256 for sha256, is_refused in images.items() if is_refused]
    passed = [sha256 for sha256, is_refused in images.items() if not is_refused]
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
            image = decoders().shrink(tile.data, side_px=side_px, max_pixels=max_pixels).image
        except UnreadableImage:
            pass  # the square stays grey
        else:
            square.paste(_PAPER, (0, 0, side_px, side_px))
            square.paste(image, ((side_px - image.width) // 2, (side_px - image.height) // 2))
    if tile.refused:
        ImageDraw.Draw(square).rectangle((0, 0, side_px - 1, side_px - 1), outline=_REFUSED, width=_FRAME_PX)
    return square
