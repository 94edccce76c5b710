"""One search's result is the next one's start, and any network that Keras saved is a backbone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import autotl
from autotl.runs.files import read_json

pytestmark = [pytest.mark.keras, pytest.mark.process, pytest.mark.slow]
SPACE = """[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "cross_validation"
[stage.parameters]
backbone = { choice = ["installed"] }
image_size = { choice = [64] }
"""


@pytest.fixture(scope="session")
def child(first: SimpleNamespace, workplace: Path) -> autotl.SearchResult:
    (workplace / "one.toml").write_text(SPACE)
    return autotl.search(
        "sample:clipart",
        space=workplace / "one.toml",
        backbones=[str(first.result.run)],
        out=workplace / "child",
        cache_dir=workplace / "cache",
        executor="inline",
    )


def test_a_delivered_model_is_the_next_searchs_backbone(child: autotl.SearchResult, first: SimpleNamespace) -> None:
    assert child.best["backbone"] == first.run.path.name
    assert child.best["image_size"] == 64
    assert 0.0 <= child.test["accuracy"] <= 1.0


def test_the_child_names_its_ancestor_and_inherits_the_licence(
    child: autotl.SearchResult, first: SimpleNamespace
) -> None:
    parent, mine = (read_json(Path(result.model) / "autotl.json") for result in (first.result, child))
    (ancestor,) = mine["ancestors"]
    assert ancestor["sha256"] == parent["model"]["sha256"] == mine["backbone"]["weights"]["sha256"]
    assert ancestor["data_fingerprint"] == parent["data"]["fingerprint"]
    assert ancestor["backbone"] == "efficientnet-lite0"
    assert mine["licences"] == parent["licences"]
    card = (Path(child.model) / "MODEL_CARD.md").read_text()
    assert "Apache-2.0" in card and f"| {first.run.path.name} | efficientnet-lite0 |" in card
    assert str(first.run.path.parent) not in card


def test_the_childs_backbone_computes_what_the_parents_features_were(first: SimpleNamespace) -> None:
    import keras

    from autotl.backbones.registry import load_backbone

    backbone = load_backbone(str(first.result.run)).build(64, "pretrained")
    assert backbone.output_shape == (None, 2, 2, 1280)
    assert backbone.trainable_variables  # the search may have frozen them, the next one need not
    whole = keras.saving.load_model(Path(first.result.model) / "model.keras", compile=False)
    head = next(layer for layer in whole.layers if layer.name == "head")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    pooled = np.asarray(backbone(images)).mean(axis=(1, 2))
    logits = np.asarray(whole.get_layer("temperature")(head(pooled)))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        np.asarray(whole(images.astype("uint8"))), exponents / exponents.sum(axis=1, keepdims=True), atol=1e-5
    )


@pytest.fixture(scope="session")
def of_a_file(workplace: Path) -> autotl.SearchResult:
    import keras

    inputs = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", name="features")(inputs)
    x = keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(x))
    keras.Model(inputs, x).save(workplace / "plain network.keras")
    (workplace / "one.toml").write_text(SPACE)
    return autotl.search(
        "sample:clipart",
        space=workplace / "one.toml",
        backbones=[str(workplace / "plain network.keras")],
        normalisation="symmetric",
        out=workplace / "of-a-file",
        cache_dir=workplace / "cache",
        executor="inline",
    )


def test_a_file_of_keras_is_searched_with_and_delivered_with_what_is_known_of_it(
    of_a_file: autotl.SearchResult, workplace: Path
) -> None:
    assert of_a_file.best["backbone"] == "plain network"
    described = read_json(Path(of_a_file.model) / "autotl.json")
    assert described["backbone"]["output"] == "features"
    assert described["licences"] == [{"of": "weights of plain network", "licence": "unknown"}]
    assert [ancestor["name"] for ancestor in described["ancestors"]] == ["plain network"]
    assert described["plugins"] == []
    request = read_json(Path(of_a_file.run) / "request.json")
    assert request["backbones"] == [f"{workplace.resolve()}/plain network.keras?normalisation=symmetric"]
    card = (Path(of_a_file.model) / "MODEL_CARD.md").read_text()
    assert "'plain network.keras' --normalisation symmetric" in card and str(workplace) not in card


def test_the_delivered_model_normalises_as_it_was_declared(of_a_file: autotl.SearchResult, workplace: Path) -> None:
    import keras

    whole = keras.saving.load_model(Path(of_a_file.model) / "model.keras", compile=False)
    plain = keras.saving.load_model(workplace / "plain network.keras", compile=False)
    network = next(layer for layer in whole.layers if layer.name == "network")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    expected = keras.Model(plain.inputs, plain.get_layer("features").output)(images / 127.5 - 1)
    np.testing.assert_allclose(np.asarray(network(images)), np.asarray(expected), rtol=1e-4, atol=1e-4)
