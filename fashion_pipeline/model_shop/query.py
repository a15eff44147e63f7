"""The arguments of ``GET /wc/v3/products``: checked as WordPress checks them, then applied.

``products_args.json`` is the argument list that WooCommerce 11.0.1 publishes; what it declares
is validated, and these are applied: paging, order, status (also include_status, exclude_status),
include, exclude, after, before, modified_after, modified_before, dates_are_gmt, type, sku, slug,
stock_status. Others are accepted and ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from fashion_pipeline.model_shop.payload import product_payload
from fashion_pipeline.model_shop.shop import ModelProduct, ModelShop

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}(?::\d{2})?)?")
_ANY = ("publish", "future", "draft", "pending", "private")


@cache
def products_args() -> dict[str, dict[str, Any]]:
    """Return the argument list of the products route, by name."""
    text = files("fashion_pipeline.model_shop").joinpath("products_args.json").read_text("utf-8")
    args: dict[str, dict[str, Any]] = json.loads(text)
    return args


def read_arguments(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Turn arguments as they came into values with defaults, and a problem for each that is wrong.

    Returns:
        The values by name, and ``{name: {code, message, data}}`` of the problems.
    """
    values: dict[str, Any] = {}
    problems: dict[str, dict[str, Any]] = {}
    for name, schema in products_args().items():
        if name in given:
            value = _cast(given[name], schema)
            problem = _problem(name, value, schema)
            if problem:
                problems[name] = {"code": problem[0], "message": problem[1], "data": None}
            values[name] = value
        elif "default" in schema:
            values[name] = schema["default"]
    return values, problems


def select(shop: ModelShop, args: Mapping[str, Any], among: Iterable[ModelProduct] | None = None) -> list[ModelProduct]:
    """Return the products (or of some variations those) that match, in order, before paging."""
    wanted = [_status_filter(args), _id_filter(args), *_field_filters(args), *_date_filters(shop, args)]
    found = [p for p in (list(shop.products.values()) if among is None else among) if all(test(p) for test in wanted)]
    return _ordered(shop, found, args)


