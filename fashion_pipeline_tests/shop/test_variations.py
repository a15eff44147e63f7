from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.records import Image, Product
from fashion_pipeline.shop.gallery import MAX_IMAGES, Variations, own_images, with_variations
from fashion_pipeline.shop.rest import Shop
from fashion_pipeline.shop.variations import read_variations
from fashion_pipeline.stores import Store
from fashion_pipeline.web.client import Web
from fashion_pipeline_tests.shop.conftest import LONG_AGO, NOW, MakeStore, StoppedClock, add_many
from fashion_pipeline_tests.shop.reader import Reader
from fashion_pipeline_tests.shop.recordings import body, replay

VEST = "product_variable0"


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """A store that publishes every picture."""
    return make_store(images="all")


@pytest.fixture
def reader(store: Store, web: Web, clock: StoppedClock, model: ModelShop) -> Reader:
    return Reader(store, web, clock, model)


def picture(name: str) -> str:
    return f"https://shop.example/{name}.jpg"


def add_vest(model: ModelShop, *colours: str) -> tuple[int, list[int]]:
    """Add a variable product with a picture of its own and a variation of each colour; return all ids."""
    vest = model.add(name="Vest", type="variable", images=[picture("vest")], created=LONG_AGO)
    return vest, [
        model.add_variation(vest, image=picture(colour), regular_price="20", created=LONG_AGO) for colour in colours
    ]


def shown(row: Product) -> dict[str, tuple[str, ...]]:
    """Return the pictures of a row by name, in order, with the variations that each shows."""
    in_order = sorted(row.images, key=lambda image: image.position)
    assert len({image.position for image in in_order}) == len(in_order)
    return {image.url.rpartition("/")[2].removesuffix(".jpg"): image.variation_ids for image in in_order}


def texts(*ids: int) -> tuple[str, ...]:
    return tuple(map(str, ids))


def failing(answer: Response, when: Callable[[str], bool]) -> Callable[[Request], Response | None]:
    """Return a fault that answers requests whose path below the API is one of these."""
    return lambda request: answer if when(request.url.path.partition("/wp-json/wc/v3/")[2]) else None


def test_the_recorded_variations_pictures(store: Store) -> None:
    """A recorded product has its own picture first, then those of its variations, each once, with their ids."""
    payload = body(VEST)
    rows = sorted(body("variations_page1"), key=lambda row: payload["variations"].index(row["id"]))
    own = own_images(payload["images"], store)
    images = with_variations(own, Variations(tuple(rows)), (), store)
    assert [(image.image_id, image.position, image.variation_ids) for image in images] == [
        ("153", 0, ("157", "160", "163")),  # they have no picture of their own
        ("155", 1, ("156",)),
        ("158", 2, ("159",)),
        ("161", 3, ("162",)),
    ]
    assert images[1].url == rows[0]["image"]["src"]
    assert images[1].modified_at == NOW.replace(hour=15, minute=56, second=0)


def test_pictures_of_private_variations_do_not_count(store: Store) -> None:
    """A variation that is switched off shows nothing, nor does one without a picture at all."""
    row = body("variation_single")
    own = own_images(body(VEST)["images"], store)
    hidden = [row | {"status": "private"}, row | {"image": None}, {"id": 5, "status": "publish"}]
    assert with_variations(own, Variations(tuple(hidden)), (), store) == own


def test_a_product_without_a_picture_gets_none_from_its_variations(store: Store) -> None:
    """The first picture is the product's own: whether there is one does not depend on variations."""
    assert with_variations((), Variations((body("variation_single"),)), (), store) == ()


def test_a_gallery_picture_that_a_variation_shows_is_one(store: Store) -> None:
    """A variation's picture that is in the gallery too keeps its place there, and says whose it is."""
    row = body("variation_single")
    own = own_images([*body(VEST)["images"], row["image"]], store)
    assert shown_ids(with_variations(own, Variations((row,)), (), store)) == [("153", 0, ()), ("155", 1, ("156",))]


def shown_ids(images: Sequence[Image]) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(image.image_id, image.position, image.variation_ids) for image in images]


def test_what_stays_of_variations_that_cannot_be_read(store: Store) -> None:
    """A picture stays for the variations that could not be read, behind what could be, and for no other."""
    own = own_images([*body(VEST)["images"], {"id": 7, "src": picture("gallery")}], store)
    before = (Image("900", picture("both"), 1, None, ("156", "157")), Image("901", picture("read"), 2, None, ("156",)))
    images = with_variations(own, Variations((body("variation_single"),), frozenset({"157"}), "500"), before, store)
    assert shown_ids(images) == [("153", 0, ()), ("7", 1, ()), ("155", 2, ("156",)), ("900", 3, ("157",))]


