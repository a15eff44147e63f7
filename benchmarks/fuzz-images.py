"""Fuzz the decoders with damaged images of at most 4 KB: no crash, no unexpected error, no memory beyond the limit.

``make bench NAME=fuzz-images ARGS="--seconds 600"``; ``--inputs`` and ``--seed`` make a short run that can be
repeated. The target is all that a worker does with a file (decoding, measuring, findings) and the verdict, in one
process with a worker's memory limit. The seeds are the tests' hostile files; the mutations know each format's
keywords and repair the check sums of a PNG. An input that crashes the process, exceeds a worker's deadline or memory
limit, or raises an error that is not this package's is saved and its path printed. An input that the kernel refused
memory is only counted: a worker would end there, and its image would fail. The last line is
``{"inputs": n, "seconds": s, "crashes": 0, "unexpected": 0, "refused_memory": n, "peak_rss_mb": n, "bound_mb": n}``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MAX_BYTES = 4096
REPORT = struct.Struct("<qqqq")
"""Inputs, unexpected errors, inputs refused memory, peak memory in bytes: shared with the driver, so that it survives a crash."""

WORDS = {
    "jpeg": ["ffd8ff", "ffd9", "ffda", "ffc0", "ffc2", "ffc4", "ffc9", "ffdb", "ffdd", "ffd0", "ffe0", "ffe1", "ffe2"],
    "jpeg_text": [b"JFIF\0", b"Exif\0\0", b"II*\0", b"MM\0*", b"Adobe", b"ICC_PROFILE\0", b"MPF\0", b"8BIM"],
    "png": [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf", b"gAMA", b"cHRM"],
    "apng": [b"acTL", b"fcTL", b"fdAT", b"pHYs", b"sRGB", b"\x89PNG\r\n\x1a\n"],
    "gif": [b"GIF87a", b"GIF89a", b"!\xf9\x04", b"!\xfe", b"!\xff\x0bNETSCAPE2.0\x03\x01", b",", b";"],
    "webp": [b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"ICCP", b"\x9d\x01\x2a", b"\x2f"],
    "avif": [
        b"ftyp",
        b"avif",
        b"avis",
        b"mif1",
        b"meta",
        b"hdlr",
        b"pict",
        b"pitm",
        b"iloc",
        b"iinf",
        b"infe",
        b"av01",
    ],
    "avif_more": [b"iprp", b"ipco", b"ipma", b"ispe", b"pixi", b"av1C", b"iref", b"dimg", b"grid", b"irot", b"mdat"],
    "sizes": ["00", "ff", "7f", "80", "0000", "ffff", "7fffffff", "ffffffff", "00000000", "80000000"],
}


def main() -> int:
    """Run the fuzzer in a separate process, and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inputs", type=int, default=0, help="stop after this many inputs, whatever the time")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0 draws a random one")
    parser.add_argument("--max-pixels", type=int, default=None, help="the pixel limit; default: the gate's")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-images", help="folder for the inputs found"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    if given.child:
        return fuzz(given)
    from fashion_pipeline.images.worker import memory_bound

    before = set(given.keep.iterdir())
    with tempfile.TemporaryDirectory() as folder:
        given.child = Path(folder)
        (given.child / "report").write_bytes(REPORT.pack(0, 0, 0, 0))
        started = time.monotonic()
        command = [sys.executable, __file__, *sys.argv[1:], "--child", folder]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        seconds = time.monotonic() - started
        inputs, unexpected, refused, peak = REPORT.unpack((given.child / "report").read_bytes())
    crashed = ended.returncode != 0
    if crashed or unexpected:
        print(ended.stderr[-4000:])
    for path in sorted(set(given.keep.iterdir()) - before):
        print(f"saved: {path}")
    bound_mb, peak_mb = memory_bound(cap(given)) >> 20, -(-peak >> 20)
    counts = {"inputs": inputs, "seconds": round(seconds), "crashes": int(crashed), "unexpected": unexpected}
    print(json.dumps({**counts, "refused_memory": refused, "peak_rss_mb": peak_mb, "bound_mb": bound_mb}))
    return 1 if crashed or unexpected or peak_mb > bound_mb or not inputs else 0


