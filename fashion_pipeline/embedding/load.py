"""Find a checkpoint, compute its fingerprint, and load it through open_clip.

Finding and fingerprinting do not import torch, so a run that embeds nothing does not pay for it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_pipeline.errors import ModelError, WeightsUnavailable, WrongModel
from fashion_pipeline.records import VECTOR_SIZE
from fashion_pipeline.storage.files import put, sha256_hex
from fashion_pipeline.storage.home import Home
from fashion_pipeline.storage.vectors import sound

if TYPE_CHECKING:
    import torch

    from fashion_pipeline.embedding.encode import Encoder

logger = logging.getLogger(__name__)

TINY = "tiny"
CONFIG_FILE = "open_clip_config.json"
# In the order in which open_clip looks for them.
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

FASHION_SIGLIP_PREPROCESS: Mapping[str, Any] = {
    "size": (224, 224),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
"""The preprocessing FashionSigLIP was trained with (its open_clip_config.json); any other is refused."""

_PROBE_COSINE = 0.9999


@dataclass(frozen=True)
class Checkpoint:
    """A model's files on this machine.

    Attributes:
        name: as requested: ``hf-hub:OWNER/NAME``, ``local-dir:/path`` or ``tiny``.
        directory: holds the config and the weights.
        weights: the file with the weights.
        weights_sha256: hex digest of the weights.
        fingerprint: 16 hex digits that identify weights and preprocessing; vectors of different
            fingerprints never share a collection.
    """

    name: str
    directory: Path
    weights: Path
    weights_sha256: str
    fingerprint: str


def find_checkpoint(model: str, *, home: Home, pixel_spec: str) -> Checkpoint:
    """Find the model's files, download them once for ``hf-hub:``, and compute the fingerprint.

    Args:
        model: ``hf-hub:OWNER/NAME``, ``local-dir:/path``, or ``tiny`` for the generated one.
        home: where ``tiny`` is generated and the digests of weights are cached.
        pixel_spec: version of the code that converts an image to 224x224x3 pixels.

    Raises:
        WeightsUnavailable: the hub, the directory or a file is missing; the message says what to set.
        WrongModel: the name has none of the three forms.
    """
    if model == TINY:
        from fashion_pipeline.embedding.tiny import make_tiny

        directory = make_tiny(home.local("models") / TINY)
    elif model.startswith("local-dir:"):
        directory = Path(model.removeprefix("local-dir:")).expanduser().absolute()
    elif model.startswith("hf-hub:"):
        directory = _download(model.removeprefix("hf-hub:"))
    else:
        msg = f"FASHION_MODEL={model!r} must be hf-hub:OWNER/NAME or local-dir:/path/of/a/checkpoint"
        raise WrongModel(msg)
    if not directory.is_dir():
        msg = f"FASHION_MODEL={model}: there is no directory {directory}; {_advice()}"
        raise WeightsUnavailable(msg)
    weights = next((directory / name for name in WEIGHT_FILES if (directory / name).is_file()), None)
    if weights is None or not (directory / CONFIG_FILE).is_file():
        msg = f"FASHION_MODEL={model}: {directory} must hold {CONFIG_FILE} and {WEIGHT_FILES[0]}; {_advice()}"
        raise WeightsUnavailable(msg)
    weights_sha256 = _weights_sha256(weights, home)
    config = sha256_hex((directory / CONFIG_FILE).read_bytes())
    fingerprint = sha256_hex(f"{weights_sha256} {config} {pixel_spec}".encode())[:16]
    return Checkpoint(model, directory, weights, weights_sha256, fingerprint)


def _advice() -> str:
    return (
        "download Marqo/marqo-fashionSigLIP on a machine with internet access, copy the folder here, "
        "and set FASHION_MODEL=local-dir:/path/of/that/folder"
    )


def _download(repository: str) -> Path:
    """Return the snapshot directory of a hub repository, from the cache or else from the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # it logs each retry; the error below reports the failure once

    def cached_or_downloaded(filename: str) -> Path:
        try:
            return Path(hf_hub_download(repository, filename, local_files_only=True))
        except LocalEntryNotFoundError:
            logger.info("downloading %s of %s from the hub", filename, repository)
            return Path(hf_hub_download(repository, filename))

    try:
        directory = cached_or_downloaded(CONFIG_FILE).parent
        for name in WEIGHT_FILES:
            try:
                if cached_or_downloaded(name).parent == directory:
                    return directory
                msg = f"the hub's cache of {repository} mixes two revisions; remove it and try again, or {_advice()}"
                raise WeightsUnavailable(msg)
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
    except HFValidationError as error:
        msg = f"FASHION_MODEL=hf-hub:{repository} is not a repository name ({error}); use hf-hub:OWNER/NAME"
        raise WrongModel(msg) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, RuntimeError) as error:
        msg = (
            f"FASHION_MODEL=hf-hub:{repository}: the weights are not in the cache and the hub is unavailable "
            f"({type(error).__name__}); check the connection and the name (a private one needs HF_TOKEN), or {_advice()}"
        )
        raise WeightsUnavailable(msg) from error
    msg = f"FASHION_MODEL=hf-hub:{repository} has none of {', '.join(WEIGHT_FILES)}: it is not an open_clip checkpoint"
    raise WrongModel(msg)