def test_a_product_has_so_many_pictures(store: Store) -> None:
    """Ten thousand pictures of one product are not taken: the first thousand are."""
    entries = [{"id": number, "src": picture(str(number))} for number in range(1, 10_001)]
    assert len(own_images(entries, store)) == MAX_IMAGES
    rows = tuple({"id": n, "status": "publish", "image": entry} for n, entry in enumerate(entries))
    images = with_variations(own_images(entries[:1], store), Variations(rows), (), store)
    assert [image.image_id for image in images] == [str(number) for number in range(1, MAX_IMAGES + 1)]


async def test_a_store_of_primary_pictures_asks_nothing(make_store: MakeStore, web: Web, model: ModelShop) -> None:
    """With ``images: primary`` no request is made for variations, however many there are."""
    add_vest(model, "red", "blue")
    assert await read_variations(Shop(make_store(images="primary"), web), [body(VEST)]) == {}
    assert not model.asked


async def test_all_pictures(reader: Reader, model: ModelShop) -> None:
    """The pictures of variations are the product's, behind its own; unchanged they cost no request."""
    vest, (red, blue) = add_vest(model, "red", "blue")
    plain = model.add_variation(vest, regular_price="18", created=LONG_AGO)
    await reader.read()
    row = reader.row(vest)
    assert shown(row) == {"vest": texts(plain), "red": texts(red), "blue": texts(blue)}
    assert (str(row.price), row.in_stock, row.outcome.reasons) == ("18.00", True, ())
    await reader.read()
    assert reader.requests == ["products", "products"]


async def test_a_variation_that_shows_a_known_picture(reader: Reader, model: ModelShop) -> None:
    """A further variation with a picture that is there already changes the product's content: points name it."""
    vest, (red,) = add_vest(model, "red")
    await reader.read()
    before = reader.row(vest)
    large = model.add_variation(vest, image=picture("red"), regular_price="20")
    await reader.read()
    assert shown(reader.row(vest)) == {"vest": (), "red": texts(red, large)}
    assert reader.row(vest).content_hash != before.content_hash


async def test_a_changed_variation_is_news(reader: Reader, model: ModelShop) -> None:
    """Added, edited, switched off and deleted variations are found without a sweep, by one request more."""
    vest, (red, blue) = add_vest(model, "red", "blue")
    add_many(model, 1, modified=LONG_AGO)
    await reader.read()
    before = reader.row(vest).content_hash
    green = model.add_variation(vest, image=picture("green"), regular_price="20")
    await reader.read()
    assert reader.requests == ["products", "products", "products", f"products/{vest}/variations"]
    assert shown(reader.row(vest)) == {"vest": (), "red": texts(red), "blue": texts(blue), "green": texts(green)}
    assert reader.row(vest).content_hash != before
    model.edit_variation(red, status="private")
    model.edit_variation(blue, image=picture("navy"))
    await reader.read()
    assert shown(reader.row(vest)) == {"vest": (), "navy": texts(blue), "green": texts(green)}
    model.delete_variation(green)
    await reader.read()
    assert shown(reader.row(vest)) == {"vest": (), "navy": texts(blue)}


async def test_price_and_stock_of_variations(reader: Reader, model: ModelShop, make_store: MakeStore) -> None:
    """The lowest price and the stock of the variations are the product's, found without a sweep or a further request."""
    reader.store = make_store(images="primary")
    vest, (red, blue) = add_vest(model, "red", "blue")
    await reader.read()
    before = reader.row(vest)
    assert (before.price_text, before.in_stock) == ("20", True)
    model.edit_variation(blue, sale_price="14.5", regular_price="20")
    model.edit_variation(red, status="private", regular_price="9")
    await reader.read()
    assert reader.requests == ["products"] * 3
    assert (reader.row(vest).price_text, reader.row(vest).in_stock) == ("14.5", True)
    for variation in (red, blue):
        model.edit_variation(variation, stock_status="outofstock")
    await reader.read()
    assert not reader.row(vest).in_stock
    assert len({before.content_hash, reader.row(vest).content_hash}) == 2
    for variation in (red, blue):
        model.delete_variation(variation)
    await reader.read()
    assert reader.row(vest).outcome.reasons == (Reason.NO_PRICE,)


async def test_a_renamed_category_is_found_by_a_sweep(reader: Reader, model: ModelShop) -> None:
    """A category's new name moves no product's date: the sweep finds it, and no incremental read."""
    vest, _ = add_vest(model, "red")
    model.edit_silently(vest, categories=[{"id": 7, "name": "Hats &amp; Caps", "slug": "hats"}])
    await reader.read()
    assert reader.row(vest).categories == ("Hats & Caps",)
    model.edit_silently(vest, categories=[{"id": 7, "name": "Headwear", "slug": "hats"}])
    assert (await reader.read()).changed == 0
    assert (await reader.read(sweep=True)).changed == 1
    assert reader.row(vest).categories == ("Headwear",)


