from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.records import Product
from fashion_pipeline.shop.merge import Merge, Seen
from fashion_pipeline.stores import Store
from fashion_pipeline_tests.shop.conftest import NOW, MakeStore
from fashion_pipeline_tests.shop.recordings import body

DAY = timedelta(days=1)


def merge(store: Store, before: Mapping[str, Product], *, at: datetime = NOW, **fields: Any) -> Merge:
    given: dict[str, Any] = {"known_first_seen": {}, "restarted": {}} | fields
    return Merge(store=store, before=before, now=at, **given)


def kept(merging: Merge, after: Mapping[str, Product], listed: Collection[str]) -> tuple[dict[str, Product], set[str]]:
    """Return the rows as they are kept where products are at risk, and which are."""
    at_risk = merging.at_risk(after, listed)
    return (merging.keep(at_risk, after) if at_risk else dict(after)), at_risk


@pytest.fixture
def before(store: Store) -> dict[str, Product]:
    """The row of one publishable product, seen now for the first time."""
    return merge(store, {}).apply(Seen((body("product_cjk"),)), currency="EUR")


def test_dates_of_a_row(store: Store, before: dict[str, Product]) -> None:
    """A product seen again keeps when it was first seen; one that was not looked at keeps its row."""
    (row,) = merge(store, before, at=NOW + DAY).apply(Seen((body("product_cjk"),)), currency="EUR").values()
    assert (row.first_seen_at, row.last_seen_at) == (NOW, NOW + DAY)
    assert merge(store, before, at=NOW + DAY).apply(Seen(), currency="EUR") == before


def test_first_seen_is_the_earliest_known(store: Store, before: dict[str, Product]) -> None:
    """The earliest of the table's, the sinks' and the present date counts."""
    seen = Seen((body("product_cjk"),))
    for known, expected in ((NOW - DAY, NOW - DAY), (NOW + DAY, NOW)):
        for rows in (before, {}):
            merged = merge(store, rows, known_first_seen={"105": known}).apply(seen, currency="EUR")
            assert merged["105"].first_seen_at == expected


def test_a_reused_id(store: Store, before: dict[str, Product]) -> None:
    """Another creation date means another product: it is new now, whatever the sinks still say, and stays so."""
    another = Seen((body("product_cjk") | {"date_created_gmt": "2026-11-21T00:00:00"},))
    known = {"105": NOW - DAY}
    first = merge(store, before, at=NOW + DAY, known_first_seen=known)
    rows = first.apply(another, currency="EUR")
    assert rows["105"].first_seen_at == NOW + DAY
    second = merge(store, rows, at=NOW + 2 * DAY, known_first_seen=known, restarted=first.restarted)
    assert second.apply(another, currency="EUR")["105"].first_seen_at == NOW + DAY


@pytest.mark.parametrize("status", ["draft", "future", "pending"])
def test_a_date_that_was_not_final(status: str, store: Store) -> None:
    """A draft or scheduled product that gets another date when it is published is the same product."""
    rows = merge(store, {}).apply(Seen((body("product_cjk") | {"status": status},)), currency="EUR")
    published = Seen((body("product_cjk") | {"date_created_gmt": "2026-11-21T00:00:00"},))
    assert merge(store, rows, at=NOW + DAY).apply(published, currency="EUR")["105"].first_seen_at == NOW


def test_gone_and_back(store: Store, before: dict[str, Product]) -> None:
    """A deleted product stays in the table as such; when it comes back it keeps when it was first seen."""
    gone = merge(store, before).apply(Seen(gone=frozenset({"105"})), currency="EUR")
    assert gone["105"].outcome.reasons == (Reason.DELETED,)
    assert merge(store, gone).apply(Seen(), currency="EUR") == gone
    back = merge(store, gone, at=NOW + DAY).apply(Seen((body("product_cjk"),)), currency="EUR")
    assert back["105"].outcome.ok
    assert back["105"].first_seen_at == NOW


