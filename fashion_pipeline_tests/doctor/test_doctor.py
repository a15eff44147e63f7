from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import pytest
from click.testing import Result
from starlette.requests import Request
from starlette.responses import Response

from fashion_pipeline.cli.exit_codes import exit_code
from fashion_pipeline.doctor.findings import Tried, Verdict
from fashion_pipeline.doctor.keys import Meaning, meaning
from fashion_pipeline.doctor.probe import Answer
from fashion_pipeline.doctor.products import _speed
from fashion_pipeline.errors import SettingsError
from fashion_pipeline.model_shop import faults
from fashion_pipeline.model_shop.shop import Change, Key, ModelShop
from fashion_pipeline.web.client import Reply
from fashion_pipeline_tests.shop.recordings import recorded, replay
from fashion_pipeline_tests.shop.serving import KEY, Doctored, Serving, picture

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.shop import Fault

Make = Callable[..., Doctored]

GOOD = picture()
LABELS = {tried.label for tried in Tried}
BEFORE_KEYS = {"address", "connection", "REST API"}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Serve whatever shops the tests put into it, over http and https."""
    with Serving(tmp_path_factory.mktemp("serving")).started() as started:
        yield started


@pytest.fixture
def make(serving: Serving, tmp_path: Path) -> Make:
    """Return what makes a shop with a few products, and a stores.yaml for it."""

    def made(scheme: str = "https", *, pictures: tuple[bytes, ...] = (GOOD,) * 4, **store: Any) -> Doctored:
        shop = ModelShop(id="atelier", origin=serving.origins[scheme], keys=[KEY])
        for number, content in enumerate(pictures):
            shop.add(name=f"Coat {number}", price="10", images=[shop.upload(f"{number}.jpg", content)])
        serving.shops["atelier"] = shop
        return Doctored(serving, shop, tmp_path, store=store)

    return made


@dataclass(frozen=True)
class Told:
    """A table, read back: what was found and how it is, by label; the sentence below it; the exit code."""

    found: dict[str, str]
    verdicts: dict[str, str]
    advice: str
    code: int

    def are(self, verdict: Verdict) -> set[str]:
        return {label for label, each in self.verdicts.items() if each == verdict}


def ask(doctored: Doctored, *arguments: str) -> Told:
    """Run ``doctor`` on the store and read what it printed; keys are in it nowhere, and nothing is written."""
    result = doctored.command("doctor", *arguments)
    tables = _tables(result)
    assert len(tables) == 1
    assert {asked.method for asked in doctored.shop.asked} <= {"GET"}
    for secret in (*filter(None, doctored.variables.values()), KEY.consumer_key, KEY.consumer_secret):
        assert secret not in result.output
    return tables[0]


def _tables(result: Result) -> list[Told]:
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    told = []
    for block in result.stdout.strip().split("\n\n"):
        _, *rows, advice = block.splitlines()
        found, verdicts = {}, {}
        for row in rows:
            verdict, label, said = row[2:11].strip(), row[13:24].strip(), row[26:]
            labels = said.rpartition(":")[0].split(", ") if verdict == Verdict.NOT_TRIED else [label]
            for each in labels:
                found[each], verdicts[each] = said, verdict
        assert set(verdicts) == LABELS
        told.append(Told(found, verdicts, advice.strip(), result.exit_code))
    return told


# --- what shops are like ----------------------------------------------------------------------------


def test_all_well(make: Make) -> None:
    """A good shop has fifteen times ok and exit code 0, and costs few requests; databases and home are not touched."""
    doctored = make(pictures=(GOOD,) * 12)
    told = ask(doctored)
    assert told.are(Verdict.OK) == LABELS
    assert (told.code, told.advice) == (0, "All is well: fashion-pipeline ingest atelier can begin.")
    assert told.found["WooCommerce"].startswith("11.0.1 on WordPress 7")
    assert told.found["statuses"] == "12 products of any status, 0 in the trash"
    assert told.found["pictures"] == "12 of 12 fetched from 1 host, median 60 kB"
    assert told.found["quality"] == "0 of 12 would be refused"
    assert sum("/wp-json" in asked.path for asked in doctored.shop.asked) <= 16
    assert not any("consumer" in asked.query for asked in doctored.shop.asked)
    assert [path.name for path in doctored.folder.iterdir()] == ["stores.yaml"]


@pytest.mark.parametrize(
    ("scheme", "found"),
    [
        ("https", "Basic header: 401, as if no key were sent; OAuth in the query: 401, unknown key"),
        ("http", "OAuth header: 401, unknown key"),
    ],
)
def test_wrong_key(scheme: str, found: str, make: Make) -> None:
    """An unknown key is called that, though over https the shop takes it for none; the secret was in no URL."""
    doctored = make(scheme)
    doctored.variables["STORE_KEY"] = "ck_mistyped"
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"keys"}
    assert told.found["keys"] == found
    assert told.verdicts["permission"] == told.verdicts["quality"] == Verdict.NOT_TRIED
    assert told.code == 1
    assert told.advice.startswith("To mend first: the shop does not know this consumer_key: copy it again")
    assert not any("consumer_secret" in asked.query for asked in doctored.shop.asked)


@pytest.mark.parametrize(
    ("scheme", "found", "advice"),
    [
        ("https", "Basic header: 401, wrong secret", "the shop knows the key but not this consumer_secret"),
        ("http", "OAuth header: 401, wrong signature", "the shop knows the key but the consumer_secret does not fit"),
    ],
)
def test_wrong_secret(scheme: str, found: str, advice: str, make: Make) -> None:
    """A wrong secret of a known key is called that."""
    doctored = make(scheme)
    doctored.variables["STORE_SECRET"] = "cs_mistyped"
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"keys"}
    assert told.found["keys"] == found
    assert told.advice.startswith(f"To mend first: {advice}")
    assert told.code == 1


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_stripped_authorization(scheme: str, make: Make) -> None:
    """A server that drops the Authorization header is found out by a signature in the query; auth: query then works."""
    doctored = make(scheme)
    doctored.shop.fault = faults.strips_authorization()
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"keys"}
    assert told.found["keys"].endswith("header: 401, as if no key were sent; OAuth in the query: accepted")
    assert told.advice.startswith("To mend first: the shop's server drops the Authorization header: let it pass")
    assert told.code == 1
    doctored.store["auth"] = "query"
    told = ask(doctored)
    assert (told.code, told.are(Verdict.FAILED)) == (0, set())
    assert told.verdicts["keys"] == Verdict.OK


def test_unaware_of_https(make: Make) -> None:
    """A WordPress that takes https for http is found out by a signature made for http; auth: oauth1 then works."""
    doctored = make()
    doctored.shop.fault = faults.unaware_of_https()
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"keys"}
    assert told.found["keys"].endswith(
        "OAuth in the query: 401, wrong signature; OAuth header signed for http: accepted"
    )
    assert "WordPress does not know that it is behind https" in told.advice
    assert "set auth: oauth1" in told.advice
    doctored.store["auth"] = "oauth1"
    assert ask(doctored).are(Verdict.OK) == LABELS


@pytest.mark.parametrize("status", [301, 404])
def test_plain_permalinks(status: int, make: Make) -> None:
    """A shop whose REST API answers to ?rest_route= only is told to choose other permalinks."""
    doctored = make()
    doctored.shop.fault = faults.plain_permalinks(status)
    told = ask(doctored)
    assert told.are(Verdict.OK) == {"address", "connection"}
    assert told.are(Verdict.FAILED) == {"REST API"}
    assert told.found["REST API"].endswith("/?rest_route=/ is there")
    expected = "the shop's permalinks are set to Plain: choose another structure under Settings > Permalinks"
    assert (told.code, told.advice) == (1, f"To mend first: {expected}.")


def test_http_only(make: Make) -> None:
    """A shop over http works with a signature, and is warned of who may read along: exit code 0."""
    told = ask(make("http"))
    assert told.are(Verdict.WARNING) == {"connection"}
    assert told.are(Verdict.OK) == LABELS - {"connection"}
    assert "https does not answer" in told.found["connection"]
    assert told.found["keys"] == "OAuth header: accepted"
    assert told.code == 0
    assert told.advice.startswith("It works, and could be better: give the shop a certificate")


def test_http_only_where_https_is_configured(make: Make, serving: Serving) -> None:
    """Where the url says https and only http answers, that is the finding, with the url that works."""
    url = f"{serving.origins['http']}/atelier"
    told = ask(make(url=url.replace("http:", "https:")))
    assert told.are(Verdict.FAILED) == {"connection"}
    assert "that port does not speak https" in told.found["connection"]
    assert f"set the store's url to {url}:" in told.advice
    assert told.code == 1


def test_https_would_answer_too(make: Make, serving: Serving) -> None:
    """A store whose url says http while its shop has https is told to use that."""
    doctored = make()
    with serving.on_one_port() as host:
        doctored.store["url"] = f"http://{host}/atelier"
        told = ask(doctored, "--pictures", "0")
    assert told.are(Verdict.WARNING) == {"connection"}
    assert (told.code, told.advice) == (
        0,
        f"It works, and could be better: set the store's url to https://{host}/atelier.",
    )


def old_version(version: str) -> Fault:
    """Say another version of WooCommerce in the system status."""

    def apply(response: Response) -> Response:
        body = json.loads(bytes(response.body))
        body["environment"]["version"] = version
        return Response(json.dumps(body), response.status_code, {"content-type": "application/json"})

    return lambda request: Change(apply=apply) if request.url.path.endswith("/system_status") else None


def test_old_woocommerce(make: Make) -> None:
    """A WooCommerce before 5.8 is found by its version and because it ignores modified_after; all else is tried too."""
    doctored = make()
    doctored.shop.fault = faults.together(faults.old_woocommerce(), old_version("5.7.2"))
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"WooCommerce", "changes"}
    assert told.are(Verdict.OK) == LABELS - {"WooCommerce", "changes"}
    assert told.found["WooCommerce"].startswith("5.7.2 on ")
    assert told.found["changes"] == "modified_after is not known, and ignored"
    assert (told.code, told.advice) == (1, "To mend first: update WooCommerce to 5.8 or newer (1 more above).")


def test_no_date_header(make: Make) -> None:
    """A shop without Date header works by this machine's clock, with a warning."""
    doctored = make()
    doctored.shop.fault = faults.no_date()
    told = ask(doctored)
    assert told.are(Verdict.WARNING) == {"clock"}
    assert told.are(Verdict.OK) == LABELS - {"clock"}
    assert told.found["clock"] == "the shop sends no Date header"
    assert told.code == 0
    assert told.advice.startswith("It works, and could be better: have the shop's server send a Date header")


