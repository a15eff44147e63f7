"""Where things lie, and how they get there whole.

Everything below one home directory (or, for all but the local databases, a prefix in an object
store)::

    home.json                         the home's id
    tables/<asset>/<store>.parquet    a stage's table for one store
    blobs/<aa>/<sha256>               the bytes of a picture
    pixels/<spec>/<aa>/<sha256>       224x224x3 uint8, model-ready; dropped once embedded
    vectors/<fingerprint>/<part>.parquet   sha256 and float32[768], append-only
    postgres/  qdrant/  dagster/      local databases and Dagster's instance

A file is written under a temporary name, flushed to the disk and renamed; on an object store it
is one PUT to the final key. So a reader sees the old bytes or the new ones, never a part.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import tempfile
import time
import types
import typing
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from fashion_pipeline.errors import DamagedFile, LockTimeout, SettingsError, StorageError, StorageFull, TableTooNew
from fashion_pipeline.records import SCHEMA_VERSION, VECTOR_SIZE, Table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PIXELS_SHAPE = (224, 224, 3)


class Home:
    """The paths below one home.

    Raises:
        SettingsError: (on construction) it is a URL for which there is no driver here.
    """

    def __init__(self, root: str | Path | UPath) -> None:
        try:
            self.root = UPath(root)
            if not self.is_local:
                _ = self.root.fs  # imports the driver
        except (ImportError, ValueError) as error:
            msg = f"FASHION_HOME is {root}, and its files cannot be reached ({error}): install that, or correct it"
            raise SettingsError(msg) from error

    def table(self, asset: str, store_id: str) -> UPath:
        """Path of a stage's table for one store."""
        return self.root / "tables" / asset / f"{store_id}.parquet"

    @property
    def is_local(self) -> bool:
        """Whether the home is a directory of this machine."""
        return isinstance(self.root, Path) or self.root.protocol in {"", "file", "local"}

    def local(self, name: str) -> Path:
        """Path of something that only a directory of this machine can hold.

        Raises:
            SettingsError: the home is an object store.
        """
        if not self.is_local:
            msg = (
                f"FASHION_HOME is {self.root}, an object store, which cannot hold {name}/: "
                "set FASHION_DATABASE_URL and FASHION_QDRANT_URL to real servers"
            )
            raise SettingsError(msg)
        return Path(str(self.root)) / name

    def lock(self, name: str) -> Path:
        """Path of a lock between the processes of this machine."""
        if self.is_local:
            return self.local(f"{name}.lock")
        return Path(tempfile.gettempdir()) / f"fashion-pipeline-{self.id}" / f"{name}.lock"

    @cached_property
    def id(self) -> str:
        """The home's own id, made on first use; the databases remember whose they are."""
        path = self.root / "home.json"
        if not path.exists():
            put(path, json.dumps({"id": uuid.uuid4().hex}).encode())
        try:
            return str(json.loads(path.read_text())["id"])
        except (ValueError, KeyError, TypeError) as error:
            msg = (
                f'{path} does not hold {{"id": "…"}}: write into it the id that PostgreSQL knows (home_id in the table '
                "pipeline_state), or remove it where there is no database yet"
            )
            raise DamagedFile(msg) from error

    @cached_property
    def blobs(self) -> Blobs:
        """The bytes of pictures, by their digest."""
        return Blobs(self.root / "blobs")

    def pixels(self, spec: str) -> Pixels:
        """The model-ready pixels made by one version of the pixel pipeline."""
        return Pixels(self.root / "pixels" / spec)

    def vectors(self, fingerprint: str) -> Vectors:
        """The vectors of one model."""
        return Vectors(self.root / "vectors" / fingerprint)

    def all_pixels(self) -> tuple[Pixels, ...]:
        """The pixels of every version of the pixel pipeline that has left some."""
        return tuple(Pixels(path) for path in _folders(self.root / "pixels"))

    def all_vectors(self) -> tuple[Vectors, ...]:
        """The vectors of every model that has made some; ``root.name`` is its fingerprint."""
        return tuple(Vectors(path) for path in _folders(self.root / "vectors"))


def _folders(root: UPath) -> list[UPath]:
    return sorted((path for path in root.iterdir() if path.is_dir()), key=str) if root.exists() else []


def put(path: UPath, data: bytes) -> None:
    """Write a whole file, or nothing.

    Raises:
        StorageFull: the disk has no room; the message names the bytes needed.
        StorageError: it cannot be written for another reason.
    """
    if not isinstance(path, Path):
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - UPath.replace is not a plain rename
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            msg = f"{path}: no space left for {len(data):,} bytes; free some, or move FASHION_HOME to a larger disk"
            raise StorageFull(msg) from error
        msg = f"{path} cannot be written ({error.strerror}); FASHION_HOME must be a directory this user may write to"
        raise StorageError(msg) from error


