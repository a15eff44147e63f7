"""The images of a product: its own, and with ``images: all`` those of its variations. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from fashion_pipeline.records import Image
from fashion_pipeline.stores import Store

UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""PostgreSQL refuses NUL and lone surrogates; a terminal obeys the other control characters."""

MAX_IMAGES = 1000
"""How many of a product's images, and of its variations, are used: the first, in the shop's order."""

_AMPERSAND = re.compile("&(amp|#0*38);")
_PLACEHOLDER = re.compile(r"/(woocommerce-)?placeholder(-\d+x\d+)?\.(png|jpe?g|webp|svg)(\?|$)", re.IGNORECASE)
_SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class Variations:
    """What was read of one product's variations.

    Attributes:
        rows: payloads of ``/variations``, in the shop's order, private ones among them.
        unread: ids of variations that exist and could not be read.
        problem: why, as a clause; empty where all were read.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    unread: frozenset[str] = frozenset()
    problem: str = ""


NO_VARIATIONS = Variations()


def own_images(value: object, store: Store) -> tuple[Image, ...]:
    """Read ``images`` of a product. With ``images: primary`` only the first counts, and the next never replaces it."""
    listed = entries(value) or []
    images: dict[str, Image] = {}
    for position, entry in enumerate(listed[: 1 if store.images == "primary" else MAX_IMAGES]):
        image = _image(entry, images, store, position)
        if image is not None:
            images.setdefault(image.image_id, image)
    return tuple(images.values())


def entries(value: object) -> list[Any] | None:
    """Return the entries of a list, or of an object with numeric keys, which PHP makes of a list with gaps.

    Nothing (null, false, an empty text) is an empty list; None: the value is something else.
    """
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and all(str(key).isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=lambda key: int(str(key)))]
    return None if value else []


def with_variations(
    own: tuple[Image, ...], variations: Variations, before: Iterable[Image], store: Store
) -> tuple[Image, ...]:
    """Append the images of a product's published variations to its own.

    Each image names the variations that the shop shows with it. For a variation without an image
    the shop's payload has the product's first. A product without an image of its own gets none from
    its variations, so that its outcome does not depend on whether these can be read.

    Args:
        own: from ``own_images``.
        variations: as they were read.
        before: the images of the last read. Those of variations that are unread now stay.
        store: resolves relative URLs.
    """
    if not own:
        return ()
    images = {image.image_id: image for image in own}
    shown_by: dict[str, set[str]] = {}
    end = max(image.position for image in own) + 1

    def place(image: Image, variation_ids: Iterable[str]) -> None:
        nonlocal end
        if image.image_id not in images:
            if len(images) >= MAX_IMAGES:
                return
            images[image.image_id] = replace(image, position=end)
            end += 1
        shown_by.setdefault(image.image_id, set()).update(variation_ids)

    for row in variations.rows:
        image = _image(row.get("image"), images, store, end) if row.get("status") == "publish" else None
        if image is not None:
            place(image, [str(row.get("id"))])
    for image in before:
        if variations.unread & set(image.variation_ids):
            place(image, variations.unread & set(image.variation_ids))
    return tuple(
        replace(image, variation_ids=tuple(sorted(shown_by.get(image.image_id, ()), key=_by_number)))
        for image in images.values()
    )


def read_gmt(value: object) -> datetime | None:
    """Parse one of the API's ``*_gmt`` dates; None for null and for the database's zero date."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # "0000-00-00T00:00:00" and "-0001-11-30T00:00:00": no date
        return None


def _image(entry: object, images: Mapping[str, Image], store: Store, position: int) -> Image | None:
    """Parse one image, given the known ones; None where it has no URL."""
    src = entry.get("src") if isinstance(entry, Mapping) else None
    url = absolute(_AMPERSAND.sub("&", UNSTORABLE.sub("", src).strip()), store) if isinstance(src, str) else ""
    if not isinstance(entry, Mapping) or not url or _is_placeholder(entry, url):
        return None
    image_id = str(entry.get("id") or "")
    if image_id in images and images[image_id].url == url:
        return images[image_id]  # the first image is often in the gallery too
    if not image_id.isdecimal() or image_id in images:
        # Plugins that show images of other hosts give them all the id 0.
        image_id = "url-" + hashlib.sha256(url.encode()).hexdigest()[:16]
    return images.get(image_id) or Image(image_id, url, position, read_gmt(entry.get("date_modified_gmt")))


def _is_placeholder(entry: Mapping[str, Any], url: str) -> bool:
    """Whether an image is the one that WooCommerce shows for a product without any: id 0, and its file's name."""
    return entry.get("id") in {0, "0"} and bool(_PLACEHOLDER.search(url))


def absolute(url: str, store: Store) -> str:
    """Resolve a URL as the shop's pages do (``//host/a.jpg``, ``/a.jpg``). A URL with a scheme is returned unchanged."""
    if not url or _SCHEME.match(url):
        return url
    try:
        return urljoin(f"{store.url}/", url)
    except ValueError:
        return url  # the guard reports what is wrong with it


def _by_number(external_id: str) -> tuple[int, str]:
    return len(external_id), external_id
