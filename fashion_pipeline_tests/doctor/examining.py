"""Runs the doctor and reads back the table that it prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from click.testing import Result
from starlette.responses import Response

from fashion_pipeline.doctor.findings import Tried, Verdict
from fashion_pipeline.doctor.probe import Answer
from fashion_pipeline.web.client import Reply
from fashion_pipeline_tests.doctor.serving import KEY, ServedStore, jpeg
from fashion_pipeline_tests.shop.recordings import recorded, replay

if TYPE_CHECKING:
    from fashion_pipeline.model_shop.middleware import Fault

Make = Callable[..., ServedStore]

GOOD = jpeg()
LABELS = {tried.label for tried in Tried}


@dataclass(frozen=True)
class Table:
    """A printed table: findings and verdicts by label, the advice below it, and the exit code."""

    found: dict[str, str]
    verdicts: dict[str, str]
    advice: str
    code: int

    def are(self, verdict: Verdict) -> set[str]:
        """Return the labels with a verdict."""
        return {label for label, each in self.verdicts.items() if each == verdict}


def examine(served: ServedStore, *arguments: str) -> Table:
    """Run ``doctor`` on the store and read what it prints. It sends only GET, and prints no key."""
    result = served.command("doctor", *arguments)
    tables = tables_of(result)
    assert len(tables) == 1
    assert {asked.method for asked in served.shop.asked} <= {"GET"}
    for secret in (*filter(None, served.variables.values()), KEY.consumer_key, KEY.consumer_secret):
        assert secret not in result.output
    return tables[0]


def tables_of(result: Result) -> list[Table]:
    """Return the tables in the output of ``doctor``; each has a row for every check."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    tables = []
    for block in result.stdout.strip().split("\n\n"):
        _, *rows, advice = block.splitlines()
        found, verdicts = {}, {}
        for row in rows:
            verdict, label, text = row[2:11].strip(), row[13:24].strip(), row[26:]
            labels = text.rpartition(":")[0].split(", ") if verdict == Verdict.NOT_TRIED else [label]
            for each in labels:
                found[each], verdicts[each] = text, verdict
        assert set(verdicts) == LABELS
        tables.append(Table(found, verdicts, advice.strip(), result.exit_code))
    return tables


def everywhere(status: int, page: str) -> Fault:
    """Answer every request with one page."""
    return lambda _: Response(page, status, media_type="text/html")


def recorded_answer(name: str, *, seconds: float = 0.1, asked_at: datetime | None = None) -> Answer:
    """Return a recorded response of a real shop."""
    response = replay(name)
    value = recorded(name)["response"].get("body")
    code = value.get("code", "") if isinstance(value, dict) else ""
    message = value.get("message", "") if isinstance(value, dict) else ""
    reply = Reply(response.status_code, response.headers, bytes(response.body), "")  # type: ignore[arg-type]
    return Answer(
        reply, value, code, f"{response.status_code} ({code}: {message})", seconds, asked_at or datetime.now(UTC)
    )
