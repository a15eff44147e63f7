from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.doctor.keys import Meaning, meaning
from fashion_pipeline.model_shop.middleware import Change
from fashion_pipeline.model_shop.shop import Key
from fashion_pipeline_tests.doctor.examining import LABELS, Make, examine, recorded_answer
from fashion_pipeline_tests.doctor.serving import KEY
from fashion_pipeline_tests.model_shop import faults

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault


@pytest.mark.parametrize(
    ("scheme", "found"),
    [
        ("https", "Basic header: 401, as if no key was sent; OAuth in the query: 401, unknown key"),
        ("http", "OAuth header: 401, unknown key"),
    ],
)
def test_wrong_key(scheme: str, found: str, make: Make) -> None:
    """An unknown key is reported as such, although over https it looks like no key; the secret is in no URL."""
    served = make(scheme)
    served.variables["STORE_KEY"] = "ck_mistyped"
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"keys"}
    assert table.found["keys"] == found
    assert table.verdicts["permission"] == table.verdicts["quality"] == Verdict.NOT_TRIED
    assert table.code == 1
    assert table.advice.startswith("Fix first: the shop does not know this consumer_key: copy it again")
    assert not any("consumer_secret" in asked.query for asked in served.shop.asked)


@pytest.mark.parametrize(
    ("scheme", "found", "advice"),
    [
        ("https", "Basic header: 401, wrong secret", "the consumer_secret does not belong to this consumer_key"),
        ("http", "OAuth header: 401, wrong signature", "the shop knows the consumer_key but refuses the signature"),
    ],
)
def test_wrong_secret(scheme: str, found: str, advice: str, make: Make) -> None:
    """A wrong secret of a known key is reported as such."""
    served = make(scheme)
    served.variables["STORE_SECRET"] = "cs_mistyped"
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"keys"}
    assert table.found["keys"] == found
    assert table.advice.startswith(f"Fix first: {advice}")
    assert table.code == 1


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_stripped_authorization(scheme: str, make: Make) -> None:
    """A signature in the query reveals a server that drops the Authorization header; auth: query then works."""
    served = make(scheme)
    served.shop.fault = faults.strips_authorization()
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"keys"}
    assert table.found["keys"].endswith("header: 401, as if no key was sent; OAuth in the query: accepted")
    assert table.advice.startswith(
        "Fix first: the shop's server drops the Authorization header: configure it to pass the header on"
    )
    assert table.code == 1
    served.settings["auth"] = "query"
    table = examine(served)
    assert (table.code, table.are(Verdict.FAILED)) == (0, set())
    assert table.verdicts["keys"] == Verdict.OK


def test_unaware_of_https(make: Make) -> None:
    """A signature made for http reveals a WordPress that is unaware of https; auth: oauth1 then works."""
    served = make()
    served.shop.fault = faults.unaware_of_https()
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"keys"}
    assert table.found["keys"].endswith(
        "OAuth in the query: 401, wrong signature; OAuth header signed for http: accepted"
    )
    assert "WordPress does not know that it is served over https" in table.advice
    assert "set auth: oauth1" in table.advice
    served.settings["auth"] = "oauth1"
    assert examine(served).are(Verdict.OK) == LABELS


def test_a_key_that_may_not_read(make: Make) -> None:
    """A key with Write permission alone is accepted, and the advice is to set Read."""
    served = make()
    served.shop.keys = [Key(KEY.consumer_key, KEY.consumer_secret, "write")]
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"permission"}
    assert table.verdicts["keys"] == Verdict.OK
    assert "set the key's permissions to Read" in table.advice


def test_a_user_of_a_low_role(make: Make) -> None:
    """A customer's key is accepted, but may not see products."""
    served = make()
    served.shop.keys = [Key(KEY.consumer_key, KEY.consumer_secret, "read", frozenset())]
    table = examine(served)
    assert table.are(Verdict.FAILED) == {"permission"}
    assert table.found["permission"].startswith("403 (woocommerce_rest_cannot_view")
    assert "create a key for an administrator or a shop manager" in table.advice


