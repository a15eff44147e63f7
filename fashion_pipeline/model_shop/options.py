"""The model shop's settings as WooCommerce 11.0.1 spells them: the five about prices, of twenty general ones."""

from __future__ import annotations

from typing import Any

from fashion_pipeline.model_shop.payload import DECIMAL_COMMA, SYMBOLS, symbol
from fashion_pipeline.model_shop.shop import ModelShop

_PLACES = {
    "left": "Left",
    "right": "Right",
    "left_space": "Left with space",
    "right_space": "Right with space",
}


def general_settings(shop: ModelShop) -> list[dict[str, Any]]:
    """Return the rows of ``/settings/general``."""
    comma = shop.currency in DECIMAL_COMMA
    names = {code: f"{name} ({sign}) \N{EM DASH} {code}" for code, (name, sign) in SYMBOLS.items()}
    said = (
        "This controls what currency prices are listed at in the catalog and which currency gateways will take "
        "payments in."
    )
    rows = (
        ("currency", "Currency", said, "select", "USD", shop.currency, names),
        (
            "currency_pos",
            "Currency position",
            "This controls the position of the currency symbol.",
            "select",
            "left",
            "left",
            _PLACES,
        ),
        ("price_thousand_sep", "Thousand separator", _sets("thousand"), "text", ",", "." if comma else ",", None),
        ("price_decimal_sep", "Decimal separator", _sets("decimal"), "text", ".", "," if comma else ".", None),
        (
            "price_num_decimals",
            "Number of decimals",
            "This sets the number of decimal points shown in displayed prices.",
            "number",
            "2",
            "2",
            None,
        ),
    )
    api = f"{shop.url}/wp-json/wc/v3/settings/general"
    return [
        {
            "id": f"woocommerce_{name}",
            "label": label,
            "description": about,
            "type": kind,
            "default": default,
            **({"options": options} if options else {}),
            "tip": about,
            "value": value,
            "_links": {
                "self": [
                    {
                        "href": f"{api}/woocommerce_{name}",
                        "targetHints": {"allow": ["GET", "POST", "PUT", "PATCH"]},
                    }
                ],
                "collection": [{"href": api}],
            },
        }
        for name, label, about, kind, default, value, options in rows
    ]


def currency_setting(shop: ModelShop) -> dict[str, Any]:
    """Return ``/settings/general/woocommerce_currency``: the row of the list, and its group."""
    row = general_settings(shop)[0]
    links = row.pop("_links")
    return row | {"group_id": "general", "_links": links}


def current_currency(shop: ModelShop) -> dict[str, Any]:
    """Return ``/data/currencies/current``."""
    code = shop.currency
    api = f"{shop.url}/wp-json/wc/v3/data/currencies"
    return {
        "code": code,
        "name": SYMBOLS.get(code, (code, ""))[0],
        "symbol": symbol(code),
        "_links": {
            "self": [{"href": f"{api}/{code}", "targetHints": {"allow": ["GET"]}}],
            "collection": [{"href": api}],
        },
    }


def system_status(shop: ModelShop) -> dict[str, Any]:
    """Return of ``/system_status`` what tells versions and currency."""
    comma = shop.currency in DECIMAL_COMMA
    return {
        "environment": {
            "home_url": shop.url,
            "site_url": shop.url,
            "version": "11.0.1",
            "wp_version": "7.0.4",
            "php_version": "8.2.35",
            "default_timezone": "UTC",
        },
        "settings": {
            "currency": shop.currency,
            "currency_symbol": symbol(shop.currency),
            "currency_position": "left",
            "thousand_separator": "." if comma else ",",
            "decimal_separator": "," if comma else ".",
            "number_of_decimals": 2,
        },
    }


def _sets(what: str) -> str:
    return f"This sets the {what} separator of displayed prices."
