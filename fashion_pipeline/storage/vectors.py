"""Vectors in append-only Parquet parts, one folder for each model."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from upath import UPath

from fashion_pipeline.errors import DamagedFile
from fashion_pipeline.records import VECTOR_SIZE
from fashion_pipeline.storage.files import put

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


NORM_TOLERANCE = 1e-3


def sound(vectors: np.ndarray) -> np.ndarray:
    """Return ``bool[n]``: which of ``float32[n, 768]`` have only finite numbers and L2 norm 1.

    A server that gets any other by gRPC stores it, and every search that meets it has a score of null (Qdrant 1.18).
    """
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
    return np.asarray(np.abs(norms - 1) <= NORM_TOLERANCE)  # False for NaN and infinity too


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class VectorRef:
    """The place of a vector: row ``index`` of ``part``."""

    part: str
    index: int


class Vectors:
    """Vectors of one model, in append-only Parquet parts. A vector keeps its place until it is removed."""

    def __init__(self, root: UPath) -> None:
        self.root = root

    def _path(self, part: str) -> UPath:
        return self.root / f"{part}.parquet"

    def append(self, sha256s: Sequence[str], vectors: np.ndarray) -> list[VectorRef]:
        """Store ``float32[n, 768]`` as one new part and return the place of each vector."""
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
        return [VectorRef(part, index) for index in range(len(sha256s))]

    def index(self) -> dict[str, VectorRef]:
        """Return the place of every stored vector, by digest; ``find`` is faster for some of them."""
        places: dict[str, VectorRef] = {}
        for path in self._paths():
            names = self._digests(path).to_pylist()
            places.update((sha256, VectorRef(path.stem, index)) for index, sha256 in enumerate(names) if sha256)
        return places

    def find(self, sha256s: Collection[str], *, first: Collection[str] = ()) -> dict[str, VectorRef]:
        """Return the places of the vectors of some digests; digests without a vector are missing from the result.

        Only digests are read, part by part until all are found.

        Args:
            first: parts to read before the others: those that a table names.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        places: dict[str, VectorRef] = {}
        wanted = pa.array(sorted({*sha256s} - {""}), pa.string())
        for path in sorted(self._paths(), key=lambda path: path.stem not in first) if len(wanted) else ():
            digests = self._digests(path)
            at = np.flatnonzero(pc.is_in(digests, value_set=wanted).to_numpy())
            names = digests.take(pa.array(at)).to_pylist()
            places.update((name, VectorRef(path.stem, int(index))) for name, index in zip(names, at, strict=True))
            if len(places) == len(wanted):
                break
        return places

    def parts(self) -> dict[UPath, list[str]]:
        """Return the digests of each file's vectors; a damaged file has none."""
        return {path: [name for name in self._digests(path).to_pylist() if name] for path in self._paths()}

    def _paths(self) -> list[UPath]:
        return sorted(self.root.glob("*.parquet"), key=str) if self.root.exists() else []

    def _digests(self, path: UPath) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with path.open("rb") as file:
                return pq.read_table(file, columns=["sha256"])["sha256"]
        except (pa.ArrowException, KeyError, OSError):  # the images of a damaged part are embedded again
            return pa.chunked_array([], pa.string())

    def forget(self, sha256s: Collection[str], *, part: str | None = None) -> int:
        """Remove the vectors of some digests, from one part or from all, and return how many there were.

        A part is rewritten with zeros in their places, so that every other vector keeps the place that
        tables name. A part without any other vector is removed.
        """
        import io

        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        removed, wanted = 0, frozenset(sha256s)
        for path in self._paths() if part is None else [self._path(part)]:
            names = self._digests(path).to_pylist()
            if wanted.isdisjoint(names):
                continue
            kept = [index for index, name in enumerate(names) if name and name not in wanted]
            removed += sum(name in wanted for name in names)
            if not kept:
                path.unlink()
                continue
            vectors = np.zeros((len(names), VECTOR_SIZE), np.float32)
            vectors[kept] = self.load([VectorRef(path.stem, index) for index in kept])
            columns = {
                "sha256": pa.array([name if name and name not in wanted else "" for name in names]),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), VECTOR_SIZE),
            }
            buffer = io.BytesIO()
            pq.write_table(pa.table(columns), buffer, compression="zstd")
            put(path, buffer.getvalue())
        return removed

    def load(self, places: Sequence[VectorRef]) -> np.ndarray:
        """Return ``float32[n, 768]``, in the order of ``places``.

        Raises:
            DamagedFile: a part is missing or damaged, or a vector was purged.
        """
        found = self.load_as_stored(places)
        if not found.any(axis=1).all():
            msg = f"{self.root}: a vector that is needed was purged; the store's next run embeds its image again"
            raise DamagedFile(msg)
        return found

    def load_as_stored(self, places: Sequence[VectorRef]) -> np.ndarray:
        """Return ``float32[n, 768]``, in the order of ``places``; a purged vector is all zeros.

        Raises:
            DamagedFile: a part is missing or damaged.
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
                msg = f"{path}: the vectors of this part cannot be read ({error}); remove the file, and the next run embeds its images again"
                raise DamagedFile(msg) from error
        return found
