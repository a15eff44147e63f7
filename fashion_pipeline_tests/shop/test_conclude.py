from __future__ import annotations

from dataclasses import replace

import pytest

from fashion_pipeline.read_state import SWEEP, ReadState
from fashion_pipeline.shop.conclude import Case, Sweep
from fashion_pipeline.shop.merge import Merge, Seen
from fashion_pipeline.shop.sweep import Listing
from fashion_pipeline.stores import Store
from fashion_pipeline_tests.shop.conftest import NOW
from fashion_pipeline_tests.shop.recordings import body

FULL = Listing(
    (body("product_cjk"),), frozenset({"105"}), complete=True, doubt="", cursor=NOW, unreadable=frozenset(), empty=False
)
EMPTY = replace(FULL, payloads=(), ids=frozenset(), empty=True)
TRASHED = replace(EMPTY, payloads=(body("product_cjk") | {"status": "trash"},), ids=frozenset({"105"}))


@pytest.fixture
def sweep(store: Store) -> Sweep:
    """A sweep of a shop whose one product is known and listed."""
    first = Merge(store=store, before={}, now=NOW, known_first_seen={}, restarted={})
    before = first.apply(Seen(FULL.payloads), currency="EUR")
    state = ReadState(kind=SWEEP, cursor=NOW, currency="EUR").with_settings(store)
    return Sweep(FULL, replace(first, before=before), state, "EUR", frozenset(), allow_removals=False)


@pytest.mark.parametrize(
    ("listing", "store_url", "case"),
    [
        (FULL, None, Case.TRUSTED),
        (FULL, "", Case.TRUSTED),
        (FULL, "https://elsewhere.example", Case.MOVED),
        (EMPTY, None, Case.EMPTY),
        (EMPTY, "https://elsewhere.example", Case.EMPTY),
        (TRASHED, None, Case.TRUSTED),
        (TRASHED, "https://elsewhere.example", Case.EMPTY),
    ],
)
def test_how_far_a_listing_is_trusted(listing: Listing, store_url: str | None, case: Case, sweep: Sweep) -> None:
    """An empty listing and another address are not; what was seen in the trash of the same shop has been trashed."""
    state = sweep.state if store_url is None else replace(sweep.state, store_url=store_url)
    sweep = replace(sweep, listing=listing, state=state)
    assert sweep.case is case
    assert replace(sweep, allow_removals=True).case is Case.TRUSTED


def test_nothing_known_can_be_lost(sweep: Sweep) -> None:
    """Without known products an empty listing and another address are what they seem; one that a sink shows is known."""
    merge = replace(sweep.merge, before={})
    sweep = replace(
        sweep, listing=EMPTY, merge=merge, state=replace(sweep.state, store_url="https://elsewhere.example")
    )
    assert sweep.case is Case.TRUSTED
    assert replace(sweep, known_live=frozenset({"7"})).case is Case.EMPTY


def test_who_is_asked_for(sweep: Sweep) -> None:
    """Known products, those a sink shows and those an earlier pass met are asked for if they are not listed."""
    listing = replace(FULL, ids=frozenset({"8"}))
    assert replace(sweep, listing=listing, known_live=frozenset({"7", "8"})).absent == ["105", "7"]
    deleted = sweep.merge.apply(Seen(gone=frozenset({"105"})), currency="EUR")
    assert replace(sweep, listing=EMPTY, merge=replace(sweep.merge, before=deleted)).absent == []
