"""A one-layer, untrained model with FashionSigLIP's interface, generated when it is needed.

It embeds 224x224 images as 768 numbers, is loaded by the same code as the real model, and has
1.3 MB. Its neighbours follow colour and layout, not fashion: it is for tests and the demo.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fashion_pipeline.storage.files import file_lock

CONFIG = {
    "model_cfg": {
        "embed_dim": 768,
        "vision_cfg": {
            "image_size": 224,
            "layers": 1,
            "width": 64,
            "head_width": 32,
            "patch_size": 32,
            "mlp_ratio": 2.0,
            "pool_type": "avg",
        },
        "text_cfg": {"context_length": 8, "vocab_size": 256, "width": 32, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}

SEED = 20


def make_tiny(directory: Path) -> Path:
    """Generate the checkpoint unless it exists, and return its directory."""
    weights = directory / "open_clip_model.safetensors"
    with file_lock(directory.parent / "tiny.lock", timeout_s=120, what="the generation of the tiny model"):
        if weights.is_file():
            return directory
        from fashion_pipeline.embedding.load import import_open_clip

        import_open_clip()
        import open_clip
        import torch
        from safetensors.torch import save_file

        directory.mkdir(parents=True, exist_ok=True)
        (directory / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=1))
        with torch.random.fork_rng(), _silenced():
            torch.manual_seed(SEED)
            model = open_clip.create_model(f"local-dir:{directory}", load_weights=False)
            _spread(model.visual)
        part = weights.with_suffix(".part")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, part)
        part.replace(weights)
    return directory


def _spread(tower: Any) -> None:
    """Centre the output of the random weights on zero.

    Untrained, all images lie within a cosine of 0.99; relative to their mean, colours are distinct.
    """
    import torch

    colours = torch.rand(64, 3, 1, 1) * 2 - 1
    images = torch.ones(64, 3, 224, 224)
    images[:, :, 30:-30, 60:-60] = colours
    seen: list[torch.Tensor] = []
    handle = tower.ln_post.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        tower(images)
    handle.remove()
    with torch.no_grad():
        tower.ln_post.bias -= seen[0][:, 1:].mean(dim=(0, 1))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Silence open_clip's warning that there are no weights, which is intended here."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