def test_a_third_of_the_pictures_below_the_thresholds(make: Make) -> None:
    """It says how many would be refused, by which settings, which decides, and what those pictures have."""
    small = picture(file_bytes=30_000, square_px=60)
    bad = (small, small, picture(sharp=False), picture(side_px=390, file_bytes=20_000, square_px=60))
    doctored = make(pictures=(*bad, *(GOOD,) * 8))
    told = ask(doctored)
    assert told.are(Verdict.WARNING) == {"quality"}
    expected = "4 of 12 would be refused: min_file_bytes (50,000) 3, min_side_px (400) 1, min_sharpness (100) 1"
    assert told.found["quality"] == expected
    assert told.advice == (
        "It works, and could be better: 4 of 12 pictures would be refused, 3 of them by quality.min_file_bytes "
        "(50,000; these have 30,000 bytes in the median), 2 by it alone: lower it for this store in stores.yaml, or "
        "upload better pictures."
    )
    assert told.code == 0
    doctored.store["quality"] = {"min_file_bytes": 20_000, "min_side_px": 1, "min_sharpness": 0}
    assert ask(doctored).are(Verdict.OK) == LABELS


# --- what else may be wrong -------------------------------------------------------------------------


def everywhere(status: int, page: str) -> Fault:
    """Answer every address with one page."""
    return lambda _: Response(page, status, media_type="text/html")


