"""Stage tables as Parquet: one file for each asset and store."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import FailFast, TypeAdapter, ValidationError
from upath import UPath

from fashion_pipeline.errors import DamagedFile, TableTooNew
from fashion_pipeline.records import SCHEMA_VERSION, Table
from fashion_pipeline.storage.files import put

if TYPE_CHECKING:
    import pyarrow as pa


def write_table(path: UPath, table: Table[Any], row_type: type) -> None:
    """Write a stage's table as Parquet, with ``schema_version`` and the table's metadata in the footer."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(list(_arrow_type(row_type))).with_metadata(
        {"schema_version": str(SCHEMA_VERSION), "fashion": json.dumps(dict(table.metadata))}
    )
    buffer = io.BytesIO()
    values = _rows(row_type).dump_python(table.rows, warnings=False)  # a value that does not fit fails in pyarrow
    arrow = pa.Table.from_pylist(list(values), schema=schema)
    pq.write_table(arrow, buffer, compression="zstd")
    put(path, buffer.getvalue())


def read_table(path: UPath, row_type: type) -> Table[Any] | None:
    """Read a stage's table; None where there is none yet.

    A column that an older file lacks takes the field's default.

    Raises:
        TableTooNew: a newer version of this package wrote it.
        DamagedFile: it is not a table of this package.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    advice = "the store's next run makes it again from the shop and the blobs"
    try:
        arrow = pq.read_table(pa.BufferReader(data))
        metadata = {key.decode(): value.decode() for key, value in (arrow.schema.metadata or {}).items()}
        version = int(metadata["schema_version"])
    except (pa.ArrowException, KeyError, ValueError, UnicodeDecodeError) as error:
        msg = f"{path} is not a table of this pipeline ({type(error).__name__}); {advice}"
        raise DamagedFile(msg) from error
    if version > SCHEMA_VERSION:
        msg = f"{path} has schema version {version}, and this version reads up to {SCHEMA_VERSION}: upgrade fashion-pipeline"
        raise TableTooNew(msg)
    try:
        rows = _rows(row_type).validate_python(arrow.to_pylist())
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        msg = f"{path} does not hold {row_type.__name__} rows (row {where}: {problem['msg']}); {advice}"
        raise DamagedFile(msg) from error
    return Table(rows, json.loads(metadata.get("fashion", "{}")))


@cache
def _rows(row_type: type) -> TypeAdapter[tuple[Any, ...]]:
    """Return what turns rows into plain values and back; reading stops at the first row that does not fit."""
    rows: Any = Annotated[tuple[row_type, ...], FailFast()]  # type: ignore[valid-type]
    return TypeAdapter(rows)


@cache
def _arrow_type(of: Any) -> pa.DataType:
    import pyarrow as pa

    if dataclasses.is_dataclass(of):
        hints = typing.get_type_hints(of)
        return pa.struct([pa.field(field.name, _arrow_type(hints[field.name])) for field in dataclasses.fields(of)])
    origin, arguments = typing.get_origin(of), typing.get_args(of)
    if origin is types.UnionType:
        return _arrow_type(next(item for item in arguments if item is not types.NoneType))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if isinstance(of, type) and issubclass(of, StrEnum):
        return pa.string()
    plain: dict[type, pa.DataType] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        datetime: pa.timestamp("us", tz="UTC"),
        Decimal: pa.decimal128(10, 2),
    }
    return plain[of]
