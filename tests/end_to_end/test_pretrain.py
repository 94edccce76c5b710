"""A network that was pretrained here is a search's backbone, and who it descends from is never lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl import api
from autotl.backbones.registry import load_backbone
from autotl.errors import AutotlError, UsageError

pytestmark = [pytest.mark.keras, pytest.mark.slow]
SPACE = """[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "holdout"
[stage.parameters]
backbone = { choice = ["installed"] }
image_size = { choice = [32] }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]) -> SimpleNamespace:
    """Two data sets, a space, a cache, and a small network of one's own."""
    import keras

    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "one.toml").write_text(SPACE)
    source, target = draw_noise(folder / "source", (16, 16, 16), 60), draw_noise(folder / "target", (12, 12, 12), 70)

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(image)))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, use_bias=False)(seen)))
    keras.Model(image, seen).save(folder / "tiny.keras")
    network = f"{folder / 'tiny.keras'}?normalisation=unit"

    def pretrain(out: str, dataset: Path = source, **options: Any) -> dict[str, Any]:
        place = {"out": folder / out, "cache_dir": folder / "cache", "executor": "inline"}
        return api.pretrain(dataset, network, image_size=32, **{"epochs": 2, **options}, **place)

    def search(out: str, backbone: Path) -> Any:
        place = {"out": folder / out, "cache_dir": folder / "cache", "executor": "inline"}
        return api.search(target, space=folder / "one.toml", backbones=[str(backbone)], **place)

    return SimpleNamespace(folder=folder, source=source, target=target, pretrain=pretrain, search=search)


@pytest.fixture(scope="module")
def chain(place: SimpleNamespace) -> SimpleNamespace:
    """Pretrained, searched with, pretrained on from there, searched with again."""
    told: list[dict[str, Any]] = []
    first = place.pretrain("first", on_event=told.append)
    searched = place.search("searched", place.folder / "first")
    second = place.pretrain("second", init=place.folder / "searched")
    last = place.search("last", place.folder / "second" / "model")
    return SimpleNamespace(first=first, searched=searched, second=second, last=last, told=told)


def described(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "model" / "autotl.json").read_text())
    return read


def test_it_writes_a_backbone_with_its_curve_and_its_evaluation(chain: SimpleNamespace, place: SimpleNamespace) -> None:
    folder = place.folder / "first" / "model"
    assert sorted(path.name for path in folder.iterdir()) == [
        "MODEL_CARD.md", "autotl.json", "model.keras", "pretrain.json"
    ]  # fmt: skip
    training = json.loads((folder / "pretrain.json").read_text())
    assert [point["epoch"] for point in training["curve"]] == [1, 2] and training["init"] == "random"
    assert training["precision"] == chain.first["precision"] == "float32"  # of a CPU
    assert "It was trained in float32; its weights are float32." in (folder / "MODEL_CARD.md").read_text()
    low, high = chain.first["scores"]["accuracy_ci95"]
    assert low <= training["scores"]["accuracy"] <= high
    notes = [event["message"] for event in chain.told if event["event"] == "note"]
    assert any(note.startswith("epoch 2 of 2: loss ") and "held-out accuracy" in note for note in notes)


def test_the_same_again_is_only_read_and_something_else_is_refused(
    chain: SimpleNamespace, place: SimpleNamespace
) -> None:
    assert place.pretrain("first") == chain.first
    with pytest.raises(UsageError, match="epochs was 2 and is 3"):
        place.pretrain("first", epochs=3)


def test_a_search_adapts_it_and_its_card_says_from_where(chain: SimpleNamespace, place: SimpleNamespace) -> None:
    assert chain.searched.best["backbone"] == "first"
    parent, child = described(place.folder / "first"), described(place.folder / "searched")
    (ancestor,) = child["ancestors"]
    assert ancestor["sha256"] == parent["model"]["sha256"] == child["backbone"]["weights"]["sha256"]
    assert ancestor["data_fingerprint"] == parent["data"]["fingerprint"]
    assert child["licences"] == parent["licences"] == [
        {"of": "weights of tiny", "licence": "NONE", "source": "none, random weights", "dataset": "random weights"}
    ]  # fmt: skip
    assert child["backbone"]["weights"]["dataset"] == "source, after random weights"


def test_through_searches_and_pretrainings_all_ancestors_are_named(
    chain: SimpleNamespace, place: SimpleNamespace
) -> None:
    parents = [described(place.folder / name) for name in ("second", "searched", "first")]
    last = described(place.folder / "last")
    assert [one["name"] for one in last["ancestors"]] == ["second", "searched", "first"]
    assert [one["sha256"] for one in last["ancestors"]] == [one["model"]["sha256"] for one in parents]
    assert [one["data_fingerprint"] for one in last["ancestors"]] == [one["data"]["fingerprint"] for one in parents]
    card = (place.folder / "last" / "model" / "MODEL_CARD.md").read_text()
    for name, parent in zip(("second", "searched", "first"), parents, strict=True):
        assert f"| {name} |" in card and parent["data"]["fingerprint"] in card
    own = (place.folder / "second" / "model" / "MODEL_CARD.md").read_text()
    assert parents[1]["data"]["fingerprint"] in own and parents[2]["data"]["fingerprint"] in own


def test_the_same_seed_gives_the_same_network_and_another_one_another(
    chain: SimpleNamespace, place: SimpleNamespace
) -> None:
    again, other = place.pretrain("again"), place.pretrain("other", seed=1)
    assert again["curve"] == chain.first["curve"] and other["curve"] != chain.first["curve"]
    kernels = [
        np.asarray(load_backbone(str(place.folder / name)).build(32, "pretrained").weights[0])
        for name in ("first", "again", "other")
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 1e-3


def test_it_is_no_classifier(chain: SimpleNamespace, place: SimpleNamespace) -> None:
    with pytest.raises(AutotlError, match="--backbone"):
        list(api.predict(place.folder / "first", [place.source]))


def test_another_architecture_and_weights_that_are_not_here_are_refused(
    chain: SimpleNamespace, place: SimpleNamespace
) -> None:
    with pytest.raises(UsageError, match="made from tiny"):
        api.pretrain(place.source, "vgg16", init=place.folder / "first", image_size=32)
    with pytest.raises(UsageError, match="random, pretrained, or the path"):
        place.pretrain("typing", init="imagenet")


def test_without_labels_it_learns_from_the_images_alone(chain: SimpleNamespace, place: SimpleNamespace) -> None:
    told: list[dict[str, Any]] = []
    flat = place.folder / "flat"
    flat.mkdir()
    for picture in place.source.rglob("*.png"):
        shutil.copy(picture, flat / f"{picture.parent.name}-{picture.name}")
    result = place.pretrain("alone", dataset=flat, labels="none", method="simsiam", on_event=told.append)
    assert 0.0 <= result["scores"]["match"] <= 1.0 and len(result["curve"]) == 2
    assert any(event["event"] == "note" and "held-out match" in event["message"] for event in told)
    assert load_backbone(str(place.folder / "alone")).build(32, "pretrained").output_shape == (None, 7, 7, 16)
    card = (place.folder / "alone" / "model" / "MODEL_CARD.md").read_text()
    assert "by simsiam" in card and "pretrained on flat" in card and "classes" not in card
