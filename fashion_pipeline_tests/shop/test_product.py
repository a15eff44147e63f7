from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.errors import ShopProtocolError
from fashion_pipeline.outcomes import OK, Reason, Status
from fashion_pipeline.records import Product
from fashion_pipeline.shop.gallery import read_gmt
from fashion_pipeline.shop.merge import Merge, Seen
from fashion_pipeline.shop.product import parse, plain_text, problem_of, read_price
from fashion_pipeline.stores import Store
from fashion_pipeline_tests.shop.conftest import NOW, MakeStore
from fashion_pipeline_tests.shop.recordings import body, product_names

# What a shop read with the default settings makes of each recorded product: reasons against it, price, title.
EXPECTED: dict[str, tuple[tuple[Reason, ...], str | None, str]] = {
    "product_admin_draft_null_dates": ((Reason.NO_IMAGE, Reason.NO_PRICE), None, "Admin Draft"),
    "product_anim_gif": ((), "15.00", "Animated GIF Hat"),
    "product_cjk": ((), "12800.00", "日本製 デニム ジャケット 牛仔外套"),
    "product_cmyk": ((), "15.00", "CMYK JPEG Dress"),
    "product_comma_price": ((), "1234.56", "Comma Price Coat"),
    "product_draft": ((Reason.NOT_PUBLISHED,), "89.00", "Draft Dress"),
    "product_emoji": ((), "75.50", "👗 Summer Dress 🌞 — “Été” №5"),
    "product_exif": ((), "15.00", "EXIF Rotated Dress"),
    "product_external": ((), "79.99", "Affiliate Anorak"),
    "product_external_nourl": ((), "9.99", "Affiliate Without URL"),
    "product_grouped": ((), "5.50", "Outfit Set (grouped)"),
    "product_hidden": ((), "19.00", "Hidden Hat"),
    "product_html_title": ((), "20.00", 'Tee bold & "quoted" alert(1)'),
    "product_huge_image": ((), "500.00", "Huge Image Gown"),
    "product_long_desc": ((), "300.00", "Long Description Lehenga"),
    "product_many_images": ((), "110.00", "Many Images Mantle"),
    "product_no_image": ((Reason.NO_IMAGE,), "12.34", "Imageless Idea"),
    "product_no_price": ((Reason.NO_PRICE,), None, "Priceless Poncho"),
    "product_out_of_stock": ((), "49.90", "Sold Out Sandal"),
    "product_password": ((Reason.PASSWORD_PROTECTED,), "19.00", "Secret Scarf"),
    "product_private": ((Reason.NOT_PUBLISHED,), "59.00", "Private Pyjama"),
    "product_rtl": ((), "220.00", "جاكيت جلد أسود — ז׳קט עור"),  # noqa: RUF001 - its own sign
    "product_sale_scheduled": ((), "100.00", "Future Sale Frock"),
    "product_trashed_get_by_id": ((Reason.TRASHED,), "29.00", "Trash Trousers"),
    "product_variable0": ((), "15.00", "Variable Vest 0"),
    "product_variable_empty": ((Reason.NO_PRICE,), None, "Variable Without Variations"),
    "product_virtual": ((), "25.00", "Gift Card (virtual, downloadable)"),
    "product_webp": ((), "15.00", "WebP Dress"),
    "product_zero_price": ((Reason.ZERO_PRICE,), "0.00", "Free Foulard"),
}


def read(payload: Any, store: Store) -> Product:
    return parse(payload, store=store, currency="EUR", now=NOW, first_seen_at=NOW)


@pytest.mark.parametrize("name", [name for name in product_names() if name != "product_deleted_get_by_id"])
def test_recorded_product(name: str, store: Store) -> None:
    """Every recorded product passes the gate or stops at it for the right reasons, with its price and title."""
    product = read(body(name), store)
    if name == "product_long_title":
        assert product.outcome.ok
        assert len(product.title) == len(body(name)["name"])
        return
    reasons, price, title = EXPECTED[name]
    assert product.outcome.reasons == reasons
    assert product.outcome.ok is not bool(reasons)
    assert product.price == (None if price is None else Decimal(price))
    assert product.title == title
    assert product.external_id == str(body(name)["id"])
    assert product.first_seen_at == product.last_seen_at == NOW


