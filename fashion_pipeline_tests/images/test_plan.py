from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from fashion_pipeline.images.plan import Step, conditions, due, images_of, next_step, weekday
from fashion_pipeline.outcomes import Outcome, Reason, Status, rejected
from fashion_pipeline.records import FetchedImage, Image
from fashion_pipeline_tests.builders import fetched, image, local_store, product
from fashion_pipeline_tests.clock import MONDAY

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
URL = "https://shop.test/a.jpg"
SAME = image(URL)


def failing(*, until: datetime) -> Outcome:
    """Return the outcome of an image that waits for its retry."""
    return Outcome(Status.FAILED, (Reason.HTTP_ERROR,), "503", 1, until)


def refused(reason: Reason, *, until: datetime | None = MONDAY + 7 * DAY) -> Outcome:
    """Return the outcome of an image that was refused."""
    return rejected(reason, detail="no", look_again_at=until)


GONE = fetched(outcome=refused(Reason.GONE), sha256=None, last_good_sha256=None)
TOO_LARGE = fetched(outcome=refused(Reason.FILE_TOO_LARGE), sha256=None, last_good_sha256=None, size_bytes=1_500)


@pytest.mark.parametrize(
    ("now_listed", "before", "blob_there", "step"),
    [
        (SAME, None, False, Step.GET),
        (SAME, fetched(), True, Step.KEEP),
        (SAME, fetched(), False, Step.GET),
        (image("https://shop.test/b.jpg"), fetched(), True, Step.GET),
        (image(URL, modified_at=MONDAY + DAY), fetched(), True, Step.GET),
        (image(URL, position=3), fetched(), True, Step.KEEP),
        (SAME, fetched(outcome=failing(until=MONDAY + HOUR)), True, Step.WAIT),
        (SAME, fetched(outcome=failing(until=MONDAY)), True, Step.CONFIRM),
        (SAME, fetched(outcome=failing(until=MONDAY)), False, Step.GET),
        (SAME, fetched(outcome=failing(until=MONDAY), sha256=None), False, Step.GET),
        (image("https://shop.test/b.jpg"), fetched(outcome=failing(until=MONDAY + HOUR)), True, Step.GET),
        (SAME, GONE, False, Step.WAIT),
        (image(URL, modified_at=MONDAY + DAY), GONE, False, Step.GET),
        (SAME, fetched(outcome=refused(Reason.GONE, until=MONDAY), sha256=None), False, Step.GET),
        (SAME, fetched(outcome=refused(Reason.BLOCKED_ADDRESS), sha256=None, checked_at=None), False, Step.GET),
        (SAME, fetched(outcome=refused(Reason.BLOCKED_PORT), sha256=None, checked_at=None), False, Step.GET),
        (SAME, fetched(outcome=refused(Reason.BLOCKED_ADDRESS), sha256=None), False, Step.WAIT),
        (SAME, fetched(outcome=refused(Reason.ENCODED, until=None), sha256=None), False, Step.WAIT),
    ],
)
def test_between_sweeps_only_changes_are_requested(
    now_listed: Image, before: FetchedImage | None, step: Step, *, blob_there: bool
) -> None:
    """Stored images cost nothing, failed ones wait for their retry, and changed ones are fetched."""
    found = next_step(now_listed, before, blob_there=blob_there, sweep=False, max_bytes=1_000, now=MONDAY)
    assert found is step


@pytest.mark.parametrize(("cap", "step"), [(1_000, Step.WAIT), (1_499, Step.WAIT), (1_500, Step.GET)])
def test_a_raised_byte_cap_requests_only_what_it_admits(cap: int, step: Step) -> None:
    """A file that was too large is fetched once the cap reaches its size."""
    assert next_step(SAME, TOO_LARGE, blob_there=False, sweep=False, max_bytes=cap, now=MONDAY) is step


def test_a_sweep_confirms_every_image_within_a_week() -> None:
    """Each image is revalidated on one of seven nights, so a replaced file is found within a week."""
    row = fetched(checked_at=MONDAY)
    nights = [MONDAY + night * DAY for night in range(1, 8)]
    steps = [next_step(SAME, row, blob_there=True, sweep=True, max_bytes=1_000, now=night) for night in nights]
    expected = [Step.CONFIRM if night.weekday() == weekday(URL) else Step.KEEP for night in nights[:6]]
    assert steps == [*expected, Step.CONFIRM]
    assert steps.count(Step.CONFIRM) in {1, 2}


def test_an_image_is_confirmed_once_a_day_at_most() -> None:
    """A second sweep on the same day requests nothing again."""
    own_day = next(MONDAY + day * DAY for day in range(7) if (MONDAY + day * DAY).weekday() == weekday(URL))
    assert due(fetched(checked_at=own_day - DAY), now=own_day)
    assert not due(fetched(checked_at=own_day - HOUR), now=own_day)


def test_a_weekly_sweep_confirms_everything() -> None:
    """A store that is swept once a week confirms all images, not a seventh of them."""
    assert all(
        due(fetched(url=f"https://shop.test/{number}.jpg", checked_at=MONDAY - 7 * DAY), now=MONDAY)
        for number in range(50)
    )


def test_the_nights_share_the_work() -> None:
    """The hash spreads images evenly over the week, and is stable across processes and versions."""
    counts = [0] * 7
    for number in range(7_000):
        counts[weekday(f"https://shop.test/{number}.jpg")] += 1
    assert min(counts) > 850
    assert weekday(URL) == 4


def test_only_publishable_products_have_images() -> None:
    """A publishable product has its first image by position, or all of them; any other product has none."""
    first, second = image("https://shop.test/1.jpg"), image("https://shop.test/2.jpg", image_id="2", position=1)
    coat = product("1", second, first)
    assert images_of(coat, local_store()) == (first,)
    assert images_of(coat, local_store(images="all")) == (first, second)
    assert images_of(product("1", first, outcome=rejected(Reason.NO_PRICE)), local_store()) == ()
    assert images_of(product("1", pictures=0), local_store()) == ()


def test_validators_become_conditions() -> None:
    """Each validator has its header; without validators the request is unconditional."""
    both = fetched(etag='W/"1"', last_modified="Mon, 16 Nov 2026 12:00:00 GMT")
    assert conditions(both) == {"If-None-Match": 'W/"1"', "If-Modified-Since": "Mon, 16 Nov 2026 12:00:00 GMT"}
    assert conditions(fetched(etag=None)) == {}
    assert conditions(fetched(etag='"é"', last_modified="lundi, 16 août")) == {}  # a header could not carry them
    assert conditions(None) == {}