def _cast(value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema["type"]
    if kind == "integer" and isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
        return int(value)
    if kind == "boolean" and isinstance(value, str) and value.lower() in {"true", "false", "1", "0", ""}:
        return value.lower() in {"true", "1"}
    if kind == "array":
        items = [item for item in re.split(r"[\s,]+", value) if item] if isinstance(value, str) else list(value)
        return [_cast(item, schema["items"]) for item in items]
    return value


def _problem(name: str, value: Any, schema: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the code and the sentence of what is wrong with a value, if anything is."""
    kind = schema["type"]
    if (kind == "integer" and not isinstance(value, int)) or (kind == "boolean" and not isinstance(value, bool)):
        return "rest_invalid_type", f"{name} is not of type {kind}."
    if kind == "array":
        problems = (_problem(f"{name}[{place}]", item, schema["items"]) for place, item in enumerate(value))
        return next(filter(None, problems), None)
    if "enum" in schema and value not in schema["enum"]:
        return "rest_not_in_enum", f"{name} is not one of {_listed(schema['enum'])}."
    if schema.get("format") == "date-time" and not _DATE.fullmatch(str(value)):
        return "rest_invalid_date", "Invalid date."
    bounds = _bounds(value, schema)
    return ("rest_out_of_bounds", f"{name} must be {bounds}") if bounds else None


def _bounds(value: Any, schema: Mapping[str, Any]) -> str:
    """Say which bounds a value misses."""
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None or least <= value <= (value if most is None else most):
        return ""
    if most is None:
        return f"greater than or equal to {least}"
    return f"between {least} (inclusive) and {most} (inclusive)"


def _listed(items: Iterable[str]) -> str:
    *most, last = items
    return f"{most[0]} and {last}" if len(most) == 1 else f"{', '.join(most)}, and {last}"


def _status_filter(args: Mapping[str, Any]) -> Callable[[ModelProduct], bool]:
    named = args.get("include_status") or [args["status"]]
    statuses = {status for name in named for status in (_ANY if name == "any" else (name,))}
    statuses -= set(args.get("exclude_status") or ())
    return lambda product: product.status in statuses


def _id_filter(args: Mapping[str, Any]) -> Callable[[ModelProduct], bool]:
    """Keep what is included; only without such a list, what is not excluded (as WP_Query does)."""
    include, exclude = set(args["include"]), set(args["exclude"])
    return lambda product: product.id in include if include else product.id not in exclude


def _field_filters(args: Mapping[str, Any]) -> list[Callable[[ModelProduct], bool]]:
    tests: list[Callable[[ModelProduct], bool]] = []
    if "slug" in args:
        tests.append(lambda product: product.slug == args["slug"])
    if "sku" in args:
        skus = set(args["sku"].split(","))
        tests.append(lambda product: product.fields.get("sku", "") in skus)
    if "type" in args:
        tests.append(lambda product: product.fields.get("type", "simple") == args["type"])
    if "stock_status" in args:
        tests.append(lambda product: product.fields.get("stock_status", "instock") == args["stock_status"])
    return tests


def _date_filters(shop: ModelShop, args: Mapping[str, Any]) -> list[Callable[[ModelProduct], bool]]:
    """Compare as MySQL does: a date column, local or GMT, with a naive string; both ends excluded.

    A value without a suffix is taken as it stands. One with a suffix is converted to the site's
    zone first, also when the GMT column is compared: the trap of ``Z`` with ``dates_are_gmt``.
    """

    def column(moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        return (moment if args["dates_are_gmt"] else moment.astimezone(shop.zone)).replace(tzinfo=None)

    tests: list[Callable[[ModelProduct], bool]] = []
    for name in ("after", "before", "modified_after", "modified_before"):
        if name in args:
            limit = _naive(shop, args[name])

            def test(product: ModelProduct, name: str = name, limit: datetime = limit) -> bool:
                date = column(product.modified if name.startswith("modified") else product.created)
                if date is None:
                    return name.endswith("before")
                return date > limit if name.endswith("after") else date < limit

            tests.append(test)
    return tests


def _naive(shop: ModelShop, value: str) -> datetime:
    moment = datetime.fromisoformat(value.upper().replace(" ", "T"))
    if moment.tzinfo is not None:
        moment = moment.astimezone(shop.zone)
    return moment.replace(tzinfo=None, microsecond=0)


def _ordered(shop: ModelShop, found: list[ModelProduct], args: Mapping[str, Any]) -> list[ModelProduct]:
    if args["orderby"] in {"include", "post__in"}:
        places = {key: place for place, key in enumerate(args["include"])}
        return sorted(found, key=lambda product: places.get(product.id, len(places)))

    def price(product: ModelProduct) -> float:
        try:
            return float(product_payload(shop, product)["price"] or 0)
        except ValueError:
            return 0.0

    def local(moment: datetime | None) -> datetime:
        return moment.astimezone(shop.zone).replace(tzinfo=None) if moment else datetime.min  # noqa: DTZ901 - MySQL's 0000-00-00

    keys: dict[str, Callable[[ModelProduct], Any]] = {
        "date": lambda p: local(p.created),
        "modified": lambda p: local(p.modified),
        "title": lambda p: str(p.fields["name"]).casefold(),
        "slug": lambda p: p.slug,
        "price": price,
        "menu_order": lambda p: p.fields.get("menu_order", 0),
        "popularity": lambda p: p.fields.get("total_sales", 0),
        "sales": lambda p: p.fields.get("total_sales", 0),
        "rating": lambda p: float(p.fields.get("average_rating", 0)),
    }
    key = keys.get(args["orderby"])
    if key and not shop.ties_by_id:
        return _ordered_but_for_ties(shop, found, args, key)
    return sorted(found, key=lambda p: (key(p) if key else 0, p.id), reverse=args["order"] == "desc")


def _ordered_but_for_ties(
    shop: ModelShop, found: list[ModelProduct], args: Mapping[str, Any], key: Callable[[ModelProduct], Any]
) -> list[ModelProduct]:
    """Order by a key alone: of equal rows, every third page repeats the one before it, and now and then they are shuffled.

    So WooCommerce 10.0.2 pages through a bulk edit: MariaDB sorts anew for each LIMIT.
    """
    groups: dict[Any, list[ModelProduct]] = {}
    for product in sorted(found, key=lambda product: product.id):
        groups.setdefault(key(product), []).append(product)
    shuffled, repeats, rows = shop.dice.random() < 0.05, args["page"] % 3 == 0, []
    for value in sorted(groups, reverse=args["order"] == "desc"):
        group = groups[value]
        if shuffled:
            group = shop.dice.sample(group, len(group))
        elif repeats:
            by = args["per_page"] % len(group)
            group = group[-by:] + group[:-by]
        rows += group
    return rows