def test_a_password_is_not_kept(store: Store) -> None:
    """A product's password appears nowhere in its row."""
    product = read(body("product_password"), store)
    assert product.password_protected
    assert "s3cret" not in repr(product)


def test_product_url(store: Store) -> None:
    """An external product leads to its affiliate address, or without one to its page; a script is no address."""
    external = body("product_external")
    assert read(external, store).product_url == "https://partner.example/p/anorak?aff=42&utm_source=x"
    page = "https://store.example/product/affiliate-anorak/"
    assert read(external | {"external_url": "javascript:alert(1)"}, store).product_url == page
    without = body("product_external_nourl")
    assert read(without, store).product_url == without["permalink"]


def test_only_the_first_picture(store: Store, make_store: MakeStore) -> None:
    """``primary`` takes the shop's first picture and no other, ``all`` takes each, in the shop's order."""
    payload = body("product_many_images")
    (primary,) = read(payload, store).images
    everything = read(payload, make_store(images="all")).images
    assert (primary.position, primary.url) == (0, payload["images"][0]["src"])
    assert [image.url for image in everything] == [entry["src"] for entry in payload["images"]]
    assert [image.position for image in everything] == list(range(8))
    assert primary.modified_at == datetime(2026, 11, 20, 15, 55, 47, tzinfo=UTC)
    broken = payload | {"images": [{"id": 0, "src": ""}, *payload["images"]]}
    assert read(broken, store).outcome.reasons == (Reason.NO_IMAGE,)


def test_pictures_without_an_id_of_their_own(make_store: MakeStore) -> None:
    """Pictures of other hosts, to which plugins give the id 0, are told apart by their address."""
    entries = [{"id": 0, "src": f"https://cdn.example/{name}.jpg"} for name in "ab"]
    images = read(body("product_cjk") | {"images": entries}, make_store(images="all")).images
    assert len({image.image_id for image in images}) == 2


def test_a_picture_listed_twice_is_one(make_store: MakeStore) -> None:
    """A first picture that is in the gallery too counts once."""
    payload = body("product_many_images")
    twice = payload | {"images": [payload["images"][0], *payload["images"]]}
    store = make_store(images="all")
    assert len(read(twice, store).images) == len(read(payload, store).images)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/a.jpg", "https://shop.example/a.jpg"),
        ("wp/a b.jpg", "https://shop.example/atelier/wp/a b.jpg"),
        (" //cdn.example/a.jpg ", "https://cdn.example/a.jpg"),
        ("HTTP://cdn.example/a.jpg", "HTTP://cdn.example/a.jpg"),
        ("//[a.jpg", "//[a.jpg"),
        ("javascript:alert(1)", "javascript:alert(1)"),
    ],
)
def test_a_relative_address_is_the_shops(store: Store, written: str, meant: str) -> None:
    """A picture's URL without a scheme or a host is read as the shop's own pages would read it."""
    (image,) = read(body("product_cjk") | {"images": [{"id": 1, "src": written}]}, store).images
    assert image.url == meant


def test_control_characters_are_dropped(store: Store) -> None:
    """A title cannot give orders to the terminal it is printed on."""
    dirty = "\x1b]0;x\x07 Coat\x9b31m &#27;[2J\tred\x7f"
    assert read(body("product_cjk") | {"name": dirty}, store).title == "]0;x Coat31m [2J red"


def test_stock(store: Store) -> None:
    """Only ``outofstock`` is out of stock; what can be ordered back is not."""
    payload = body("product_out_of_stock")
    assert not read(payload, store).in_stock
    assert read(payload | {"stock_status": "onbackorder"}, store).in_stock


def test_category_names(store: Store) -> None:
    """The API encodes entities in category names; they are read as the shop's pages show them, in the shop's order."""
    named = {entry["slug"]: entry for entry in body("categories")}
    assert named["zubehor-mehr"]["name"] == "Zubehör &amp; Mehr"
    chosen = [named["women"], named["zubehor-mehr"], {"id": 99}]
    assert read(body("product_cjk") | {"categories": chosen}, store).categories == ("Women", "Zubehör & Mehr")


