"""What the sinks should hold."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid5

from fashion_pipeline.outcomes import Outcome, Reason, Status, rejected
from fashion_pipeline.records import Table
from fashion_pipeline.sinks.desired import desired_state, hash_of, product_id
from fashion_pipeline.storage.stage_tables import StageTables
from fashion_pipeline_tests.builders import NOW, product, sha, shop, store


def test_a_product_that_came_all_the_way_has_a_row_and_a_point_of_one_id(tmp_path: Path) -> None:
    """The row and the primary point share the id made from store and external id."""
    desired = shop(tmp_path, 1).desired()
    row, point = desired.products[0], desired.points[0]
    assert row.id == point.point_id == product_id("atelier-nord", "1")
    assert point.payload["point_hash"] == point.point_hash == hash_of(point.payload)
    assert point.payload["price"] == 19.9
    assert point.payload["created_at"] == NOW.isoformat()
    assert point.payload["is_primary"] is True
    assert desired.outcomes[0].stage == "postgres_products"
    assert desired.outcomes[0].status is Status.OK


def test_every_product_has_exactly_one_outcome_that_names_where_it_stopped(tmp_path: Path) -> None:
    """Each stage that can stop a product is the stage of its outcome."""
    made = shop(tmp_path, 4).add(product("5", outcome=rejected(Reason.NO_PRICE)))
    made.fetched["2-0"] = rejected(Reason.GONE, look_again_at=NOW + timedelta(days=7))
    made.judged[sha("3-0")] = rejected(Reason.TOO_BLURRY, Reason.TOO_SMALL, detail="sharpness 3")
    desired = made.desired()
    told = {outcome.external_id: outcome for outcome in desired.outcomes}
    assert len(desired.outcomes) == 5
    assert {row.external_id for row in desired.products} == {"1", "4"}
    assert (told["2"].stage, told["2"].reasons) == ("fetched_images", (Reason.GONE,))
    assert told["2"].next_retry_at == NOW + timedelta(days=7)
    assert (told["3"].stage, told["3"].reasons) == ("quality_passed", (Reason.TOO_BLURRY, Reason.TOO_SMALL))
    assert (told["5"].stage, told["5"].reasons) == ("raw_products", (Reason.NO_PRICE,))


def test_a_stage_that_has_not_seen_a_product_yet_is_where_it_stands(tmp_path: Path) -> None:
    """A picture without a row, a verdict or a vector keeps its product out, and the outcome says which."""
    made = shop(tmp_path, 1)
    products = Table(tuple(made.products.values()))
    none = desired_state(store=made.store, tables=StageTables(products))
    assert none.products == ()
    assert (none.outcomes[0].stage, none.outcomes[0].status) == ("fetched_images", Status.FAILED)
    made.fingerprint = "another"
    other = made.desired()
    assert [row.external_id for row in other.products] == ["1"]


def test_vectors_of_another_model_do_not_count(tmp_path: Path) -> None:
    """A vector with another fingerprint is as good as none."""
    made = shop(tmp_path, 1)
    tables = StageTables.of(made.tables())
    assert len(desired_state(store=made.store, tables=tables).products) == 1
    other = replace(tables, embedded=Table(tables.embedded.rows, {"fingerprint": "new"}))
    assert desired_state(store=made.store, tables=other).products == ()


def test_a_picture_that_only_fails_is_shown_by_its_last_good_bytes(tmp_path: Path) -> None:
    """The product stays, is marked stale in both sinks, and its outcome says when the picture is tried again."""
    made = shop(tmp_path, 1)
    later = NOW + timedelta(hours=3)
    made.fetched["1-0"] = Outcome(Status.FAILED, (Reason.HTTP_ERROR,), "503", 4, later)
    desired = made.desired()
    assert desired.products[0].stale is True
    assert desired.points[0].payload["stale"] is True
    told = desired.outcomes[0]
    assert (told.status, told.reasons, told.next_retry_at) == (Status.OK, (Reason.HTTP_ERROR,), later)


def test_refused_bytes_do_not_stand_in(tmp_path: Path) -> None:
    """Where the last good bytes are refused, what keeps the product out is the picture that fails, which is tried again."""
    made = shop(tmp_path, 1)
    made.fetched["1-0"] = Outcome(Status.FAILED, (Reason.HTTP_ERROR,), "503", 1, NOW)
    made.judged[sha("1-0")] = rejected(Reason.TOO_BLURRY)
    (told,) = made.desired().outcomes
    assert (told.stage, told.status, told.reasons) == ("fetched_images", Status.FAILED, (Reason.HTTP_ERROR,))


UNDECIDED = Outcome(Status.FAILED, (Reason.DECODER_TIMEOUT,), "30 s", 2, NOW + timedelta(hours=1))


def test_a_picture_whose_decoder_fails_is_shown_by_the_bytes_before(tmp_path: Path) -> None:
    """New bytes that cannot be judged for the moment leave the old vector in both sinks, marked stale, and say why."""
    made = shop(tmp_path, 1)
    made.bytes_of["1-0"], made.older["1-0"] = "new", ("also new", "old", "oldest")
    made.judged.update({sha("new"): UNDECIDED, sha("also new"): UNDECIDED})
    desired = made.desired()
    assert (desired.products[0].image_sha256, desired.products[0].stale) == (sha("old"), True)
    assert (desired.points[0].sha256, desired.points[0].payload["stale"]) == (sha("old"), True)
    (told,) = desired.outcomes
    assert (told.status, told.reasons, told.attempts) == (Status.OK, (Reason.DECODER_TIMEOUT,), 2)
    assert told.next_retry_at == UNDECIDED.next_retry_at
    made.judged.clear()
    (row,) = made.desired().products
    assert (row.image_sha256, row.stale) == (sha("new"), False)


def test_bytes_shown_before_those_that_were_refused_do_not_come_back(tmp_path: Path) -> None:
    """The newest bytes with a verdict decide; and new bytes that are refused leave search, whatever came before."""
    made = shop(tmp_path, 2)
    made.older.update({"1-0": ("refused", "old"), "2-0": ("old",)})
    made.judged.update({sha("1-0"): UNDECIDED, sha("refused"): rejected(Reason.TOO_BLURRY)})
    made.judged[sha("2-0")] = rejected(Reason.TOO_SMALL)
    desired = made.desired()
    assert desired.products == ()
    assert [told.reasons for told in desired.outcomes] == [(Reason.DECODER_TIMEOUT,), (Reason.TOO_SMALL,)]
    assert [told.status for told in desired.outcomes] == [Status.FAILED, Status.REJECTED]


def test_a_lost_blob_brings_no_older_picture_back(tmp_path: Path) -> None:
    """Bytes that are fetched again are not bytes of which nothing is known: the row is left as it is."""
    made = shop(tmp_path, 1)
    made.older["1-0"] = ("old",)
    made.judged[sha("1-0")] = Outcome(Status.FAILED, (Reason.BLOB_MISSING,))
    assert made.desired().products == ()


def test_further_pictures_have_points_of_their_own_only_when_the_store_wants_all(tmp_path: Path) -> None:
    """Their ids are made from the product's and the picture's, and one that fails takes nobody with it."""
    made = shop(tmp_path).add(product("1", pictures=3))
    made.judged[sha("1-1")] = rejected(Reason.TOO_SMALL)
    assert len(made.desired().points) == 1
    made.store = store(images="all")
    points = made.desired().points
    identity = product_id("atelier-nord", "1")
    assert [point.point_id for point in points] == [identity, uuid5(identity, "1-2")]
    assert [point.payload["is_primary"] for point in points] == [True, False]


def test_a_point_names_the_variations_that_the_shop_shows_with_its_picture(tmp_path: Path) -> None:
    """A picture's own variations and place are in its payload; a picture of none says nothing of them."""
    made = shop(tmp_path, store=store(images="all")).add(product("1", pictures=3))
    first, second, third = made.products["1"].images
    second = dataclasses.replace(second, variation_ids=("12", "13"))
    made.add(dataclasses.replace(made.products["1"], images=(first, second, third)))
    payloads = [point.payload for point in made.desired().points]
    assert [payload.get("variation_ids") for payload in payloads] == [None, ["12", "13"], None]
    assert [payload["position"] for payload in payloads] == [0, 1, 2]
    assert {payload["product_id"] for payload in payloads} == {str(product_id("atelier-nord", "1"))}


