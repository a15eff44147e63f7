from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fashion_pipeline.demo.catalogue import PRODUCTS, SPECIALS, STORES, environment, model_shops, specials, stores_yaml
from fashion_pipeline.model_shop.payload import product_payload
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline.stores_file import read_stores
from fashion_pipeline_tests.demo.passing import passes

ORIGIN = "http://127.0.0.1:8123"


def rows(shop: ModelShop) -> list[dict[str, object]]:
    """Return a shop's payloads without what is shuffled on purpose."""
    return [{**product_payload(shop, product), "related_ids": []} for product in shop.products.values()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_hundred_images_pass_the_default_thresholds(tmp_path: Path) -> None:
    """Of the default demo, at least 100 different URLs of publishable products serve a passing image."""
    passing = 0
    for shop in model_shops(ORIGIN, image_folder=tmp_path).values():
        unusual = {special.title: special for special in SPECIALS}
        good = {
            shop.attachments[product.attachments[0]].url
            for product in shop.products.values()
            if product.fields["name"] not in unusual or unusual[str(product.fields["name"])].expected is None
        }
        passing += sum(passes(shop.uploads[url.partition("/uploads/")[2]].read()) for url in good)
    assert passing >= 100


def test_a_shop_opened_anew_is_unchanged(tmp_path: Path) -> None:
    """Ids, addresses, dates, prices and titles are the same in every run."""
    first, again = (model_shops(ORIGIN, image_folder=tmp_path / name) for name in ("one", "two"))
    for store_id, shop in first.items():
        assert rows(shop) == rows(again[store_id])
        assert {path: upload.modified for path, upload in shop.uploads.items()} == {
            path: upload.modified for path, upload in again[store_id].uploads.items()
        }


def test_related_products_are_shuffled(tmp_path: Path) -> None:
    """related_ids differ from answer to answer, as WooCommerce's do, so that nobody hashes them."""
    shop = model_shops(ORIGIN, image_folder=tmp_path, stores=1)["atelier-nord"]
    product = shop.products[min(shop.products)]
    seen = {tuple(product_payload(shop, product)["related_ids"]) for _ in range(20)}
    assert len(seen) > 1


def test_each_shop_has_every_fault_once(tmp_path: Path) -> None:
    """Both shops have the asked number of products, each unusual one among them once, under its own name."""
    names = [special.name for special in SPECIALS]
    assert len(set(names)) == len(names)
    shops = model_shops(ORIGIN, image_folder=tmp_path)
    assert len(shops) == STORES
    assert {shop.currency for shop in shops.values()} == {"EUR", "GBP"}
    for shop in shops.values():
        titles = Counter(product.fields["name"] for product in shop.products.values())
        assert len(shop.products) == PRODUCTS
        assert all(titles[special.title] == 1 for special in SPECIALS)


def test_one_coat_is_sold_in_every_shop(tmp_path: Path) -> None:
    """One image has equal bytes in both shops, so that it need be embedded only once."""
    contents = set()
    for shop in model_shops(ORIGIN, image_folder=tmp_path).values():
        (coat,) = (product for product in shop.products.values() if product.fields["name"] == "Sister-shop coat")
        path = shop.attachments[coat.attachments[0]].url.partition("/uploads/")[2]
        contents.add(shop.uploads[path].read())
    assert len(contents) == 1


def test_small_and_many_shops(tmp_path: Path) -> None:
    """A small shop keeps half of its products ordinary, and further shops have ids of their own."""
    shops = model_shops(ORIGIN, image_folder=tmp_path, products=10, stores=6)
    assert len(specials(10)) == 5
    assert list(shops)[-2:] == ["shop-5", "shop-6"]
    assert {len(shop.products) for shop in shops.values()} == {10}


def test_stores_yaml_is_one_the_settings_accept(tmp_path: Path) -> None:
    """The demo's stores.yaml is read with the demo's environment, keys and shops matching."""
    path = tmp_path / "stores.yaml"
    path.write_text(stores_yaml(8123), "utf-8")
    stores = read_stores(path, environment=environment())
    shops = model_shops(ORIGIN, image_folder=tmp_path)
    assert list(stores) == list(shops)
    for store_id, store in stores.items():
        (key,) = shops[store_id].keys
        assert store.url == shops[store_id].url
        assert store.consumer_key.get_secret_value() == key.consumer_key
        assert store.consumer_secret.get_secret_value() == key.consumer_secret
        assert store.allow_private_hosts == ("127.0.0.1",)


def test_the_catalogue_is_light_to_import() -> None:
    """Importing the catalogue and the stage loads no server, no numpy and no Pillow."""
    code = (
        "import sys, fashion_pipeline.demo.catalogue, fashion_pipeline.demo.stage;"
        "print([name for name in ('numpy', 'PIL', 'starlette', 'uvicorn', 'oauthlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
