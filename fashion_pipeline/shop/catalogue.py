"""The first stage: what the shop says now, laid over what was known of it.

Reading is done by ``read`` and ``sweep``; ``merge`` says what follows from it. A product that is
gone stays in the table, with its outcome.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from fashion_pipeline.errors import ShopError, ShopUnavailable
from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.records import Product, Table, is_redacted, redacted
from fashion_pipeline.shop.merge import Merge, Seen, awaiting_consent, is_gone
from fashion_pipeline.shop.product import product_id
from fashion_pipeline.shop.read import read_changes
from fashion_pipeline.shop.rest import CULPRIT, Pages, Payload, at_once
from fashion_pipeline.shop.sweep import Listing, Progress
from fashion_pipeline.shop.sweep import sweep as read_everything
from fashion_pipeline.shop.variations import VariationPages, read_variations
from fashion_pipeline.stores import Store

_MOST_UNAVAILABLE = 5


class Catalogue(Pages, VariationPages, Protocol):
    """What reading a catalogue needs of a shop; ``rest.Shop`` is one."""

    async def product(self, external_id: str) -> Payload | None:
        """Ask for one product; None where the shop says that it has none of this id."""
        ...

    async def currency(self) -> str:
        """Return the shop's ISO 4217 code."""
        ...


@dataclass(frozen=True, slots=True)
class ReadCounts:
    """What one read did.

    Attributes:
        read: ``sweep`` or ``incremental``.
        listed: products the shop showed.
        new, changed: rows that were not there before, and rows whose content or outcome differs.
        left, came_back: rows that stopped, and that began again, to be publishable.
        trashed, deleted, unreadable: rows now in that state, whenever they got there.
        publishable: rows whose outcome is ok.
        rows: of the table.
        complete: a sweep whose listing could be believed; False for an incremental read.
        held: why removals wait for a person's consent since the last sweep; empty where none do.
        doubt: why the last sweep's listing could not be believed.
    """

    read: str
    listed: int
    new: int
    changed: int
    left: int
    came_back: int
    trashed: int
    deleted: int
    unreadable: int
    publishable: int
    rows: int
    complete: bool
    held: str
    doubt: str


async def read_catalogue(
    *,
    store: Store,
    shop: Catalogue,
    previous: Table[Product] | None,
    clock: Clock,
    sweep: bool,
    allow_removals: bool,
    known_first_seen: Mapping[str, datetime] | None = None,
    known_live: Collection[str] = (),
    purged: Collection[str] = (),
    progress: Progress | None = None,
) -> tuple[Table[Product], ReadCounts]:
    """Bring a store's products up to date.

    Args:
        store: decides about pictures, prices of 0 and the currency.
        shop: the store's API.
        previous: the table of the last read; without one, with another address, currency or choice
            of pictures in ``stores.yaml`` than then, or with removals that wait for consent since,
            this is a sweep.
        clock: dates rows; cursors follow the shop's own.
        sweep: read everything, and conclude from absence.
        allow_removals: a person's consent to what would otherwise be held: removals after an
            empty listing or a changed address.
        known_first_seen: by external id, when the sinks first saw a product.
        known_live: external ids of products that a sink shows. A sweep asks for those that are not
            listed, whether the table knows them or was lost.
        purged: external ids of products that must not come back; rows that are buried are among them.
        progress: told while the pages of a sweep come.

    Returns:
        The table and what was done. The table's metadata: ``read``, ``read_at``, ``swept_at``,
        ``cursor``, ``currency``, ``store_url``, ``images``, ``currency_set``, ``restarted``; and of
        the last sweep ``held`` and ``doubt``.

    Raises:
        ShopError: the shop cannot be read; nothing is concluded.
    """
    metadata = dict(previous.metadata) if previous else {}
    before = {row.external_id: row for row in previous.rows} if previous else {}
    tombstoned = {key for key, row in before.items() if is_redacted(row)}
    merge = Merge(
        store=store,
        before=before,
        now=clock.now(),
        known_first_seen=known_first_seen or {},
        restarted={key: datetime.fromisoformat(at) for key, at in _load(metadata.get("restarted")).items()},
    )
    changes, cursor = None, _cursor(metadata)
    unsettled = bool(metadata.get("held") or _settings_changed(store, metadata))
    if not (sweep or unsettled) and cursor is not None:
        changes = await read_changes(shop, cursor, before, clock=clock)
    if changes is not None:
        variations = await read_variations(shop, changes.payloads)
        seen = Seen(changes.payloads, unreadable=changes.unreadable, variations=variations)
        after = merge.apply(seen, currency=metadata["currency"])
        metadata |= {"read": "incremental", "cursor": changes.cursor.isoformat()}
        listed = changes.listed
    else:
        currency = await shop.currency()
        listing = await read_everything(shop, clock=clock, progress=progress)
        after, concluded = await _conclude(
            shop,
            listing,
            merge,
            metadata=metadata,
            currency=currency,
            known_live=frozenset(known_live),
            allow_removals=allow_removals,
        )
        metadata |= concluded
        if not (metadata["doubt"] or metadata["held"]):
            metadata["swept_at"] = clock.now().isoformat()
        listed = len(listing.ids)
    after = {key: redacted(row) if key in purged or key in tombstoned else row for key, row in after.items()}
    metadata["read_at"] = clock.now().isoformat()
    metadata["restarted"] = json.dumps({key: at.isoformat() for key, at in merge.restarted.items()})
    table = Table(tuple(sorted(after.values(), key=_in_order)), metadata)
    return table, _count(before, after, metadata, listed=listed)


