"""What loading the code location costs beside ``import dagster``: fresh interpreters, in turn.

``make bench NAME=import_time ARGS="--rounds 9"``
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

HEAVY = ("torch", "open_clip", "qdrant_client", "pyarrow")


def seconds(program: str) -> float:
    """Run a program in a new interpreter and return how long it took, in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure in turn, and print the medians, their ratio, and which heavy packages were loaded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ours = "import fashion_pipeline.definitions"
    pairs = [(seconds("import dagster"), seconds(ours)) for _ in range(rounds + 1)][1:]
    loaded = f"{ours}, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    heavy = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    for dagster_s, ours_s in pairs:
        print(f"import dagster {dagster_s:.2f} s, the code location {ours_s:.2f} s, ratio {ours_s / dagster_s:.2f}")
    figures = {
        "rounds": rounds,
        "dagster_s": round(statistics.median(pair[0] for pair in pairs), 3),
        "location_s": round(statistics.median(pair[1] for pair in pairs), 3),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 3),
        "heavy": heavy,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