@pytest.mark.parametrize(
    ("fault", "label", "found", "advice"),
    [
        (everywhere(200, "<html>Shop</html>"), "REST API", "200 with text/html", "a page answers in place of the REST"),
        (everywhere(404, "<html>No</html>"), "REST API", "404 with text/html", "there is no WordPress at this address"),
        (faults.database_down(), "REST API", "500 with the page 'Database Error'", "the shop is broken"),
        (faults.fatal_error(), "REST API", "500 with the page", "PHP's error log says why"),
        (faults.maintenance(), "REST API", "asks to wait 600 s", "the shop is busy or in maintenance"),
        (faults.busy(), "REST API", "429", "the shop is busy or in maintenance"),
        (faults.firewall("fashion"), "REST API", "403 with the page", "let the User-Agent that begins with fashion"),
        (faults.redirects("https://www.shop.example"), "REST API", "301", "redirects to https://www.shop.example/atelier"),
        (faults.inactive_woocommerce(), "keys", "rest_no_route", "activate the plugin"),
        (faults.drops(), "connection", "did not answer as a web server does", "see that the shop is up"),
        (faults.same_page(), "pages", "the first one again", "drops the parameter page"),
        (faults.only(faults.fatal_error(), path="products$"), "keys", "500", "it is tried again later"),
        (faults.only(faults.firewall("fashion"), path="wc/v3"), "keys", "403", "a firewall in front of the shop"),
    ],
)  # fmt: skip
def test_what_must_be_mended(fault: Fault, label: str, found: str, advice: str, make: Make) -> None:
    """Each trouble is found where it is, with what was answered and what to do; no question is asked twice."""
    doctored = make()
    doctored.shop.fault = fault
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {label}
    assert found in told.found[label]
    assert told.advice.startswith("To mend first: ")
    assert advice in told.advice
    assert told.code == 1
    questions = [(asked.path, asked.query) for asked in doctored.shop.asked]
    assert len(set(questions)) == len(questions)


