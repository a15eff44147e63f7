"""Changes a running model shop over HTTP.

``POST /<store-id>/_control`` with ``Authorization: Bearer <TOKEN>`` and a JSON body ``{"do": <verb>, …}``.
``python -m fashion_pipeline_tests.model_shop.control`` serves the demo's shops with it.
"""

from __future__ import annotations

import base64
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fashion_pipeline.demo.serve import main
from fashion_pipeline.model_shop.shop import ModelShop
from fashion_pipeline_tests.model_shop import faults
from fashion_pipeline_tests.model_shop.wire import protocol

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

TOKEN = "open"
CONTROLLED = __name__
"""The program that serves the demo's shops and obeys orders."""


async def handle(shop: ModelShop, request: Request) -> Response | None:
    """Carry out an order: ``{"ok": true, …}``, or 4xx with a sentence in ``error``; None for any other request."""
    return await _carry_out(shop, request) if request.url.path == f"/{shop.id}/_control" else None


async def _carry_out(shop: ModelShop, request: Request) -> Response:
    if request.method != "POST":
        return _wrong(405, "POST a JSON object with the key 'do'")
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return _wrong(401, "the header 'Authorization: Bearer <token>' is missing or wrong")
    try:
        order = dict(await request.json())
        verb = _VERBS[order.pop("do")]
    except (KeyError, TypeError, ValueError):
        return _wrong(400, f"'do' must be one of {', '.join(_VERBS)}")
    try:
        result = await run_in_threadpool(verb, shop, order)
    except KeyError as error:
        return _wrong(404, f"{error} is missing, or names nothing in this shop")
    except (TypeError, ValueError) as error:
        return _wrong(400, str(error))
    return JSONResponse({"ok": True, **result})


def _wrong(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)


def _add(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": shop.add(**order["fields"])}


def _edit(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.edit(order["id"], **order["fields"])
    return {}


def _edit_silently(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.edit_silently(order["id"], **order["fields"])
    return {}


def _trash(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.trash(order["id"])
    return {}


def _untrash(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.untrash(order["id"])
    return {}


def _force_delete(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.force_delete(order["id"])
    return {}


def _add_variation(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": shop.add_variation(order["parent"], **order["fields"])}


def _edit_variation(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.edit_variation(order["id"], **order["fields"])
    return {}


def _delete_variation(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.delete_variation(order["id"])
    return {}


def _upload(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    content = base64.b64decode(order["content"], validate=True)
    return {"url": shop.upload(order["path"], content, content_type=order.get("content_type", "image/jpeg"))}


def _set_image(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the picture at ``url`` by base64 ``content``, or by the picture now at ``copy_of``."""
    if "copy_of" in order:
        content = shop.uploads[order["copy_of"].partition("/wp-content/uploads/")[2]].read()
    else:
        content = base64.b64decode(order["content"], validate=True)
    shop.set_image(order["url"], content, shop_knows=bool(order.get("shop_knows", False)))
    return {}


def _forget_image(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    shop.forget_image(order["url"])
    return {}


def _set(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    """Change what belongs to the shop as a whole: ``currency``, ``hidden`` (ids), ``latency_s``."""
    if "currency" in order:
        shop.currency = str(order["currency"])
    if "hidden" in order:
        shop.hidden = {int(key) for key in order["hidden"]}
    if "latency_s" in order:
        shop.latency_s = float(order["latency_s"])
    return {}


def _faults(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    """Let go wrong what the list ``faults`` says (see ``fault_of``), and nothing else; none: all is well."""
    shop.fault = fault_of(order["faults"])
    return {}


def _clock(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    """Stop the clock ``at`` an ISO moment with zone, or move it on by ``advance`` seconds."""
    if "at" in order:
        shop.clock.set(datetime.fromisoformat(order["at"]))
    shop.clock.advance(float(order.get("advance", 0))) if "advance" in order else None
    return {"now": shop.clock.now().isoformat()}


def _cron(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    return {"published": shop.run_cron()}


def _asked(shop: ModelShop, order: Mapping[str, Any]) -> dict[str, Any]:
    """Report the requests since the last ``clear``: how many, and to which paths."""
    seen = [{"method": a.method, "path": a.path, "status": a.status} for a in list(shop.asked)]
    if order.get("clear"):
        shop.asked.clear()
    return {"asked": seen}


_VERBS: dict[str, Callable[[ModelShop, Mapping[str, Any]], dict[str, Any]]] = {
    "add": _add,
    "edit": _edit,
    "edit_silently": _edit_silently,
    "trash": _trash,
    "untrash": _untrash,
    "force_delete": _force_delete,
    "add_variation": _add_variation,
    "edit_variation": _edit_variation,
    "delete_variation": _delete_variation,
    "upload": _upload,
    "set_image": _set_image,
    "forget_image": _forget_image,
    "set": _set,
    "faults": _faults,
    "clock": _clock,
    "cron": _cron,
    "asked": _asked,
}


FAULTS: dict[str, Callable[..., Fault]] = {
    made.__name__: made
    for made in (
        *(faults.busy, faults.database_down, faults.fatal_error, faults.maintenance, faults.inactive_woocommerce),
        *(
            faults.byte_order_mark,
            faults.php_notice,
            faults.poison,
            faults.same_page,
            faults.shrinking,
            faults.loses_rows,
        ),
        *(
            faults.slow,
            faults.drops,
            faults.redirects,
            faults.firewall,
            faults.plain_permalinks,
            faults.strips_authorization,
            faults.unaware_of_https,
        ),
        *(faults.no_date, faults.no_totals, faults.old_woocommerce, faults.stale_cache),
    )
}
"""The faults by name."""


def fault_of(orders: Iterable[Mapping[str, Any]]) -> Fault | None:
    """Make a fault of what JSON says: ``{"name": "poison", "ids": [17], "first": 3, "path": …, "query": …}``.

    Raises:
        ValueError: there is no fault of a name, or it has no such option.
    """
    made = []
    for order in orders:
        options = dict(order)
        times, path, query = options.pop("first", None), options.pop("path", ""), options.pop("query", None)
        name = options.pop("name", None)
        if name not in FAULTS:
            msg = f"'name' must be one of {', '.join(FAULTS)}"
            raise ValueError(msg)
        ids = options.pop("ids", ())
        try:
            fault = FAULTS[name](*ids, **options)
        except TypeError:
            msg = f"{name} takes {inspect.signature(FAULTS[name])}"
            raise ValueError(msg) from None
        fault = faults.only(fault, path=path, query=query) if path or query else fault
        made.append(fault if times is None else faults.first(int(times), fault))
    return faults.together(*made) if made else None


if __name__ == "__main__":
    sys.exit(main(handler=handle, http=protocol()))
