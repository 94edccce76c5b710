"""KerasTuner hypermodels as heads: any signature, any output, and the very same model when values are replayed."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from autotl.errors import UsageError
from autotl.heads.contract import Head
from autotl.heads.hypermodel import build_settled, head_from_hypermodel, open_head
from autotl.heads.replay import UnsettledError, make_replay
from autotl.references import check_reference, load_object

pytestmark = pytest.mark.keras
FEATURES, CLASSES = 6, 3
HEADS = ["Stack", "Classic", "sequential"]


@pytest.fixture(autouse=True)
def models_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def model_of(name, **options):
    import keras

    keras.utils.set_random_seed(1)
    return build_settled(open_head(f"user_models:{name}"), FEATURES, CLASSES, options)


def written(model):
    """All that describes a model, without the numbers in automatic names, which count on within a process."""
    text = model.to_json()
    names = re.findall(r'"name": "(\w+)"', text) + re.findall(r"keras_tensor_\d+", text)
    for index, name in enumerate(dict.fromkeys(names)):
        text = text.replace(f'"{name}"', f'"#{index}"')
    return text


@pytest.mark.parametrize("name", HEADS)
def test_any_signature_gives_a_head_from_features_to_logits(name):
    model = model_of(name)
    assert model.input_shape == (None, FEATURES)
    assert model.output_shape == (None, CLASSES)
    outputs = np.asarray(model(np.random.default_rng(0).normal(size=(5, FEATURES)).astype("float32")))
    assert np.isfinite(outputs).all()
    assert not np.allclose(outputs.sum(axis=1), 1.0)  # no softmax is left


@pytest.mark.parametrize("name", ["Classic", "sequential"])
def test_a_softmax_is_taken_out_and_nothing_else(name):
    import keras

    features = np.random.default_rng(0).normal(size=(5, FEATURES)).astype("float32")
    model = model_of(name)
    logits = np.asarray(model(features))
    replay = make_replay({})
    found = load_object(f"user_models:{name}")
    whole = found((FEATURES,), CLASSES).build(replay) if name == "Classic" else found(replay, FEATURES, CLASSES)
    whole.build((None, FEATURES))
    whole.set_weights(model.get_weights())
    np.testing.assert_allclose(np.asarray(whole(features)), np.asarray(keras.ops.softmax(logits)), atol=1e-6)


def test_a_softmax_at_the_end_of_a_model_within_the_model_is_taken_out():
    import keras

    from autotl.heads.logits import ends_in_softmax, remove_softmax

    inputs = keras.Input((FEATURES,))
    for last in (
        [keras.layers.Dense(CLASSES, activation="softmax")],
        [keras.layers.Dense(CLASSES), keras.layers.Softmax()],
    ):
        inner = keras.Sequential([keras.Input((FEATURES,)), *last])
        outputs = inner(inputs)
        assert ends_in_softmax(outputs)
        probabilities = np.asarray(inner(np.eye(FEATURES)))
        logits = np.asarray(keras.Model(inputs, remove_softmax(outputs))(np.eye(FEATURES)))
        np.testing.assert_allclose(np.asarray(keras.ops.softmax(logits)), probabilities, atol=1e-6)
        assert not np.allclose(logits.sum(axis=1), 1.0)


def test_outputs_of_another_width_get_a_layer_more():
    model = model_of("Stack", layers=2, units_0=8, units_1=24, kind="plain")
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [8, 24, CLASSES]


def test_a_head_survives_being_saved_and_loaded_in_safe_mode(tmp_path):
    import keras

    features = np.random.default_rng(0).normal(size=(5, FEATURES)).astype("float32")
    for name in HEADS:
        model = model_of(name)
        model.save(tmp_path / "head.keras")
        loaded = keras.saving.load_model(tmp_path / "head.keras", safe_mode=True)
        np.testing.assert_allclose(np.asarray(loaded(features)), np.asarray(model(features)), atol=1e-6)


def test_what_was_not_given_is_asked_for_with_all_that_follows_from_its_default():
    head = open_head("user_models:Stack")
    with pytest.raises(UnsettledError) as caught:
        head.build(FEATURES, CLASSES, {})
    assert caught.value.owner == "user_models:Stack"
    assert [need["name"] for need in caught.value.needs] == ["layers", "units_0", "kind"]
    assert caught.value.values == {"layers": 1, "units_0": 16, "kind": "plain"}
    units = json.loads(json.dumps(caught.value.needs))[1]
    assert units == {
        "kind": "Int", "name": "units_0", "conditions": [], "default": 16, "min": 8, "max": 32, "step": 8,
        "sampling": "linear",
    }  # fmt: skip


def test_a_given_value_can_open_what_was_closed():
    head = open_head("user_models:Stack")
    with pytest.raises(UnsettledError) as caught:
        head.build(FEATURES, CLASSES, {"layers": 3, "units_0": 8, "kind": "dropped"})
    assert [need["name"] for need in caught.value.needs] == ["units_1", "units_2", "rate"]
    assert caught.value.needs[2]["conditions"] == [{"name": "kind", "values": ["dropped"]}]


def test_values_of_no_use_are_handed_back_without_them():
    head = open_head("user_models:Stack")
    used = {"layers": 1, "units_0": 8, "kind": "plain"}
    with pytest.raises(UnsettledError) as caught:
        head.build(FEATURES, CLASSES, {**used, "units_1": 16, "rate": 0.3})
    assert caught.value.needs == []
    assert caught.value.values == used


def test_a_value_that_is_out_of_range_is_no_value():
    with pytest.raises(UnsettledError) as caught:
        open_head("user_models:Classic").build(FEATURES, CLASSES, {"units": 5, "activation": "relu"})
    assert [need["name"] for need in caught.value.needs] == ["units"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Stack", {"layers": 2, "units_0": 24, "units_1": 8, "kind": "dropped", "rate": 0.2}),
        ("Classic", {"units": 8, "activation": "tanh"}),
        ("sequential", {"units": 5}),
    ],
)
def test_a_replay_builds_the_identical_model(name, options):
    one, two = (model_of(name, **json.loads(json.dumps(options))) for _ in range(2))
    assert written(one) == written(two)
    for first, second in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("values", [{"version": "v1"}, {"version": "v2"}, {"version": "next", "conv4_depth": 6}])
def test_hyperresnet_is_replayed_to_the_identical_model(values):
    assert_replayed("HyperResNet", values)


def test_hyperxception_is_replayed_to_the_identical_model():
    assert_replayed("HyperXception", {"activation": "selu", "num_residual_blocks": 2, "pooling": "max"})


def assert_replayed(name, values):
    """Build with some values and defaults for the rest, then with all that was chosen."""
    import keras_tuner

    made = []
    for _ in range(2):
        replay = make_replay(values)
        hypermodel = getattr(keras_tuner.applications, name)(input_shape=(32, 32, 3), classes=CLASSES)
        made.append(written(hypermodel.build(replay)))
        values = json.loads(json.dumps(replay.chosen()))
    assert replay.needs == []
    assert made[0] == made[1]


def test_a_record_is_made_without_importing_anything():
    before = set(sys.modules)
    head = open_head("keras_tuner.applications:HyperResNet")
    assert isinstance(head, Head)
    assert head.name == "keras_tuner.applications:HyperResNet"
    assert (dict(head.options), dict(head.defaults)) == ({}, {})
    assert set(sys.modules) == before


def test_a_plugin_registers_a_hypermodel_under_a_name_of_its_own():
    head = head_from_hypermodel("stack", "user_models:Stack", summary="Layers.")
    assert (head.name, head.summary, head.api_version) == ("stack", "Layers.", 1)
    with pytest.raises(UnsettledError) as caught:
        head.build(FEATURES, CLASSES, {})
    assert caught.value.owner == "stack"


def test_an_instance_serves_as_well_as_a_class(monkeypatch):
    module = load_object("user_models:Stack").__module__
    monkeypatch.setattr(sys.modules[module], "ready", sys.modules[module].Stack(), raising=False)
    assert build_settled(open_head("user_models:ready"), FEATURES, CLASSES).output_shape == (None, CLASSES)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Demanding", "wants vocabulary"),
        ("NUMBER", "is a int"),
        ("Missing", "has no Missing"),
        ("Convolutions", "expected min_ndim=4"),
    ],
)
def test_what_is_no_head_is_refused_in_words(name, says):
    head = open_head(f"user_models:{name}")
    with pytest.raises((UsageError, ValueError), match=says):
        build_settled(head, FEATURES, CLASSES)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_module_at_all:Head", "no module no_such_module_at_all"),
        ("keras_tuner.nowhere:Head", "no module keras_tuner.nowhere"),
        ("user_models:", "is named module:object"),
        ("a b:C", "is named module:object"),
    ],
)
def test_a_hypermodel_that_cannot_be_found_is_named_before_anything_runs(reference, says):
    with pytest.raises(UsageError, match=says):
        check_reference(reference)


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "lying_here.py").write_text("ANSWER = 42\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert load_object("lying_here:ANSWER") == 42