def test_not_woocommerce(make: Make) -> None:
    """A WordPress whose index lists no wc/v3 is told to activate WooCommerce."""
    doctored = make()

    def apply(response: Response) -> Response:
        return Response(json.dumps({"namespaces": ["wp/v2"]}), 200, {"content-type": "application/json"})

    doctored.shop.fault = lambda _: Change(apply=apply)
    told = ask(doctored)
    assert told.found["REST API"] == "/wp-json/ is there, but without wc/v3"
    assert "activate the plugin WooCommerce" in told.advice


def test_an_index_closed_to_strangers(make: Make) -> None:
    """A plugin that closes the index to strangers is no fault where the keys open the rest."""
    doctored = make()
    body = json.dumps({"code": "rest_login_required", "message": "Log in.", "data": {"status": 401}})
    closed: Fault = lambda _: Response(body, 401, media_type="application/json")  # noqa: E731
    doctored.shop.fault = faults.only(closed, path="wp-json/$")
    told = ask(doctored)
    assert told.are(Verdict.OK) == LABELS
    assert "closed to strangers: 401 (rest_login_required: Log in.)" in told.found["REST API"]


def test_rewrite_rules_that_are_missing(make: Make) -> None:
    """Where permalinks are pretty and the web server knows nothing of it, that is what is to be mended."""
    doctored = make()
    doctored.shop.fault = faults.only(everywhere(404, "Not Found"), path="/wp-json")
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"REST API"}
    assert "does not pass /wp-json/ to WordPress" in told.advice


def test_a_private_address(make: Make) -> None:
    """A store that leads to a private address without leave is not asked anything."""
    doctored = make(allow_private_hosts=None)
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"address"}
    assert told.are(Verdict.NOT_TRIED) == LABELS - {"address"}
    assert told.found["address"] == "127.0.0.1 leads to an address that is not public"
    assert "list its host under allow_private_hosts" in told.advice
    assert told.code == 1
    assert not doctored.shop.asked


@pytest.mark.parametrize(
    ("store", "label", "found", "advice"),
    [
        ({"url": "https://127.0.0.1:9/x"}, "connection", "the host did not answer", "see that the shop is up"),
        ({"url": "https://nowhere.invalid/x"}, "address", "nowhere.invalid has no address", "DNS"),
        (
            {"ca_file": None},
            "connection",
            "the certificate cannot be trusted (",
            "name its private authority in ca_file",
        ),
    ],
)
def test_what_is_not_reached(store: dict[str, Any], label: str, found: str, advice: str, make: Make) -> None:
    """A name without address, a closed port and a certificate of nobody are told apart."""
    told = ask(make(**store))
    assert told.are(Verdict.FAILED) == {label}
    assert found in told.found[label]
    assert advice in told.advice


def test_a_ca_file_without_a_certificate(make: Make, tmp_path: Path) -> None:
    """A ca_file that holds no certificate is a finding about that store, not the end of the command."""
    (tmp_path / "none.pem").write_text("nothing")
    told = ask(make(ca_file=str(tmp_path / "none.pem")))
    assert told.are(Verdict.FAILED) == {"connection"}
    assert "it must hold the authority's certificate in PEM form" in told.found["connection"]