def test_prices_that_the_shop_has_settled(store: Store) -> None:
    """A sale that has not begun is no price yet, and a set costs what its cheapest part does: the shop says both."""
    scheduled, grouped, variable = map(body, ("product_sale_scheduled", "product_grouped", "product_variable0"))
    assert (scheduled["sale_price"], read(scheduled, store).price) == ("70", Decimal("100.00"))
    assert (grouped["regular_price"], read(grouped, store).price) == ("", Decimal("5.50"))
    lowest = min(Decimal(row["price"]) for row in body("variations_page1"))
    assert (variable["regular_price"], read(variable, store).price) == ("", lowest)
    assert read(variable, store).in_stock
    assert not read(body("product_variable_empty"), store).in_stock


def test_free_products(make_store: MakeStore) -> None:
    """A price of 0 passes where the store accepts it."""
    assert read(body("product_zero_price"), make_store(accept_free=True)).outcome == OK


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("19.9", Decimal("19.90")),
        ("2.345", Decimal("2.35")),
        ("0.005", Decimal("0.01")),
        ("99999999.99", Decimal("99999999.99")),
        ("99999999.995", Reason.PRICE_OUT_OF_RANGE),
        ("100000000", Reason.PRICE_OUT_OF_RANGE),
        ("9" * 63, Reason.PRICE_OUT_OF_RANGE),
        ("9" * 64, Reason.BAD_PRICE),
        ("", Reason.NO_PRICE),
        ("-1", Reason.BAD_PRICE),
        ("1,50", Reason.BAD_PRICE),
        ("1e3", Reason.BAD_PRICE),
        ("NaN", Reason.BAD_PRICE),
        ("١٢", Reason.BAD_PRICE),
        (".", Reason.BAD_PRICE),
        ("5\n", Reason.BAD_PRICE),
    ],
)
def test_price(text: str, price: Decimal | Reason) -> None:
    """A price is digits with a point, rounded half-up to 2 places and below 10⁸; all else has its reason."""
    assert read_price(text) == price


def test_a_price_that_rounds_to_nothing(store: Store) -> None:
    """A price below half a cent is 0, and a price of a plugin that is no text is read."""
    assert read(body("product_cjk") | {"price": "0.004"}, store).outcome.reasons == (Reason.ZERO_PRICE,)
    assert read(body("product_cjk") | {"price": 12.5}, store).price == Decimal("12.50")


def test_every_reason_is_listed(store: Store) -> None:
    """A product that fails in several ways says so in all of them, with the words of the shop."""
    payload = body("product_draft") | {"price": "?", "images": [], "post_password": "x"}
    outcome = read(payload, store).outcome
    assert outcome.status is Status.REJECTED
    assert outcome.reasons == (
        Reason.NOT_PUBLISHED,
        Reason.PASSWORD_PROTECTED,
        Reason.NO_IMAGE,
        Reason.BAD_PRICE,
    )
    assert outcome.detail == "its status is draft; its price is '?'"


@pytest.mark.parametrize(("status", "expected"), [("future", datetime(2027, 3, 1, 9, tzinfo=UTC)), ("draft", None)])
def test_a_scheduled_product_is_looked_at_again_at_its_time(
    store: Store, status: str, expected: datetime | None
) -> None:
    """Its publication moves no date in the shop; the outcome knows when it is due. A draft has no time."""
    product = read({"id": 5, "status": status, "date_created_gmt": "2027-03-01T09:00:00", "price": "5"}, store)
    assert (product.outcome.reasons[0], product.outcome.next_retry_at) == (Reason.NOT_PUBLISHED, expected)


