from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fashion_pipeline.embedding.load import CONFIG_FILE, Checkpoint, find_checkpoint, load_encoder
from fashion_pipeline.embedding.tiny import CONFIG, make_tiny
from fashion_pipeline.errors import ModelError, WeightsUnavailable, WrongModel
from fashion_pipeline.storage.home import Home

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def checkpoint_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "checkpoint")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def found(directory: Path, home: Home) -> Checkpoint:
    return find_checkpoint(f"local-dir:{directory}", home=home, pixel_spec="spec-1")


def copied(directory: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    for item in directory.iterdir():
        (copy / item.name).write_bytes(item.read_bytes())
    return copy


def test_a_checkpoint_embeds_as_open_clip_itself_does(checkpoint_directory: Path, home: Home) -> None:
    """Our pixels and encoder give the same vectors as open_clip's preprocessing and encode_image."""
    import open_clip
    import torch
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3)).astype(np.uint8)
    checkpoint = found(checkpoint_directory, home)
    encoder = load_encoder(checkpoint, device="cpu", precision="fp32", batch_size=2)
    model, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{checkpoint_directory}", require_pretrained=True
    )
    batch = torch.stack([preprocess(Image.fromarray(item)) for item in pixels])
    with torch.inference_mode():
        expected = model.eval().encode_image(batch, normalize=True).numpy()
    vectors = encoder.encode(pixels)
    assert vectors.shape == (3, 768)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_bf16_is_used_only_when_it_agrees_with_fp32(checkpoint_directory: Path, home: Home) -> None:
    """If requested, bf16 is used, and its vectors have a cosine of at least 0.9999 to fp32's."""
    pixels = np.random.default_rng(2).integers(0, 256, (4, 224, 224, 3)).astype(np.uint8)
    checkpoint = found(checkpoint_directory, home)
    half = load_encoder(checkpoint, device="cpu", precision="bf16", batch_size="auto")
    full = load_encoder(checkpoint, device="cpu", precision="fp32", batch_size="auto")
    assert half.precision == "bf16"
    assert float((half.encode(pixels) * full.encode(pixels)).sum(axis=1).min()) >= 0.9999


def test_the_fingerprint_follows_weights_config_and_pixels(
    checkpoint_directory: Path, home: Home, tmp_path: Path
) -> None:
    """Vectors are comparable only when weights, preprocessing and pixel code are the same."""
    first = found(checkpoint_directory, home).fingerprint
    copy = copied(checkpoint_directory, tmp_path)
    assert found(copy, home).fingerprint == first
    assert find_checkpoint(f"local-dir:{copy}", home=home, pixel_spec="spec-2").fingerprint != first
    weights = next(copy.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert found(copy, home).fingerprint != first


def test_finding_a_checkpoint_does_not_import_torch(checkpoint_directory: Path, tmp_path: Path) -> None:
    """A run that embeds nothing does not import torch."""
    program = (
        "import sys; from fashion_pipeline.embedding.load import find_checkpoint; from fashion_pipeline.storage.home import Home; "
        "find_checkpoint(sys.argv[1], home=Home(sys.argv[2]), pixel_spec='s'); "
        "assert not {'torch', 'open_clip', 'pyarrow'} & set(sys.modules)"
    )
    arguments = [sys.executable, "-c", program, f"local-dir:{checkpoint_directory}", str(tmp_path)]
    assert subprocess.run(arguments, check=False).returncode == 0


def test_a_missing_directory_says_what_to_set(home: Home) -> None:
    """Without the directory the run fails with advice, and never uses a random model."""
    with pytest.raises(WeightsUnavailable, match=r"no directory /nowhere.*FASHION_MODEL=local-dir:"):
        find_checkpoint("local-dir:/nowhere", home=home, pixel_spec="s")


def test_a_directory_without_weights_is_refused(checkpoint_directory: Path, home: Home, tmp_path: Path) -> None:
    """open_clip alone would continue with random weights."""
    copy = copied(checkpoint_directory, tmp_path)
    next(copy.glob("*.safetensors")).unlink()
    with pytest.raises(WeightsUnavailable, match="must hold"):
        found(copy, home)


def test_truncated_weights_are_refused(checkpoint_directory: Path, home: Home, tmp_path: Path) -> None:
    """The message says that the file may be truncated."""
    copy = copied(checkpoint_directory, tmp_path)
    weights = next(copy.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(WeightsUnavailable, match="truncated: download it again"):
        load_encoder(found(copy, home), device="cpu", precision="fp32", batch_size="auto")


def test_another_dimension_is_refused(home: Home, tmp_path: Path) -> None:
    """A model with 512 dimensions never writes to a collection with 768."""
    import open_clip
    from safetensors.torch import save_file

    directory = tmp_path / "other"
    directory.mkdir()
    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"]["embed_dim"] = 512
    (directory / CONFIG_FILE).write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{directory}", load_weights=False)
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    with pytest.raises(WrongModel, match="512 numbers, this pipeline stores 768"):
        load_encoder(found(directory, home), device="cpu", precision="fp32", batch_size="auto")


@pytest.mark.parametrize(
    ("key", "value"), [("mean", [0.48, 0.46, 0.41]), ("resize_mode", "shortest"), ("interpolation", "bilinear")]
)
def test_another_preprocessing_is_refused(
    checkpoint_directory: Path, home: Home, tmp_path: Path, key: str, value: object
) -> None:
    """A checkpoint without FashionSigLIP's preprocessing would give plausible but wrong vectors."""
    copy = copied(checkpoint_directory, tmp_path)
    config = json.loads((copy / CONFIG_FILE).read_text())
    config["preprocess_cfg"][key] = value
    (copy / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(WrongModel, match=key):
        load_encoder(found(copy, home), device="cpu", precision="fp32", batch_size="auto")


@pytest.mark.parametrize("model", ["ViT-B-16", "hf-hub:too/many/parts", ""])
def test_an_invalid_model_name_is_refused(home: Home, model: str) -> None:
    """A model is named by hf-hub:, local-dir: or tiny."""
    with pytest.raises(WrongModel, match="hf-hub:OWNER/NAME"):
        find_checkpoint(model, home=home, pixel_spec="s")


def test_an_unreachable_hub_says_what_to_set(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hub and without a cache, the message names the alternative."""
    program = (
        "import sys; from fashion_pipeline.embedding.load import find_checkpoint; from fashion_pipeline.storage.home import Home; "
        "find_checkpoint('hf-hub:Marqo/marqo-fashionSigLIP', home=Home(sys.argv[1]), pixel_spec='s')"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    ran = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "WeightsUnavailable" in ran.stderr
    assert "FASHION_MODEL=local-dir:/path/of/that/folder" in ran.stderr


def test_a_missing_device_is_reported(checkpoint_directory: Path, home: Home) -> None:
    """FASHION_DEVICE is checked before it is used."""
    for device in ("cuda:99", "quantum"):
        with pytest.raises(ModelError, match="FASHION_DEVICE"):
            load_encoder(found(checkpoint_directory, home), device=device, precision="fp32", batch_size="auto")
