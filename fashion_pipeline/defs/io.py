"""Stage tables as Parquet files, one for each asset and store."""

import logging
from typing import Any

import dagster as dg
from upath import UPath

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.records import TABLES, Table
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage.files import set_aside
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.tables import read_table, write_table

logger = logging.getLogger(__name__)

TABLE = dg.PythonObjectDagsterType(Table, name="Table", description="One stage's rows for one store.")


class TableIOManager(dg.UPathIOManager):
    """``{FASHION_HOME}/tables/<asset>/<store>.parquet``: written whole or not at all."""

    extension = ".parquet"

    def __init__(self, home: Home) -> None:
        super().__init__(base_path=home.root / "tables")
        self.home = home

    def dump_to_path(self, context: dg.OutputContext, obj: Table[Any], path: UPath) -> None:
        """Write the table that an asset returned."""
        write_table(path, obj, TABLES[context.asset_key.path[-1]])

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Table[Any]:
        """Read the table that an upstream asset left."""
        table = read_table(path, TABLES[context.asset_key.path[-1]])
        if table is None:
            raise FileNotFoundError(path)
        return table

    def make_directory(self, path: UPath) -> None:
        """Do nothing: ``storage.put`` makes the directories it needs."""

    def previous(self, context: dg.AssetExecutionContext) -> Table[Any] | None:
        """Return the asset's own table of its last run: its memory. None the first time.

        One that cannot be read is moved aside, and made again as if it had been lost.
        """
        asset = context.asset_key.path[-1]
        path = self.home.table(asset, context.partition_key)
        try:
            return read_table(path, TABLES[asset])
        except DamagedFile as error:
            aside = set_aside(path)
            for log in (context.log, logger):  # the UI's, and the command line's
                log.warning("%s: it lies at %s now, and this run makes it again", error, aside)
            return None

    def checkpoint(self, context: dg.AssetExecutionContext, table: Table[Any]) -> None:
        """Write what a long stage has so far, so that a killed run repeats little."""
        asset = context.asset_key.path[-1]
        write_table(self.home.table(asset, context.partition_key), table, TABLES[asset])


@dg.io_manager(description="Parquet tables under FASHION_HOME.")
def tables(_: dg.InitResourceContext) -> TableIOManager:
    """Open the tables of the configured home."""
    return TableIOManager(Home(Settings.read().home_path))
