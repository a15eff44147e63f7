"""The REST API of the model shop: the parts of WordPress 7 and WooCommerce 11.0.1 that a reader meets.

Bodies, headers and errors are those recorded from a real shop; the contract tests hold the two
against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.model_shop.auth import NotAuthenticated, authenticate
from fashion_pipeline.model_shop.options import currency_setting, current_currency, general_settings, system_status
from fashion_pipeline.model_shop.payload import product_payload, variation_as_product, variation_payload
from fashion_pipeline.model_shop.query import products_args, read_arguments, select
from fashion_pipeline.model_shop.shop import VIEW_PRODUCTS, VIEW_SETTINGS, Key, ModelProduct, ModelShop
from fashion_pipeline.model_shop.variations import living, variations_of

_NO_CACHE = "no-cache, must-revalidate, max-age=0, no-store, private"

_BELOW_PRODUCTS = re.compile(r"wc/v3/products/(?P<id>\d+)(?P<variations>/variations(?:/(?P<variation>\d+))?)?")


class Refusal(Exception):
    """A WP_Error: a code, a sentence and a status."""

    def __init__(self, status: int, code: str, message: str, *, allow: str = "", **data: Any) -> None:
        super().__init__(message)
        self.status = status
        self.allow = allow
        self.body = {"code": code, "message": message, "data": {"status": status, **data}}


class RestRequest:
    """One request to a shop's REST API."""

    def __init__(self, shop: ModelShop, request: Request) -> None:
        self.shop = shop
        self.request = request
        self.key: Key | None = None
        self.given: dict[str, Any] = {}
        self.headers: dict[str, str] = {}

    async def answer(self, route: str) -> Response:
        """Answer with the route's body, or with the error body WordPress would send."""
        try:
            self.key = authenticate(self.shop, self.request)
            self.given = await self._arguments()
            return self._json(200, self._route(route))
        except NotAuthenticated as error:
            body = {"code": error.code, "message": error.message, "data": {"status": 401}}
            return self._json(401, body, logged_in=error.logged_in)
        except Refusal as error:
            if error.allow:
                self.headers["allow"] = error.allow
            return self._json(error.status, error.body)

    async def _arguments(self) -> dict[str, Any]:
        """Merge what query and JSON body say; the body wins, also on a GET."""
        given: dict[str, Any] = {}
        for name, value in self.request.query_params.multi_items():
            plain, bracket, _ = name.partition("[")
            given[plain] = [*given.get(plain, []), value] if bracket else value
        if self.request.headers.get("content-type", "").startswith("application/json"):
            body = await self.request.body()
            try:
                given |= json.loads(body or b"{}")
            except ValueError:
                raise Refusal(400, "rest_invalid_json", "Invalid JSON body passed.") from None
        return given

    def _route(self, route: str) -> Any:
        method = self.request.headers.get("x-http-method-override", self.request.method)
        routes: dict[str, Callable[[], Any]] = {
            "": self._index,
            "wc/v3": self._capabilities,
            "wc/v3/products": self._products,
            "wc/v3/variations": self._variations,
            "wc/v3/settings/general": self._settings,
            "wc/v3/settings/general/woocommerce_currency": self._currency_setting,
            "wc/v3/data/currencies/current": self._currency,
            "wc/v3/system_status": self._system_status,
        }
        read = routes.get(route)
        below = _BELOW_PRODUCTS.fullmatch(route)
        if below and below["variation"]:
            return self._product(int(below["variation"]), method, parent_id=int(below["id"]))
        if below and not below["variations"]:
            return self._product(int(below["id"]), method)
        if below:
            read = partial(self._variations, int(below["id"]))
        if read is None or method not in {"GET", "HEAD"}:
            raise Refusal(404, "rest_no_route", "No route was found matching the URL and request method.")
        return read()

    def _index(self) -> Any:
        self.headers["allow"] = "GET"
        offset = self.shop.clock.now().astimezone(self.shop.zone).utcoffset()
        return self._chosen(
            {
                "name": self.shop.id.replace("-", " ").title(),
                "description": "",
                "url": self.shop.url,
                "home": self.shop.url,
                "gmt_offset": offset.total_seconds() / 3600 if offset else 0,
                "timezone_string": self.shop.zone.key,
                "namespaces": ["oembed/1.0", "wc/v3", "wc/v1", "wc/v2", "wp/v2"],
                "authentication": {},
                "routes": {},
            }
        )

    def _capabilities(self) -> Any:
        self.headers["allow"] = "GET"
        up = {"up": [{"href": f"{self.shop.url}/wp-json/"}]}
        endpoints = [{"methods": ["GET"], "args": products_args()}]
        products = {"namespace": "wc/v3", "methods": ["GET", "POST"], "endpoints": endpoints}
        body = {"namespace": "wc/v3", "routes": {"/wc/v3": {}, "/wc/v3/products": products}}
        return self._chosen(body) | {"_links": up}

    def _products(self) -> Any:
        rows = self._listed("products", None)
        self.headers["allow"] = "GET, POST"
        return [self._chosen(product_payload(self.shop, row)) for row in rows]

    def _variations(self, parent_id: int | None = None) -> Any:
        """List the variations of a parent, or of all; of a parent that is missing there are none."""
        if parent_id is None:
            rows = self._listed("variations", living(self.shop))
        else:
            rows = self._listed(f"products/{parent_id}/variations", variations_of(self.shop, parent_id))
        self.headers["allow"] = "GET" if parent_id is None else "GET, POST"
        below_parent = parent_id is not None
        return [self._chosen(variation_payload(self.shop, row, below_parent=below_parent)) for row in rows]

    def _listed(self, route: str, among: list[ModelProduct] | None) -> list[ModelProduct]:
        """Return one page of what matches the arguments, and set its headers."""
        args, problems = read_arguments(self.given)
        if problems:
            names = ", ".join(problems)
            messages = {name: problem["message"] for name, problem in problems.items()}
            raise Refusal(
                400,
                "rest_invalid_param",
                f"Invalid parameter(s): {names}",
                allow="GET, POST" if self._may(VIEW_PRODUCTS) else "",
                params=messages,
                details=problems,
            )
        self._need(VIEW_PRODUCTS)
        found = select(self.shop, args, among)
        asked, page = args["per_page"], args["page"]
        per_page = min(asked, self.shop.page_cap or asked)
        pages = -(-len(found) // (per_page if self.shop.honest_cap else asked))
        first = args["offset"] if "offset" in args else (page - 1) * per_page
        self.headers |= {"x-wp-total": str(len(found)), "x-wp-totalpages": str(pages)}
        self._link_pages(route, page, pages)
        return [row for row in found[first : first + per_page] if row.id not in self.shop.hidden]

    def _product(self, product_id: int, method: str, *, parent_id: int | None = None) -> Any:
        """Answer with one product, or one variation: below its parent in a form of its own."""
        if method not in {"GET", "HEAD"}:
            raise Refusal(404, "rest_no_route", "No route was found matching the URL and request method.")
        every_method = "GET, POST, PUT, PATCH, DELETE"
        variation = self.shop.variations.get(product_id)
        product = self.shop.products.get(product_id) if parent_id is None else None
        found = product or variation
        if found is None or (parent_id is not None and parent_id != found.parent_id):
            allow = every_method if self._may(VIEW_PRODUCTS) else ""
            raise Refusal(404, "woocommerce_rest_product_invalid_id", "Invalid ID.", allow=allow)
        self._need(VIEW_PRODUCTS, "Sorry, you cannot view this resource.")
        self.headers["allow"] = every_method
        if found.id in self.shop.hidden:
            raise Refusal(403, "woocommerce_rest_cannot_view", "Sorry, you cannot view this resource.")
        if found is product:
            return self._chosen(product_payload(self.shop, found))
        if parent_id is None:
            return self._chosen(variation_as_product(self.shop, found))
        return self._chosen(variation_payload(self.shop, found, below_parent=True))

    def _settings(self) -> Any:
        self._need(VIEW_SETTINGS)
        self.headers["allow"] = "GET"
        return [self._chosen(setting) for setting in general_settings(self.shop)]

    def _currency_setting(self) -> Any:
        self._need(VIEW_SETTINGS)
        self.headers["allow"] = "GET, POST, PUT, PATCH"
        return self._chosen(currency_setting(self.shop))

    def _currency(self) -> Any:
        self._need(VIEW_SETTINGS)
        self.headers["allow"] = "GET"
        return self._chosen(current_currency(self.shop))

    def _system_status(self) -> Any:
        self._need(VIEW_SETTINGS)
        self.headers["allow"] = "GET"
        return self._chosen(system_status(self.shop))

    def _may(self, what: str) -> bool:
        return self.key is not None and what in self.key.may_view

    def _need(self, what: str, message: str = "Sorry, you cannot list resources.") -> None:
        if not self._may(what):
            raise Refusal(403 if self.key else 401, "woocommerce_rest_cannot_view", message)

    def _chosen(self, body: dict[str, Any]) -> dict[str, Any]:
        """Keep the top-level fields named in ``_fields``, in its order."""
        wanted = self.given.get("_fields")
        if not wanted:
            return body
        names = wanted.split(",") if isinstance(wanted, str) else wanted
        return {name.strip(): body[name.strip()] for name in names if name.strip() in body}

    def _link_pages(self, route: str, page: int, pages: int) -> None:
        """Set Link to the neighbouring pages, the query copied into it: keys included, if it holds keys."""
        links = []
        if page > 1:
            links.append((min(page - 1, pages), "prev"))
        if page < pages:
            links.append((page + 1, "next"))
        if links:
            self.headers["link"] = ", ".join(f'<{self._page_url(route, number)}>; rel="{rel}"' for number, rel in links)

    def _page_url(self, route: str, page: int) -> str:
        pairs: dict[str, str] = {}
        for name, value in parse_qsl(self.request.url.query, keep_blank_values=True):
            schema = products_args().get(name, {})
            if schema.get("type") == "array":
                pairs |= {f"{name}[{place}]": item for place, item in enumerate(value.split(","))}
            else:
                pairs[name] = value
        pairs["page"] = str(page)
        return f"{self.shop.url}/wp-json/wc/v3/{route}?{urlencode(pairs)}"

    def _json(self, status: int, body: Any, *, logged_in: bool | None = None) -> Response:
        headers = {
            "content-type": "application/json; charset=UTF-8",
            "x-robots-tag": "noindex",
            "link": f'<{self.shop.url}/wp-json/>; rel="https://api.w.org/"',
            "access-control-expose-headers": "X-WP-Total, X-WP-TotalPages, Link",
            **self.headers,
        }
        if self.key is not None or logged_in:
            headers["cache-control"] = _NO_CACHE
        else:
            headers["vary"] = "Origin"
        return Response(json.dumps(body, separators=(",", ":")), status_code=status, headers=headers)
