"""Runs that are killed while the shop changes, and what is wrong after one more run: nothing.

``make bench NAME=chaos ARGS="--rounds 200"``; half of the rounds with the local Qdrant, half with one
behind HTTP that is killed too. The last line is ``{"rounds": n, "kills": n, "differences": 0}``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fashion_pipeline.embedding.tiny import make_tiny
from fashion_pipeline_tests.chaos import Chaos


def main() -> int:
    """Run the rounds, tell each, and return 1 where a difference was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to keep everything; default: removed at the end")
    given = parser.parse_args()
    kills = rounds = differences = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).absolute()
        model = f"local-dir:{make_tiny(folder / 'checkpoint')}"
        for served, count in ((False, given.rounds // 2), (True, given.rounds - given.rounds // 2)):
            name = "with-qdrant-server" if served else "with-local-qdrant"
            with Chaos(folder / name, model, seed=given.seed + served, qdrant_server=served) as chaos:
                for _ in range(count):
                    told = chaos.round()
                    rounds += 1
                    kills += told.hit
                    differences += len(told.differences)
                    state = "in step" if not told.differences else "; ".join(told.differences)
                    print(f"{name} {told.number}: {told.changes} changes, {told.ended}: {state}", flush=True)
                    if told.differences:
                        print(f"  the folder is {folder / name}", flush=True)
    print(json.dumps({"rounds": rounds, "kills": kills, "differences": differences}))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
