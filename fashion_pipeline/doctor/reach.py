"""Is there a WooCommerce at the store's address? Its name, the guard, the connection, the REST API's index."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fashion_pipeline.doctor.findings import Finding, Tried, failed, ok, warning
from fashion_pipeline.doctor.probe import Answer, ProbeClient
from fashion_pipeline.errors import BlockedAddress, FashionError, WebError
from fashion_pipeline.outcomes import Reason
from fashion_pipeline.shop.answers import about_redirect

_INDEX = {"_fields": "name,url,home,namespaces"}
_NAMESPACE = "wc/v3"
_LATER = frozenset({408, 425, 429})


async def reach(asking: ProbeClient) -> AsyncIterator[Finding]:
    """Yield a finding for the address, the connection and the REST API; what comes after one that failed is not tried."""
    yield await _address(asking)
    try:
        index = await asking.get(f"{asking.store.url}/wp-json/", _INDEX)
    except WebError as error:
        yield await _no_connection(asking, error)
        return
    yield await _connection(asking, index)
    yield await _rest_api(asking, index)


async def _address(asking: ProbeClient) -> Finding:
    """Resolve the shop's name, and judge what it leads to."""
    store = asking.store
    try:
        target = await asking.web.guard.judge(store.url)
    except BlockedAddress as error:
        advice = "correct the store's url in stores.yaml; for a test shop, list its host under allow_private_hosts"
        return failed(Tried.ADDRESS, asking.why(error), advice)
    except WebError as error:
        advice = "correct the store's url in stores.yaml, or look after this machine's DNS"
        return failed(Tried.ADDRESS, asking.why(error), advice)
    addresses = ", ".join(target.addresses[:3])
    more = f" and {len(target.addresses) - 3} more" if len(target.addresses) > 3 else ""
    found = addresses if target.host in target.addresses else f"{target.host} is {addresses}"
    allowed = any(host.strip("[]").lower() == target.host for host in store.allow_private_hosts)
    listed = " (listed under allow_private_hosts)" if allowed else ""
    return ok(Tried.ADDRESS, f"{found}{more}{listed}", addresses=list(target.addresses))


async def _connection(asking: ProbeClient, index: Answer) -> Finding:
    url, took = asking.store.url, f"first answer after {index.seconds:.2f} s"
    if url.lower().startswith("https://"):
        return ok(Tried.CONNECTION, f"https, its certificate is trusted; {took}", seconds=round(index.seconds, 3))
    found, measured = f"http, not encrypted; {took}", round(index.seconds, 3)
    other = f"https{url[4:]}"
    if await _is_rest_api(asking, other):
        return warning(
            Tried.CONNECTION, f"{found}; https answers too", f"set the store's url to {other}", seconds=measured
        )
    advice = (
        "give the shop a certificate when you can: requests are signed, but whoever is on the way reads the products"
    )
    return warning(Tried.CONNECTION, f"{found}; https does not answer", advice, seconds=measured)


async def _no_connection(asking: ProbeClient, error: WebError) -> Finding:
    """Say why there was no answer, and whether http in place of https would bring one."""
    url, found = asking.store.url, asking.why(error)
    no_https = error.reason is Reason.UNREACHABLE or "WRONG_VERSION_NUMBER" in str(error)
    if url.lower().startswith("https://") and no_https and await _is_rest_api(asking, other := f"http{url[5:]}"):
        advice = (
            f"give the shop a certificate, or set the store's url to {other}: requests are then signed, not encrypted"
        )
        return failed(Tried.CONNECTION, f"{found}; http answers", advice)
    if error.reason is Reason.TLS_ERROR:
        advice = "mend the shop's certificate, or name its private authority in ca_file"
    elif error.reason is Reason.TOO_SLOW:
        advice = "see why the shop does not answer in time: it may be down, or a firewall may swallow our requests"
    else:
        advice = "see that the shop is up, and that the store's url is right"
    return failed(Tried.CONNECTION, found, advice)


async def _rest_api(asking: ProbeClient, index: Answer) -> Finding:
    """Judge what answered at ``/wp-json/``; where that is no index, look for one without pretty addresses."""
    if index.status in _LATER or index.status >= 500:
        return _down(index)
    if index.status == 403 and not index.code:
        found = f"/wp-json/ answered {index.said}"
        advice = "a firewall refuses us: let the User-Agent that begins with fashion-pipeline reach /wp-json/"
        return failed(Tried.REST_API, found, advice)
    if index.status in {401, 403} and index.code:
        return ok(Tried.REST_API, f"/wp-json/ is there, closed to strangers: {index.said}")
    namespaces = _namespaces(index)
    if namespaces is None:
        return await _no_index(asking, index)
    if _NAMESPACE not in namespaces:
        advice = "activate the plugin WooCommerce there, in version 5.8 or newer"
        return failed(Tried.REST_API, f"/wp-json/ is there, but without {_NAMESPACE}", advice)
    return ok(Tried.REST_API, f"/wp-json/ is there, with {_NAMESPACE}")


def _down(index: Answer) -> Finding:
    wait = index.reply.headers.get("retry-after", "")[:20]
    pause = f" and asks to wait {wait} s" if wait.isdecimal() else ""
    found = f"/wp-json/ answered {index.said}{pause}"
    if index.status in {429, 503}:
        return failed(Tried.REST_API, found, "the shop is busy or in maintenance: try again later")
    return failed(Tried.REST_API, found, "the shop is broken: its web server's or PHP's error log says why")


async def _no_index(asking: ProbeClient, index: Answer) -> Finding:
    answered = f"{index.status}, a redirect" if 300 <= index.status < 400 else f"{index.status} with {index.kind}"
    found = f"/wp-json/ answered {answered}"
    try:
        plain = await asking.get(f"{asking.store.url}/", {"rest_route": "/", **_INDEX})
    except WebError:
        plain = None
    if plain is not None and _namespaces(plain) is not None:
        found = f"{found}, /?rest_route=/ is there"
        if "rest_route=" in plain.reply.headers.get("link", ""):  # asked as a stranger: no key in it
            advice = "the shop's permalinks are set to Plain: choose another structure under Settings > Permalinks"
        else:
            advice = "the shop's web server does not pass /wp-json/ to WordPress: save Settings > Permalinks once more, or mend its rewrite rules"
        return failed(Tried.REST_API, found, advice)
    if 300 <= index.status < 400:
        return failed(Tried.REST_API, found, about_redirect(index.reply, store=asking.store))
    if index.status == 200:
        advice = "a page answers in place of the REST API: correct the store's url, or exempt /wp-json/ from the cache or plugin in front of it"
        return failed(Tried.REST_API, found, advice)
    advice = "there is no WordPress at this address: correct the store's url in stores.yaml"
    return failed(Tried.REST_API, f"{found}, and so did /?rest_route=/" if plain else found, advice)


def _namespaces(answer: Answer) -> list[object] | None:
    """Return what an index of the REST API lists; None where the answer is none."""
    value = answer.value if answer.status == 200 and isinstance(answer.value, dict) else {}
    namespaces = value.get("namespaces")
    return namespaces if isinstance(namespaces, list) else None


async def _is_rest_api(asking: ProbeClient, url: str) -> bool:
    try:
        return _namespaces(await asking.get(f"{url}/wp-json/", _INDEX)) is not None
    except FashionError:
        return False
