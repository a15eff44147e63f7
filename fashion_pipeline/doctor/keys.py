"""What a refused key means: the same question, asked in other ways until one tells.

Over https an unknown key, a dropped Authorization header, a WordPress that does not know of its
https, and a plugin that is too early all look the same: 401 ``woocommerce_rest_cannot_view``, as
for a stranger. A signature in the query tells most of them apart and holds no secret, so it comes
first; the keys themselves stand in a URL only where nothing else is left to ask.
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
    "WordPress does not know that it is behind https: have its proxy send X-Forwarded-Proto, and wp-config.php set "
    "$_SERVER['HTTPS'] by it"
)
_DROPPED = "the shop's server drops the Authorization header: let it pass"
_TOO_EARLY = (
    "the shop looks at no key at all: most likely a plugin asks who is logged in before WooCommerce can (its issue "
    "26847); find it by switching plugins off"
)


class Way(StrEnum):
    """How keys can be shown, in the words of the table."""

    BASIC = "Basic header"
    SIGNED = "OAuth header"
    SIGNED_QUERY = "OAuth in the query"
    SIGNED_AS_HTTP = "OAuth header signed for http"
    KEYS_IN_QUERY = "keys in the query"


class Meaning(StrEnum):
    """What an answer says of the keys."""

    ACCEPTED = "accepted"
    NO_USER = "a user who may see nothing"
    NO_READ = "no permission to read"
    STRANGER = "as if no key were sent"
    UNKNOWN_KEY = "unknown key"
    WRONG_SECRET = "wrong secret"  # noqa: S105 - not one
    WRONG_SIGNATURE = "wrong signature"
    WRONG_TIME = "wrong time"
    REFUSED = "refused"
    """By WordPress, in words that are not known here: another language."""
    OTHER = "no answer about keys"


_WORDS = (
    (re.compile("permissions", re.IGNORECASE), Meaning.NO_READ),
    (re.compile("consumer key", re.IGNORECASE), Meaning.UNKNOWN_KEY),
    (re.compile("consumer secret", re.IGNORECASE), Meaning.WRONG_SECRET),
    (re.compile("signature", re.IGNORECASE), Meaning.WRONG_SIGNATURE),
    (re.compile("timestamp", re.IGNORECASE), Meaning.WRONG_TIME),
)


def meaning(answer: Answer) -> Meaning:
    """Read what an answer says of the keys; by its words where the code alone does not tell."""
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
"""What only a right key with its right secret is answered."""


_UNTOLD = frozenset({Meaning.WRONG_SIGNATURE, Meaning.WRONG_TIME, Meaning.REFUSED})
_UNDECIDED = {
    Way.BASIC: {Meaning.STRANGER},
    Way.SIGNED: {Meaning.STRANGER},
    Way.SIGNED_QUERY: _UNTOLD,  # the secret may be wrong, or WordPress sees another address than we do
    Way.SIGNED_AS_HTTP: {*_UNTOLD, Meaning.STRANGER},
    Way.KEYS_IN_QUERY: set[Meaning](),
}
"""What leaves open why keys are refused, by the way they were shown."""


@dataclass
class AuthProbe:
    """The ways that were tried, in order, and what came of each."""

    asking: ProbeClient
    answers: dict[Way, Answer] = field(default_factory=dict)

    async def step(self, way: Way) -> Meaning:
        """Ask for a product in one way; once."""
        if way not in self.answers:
            auth = _auth(self.asking, way)
            self.answers[way] = await self.asking.api("products", {"per_page": 1, "_fields": "id"}, auth=auth)
        return meaning(self.answers[way])

    @property
    def last(self) -> Answer:
        """The last answer."""
        return list(self.answers.values())[-1]

    def found(self) -> str:
        """Return the ladder as the table shows it."""
        steps = [f"{way}: {_short(answer)}" for way, answer in self.answers.items()]
        return "; ".join(steps)


async def try_keys(asking: ProbeClient) -> tuple[list[Finding], Answer]:
    """Try the store's keys as its ``auth`` says, and where they are refused find out why.

    Returns:
        The findings about keys and permission, and the last answer.

    Raises:
        WebError: the shop gave no answer.
    """
    ladder = AuthProbe(asking)
    configured = _configured(asking)
    meant = await ladder.step(configured)
    if meant not in KNOWN:
        may_be_the_way = meant is Meaning.STRANGER or asking.store.auth != "auto"
        finding = _diagnosis(ladder, *await _climb(ladder)) if may_be_the_way else _about(ladder, meant)
        return [finding], ladder.last
    finding = ok(Tried.KEYS, f"{configured}: accepted")
    if asking.store.auth != "auto" and await ladder.step(_default(asking)) in KNOWN:
        advice = f"auth: {asking.store.auth} is not needed: take it out of stores.yaml"
        finding = warning(Tried.KEYS, f"{configured}: accepted; {_default(asking)}: accepted too", advice)
    return [finding, _permission(ladder, meant)], ladder.last


def _permission(ladder: AuthProbe, meant: Meaning) -> Finding:
    answer = ladder.answers[_configured(ladder.asking)]
    if meant is Meaning.NO_USER:
        return failed(Tried.PERMISSION, answer.said, advice_on(answer.reply, store=ladder.asking.store))
    if meant is Meaning.NO_READ:
        return failed(Tried.PERMISSION, answer.said, f"set the key's permission to Read under {_WHERE}")
    return ok(Tried.PERMISSION, "it reads products")


async def _climb(ladder: AuthProbe) -> tuple[Way, Meaning]:
    """Ask in one way after the other, until one tells; return that one and what it says."""
    ways = [_default(ladder.asking), Way.SIGNED_QUERY]
    if _is_https(ladder.asking):
        ways += [Way.SIGNED_AS_HTTP, Way.KEYS_IN_QUERY]
    for way in ways:
        meant = await ladder.step(way)
        if meant in KNOWN or meant not in _UNDECIDED[way]:
            break
    return way, meant


def _diagnosis(ladder: AuthProbe, way: Way, meant: Meaning) -> Finding:
    """Say what a refusal means, from the way that told and those before it."""
    store = ladder.asking.store
    if meant in KNOWN and way is _default(ladder.asking):
        advice = f"take auth: {store.auth} out of stores.yaml: the shop wants what is sent without it"
    elif meant in KNOWN and way is Way.SIGNED_AS_HTTP:
        advice = f"{_UNAWARE}; or set auth: oauth1 for this store"
    elif meant in KNOWN:
        in_log = ", which puts the keys into the shop's own access log" if _is_https(ladder.asking) else ""
        advice = f"{_DROPPED} (Apache: CGIPassAuth On), or set auth: query for this store{in_log}"
    elif meant is Meaning.STRANGER and way is Way.SIGNED_QUERY:
        advice = _TOO_EARLY
    elif meant is Meaning.STRANGER and meaning(ladder.answers[Way.SIGNED_AS_HTTP]) is Meaning.STRANGER:
        advice = f"{_UNAWARE}. And {_DROPPED}"
    elif meant is Meaning.STRANGER:
        return _about(ladder, meaning(ladder.answers[Way.SIGNED_QUERY]))
    else:
        return _about(ladder, meant)
    return failed(Tried.KEYS, ladder.found(), advice)


def _about(ladder: AuthProbe, meant: Meaning) -> Finding:
    advice = {
        Meaning.UNKNOWN_KEY: f"the shop does not know this consumer_key: copy it again, or make a new key under {_WHERE}",
        Meaning.WRONG_SECRET: "the shop knows the key but not this consumer_secret: it is shown only once, so make a new "
        f"key under {_WHERE} and copy both",
        Meaning.WRONG_SIGNATURE: "the shop knows the key but the consumer_secret does not fit: make a new key under "
        f"{_WHERE}, and see that the store's url is the Site Address under Settings > General",
        Meaning.WRONG_TIME: "set this machine's clock: a signature is good for 15 minutes",
        Meaning.REFUSED: "check consumer_key and consumer_secret, and that the key's permission is Read",
    }.get(meant) or advice_on(ladder.last.reply, store=ladder.asking.store)
    return failed(Tried.KEYS, ladder.found(), advice)


def _short(answer: Answer) -> str:
    """Return what an answer says of keys, with WordPress's own words where ours are not enough."""
    meant = meaning(answer)
    if meant is Meaning.OTHER or meant is Meaning.REFUSED:
        return answer.said
    return meant if meant is Meaning.ACCEPTED else f"{answer.status}, {meant}"


def _configured(asking: ProbeClient) -> Way:
    if asking.store.auth == "query":
        return Way.KEYS_IN_QUERY if _is_https(asking) else Way.SIGNED_QUERY
    if asking.store.auth == "oauth1" and _is_https(asking):
        return Way.SIGNED_AS_HTTP
    return _default(asking)


def _default(asking: ProbeClient) -> Way:
    return Way.BASIC if _is_https(asking) else Way.SIGNED


def _auth(asking: ProbeClient, way: Way) -> httpx.Auth:
    store = asking.store
    if way is Way.SIGNED_QUERY:
        return OAuth1(store.consumer_key, store.consumer_secret, in_query=True)
    auth = {Way.KEYS_IN_QUERY: "query", Way.SIGNED_AS_HTTP: "oauth1"}.get(way, "auto")
    return authentication(store.model_copy(update={"auth": auth}))


def _is_https(asking: ProbeClient) -> bool:
    return asking.store.url.lower().startswith("https://")
