"""The command ``doctor``: which stores, and what it prints."""

from __future__ import annotations

import asyncio
import json

import click

from fashion_pipeline.doctor.examine import Examined, examine_stores
from fashion_pipeline.doctor.findings import Verdict
from fashion_pipeline.doctor.table import show
from fashion_pipeline.errors import SettingsError
from fashion_pipeline.outcomes import SystemClock
from fashion_pipeline.settings import Settings
from fashion_pipeline.stores import NO_STORES


def run_doctor(settings: Settings, store_id: str | None, *, pictures: int, seconds: float, as_json: bool) -> bool:
    """Examine one store, or all, and print what was found; return whether nothing has to be mended.

    Raises:
        ConfigurationError: stores.yaml is wrong, or has no such store, or none.
    """
    stores = settings.store_list()
    wanted = [stores.require(store_id)] if store_id else list(stores.values())
    if not wanted:
        raise SettingsError(NO_STORES)

    def tell(examined: Examined) -> None:
        if not as_json:
            show(examined, is_last=examined.store is wanted[-1])

    examined = asyncio.run(
        examine_stores(wanted, settings, clock=SystemClock(), seconds=seconds, pictures=pictures, show=tell)
    )
    if as_json:
        click.echo(json.dumps({"stores": {each.store.id: each.as_json() for each in examined}}))
    return all(each.verdict is not Verdict.FAILED for each in examined)