def keyless() -> Fault:
    """Ignore every key, as where a plugin asks too early for the current user."""

    def fault(request: Request) -> Change:
        kept = [(name, value) for name, value in parse_qsl(request.url.query) if "oauth" not in name]
        scope = dict(request.scope) | {"query_string": urlencode(kept).encode()}
        return Change(Request(scope, request.receive))

    return faults.together(faults.strips_authorization(), fault)


def test_a_plugin_that_is_too_early(make: Make) -> None:
    """For a shop that ignores every key the advice is to find the plugin; the secret is in no URL."""
    served = make()
    served.shop.fault = keyless()
    table = examine(served)
    assert table.found["keys"].count("as if no key was sent") == 2
    assert "switch plugins off one by one to find it" in table.advice
    assert not any("consumer_secret" in asked.query for asked in served.shop.asked)


def in_other_words(response: Response) -> Response:
    """Write refusals in another language."""
    body = json.loads(bytes(response.body)) if response.status_code == 401 else {}
    if body.get("code", "").startswith("woocommerce_rest_authentication"):
        body["message"] = "Das stimmt nicht."
        return Response(json.dumps(body), 401, {"content-type": "application/json"})
    return response


@pytest.mark.parametrize("name", ["STORE_KEY", "STORE_SECRET"])
def test_words_in_another_language(name: str, make: Make) -> None:
    """A message that is not English is shown, and the advice is to check both keys."""
    served = make()
    served.variables[name] = "c_mistyped"
    served.shop.fault = lambda _: Change(apply=in_other_words)
    table = examine(served)
    assert "Das stimmt nicht." in table.found["keys"]
    assert "check consumer_key and consumer_secret" in table.advice


def test_a_wrong_secret_behind_a_server_that_drops_the_header(make: Make) -> None:
    """Of two faults at once the wrong secret is named, because without it nothing works."""
    served = make()
    served.variables["STORE_SECRET"] = "cs_mistyped"
    served.shop.fault = faults.strips_authorization()
    table = examine(served)
    assert "keys in the query: 401, wrong secret" in table.found["keys"]
    assert "the consumer_secret does not belong to this consumer_key" in table.advice


def test_two_faults_of_the_server(make: Make) -> None:
    """A server that drops the header in front of a WordPress unaware of https gets both pieces of advice."""
    served = make()
    served.shop.fault = faults.together(faults.strips_authorization(), faults.unaware_of_https())
    table = examine(served)
    assert "WordPress does not know that it is served over https" in table.advice
    assert "drops the Authorization header" in table.advice


@pytest.mark.parametrize("auth", ["query", "oauth1"])
def test_auth_that_is_not_needed(auth: str, make: Make) -> None:
    """An auth that the shop does not need, or does not accept, should be removed."""
    table = examine(make(auth=auth))
    assert table.code == (0 if auth == "query" else 1)
    assert table.are(Verdict.WARNING if auth == "query" else Verdict.FAILED) == {"keys"}
    assert f"auth: {auth}" in table.advice
    assert table.advice.count("from stores.yaml") == 1


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("err_401_no_auth", Meaning.STRANGER),
        ("err_401_unknown_key", Meaning.STRANGER),
        ("err_401_basic_over_http", Meaning.STRANGER),
        ("err_401_wrong_secret", Meaning.WRONG_SECRET),
        ("err_401_read_with_write_only_key", Meaning.NO_READ),
        ("err_403_customer_role_key", Meaning.NO_USER),
        ("err_503_maintenance", Meaning.OTHER),
        ("products_page1_id_asc", Meaning.ACCEPTED),
    ],
)
def test_recorded_answers_about_keys(name: str, meant: Meaning) -> None:
    """The recorded responses of a real shop are interpreted correctly."""
    assert meaning(recorded_answer(name)) is meant
