"""Checks that there is a WooCommerce at the store's address: DNS, guard, connection, and the REST API's index."""

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


async def reach(probe: ProbeClient) -> AsyncIterator[Finding]:
    """Yield findings for the address, the connection and the REST API. After a failed connection the rest is not tried."""
    yield await _address(probe)
    try:
        index = await probe.get(f"{probe.store.url}/wp-json/", _INDEX)
    except WebError as error:
        yield await _no_connection(probe, error)
        return
    yield await _connection(probe, index)
    yield await _rest_api(probe, index)


async def _address(probe: ProbeClient) -> Finding:
    """Resolve the shop's host name, and check that the addresses are allowed."""
    store = probe.store
    try:
        target = await probe.web.guard.judge(store.url)
    except BlockedAddress as error:
        advice = "correct the store's url in stores.yaml; for a test shop, list its host under allow_private_hosts"
        return failed(Tried.ADDRESS, probe.why(error), advice)
    except WebError as error:
        advice = "correct the store's url in stores.yaml, or fix this machine's DNS"
        return failed(Tried.ADDRESS, probe.why(error), advice)
    addresses = ", ".join(target.addresses[:3])
    more = f" and {len(target.addresses) - 3} more" if len(target.addresses) > 3 else ""
    found = addresses if target.host in target.addresses else f"{target.host} is {addresses}"
    allowed = any(host.strip("[]").lower() == target.host for host in store.allow_private_hosts)
    listed = " (listed under allow_private_hosts)" if allowed else ""
    return ok(Tried.ADDRESS, f"{found}{more}{listed}", addresses=list(target.addresses))


async def _connection(probe: ProbeClient, index: Answer) -> Finding:
    url, took = probe.store.url, f"first response after {index.seconds:.2f} s"
    if url.lower().startswith("https://"):
        return ok(Tried.CONNECTION, f"https with a trusted certificate; {took}", seconds=round(index.seconds, 3))
    found, seconds = f"http, not encrypted; {took}", round(index.seconds, 3)
    other = f"https{url[4:]}"
    if await _is_rest_api(probe, other):
        return warning(
            Tried.CONNECTION, f"{found}; https works too", f"set the store's url to {other}", seconds=seconds
        )
    advice = (
        "install a certificate on the shop: requests are signed, but anyone on the network path can read the products"
    )
    return warning(Tried.CONNECTION, f"{found}; https does not work", advice, seconds=seconds)


async def _no_connection(probe: ProbeClient, error: WebError) -> Finding:
    """Report why there was no response, and whether http in place of https works."""
    url, found = probe.store.url, probe.why(error)
    no_https = error.reason is Reason.UNREACHABLE or "WRONG_VERSION_NUMBER" in str(error)
    if url.lower().startswith("https://") and no_https and await _is_rest_api(probe, other := f"http{url[5:]}"):
        advice = f"install a certificate on the shop, or set the store's url to {other}: requests are then signed but not encrypted"
        return failed(Tried.CONNECTION, f"{found}; http works", advice)
    if error.reason is Reason.TLS_ERROR:
        advice = "install a valid certificate on the shop, or set ca_file to the certificate of its private authority"
    elif error.reason is Reason.TOO_SLOW:
        advice = "find out why the shop does not respond in time: it may be down, or a firewall may drop our requests"
    else:
        advice = "check that the shop is up, and that the store's url is right"
    return failed(Tried.CONNECTION, found, advice)


async def _rest_api(probe: ProbeClient, index: Answer) -> Finding:
    """Check the response of ``/wp-json/``; where it is not an index, try the plain URL."""
    if index.status in _LATER or index.status >= 500:
        return _down(index)
    if index.status == 403 and not index.code:
        found = f"/wp-json/ answered {index.said}"
        advice = "a firewall blocks us: allow the User-Agent that begins with fashion-pipeline on /wp-json/"
        return failed(Tried.REST_API, found, advice)
    if index.status in {401, 403} and index.code:
        return ok(Tried.REST_API, f"/wp-json/ exists and needs a login: {index.said}")
    namespaces = _namespaces(index)
    if namespaces is None:
        return await _no_index(probe, index)
    if _NAMESPACE not in namespaces:
        advice = "activate the plugin WooCommerce in the shop, in version 5.8 or newer"
        return failed(Tried.REST_API, f"/wp-json/ exists, but without {_NAMESPACE}", advice)
    return ok(Tried.REST_API, f"/wp-json/ exists, with {_NAMESPACE}")


def _down(index: Answer) -> Finding:
    wait = index.reply.headers.get("retry-after", "")[:20]
    pause = f" and asks to wait {wait} s" if wait.isdecimal() else ""
    found = f"/wp-json/ answered {index.said}{pause}"
    if index.status in {429, 503}:
        return failed(Tried.REST_API, found, "the shop is busy or in maintenance: try again later")
    return failed(Tried.REST_API, found, "the shop is broken: see the error log of its web server or of PHP")


async def _no_index(probe: ProbeClient, index: Answer) -> Finding:
    answered = f"{index.status}, a redirect" if 300 <= index.status < 400 else f"{index.status} with {index.kind}"
    found = f"/wp-json/ answered {answered}"
    try:
        plain = await probe.get(f"{probe.store.url}/", {"rest_route": "/", **_INDEX})
    except WebError:
        plain = None
    if plain is not None and _namespaces(plain) is not None:
        found = f"{found}; /?rest_route=/ works"
        if "rest_route=" in plain.reply.headers.get("link", ""):  # requested without keys: it contains none
            advice = "the shop's permalinks are set to Plain: choose another structure under Settings > Permalinks"
        else:
            advice = "the shop's web server does not pass /wp-json/ to WordPress: save Settings > Permalinks again, or fix its rewrite rules"
        return failed(Tried.REST_API, found, advice)
    if 300 <= index.status < 400:
        return failed(Tried.REST_API, found, about_redirect(index.reply, store=probe.store))
    if index.status == 200:
        advice = "an HTML page is served in place of the REST API: correct the store's url, or exempt /wp-json/ from the cache or plugin in front of it"
        return failed(Tried.REST_API, found, advice)
    advice = "there is no WordPress at this address: correct the store's url in stores.yaml"
    return failed(Tried.REST_API, f"{found}; so did /?rest_route=/" if plain else found, advice)


def _namespaces(answer: Answer) -> list[object] | None:
    """Return the namespaces of an index of the REST API; None where the response is not an index."""
    value = answer.value if answer.status == 200 and isinstance(answer.value, dict) else {}
    namespaces = value.get("namespaces")
    return namespaces if isinstance(namespaces, list) else None


async def _is_rest_api(probe: ProbeClient, url: str) -> bool:
    try:
        return _namespaces(await probe.get(f"{url}/wp-json/", _INDEX)) is not None
    except FashionError:
        return False
