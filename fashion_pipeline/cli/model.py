"""The command ``model``: from one embedding model to the next."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from fashion_pipeline.cli.maintenance import confirm, opened, removal_lock
from fashion_pipeline.outcomes import SystemClock

if TYPE_CHECKING:
    from fashion_pipeline.sinks.rollout import Progress

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")


@click.group(short_help="See, show and drop embedding models.")
def model() -> None:
    """Say which models there are and which one readers see, move readers to another, and remove one."""


@model.command(short_help="Say of each model how far it is, and who sees it.")
@_json
def status(*, as_json: bool) -> None:
    """Say of each model how many points it has, who sees it, and what it lacks."""

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
        click.echo("no model has been used yet: run fashion-pipeline ingest STORE first")


@model.command(short_help="Show readers the wanted model, or another one, now.")
@click.argument("fingerprint", required=False)
@click.option("--force", is_flag=True, help="Although it lacks points, or has old ones.")
def promote(fingerprint: str | None, *, force: bool) -> None:
    """Show readers the model that is being built, or the one of FINGERPRINT, now; runs do this when it is complete."""

    async def move() -> None:
        from fashion_pipeline.sinks.rollout import promote as promoted

        async with opened() as (_, sinks):
            shown = await promoted(sinks, fingerprint, force=force, now=SystemClock().now())
            click.echo(f"readers see model {shown}", err=True)

    asyncio.run(move())


@model.command(short_help="Remove a model's collection and vectors.")
@click.argument("fingerprint")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(fingerprint: str, *, yes: bool) -> None:
    """Remove the collection and the stored vectors of the model of FINGERPRINT; not of the one that readers see."""
    if not yes:
        confirm(f"Remove the collection and the vectors of model {fingerprint}?")

    async def remove() -> None:
        from fashion_pipeline.sinks.rollout import drop as dropped

        async with opened() as (_, sinks):
            gone = await dropped(sinks, fingerprint)
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
    what = [word for word, true in (("readers see it", progress.shown), ("wanted", progress.wanted)) if true]
    points = "no collection" if progress.points is None else f"{progress.points:,} points"
    notes = f" - {', '.join(what)}" if what else ""
    lines = [f"{progress.model}: {points}, {progress.vectors:,} stored vectors{notes}"]
    if progress.wanted and not progress.shown:
        lines += [f"  {store_id} lacks {number:,} up-to-date points" for store_id, number in progress.lacks.items()]
        lines += [
            "  runs of these stores bring them, unless they wait for consent or another try: fashion-pipeline status"
            if progress.lacks
            else "  complete: the next run, or model promote, shows it"
        ]
    return lines
