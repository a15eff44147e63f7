"""Compare decoding images in separate processes with decoding them in threads of this process.

``make bench NAME=decode ARGS="--images 200 --rounds 5"``
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from fashion_pipeline.images.capacity import workers_for
from fashion_pipeline.images.measure import measure
from fashion_pipeline.images.worker import memory_bound
from fashion_pipeline.images.workers import Decoders
from fashion_pipeline.stores import Quality

MAX_PIXELS = Quality.model_validate({}).max_pixels


def draw(seed: int) -> bytes:
    """Return a JPEG of 1000 x 1250 pixels and about 250 kB, with detail at several scales."""
    rng = np.random.default_rng(seed)
    image = np.zeros((1250, 1000, 3))
    for side in (5, 25, 125):
        patches = rng.uniform(0, 85, (1250 // side, 1000 // side, 3))
        image += patches.repeat(side, 0).repeat(side, 1)
    buffer = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def per_second(decode: Callable[[bytes], object], images: Sequence[bytes], threads: int) -> float:
    """Decode all images with ``threads`` threads; return images per second."""
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(decode, images):
            pass
    return len(images) / (time.perf_counter() - started)


def main() -> None:
    """Alternate both, and print the medians and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    images = [draw(seed) for seed in range(options.images)]
    workers = workers_for(memory_bound(MAX_PIXELS))
    decoders = Decoders(workers)
    pairs = []
    for number in range(options.rounds + 1):
        threads = per_second(lambda data: measure(data, max_pixels=MAX_PIXELS), images, workers)
        processes = per_second(lambda data: decoders.measure(data, max_pixels=MAX_PIXELS), images, workers + 1)
        if number:  # the first round is a warm-up
            pairs.append((threads, processes))
            print(f"threads {threads:.1f}/s, processes {processes:.1f}/s, ratio {processes / threads:.2f}", flush=True)
    decoders.close()
    figures = {
        "images": len(images),
        "mean_bytes": round(statistics.mean(map(len, images))),
        "workers": workers,
        "threads_per_s": round(statistics.median(pair[0] for pair in pairs), 1),
        "processes_per_s": round(statistics.median(pair[1] for pair in pairs), 1),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