async def _conclude(
    shop: Catalogue,
    listing: Listing,
    merge: Merge,
    *,
    metadata: Mapping[str, str],
    currency: str,
    known_live: frozenset[str],
    allow_removals: bool,
) -> tuple[dict[str, Product], dict[str, str]]:
    """Return what a listing makes of the rows, and what is to be remembered of the sweep."""
    seen = Seen(listing.payloads, unreadable=dict.fromkeys(listing.unreadable, CULPRIT))
    here, there = merge.store.url, metadata.get("store_url", merge.store.url)
    moved = here != there and bool(merge.before)
    remembered = {"read": "sweep", "doubt": listing.doubt, "held": ""}
    met = {product_id(payload, store=merge.store) for payload in listing.payloads}
    vanished = known_live | {key for key, row in merge.before.items() if row.outcome.ok}
    vanished -= frozenset() if moved else met  # what was seen in the trash has left by evidence of its own
    if listing.empty and vanished and not allow_removals:
        remembered["held"] = (
            f"the shop lists no product, {len(vanished)} are known: none of them is removed; if the shop is empty indeed, "
            "run again with --allow-removals"
        )
        after = merge.before if moved else merge.apply(seen, currency=metadata.get("currency", currency))
        return {key: awaiting_consent(row, remembered["held"]) for key, row in after.items()}, remembered
    if listing.complete or moved or not metadata.get("cursor"):
        remembered["cursor"] = listing.cursor.isoformat()
    remembered |= {"currency": currency, **_settings(merge.store)}
    if not moved or allow_removals:
        gone = {key for key, row in merge.before.items() if is_gone(row)}
        absent = sorted(((known_live | merge.before.keys()) - gone | met) - listing.ids)
        if listing.complete and absent:
            seen = await _ask_for(shop, absent, seen)
        seen = replace(seen, variations=await read_variations(shop, seen.payloads))
        return merge.apply(seen, currency=currency), remembered
    seen = replace(seen, variations=await read_variations(shop, seen.payloads))
    after, held = merge.keep_live(merge.apply(seen, currency=currency), listing.ids)
    if not held:
        return after, remembered
    why = (
        f"the store's url changed from {there} to {here} and {len(held)} products would be removed or replaced: they are "
        "kept, and new ones wait; if it is the right shop, run again with --allow-removals"
    )
    # Nothing of what may be another shop counts, its clock and currency neither: whichever it is, it is swept next.
    remembered = {"read": "sweep", "doubt": listing.doubt, "held": why, "cursor": ""}
    return after | {key: awaiting_consent(after[key], why) for key in held}, remembered


async def _ask_for(shop: Catalogue, absent: list[str], seen: Seen) -> Seen:
    """Ask for each absent product by its id, and add what it is found to be."""
    payloads: list[Payload] = []
    gone: set[str] = set()
    unreadable: dict[str, str] = {}
    unavailable = 0

    async def ask(external_id: str) -> None:
        nonlocal unavailable
        if unavailable >= _MOST_UNAVAILABLE:
            unreadable[external_id] = "absent from the listing; the shop became unavailable before it was asked for"
            return
        try:
            payload = await shop.product(external_id)
        except ShopError as error:
            unavailable = unavailable + 1 if isinstance(error, ShopUnavailable) else 0
            unreadable[external_id] = f"absent from the listing, and cannot be read by its id: {error}"
            return
        unavailable = 0
        # WordPress counts products and variations with one counter: an id may come to name a variation.
        if payload is None or payload.get("type") == "variation":
            gone.add(external_id)
        else:
            payloads.append(payload)

    await at_once([partial(ask, external_id) for external_id in absent])
    return Seen((*seen.payloads, *payloads), frozenset(gone), {**seen.unreadable, **unreadable})


def _cursor(metadata: Mapping[str, str]) -> datetime | None:
    return datetime.fromisoformat(metadata["cursor"]) if metadata.get("cursor") else None


def _settings(store: Store) -> dict[str, str]:
    """Return the settings that an incremental read cannot apply to the products it does not see."""
    return {"store_url": store.url, "images": store.images, "currency_set": store.currency or ""}


def _settings_changed(store: Store, metadata: Mapping[str, str]) -> bool:
    return any(metadata.get(name, "") != value for name, value in _settings(store).items())


def _load(text: str | None) -> dict[str, str]:
    return dict(json.loads(text)) if text else {}


def _in_order(row: Product) -> tuple[int, str]:
    return len(row.external_id), row.external_id


def _count(
    before: Mapping[str, Product], after: Mapping[str, Product], metadata: Mapping[str, str], *, listed: int
) -> ReadCounts:
    both = [(before[key], row) for key, row in after.items() if key in before]

    def now(reason: Reason) -> int:
        return sum(reason in row.outcome.reasons for row in after.values())

    return ReadCounts(
        read=metadata["read"],
        listed=listed,
        new=len(after) - len(both),
        changed=sum(
            (old.content_hash, old.outcome.status, old.outcome.reasons)
            != (row.content_hash, row.outcome.status, row.outcome.reasons)
            for old, row in both
        ),
        left=sum(old.outcome.ok and not row.outcome.ok for old, row in both),
        came_back=sum(row.outcome.ok and not old.outcome.ok for old, row in both),
        trashed=now(Reason.TRASHED),
        deleted=now(Reason.DELETED),
        unreadable=now(Reason.UNREADABLE),
        publishable=sum(row.outcome.ok for row in after.values()),
        rows=len(after),
        complete=metadata["read"] == "sweep" and not metadata["doubt"],
        held=metadata["held"],
        doubt=metadata["doubt"],
    )
