"""The state of a model WooCommerce shop: its products, images, keys, settings and clock.

What changes ``date_modified_gmt`` here, and what does not, was measured on WooCommerce 11.0.1: a
save, trash and untrash do; post meta, an attachment, a renamed category, the currency and the
cron job that publishes a scheduled product do not.
"""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fashion_pipeline.model_shop.variations import touch

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

VIEW_PRODUCTS, VIEW_SETTINGS = "products", "settings"
EVERYTHING = frozenset({VIEW_PRODUCTS, VIEW_SETTINGS})


class ShopClock:
    """The shop's clock, in whole seconds: the machine's, until a test sets it."""

    def __init__(self, at: datetime | None = None) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return the shop's present second, in UTC."""
        return (self._at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)

    def set(self, at: datetime) -> None:
        """Stop the clock at an aware datetime."""
        self._at = at

    def advance(self, seconds: float) -> None:
        """Move a stopped clock on (a running one stops that far ahead)."""
        self._at = (self._at or datetime.now(UTC)) + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Key:
    """A REST API key of one user.

    ``permissions`` is WooCommerce's read, write or read_write; ``may_view`` is what the user's
    role may see: a customer nothing, a shop manager everything.
    """

    consumer_key: str
    consumer_secret: str
    permissions: str = "read"
    may_view: frozenset[str] = EVERYTHING


@dataclass(slots=True)
class Upload:
    """A file under ``wp-content/uploads``; ``read`` may draw it, and is called in a worker thread."""

    read: Callable[[], bytes]
    content_type: str
    modified: datetime


@dataclass(slots=True)
class Attachment:
    """An image in the shop's media library; the file itself may be missing or on another host.

    ``title`` is its name there, by default that of the file.
    """

    id: int
    url: str
    created: datetime
    modified: datetime
    size: tuple[int, int] = (1000, 1250)
    alt: str = ""
    title: str = ""


