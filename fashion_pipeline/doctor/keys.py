"""Finds out why keys are refused: sends the same request in other ways until one gives the answer.

Over https, four causes look the same, 401 ``woocommerce_rest_cannot_view`` as without a key: an
unknown key, a dropped Authorization header, a WordPress that is unaware of https, and a plugin that
authenticates too early. A signature in the query distinguishes most of them and contains no secret,
so it is tried first. The keys themselves are put into a URL only as the last resort.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

import httpx

from fashion_pipeline.doctor.findings import Finding, Tried, failed, ok, warning
from fashion_pipeline.doctor.probe import Answer, ProbeClient
from fashion_pipeline.shop.answers import advice_on
from fashion_pipeline.shop.auth import OAuth1, authentication

_ANONYMOUS = "woocommerce_rest_cannot_view"
_WHERE = "WooCommerce > Settings > Advanced > REST API"
_UNAWARE = (
    "WordPress does not know that it is served over https: let its proxy send X-Forwarded-Proto, and set "
    "$_SERVER['HTTPS'] from it in wp-config.php"
)
_DROPPED = "the shop's server drops the Authorization header: configure it to pass the header on"
_TOO_EARLY = (
    "the shop ignores every key: most likely a plugin asks for the current user before WooCommerce can set it "
    "(WooCommerce issue 26847); switch plugins off one by one to find it"
)


class Way(StrEnum):
    """The ways to send keys; the values are shown in the table."""

    BASIC = "Basic header"
    SIGNED = "OAuth header"
    SIGNED_QUERY = "OAuth in the query"
    SIGNED_AS_HTTP = "OAuth header signed for http"
    KEYS_IN_QUERY = "keys in the query"


class Meaning(StrEnum):
    """What a response means for the keys."""

    ACCEPTED = "accepted"
    NO_USER = "the user may not see products"
    NO_READ = "no Read permission"
    STRANGER = "as if no key was sent"
    UNKNOWN_KEY = "unknown key"
    WRONG_SECRET = "wrong secret"  # noqa: S105 - not a secret
    WRONG_SIGNATURE = "wrong signature"
    WRONG_TIME = "wrong time"
    REFUSED = "refused"
    """By WordPress, with an unknown message: another language."""
    OTHER = "says nothing about keys"


_WORDS = (
    (re.compile("permissions", re.IGNORECASE), Meaning.NO_READ),
    (re.compile("consumer key", re.IGNORECASE), Meaning.UNKNOWN_KEY),
    (re.compile("consumer secret", re.IGNORECASE), Meaning.WRONG_SECRET),
    (re.compile("signature", re.IGNORECASE), Meaning.WRONG_SIGNATURE),
    (re.compile("timestamp", re.IGNORECASE), Meaning.WRONG_TIME),
)


def meaning(answer: Answer) -> Meaning:
    """Interpret a response: by its code, or by its message where the code is ambiguous."""
    if answer.rows is not None:
        return Meaning.ACCEPTED
    if answer.status == 403 and answer.code:
        return Meaning.NO_USER
    if answer.status != 401 or not answer.code:
        return Meaning.OTHER
    if answer.code == _ANONYMOUS:
        return Meaning.STRANGER
    return next((meant for words, meant in _WORDS if words.search(answer.said)), Meaning.REFUSED)


KNOWN = frozenset({Meaning.ACCEPTED, Meaning.NO_USER, Meaning.NO_READ})
"""What only a valid key with its secret gets."""


_AMBIGUOUS = frozenset({Meaning.WRONG_SIGNATURE, Meaning.WRONG_TIME, Meaning.REFUSED})
_UNDECIDED = {
    Way.BASIC: {Meaning.STRANGER},
    Way.SIGNED: {Meaning.STRANGER},
    Way.SIGNED_QUERY: _AMBIGUOUS,  # the secret is wrong, or WordPress sees another URL than we do
    Way.SIGNED_AS_HTTP: {*_AMBIGUOUS, Meaning.STRANGER},
    Way.KEYS_IN_QUERY: set[Meaning](),
}
"""The meanings that leave the cause open, by the way the keys were sent."""


@dataclass
class AuthProbe:
    """The ways that were tried, in order, with the response to each."""

    client: ProbeClient
    answers: dict[Way, Answer] = field(default_factory=dict)

    async def step(self, way: Way) -> Meaning:
        """Request a product in one way, once only."""
        if way not in self.answers:
            auth = _auth(self.client, way)
            self.answers[way] = await self.client.api("products", {"per_page": 1, "_fields": "id"}, auth=auth)
        return meaning(self.answers[way])

    @property
    def last(self) -> Answer:
        """The last response."""
        return list(self.answers.values())[-1]

    def found(self) -> str:
        """Return all attempts, for the table."""
        return "; ".join(f"{way}: {_short(answer)}" for way, answer in self.answers.items())


async def try_keys(probe: ProbeClient) -> tuple[list[Finding], Answer]:
    """Try the store's keys as its ``auth`` says. Where they are refused, find out why.

    Returns:
        The findings about keys and permission, and the last response.

    Raises:
        WebError: the shop did not respond.
    """
    attempts = AuthProbe(probe)
    configured = _configured(probe)
    meant = await attempts.step(configured)
    if meant not in KNOWN:
        if meant is Meaning.STRANGER or probe.store.auth != "auto":  # the way may be wrong, not the keys
            return [_diagnosis(attempts, *await _try_other_ways(attempts))], attempts.last
        return [_refusal(attempts, meant)], attempts.last
    finding = ok(Tried.KEYS, f"{configured}: accepted")
    if probe.store.auth != "auto" and await attempts.step(_default(probe)) in KNOWN:
        advice = f"auth: {probe.store.auth} is not needed: remove it from stores.yaml"
        finding = warning(Tried.KEYS, f"{configured}: accepted; {_default(probe)}: also accepted", advice)
    return [finding, _permission(attempts, meant)], attempts.last


def _permission(attempts: AuthProbe, meant: Meaning) -> Finding:
    answer = attempts.answers[_configured(attempts.client)]
    if meant is Meaning.NO_USER:
        return failed(Tried.PERMISSION, answer.said, advice_on(answer.reply, store=attempts.client.store))
    if meant is Meaning.NO_READ:
        return failed(Tried.PERMISSION, answer.said, f"set the key's permissions to Read under {_WHERE}")
    return ok(Tried.PERMISSION, "the key can read products")


async def _try_other_ways(attempts: AuthProbe) -> tuple[Way, Meaning]:
    """Try one way after the other until one gives the cause; return that way and its meaning."""
    ways = [_default(attempts.client), Way.SIGNED_QUERY]
    if _is_https(attempts.client):
        ways += [Way.SIGNED_AS_HTTP, Way.KEYS_IN_QUERY]
    for way in ways:
        meant = await attempts.step(way)
        if meant in KNOWN or meant not in _UNDECIDED[way]:
            break
    return way, meant


def _diagnosis(attempts: AuthProbe, way: Way, meant: Meaning) -> Finding:
    """Explain a refusal by the last way and those before it."""
    store = attempts.client.store
    if meant in KNOWN and way is _default(attempts.client):
        advice = f"remove auth: {store.auth} from stores.yaml: the shop accepts the default"
    elif meant in KNOWN and way is Way.SIGNED_AS_HTTP:
        advice = f"{_UNAWARE}; or set auth: oauth1 for this store"
    elif meant in KNOWN:
        in_log = ", which writes the keys into the shop's own access log" if _is_https(attempts.client) else ""
        advice = f"{_DROPPED} (Apache: CGIPassAuth On), or set auth: query for this store{in_log}"
    elif meant is Meaning.STRANGER and way is Way.SIGNED_QUERY:
        advice = _TOO_EARLY
    elif meant is Meaning.STRANGER and meaning(attempts.answers[Way.SIGNED_AS_HTTP]) is Meaning.STRANGER:
        advice = f"{_UNAWARE}. And {_DROPPED}"
    elif meant is Meaning.STRANGER:
        return _refusal(attempts, meaning(attempts.answers[Way.SIGNED_QUERY]))
    else:
        return _refusal(attempts, meant)
    return failed(Tried.KEYS, attempts.found(), advice)


def _refusal(attempts: AuthProbe, meant: Meaning) -> Finding:
    advice = {
        Meaning.UNKNOWN_KEY: f"the shop does not know this consumer_key: copy it again, or create a new key under {_WHERE}",
        Meaning.WRONG_SECRET: "the consumer_secret does not belong to this consumer_key: the shop shows a secret only "
        f"once, so create a new key under {_WHERE} and copy both",
        Meaning.WRONG_SIGNATURE: "the shop knows the consumer_key but refuses the signature: create a new key under "
        f"{_WHERE}, and check that the store's url is the Site Address under Settings > General",
        Meaning.WRONG_TIME: "correct this machine's clock: a signature is valid for 15 minutes",
        Meaning.REFUSED: "check consumer_key and consumer_secret, and that the key has Read permission",
    }.get(meant) or advice_on(attempts.last.reply, store=attempts.client.store)
    return failed(Tried.KEYS, attempts.found(), advice)


def _short(answer: Answer) -> str:
    """Return the meaning of a response; where it is unknown, WordPress's own message."""
    meant = meaning(answer)
    if meant is Meaning.OTHER or meant is Meaning.REFUSED:
        return answer.said
    return meant if meant is Meaning.ACCEPTED else f"{answer.status}, {meant}"


def _configured(probe: ProbeClient) -> Way:
    if probe.store.auth == "query":
        return Way.KEYS_IN_QUERY if _is_https(probe) else Way.SIGNED_QUERY
    if probe.store.auth == "oauth1" and _is_https(probe):
        return Way.SIGNED_AS_HTTP
    return _default(probe)


def _default(probe: ProbeClient) -> Way:
    return Way.BASIC if _is_https(probe) else Way.SIGNED


def _auth(probe: ProbeClient, way: Way) -> httpx.Auth:
    store = probe.store
    if way is Way.SIGNED_QUERY:
        return OAuth1(store.consumer_key, store.consumer_secret, in_query=True)
    auth = {Way.KEYS_IN_QUERY: "query", Way.SIGNED_AS_HTTP: "oauth1"}.get(way, "auto")
    return authentication(store.model_copy(update={"auth": auth}))


def _is_https(probe: ProbeClient) -> bool:
    return probe.store.url.lower().startswith("https://")