async def test_a_silent_change_is_found_by_a_sweep(reader: Reader, model: ModelShop) -> None:
    """A picture that a plugin changed without moving a date is found by the next sweep."""
    vest, (red,) = add_vest(model, "red")
    await reader.read()
    model.edit_variation_silently(red, image=picture("crimson"))
    await reader.read()
    assert "red" in shown(reader.row(vest))
    await reader.read(sweep=True)
    assert shown(reader.row(vest)) == {"vest": (), "crimson": texts(red)}


async def test_variations_of_many_products_come_together(reader: Reader, model: ModelShop) -> None:
    """A sweep asks for a hundred variations at a time, whosever they are; those of hidden products are not asked for."""
    vests = [add_vest(model, *(f"{number}-{colour}" for colour in "abc"))[0] for number in range(68)]
    model.edit(vests[0], status="draft")
    model.edit(vests[1], post_password="vip-only")
    await reader.read()
    assert reader.requests.count("variations") == 2
    assert not any("/variations" in path for path in reader.requests)
    assert all(len(reader.row(vest).images) == 4 for vest in vests[2:])
    assert shown(reader.row(vests[0])) == shown(reader.row(vests[1])) == {"vest": ()}


async def test_an_older_woocommerce(reader: Reader, model: ModelShop) -> None:
    """Where there is no listing of all variations (before 10.3) each product is asked for its own."""
    vests = [add_vest(model, f"{number}")[0] for number in range(3)]
    model.fault = failing(replay("err_404_route"), lambda path: path == "variations")
    await reader.read()
    assert reader.requests.count("variations") == 1
    assert sorted(path for path in reader.requests if "/" in path and "product" in path) == sorted(
        f"products/{vest}/variations" for vest in vests
    )
    assert all(len(reader.row(vest).images) == 2 for vest in vests)
    assert all(reader.row(vest).outcome.reasons == () for vest in vests)


def payloads_of(model: ModelShop, vests: Iterable[int]) -> list[dict[str, Any]]:
    return [{"id": vest, "status": "publish", "variations": ids_of(model, vest)} for vest in vests]


def ids_of(model: ModelShop, vest: int) -> list[int]:
    return [variation.id for variation in model.variations.values() if variation.parent_id == vest]


async def test_a_listing_that_is_not_there_is_asked_for_once(store: Store, web: Web, model: ModelShop) -> None:
    """The first answer tells that a WooCommerce has no listing of all variations; the rest is not tried."""
    vests = [add_vest(model, "red", "blue")[0] for _ in range(10)]
    model.fault = failing(replay("err_404_route"), lambda path: path == "variations")
    found = await read_variations(Shop(store, web, per_page=2), payloads_of(model, vests))
    assert sum(asked.path.endswith("/v3/variations") for asked in model.asked) == 1
    assert all(len(it.rows) == 2 and not it.unread for it in found.values())


async def test_a_listing_that_fails_is_given_up(store: Store, web: Web, model: ModelShop) -> None:
    """Where the listing fails again and again every product is asked for its own, however many failures there were."""
    vests = [add_vest(model, "red", "blue")[0] for _ in range(40)]
    model.fault = failing(replay("err_500_php_fatal"), lambda path: path == "variations")
    found = await read_variations(Shop(store, web, per_page=2), payloads_of(model, vests))
    pages = {asked.query for asked in model.asked if asked.path.endswith("/v3/variations")}
    assert len(pages) <= 5 + 3
    assert all(len(it.rows) == 2 and not it.problem for it in found.values())


async def test_failures_apart_from_each_other_stop_nothing(store: Store, web: Web, model: ModelShop) -> None:
    """Only failures in a row mean that the shop is down: of many products each third may be broken."""
    vests = [add_vest(model, "red")[0] for _ in range(30)]
    broken = {f"products/{vest}/variations" for vest in vests[::3]}
    model.fault = failing(replay("err_500_php_fatal"), lambda path: path in broken or path == "variations")
    found = await read_variations(Shop(store, web), payloads_of(model, vests))
    assert [bool(found[str(vest)].problem) for vest in vests] == [True, False, False] * 10


async def test_many_variations_of_one_product(store: Store, web: Web, model: ModelShop) -> None:
    """A product's variations are asked for by the page, up to the first thousand."""
    vest, _ = add_vest(model)
    ids = [model.add_variation(vest, regular_price="1") for _ in range(1_020)]
    payload = {"id": vest, "status": "publish", "variations": ids}
    (found,) = (await read_variations(Shop(store, web), [payload])).values()
    assert [row["id"] for row in found.rows] == list(map(str, ids[:1000]))
    assert len(model.asked) == 10


