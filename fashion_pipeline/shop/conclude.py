"""What a sweep concludes from the listing of a whole shop.

A product that is absent from a complete listing is asked for by its id before it counts as deleted.
Two findings look like removals and may be a mistake: an empty listing, and another address in
``stores.yaml``. There, removals are held until a person consents (``--allow-removals``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from typing import Protocol

from fashion_pipeline.errors import ShopError, ShopUnavailable
from fashion_pipeline.read_state import SWEEP, ReadState
from fashion_pipeline.records import Product
from fashion_pipeline.shop.confirm import confirm
from fashion_pipeline.shop.merge import Merge, Seen, awaiting_consent, is_gone
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.rest import CULPRIT, Pages, Payload, gather_limited
from fashion_pipeline.shop.sweep import Listing
from fashion_pipeline.shop.variations import VariationPages, read_variations

_MAX_UNAVAILABLE = 5


class Products(Pages, VariationPages, Protocol):
    """What a sweep needs of a shop beyond its listing; ``rest.Shop`` is one."""

    async def product(self, external_id: str) -> Payload | None:
        """Fetch one product; None where the shop says that it does not exist."""
        ...


class Case(Enum):
    """How far a listing is trusted."""

    EMPTY = auto()
    """No product is listed although some are known: nothing is removed."""
    MOVED = auto()
    """The store's address changed: what would be removed or replaced is kept."""
    TRUSTED = auto()


@dataclass(frozen=True, slots=True)
class Sweep:
    """A listing, and what it is compared with.

    Attributes:
        listing: of the whole shop.
        merge: holds the rows of the last read.
        state: of the last read.
        currency: the shop's.
        known_live: external ids of products that a sink shows.
        allow_removals: a person consents to removals.
    """

    listing: Listing
    merge: Merge
    state: ReadState
    currency: str
    known_live: frozenset[str]
    allow_removals: bool

    @property
    def case(self) -> Case:
        """Decide how far the listing is trusted."""
        if self.allow_removals:
            return Case.TRUSTED
        if self.listing.empty and self.missing:
            return Case.EMPTY
        return Case.MOVED if self.has_moved else Case.TRUSTED

    @property
    def has_moved(self) -> bool:
        """Whether the known products were read from another address."""
        return bool(self.merge.before) and self.state.store_url not in {"", self.merge.store.url}

    @property
    def met(self) -> frozenset[str]:
        """Ids of all products that were seen, trashed ones included."""
        return frozenset(product_id(payload, store=self.merge.store) for payload in self.listing.payloads)

    @property
    def missing(self) -> frozenset[str]:
        """Ids of products that are shown or publishable and were not seen. What was seen in the trash was trashed."""
        shown = self.known_live | {key for key, row in self.merge.before.items() if row.outcome.ok}
        return shown if self.has_moved else shown - self.met

    @property
    def absent(self) -> list[str]:
        """Ids to ask for: known and not deleted, or met in an earlier pass, but not in the listing."""
        deleted = {key for key, row in self.merge.before.items() if is_gone(row)}
        known = (self.known_live | self.merge.before.keys()) - deleted
        return sorted((known | self.met) - self.listing.ids)

    @property
    def seen(self) -> Seen:
        """What the listing alone shows."""
        return Seen(self.listing.payloads, unreadable=dict.fromkeys(self.listing.unreadable, CULPRIT))


async def conclude(shop: Products, sweep: Sweep) -> tuple[dict[str, Product], ReadState]:
    """Return the rows after a sweep, by id, and the state for the next read.

    Raises:
        ShopError: the shop cannot be read; nothing is concluded.
    """
    state = replace(sweep.state, kind=SWEEP, doubt=sweep.listing.doubt, held="")
    case = sweep.case
    if case is Case.EMPTY:
        return _hold_all(sweep, state)
    seen = sweep.seen
    if case is Case.TRUSTED and sweep.listing.complete:
        seen = await _ask_for(shop, sweep.absent, seen)
    seen = replace(seen, variations=await read_variations(shop, seen.payloads))
    if case is Case.TRUSTED and not sweep.has_moved:
        seen = await confirm(shop, sweep.merge, seen, currency=sweep.currency)
    after = sweep.merge.apply(seen, currency=sweep.currency)
    if case is Case.MOVED and (at_risk := sweep.merge.at_risk(after, sweep.listing.ids)):
        return _hold(sweep, state, after, at_risk)
    if sweep.listing.complete or sweep.has_moved or state.cursor is None:
        state = replace(state, cursor=sweep.listing.cursor)
    return after, replace(state, currency=sweep.currency).with_settings(sweep.merge.store)


def _hold_all(sweep: Sweep, state: ReadState) -> tuple[dict[str, Product], ReadState]:
    """Keep every product of a shop that lists none."""
    held = (
        f"the shop lists no product, but {len(sweep.missing)} are known: none of them is removed; if the shop is really "
        "empty, run again with --allow-removals"
    )
    merge = sweep.merge
    after = merge.before if sweep.has_moved else merge.apply(sweep.seen, currency=state.currency or sweep.currency)
    return {key: awaiting_consent(row, held) for key, row in after.items()}, replace(state, held=held)


def _hold(
    sweep: Sweep, state: ReadState, after: dict[str, Product], at_risk: set[str]
) -> tuple[dict[str, Product], ReadState]:
    """Keep the products that a listing of another address would remove or replace.

    Nothing of what may be another shop is recorded, neither its clock nor its currency: whichever
    shop it is, the next read is a sweep.
    """
    held = (
        f"the store's url changed from {state.store_url} to {sweep.merge.store.url}, and {len(at_risk)} products would be "
        "removed or replaced: they are kept, and new ones wait; if it is the right shop, run again with --allow-removals"
    )
    rows = sweep.merge.keep(at_risk, after)
    rows |= {key: awaiting_consent(rows[key], held) for key in at_risk}
    return rows, replace(state, held=held, cursor=None)


async def _ask_for(shop: Products, absent: Iterable[str], seen: Seen) -> Seen:
    """Ask for each absent product by its id, and add what was found."""
    payloads: list[Payload] = []
    gone: set[str] = set()
    unreadable: dict[str, str] = {}
    unavailable = 0

    async def ask(external_id: str) -> None:
        nonlocal unavailable
        if unavailable >= _MAX_UNAVAILABLE:
            unreadable[external_id] = (
                "absent from the listing; not asked for by its id, because the shop became unavailable"
            )
            return
        try:
            payload = await shop.product(external_id)
        except ShopError as error:
            unavailable = unavailable + 1 if isinstance(error, ShopUnavailable) else 0
            unreadable[external_id] = f"absent from the listing, and cannot be read by its id: {error}"
            return
        unavailable = 0
        # WordPress numbers products and variations with one counter: an id may come to name a variation.
        if payload is None or payload.get("type") == "variation":
            gone.add(external_id)
        else:
            payloads.append(payload)

    await gather_limited([partial(ask, external_id) for external_id in absent])
    return Seen((*seen.payloads, *payloads), frozenset(gone), {**seen.unreadable, **unreadable})