def make_directory(path: Path) -> None:
    """Make a directory below a home.

    Raises:
        SettingsError: this user may not, or a file is in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path} cannot be made ({error.strerror}); FASHION_HOME must be a directory this user may write to"
        raise SettingsError(msg) from error


@contextlib.contextmanager
def file_lock(path: Path, *, timeout_s: float, what: str, shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock on a file, waiting for it up to ``timeout_s`` seconds.

    The kernel frees it when its holder dies, however it dies.

    Raises:
        LockTimeout: somebody else kept it; ``what`` names the thing in the message.
        SettingsError: this user may not write there.
    """
    make_directory(path.parent)
    deadline = time.monotonic() + timeout_s
    try:
        file = path.open("a")
    except OSError as error:
        msg = f"{path} cannot be opened ({error.strerror}); FASHION_HOME must be a directory this user may write to"
        raise SettingsError(msg) from error
    with file:
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    msg = f"{what} is held by another process ({path}); waited {timeout_s:g} s; try again when it ends"
                    raise LockTimeout(msg) from None
                time.sleep(0.02)
        yield


# --- tables -------------------------------------------------------------------------------------


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


def set_aside(path: UPath) -> UPath:
    """Move a file that cannot be read out of the way, for a person to look at, and return where it is now."""
    aside = path.with_name(f"{path.name}.damaged")
    aside.unlink(missing_ok=True)
    path.rename(aside)
    return aside


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


# --- blobs and pixels ---------------------------------------------------------------------------


def sha256_hex(data: bytes) -> str:
    """Hex SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


class Blobs:
    """Bytes by the hex SHA-256 of themselves; the same bytes lie there once."""

    def __init__(self, root: UPath) -> None:
        self.root = root

    def path(self, sha256: str) -> UPath:
        """Where a blob lies."""
        return self.root / sha256[:2] / sha256

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest; bytes already there cost no write."""
        sha256 = sha256_hex(data)
        path = self.path(sha256)
        if not self.exists(sha256):
            put(path, data)
        elif isinstance(path, Path):
            with contextlib.suppress(OSError):
                os.utime(path)  # in use again: ``gc`` leaves alone what is young
        return sha256

    def remove(self, sha256: str) -> int | None:
        """Remove a blob and return its size in bytes; None where it is not there."""
        path = self.path(sha256)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return None
        return int(size)

    def exists(self, sha256: str) -> bool:
        """Whether a blob is there."""
        return self.path(sha256).is_file()

    def get(self, sha256: str) -> bytes:
        """Read a blob and check that it holds what its name says.

        Raises:
            FileNotFoundError: it is not there.
            DamagedFile: it holds other bytes; it has been removed, so that the next run fetches it.
        """
        data = self.path(sha256).read_bytes()
        if sha256_hex(data) != sha256:
            self.path(sha256).unlink()
            msg = f"{self.path(sha256)} did not hold the bytes it is named after; the next run fetches them again"
            raise DamagedFile(msg)
        return data


