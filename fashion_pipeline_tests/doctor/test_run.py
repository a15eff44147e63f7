from __future__ import annotations

import json

import pytest

from fashion_pipeline.cli.exit_codes import exit_code
from fashion_pipeline.doctor.findings import Tried, Verdict
from fashion_pipeline.errors import SettingsError
from fashion_pipeline_tests.doctor.examining import Make, tables_of
from fashion_pipeline_tests.doctor.serving import Serving

pytestmark = pytest.mark.slow


def test_every_store(make: Make, serving: Serving) -> None:
    """Without STORE every store has a table, in the order of the file; one failure makes the exit code 1."""
    served = make()
    served.others = [{"id": "dead", "url": "https://127.0.0.1:9"}, {"id": "again", "paused": True}]
    result = served.command("doctor", "--images", "0")
    titles = [line for line in result.stdout.splitlines() if line and not line.startswith(" ")]
    assert [title.split()[0] for title in titles] == ["atelier", "dead", "again"]
    assert titles[2].endswith("s, paused)")
    assert [table.are(Verdict.FAILED) for table in tables_of(result)] == [set(), {"connection"}, set()]
    assert result.exit_code == 1
    assert served.command("doctor", "again", "--images", "0").exit_code == 0


def test_json(make: Make) -> None:
    """With --json one object has every verdict, the figures and the advice."""
    result = make().command("doctor", "atelier", "--json")
    report = json.loads(result.stdout)["stores"]["atelier"]
    assert set(report) == {"verdict", "advice", "seconds", "findings"}
    assert (report["verdict"], result.exit_code) == ("ok", 0)
    assert [finding["tried"] for finding in report["findings"]] == [tried.value for tried in Tried]
    figures = {finding["tried"]: finding["measured"] for finding in report["findings"]}
    assert figures["statuses"] == {"any": 4, "trash": 0}
    assert figures["quality"] == {"judged": 4, "refused": 0, "by": {}}
    assert abs(figures["clock"]["skew_s"]) <= 1


def test_wrong_configuration_is_exit_code_2(make: Make) -> None:
    """A store that is not listed is a usage error with one sentence."""
    served = make()
    with pytest.raises(SettingsError, match="no store 'nowhere'"):
        raise served.command("doctor", "nowhere").exception or AssertionError
    assert exit_code(SettingsError("")) == 2
