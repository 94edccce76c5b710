import hashlib
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
    assert (record.image_size, record.label, record.parameters) == (32, "mine", None)
    assert (record.weights.licence, record.weights.is_pretrained, record.available()) == ("unknown", True, True)
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


def vit(path: Path) -> Any:
    """Saves a small classifier of tokens and gives the part of it that makes the tokens."""
    import keras

    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 8, strides=8)(inputs))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(query=x, value=x)])
    x = layers.LayerNormalization(name="tokens")(x)
    keras.Model(inputs, layers.Dense(3)(x[:, 0])).save(path)
    return keras.Model(inputs, x)


@pytest.mark.keras
def test_tokens_end_before_the_class_token_is_taken(tmp_path: Path) -> None:
    tokens = vit(tmp_path / "vit.keras")
    built = load_backbone(f"{tmp_path}/vit.keras?normalisation=symmetric").build(32, "pretrained")
    assert built.output_shape == (None, 16, 8)
    expected = np.asarray(tokens(by_hand("symmetric", images())))
    np.testing.assert_allclose(np.asarray(built(images())), expected, rtol=1e-4, atol=1e-4)


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
def test_a_network_of_one_size_takes_others_where_all_its_layers_do(tmp_path: Path) -> None:
    network = features(64)
    classifier(network).save(tmp_path / "mine.keras")
    record = load_backbone(f"{tmp_path}/mine.keras?normalisation=inside")
    assert (record.image_size, record.resizable, record.min_image_size, record.size_multiple) == (64, True, 32, 32)
    built = record.build(96, "pretrained")
    assert built.output_shape == (None, 24, 24, 16)
    free = features(None)
    free.set_weights(network.get_weights())
    np.testing.assert_allclose(np.asarray(built(images(96))), np.asarray(free(images(96))), rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match="multiples of 32, 80 was asked for"):
        record.build(80, "pretrained")


@pytest.mark.keras
def test_a_network_with_positions_takes_one_size(tmp_path: Path) -> None:
    vit(tmp_path / "vit.keras")
    record = load_backbone(f"{tmp_path}/vit.keras?normalisation=unit")
    assert (record.image_size, record.resizable, record.nearest_size(64)) == (32, False, 32)
    with pytest.raises(UsageError, match="32 pixels and no others"):
        record.build(64, "pretrained")


@pytest.mark.keras
def test_random_weights_are_other_weights_and_frozen_layers_train_again(tmp_path: Path) -> None:
    network = features()
    network.trainable = False
    classifier(network).save(tmp_path / "mine.keras")
    record = load_backbone(f"{tmp_path}/mine.keras?normalisation=inside")
    kept, drawn = record.build(32, "pretrained"), record.build(32, "random")
    assert len(kept.trainable_variables) == len(network.variables)
    assert not np.allclose(kept.get_weights()[0], drawn.get_weights()[0])


@pytest.mark.keras
def test_random_weights_keep_what_is_known_of_the_images(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((32, 32, 3))
    statistics = keras.layers.Normalization(axis=-1)
    statistics.adapt(images())
    outputs = keras.layers.Conv2D(4, 3)(keras.Sequential([keras.Input((32, 32, 3)), statistics])(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "mine.keras")
    drawn = load_backbone(f"{tmp_path}/mine.keras?normalisation=inside").build(32, "random")
    (adapted,) = [layer for layer in drawn.layers if isinstance(layer, keras.layers.Normalization)]
    np.testing.assert_allclose(np.asarray(adapted.mean).ravel(), images().mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(adapted(images())), np.asarray(statistics(images())), atol=1e-4)


@pytest.mark.keras
def test_weights_of_the_same_network_without_its_head_can_be_given(tmp_path: Path) -> None:
    classifier(features()).save(tmp_path / "mine.keras")
    record = load_backbone(f"{tmp_path}/mine.keras?normalisation=symmetric")
    tuned = record.build(32, "random")
    tuned.save_weights(tmp_path / "tuned.weights.h5")
    built = record.build(32, str(tmp_path / "tuned.weights.h5"))
    np.testing.assert_array_equal(np.asarray(built(images())), np.asarray(tuned(images())))


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["lambda", "two inputs", "two outputs", "subclassed", "grey", "oblong"])
def test_a_model_that_cannot_be_adapted_is_refused_before_anything_is_built(tmp_path: Path, kind: str) -> None:
    import keras

    layers = keras.layers
    inputs = keras.Input({"grey": (16, 16, 1), "oblong": (16, 32, 3)}.get(kind, (16, 16, 3)))
    outputs = layers.Conv2D(4, 3)(inputs)
    several, made = [inputs], [outputs]
    if kind == "lambda":
        made = [keras.Sequential([keras.Input((14, 14, 4)), layers.Lambda(lambda x: x * 2)])(outputs)]
    elif kind == "two inputs":
        several = [inputs, keras.Input((16, 16, 3))]
        made = [layers.Add()([outputs, layers.Conv2D(4, 3)(several[1])])]
    elif kind == "two outputs":
        made = [outputs, layers.Flatten()(outputs)]
    model = keras.Model(several if len(several) > 1 else inputs, made if len(made) > 1 else made[0])
    (subclassed() if kind == "subclassed" else model).save(tmp_path / "bad.keras")
    words = {
        "lambda": "Lambda layer, which is code", "two inputs": "one input", "two outputs": "one output, .* has 2",
        "subclassed": "Functional or Sequential", "grey": "one input", "oblong": "16 x 32 pixels",
    }  # fmt: skip
    with pytest.raises(UsageError, match=words[kind]):
        load_backbone(f"{tmp_path}/bad.keras?normalisation=unit")


def subclassed() -> Any:
    import keras

    class Mine(keras.Model):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.convolution = keras.layers.Conv2D(4, 3)

        def call(self, inputs: Any) -> Any:
            return self.convolution(inputs)

    model = Mine()
    model(images(16))
    return model


@pytest.mark.keras
def test_a_network_without_a_feature_map_or_tokens_is_refused(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((16, 16, 3))
    keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs))).save(tmp_path / "mlp.keras")
    with pytest.raises(PluginError, match="feature map or tokens"):
        load_backbone(f"{tmp_path}/mlp.keras?normalisation=unit").build(16, "pretrained")


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


