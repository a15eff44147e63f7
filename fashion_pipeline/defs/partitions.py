"""One partition for each store of ``stores.yaml``."""

import dagster as dg

stores = dg.DynamicPartitionsDefinition(name="stores")
