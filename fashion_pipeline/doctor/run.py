"""The command ``doctor``: chooses the stores and prints the findings."""

from __future__ import annotations

import asyncio
import json

import click

from fashion_pipeline.doctor.examine import Examination, examine_stores
from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.doctor.table import show
from fashion_pipeline.errors import SettingsError
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import NO_STORES


def run_doctor(settings: Settings, store_id: str | None, *, images: int, seconds: float, as_json: bool) -> bool:
    """Examine one store, or all, and print the findings; return whether nothing has to be fixed.

    Raises:
        ConfigurationError: stores.yaml is wrong, lists no such store, or lists none.
    """
    stores = settings.store_list()
    wanted = [stores.require(store_id)] if store_id else list(stores.values())
    if not wanted:
        raise next(iter(stores.misconfigured.values()), SettingsError(NO_STORES))
    misconfigured = {} if store_id else {name: str(error) for name, error in stores.misconfigured.items()}
    for name, message in misconfigured.items():
        click.echo(f"{name}: misconfigured: {message}", err=True)

    def report(examination: Examination) -> None:
        if not as_json:
            show(examination, is_last=examination.store is wanted[-1])

    examinations = asyncio.run(
        examine_stores(wanted, settings, clock=SystemClock(), seconds=seconds, images=images, report=report)
    )
    if as_json:
        click.echo(json.dumps({"stores": {each.store.id: each.as_json() for each in examinations}}))
    return not misconfigured and all(each.verdict is not Verdict.FAILED for each in examinations)
