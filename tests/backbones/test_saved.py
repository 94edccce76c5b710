import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotl.backbones.registry import load_backbone
from autotl.backbones.saved import declare
from autotl.errors import PluginError, UsageError


def images(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype("float32")


def features(size: int | None = 32) -> Any:
    import keras

    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(16, 3, strides=2, padding="same", name="map")(x), name="features")


def classifier(network: Any) -> Any:
    import keras

    inputs = keras.Input(network.input_shape[1:])
    x = keras.layers.GlobalAveragePooling2D()(network(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(12, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def by_hand(mode: str, rgb: np.ndarray) -> np.ndarray:
    from keras.applications import densenet, resnet

    published = {"caffe": resnet.preprocess_input, "torch": densenet.preprocess_input}
    if mode in published:
        return np.asarray(published[mode](rgb.copy()))  # it changes what it is given
    return {"inside": rgb, "unit": rgb / 255, "symmetric": rgb / 127.5 - 1}[mode]


@pytest.mark.keras
@pytest.mark.parametrize("mode", ["inside", "unit", "symmetric", "caffe", "torch"])
def test_the_head_is_removed_and_the_declared_normalisation_put_before(tmp_path: Path, mode: str) -> None:
    network = features()
    classifier(network).save(tmp_path / "mine.keras")
    record = load_backbone(declare(str(tmp_path / "mine.keras"), mode))
    assert (record.image_size, record.resizable, record.label) == (32, False, "mine")
    assert record.weights.licence == "unknown"
    built = record.build(32, "pretrained")
    expected = np.asarray(network(by_hand(mode, images())))
    np.testing.assert_allclose(np.asarray(built(images())), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.keras
def test_a_feature_extractor_without_a_head_stays_whole(tmp_path: Path) -> None:
    network = features()
    network.save(tmp_path / "mine.keras")
    built = load_backbone(f"{tmp_path}/mine.keras?normalisation=inside").build(32, "pretrained")
    np.testing.assert_allclose(np.asarray(built(images())), np.asarray(network(images())), rtol=1e-5, atol=1e-5)


@pytest.mark.keras
def test_a_flattening_head_and_a_sequential_model_are_understood(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3, name="last"), layers.Flatten(), layers.Dense(3)]
    )
    model.save(tmp_path / "mine.keras")
    built = load_backbone(f"{tmp_path}/mine.keras?normalisation=unit").build(16, "pretrained")
    assert built.output_shape == (None, 14, 14, 4)


@pytest.mark.keras
def test_tokens_end_before_the_class_token_is_taken(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 8, strides=8)(inputs))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(query=x, value=x)])
    x = layers.LayerNormalization(name="tokens")(x)
    keras.Model(inputs, layers.Dense(3)(x[:, 0])).save(tmp_path / "vit.keras")
    built = load_backbone(f"{tmp_path}/vit.keras?normalisation=symmetric").build(32, "pretrained")
    assert built.output_shape == (None, 16, 8)


@pytest.mark.keras
def test_a_network_of_any_size_takes_any_size(tmp_path: Path) -> None:
    network = features(None)
    network.save(tmp_path / "any.keras")
    record = load_backbone(f"{tmp_path}/any.keras?normalisation=inside")
    assert (record.image_size, record.resizable) == (224, True)
    built = record.build(48, "pretrained")
    assert built.output_shape == (None, 12, 12, 16)
    np.testing.assert_allclose(np.asarray(built(images(48))), np.asarray(network(images(48))), rtol=1e-5, atol=1e-5)


@pytest.mark.keras
def test_random_weights_are_other_weights_and_frozen_layers_train_again(tmp_path: Path) -> None:
    network = features()
    network.trainable = False
    network.save(tmp_path / "mine.keras")
    record = load_backbone(f"{tmp_path}/mine.keras?normalisation=inside")
    kept, drawn = record.build(32, "pretrained"), record.build(32, "random")
    assert len(kept.trainable_variables) == len(network.variables)
    assert not np.allclose(kept.get_weights()[0], drawn.get_weights()[0])
    with pytest.raises(UsageError, match="32 pixels and no others"):
        record.build(48, "pretrained")


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["lambda", "two inputs", "grey", "oblong", "vector"])
def test_a_model_that_cannot_be_adapted_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    import keras

    layers = keras.layers
    inputs = keras.Input({"grey": (16, 16, 1), "oblong": (16, 32, 3), "vector": (16, 16, 3)}.get(kind, (16, 16, 3)))
    outputs = layers.Conv2D(4, 3)(inputs)
    several = [inputs]
    if kind == "lambda":
        outputs = layers.Lambda(lambda x: x * 2)(outputs)
    elif kind == "two inputs":
        several = [inputs, keras.Input((16, 16, 3))]
        outputs = layers.Add()([outputs, layers.Conv2D(4, 3)(several[1])])
    elif kind == "vector":
        outputs = layers.Dense(3)(layers.Flatten()(inputs))
    keras.Model(several, outputs).save(tmp_path / "bad.keras")
    words = {"lambda": "safe mode", "two inputs": "one input", "grey": "one input", "oblong": "square", "vector": "map"}
    with pytest.raises((UsageError, PluginError), match=words[kind]):
        load_backbone(f"{tmp_path}/bad.keras?normalisation=unit").build(16, "pretrained")


def test_a_plain_file_must_declare_its_normalisation(tmp_path: Path) -> None:
    (tmp_path / "mine.keras").touch()
    with pytest.raises(UsageError, match="--normalisation MODE, one of inside, unit, symmetric, caffe, torch"):
        load_backbone(str(tmp_path / "mine.keras"))
    with pytest.raises(UsageError, match="not 'zero-one'"):
        declare(str(tmp_path / "mine.keras"), "zero-one")


@pytest.mark.parametrize(
    ("name", "content"),
    [("missing.keras", None), ("model.h5", b"x"), ("broken.keras", b"no zip"), ("empty.keras", "zip")],
)
def test_what_is_no_keras_file_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / name
    if content == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(["no", "model"]))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"\.keras file|cannot be read"):
        load_backbone(f"{path}?normalisation=unit")


def test_a_name_that_is_nothing_says_what_it_could_be() -> None:
    with pytest.raises(UsageError, match="source or a Python module"):
        load_backbone("no-such-source:something")
    with pytest.raises(UsageError, match="There is no backbone 'vgg-16'"):
        load_backbone("vgg-16")