@dataclass(slots=True)
class ModelProduct:
    """A product: what differs from WooCommerce's defaults, and its dates (None: a draft made in wp-admin).

    A variation is one with a ``parent_id``; see ``variations``.
    """

    id: int
    slug: str
    fields: dict[str, Any]
    attachments: list[int]
    created: datetime | None
    modified: datetime | None
    before_trash: str = "draft"
    parent_id: int = 0

    @property
    def status(self) -> str:
        """WordPress's post status."""
        return str(self.fields.get("status", "publish"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the shop received."""

    method: str
    path: str
    query: str
    status: int


@dataclass
class ModelShop:
    """One shop. The methods do what a shopkeeper, a plugin or WordPress's cron does.

    Attributes:
        id: first segment of the path.
        origin: scheme, host and port that the shop uses in its own URLs.
        zone: the site's time zone; naive dates in queries are read in it.
        hidden: ids of products that the key may not see: omitted from every page, but counted.
        ties_by_id: rows of equal dates come by id, as since WooCommerce 11; before, in an order that
            differs from request to request.
        page_cap: the most products on a page, whatever is asked for.
        honest_cap: X-WP-TotalPages counts the capped pages; otherwise those that were asked for.
        fault: changes exchanges in tests; see ``middleware``.
        latency_s: seconds every answer waits.
        asked: the latest requests, oldest first.
    """

    id: str
    origin: str = "http://shop.example"
    currency: str = "EUR"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/Paris"))
    keys: Sequence[Key] = ()
    clock: ShopClock = field(default_factory=ShopClock)
    hidden: set[int] = field(default_factory=set)
    ties_by_id: bool = True
    page_cap: int | None = None
    honest_cap: bool = True
    fault: Fault | None = None
    latency_s: float = 0.0
    products: dict[int, ModelProduct] = field(default_factory=dict)
    variations: dict[int, ModelProduct] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    attachments: dict[int, Attachment] = field(default_factory=dict)
    asked: deque[Asked] = field(default_factory=lambda: deque(maxlen=20_000))
    nonces: set[tuple[str, str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._last_id = 10
        self._slugs: set[str] = set()
        self.dice = random.Random(self.id)  # noqa: S311 - an order, not a secret
        self._by_url: dict[str, int] = {}
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        """Address of the shop, without a slash at its end."""
        return f"{self.origin}/{self.id}"

    def add(
        self,
        *,
        images: Iterable[str] = (),
        created: datetime | None = None,
        modified: datetime | None = None,
        undated: bool = False,
        **fields: Any,
    ) -> int:
        """Add a product and return its id.

        Args:
            images: URLs of its images, the first one is the primary; see ``upload``.
            created: its creation, default now; of a scheduled product the moment of publication.
            modified: default ``created``.
            undated: all dates null, as of a draft made in wp-admin.
            fields: fields of the payload that differ from WooCommerce's defaults.
        """
        with self.lock:
            attached = [self._attachment(url, created) for url in images]
            fields.setdefault("name", "Product")
            moment = created or self.clock.now()
            product = ModelProduct(
                id=self._new_id(),
                slug=self._slug(fields),
                fields=fields,
                attachments=attached,
                created=None if undated else moment,
                modified=None if undated else modified or moment,
            )
            self.products[product.id] = product
            return product.id

    def edit(self, product_id: int, **fields: Any) -> None:
        """Save a product in wp-admin or through REST: its modified date becomes now, whatever changed.

        ``images`` is a list of addresses, as for ``add``.
        """
        with self.lock:
            self.edit_silently(product_id, **fields)
            self.products[product_id].modified = self.clock.now()

    def edit_silently(self, product_id: int, **fields: Any) -> None:
        """Write post meta directly, as import plugins do: no date moves."""
        with self.lock:
            product = self.products[product_id]
            if "images" in fields:
                product.attachments = [self._attachment(url, None) for url in fields.pop("images")]
            if "price" in fields:
                fields.setdefault("regular_price", fields["price"])
            product.fields |= fields
            if not product.slug:
                product.slug = self._slug(product.fields)

    def trash(self, product_id: int) -> None:
        """Move a product to the trash."""
        with self.lock:
            product = self.products[product_id]
            product.before_trash = product.status
            self.edit(product_id, status="trash")

    def untrash(self, product_id: int) -> None:
        """Take a product out of the trash, with the status it had."""
        self.edit(product_id, status=self.products[product_id].before_trash)

    def force_delete(self, product_id: int) -> None:
        """Delete a product for ever, and its variations: its id answers 404, and nothing else shows it."""
        with self.lock:
            del self.products[product_id]
            for variation in [each for each in self.variations.values() if each.parent_id == product_id]:
                del self.variations[variation.id]

    def add_variation(
        self, parent_id: int, *, image: str | None = None, created: datetime | None = None, **fields: Any
    ) -> int:
        """Add a variation to a product, with or without an image of its own, and return its id.

        The parent's modified date becomes ``created``, by default now.
        """
        with self.lock:
            self.products[parent_id].fields["type"] = "variable"
            moment = created or self.clock.now()
            attached = [] if image is None else [self._attachment(image, created)]
            variation = ModelProduct(self._new_id(), "", fields, attached, moment, moment, parent_id=parent_id)
            self.variations[variation.id] = variation
            touch(self, parent_id, moment)
            return variation.id

    def edit_variation(self, variation_id: int, **fields: Any) -> None:
        """Save a variation: its modified date becomes now, and its parent's; ``image`` is an address or None."""
        with self.lock:
            self.edit_variation_silently(variation_id, **fields)
            variation = self.variations[variation_id]
            variation.modified = self.clock.now()
            touch(self, variation.parent_id, variation.modified)

    def edit_variation_silently(self, variation_id: int, **fields: Any) -> None:
        """Write a variation's post meta directly: no date moves."""
        with self.lock:
            variation = self.variations[variation_id]
            if "image" in fields:
                image = fields.pop("image")
                variation.attachments = [] if image is None else [self._attachment(image, None)]
            variation.fields |= fields

    def delete_variation(self, variation_id: int) -> None:
        """Delete a variation for ever: its id answers 404, and its parent's modified date becomes now."""
        with self.lock:
            touch(self, self.variations.pop(variation_id).parent_id, self.clock.now())

    def run_cron(self) -> list[int]:
        """Publish what was scheduled until now, without moving a date; return the ids."""
        with self.lock:
            now = self.clock.now()
            due = [p for p in self.products.values() if p.status == "future" and p.created and p.created <= now]
            for product in due:
                product.fields["status"] = "publish"
            return [product.id for product in due]

    def upload(
        self,
        path: str,
        content: bytes | Callable[[], bytes],
        *,
        content_type: str = "image/jpeg",
        size: tuple[int, int] = (1000, 1250),
        modified: datetime | None = None,
    ) -> str:
        """Put a file below ``wp-content/uploads`` and into the media library; return its address.

        ``content`` may be a function that draws the file when it is first asked for.
        """
        with self.lock:
            url = f"{self.url}/wp-content/uploads/{path}"
            attachment = self.attachments[self._attachment(url, modified)]
            attachment.size = size
            self.uploads[path] = Upload(_reader(content), content_type, modified or self.clock.now())
            return url

    def set_image(self, url: str, content: bytes | Callable[[], bytes], *, shop_knows: bool = False) -> None:
        """Replace an image in place, under the same URL.

        With ``shop_knows`` (a media plugin) the attachment's date moves too; without (FTP) only
        the file's own validators do. The product's date never moves.
        """
        with self.lock:
            path = url.partition("/wp-content/uploads/")[2]
            now = self.clock.now()
            self.uploads[path] = replace(self.uploads[path], read=_reader(content), modified=now)
            if shop_knows:
                self.attachments[self._by_url[url]].modified = now

    def forget_image(self, url: str) -> None:
        """Delete an image's file but not its entry in the shop: its URL answers 404."""
        with self.lock:
            del self.uploads[url.partition("/wp-content/uploads/")[2]]

    def _attachment(self, url: str, created: datetime | None) -> int:
        if url not in self._by_url:
            moment = created or self.clock.now()
            attachment = Attachment(self._new_id(), url, moment, moment)
            self.attachments[attachment.id] = attachment
            self._by_url[url] = attachment.id
        return self._by_url[url]

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _slug(self, fields: dict[str, Any]) -> str:
        """Name a product in addresses, as WordPress does: drafts have no name yet."""
        if fields.get("status") in {"draft", "pending"}:
            return ""
        plain = re.sub(r"<[^>]*>|&\w+;", "", str(fields["name"])).lower()
        words = re.findall(r"[^\W_]+", plain) or ["product"]
        base = slug = quote("-".join(words)).lower()
        number = 1
        while slug in self._slugs:
            number += 1
            slug = f"{base}-{number}"
        self._slugs.add(slug)
        return slug


def _reader(content: bytes | Callable[[], bytes]) -> Callable[[], bytes]:
    return content if callable(content) else lambda: content