async def test_one_broken_variation_hides_no_others(reader: Reader, model: ModelShop) -> None:
    """Where one product's variations fail, the others' are read; it keeps what is known and is asked for again."""
    vest, (red,) = add_vest(model, "red")
    other, (blue,) = add_vest(model, "blue")
    await reader.read()

    def broken(request: Request) -> Response | None:
        asked = parse_qs(request.url.query).get("include", [""])[0].split(",")
        return replay("err_500_php_fatal") if "variations" in request.url.path and str(red) in asked else None

    model.fault = broken
    model.edit(vest, name="Renamed", images=[picture("new")])
    green = model.add_variation(other, image=picture("green"), regular_price="20")
    counts = await reader.read()
    row = reader.row(vest)
    assert shown(row) == {"new": (), "red": texts(red)}
    assert (row.title, row.outcome.ok, row.outcome.reasons) == ("Renamed", True, (Reason.UNREADABLE,))
    assert "its variations cannot be read" in row.outcome.detail
    assert (counts.publishable, counts.unreadable, row.outcome.attempts) == (2, 1, 1)
    assert shown(reader.row(other)) == {"vest": (), "blue": texts(blue), "green": texts(green)}
    reader.clock.at += timedelta(minutes=10)
    await reader.read()
    assert reader.row(vest).outcome.attempts == 2
    model.fault = None
    reader.clock.at += timedelta(minutes=20)
    await reader.read()
    assert (reader.row(vest).outcome.reasons, shown(reader.row(vest))) == ((), {"new": (), "red": texts(red)})


async def test_a_product_first_seen_while_its_variations_fail(reader: Reader, model: ModelShop) -> None:
    """A failing request for variations keeps no product out; its further pictures come later."""
    vest, (red,) = add_vest(model, "red")
    model.fault = failing(replay("err_403_customer_role_key"), lambda path: "variations" in path)
    await reader.read()
    row = reader.row(vest)
    assert (row.outcome.ok, row.outcome.reasons, shown(row)) == (True, (Reason.UNREADABLE,), {"vest": ()})
    model.fault = None
    reader.clock.at += timedelta(minutes=10)
    await reader.read()
    assert shown(reader.row(vest)) == {"vest": (), "red": texts(red)}


async def test_a_shop_that_is_down_is_left_alone(reader: Reader, model: ModelShop) -> None:
    """After five failures in a row no further variations are asked for; every product keeps what is known."""
    vests = [add_vest(model, str(number))[0] for number in range(30)]
    await reader.read()
    known = [shown(reader.row(vest)) for vest in vests]
    model.fault = failing(replay("err_401_wrong_secret"), lambda path: "variations" in path)
    await reader.read(sweep=True)
    assert sum("variations" in path for path in reader.requests) <= 1 + 5 + 3
    assert [shown(reader.row(vest)) for vest in vests] == known
    assert all(reader.row(vest).outcome.reasons == (Reason.UNREADABLE,) for vest in vests)


async def test_a_variation_that_the_key_may_not_see(reader: Reader, model: ModelShop) -> None:
    """A variation that is counted and not shown keeps its picture; one that is neither has gone."""
    vest, (red, blue, green) = add_vest(model, "red", "blue", "green")
    await reader.read()
    rows = [{"id": blue, "status": "publish", "image": {"id": 900, "src": picture("navy")}}]

    def answer(total: int) -> Any:
        return lambda request: (
            Response(json.dumps(rows), headers={"x-wp-total": str(total)}) if "variations" in request.url.path else None
        )

    model.fault = answer(3)
    model.edit(vest)
    await reader.read()
    assert shown(reader.row(vest)) == {"vest": (), "navy": texts(blue), "red": texts(red), "green": texts(green)}
    assert "omits some of its variations" in reader.row(vest).outcome.detail
    model.fault = answer(1)
    model.edit(vest)
    await reader.read()
    assert shown(reader.row(vest)) == {"vest": (), "navy": texts(blue)}
    assert reader.row(vest).outcome.reasons == ()


async def test_a_list_of_ids_that_is_none(store: Store, web: Web) -> None:
    """Whatever a plugin puts in the place of the ids, nothing is asked that is no id."""
    odd: list[Any] = [None, "1,2", {}, [True, -1, 0, "7", None, 1.5]]
    payloads = [{"id": 7, "status": "publish", "variations": value} for value in odd]
    assert await read_variations(Shop(store, web), payloads) == {}
