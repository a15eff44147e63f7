from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fashion_pipeline.model_shop.payload import product_payload
from fashion_pipeline.model_shop.shop import ModelShop, ShopClock

OPENED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def shop() -> ModelShop:
    """Return an empty shop whose clock stands still."""
    return ModelShop("x", clock=ShopClock(OPENED))


def test_a_save_moves_the_modified_date() -> None:
    """edit, trash and untrash set the modified date to now."""
    model = shop()
    key = model.add(name="Dress", price="10")
    saves: list[Callable[[], None]] = [
        lambda: model.edit(key, price="11"),
        lambda: model.trash(key),
        lambda: model.untrash(key),
    ]
    for save in saves:
        model.clock.advance(60)
        save()
        assert model.products[key].modified == model.clock.now()
    assert product_payload(model, model.products[key])["price"] == "11"


def test_post_meta_does_not_move_the_modified_date() -> None:
    """A silent edit changes the payload and no date, as import plugins do."""
    model = shop()
    key = model.add(name="Dress", price="10")
    model.clock.advance(60)
    model.edit_silently(key, price="12")
    body = product_payload(model, model.products[key])
    assert (body["price"], body["regular_price"], body["date_modified_gmt"]) == ("12", "12", "2026-03-01T12:00:00")


def test_trash_keeps_the_status_for_the_way_back() -> None:
    """A product comes out of the trash with the status it had, and its own slug."""
    model = shop()
    key = model.add(name="Blue Dress", status="private")
    model.trash(key)
    assert product_payload(model, model.products[key])["slug"] == "blue-dress__trashed"
    model.untrash(key)
    body = product_payload(model, model.products[key])
    assert (body["status"], body["slug"]) == ("private", "blue-dress")


def test_cron_publishes_without_a_trace() -> None:
    """A scheduled product is published when its time has come, and its modified date stays."""
    model = shop()
    key = model.add(name="Soon", status="future", created=OPENED + timedelta(hours=1))
    later = model.add(name="Later", status="future", created=OPENED + timedelta(days=9))
    assert model.run_cron() == []
    model.clock.advance(3700)
    assert model.run_cron() == [key]
    assert model.products[key].modified == OPENED + timedelta(hours=1)
    assert model.products[later].status == "future"


def test_one_address_is_one_attachment() -> None:
    """Two products with the same picture share its attachment, and so its image id."""
    model = shop()
    url = model.upload("2026/03/a.jpg", b"bytes")
    one, two = (product_payload(model, model.products[model.add(name=n, images=[url])]) for n in ("A", "B"))
    assert one["images"][0]["id"] == two["images"][0]["id"]


def test_a_picture_replaced_by_ftp_moves_no_date_of_the_shop() -> None:
    """Replacing a file moves its own validators; the image date only when the shop knows; the product's never."""
    model = shop()
    url = model.upload("2026/03/a.jpg", b"old")
    key = model.add(name="A", images=[url])
    before = product_payload(model, model.products[key])
    model.clock.advance(60)
    model.set_image(url, b"new")
    by_ftp = product_payload(model, model.products[key])
    assert by_ftp["images"] == before["images"]
    assert model.uploads["2026/03/a.jpg"].modified == OPENED + timedelta(seconds=60)
    model.set_image(url, b"newer", shop_knows=True)
    by_plugin = product_payload(model, model.products[key])
    assert by_plugin["images"][0]["date_modified_gmt"] == "2026-03-01T12:01:00"
    assert by_plugin["date_modified_gmt"] == before["date_modified_gmt"]


def test_slugs_are_unique_and_drafts_have_none() -> None:
    """Equal names get numbered slugs; a draft is named when it is published."""
    model = shop()
    keys = [model.add(name=name) for name in ("Tee", "Tee", "日本")]
    draft = model.add(name="Tee", status="draft")
    assert [model.products[key].slug for key in keys] == ["tee", "tee-2", "%e6%97%a5%e6%9c%ac"]
    assert model.products[draft].slug == ""
    model.edit(draft, status="publish")
    assert model.products[draft].slug == "tee-3"


def test_the_clock_counts_whole_seconds() -> None:
    """Times have the resolution of WordPress's columns."""
    clock = ShopClock(OPENED + timedelta(microseconds=999_999))
    assert clock.now() == OPENED
    clock.advance(1)
    assert clock.now() == OPENED + timedelta(seconds=1)
    assert ShopClock().now().microsecond == 0