def test_a_hanging_shop(make: Make) -> None:
    """A shop that never answers costs a part of the time it is given, and says so."""
    doctored = make()
    doctored.shop.fault = faults.slow(60)
    told = ask(doctored, "--seconds", "1")
    assert told.are(Verdict.FAILED) == {"connection"}
    assert told.found["connection"] == "127.0.0.1 took longer than 0.25 s"
    assert told.code == 1


def test_the_time_of_a_store_is_bounded(make: Make) -> None:
    """Where every answer is slow, what was found until then is told, and the rest is not tried."""
    doctored = make()
    doctored.shop.latency_s = 0.3
    told = ask(doctored, "--seconds", "1.5")
    assert len(told.are(Verdict.FAILED)) == 1
    assert told.found[told.are(Verdict.FAILED).pop()] == "not done after 1.5 s"
    assert told.are(Verdict.OK) >= {"address", "connection"}
    assert told.verdicts["quality"] == Verdict.NOT_TRIED


# --- keys -------------------------------------------------------------------------------------------


def test_a_key_that_may_not_read(make: Make) -> None:
    """A key with the permission Write alone is known, and told to get Read."""
    doctored = make()
    doctored.shop.keys = [Key(KEY.consumer_key, KEY.consumer_secret, "write")]
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"permission"}
    assert told.verdicts["keys"] == Verdict.OK
    assert "set the key's permission to Read" in told.advice


def test_a_user_of_a_low_role(make: Make) -> None:
    """A key of a customer is known, and may see nothing."""
    doctored = make()
    doctored.shop.keys = [Key(KEY.consumer_key, KEY.consumer_secret, "read", frozenset())]
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"permission"}
    assert told.found["permission"].startswith("403 (woocommerce_rest_cannot_view")
    assert "make a key for an administrator or shop manager" in told.advice


def keyless() -> Fault:
    """Look at no key at all, as where a plugin asks too early who is logged in."""

    def fault(request: Request) -> Change:
        kept = [(name, value) for name, value in parse_qsl(request.url.query) if "oauth" not in name]
        scope = dict(request.scope) | {"query_string": urlencode(kept).encode()}
        return Change(Request(scope, request.receive))

    return faults.together(faults.strips_authorization(), fault)


def test_a_plugin_that_is_too_early(make: Make) -> None:
    """A shop that looks at no key is told to look for the plugin, and gets no secret in a URL."""
    doctored = make()
    doctored.shop.fault = keyless()
    told = ask(doctored)
    assert told.found["keys"].count("as if no key were sent") == 2
    assert "find it by switching plugins off" in told.advice
    assert not any("consumer_secret" in asked.query for asked in doctored.shop.asked)


def in_other_words(response: Response) -> Response:
    """Say refusals in another language."""
    body = json.loads(bytes(response.body)) if response.status_code == 401 else {}
    if body.get("code", "").startswith("woocommerce_rest_authentication"):
        body["message"] = "Das stimmt nicht."
        return Response(json.dumps(body), 401, {"content-type": "application/json"})
    return response


@pytest.mark.parametrize("name", ["STORE_KEY", "STORE_SECRET"])
def test_words_in_another_language(name: str, make: Make) -> None:
    """Where the shop's words are not English they are shown, and both keys are to be checked."""
    doctored = make()
    doctored.variables[name] = "c_mistyped"
    doctored.shop.fault = lambda _: Change(apply=in_other_words)
    told = ask(doctored)
    assert "Das stimmt nicht." in told.found["keys"]
    assert "check consumer_key and consumer_secret" in told.advice


def test_a_wrong_secret_behind_a_server_that_drops_the_header(make: Make) -> None:
    """Two faults at once: the secret is named first, for nothing else helps without."""
    doctored = make()
    doctored.variables["STORE_SECRET"] = "cs_mistyped"
    doctored.shop.fault = faults.strips_authorization()
    told = ask(doctored)
    assert "keys in the query: 401, wrong secret" in told.found["keys"]
    assert "not this consumer_secret" in told.advice


def test_two_faults_of_the_server(make: Make) -> None:
    """A server that drops the header before a WordPress that does not know of its https is told both."""
    doctored = make()
    doctored.shop.fault = faults.together(faults.strips_authorization(), faults.unaware_of_https())
    told = ask(doctored)
    assert "WordPress does not know that it is behind https" in told.advice
    assert "drops the Authorization header" in told.advice