def test_a_product_that_is_not_read_at_present_says_so_and_stays(tmp_path: Path) -> None:
    """A published product whose variations fail is ok, with the reason and the time when it is asked for again."""
    later = NOW + timedelta(hours=3)
    unread = Outcome(Status.OK, (Reason.UNREADABLE,), "its variations cannot be read", 2, later)
    made = shop(tmp_path).add(product("1", outcome=unread))
    (told,) = made.desired().outcomes
    assert (told.status, told.stage, told.reasons) == (Status.OK, "postgres_products", (Reason.UNREADABLE,))
    assert (told.detail, told.attempts, told.next_retry_at) == (unread.detail, 2, later)
    assert len(made.desired().points) == 1
    made.fetched["1-0"] = Outcome(Status.FAILED, (Reason.HTTP_ERROR,), "503", 1, NOW)
    assert made.desired().outcomes[0].reasons == (Reason.HTTP_ERROR,)


def test_the_digests_change_with_the_content_and_with_nothing_else(tmp_path: Path) -> None:
    """Equal state in another order has equal digests; a new title changes both."""
    made = shop(tmp_path, 3)
    before = made.desired()
    made.products = dict(reversed(made.products.items()))
    again = made.desired()
    assert (before.rows_digest, before.points_digest) == (again.rows_digest, again.points_digest)
    made.add(dataclasses.replace(made.products["2"], title="Coat"))
    after = made.desired()
    assert before.rows_digest != after.rows_digest
    assert before.points_digest != after.points_digest
