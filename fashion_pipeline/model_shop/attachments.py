"""An image of the model shop's media library as WooCommerce writes it, with the smaller sizes that WordPress makes.

The sizes are WordPress's and WooCommerce's own, in the order in which they are made. ``srcset`` has
those of the original's shape, one of each width; of a GIF, which would stand still, none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.shop import Attachment, ModelShop

_UNBOUND = 10**6
_SIZES = (  # width, height, and whether it is cut to just that
    (300, 300, False),
    (1024, 1024, False),
    (150, 150, True),
    (768, _UNBOUND, False),
    (1536, 1536, False),
    (2048, 2048, False),
    (300, 300, True),
    (600, _UNBOUND, False),
    (100, 100, True),
)
_THUMBNAIL = 300


def image_payload(shop: ModelShop, attachment: Attachment) -> dict[str, Any]:
    """Return an image as it appears in a product's ``images``."""
    width, height = attachment.size
    stem, dot, extension = attachment.url.rpartition(".")
    stem = re.sub(r"-(?:scaled|rotated)$", "", stem)
    sizes = {width: attachment.url}
    for smaller in _smaller(width, height) if extension != "gif" else ():
        sizes.setdefault(smaller[0], f"{stem}-{smaller[0]}x{smaller[1]}{dot}{extension}")
    thumbnail = attachment.url
    if max(width, height) > _THUMBNAIL:
        thumbnail = f"{stem}-{min(width, _THUMBNAIL)}x{min(height, _THUMBNAIL)}{dot}{extension}"
    return {
        "id": attachment.id,
        "date_created": _twice_local(shop, attachment.created),
        "date_created_gmt": attachment.created.strftime("%Y-%m-%dT%H:%M:%S"),
        "date_modified": _twice_local(shop, attachment.modified),
        "date_modified_gmt": attachment.modified.strftime("%Y-%m-%dT%H:%M:%S"),
        "src": attachment.url,
        "name": attachment.title or attachment.url.rpartition("/")[2],
        "alt": attachment.alt,
        "srcset": ", ".join(f"{url} {size}w" for size, url in sizes.items()) if len(sizes) > 1 else "",
        "sizes": f"(max-width: {width}px) 100vw, {width}px",
        "thumbnail": thumbnail,
    }


def _smaller(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield the sizes that WordPress makes of an image with its aspect ratio."""
    for most_wide, most_high, is_cut in _SIZES:
        scale = min(most_wide / width, most_high / height)
        if scale < 1 and (not is_cut or width == height):
            yield round(width * scale), round(height * scale)


def _twice_local(shop: ModelShop, moment: datetime) -> str:
    """Return an attachment's local date, wrong by one more offset: WooCommerce 11.0.1 shows it so."""
    local = moment.astimezone(shop.zone)
    return (local + (local.utcoffset() or timedelta())).strftime("%Y-%m-%dT%H:%M:%S")