@pytest.mark.parametrize("auth", ["query", "oauth1"])
def test_auth_that_is_not_needed(auth: str, make: Make) -> None:
    """A store whose auth is no longer, or was never, what the shop needs is told to take it out."""
    told = ask(make(auth=auth))
    assert told.code == (0 if auth == "query" else 1)
    assert told.are(Verdict.WARNING if auth == "query" else Verdict.FAILED) == {"keys"}
    assert f"auth: {auth}" in told.advice
    assert told.advice.count("out of stores.yaml") == 1


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
    """What a real shop said of keys is read as what it meant."""
    assert meaning(_answer(name)) is meant


def _answer(name: str, *, seconds: float = 0.1, asked_at: datetime | None = None) -> Answer:
    response = replay(name)
    value = recorded(name)["response"].get("body")
    code = value.get("code", "") if isinstance(value, dict) else ""
    message = value.get("message", "") if isinstance(value, dict) else ""
    reply = Reply(response.status_code, response.headers, bytes(response.body), "")  # type: ignore[arg-type]
    return Answer(
        reply, value, code, f"{response.status_code} ({code}: {message})", seconds, asked_at or datetime.now(UTC)
    )


# --- what the shop can do ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "skew", "verdict"),
    [
        ("https", timedelta(minutes=-10), Verdict.WARNING),
        ("http", timedelta(minutes=10), Verdict.WARNING),
        ("http", timedelta(hours=3), Verdict.FAILED),
    ],
)
def test_clocks_that_differ(scheme: str, skew: timedelta, verdict: Verdict, make: Make) -> None:
    """Minutes are a warning; over http, where a signature is good for 15 minutes, more must be mended."""
    doctored = make(scheme)
    doctored.shop.clock.set(datetime.now(UTC) + skew)
    told = ask(doctored)
    assert told.verdicts["clock"] == verdict
    assert ("behind" if skew < timedelta(0) else "ahead of") in told.found["clock"]
    assert told.code == (1 if verdict is Verdict.FAILED else 0)


def test_no_totals(make: Make) -> None:
    """Without X-WP-Total reading works and no sweep is ever complete: a warning that says so."""
    doctored = make()
    doctored.shop.fault = faults.no_totals()
    told = ask(doctored)
    assert told.are(Verdict.WARNING) == {"statuses"}
    assert "let the header X-WP-Total pass" in told.advice


def test_a_parameter_that_a_plugin_drops(make: Make) -> None:
    """A shop that knows modified_after and ignores it has a plugin or a cache to be mended, not a version."""
    doctored = make()
    doctored.shop.fault = faults.only(faults.old_woocommerce(), path="/products$")
    told = ask(doctored)
    assert told.found["changes"] == "modified_after is known, and ignored"
    assert "drops the parameter modified_after" in told.advice


def test_hidden_products_do_not_make_a_shop_obedient(make: Make) -> None:
    """An empty page whose total counts products does not mean that modified_after was obeyed."""
    doctored = make()
    doctored.shop.hidden = set(doctored.shop.products)
    doctored.shop.fault = faults.old_woocommerce()
    assert ask(doctored).found["changes"] == "modified_after is not known, and ignored"


def test_products_that_are_hidden(make: Make) -> None:
    """Products that are counted and left out of the page are a warning about the key's user."""
    doctored = make()
    doctored.shop.hidden = {min(doctored.shop.products)}
    told = ask(doctored)
    assert told.are(Verdict.WARNING) == {"products"}
    assert "1 of 4 are left out of a page" in told.found["products"]


@pytest.mark.parametrize(
    ("currency", "may_view", "verdict", "found"),
    [
        (None, {"products"}, Verdict.FAILED, "this key may not read it: 403"),
        ("GBP", {"products"}, Verdict.OK, "GBP in stores.yaml"),
        ("GBP", {"products", "settings"}, Verdict.WARNING, "GBP in stores.yaml, EUR in the shop"),
    ],
)
def test_currency(currency: str | None, may_view: set[str], verdict: Verdict, found: str, make: Make) -> None:
    """The currency is the shop's or that of stores.yaml; neither must be mended, and two are a warning."""
    doctored = make(currency=currency)
    doctored.shop.keys = [Key(KEY.consumer_key, KEY.consumer_secret, "read", frozenset(may_view))]
    told = ask(doctored)
    assert told.verdicts["currency"] == verdict
    assert found in told.found["currency"]
    assert ("its version is not told" in told.found["WooCommerce"]) == ("settings" not in may_view)