def test_content_hash(store: Store) -> None:
    """A save that changes nothing keeps the content hash; a changed field, picture or currency does not."""
    payload = body("product_cjk")
    before = read(payload, store).content_hash
    image = payload["images"][0] | {"date_modified_gmt": "2026-11-21T00:00:00"}
    same = payload | {"date_modified_gmt": "2026-11-21T00:00:00", "related_ids": [1], "price_html": "new"}
    assert read(same, store).content_hash == before
    changes: list[dict[str, object]] = [
        {"name": "x"},
        {"price": "1"},
        {"status": "draft"},
        {"categories": []},
        {"images": [image]},
    ]
    for change in changes:
        assert read(payload | change, store).content_hash != before
    dollars = parse(payload, store=store, currency="USD", now=NOW, first_seen_at=NOW)
    assert dollars.content_hash != before


def test_what_postgres_cannot_store_is_dropped(store: Store) -> None:
    """NUL and lone surrogates are stripped, from every text."""
    dirty = "a\x00b\ud800c"
    payload = {
        **body("product_external"),
        "name": dirty,
        "description": dirty,
        "categories": [{"name": dirty}],
        "price": dirty,
        "external_url": f"https://x.example/{dirty}",
        "images": [{"id": 1, "src": f"https://x.example/{dirty}"}],
    }
    product = read(payload, store)
    assert (product.title, product.description, product.categories) == ("abc", "abc", ("abc",))
    assert product.product_url == product.images[0].url == "https://x.example/abc"
    assert product.price_text == "abc"


def test_description(store: Store) -> None:
    """A description loses its markup and keeps its lines; the short one stands in for an empty one."""
    payload = body("product_html_title")
    assert read(payload, store).description == "Heading\nOne\nTwo & three\nalert(1)\nStyled\n€ 5"
    short = payload | {"description": " <p></p> ", "short_description": "<p>Short</p>"}
    assert read(short, store).description == "Short"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("&lt;b&gt; &amp;amp;", "<b> &amp;"),
        ("3 < 5 > 2", "3 < 5 > 2"),
        ('<img alt="5 > 3">x', "x"),
        ("<p class=broken'>x</p>", "x"),
        ("a<!-- b <p>c</p> -->d", "ad"),
        ("a --> b", "a --> b"),
        ("a<script>if (b < c) {}</script>d<style>e{}</STYLE>f", "adf"),
        ("a<!-- open", "a"),
        ("Hats &amp; Caps", "Hats & Caps"),
    ],
)
def test_plain_text(markup: str, text: str) -> None:
    """Tags, comments, scripts and styles go, and entities are unescaped once."""
    assert plain_text(markup) == text


