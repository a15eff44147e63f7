from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline_tests.doctor.examining import GOOD, LABELS, Make, everywhere, examine
from fashion_pipeline_tests.model_shop import faults

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault


def test_all_well(make: Make) -> None:
    """A good shop passes all checks with few requests, and the exit code is 0; no database and no home is touched."""
    served = make(images=(GOOD,) * 12)
    table = examine(served)
    assert table.are(Verdict.OK) == LABELS
    assert (table.code, table.advice) == (0, "All is well: run fashion-pipeline ingest atelier.")
    assert table.found["WooCommerce"].startswith("11.0.1 on WordPress 7")
    assert table.found["statuses"] == "12 products of any status, 0 in the trash"
    assert table.found["images"] == "12 of 12 fetched from 1 host, median 60 kB"
    assert table.found["quality"] == "0 of 12 would be refused"
    assert sum("/wp-json" in asked.path for asked in served.shop.asked) <= 20
    assert not any("consumer" in asked.query for asked in served.shop.asked)
    assert [path.name for path in served.folder.iterdir()] == ["stores.yaml"]


@pytest.mark.parametrize(
    ("fault", "label", "found", "advice"),
    [
        (everywhere(200, "<html>Shop</html>"), "REST API", "200 with text/html", "an HTML page is served in place of the REST"),
        (everywhere(404, "<html>No</html>"), "REST API", "404 with text/html", "there is no WordPress at this address"),
        (faults.database_down(), "REST API", "500 with the page 'Database Error'", "the shop is broken"),
        (faults.fatal_error(), "REST API", "500 with the page", "see the error log of its web server or of PHP"),
        (faults.maintenance(), "REST API", "asks to wait 600 s", "the shop is busy or in maintenance"),
        (faults.busy(), "REST API", "429", "the shop is busy or in maintenance"),
        (faults.firewall("fashion"), "REST API", "403 with the page", "allow the User-Agent that begins with fashion"),
        (faults.redirects("https://www.shop.example"), "REST API", "301", "redirects to https://www.shop.example/atelier"),
        (faults.inactive_woocommerce(), "keys", "rest_no_route", "activate the plugin"),
        (faults.drops(), "connection", "did not answer as a web server does", "check that the shop is up"),
        (faults.same_page(), "pages", "the second page repeats the first", "drops the parameter page"),
        (faults.only(faults.fatal_error(), path="products$"), "keys", "500", "it is retried later"),
        (faults.only(faults.firewall("fashion"), path="wc/v3"), "keys", "403", "a firewall in front of the shop"),
    ],
)  # fmt: skip
def test_what_must_be_fixed(fault: Fault, label: str, found: str, advice: str, make: Make) -> None:
    """Each problem fails the right check, with the response and the advice; no request is sent twice."""
    served = make()
    served.shop.fault = fault
    table = examine(served)
    assert table.are(Verdict.FAILED) == {label}
    assert found in table.found[label]
    assert table.advice.startswith("Fix first: ")
    assert advice in table.advice
    assert table.code == 1
    questions = [(asked.path, asked.query) for asked in served.shop.asked]
    repeated = [query for path, query in questions if questions.count((path, query)) > 1]
    assert all("price" in query for query in repeated)  # the check for a cache repeats its own


def test_a_hanging_shop(make: Make) -> None:
    """A shop that never responds costs only a part of the time limit, and the finding says so."""
    served = make()
    served.shop.fault = faults.slow(60)
    table = examine(served, "--seconds", "1")
    assert table.are(Verdict.FAILED) == {"connection"}
    assert table.found["connection"] == "127.0.0.1 took longer than 0.25 s"
    assert table.code == 1


def test_the_time_of_a_store_is_bounded(make: Make) -> None:
    """Where every response is slow, the findings so far are printed, and the rest is not tried."""
    served = make()
    served.shop.latency_s = 0.3
    table = examine(served, "--seconds", "1.5")
    assert len(table.are(Verdict.FAILED)) == 1
    assert table.found[table.are(Verdict.FAILED).pop()] == "not done after 1.5 s"
    assert table.are(Verdict.OK) >= {"address", "connection"}
    assert table.verdicts["quality"] == Verdict.NOT_TRIED


def test_a_ca_file_without_a_certificate(make: Make, tmp_path: Path) -> None:
    """A ca_file without a certificate is a finding about its store; the command goes on."""
    (tmp_path / "none.pem").write_text("nothing")
    table = examine(make(ca_file=str(tmp_path / "none.pem")))
    assert table.are(Verdict.FAILED) == {"connection"}
    assert "it must hold the authority's certificate in PEM form" in table.found["connection"]