def test_an_empty_shop(make: Make) -> None:
    """A shop without products works, and is asked whether it is the right one."""
    told = ask(make(pictures=()))
    assert told.are(Verdict.FAILED) == set()
    assert told.verdicts["statuses"] == Verdict.WARNING
    assert told.verdicts["pictures"] == told.verdicts["quality"] == Verdict.NOT_TRIED


def test_a_slow_page() -> None:
    """A page of products that takes longer than 20 seconds is spoken of."""
    assert _speed(_answer("products_page1_id_asc", seconds=1)).verdict is Verdict.OK
    slow = _speed(_answer("products_page1_id_asc", seconds=34))
    assert slow.verdict is Verdict.WARNING
    assert "took 34.00 s" in slow.found


def test_what_cannot_be_published(make: Make) -> None:
    """Products that the gate refuses are counted by reason, and their pictures are not fetched."""
    doctored = make()
    first, second, *_ = doctored.shop.products
    doctored.shop.edit(first, price="")
    doctored.shop.edit(second, post_password="vip")
    told = ask(doctored)
    assert told.found["products"] == "2 of 4 published ones pass the gate; refused: no_price 1, password_protected 1"
    assert told.found["pictures"].startswith("2 of 2 fetched")
    assert sum("/uploads/" in asked.path for asked in doctored.shop.asked) == 2


# --- pictures ---------------------------------------------------------------------------------------


def test_a_sample_of_a_large_shop(make: Make) -> None:
    """Of a large shop products from its first to its newest are looked at, and the whole is estimated."""
    old, new = picture(file_bytes=0, square_px=60), GOOD
    doctored = make(pictures=(*(old,) * 65, *(new,) * 65))
    told = ask(doctored, "--pictures", "24")
    sampled = int(told.found["products"].split(" of ")[1].split()[0])
    assert 20 <= sampled <= 24
    refused, of = (int(part) for part in told.found["quality"].split(" would")[0].split(" of "))
    assert of == sampled
    assert 0.3 < refused / of < 0.7
    assert "of the shop's 130 products" in told.found["quality"]
    assert sum("/uploads/" in asked.path for asked in doctored.shop.asked) == sampled


def test_without_pictures(make: Make) -> None:
    """With --pictures 0 none is fetched, and that is no failure."""
    doctored = make()
    told = ask(doctored, "--pictures", "0")
    assert told.code == 0
    assert told.are(Verdict.NOT_TRIED) == {"products", "pictures", "quality"}
    assert not any("/uploads/" in asked.path for asked in doctored.shop.asked)


def test_pictures_that_are_lost(make: Make) -> None:
    """Pictures that cannot be had are counted by reason, with one of the products to look at; private ones are not asked."""
    doctored = make()
    lost, elsewhere, *_ = doctored.shop.products
    doctored.shop.forget_image(f"{doctored.shop.url}/wp-content/uploads/0.jpg")
    doctored.shop.edit(elsewhere, images=["http://10.0.0.1/a.jpg"])
    told = ask(doctored)
    assert told.are(Verdict.WARNING) == {"pictures"}
    assert told.found["pictures"] == "2 of 4 fetched from 1 host, median 60 kB; lost: blocked_address 1, gone 1"
    assert f"look at the picture of product {elsewhere}: http://10.0.0.1/a.jpg leads to" in told.advice
    doctored.shop.edit(elsewhere, images=[f"{doctored.shop.url}/wp-content/uploads/1.jpg"])
    told = ask(doctored)
    assert f"look at the picture of product {lost}: {doctored.shop.url}/wp-content/uploads/0.jpg" in told.advice


def test_no_picture_at_all(make: Make) -> None:
    """A shop none of whose pictures can be had must be mended."""
    doctored = make()
    doctored.shop.fault = faults.only(everywhere(403, "Hotlink!"), path="/uploads/")
    told = ask(doctored)
    assert told.are(Verdict.FAILED) == {"pictures"}
    assert told.verdicts["quality"] == Verdict.NOT_TRIED
    assert told.found["pictures"] == "0 of 4 fetched; lost: http_error 4"