def cap(given: argparse.Namespace) -> int:
    """Return the pixel limit."""
    from fashion_pipeline.stores import Quality

    return int(given.max_pixels or Quality.model_validate({}).max_pixels)


def fuzz(given: argparse.Namespace) -> int:
    """Fuzz until libFuzzer ends this process."""
    import atheris

    with atheris.instrument_imports(include=["PIL", "fashion_pipeline.images"]):
        from PIL import AvifImagePlugin, Image, ImageCms, MpoImagePlugin, WebPImagePlugin  # noqa: F401

        from fashion_pipeline.images import decode, formats, measure, quality, worker  # noqa: F401
    Image.preinit()
    warnings.simplefilter("ignore")
    from fashion_pipeline.stores import Quality

    thresholds, task = Quality.model_validate({}), worker.Task("measure", cap(given), 0, 0)
    bound = worker.memory_bound(cap(given))
    with (given.child / "report").open("r+b") as file:
        report = mmap.mmap(file.fileno(), REPORT.size)
    seen: set[str] = set()
    arguments = _libfuzzer_arguments(given)  # before the limit: drawing the seeds takes more
    _limit_memory(bound)

    def one(data: bytes) -> None:
        inputs, unexpected, refused, peak = REPORT.unpack(report[:])
        try:
            answer, pixels = worker.answer(task, data)
            found = answer.findings
            json.dumps(asdict(answer))
            assert found.problem_detail.isprintable()
            assert len(pixels) == 3 * answer.pixels_size[0] * answer.pixels_size[1]
            assert (found.problem is None) == bool(pixels)
            quality.judge(quality.measured("", len(data), found), thresholds)
        except MemoryError:
            refused += 1
        except Exception:  # noqa: BLE001 - this is what the fuzzer looks for
            unexpected += 1
            _keep(given.keep, data, seen)
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if now > max(peak, bound):
            (given.keep / f"memory-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
        peak = max(peak, now)
        report[:] = REPORT.pack(inputs + 1, unexpected, refused, peak)

    def mutated(data: bytes, size: int, seed: int) -> bytes:
        data = bytes(atheris.Mutate(data, size))
        return _repaired(data) if seed % 4 else data

    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutated)
    atheris.Fuzz()
    return 0


def _libfuzzer_arguments(given: argparse.Namespace) -> list[str]:
    """Write the seeds and the dictionary; return libFuzzer's options and the seeds' folder."""
    from fashion_pipeline_tests.images.hostile import corpus

    seeds = given.child / "seeds"
    seeds.mkdir()
    for case in corpus():
        if len(case.data) <= MAX_BYTES:
            (seeds / hashlib.sha256(case.data).hexdigest()).write_bytes(case.data)
    words = given.child / "words"
    words.write_text("\n".join(f'"{_escaped(word)}"' for group in WORDS.values() for word in group))
    return [
        f"-max_len={MAX_BYTES}",
        f"-max_total_time={given.seconds}",
        f"-seed={given.seed}",
        f"-dict={words}",
        f"-artifact_prefix={given.keep}/",
        "-timeout=30",
        "-rss_limit_mb=0",
        "-print_final_stats=1",
        *([f"-runs={given.inputs}"] if given.inputs else []),
        str(seeds),
    ]


def _limit_memory(bound: int) -> None:
    """Limit this process to a worker's memory; the fuzzer's own, which a worker lacks, is added."""
    pages, resident = Path("/proc/self/statm").read_text().split()[:2]
    limit = bound + (int(pages) - int(resident)) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _keep(folder: Path, data: bytes, seen: set[str]) -> None:
    """Save an input and its traceback, once for each place in the code."""
    trace = traceback.format_exc()
    place = "".join(line for line in trace.splitlines() if line.startswith("  File"))
    if place not in seen:
        seen.add(place)
        path = folder / f"unexpected-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(trace)
        print(trace, file=sys.stderr)


def _repaired(data: bytes) -> bytes:
    """Recompute the check sum of each PNG chunk; otherwise no mutation gets past the first chunk."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    repaired, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            break
        repaired[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return bytes(repaired)


def _escaped(word: bytes | str) -> str:
    raw = bytes.fromhex(word) if isinstance(word, str) else word
    return "".join(f"\\x{byte:02x}" for byte in raw)


if __name__ == "__main__":
    sys.exit(main())