@pytest.mark.parametrize("piece", ["<a ", "<!--", '<a b="', "<script>", "<", "<a b='c", "-->", "&#"])
def test_hostile_markup_costs_little(piece: str) -> None:
    """Text of 400 kB that repeats the start of a tag is read all the same."""
    assert isinstance(plain_text(piece * (400_000 // len(piece))), str)


@given(st.text())
def test_any_text_can_be_stored(markup: str) -> None:
    """Whatever a shop writes, what remains can be encoded and has no NUL."""
    text = plain_text(markup)
    text.encode()
    assert "\x00" not in text


@given(
    st.dictionaries(
        st.sampled_from(sorted(body("product_cjk"))),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.just({}),
    )
)
def test_any_field_may_be_broken(broken: dict[str, Any]) -> None:
    """A field of another type than WooCommerce's counts as empty; nothing but a missing id is an error."""
    store = Store.model_validate({"id": "s", "url": "https://x.example", "consumer_key": "k", "consumer_secret": "s"})
    product = read({**body("product_cjk"), **broken, "id": 7}, store)
    assert product.external_id == "7"


@pytest.mark.parametrize("wrong", [None, "12a", "", "0", True, 0, -3, 1.5])
def test_no_id_is_no_product(wrong: object, store: Store) -> None:
    """A payload without a numeric id is refused, with the store's name and without the password in it."""
    with pytest.raises(ShopProtocolError, match="store atelier") as error:
        read(body("product_password") | {"id": wrong}, store)
    assert "s3cret" not in str(error.value)


def test_dates() -> None:
    """GMT dates come without a zone; null and the database's zero date are no date."""
    assert read_gmt("2026-11-20T15:55:45") == datetime(2026, 11, 20, 15, 55, 45, tzinfo=UTC)
    for nothing in (None, "", "0000-00-00T00:00:00", "-0001-11-30T00:00:00", "0001-01-01T00:00:00+05:00", 5):
        assert read_gmt(nothing) is None


@pytest.mark.parametrize(("text", "price"), [(".99", Decimal("0.99")), ("5.", Decimal("5.00"))])
def test_a_price_without_a_digit_on_one_side(text: str, price: Decimal) -> None:
    """Old imports write such prices, and the shop's pages show them."""
    assert read_price(text) == price
    assert read_price(".") is Reason.BAD_PRICE


def test_a_list_as_an_object_and_a_text_as_a_number(make_store: MakeStore) -> None:
    """PHP writes a list with gaps as an object with numeric keys, and a plugin a title as a number: both are meant."""
    payload = body("product_cjk")
    images = {str(10 - place): entry for place, entry in enumerate(reversed(payload["images"]))}
    changed = payload | {"images": images, "name": 501, "id": str(payload["id"])}
    assert problem_of(changed) == ""
    found = read(changed, make_store(images="all"))
    assert (found.title, found.external_id) == ("501", str(payload["id"]))
    assert [image.url for image in found.images] == [entry["src"] for entry in payload["images"]]


@pytest.mark.parametrize(
    ("name", "value"), [("images", "x"), ("images", {"a": 1}), ("categories", 7), ("name", ["a"]), ("price", {"v": 1})]
)
def test_a_field_of_another_form_keeps_the_product(store: Store, name: str, value: object) -> None:
    """Nothing is concluded from it: the product is unreadable for now, and keeps its last data."""
    payload = body("product_cjk")
    before = read(payload, store)
    merge = Merge(store, {before.external_id: before}, NOW, {}, {})
    after = merge.apply(Seen((payload | {name: value},)), currency="EUR")[before.external_id]
    assert after.outcome.status is Status.OK
    assert after.outcome.reasons == (Reason.UNREADABLE,)
    assert f"its field {name} is" in after.outcome.detail
    assert (after.title, after.images, after.price) == (before.title, before.images, before.price)


def test_an_empty_title_is_a_reason(store: Store) -> None:
    """A title of nothing but markup would be published as a blank line."""
    for title in ("", "<script>alert(1)</script>"):
        assert Reason.NO_TITLE in read(body("product_cjk") | {"name": title}, store).outcome.reasons


def test_a_relative_permalink_and_an_encoded_address(make_store: MakeStore) -> None:
    """They are resolved as a browser does on the shop's pages."""
    payload = body("product_cjk")
    image = payload["images"][0] | {"src": "https://cdn.example/a.jpg?w=1&amp;h=2&#038;copy=3"}
    found = read(payload | {"permalink": "/product/a/", "images": [image]}, make_store(url="https://shop.example/sub"))
    assert found.product_url == "https://shop.example/product/a/"
    assert found.images[0].url == "https://cdn.example/a.jpg?w=1&h=2&copy=3"


def test_the_placeholder_is_no_image(store: Store) -> None:
    """WooCommerce shows it for a product without any; an image of a plugin with the id 0 is one."""
    payload = body("product_cjk")
    placeholder = {"id": 0, "src": "https://s.example/wp-content/uploads/woocommerce-placeholder-600x600.png"}
    assert Reason.NO_IMAGE in read(payload | {"images": [placeholder]}, store).outcome.reasons
    foreign = {"id": 0, "src": "https://cdn.example/dress.jpg"}
    assert read(payload | {"images": [foreign]}, store).outcome == OK


def test_sold_out_products_stay_unless_the_store_lets_them_leave(make_store: MakeStore) -> None:
    """Stock comes back, and an order moves no date: the default keeps row and point."""
    sold_out = body("product_cjk") | {"stock_status": "outofstock"}
    assert read(sold_out, make_store()).outcome == OK
    assert read(sold_out, make_store(sold_out="remove")).outcome.reasons == (Reason.SOLD_OUT,)