def test_pictures_that_come_too_late(make: Make) -> None:
    """Pictures for which the time does not suffice are counted, and what came is judged."""
    doctored = make()
    doctored.shop.fault = faults.only(faults.slow(60), path="/uploads/[012]")
    told = ask(doctored, "--seconds", "1")
    assert told.verdicts["pictures"] == Verdict.WARNING
    assert told.found["pictures"].endswith("; lost: not in the time left 3")
    assert told.found["quality"] == "0 of 1 would be refused"


def test_a_file_too_large_is_a_threshold(make: Make) -> None:
    """A picture that is not fetched for its size is refused by max_file_bytes, not out of reach."""
    told = ask(make(quality={"max_file_bytes": 50_000}))
    assert told.verdicts["pictures"] == Verdict.OK
    assert told.found["quality"] == "4 of 4 would be refused: max_file_bytes (50,000) 4"
    assert told.verdicts["quality"] == Verdict.FAILED
    assert "raise it for this store" in told.advice


def test_what_no_threshold_decides(make: Make) -> None:
    """Where files are no pictures, one of them is named instead of a setting."""
    told = ask(make(pictures=(b"<html>" * 10_000,) * 2 + (GOOD,)))
    assert told.found["quality"] == "2 of 3 would be refused: not_an_image 2"
    assert "no threshold decides: look at the picture of product" in told.advice


# --- the command ------------------------------------------------------------------------------------


def test_every_store(make: Make, serving: Serving) -> None:
    """Without STORE every store has its table, in the order of the file; one that fails makes the exit code 1."""
    doctored = make()
    doctored.others = [{"id": "dead", "url": "https://127.0.0.1:9"}, {"id": "again", "paused": True}]
    result = doctored.command("doctor", "--pictures", "0")
    titles = [line for line in result.stdout.splitlines() if line and not line.startswith(" ")]
    assert [title.split()[0] for title in titles] == ["atelier", "dead", "again"]
    assert titles[2].endswith("s, paused)")
    assert [told.are(Verdict.FAILED) for told in _tables(result)] == [set(), {"connection"}, set()]
    assert result.exit_code == 1
    assert doctored.command("doctor", "again", "--pictures", "0").exit_code == 0


def test_json(make: Make) -> None:
    """With --json one object has every verdict, its figures and the advice."""
    result = make().command("doctor", "atelier", "--json")
    told = json.loads(result.stdout)["stores"]["atelier"]
    assert set(told) == {"verdict", "advice", "seconds", "findings"}
    assert (told["verdict"], result.exit_code) == ("ok", 0)
    assert [finding["tried"] for finding in told["findings"]] == [tried.value for tried in Tried]
    figures = {finding["tried"]: finding["measured"] for finding in told["findings"]}
    assert figures["statuses"] == {"any": 4, "trash": 0}
    assert figures["quality"] == {"judged": 4, "refused": 0, "by": {}}
    assert abs(figures["clock"]["skew_s"]) <= 1


def test_on_a_terminal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the table fits into its width, and a stranger's words steer nothing."""
    doctored = make()
    words = "\x1b[2J[bold]Closed[/bold] from Monday to Saturday, and on Sundays until further notice"
    body = json.dumps({"code": "rest_odd", "message": words})
    doctored.shop.fault = faults.only(lambda _: Response(body, 403, media_type="application/json"), path="products$")
    doctored.describe()
    ours = {name: value for name, value in doctored.environment.items() if value is not None}
    environment = {**os.environ, **ours, "TERM": "xterm", "COLUMNS": "80"}
    program = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    command = [sys.executable, "-m", "fashion_pipeline.cli", "doctor"]
    ran = subprocess.run(
        [sys.executable, "-c", program, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "\x1b[2J" not in ran.stdout
    assert "[bold]Closed[/bold]" in ran.stdout
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout)
    assert max(map(len, plain.splitlines())) <= 80
    assert "until further notice)" in " ".join(plain.split())
    assert "permission" in plain


def test_wrong_configuration_is_exit_code_2(make: Make) -> None:
    """A store that is not listed is an error in use, said in one sentence."""
    doctored = make()
    with pytest.raises(SettingsError, match="no store 'nowhere'"):
        raise doctored.command("doctor", "nowhere").exception or AssertionError
    assert exit_code(SettingsError("")) == 2
