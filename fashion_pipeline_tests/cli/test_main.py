from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner

from fashion_pipeline.cli.main import cli
from fashion_pipeline.cli.report import COUNTS
from fashion_pipeline.demo.stage import start_server
from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.pipeline import Pipeline

REPORT_KEYS = {"products", *COUNTS, "rejected", "failed", "seconds"}
ASSETS = ["raw_products", "fetched_images", "quality_passed", "embeddings", "postgres_products", "qdrant_points"]


def last_object(ran: Any) -> dict[str, Any]:
    """Return the JSON object that must be the last line of standard output."""
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_ingest_prints_what_it_did_as_its_last_line(pipeline: Pipeline) -> None:
    """Over http with OAuth, ``ingest --json`` ends with the agreed object; again, it did nothing."""
    first = pipeline.cold_command("ingest", pipeline.store_id, "--json")
    assert first.returncode == 0, first.stderr
    report = last_object(first)["stores"][pipeline.store_id]
    assert set(report) == REPORT_KEYS
    assert list(report["seconds"]) == ASSETS
    assert report["rows_written"] == report["points_written"] == len(pipeline.held().rows)
    assert report["products"] == report["rows_written"] + sum(report["rejected"].values())
    again = last_object(pipeline.command("ingest", pipeline.store_id, "--json"))["stores"][pipeline.store_id]
    assert {name: again[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert (again["products"], again["rejected"]) == (report["products"], report["rejected"])


def test_ingest_over_https_trusts_the_stores_own_authority(pipeline: Pipeline, tmp_path: Path) -> None:
    """With ``ca_file`` a shop behind a private authority is read with Basic auth; without it the run says what to set."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = (tmp_path / "server.pem", tmp_path / "server.pem")
    with start_server(tmp_path / "tls", products=8, stores=1, tls=tls, draw_ahead=False) as server:
        secure = Pipeline(
            tmp_path / "secure",
            server,
            "atelier-nord",
            database_url=pipeline.database_url,
            model=pipeline.environment["FASHION_MODEL"],
        )
        refused = secure.cold_command("ingest", "atelier-nord")
        assert refused.returncode == 1
        assert "ca_file" in refused.stderr
        secure.describe(ca_file=str(tmp_path / "ca.pem"))
        ran = secure.cold_command("ingest", "atelier-nord", "--json")
        assert ran.returncode == 0, ran.stderr
        assert last_object(ran)["stores"]["atelier-nord"]["rows_written"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_says_how_to_resume(pipeline: Pipeline, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end a run that waits for its shop with one sentence and 130; the next run does the work."""
    pipeline.shop("set", latency_s=2)
    with pipeline.started("ingest", pipeline.store_id) as process:
        while not pipeline.shop("asked")["asked"]:  # the next answer takes two seconds too
            time.sleep(0.02)
        if number == signal.SIGINT:  # as a terminal does: to whatever the command has started, too
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "interrupted; rerun the command to resume" in errors
    assert "Traceback" not in errors
    pipeline.shop("set", latency_s=0)
    assert pipeline.report()["rows_written"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ingest"], "Missing argument 'STORE'"),
        (["ingest", "nowhere"], "no store 'nowhere' in stores.yaml; there are: "),
        (["ingest", "--swep", "x"], "No such option"),
        (["outcomes", "nowhere"], "no store 'nowhere'"),
        (["search", "nowhere"], "name a PRODUCT, or an image file with --image"),
        (["outcomes", "atelier-nord", "\udcff"], "is not valid UTF-8"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(pipeline: Pipeline, arguments: list[str], words: str) -> None:
    """A mistake on the command line is explained, and nothing is done."""
    ran = pipeline.command(*arguments)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("group", [[], ["model"]])
def test_the_list_of_commands_says_of_each_what_it_does(group: list[str]) -> None:
    """Whole sentences that fit a terminal of 80 columns: none is cut short."""
    text = CliRunner().invoke(cli, [*group, "--help"], terminal_width=80).output
    commands = text.partition("Commands:")[2].splitlines()
    assert commands
    assert all(line.endswith(".") and not line.endswith("...") for line in commands if line)


def test_a_wrong_stores_file_is_one_sentence_with_file_and_line(pipeline: Pipeline) -> None:
    """A run of the store, and ``check``, end with code 2; ``status`` shows the mistake beside what the sinks hold."""
    pipeline.describe(colour="red")
    for command in (["ingest", pipeline.store_id], ["check"]):
        ran = pipeline.command(*command)
        assert ran.returncode == 2
        assert "stores.yaml:1: " in ran.stderr
        assert "Traceback" not in ran.stderr
    shown = pipeline.command("status")
    assert shown.returncode == 0
    assert "misconfigured, not synced: " in shown.stdout
    assert "stores.yaml:1: " in shown.stdout


def test_check_names_the_valid_stores(pipeline: Pipeline) -> None:
    """Without a mistake the exit code is 0, and no shop and no database is contacted."""
    pipeline.environment["FASHION_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:9/nowhere"
    pipeline.describe(url="http://127.0.0.1:9")
    ran = pipeline.command("check", "--json")
    assert ran.returncode == 0
    assert json.loads(ran.stdout) == {"valid": [pipeline.store_id], "misconfigured": {}}


@pytest.mark.parametrize(("command", "code"), [("doctor", 2), ("status", 0), ("reconcile", 0)])
def test_no_store_at_all_is_said(pipeline: Pipeline, command: str, code: int) -> None:
    """A command for every store does not pass over a file that lists none in silence."""
    (pipeline.folder / "stores.yaml").write_text("stores:\n")
    ran = pipeline.command(command)
    assert (ran.returncode, "lists no store yet" in ran.stderr) == (code, True)


def test_a_wrong_key_is_wrong_configuration(pipeline: Pipeline) -> None:
    """Keys that the shop refuses exit with 2, a sentence, and no secret."""
    pipeline.environment["STORE_SECRET"] = "cs_not_this_one"
    ran = pipeline.command("ingest", pipeline.store_id)
    assert ran.returncode == 2
    assert pipeline.store_id in ran.stderr
    assert "cs_not_this_one" not in ran.stderr + ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_database_that_does_not_answer_may_be_tried_again(pipeline: Pipeline) -> None:
    """PostgreSQL down is exit code 1, and the message does not hold the password."""
    pipeline.environment["FASHION_DATABASE_URL"] = "postgresql://user:very_private@127.0.0.1:9/none"
    ran = pipeline.command("ingest", pipeline.store_id)
    assert ran.returncode == 1
    assert "127.0.0.1:9" in ran.stderr
    assert "very_private" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_missing_model_says_what_to_set(pipeline: Pipeline) -> None:
    """Without weights the run fails with a sentence, and tells how far each product came."""
    pipeline.environment["FASHION_MODEL"] = "local-dir:/nowhere"
    ran = pipeline.command("ingest", pipeline.store_id, "--json")
    assert ran.returncode == 2
    assert "there is no directory /nowhere" in ran.stderr
    report = last_object(ran)["stores"][pipeline.store_id]
    assert report["fetched"] > 0
    assert report["rejected"]["no_image"] == 1
    assert report["failed"]["waiting"] > 0


def test_the_sinks_are_explained_in_plain_words(pipeline: Pipeline) -> None:
    """``status``, ``outcomes`` and ``search`` answer from the sinks what is published, and why the rest is not."""
    pipeline.report()
    held = pipeline.held()
    status = json.loads(pipeline.command("status", "--json").stdout)["stores"][pipeline.store_id]
    assert status["rows"] == status["points"] == len(held.rows)
    every = pipeline.command("outcomes", pipeline.store_id).stdout
    assert Reason.TOO_BLURRY.text in every
    published = next(iter(held.rows))
    one = pipeline.command("outcomes", pipeline.store_id, published).stdout
    assert "  published\n" in one
    assert "in PostgreSQL and Qdrant" in one
    hits = json.loads(pipeline.command("search", pipeline.store_id, published, "--limit", "3", "--json").stdout)
    assert len(hits) == 3
    assert all(hit["product_id"] != str(held.rows[published][0]) for hit in hits)
    not_an_image = pipeline.command("search", pipeline.store_id, "--image", "stores.yaml")
    assert not_an_image.returncode == 2
    assert "--image stores.yaml: " in not_an_image.stderr
    unknown = pipeline.command("outcomes", pipeline.store_id, "999999")
    assert unknown.returncode == 2
    assert "nothing is known of product '999999'" in unknown.stderr
    pipeline.describe(id="another")
    assert (
        pipeline.command("outcomes", pipeline.store_id, published).stdout == one
    )  # also for a store that is no longer in stores.yaml