class Pixels:
    """Model-ready pixels by the digest of the bytes they came from: a cache, free to lose."""

    def __init__(self, root: UPath) -> None:
        self.root = root

    def _path(self, sha256: str) -> UPath:
        return self.root / sha256[:2] / sha256

    def put(self, sha256: str, pixels: np.ndarray) -> None:
        """Keep ``uint8[224, 224, 3]``. Not flushed to the disk: a lost one is rendered again."""
        path = self._path(sha256)
        if not isinstance(path, Path):
            path.write_bytes(pixels.tobytes())
            return
        temporary = path.with_name(f".{sha256}.{uuid.uuid4().hex[:8]}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(pixels.tobytes())
        except OSError:  # a cache must not fail a run: the embeddings stage renders what is missing
            temporary.unlink(missing_ok=True)
            return
        os.replace(temporary, path)  # noqa: PTH105 - UPath.replace is not a plain rename

    def get(self, sha256: str) -> np.ndarray | None:
        """Return ``uint8[224, 224, 3]``, or None where it is missing or of the wrong length."""
        import numpy as np

        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        if len(data) != int(np.prod(PIXELS_SHAPE)):
            return None
        return np.frombuffer(data, np.uint8).reshape(PIXELS_SHAPE)

    def drop(self, sha256s: Iterable[str]) -> None:
        """Forget pixels that have been embedded."""
        for sha256 in sha256s:
            with contextlib.suppress(FileNotFoundError):
                self._path(sha256).unlink()


# --- vectors ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a vector lies: row ``index`` of ``part``."""

    part: str
    index: int


class Vectors:
    """Vectors of one model, in append-only Parquet parts; a vector keeps its place until it is forgotten."""

    def __init__(self, root: UPath) -> None:
        self.root = root

    def _path(self, part: str) -> UPath:
        return self.root / f"{part}.parquet"

    def append(self, sha256s: Sequence[str], vectors: np.ndarray) -> list[Place]:
        """Store ``float32[n, 768]`` as one new part and return where each vector lies."""
        import io

        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        columns = {"sha256": pa.array(sha256s), "vector": pa.FixedSizeListArray.from_arrays(flat, VECTOR_SIZE)}
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="none")
        part = uuid.uuid4().hex
        put(self._path(part), buffer.getvalue())
        return [Place(part, index) for index in range(len(sha256s))]

    def index(self) -> dict[str, Place]:
        """Where the vector of each digest lies, of every store's; a run asks ``find`` for its own."""
        places: dict[str, Place] = {}
        for path in self._paths():
            names = self._digests(path).to_pylist()
            places.update((sha256, Place(path.stem, index)) for index, sha256 in enumerate(names) if sha256)
        return places

    def find(self, sha256s: Collection[str], *, first: Collection[str] = ()) -> dict[str, Place]:
        """Where the vectors of some digests lie; those that have none are left out.

        Reads digests only, of no more parts than it takes, and keeps none but those asked for.

        Args:
            first: parts to look into before the others: where a table says that they lie.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        places: dict[str, Place] = {}
        wanted = pa.array(sorted({*sha256s} - {""}), pa.string())
        for path in sorted(self._paths(), key=lambda path: path.stem not in first) if len(wanted) else ():
            digests = self._digests(path)
            at = np.flatnonzero(pc.is_in(digests, value_set=wanted).to_numpy())
            names = digests.take(pa.array(at)).to_pylist()
            places.update((name, Place(path.stem, int(index))) for name, index in zip(names, at, strict=True))
            if len(places) == len(wanted):
                break
        return places

    def parts(self) -> dict[UPath, list[str]]:
        """The digests whose vectors each file holds; a damaged file holds none."""
        return {path: [name for name in self._digests(path).to_pylist() if name] for path in self._paths()}

    def _paths(self) -> list[UPath]:
        return sorted(self.root.glob("*.parquet"), key=str) if self.root.exists() else []

    def _digests(self, path: UPath) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with path.open("rb") as file:
                return pq.read_table(file, columns=["sha256"])["sha256"]
        except (pa.ArrowException, KeyError, OSError):  # a damaged part has no vectors: they are embedded again
            return pa.chunked_array([], pa.string())

    def forget(self, sha256s: Collection[str], *, part: str | None = None) -> int:
        """Remove the vectors of some digests, of one part or of all, and return how many there were.

        A part is written anew with zeros in their places, so that every other vector stays where tables
        say that it lies; a part in which nothing is left is removed.
        """
        import io

        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        forgotten, wanted = 0, frozenset(sha256s)
        for path in self._paths() if part is None else [self._path(part)]:
            names = self._digests(path).to_pylist()
            if wanted.isdisjoint(names):
                continue
            stay = [index for index, name in enumerate(names) if name and name not in wanted]
            forgotten += sum(name in wanted for name in names)
            if not stay:
                path.unlink()
                continue
            vectors = np.zeros((len(names), VECTOR_SIZE), np.float32)
            vectors[stay] = self.load([Place(path.stem, index) for index in stay])
            columns = {
                "sha256": pa.array([name if name and name not in wanted else "" for name in names]),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), VECTOR_SIZE),
            }
            buffer = io.BytesIO()
            pq.write_table(pa.table(columns), buffer, compression="zstd")
            put(path, buffer.getvalue())
        return forgotten

    def load(self, places: Sequence[Place]) -> np.ndarray:
        """Return ``float32[n, 768]``, in the order of ``places``.

        Raises:
            DamagedFile: a part is lost or is not what was written.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = np.empty((len(places), VECTOR_SIZE), np.float32)
        by_part: dict[str, list[int]] = {}
        for position, place in enumerate(places):
            by_part.setdefault(place.part, []).append(position)
        for part, positions in by_part.items():
            path = self._path(part)
            try:
                with path.open("rb") as file:
                    column = pq.read_table(file, columns=["vector"])["vector"].combine_chunks()
                values = column.values.to_numpy().reshape(-1, VECTOR_SIZE)
                found[positions] = values[[places[position].index for position in positions]]
            except (pa.ArrowException, KeyError, OSError, ValueError, IndexError) as error:
                msg = f"{path}: the vectors of this part cannot be read ({error}); remove it: they are embedded again"
                raise DamagedFile(msg) from error
        if not found.any(axis=1).all():
            msg = f"{self.root}: a vector that is needed was purged; the store's next run embeds its picture again"
            raise DamagedFile(msg)
        return found


def digest(parts: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """Hex SHA-256 of key-value pairs, whatever their order: equal sets, equal digest."""
    pairs = sorted(parts.items() if isinstance(parts, Mapping) else parts)
    return sha256_hex("\n".join(f"{key}\t{value}" for key, value in pairs).encode())
