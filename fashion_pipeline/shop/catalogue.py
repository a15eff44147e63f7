"""The first stage: reads a store's shop, and merges what it saw into the rows of the last read.

A product that is gone stays in the table, with its outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from fashion_pipeline.outcomes import Clock, Reason
from fashion_pipeline.read_state import INCREMENTAL, SWEEP, ReadState
from fashion_pipeline.records import Product, Table, is_redacted, redacted
from fashion_pipeline.shop.conclude import Products, Sweep, conclude
from fashion_pipeline.shop.merge import Merge, Seen
from fashion_pipeline.shop.read import Changes, read_changes
from fashion_pipeline.shop.sweep import Progress
from fashion_pipeline.shop.sweep import sweep as read_everything
from fashion_pipeline.shop.variations import read_variations
from fashion_pipeline.stores import Store


class Catalogue(Products, Protocol):
    """What reading a catalogue needs of a shop; ``rest.Shop`` is one."""

    async def currency(self) -> str:
        """Return the shop's ISO 4217 code."""
        ...


@dataclass(frozen=True, slots=True)
class ReadCounts:
    """What one read did.

    Attributes:
        read: ``sweep`` or ``incremental``.
        listed: products in the listing.
        new, changed: rows that did not exist before, and rows whose content or outcome differs.
        left, came_back: rows that were publishable and no longer are, and the reverse.
        trashed, deleted, unreadable: rows in that state now, whenever they got there.
        publishable: rows whose outcome is ok.
        rows: of the table.
        complete: a sweep with a complete listing; False for an incremental read.
        held: why removals wait for consent since the last sweep; empty where none do.
        doubt: why the last sweep's listing was not complete; empty where it was.
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

    The read is a sweep if ``sweep`` says so, and whenever an incremental one cannot do: without a
    previous table, after a change of url, currency or images in ``stores.yaml``, while removals wait
    for consent, or when the shop's clock was set back.

    Args:
        store: decides about images, prices of 0 and the currency.
        shop: the store's API.
        previous: the table of the last read.
        clock: dates rows. Cursors follow the shop's own clock.
        sweep: read everything, and conclude from absence.
        allow_removals: a person consents to what would otherwise be held: removals after an empty
            listing or a change of url.
        known_first_seen: by external id, when the sinks first saw a product.
        known_live: external ids of products that a sink shows. A sweep asks for those that are not
            listed, even where the previous table was lost.
        purged: external ids of products that must not return; redacted rows are added to them.
        progress: called while the pages of a sweep arrive.

    Returns:
        The table, with a ``ReadState`` as its metadata, and the counts.

    Raises:
        ShopError: the shop cannot be read; nothing is concluded.
    """
    state = ReadState.from_metadata(previous.metadata if previous else {})
    before = {row.external_id: row for row in previous.rows} if previous else {}
    merge = Merge(
        store=store,
        before=before,
        now=clock.now(),
        known_first_seen=known_first_seen or {},
        restarted=dict(state.restarted),
    )
    after, state, listed = await _read(
        shop,
        merge,
        state,
        clock=clock,
        sweep=sweep,
        allow_removals=allow_removals,
        known_live=known_live,
        progress=progress,
    )
    tombstoned = {key for key, row in before.items() if is_redacted(row)}
    after = {key: redacted(row) if key in purged or key in tombstoned else row for key, row in after.items()}
    state = replace(state, read_at=clock.now(), restarted=merge.restarted)
    table = Table(tuple(sorted(after.values(), key=_in_order)), state.to_metadata())
    return table, _count(before, after, state, listed=listed)


async def _read(
    shop: Catalogue,
    merge: Merge,
    state: ReadState,
    *,
    clock: Clock,
    sweep: bool,
    allow_removals: bool,
    known_live: Collection[str],
    progress: Progress | None,
) -> tuple[dict[str, Product], ReadState, int]:
    """Return the rows after a read, by id, the state for the next read, and how many products were listed."""
    if not (sweep or state.held or state.settings_changed(merge.store)) and state.cursor is not None:
        changes = await read_changes(shop, state.cursor, merge.before, clock=clock)
        if changes is not None:
            after, state = await _apply_changes(shop, changes, merge, state)
            return after, state, changes.listed
    currency = await shop.currency()
    listing = await read_everything(shop, clock=clock, progress=progress)
    after, state = await conclude(
        shop, Sweep(listing, merge, state, currency, frozenset(known_live), allow_removals=allow_removals)
    )
    if not (state.doubt or state.held):
        state = replace(state, swept_at=clock.now())
    return after, state, len(listing.ids)


async def _apply_changes(
    shop: Catalogue, changes: Changes, merge: Merge, state: ReadState
) -> tuple[dict[str, Product], ReadState]:
    """Return the rows after an incremental read, by id, and the state for the next read."""
    variations = await read_variations(shop, changes.payloads)
    seen = Seen(changes.payloads, unreadable=changes.unreadable, variations=variations)
    after = merge.apply(seen, currency=state.currency)
    return after, replace(state, kind=INCREMENTAL, cursor=changes.cursor)


def _in_order(row: Product) -> tuple[int, str]:
    return len(row.external_id), row.external_id


def _count(before: Mapping[str, Product], after: Mapping[str, Product], state: ReadState, *, listed: int) -> ReadCounts:
    both = [(before[key], row) for key, row in after.items() if key in before]

    def now(reason: Reason) -> int:
        return sum(reason in row.outcome.reasons for row in after.values())

    return ReadCounts(
        read=state.kind,
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
        complete=state.kind == SWEEP and not state.doubt,
        held=state.held,
        doubt=state.doubt,
    )
