"""The metadata of a materialization: counts of what there is, counts of what this run did, and seconds."""

import dataclasses
import inspect
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

import dagster as dg

from fashion_pipeline.outcomes import Outcome, Status
from fashion_pipeline.records import Table

if TYPE_CHECKING:
    from fashion_pipeline.sinks.desired import ProductOutcome

THIS_RUN = "this_run/"
SECONDS = "seconds"


def tally(outcomes: "Iterable[Outcome | ProductOutcome]") -> dict[str, dict[str, int]]:
    """Count outcomes by status, and the refused and failed ones by their first reason."""
    counted: dict[str, Counter[str]] = {"outcomes": Counter(), "rejected": Counter(), "failed": Counter()}
    for outcome in outcomes:
        counted["outcomes"][outcome.status.value] += 1
        if outcome.status is not Status.OK:
            counted[outcome.status.value][outcome.reasons[0].value if outcome.reasons else "waiting"] += 1
    return {name: dict(found) for name, found in counted.items()}


def run_metadata(counts: Any, *, started: float, table: Table[Any] | None = None) -> dict[str, Any]:
    """Return a materialization's metadata.

    Args:
        counts: the domain's dataclass of what this run did.
        started: ``time.monotonic()`` at the start.
        table: the stage's table, whose outcomes are counted; a sink has none.
    """
    done = {name: _number(value) for name, value in dataclasses.asdict(counts).items()}
    metadata: dict[str, Any] = {SECONDS: round(time.monotonic() - started, 3)}
    metadata.update({f"{THIS_RUN}{name}": value for name, value in done.items() if value is not None})
    if table is not None:
        metadata["dagster/partition_row_count"] = len(table.rows)
        metadata.update(_tables(tally(row.outcome for row in table.rows)))
    return metadata


def _number(value: Any) -> int | None:
    """Numbers are plotted over time; of a collection it is the number of its members."""
    if isinstance(value, int):
        return int(value)
    return len(value) if isinstance(value, Sized) and not isinstance(value, str) else None


def this_run(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, int]:
    """Return what a materialization says its run did: the inverse of ``run_metadata``."""
    return {
        name.removeprefix(THIS_RUN): int(entry.value) for name, entry in metadata.items() if name.startswith(THIS_RUN)
    }


def outcome_metadata(outcomes: "Sequence[ProductOutcome]") -> dict[str, Any]:
    """Return as metadata what stands for a store's products after this run."""
    return {"products": len(outcomes), **_tables(tally(outcomes))}


def column_schema(row: type) -> dg.TableSchema:
    """Return a row type's fields, with their documentation, as the columns that the UI shows."""
    described = _attributes(row)
    names = {
        name: str(field.type)
        .replace("tuple[", "list[")
        .replace(", ...]", "]")
        .replace("str", "string")
        .replace(" | None", "")
        for name, field in row.__dataclass_fields__.items()  # type: ignore[attr-defined]
    }
    optional = {name for name, field in row.__dataclass_fields__.items() if "None" in str(field.type)}  # type: ignore[attr-defined]
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                kind,
                description=described.get(name),
                constraints=dg.TableColumnConstraints(nullable=name in optional),
            )
            for name, kind in names.items()
        ]
    )


def _attributes(row: type) -> dict[str, str]:
    """Return what a class's docstring says of each attribute, as one line."""
    section = inspect.cleandoc(row.__doc__ or "").partition("Attributes:\n")[2]
    described: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", section):
        names, _, words = entry.partition(":")
        line = " ".join(words.split()).replace("``", "")
        described.update({name.strip(): line for name in names.split(",")})
    return described


def _tables(counted: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    return {
        name: dg.MetadataValue.md(
            f"| {name} | items |\n|---|---:|\n"
            + "\n".join(f"| {key} | {count:,} |" for key, count in sorted(found.items(), key=lambda item: -item[1]))
        )
        for name, found in counted.items()
        if found
    }
