"""The heads that come with autotl, through the door that plugins use."""

import subprocess
import sys

import numpy as np
import pytest

from autotl.errors import UsageError
from autotl.heads.registry import list_heads, load_head
from autotl.space.options import read_options

BUILT_IN = ["cosine", "linear", "mlp"]


def build(name, features=6, classes=3, **options):
    record = load_head(name)
    return record.build(features, classes, {**record.defaults, **options})


def test_built_in_heads_are_registered_like_any_plugin():
    found = {listing.name: listing for listing in list_heads()}
    assert set(BUILT_IN) <= set(found)
    assert {(found[name].distribution, found[name].problem) for name in BUILT_IN} == {("autotl", None)}


def test_a_head_that_was_misspelt_is_refused_with_the_one_that_was_meant():
    with pytest.raises(UsageError, match=r"no head 'lineal'\. Did you mean linear"):
        load_head("lineal")


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_a_head_declares_can_be_searched(name):
    record = load_head(name)
    assert set(record.defaults) == set(record.options)
    assert set(read_options(record)) <= set(record.options)
    assert record.to_json()["summary"]


def test_loading_a_record_imports_nothing_heavy():
    code = "import sys; from autotl.heads.registry import load_head; [load_head(name) for name in sys.argv[1:]]; "
    code += "print([name for name in ('keras', 'numpy', 'pydantic', 'optuna') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *BUILT_IN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.keras
@pytest.mark.parametrize(("name", "options"), [("linear", {}), ("mlp", {"width": 8, "depth": 2}), ("cosine", {})])
def test_a_head_gives_one_logit_for_each_class_and_repeats_itself_by_the_seed_alone(name, options):
    import keras

    def weights(seed):
        keras.utils.set_random_seed(seed)
        model = build(name, **options)
        assert model.input_shape == (None, 6)
        assert model.output_shape == (None, 3)
        return np.concatenate([value.ravel() for value in model.get_weights()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert np.array_equal(weights(1), weights(2)) == (name == "linear")


@pytest.mark.keras
def test_cosine_logits_are_scaled_cosines():
    model = build("cosine", scale=12.0)
    kernel = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    kernel /= np.linalg.norm(kernel, axis=0)
    model.get_layer("cosines").set_weights([kernel])
    features = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    expected = 12.0 * features @ kernel / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(features)), expected, atol=1e-4)
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(features * 7.0)), expected, atol=1e-4)


@pytest.mark.keras
def test_directions_keep_unit_length_while_they_and_the_scale_are_trained():
    import keras

    model = build("cosine", features=8, classes=4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=loss)
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=64)
    features = (3.0 * np.eye(8)[labels] + generator.normal(size=(64, 8))).astype(np.float32)
    before = [np.array(value) for value in model.get_weights()]
    losses = [model.train_on_batch(features, labels) for _ in range(30)]
    kernel, scale = model.get_weights()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, atol=1e-4)
    assert losses[-1] < 0.5 * losses[0]
    assert np.abs(kernel - before[0]).max() > 0.1
    assert abs(scale - before[1]).max() > 0.1
