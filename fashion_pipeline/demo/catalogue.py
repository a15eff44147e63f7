"""The products of the demo's shops: garments by recipe, and one product for each fault seen in real shops.

Everything is fixed (ids, URLs, dates, images), so that a second run against a restarted shop finds
it unchanged. No retry would fix any of the faults.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fashion_pipeline.demo.media import COLOURS, FABRICS, KINDS, PATTERNS, Garment, ProductImage, image_file
from fashion_pipeline.model_shop.shop import Key, ModelShop
from fashion_pipeline.outcomes import Reason

PRODUCTS = 70
STORES = 2

_OPENED = datetime(2026, 1, 12, 8, 30, tzinfo=UTC)
_SCHEDULED = datetime(2036, 3, 1, 9, 0, tzinfo=UTC)
_NAMED = (
    ("atelier-nord", "EUR", "Europe/Paris"),
    ("maison-sud", "GBP", "Europe/London"),
    ("studio-est", "PLN", "Europe/Warsaw"),
    ("boutique-ouest", "USD", "America/New_York"),
)
_NEAREST = {
    "vest": "shirt",
    "pyjama": "shirt",
    "sandal": "shoe",
    "foulard": "skirt",
    "<b>bold</b>": "tee",
}
_SIZES = ((1000, 1250), (900, 1200), (1000, 1000), (960, 1280), (800, 1000))


@dataclass(frozen=True, slots=True)
class Special:
    """One unusual product.

    ``image`` is the form of its image file, or "none", "missing" (404), "of the first" (the URL of
    the first ordinary product's image) or "in every shop" (equal bytes). ``expected`` is the reason
    for which default settings reject it; None for a product that is published.
    """

    name: str
    title: str
    image: str = "jpeg"
    expected: Reason | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


SPECIALS = (
    Special("blurred image", "Out-of-focus coat", "blurred", Reason.TOO_BLURRY),
    Special("tiny image", "Thumbnail tee", "tiny", Reason.TOO_SMALL),
    Special("small file", "Squeezed skirt", "small file", Reason.FILE_TOO_SMALL),
    Special("missing image", "Lost-and-found hat", "missing", Reason.GONE),
    Special("truncated image", "Half-uploaded dress", "truncated", Reason.TRUNCATED),
    Special("html as image", "Hotlink-protected bag", "html", Reason.NOT_AN_IMAGE),
    Special("svg image", "Vector shirt", "svg", Reason.NOT_AN_IMAGE),
    Special("no image", "Imageless idea", "none", Reason.NO_IMAGE),
    Special("no price", "Priceless poncho", expected=Reason.NO_PRICE, fields={"price": ""}),
    Special("zero price", "Free foulard", expected=Reason.ZERO_PRICE, fields={"price": "0"}),
    Special("draft", "Draft dress", expected=Reason.NOT_PUBLISHED, fields={"status": "draft"}),
    Special("private", "Private pyjama", expected=Reason.NOT_PUBLISHED, fields={"status": "private"}),
    Special("scheduled", "Scheduled skirt", expected=Reason.NOT_PUBLISHED, fields={"status": "future"}),
    Special("trashed", "Trash trousers", expected=Reason.TRASHED, fields={"status": "trash"}),
    Special(
        "password protected",
        "Secret scarf",
        expected=Reason.PASSWORD_PROTECTED,
        fields={"post_password": "vip-only"},
    ),
    Special("shared image", "Same-photo sweater", "of the first"),
    Special("sold in every shop", "Sister-shop coat", "in every shop"),
    Special("animated gif", "Spinning skirt", "animated gif"),
    Special("animated webp", "Turning tee", "animated webp"),
    Special("transparent png", "Cut-out shirt", "transparent"),
    Special("cmyk jpeg", "Print-shop shorts", "cmyk"),
    Special("exif rotated", "Sideways shoe", "rotated"),
    Special(
        "variable",
        "Variable vest",
        fields={"type": "variable", "regular_price": ""},
    ),
    Special(
        "external",
        "Affiliate anorak",
        fields={
            "type": "external",
            "external_url": "https://partner.example/anorak?aff=42",
            "button_text": "Buy at partner",
        },
    ),
    Special("grouped", "Outfit of three", fields={"type": "grouped", "regular_price": ""}),
    Special("html title", 'Tee <b>bold</b> &amp; "quoted" &#8211; <em>summer</em>'),
    Special("emoji title", "\N{DRESS} Summer dress \N{SUN WITH FACE}"),
    Special("cjk title", "日本製 デニム ジャケット 牛仔外套"),
    Special("rtl title", "جاكيت جلد أسود"),
    Special(
        "on sale", "End-of-season coat", fields={"regular_price": "129.00", "price": "89.50", "sale_price": "89.50"}
    ),
    Special("sold out", "Sold-out sandal", fields={"stock_status": "outofstock"}),
)


def store_ids(stores: int = STORES) -> list[str]:
    """Return the ids of the first ``stores`` demo shops."""
    named = [name for name, _, _ in _NAMED]
    return [*named[:stores], *(f"shop-{number}" for number in range(len(named) + 1, stores + 1))]


def keys(store_id: str) -> tuple[str, str]:
    """Return a demo shop's consumer key and secret: fixed values that are valid nowhere else."""
    digest = hashlib.sha256(f"demo keys of {store_id}".encode()).hexdigest()
    return f"ck_{digest[:32]}", f"cs_{digest[32:]}"


def environment(stores: int = STORES) -> dict[str, str]:
    """Return the environment variables that ``stores_yaml`` refers to."""
    variables = {}
    for store_id in store_ids(stores):
        prefix = _variable(store_id)
        variables[f"{prefix}_KEY"], variables[f"{prefix}_SECRET"] = keys(store_id)
    return variables


def stores_yaml(port: int, stores: int = STORES) -> str:
    """Return the text of a ``stores.yaml`` for the demo's shops on ``port``."""
    lines = ["# The demo's model shops: a process on this machine, which stops when the demo ends.", "stores:"]
    for store_id in store_ids(stores):
        lines += [
            f"  - id: {store_id}",
            f"    url: http://127.0.0.1:{port}/{store_id}",
            f"    consumer_key: ${{{_variable(store_id)}_KEY}}",
            f"    consumer_secret: ${{{_variable(store_id)}_SECRET}}",
            "    allow_private_hosts: [127.0.0.1]",
            "    quality: {min_bits_per_pixel: 0.8}  # stricter than the default, to show a refusal",
        ]
    return "\n".join(lines) + "\n"


def _variable(store_id: str) -> str:
    return f"DEMO_{store_id.upper().replace('-', '_')}"


def specials(products: int = PRODUCTS) -> tuple[Special, ...]:
    """Return the unusual products of a shop with ``products`` products: half of it at most."""
    return SPECIALS[: products // 2]


def model_shops(
    origin: str, *, image_folder: Path, products: int = PRODUCTS, stores: int = STORES, latency_s: float = 0.0
) -> dict[str, ModelShop]:
    """Return the demo's shops by id, each with ``products`` products.

    Args:
        origin: scheme, host and port they are served under.
        image_folder: where drawn images are kept.
        products: number of products of each shop, the trashed one included.
        stores: number of shops.
        latency_s: delay of every response, in seconds.
    """
    shops = {}
    for number, store_id in enumerate(store_ids(stores)):
        _, currency, zone = _NAMED[number] if number < len(_NAMED) else ("", "EUR", "UTC")
        shop = ModelShop(
            store_id,
            origin=origin,
            currency=currency,
            zone=ZoneInfo(zone),
            keys=[Key(*keys(store_id))],
            latency_s=latency_s,
        )
        _Seeding(shop, number, image_folder).fill(products)
        shops[store_id] = shop
    return shops


def _kind_of(title: str) -> str:
    """Choose what to draw for a title: the garment it names, or a similar one."""
    words = title.lower().replace("-", " ").split()
    named = [word for word in words if word in KINDS] + [_NEAREST[word] for word in words if word in _NEAREST]
    return named[0] if named else "coat"


class _Seeding:
    """Fills one shop with products."""

    def __init__(self, shop: ModelShop, number: int, image_folder: Path) -> None:
        self.shop = shop
        self.number = number
        self.image_folder = image_folder
        self.first_image = ""
        self.first_ids: list[int] = []
        self.variable_ids: list[int] = []

    def fill(self, products: int) -> None:
        unusual = specials(products)
        ordinary = products - len(unusual)
        for place in range(ordinary):
            self.ordinary(place)
        for place, special in enumerate(unusual, ordinary):
            self.special(place, special)
        for parent_id in self.variable_ids:  # last, so that the products' ids do not depend on them
            self.variations(parent_id)

    def variations(self, parent_id: int) -> None:
        """Give a product three sizes; the smallest has the product's own price."""
        parent = self.shop.products[parent_id]
        lowest = Decimal(str(parent.fields.pop("price")))
        for size, dearer in (("S", 0), ("M", 5), ("L", 10)):
            attributes = [{"id": 2, "name": "Size", "slug": "pa_size", "option": size}]
            price = str(lowest + dearer)
            self.shop.add_variation(parent_id, created=parent.created, regular_price=price, attributes=attributes)

    def ordinary(self, place: int) -> None:
        garment = self.garment(place)
        form = {3: "png", 6: "webp"}.get(place % 10, "jpeg")
        url = self.upload(place, ProductImage(garment, form))
        pattern = "" if garment.pattern == "plain" else f" {garment.pattern}"
        product_id = self.add(place, f"{garment.colour.title()}{pattern} {garment.fabric} {garment.kind}", [url])
        if place < 3:
            self.first_image = self.first_image or url
            self.first_ids.append(product_id)

    def special(self, place: int, special: Special) -> None:
        fields = dict(special.fields)
        if fields.get("type") == "grouped":
            fields["grouped_products"] = self.first_ids
        product_id = self.add(place, special.title, self.images(place, special), **fields)
        if fields.get("type") == "variable":
            self.variable_ids.append(product_id)

    def images(self, place: int, special: Special) -> list[str]:
        if special.image == "none":
            return []
        if special.image == "missing":
            return [f"{self.shop.url}/wp-content/uploads/2026/01/lost.jpg"]
        if special.image == "of the first":
            return [self.first_image]
        if special.image == "in every shop":
            return [self.upload(place, ProductImage(Garment("coat", "green", "navy", "checked", "linen", 77)))]
        garment = replace(self.garment(place), kind=_kind_of(special.title))
        return [self.upload(place, ProductImage(garment, special.image))]

    def garment(self, place: int) -> Garment:
        """Choose a garment: all kinds, colours and patterns in turn, differently in each shop."""
        seed = self.number * 1_000_003 + place
        colours = list(COLOURS)
        first = (place * 5 + self.number * 7) % len(colours)
        return Garment(
            kind=KINDS[(place + self.number * 3) % len(KINDS)],
            colour=colours[first],
            second_colour=colours[(first + 1 + place % (len(colours) - 1)) % len(colours)],
            pattern=PATTERNS[(place * 7 // 3 + self.number) % len(PATTERNS)],
            fabric=FABRICS[(place // 2 + self.number) % len(FABRICS)],
            seed=seed,
            size=_SIZES[place % len(_SIZES)],
        )

    def upload(self, place: int, image: ProductImage) -> str:
        created = self.created(place)
        return self.shop.upload(
            f"{created:%Y/%m}/{image.garment.kind}-{place + 1:05}.{image.extension}",
            partial(image_file, image, self.image_folder),
            content_type=image.content_type,
            size=image.garment.size,
            modified=created,
        )

    def created(self, place: int) -> datetime:
        """Return when a product was created: four a second, as by an import."""
        return _OPENED + timedelta(hours=place // 12, seconds=place % 12 // 4)

    def add(self, place: int, title: str, images: list[str], **fields: Any) -> int:
        created = self.created(place)
        price = f"{19 + place * 37 % 160}.{(0, 50, 90, 95)[place % 4]:02}"
        kind = {"id": 16 + place % 5, "name": "Women &amp; Men", "slug": "women-men"}
        values = {
            "name": title,
            "sku": f"{self.shop.id[:2].upper()}-{place + 1:05}",
            "short_description": f"<p>{title}</p>\n",
            "price": price,
            "categories": [kind],
            **fields,
        }
        if values.get("status") == "future":
            return self.shop.add(images=images, created=_SCHEDULED, modified=_SCHEDULED, **values)
        return self.shop.add(images=images, created=created, **values)
