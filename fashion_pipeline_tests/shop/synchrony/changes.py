"""What shopkeepers, plugins, imports and WordPress's cron do to a shop while it is being read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from fashion_pipeline.model_shop.shop import ModelProduct, ModelShop

Choice = TypeVar("Choice")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
PAUSES_S = (1, 1, 1, 2, 59, 61, 600, 899, 901, 3000, 90_000)
AHEAD_S = (1, 30, 300, 1000, 4000, 100_000_000)


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        kind: a name of ``KINDS``.
        place: which product: its place when they are sorted by date of modification, modulo their number.
        value: which variety of the change, modulo their number.
    """

    kind: str
    place: int = 0
    value: int = 0


@dataclass(slots=True)
class Floor:
    """A model shop, and what is to be remembered of its changes.

    Attributes:
        bulk: how many products a bulk edit touches.
        may_hide: whether products may be hidden; without totals a page of hidden ones looks like the end.
        hidden: ids that the key may not see: left out of pages and counted there, refused by id.
        undated: ids whose last change moved no date forward, so that only a sweep can find it.
        latest: the latest that the shop's clock has shown since a sweep.
        peak: the latest it has shown since the present read began.
        watch: told the ids that a change touched.
    """

    shop: ModelShop
    bulk: int
    may_hide: bool = True
    hidden: set[int] = field(default_factory=set)
    undated: set[int] = field(default_factory=set)
    deleted: list[int] = field(default_factory=list)
    latest: datetime = BEGINNING
    peak: datetime = BEGINNING
    serial: int = 0
    watch: Callable[[Iterable[int]], None] = lambda _: None

    def fill(self, count: int, *, spread_s: int) -> None:
        """Put in the products that the shop begins with, modified so many seconds apart until yesterday."""
        last = self.shop.clock.now() - timedelta(days=1)
        for number in range(count):
            self.shop.add(**self._fields(), created=BEGINNING, modified=last - timedelta(seconds=number * spread_s))
        self.latest = self.shop.clock.now()

    def make(self, change: Change) -> None:
        """Carry out a change, and note whether a date tells of it."""
        touched, dated = KINDS[change.kind](self, change)
        now = self.shop.clock.now()
        self.latest, self.peak = max(self.latest, now), max(self.peak, now)
        for product_id in touched:
            if not dated or now < self.latest or product_id in self.hidden:
                self.undated.add(product_id)
            else:
                self.undated.discard(product_id)
        self.watch(touched)

    def picked(self, change: Change) -> ModelProduct | None:
        """Return the product that a change names."""
        ordered = self.ordered()
        return ordered[change.place % len(ordered)] if ordered else None

    def ordered(self) -> list[ModelProduct]:
        """Return the products as a listing by date of modification would."""
        return sorted(self.shop.products.values(), key=lambda product: (product.modified or BEGINNING, product.id))

    def _fields(self, **fields: Any) -> dict[str, Any]:
        self.serial += 1
        picture = f"{self.shop.url}/{self.serial}.jpg"
        return {"name": f"Coat {self.serial}", "price": f"{self.serial}.5", "images": [picture], **fields}

    def insert(self, change: Change) -> Touched:
        """Create a product that is published, or a draft without any date."""
        if change.value % 4 == 3:
            return {self.shop.add(**self._fields(status="draft"), undated=True)}, True
        return {self.shop.add(**self._fields())}, True

    def insert_dated(self, change: Change) -> Touched:
        """Import a product with the date of another, as exports of other shops bring it."""
        like = self.picked(change)
        at = (like.modified if like else None) or BEGINNING
        return {self.shop.add(**self._fields(), created=at, modified=at)}, False

    def insert_ahead(self, change: Change) -> Touched:
        """Import a published product with a date in the future."""
        at = self.shop.clock.now() + timedelta(seconds=_of(AHEAD_S, change.value))
        return {self.shop.add(**self._fields(), created=BEGINNING, modified=at)}, True

    def schedule(self, change: Change) -> Touched:
        """Schedule a new product, or an old one."""
        at = self.shop.clock.now() + timedelta(seconds=_of(AHEAD_S[:-1], change.value))
        product = self.picked(change)
        if product is None or change.place % 2:
            return {self.shop.add(**self._fields(status="future"), created=at)}, True
        self.shop.edit(product.id, status="future")
        product.created = at
        return {product.id}, True

    def cron(self, _: Change) -> Touched:
        """Publish what is due; no date moves. A reader that knows of the schedule must notice all the same."""
        published = set(self.shop.run_cron())
        told = published - self.undated
        self.watch(published - told)
        return told, True

    def edit(self, change: Change) -> Touched:
        """Save a product, with a new name and something else; a trashed one is taken out of the trash first."""
        product = self.picked(change)
        if product is None:
            return set(), True
        if product.status == "trash":
            self.shop.untrash(product.id)
        self._edit(product, change, self.shop.edit)
        return {product.id}, True

    def edit_silently(self, change: Change) -> Touched:
        """Write a product's meta: no date moves."""
        product = self.picked(change)
        if product is None or product.status == "trash":
            return set(), True
        self._edit(product, Change("", value=change.value % 5), self.shop.edit_silently)
        return {product.id}, False

    def _edit(self, product: ModelProduct, change: Change, save: Callable[..., None]) -> None:
        fields = self._fields()
        fields |= _of(
            (
                {"stock_status": "outofstock"},
                {"price": ""},
                {"post_password": "secret", "stock_status": "instock"},
                {"images": []},
                {"price": "0"},
                {"status": "draft"},
                {"status": "private"},
                {"status": "publish", "post_password": ""},
                {"status": "publish", "post_password": ""},
                {"status": "publish", "post_password": ""},
            ),
            change.value,
        )
        save(product.id, **fields)
        if product.status == "publish" and product.created is None:
            product.created = self.shop.clock.now()

    def bulk_edit(self, change: Change) -> Touched:
        """Save many products in one second."""
        ordered = self.ordered()
        first = change.place % max(1, len(ordered))
        chosen = [product for product in ordered[first:] if product.status != "trash"][: self.bulk + change.value]
        for product in chosen:
            self.serial += 1
            self.shop.edit(product.id, price=f"{self.serial}", name=f"Coat {self.serial}")
        return {product.id for product in chosen}, True

    def trash(self, change: Change) -> Touched:
        """Move a product to the trash, or take it out."""
        product = self.picked(change)
        if product is None:
            return set(), True
        if product.status == "trash":
            self.shop.untrash(product.id)
        else:
            self.shop.trash(product.id)
        return {product.id}, True

    def swap(self, change: Change) -> Touched:
        """Trash a product and take another out of the trash in one second."""
        out = next((product for product in self.ordered()[::-1] if product.status == "trash"), None)
        touched, dated = self.trash(change)
        if out is not None and out.id not in touched:
            self.shop.untrash(out.id)
            touched = {*touched, out.id}
        return touched, dated

    def delete(self, change: Change) -> Touched:
        """Delete a product for ever; nothing tells of it."""
        product = self.picked(change)
        if product is None:
            return set(), False
        self.shop.force_delete(product.id)
        self.hidden.discard(product.id)
        self.deleted.append(product.id)
        return {product.id}, False

    def reuse(self, change: Change) -> Touched:
        """Create a product under the id of a deleted one, as happens after a database was restored."""
        if not self.deleted:
            return set(), True
        product_id = self.deleted.pop(change.place % len(self.deleted))
        product = self.shop.products.pop(self.shop.add(**self._fields()))
        product.id = product_id
        self.shop.products[product_id] = product
        return {product_id}, True

    def hide(self, change: Change) -> Touched:
        """Hide a product from the key, or show a hidden one again."""
        if self.hidden and change.value % 2:
            shown = sorted(self.hidden)[change.place % len(self.hidden)]
            self.hidden.discard(shown)
            return {shown}, False
        product = self.picked(change)
        if product is None or not self.may_hide:
            return set(), False
        self.hidden.add(product.id)
        return {product.id}, False

    def change_currency(self, change: Change) -> Touched:
        """Sell in another currency; a reader asks for it when it sweeps."""
        self.shop.currency = _of(("EUR", "GBP", "SEK"), change.value)
        return set(), False

    def wait(self, change: Change) -> Touched:
        """Let time pass."""
        self.shop.clock.advance(_of(PAUSES_S, change.value))
        return set(), True

    def set_clock_back(self, change: Change) -> Touched:
        """Set the shop's clock back."""
        self.shop.clock.advance(-_of(PAUSES_S, change.value))
        return set(), True


Touched = tuple[set[int], bool]
"""The ids that a change touched, and whether it moved their date to now or ahead."""

KINDS: Mapping[str, Callable[[Floor, Change], Touched]] = {
    "insert": Floor.insert,
    "insert dated": Floor.insert_dated,
    "insert ahead": Floor.insert_ahead,
    "schedule": Floor.schedule,
    "cron": Floor.cron,
    "edit": Floor.edit,
    "edit silently": Floor.edit_silently,
    "bulk edit": Floor.bulk_edit,
    "trash": Floor.trash,
    "swap": Floor.swap,
    "delete": Floor.delete,
    "reuse": Floor.reuse,
    "hide": Floor.hide,
    "currency": Floor.change_currency,
    "wait": Floor.wait,
    "clock back": Floor.set_clock_back,
}


def _of(choices: Sequence[Choice], value: int) -> Choice:
    return choices[value % len(choices)]
