"""The difference, and the guard over removals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline.sinks.desired import ProductOutcome, product_id
from fashion_pipeline.sinks.plan import (
    AppliedPoint,
    PointId,
    PointPlan,
    Removals,
    await_consent,
    guard_removals,
    plan_points,
    points_for_live_model,
)
from fashion_pipeline.storage.vectors import VectorRef
from fashion_pipeline_tests.builders import FINGERPRINT, Shop, sha, shop


def trashed(external_ids: Iterable[str]) -> list[ProductOutcome]:
    """Return what becomes of products that the shop has moved to the trash."""
    return [
        ProductOutcome(
            store_id="atelier-nord",
            external_id=external_id,
            product_id=product_id("atelier-nord", external_id),
            title="Coat",
            stage="raw_products",
            status=Status.REJECTED,
            reasons=(Reason.TRASHED,),
        )
        for external_id in external_ids
    ]


@pytest.mark.parametrize(
    ("leaving", "live", "recently", "passes"),
    [
        (3, 3, 0, True),
        (4, 10, 0, False),
        (20, 100, 0, True),
        (21, 100, 0, False),
        (10, 90, 10, True),
        (11, 90, 10, False),
    ],
)
def test_removals_beyond_three_and_a_fifth_in_seven_days_wait(
    leaving: int, live: int, recently: int, *, passes: bool
) -> None:
    """Whatever was archived within the week counts as removed, and as a row the store had."""
    names = [str(number) for number in range(leaving)]
    removals = guard_removals(names, trashed(names), live=live, recently_archived=recently, allow=False)
    assert bool(removals.withheld) is not passes
    assert removals.archived | removals.withheld == set(names)


def test_what_nothing_speaks_against_stays() -> None:
    """A failing image and a product that the shop hides for now are kept, even with consent; only rejections count."""
    gone, failing, hidden = trashed(["1", "2", "3"])
    failing = replace(failing, status=Status.FAILED, reasons=(Reason.HTTP_ERROR,))
    outcomes = [gone, failing, replace(hidden, reasons=(Reason.UNREADABLE,))]
    guard = partial(guard_removals, ["1", "2", "3", "no table knows it"], outcomes, live=10)
    refused, unknown, kept = frozenset("1"), frozenset(["no table knows it"]), frozenset("23")
    assert guard(recently_archived=2, allow=False) == Removals(archived=refused, withheld=unknown, kept=kept)
    assert guard(recently_archived=9, allow=False) == Removals(withheld=refused | unknown, kept=kept)
    assert guard(recently_archived=9, allow=True) == Removals(archived=refused | unknown, kept=kept)


@given(st.sets(st.text(max_size=3)), st.integers(0, 50), st.integers(0, 50))
def test_consent_lets_everything_pass(leaving: set[str], live: int, recently: int) -> None:
    """A person's word is stronger than any number."""
    removals = guard_removals(leaving, trashed(leaving), live=live, recently_archived=recently, allow=True)
    assert removals.archived == leaving


def test_a_withheld_product_says_that_it_waits_for_a_person(tmp_path: Path) -> None:
    """The reason comes first, the product's own reasons stay, and a product in no table gets an outcome too."""
    outcomes = shop(tmp_path, 2).desired().outcomes
    first, second, unknown = await_consent(outcomes, ["1", "99"], store_id="atelier-nord")
    assert first == replace(outcomes[0], reasons=(Reason.AWAITING_CONSENT, *outcomes[0].reasons))
    assert second == outcomes[1]
    assert unknown == ProductOutcome(
        store_id="atelier-nord",
        external_id="99",
        product_id=product_id("atelier-nord", "99"),
        title="",
        stage="postgres_products",
        status=Status.REJECTED,
        reasons=(Reason.AWAITING_CONSENT,),
        detail="it is no longer in the shop's table",
    )


def applied(made: Shop) -> dict[PointId, AppliedPoint]:
    """Return the points in Qdrant of a store without drift."""
    return {
        point.point_id: AppliedPoint(point.point_id, str(point.product_id), point.sha256, FINGERPRINT, point.point_hash)
        for point in made.desired().points
    }


def test_nothing_is_to_do_where_both_agree(tmp_path: Path) -> None:
    """Equal hashes plan nothing."""
    made = shop(tmp_path, 3)
    assert plan_points(made.desired().points, applied(made), live=()).empty


def test_only_another_picture_sends_a_vector(tmp_path: Path) -> None:
    """A changed field changes the payload alone; changed bytes, and a missing point, send the whole point."""
    made = shop(tmp_path, 3)
    there = applied(made)
    made.add(replace(made.products["1"], title="Coat"))
    made.bytes_of["2-0"] = "another image"
    del there[made.desired().products[2].id]
    plan = plan_points(made.desired().points, there, live=())
    assert [point.payload["external_id"] for point in plan.payloads] == ["1"]
    assert [point.payload["external_id"] for point in plan.writes] == ["2", "3"]
    assert plan.deletes == ()


def test_a_point_goes_with_its_row_and_not_before(tmp_path: Path) -> None:
    """A point that nobody wants stays while its product's row is live: the removal waits for consent."""
    made = shop(tmp_path, 2)
    there = applied(made)
    gone = made.desired().products[1].id
    del made.products["2"]
    kept = plan_points(made.desired().points, there, live=[gone])
    assert kept == PointPlan()
    deleted = plan_points(made.desired().points, there, live=[])
    assert deleted.deletes == (gone,)


def test_a_strangers_points_go_too(tmp_path: Path) -> None:
    """Whatever else names the store is deleted, a point whose id is a number among them."""
    made = shop(tmp_path, 1)
    there = applied(made)
    gone = made.desired().products[0].id
    plan = plan_points((), there | {7: AppliedPoint(7, None, None, None, None)}, live=())
    assert set(plan.deletes) == {7, gone}


def test_readers_of_another_model_see_what_it_can_show(tmp_path: Path) -> None:
    """Where it has no vector of an image, the point keeps the image it has, marked stale; a new product has no point."""
    _new, strange, stale, embedded = desired = shop(tmp_path, 4).desired().points
    old = "0" * 16
    there: dict[PointId, AppliedPoint] = {
        strange.point_id: AppliedPoint(strange.point_id, None, sha("older"), FINGERPRINT, None),
        stale.point_id: AppliedPoint(stale.point_id, None, sha("older"), old, None),
    }
    place = VectorRef("part", 5)
    points = points_for_live_model(desired, there, fingerprint=old, places={embedded.sha256: place})
    assert [point.point_id for point in points] == [stale.point_id, embedded.point_id]
    assert [point.sha256 for point in points] == [sha("older"), embedded.sha256]
    assert points[1].place == place
    fields = [(point.payload["fingerprint"], point.payload["image_sha256"], point.payload["stale"]) for point in points]
    assert fields == [(old, sha("older"), True), (old, embedded.sha256, False)]