def _weights_sha256(weights: Path, home: Home) -> str:
    """Hash the weights; the digest of an unchanged file (path, size, time) is cached."""
    import hashlib

    stat = weights.resolve().stat()
    key = f"{weights.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    cache = home.root / "models" / "digests.json"
    try:
        known = json.loads(cache.read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    if key not in known:
        with weights.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        put(cache, json.dumps(known).encode())
    return str(known[key])


def load_encoder(checkpoint: Checkpoint, *, device: str, precision: str, batch_size: int | str) -> Encoder:
    """Load the image tower, check that it has FashionSigLIP's shape, and move it to the device.

    bf16 is used if it is requested or the processor supports it, and only if two probe images show
    a cosine of at least 0.9999 to fp32.

    Raises:
        WeightsUnavailable: the weights are incomplete.
        WrongModel: output size, preprocessing or precision differ from what this pipeline needs.
        ModelError: this machine does not have the device.
    """
    import_open_clip()
    import open_clip

    from fashion_pipeline.embedding.encode import Encoder

    target = _device(device)
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            f"local-dir:{checkpoint.directory}", device="cpu", require_pretrained=True
        )
    except MemoryError:
        raise
    except Exception as error:  # open_clip, safetensors, pickle and torch each raise their own
        msg = (
            f"{checkpoint.weights} cannot be loaded as the model its {CONFIG_FILE} describes "
            f"({type(error).__name__}: {_first_line(error)}); it may be truncated: download it again, or {_advice()}"
        )
        raise WeightsUnavailable(msg) from error
    _check_preprocess(checkpoint, model, preprocess)
    tower = model.visual.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    use_bf16 = _bf16_supported(target) if precision == "auto" else precision == "bf16"
    encoder = Encoder(tower.to(target), device=target, bf16=False, batch_size=batch_size)
    _check_output(checkpoint, encoder)
    if use_bf16:
        half = Encoder(_bf16_copy(tower), device=target, bf16=True, batch_size=batch_size)
        cosine = _probe_cosine(encoder, half)
        if cosine >= _PROBE_COSINE:
            encoder = half
        elif precision == "bf16":
            msg = f"FASHION_PRECISION=bf16: cosine to fp32 is {cosine:.6f}, below {_PROBE_COSINE}; use fp32"
            raise WrongModel(msg)
        else:
            logger.warning("bf16 differs from fp32 on this device (cosine %.6f); using fp32", cosine)
    logger.info("model %s (%s) on %s in %s", checkpoint.name, checkpoint.fingerprint, target, encoder.precision)
    return encoder


_operators: list[Any] = []


def import_open_clip() -> None:
    """Make ``import open_clip`` work beside a CPU build of torch.

    PyPI's torchvision is linked to CUDA; beside a CPU torch its extension does not load, and
    registering shapes for two of its operators fails (pytorch/vision#9077).
    Declaring their schemas first is enough, because nothing here calls them.
    """
    import torch

    if "open_clip" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _operators.append(library)  # the schemas live as long as this object
        import torchvision  # noqa: F401 - now the import succeeds


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"FASHION_DEVICE={name!r} is not a device; use auto, cpu, cuda or cuda:N"
        raise ModelError(msg) from error
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        msg = (
            f"FASHION_DEVICE={name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices; "
            "install a CUDA build of torch and a driver, or use auto or cpu"
        )
        raise ModelError(msg)
    return device


def _bf16_supported(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public function for this


def _bf16_copy(tower: torch.nn.Module) -> torch.nn.Module:
    import copy

    import torch

    return copy.deepcopy(tower).to(torch.bfloat16)


def _probe(size: int = 2) -> Any:
    """Return deterministic ``uint8[n, 224, 224, 3]``: a gradient and noise."""
    import numpy as np

    gradient = np.add.outer(np.arange(224), np.arange(224))[..., None] * np.array([1, 2, 3]) % 256
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    return np.stack([gradient, noise][:size]).astype(np.uint8)


def _probe_cosine(one: Encoder, other: Encoder) -> float:
    return float((one.encode(_probe()) * other.encode(_probe())).sum(axis=1).min())


def _check_output(checkpoint: Checkpoint, encoder: Encoder) -> None:
    vectors = encoder.encode(_probe(1))
    if vectors.shape != (1, VECTOR_SIZE):
        msg = (
            f"{checkpoint.name} makes vectors of {vectors.shape[1]} numbers, this pipeline stores {VECTOR_SIZE}; "
            "use FashionSigLIP"
        )
        raise WrongModel(msg)
    if not sound(vectors).all():
        msg = (
            f"{checkpoint.name} makes no usable vector of a probe image on {encoder.device}: its numbers are not finite, or "
            "all are zero; download the weights again, or check this device with FASHION_DEVICE=cpu"
        )
        raise WrongModel(msg)


def _check_preprocess(checkpoint: Checkpoint, model: Any, preprocess: Any) -> None:
    """Compare the checkpoint's preprocessing with that of our pixels."""
    found = dict(getattr(model.visual, "preprocess_cfg", {}))
    size = found.get("size")
    found["size"] = (size, size) if isinstance(size, int) else tuple(size or ())
    for key, expected in FASHION_SIGLIP_PREPROCESS.items():
        value = tuple(found[key]) if isinstance(found.get(key), list | tuple) else found.get(key)
        if value != expected:
            msg = (
                f"{checkpoint.directory / CONFIG_FILE} says preprocessing {key}={value!r}, FashionSigLIP has {expected!r}; "
                "this is another model, or a converted copy without its preprocess_cfg: use the original"
            )
            raise WrongModel(msg)
    resize = type(preprocess.transforms[0]).__name__
    if resize != "Resize":
        msg = (
            f"open_clip prepares images for {checkpoint.name} with {resize}, not with a plain Resize: use FashionSigLIP"
        )
        raise WrongModel(msg)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else "no message"