def test_unreadable_is_kept(store: Store, before: dict[str, Product]) -> None:
    """What cannot be read keeps its verdict, says why, and is asked for again ever more rarely."""
    rows, waits = before, []
    for _ in range(10):
        rows = merge(store, rows).apply(Seen(unreadable={"105": "403"}), currency="EUR")
        outcome = rows["105"].outcome
        assert (outcome.ok, outcome.reasons, outcome.detail) == (True, (Reason.UNREADABLE,), "403")
        assert outcome.next_retry_at is not None
        waits.append(outcome.next_retry_at - NOW)
    assert waits[0] <= timedelta(minutes=5)
    assert timedelta(hours=12) <= waits[-1] <= timedelta(days=1)
    assert merge(store, rows).apply(Seen(), currency="EUR") == rows
    assert merge(store, rows).apply(Seen((body("product_cjk"),)), currency="EUR") == before


def test_unreadable_and_unknown(store: Store) -> None:
    """A product that could never be read has a row that says so, and cannot be published."""
    rows = merge(store, {}).apply(Seen(unreadable={"7": "500"}), currency="EUR")
    assert rows["7"].outcome.status is Status.REJECTED
    assert rows["7"].outcome.reasons == (Reason.UNREADABLE,)
    assert merge(store, rows).apply(Seen(), currency="EUR") == rows


def test_unreadable_after_deletion(store: Store, before: dict[str, Product]) -> None:
    """What was deleted does not come back by being unreadable."""
    gone = merge(store, before).apply(Seen(gone=frozenset({"105"})), currency="EUR")
    assert merge(store, gone).apply(Seen(unreadable={"105": "500"}), currency="EUR") == gone


def test_changed_rules_judge_again(store: Store, make_store: MakeStore) -> None:
    """``accept_free`` applies to products that were not read again."""
    rows = merge(store, {}).apply(Seen((body("product_zero_price"),)), currency="EUR")
    assert rows["97"].outcome.reasons == (Reason.ZERO_PRICE,)
    assert merge(make_store(accept_free=True), rows).apply(Seen(), currency="EUR")["97"].outcome.ok


def test_what_is_at_risk_is_kept(store: Store, before: dict[str, Product]) -> None:
    """While a publishable product would be removed or replaced, only rows of the same products are taken."""
    payload = body("product_cjk")
    for change in ({"status": "draft"}, {"date_created_gmt": "2026-11-21T00:00:00"}):
        merging = merge(store, before, at=NOW + DAY)
        after = merging.apply(Seen((payload | change,)), currency="EUR")
        assert kept(merging, after, {"105"}) == (before, {"105"})
        assert merging.restarted == {}
    merging = merge(store, before)
    assert kept(merging, merging.apply(Seen(), currency="EUR"), set()) == (before, {"105"})
    renamed = merging.apply(Seen((payload | {"name": "x"},)), currency="EUR")
    assert kept(merging, renamed, {"105"}) == (renamed, set())
    free = {"105": replace(before["105"], price_text="0", price=Decimal(0))}
    merging = merge(store, free)
    assert kept(merging, merging.apply(Seen(), currency="EUR"), set()) == (free, {"105"})
    rejected = {"105": replace(before["105"], outcome=renamed["105"].outcome, price_text="", price=None)}
    merging = merge(store, merge(store, rejected).apply(Seen(), currency="EUR"))
    assert kept(merging, merging.apply(Seen(), currency="EUR"), set())[1] == set()


def test_nothing_is_taken_from_another_shop(store: Store, before: dict[str, Product]) -> None:
    """Neither a new product, nor one in the place of a draft, nor the date at which its id began anew."""
    hidden = body("product_emoji") | {"status": "private"}
    rows = before | merge(store, {}).apply(Seen((hidden,)), currency="EUR")
    merging = merge(store, rows, at=NOW + DAY, restarted={"105": NOW - DAY})
    there = (
        hidden | {"status": "publish", "date_created_gmt": "2020-01-01T00:00:00"},
        body("product_rtl"),
    )
    after = merging.apply(Seen(there), currency="GBP")
    assert (len(after), after[str(hidden["id"])].outcome.ok) == (3, True)
    assert kept(merging, after, after.keys() - rows.keys()) == (rows, {"105"})
    assert merging.restarted == {"105": NOW - DAY}
