"""Stage tables as Parquet: one file for each asset and store."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from upath import UPath

from fashion_pipeline.errors import DamagedFile, TableTooNew
from fashion_pipeline.records import SCHEMA_VERSION, Table

if TYPE_CHECKING:
    import pyarrow as pa
from fashion_pipeline.storage.files import put


def write_table(path: UPath, table: Table[Any], row_type: type) -> None:
    """Write a stage's table as Parquet, with ``schema_version`` and its metadata in the footer."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    encode, arrow_type = _codec(row_type)[0], _arrow_type(row_type)
    schema = pa.schema(list(arrow_type)).with_metadata(
        {"schema_version": str(SCHEMA_VERSION), "fashion": json.dumps(dict(table.metadata))}
    )
    buffer = io.BytesIO()
    arrow = pa.Table.from_pylist([encode(row) for row in table.rows], schema=schema)
    pq.write_table(arrow, buffer, compression="zstd")
    put(path, buffer.getvalue())


def read_table(path: UPath, row_type: type) -> Table[Any] | None:
    """Read a stage's table; None where there is none yet.

    Columns that an older file lacks take their field's default.

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
    advice = "the store's next run makes it again, from the shop and the blobs"
    try:
        arrow = pq.read_table(pa.BufferReader(data))
        metadata = {key.decode(): value.decode() for key, value in (arrow.schema.metadata or {}).items()}
        version = int(metadata["schema_version"])
    except (pa.ArrowException, KeyError, ValueError, UnicodeDecodeError) as error:
        msg = f"{path} is not a table of this pipeline ({type(error).__name__}); {advice}"
        raise DamagedFile(msg) from error
    if version > SCHEMA_VERSION:
        msg = f"{path} has schema version {version}, this program reads up to {SCHEMA_VERSION}: upgrade it"
        raise TableTooNew(msg)
    decode = _codec(row_type)[1]
    try:
        rows = tuple(decode(row) for row in arrow.to_pylist())
    except (TypeError, ValueError, KeyError) as error:
        msg = f"{path} does not hold {row_type.__name__} rows ({error}); {advice}"
        raise DamagedFile(msg) from error
    return Table(rows, json.loads(metadata.get("fashion", "{}")))


Encode = Callable[[Any], Any]


@cache
def _codec(of: Any) -> tuple[Encode, Encode]:
    """Return functions that turn a value of a type into what pyarrow takes, and back."""
    if dataclasses.is_dataclass(of):
        hints = typing.get_type_hints(of)
        codecs = {field.name: _codec(hints[field.name]) for field in dataclasses.fields(of)}
        make = typing.cast("Callable[..., Any]", of)
        return (
            lambda row: {name: encode(getattr(row, name)) for name, (encode, _) in codecs.items()},
            lambda row: make(**{name: codecs[name][1](value) for name, value in row.items() if name in codecs}),
        )
    origin, arguments = typing.get_origin(of), typing.get_args(of)
    if origin is types.UnionType:
        encode, decode = _codec(next(item for item in arguments if item is not types.NoneType))
        return (
            lambda value: None if value is None else encode(value),
            lambda value: None if value is None else decode(value),
        )
    if origin is tuple:
        encode, decode = _codec(arguments[0])
        return lambda value: [encode(item) for item in value], lambda value: tuple(decode(item) for item in value)
    if isinstance(of, type) and issubclass(of, StrEnum):
        return str, of
    return _same, _same


def _same(value: Any) -> Any:
    return value


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
