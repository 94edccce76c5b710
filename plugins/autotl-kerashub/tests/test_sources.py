"""`--backbone kerashub:REFERENCE`: what a folder may hold, what is read of it, what is refused."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from autotl_kerashub import open_preset
from autotl_kerashub.configs import read_normalisation

from autotl.errors import PluginError, UsageError

VIT = {
    "module": "keras_hub.src.models.vit.vit_backbone",
    "class_name": "ViTBackbone",
    "registered_name": "keras_hub>ViTBackbone",
    "config": {
        "image_shape": [64, 64, 3],
        "patch_size": [16, 16],
        "dtype": {"module": "keras", "class_name": "DTypePolicy"},
    },
}


def write(folder: Path, config: Any, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def of(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": kind, "registered_name": f"keras_hub>{kind}", "module": "keras_hub.x", "config": config}


def test_a_folder_is_described_without_keras(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", VIT)
    code = (
        "import sys\n"
        "from autotl_kerashub import open_preset\n"
        "record = open_preset(sys.argv[1])\n"
        "assert (record.image_size, record.resizable, record.available()) == (64, False, False)\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'keras_hub', 'kagglehub', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_the_record_is_called_by_the_whole_reference_and_carries_the_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", VIT)
    (folder / "model.weights.h5").write_bytes(b"weights")
    record = open_preset(str(folder))
    assert record.name == f"kerashub:{folder}"
    assert record.weights.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert record.weights.licence == "unknown" and record.weights.restriction is None
    assert record.available() and record.fetch is None


def test_a_relative_folder_keeps_its_place_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "mine", VIT)
    (folder / "model.weights.h5").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    record = open_preset("mine")
    monkeypatch.chdir("/")
    assert record.name == "kerashub:mine" and record.available()


@pytest.mark.parametrize(
    ("config", "files", "expected"),
    [
        (VIT, {}, (64, False, 1, 64)),
        (of("ResNetBackbone", {"image_shape": [None, None, 3]}), {}, (224, True, 1, 32)),
        (
            of("ResNetBackbone", {"image_shape": [None, None, 3]}),
            {"image_converter__json": {"config": {"image_size": [288, 288]}}},
            (288, True, 1, 32),
        ),
        (of("DINOV2Backbone", {"image_shape": [518, 518, 3], "patch_size": 14}), {}, (518, True, 14, 56)),
        (
            of("SwinTransformerBackbone", {"image_shape": [384, 384, 3], "window_size": 12, "depths": [2, 2, 18, 2]}),
            {},
            (384, True, 384, 384),
        ),
        (of("MiTBackbone", {"image_shape": [512, 512, 3]}), {}, (512, True, 32, 64)),
        ({"model_type": "vit", "image_size": 384}, {}, (384, False, 1, 384)),
        ({"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 288, 288]}}, {}, (288, True, 1, 32)),
    ],
)
def test_sizes_are_read_off_the_configuration(
    config: dict[str, Any], files: dict[str, Any], expected: tuple[int, bool, int, int], tmp_path: Path
) -> None:
    record = open_preset(str(write(tmp_path / "preset", config, **files)))
    found = (record.image_size, record.resizable, record.size_multiple, record.min_image_size)
    assert found == expected


@pytest.mark.parametrize(
    ("files", "black", "white"),
    [
        ({"image_converter__json": {"config": {"scale": 1 / 127.5, "offset": -1.0}}}, [-1.0] * 3, [1.0] * 3),
        ({"image_converter__json": {"config": {"scale": [0.1, 0.2, 0.3], "offset": None}}}, [0] * 3, [25.5, 51, 76.5]),
        (
            {"image_converter__json": {"config": {"scale": 1 / 255, "mean": [0.5] * 3, "variance": [0.25] * 3}}},
            [-1.0] * 3,
            [1.0] * 3,
        ),
        (
            {"image_converter__json": {"config": {"scale": 1 / 255, "norm_mean": [0.5] * 3, "norm_std": [0.25] * 3}}},
            [-2.0] * 3,
            [2.0] * 3,
        ),
        ({"preprocessor_config__json": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}}, [-1.0] * 3, [1.0] * 3),
        ({"preprocessor_config__json": {"size": 224}}, None, None),
        ({}, None, None),
    ],
)
def test_the_normalisation_is_read_off_every_kind_of_file(
    files: dict[str, Any], black: list[float] | None, white: list[float] | None, tmp_path: Path
) -> None:
    found = read_normalisation(write(tmp_path / "preset", VIT, **files))
    if black is None or white is None:
        assert found is None
        return
    assert found is not None
    scale, offset = ([each] * 3 if isinstance(each, float) else list(each) for each in found)
    assert offset == pytest.approx(black)
    assert [255 * one + other for one, other in zip(scale, offset, strict=True)] == pytest.approx(white)


def test_a_licence_is_read_off_the_readme(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", VIT, README__md="---\nlibrary_name: keras-hub\nlicense: mit\n---\n# mine\n")
    assert open_preset(str(folder)).weights.licence == "mit"


def test_a_restricting_licence_of_the_family_is_assumed_unless_another_is_stated(tmp_path: Path) -> None:
    config = of("MiTBackbone", {"image_shape": [512, 512, 3]})
    weights = open_preset(str(write(tmp_path / "one", config))).weights
    assert weights.licence == "LicenseRef-NVIDIA-SegFormer"
    assert weights.restriction is not None and "no commercial use" in weights.restriction
    weights = open_preset(str(write(tmp_path / "two", config, README__md="---\nlicense: apache-2.0\n---\n"))).weights
    assert (weights.licence, weights.restriction) == ("apache-2.0", None)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**VIT, "registered_name": "evil>ViTBackbone"}, "evil>ViTBackbone"),
        ({**VIT, "module": "evil.models"}, "evil.models.ViTBackbone"),
        ({**VIT, "config": {"dtype": {"module": "os", "class_name": "system"}}}, "os.system"),
        ({**VIT, "config": {"layers": [{"class_name": "X", "registered_name": "mine>X"}]}}, "mine>X"),
    ],
)
def test_classes_of_other_packages_are_refused(config: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="classes of Keras and KerasHub") as caught:
        open_preset(str(write(tmp_path / "preset", config)))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "config", [of("GemmaBackbone", {}), {"model_type": "llama"}, {"architecture": "eva02_base"}, {}, ["no", "object"]]
)
def test_other_networks_are_refused(config: Any, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="must be an image backbone of KerasHub"):
        open_preset(str(write(tmp_path / "preset", config)))


def test_places_that_are_no_presets_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder nowhere"):
        open_preset("nowhere")
    with pytest.raises(UsageError, match="kaggle:// or hf://"):
        open_preset("gs://bucket/preset")
    with pytest.raises(PluginError, match=r"readable config\.json"):
        open_preset(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PluginError, match=r"readable config\.json"):
        open_preset(str(tmp_path))


@pytest.mark.parametrize("handle", ["kaggle://keras/vit", "kaggle://keras/vit/keras/../x", "hf://one", "hf://a/b/c"])
def test_handles_of_another_form_are_refused(handle: str) -> None:
    with pytest.raises(PluginError, match="A handle has the form"):
        open_preset(handle)


def test_a_handle_in_the_cache_is_opened_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "me" / "vit" / "keras" / "mine" / "3"
    folder.mkdir(parents=True)
    write(folder, VIT)
    record = open_preset("kaggle://me/vit/keras/mine")
    assert (record.image_size, record.available()) == (64, False)
    (folder / "model.weights.h5").write_bytes(b"weights")
    (folder.parent / "3.complete").touch()
    assert record.available()


def test_a_handle_of_hugging_face_is_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc\n")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    write(snapshot, {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 224, 224]}})
    (snapshot / "model.safetensors").write_bytes(b"weights")
    record = open_preset("hf://timm/resnet18.a1_in1k")
    assert (record.image_size, record.available(), record.weights.sha256) == (224, True, None)


@pytest.mark.keras
def test_changed_weights_are_refused_before_they_are_read(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved("VGGBackbone"), tmp_path / "preset")
    record = open_preset(str(folder))
    with (folder / "model.weights.h5").open("ab") as file:
        file.write(b"more")
    with pytest.raises(PluginError, match="had the sha256"):
        record.build(32, "pretrained")
    (folder / "model.weights.h5").unlink()
    with pytest.raises(PluginError, match="needs its weights"):
        record.build(32, "pretrained")
    record.build(32, "random")  # the architecture is still there


@pytest.mark.keras
def test_weights_of_another_network_are_explained(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved("VGGBackbone"), tmp_path / "preset")
    shutil.copy(saved("DenseNetBackbone") / "model.weights.h5", folder)
    with pytest.raises(PluginError, match="KerasHub cannot load"):
        open_preset(str(folder)).build(32, "pretrained")
