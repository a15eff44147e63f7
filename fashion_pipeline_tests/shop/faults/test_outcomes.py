from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fashion_pipeline.errors import ShopAuthError, ShopError, ShopProtocolError, ShopUnavailable
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.shop.rest import CULPRIT
from fashion_pipeline_tests.clock import MONDAY
from fashion_pipeline_tests.model_shop import faults
from fashion_pipeline_tests.shop.faults.stage import Stage, assert_no_keys

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

URL = "https://shop.example/atelier/wp-json/wc/v3/products"
PLAIN = "choose another structure under Settings > Permalinks"
FAILS = "the shop's own software fails: its owner finds the cause in the logs of PHP and of the database"
NOT_ALLOWED = (
    f"GET {URL} answered 401 (woocommerce_rest_cannot_view: Sorry, you cannot list resources.); the key is "
    "unknown to the shop, or its server drops the Authorization header, or WordPress does not know that it is served "
    "over https, or its permalinks are set to Plain: run fashion-pipeline doctor atelier to find out which"
)


@dataclass(frozen=True, slots=True)
class Ends:
    """A fault that ends every read, and the whole message behind the store's name."""

    fault: Callable[[], Fault]
    error: type[ShopError]
    says: str
    requests: int


ENDS = {
    "429 for two minutes": Ends(
        faults.busy,
        ShopUnavailable,
        f"GET {URL} answered 429 with the page 'Too Many Requests'; its host limits the rate of requests (it asks "
        "to wait 120 s); a lower FASHION_CONNECTIONS_PER_HOST may help; it is retried later",
        requests=1,
    ),
    "503 without a word": Ends(
        lambda: faults.busy(503, None),
        ShopUnavailable,
        f"GET {URL} answered 503 with the page 'Service Unavailable'; the shop is busy or in maintenance; it is "
        "retried later",
        requests=4,
    ),
    "maintenance": Ends(
        faults.maintenance,
        ShopUnavailable,
        f"GET {URL} answered 503 with the page 'Maintenance'; the shop is busy or in maintenance (it asks to wait "
        "600 s); it is retried later",
        requests=1,
    ),
    "a gateway without an answer": Ends(
        lambda: faults.busy(502, None),
        ShopUnavailable,
        f"GET {URL} answered 502 with the page 'Service Unavailable'; the server in front of the shop got no response "
        "from it: if that lasts, inform the shop's owner; it is retried later",
        requests=4,
    ),
    "the database is down": Ends(
        faults.database_down,
        ShopUnavailable,
        f"GET {URL} answered 500 with the page 'Database Error'; {FAILS}; it is retried later",
        requests=6,
    ),
    "a fatal error of PHP": Ends(
        faults.fatal_error,
        ShopUnavailable,
        f"GET {URL} answered 500 with the page 'WordPress › Error'; {FAILS}; it is retried later",  # noqa: RUF001 - as WordPress writes it
        requests=6,
    ),
    "the connection is dropped": Ends(
        faults.drops,
        ShopUnavailable,
        f"{URL}: the host did not answer (Server disconnected.); it is retried later; check that the shop is up",
        requests=4,
    ),
    "a redirect to www": Ends(
        lambda: faults.redirects("https://www.shop.example"),
        ShopProtocolError,
        f"GET {URL} answered 301 without a WordPress error; it redirects to https://www.shop.example/atelier: set the "
        "store's url in stores.yaml to that",
        requests=1,
    ),
    "a firewall that refuses everyone": Ends(
        lambda: faults.firewall("."),
        ShopAuthError,
        f"GET {URL} answered 403 with the page 'Attention Required!'; a firewall in front of the shop blocks us: allow "
        "the User-Agent that begins with fashion-pipeline on /wp-json/wc/v3/",
        requests=1,
    ),
    "plain permalinks": Ends(
        faults.plain_permalinks,
        ShopProtocolError,
        f"GET {URL} answered 301 without a WordPress error; its permalinks are set to Plain: {PLAIN}",
        requests=1,
    ),
    "plain permalinks behind nginx": Ends(
        lambda: faults.plain_permalinks(404),
        ShopProtocolError,
        f"GET {URL} answered 404 with the page '404 Not Found'; there is no WordPress at this address, or its "
        f"permalinks are set to Plain: correct the store's url in stores.yaml, or {PLAIN}",
        requests=1,
    ),
    "WooCommerce is off": Ends(
        faults.inactive_woocommerce,
        ShopProtocolError,
        f"GET {URL} answered 404 (rest_no_route: No route was found matching the URL and request method.); "
        "WooCommerce is not active there: activate the plugin",
        requests=1,
    ),
    "the Authorization header is stripped": Ends(faults.strips_authorization, ShopAuthError, NOT_ALLOWED, requests=1),
    "WordPress knows nothing of https": Ends(faults.unaware_of_https, ShopAuthError, NOT_ALLOWED, requests=1),
}


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "poll"])
@pytest.mark.parametrize("name", ENDS)
async def test_a_fault_that_ends_a_read(
    name: str, sweep: bool, atelier: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A shop that cannot be read costs its store nothing, and the error tells store, address, cause and remedy."""
    case = ENDS[name]
    await atelier.read(sweep=True)
    before = atelier.table
    atelier.model.edit(atelier.ids[0], price="99")
    atelier.model.fault = case.fault()
    with pytest.raises(case.error) as error:
        await atelier.read(sweep=sweep)
    assert str(error.value) == f"store atelier: {case.says}"
    assert atelier.table is before
    assert len(atelier.model.asked) == case.requests
    assert_no_keys([atelier], caplog)
    atelier.model.fault = None
    await atelier.read()
    assert atelier.shown == atelier.there


@dataclass(frozen=True, slots=True)
class Bears:
    """A fault that a read bears; ``doubt`` is what a sweep then says of its listing."""

    fault: Callable[[Stage], Fault]
    doubt: str = ""


def no_total(status: str) -> str:
    return f"status {status}: the shop sends no X-WP-Total; let the header pass the proxy in front of it"


BEARS = {
    "a byte order mark": Bears(lambda _: faults.byte_order_mark()),
    "a notice of PHP": Bears(lambda _: faults.php_notice()),
    "both": Bears(lambda _: faults.together(faults.byte_order_mark(), faults.php_notice())),
    "a firewall against libraries": Bears(lambda _: faults.firewall()),
    "a slow answer": Bears(lambda _: faults.slow(0.001)),
    "no Date": Bears(lambda _: faults.no_date()),
    "no totals": Bears(lambda _: faults.no_totals(), f"{no_total('any')}; {no_total('trash')}"),
    "totals that fall": Bears(
        lambda _: faults.shrinking(), "status any: the number of products changed while they were read"
    ),
    "a listing that lost a quarter": Bears(lambda atelier: faults.loses_rows(*atelier.ids[1:3])),
    "one dropped connection": Bears(lambda _: faults.first(1, faults.drops())),
    "one failure of each kind": Bears(
        lambda _: faults.together(
            faults.first(1, faults.busy(retry_after="1")), faults.first(2, faults.database_down())
        )
    ),
}


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "poll"])
@pytest.mark.parametrize("name", BEARS)
async def test_a_fault_that_a_read_bears(
    name: str, sweep: bool, atelier: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost to a fault that a reader can bear, nothing is removed, and what cannot be believed is said."""
    case = BEARS[name]
    await atelier.read(sweep=True)
    atelier.model.edit(atelier.ids[0], price="99")
    atelier.model.fault = case.fault(atelier)
    counts = await atelier.read(sweep=sweep)
    assert atelier.shown == atelier.there
    assert (counts.left, counts.held) == (0, "")
    assert counts.doubt == (case.doubt if sweep else "")
    assert counts.complete == (sweep and not case.doubt)
    assert_no_keys([atelier], caplog)


@pytest.mark.parametrize("name", ["totals that fall", "a listing that lost a quarter", "no totals"])
async def test_a_departure_while_a_listing_is_wrong(name: str, atelier: Stage) -> None:
    """A product deleted while the listing cannot be believed stays until one can; where it can, it leaves alone."""
    await atelier.read(sweep=True)
    gone, kept = atelier.ids[0], atelier.ids[1:]
    atelier.model.force_delete(gone)
    atelier.model.fault = BEARS[name].fault(atelier)
    counts = await atelier.read(sweep=True)
    assert counts.left == (1 if counts.complete else 0)
    assert set(atelier.shown) >= {str(key) for key in kept}
    atelier.model.fault = None
    await atelier.read(sweep=True)
    assert atelier.shown == atelier.there


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "poll"])
async def test_a_poison_product(sweep: bool, atelier: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A product that makes its page fail costs only itself: it stays as it was, and its outcome says what to look for."""
    await atelier.read(sweep=True)
    culprit, before = atelier.ids[3], atelier.shown
    for product_id in atelier.ids[2:5]:
        atelier.model.edit(product_id, price="99")
    atelier.model.fault = faults.poison(culprit)
    counts = await atelier.read(sweep=sweep)
    assert (counts.unreadable, counts.left) == (1, 0)
    assert atelier.shown == {**atelier.there, str(culprit): before[str(culprit)]}
    assert atelier.table is not None
    (row,) = [row for row in atelier.table.rows if Reason.UNREADABLE in row.outcome.reasons]
    assert (row.external_id, row.outcome.detail) == (str(culprit), CULPRIT)
    assert_no_keys([atelier], caplog)
    atelier.model.fault = None
    await atelier.read(sweep=sweep)
    assert atelier.shown == atelier.there


async def test_the_same_page_for_ever(atelier: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A shop that ignores page ends a sweep after one round of pages, with the parameter's name."""
    await atelier.read(sweep=True)
    before = atelier.table
    atelier.model.fault = faults.same_page()
    with pytest.raises(ShopProtocolError) as error:
        await atelier.read(sweep=True)
    assert str(error.value) == (
        "store atelier: https://shop.example/atelier answers with the same products whatever page is asked for; a "
        "plugin or a cache drops the parameter page; exempt /wp-json/ from it"
    )
    assert atelier.table is before
    assert_no_keys([atelier], caplog)


async def test_an_old_woocommerce(atelier: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A shop before 5.8 ends a poll with what to update, after one request; sweeps go on."""
    await atelier.read(sweep=True)
    atelier.model.fault = faults.old_woocommerce()
    with pytest.raises(ShopProtocolError) as error:
        await atelier.read()
    assert str(error.value) == (
        f"store atelier: https://shop.example/atelier lists product {atelier.ids[0]} as modified after "
        "2026-11-16T11:46:00 although its date is 2026-10-17T12:00:00: it ignores modified_after; update WooCommerce to "
        "5.8 or newer, or switch off the plugin that drops it"
    )
    assert len(atelier.model.asked) == 1
    assert_no_keys([atelier], caplog)
    atelier.model.edit(atelier.ids[0], price="99")
    await atelier.read(sweep=True)
    assert atelier.shown == atelier.there


@pytest.mark.parametrize("retry_after", ["30", (MONDAY + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(status: int, retry_after: str, atelier: Stage) -> None:
    """A pause that a shop asks for, in seconds or as a date, is kept before the same read goes on."""
    atelier.model.fault = faults.first(1, faults.busy(status, retry_after))
    began = MONDAY + timedelta(minutes=1)
    await atelier.read(sweep=True)
    assert atelier.clock.now() == began + timedelta(seconds=30)
    assert atelier.shown == atelier.there


async def test_a_long_pause_is_left_to_the_next_run(atelier: Stage) -> None:
    """A pause of hours is not waited for."""
    atelier.model.fault = faults.busy(429, "7200")
    with pytest.raises(ShopUnavailable, match="it asks to wait 7200 s"):
        await atelier.read(sweep=True)
    assert atelier.clock.waits == []


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "poll"])
async def test_hidden_products(sweep: bool, atelier: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Products hidden from the key stay as they were; a sweep marks them unreadable, with address, words and remedy."""
    await atelier.read(sweep=True)
    hidden = {str(key) for key in atelier.ids[:3]}
    atelier.model.hidden = set(atelier.ids[:3])
    counts = await atelier.read(sweep=sweep)
    assert atelier.shown == atelier.there
    assert counts.left == 0
    assert atelier.table is not None
    details = {row.external_id: row.outcome.detail for row in atelier.table.rows if row.external_id in hidden}
    assert details == {
        key: f"absent from the listing, and cannot be read by its id: store atelier: GET {URL}/{key} answered 403 "
        "(woocommerce_rest_cannot_view: Sorry, you cannot view this resource.); the key's user may not see products: "
        "create a key for an administrator or a shop manager"
        if sweep
        else ""
        for key in hidden
    }
    assert_no_keys([atelier], caplog)
