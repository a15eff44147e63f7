from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.shop import ModelShop, ShopClock
from fashion_pipeline_tests.model_shop.recordings import READER, ask


def shop() -> ModelShop:
    """Return a shop with one picture, its clock standing still."""
    clock = ShopClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    model = ModelShop("x", origin="https://store.example", keys=[READER], clock=clock)
    model.add(name="A", images=[model.upload("2026/03/a.jpg", b"old picture")])
    return model


PICTURE = "https://store.example/x/wp-content/uploads/2026/03/a.jpg"


async def test_pictures_have_validators_and_answer_304() -> None:
    """A picture known by its ETag or its date is answered 304, without a body."""
    model = shop()
    first = await ask(model, PICTURE)
    assert (first.status_code, first.content, first.headers["content-type"]) == (200, b"old picture", "image/jpeg")
    for known in (
        {"if-none-match": first.headers["etag"]},
        {"if-none-match": f'"other", W/{first.headers["etag"]}'},
        {"if-modified-since": first.headers["last-modified"]},
    ):
        again = await ask(model, PICTURE, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]


async def test_a_replaced_picture_is_sent_again() -> None:
    """New bytes under the same address have new validators; the ETag wins over the date."""
    model = shop()
    first = await ask(model, PICTURE)
    model.clock.advance(1)
    model.set_image(PICTURE, b"new picture")
    known = {"if-none-match": first.headers["etag"], "if-modified-since": "Sun, 01 Mar 2026 13:00:00 GMT"}
    again = await ask(model, PICTURE, headers=known)
    assert (again.status_code, again.content) == (200, b"new picture")
    assert (await ask(model, PICTURE, headers={"if-modified-since": "no date"})).status_code == 200


async def test_pictures_need_no_key_and_a_missing_one_is_404() -> None:
    """Uploads are public; a deleted file answers WordPress's page with 404."""
    model = shop()
    model.forget_image(PICTURE)
    answer = await ask(model, PICTURE)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=UTF-8")


async def test_a_fault_answers_in_the_shops_place() -> None:
    """The fault hook may answer any request, and lets the others pass."""

    def maintenance(request: Request) -> Response | None:
        if "/uploads/" in request.url.path:
            return Response("busy", status_code=503, headers={"retry-after": "600"})
        return None

    model = shop()
    model.fault = maintenance
    answer = await ask(model, PICTURE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "600")
    assert (await ask(model, f"{model.url}/wp-json/wc/v3/products", key=READER)).status_code == 200


async def test_the_shop_remembers_what_it_was_asked() -> None:
    """Requests and their statuses are noted, so that a test can say what was not asked."""
    model = shop()
    await ask(model, PICTURE)
    await ask(model, f"{model.url}/wp-json/wc/v3/products")
    assert [(asked.path.rpartition("/")[2], asked.status) for asked in model.asked] == [
        ("a.jpg", 200),
        ("products", 401),
    ]


async def test_other_paths_are_pages_that_do_not_exist() -> None:
    """Another shop, or a page of this one, is an HTML 404."""
    model = shop()
    for url in ("https://store.example/y/wp-json/", f"{model.url}/product/a/"):
        assert (await ask(model, url)).status_code == 404
