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
    assert "Apache-2.0" in card and first.run.path.name in card
    lines = [line for line in card.splitlines() if not line.startswith("autotl search")]  # that one is as it was typed
    assert str(first.run.path.parent) not in "\n".join(lines)


def test_the_childs_backbone_computes_what_the_parents_features_were(first: SimpleNamespace) -> None:
    import keras

    from autotl.backbones.registry import load_backbone

    backbone = load_backbone(str(first.result.run)).build(64, "pretrained")
    assert backbone.output_shape == (None, 2, 2, 1280)
    whole = keras.saving.load_model(Path(first.result.model) / "model.keras", compile=False)
    head = next(layer for layer in whole.layers if layer.name == "head")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    pooled = np.asarray(backbone(images)).mean(axis=(1, 2))
    logits = np.asarray(whole.get_layer("temperature")(head(pooled)))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        np.asarray(whole(images.astype("uint8"))), exponents / exponents.sum(axis=1, keepdims=True), atol=1e-5
    )