def test_a_file_whose_name_begins_with_none_has_weights_too(tmp_path: Path) -> None:
    write_keras(tmp_path / "nonesuch.keras")
    assert load_backbone(f"{tmp_path}/nonesuch.keras?normalisation=unit").weights.is_pretrained


def test_what_follows_a_path_is_its_normalisation(tmp_path: Path) -> None:
    write_keras(tmp_path / "mine.keras")
    with pytest.raises(UsageError, match=r"comes \?normalisation=MODE or nothing"):
        load_backbone(f"{tmp_path}/mine.keras?normalization=unit")


@pytest.mark.parametrize("layers", ["none", [{}], [{"class_name": "InputLayer", "config": []}]])
def test_a_damaged_description_of_a_network_is_refused(tmp_path: Path, layers: Any) -> None:
    write_keras(tmp_path / "mine.keras", layers=layers)
    with pytest.raises(UsageError, match="describes a Keras model"):
        load_backbone(f"{tmp_path}/mine.keras?normalisation=unit")


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    write_keras(tmp_path / "mine.keras")
    content = (tmp_path / "mine.keras").read_bytes()
    (tmp_path / "mine.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="holds a Keras model"):
        load_backbone(f"{tmp_path}/mine.keras?normalisation=unit")


def write_keras(path: Path, layers: Any = None) -> None:
    """A file as Keras writes it, without the weights: enough for everything that builds nothing."""
    image = {"class_name": "InputLayer", "module": "keras.layers", "config": {"batch_shape": [None, 64, 64, 3]}}
    config = {"class_name": "Functional", "config": {"layers": [image] if layers is None else layers}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))


def deliver(folder: Path, **changes: Any) -> Path:
    """A model folder as autotl writes it, as far as a backbone needs it."""
    folder.mkdir(parents=True)
    write_keras(folder / "model.keras")
    weights = {"source": "PyPI", "sha256": "ab" * 32, "licence": "CC-BY-NC-4.0", "dataset": "ImageNet-1k"}
    description = {
        "model": {"sha256": hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()},
        "backbone": {"name": "wide-net", "weights": {**weights, "restriction": "No commercial use."}},
        "data": {"name": "/home/me/birds", "fingerprint": "cd" * 8},
        "licences": [{"of": "weights of wide-net", "licence": "CC-BY-NC-4.0"}],
        "ancestors": [{"name": "eve", "sha256": "12" * 32, "licences": [{"of": "eve", "licence": "MIT"}]}],
        "plugins": [{"distribution": "wide-nets", "version": "3.1"}],
        **changes,
    }
    (folder / "autotl.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize("inside", ["", "model", "model/model.keras"])
def test_a_delivered_model_is_named_by_its_run_and_inherits_everything(tmp_path: Path, inside: str) -> None:
    deliver(tmp_path / "birds-2026" / "model")
    record = load_backbone(str(tmp_path / "birds-2026" / inside))
    assert record.label == "birds-2026"
    assert (record.weights.licence, record.weights.restriction) == ("CC-BY-NC-4.0", "No commercial use.")
    assert record.weights.dataset == "birds, after ImageNet-1k"
    parent, grandparent = record.provenance["ancestors"]
    assert (parent["name"], parent["backbone"], parent["data_fingerprint"]) == ("birds-2026", "wide-net", "cd" * 8)
    assert parent["sha256"] == record.weights.sha256
    assert parent["licences"] == record.provenance["licences"]
    assert (grandparent["name"], grandparent["licences"]) == ("eve", [{"of": "eve", "licence": "MIT"}])
    assert record.provenance["plugins"] == [{"distribution": "wide-nets", "version": "3.1"}]


def test_a_plugin_that_a_delivered_model_needs_is_named_when_it_is_built(tmp_path: Path) -> None:
    record = load_backbone(str(deliver(tmp_path / "birds")))
    with pytest.raises(PluginError, match=r"wide-nets 3\.1, which is not installed"):
        record.build(64, "pretrained")


def test_a_delivered_model_that_was_changed_is_refused(tmp_path: Path) -> None:
    folder = deliver(tmp_path / "birds", model={"sha256": "0" * 64})
    with pytest.raises(UsageError, match="changed or damaged"):
        load_backbone(str(folder))
    (folder / "model.keras").unlink()
    with pytest.raises(UsageError, match=r"holds model\.keras"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    "changes", [{"backbone": "wide-net"}, {"data": None}, {"ancestors": ["eve"]}, {"plugins": [{"module": "os"}]}]
)
def test_a_foreign_description_is_taken_over_only_where_it_has_the_right_form(tmp_path: Path, changes: Any) -> None:
    with pytest.raises(UsageError, match="describes a model that autotl delivered"):
        load_backbone(str(deliver(tmp_path / "birds", **changes)))
