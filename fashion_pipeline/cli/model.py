"""The group of commands ``model``: moving from one embedding model to the next."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from fashion_pipeline.cli.maintenance import opened, removal_lock
from fashion_pipeline.cli.terminal import confirm, json_option
from fashion_pipeline.outcomes import SystemClock

if TYPE_CHECKING:
    from fashion_pipeline.sinks.rollout import Progress


@click.group(short_help="Show, promote and drop embedding models.")
def model() -> None:
    """Show which embedding models exist and which one is live, promote another one, or drop one."""


@model.command(short_help="Show each model's progress and which one is live.")
@json_option
def status(*, as_json: bool) -> None:
    """Show each model's points and stored vectors, which one is live, and what the wanted one still lacks."""

    async def read() -> tuple[Progress, ...]:
        from fashion_pipeline.sinks.rollout import models

        async with opened() as (_, sinks):
            return await models(sinks)

    known = asyncio.run(read())
    if as_json:
        click.echo(json.dumps({"models": {progress.model.fingerprint: _as_json(progress) for progress in known}}))
        return
    for progress in known:
        click.echo("\n".join(_lines(progress)))
    if not known:
        click.echo("no model has been used yet; run fashion-pipeline ingest STORE first")


@model.command(short_help="Make the wanted model, or another one, live now.")
@click.argument("fingerprint", required=False)
@click.option("--force", is_flag=True, help="Promote even if points are missing or stale.")
def promote(fingerprint: str | None, *, force: bool) -> None:
    """Make the wanted model, or the one of FINGERPRINT, live now; runs do this when it is complete."""

    async def move() -> None:
        from fashion_pipeline.sinks.rollout import promote as promote_model

        async with opened() as (_, sinks):
            live = await promote_model(sinks, fingerprint, force=force, now=SystemClock().now())
            click.echo(f"model {live} is live", err=True)

    asyncio.run(move())


@model.command(short_help="Remove a model's collection and vectors.")
@click.argument("fingerprint")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def drop(fingerprint: str, *, yes: bool) -> None:
    """Remove the collection and the stored vectors of the model of FINGERPRINT; the live model is refused."""
    if not yes:
        confirm(f"Remove the collection and the vectors of model {fingerprint}?")

    async def remove() -> None:
        from fashion_pipeline.sinks.rollout import drop as drop_model

        async with opened() as (_, sinks):
            gone = await drop_model(sinks, fingerprint)
            click.echo(
                f"removed {gone.points or 0:,} points and {gone.vectors:,} vectors of model {gone.model}", err=True
            )

    with removal_lock():
        asyncio.run(remove())


def _as_json(progress: Progress) -> dict[str, Any]:
    return {
        "name": progress.model.name,
        "points": progress.points,
        "vectors": progress.vectors,
        "shown": progress.shown,
        "wanted": progress.wanted,
        "lacks": dict(progress.lacks),
    }


def _lines(progress: Progress) -> list[str]:
    states = [word for word, true in (("live", progress.shown), ("wanted", progress.wanted)) if true]
    points = "no collection" if progress.points is None else f"{progress.points:,} points"
    notes = f" - {', '.join(states)}" if states else ""
    lines = [f"{progress.model}: {points}, {progress.vectors:,} stored vectors{notes}"]
    if progress.wanted and not progress.shown:
        lines += [f"  {store_id} lacks {number:,} up-to-date points" for store_id, number in progress.lacks.items()]
        lines += [
            "  runs of these stores add them, unless they wait for consent or a retry; see fashion-pipeline status"
            if progress.lacks
            else "  complete: the next run, or fashion-pipeline model promote, makes it live"
        ]
    return lines
