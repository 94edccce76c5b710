"""Heads as Keras models: the solved one computes what the solver said, the trained one starts neutral."""

import numpy as np
import pytest

from autotl.errors import PluginError, TrialError, UsageError
from autotl.heads.registry import load_head
from autotl.learn.config import TrialConfig
from autotl.learn.features import pooled_features
from autotl.learn.heads import build_head, set_linear, set_standardiser
from autotl.learn.ledger import Ledger
from autotl.learn.linear import LinearHead, fit_standardiser
from autotl.learn.networks import borrow_network, stored_taps
from autotl.learn.pooling import select_pooled
from autotl.learn.probe import fit_head, solve_linear
from autotl.learn.views import PLAIN

pytestmark = pytest.mark.keras


@pytest.mark.parametrize(("pooling", "taps"), [("avg", "last"), ("both", "last"), ("gem", "all"), ("max", "last2")])
def test_the_solved_head_in_keras_gives_the_solvers_logits(task, pooling, taps):
    config = TrialConfig("vgg16", 32, weights="random", pooling=pooling, taps=taps, penalty=1e-2)
    channels = stored_taps(borrow_network("vgg16", 32, "random", Ledger()))[1]
    features = select_pooled(pooled_features(task.sources, "vgg16", "random", 32, PLAIN), channels, pooling, taps)
    standardiser, linear, _ = solve_linear(task, config, task.train, seed=0)
    head = fit_head(task, config, task.train, seed=0)
    expected = linear.logits(standardiser(features))
    assert np.ptp(expected) > 1.0
    np.testing.assert_allclose(np.asarray(head(features)), expected, atol=1e-4 * np.abs(expected).max())


def test_features_on_any_scale_are_standardised_inside_the_head():
    generator = np.random.default_rng(0)
    features = generator.normal(1e3, 1.0, (200, 8)).astype(np.float32) * 10.0 ** np.arange(-3, 5, dtype=np.float32)
    standardiser = fit_standardiser(features)
    linear = LinearHead(generator.normal(size=(8, 3)).astype(np.float32), np.array([1, 2, 3], np.float32))
    head = build_head(TrialConfig("none", 1), (8,), 3)
    set_standardiser(head, standardiser)
    set_linear(head, linear)
    np.testing.assert_allclose(np.asarray(head(features)), linear.logits(standardiser(features)), atol=2e-2)


@pytest.mark.parametrize("head", ["linear", "mlp", "cosine"])
def test_a_plugin_gets_features_of_unit_variance(head):
    import keras

    features = np.random.default_rng(0).normal(30.0, 20.0, (500, 40)).astype(np.float32)
    model = build_head(TrialConfig("none", 1, head=head), (40,), 5)
    set_standardiser(model, fit_standardiser(features))
    seen = np.asarray(keras.Model(model.input, model.get_layer("standardise").output)(features))
    np.testing.assert_allclose(seen.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=0), 0.91, atol=0.02)  # of deviation 1 / 1.1: the floor for dead features


@pytest.mark.parametrize("depth", [1, 3])
def test_an_mlp_starts_with_all_classes_equal_and_units_of_unit_variance(depth):
    import keras

    features = np.random.default_rng(0).normal(3.0, 2.0, (500, 40)).astype(np.float32)
    keras.utils.set_random_seed(1)
    head = build_head(TrialConfig("none", 1, head="mlp", width=64, depth=depth, dropout=0.0), (40,), 5)
    set_standardiser(head, fit_standardiser(features))
    np.testing.assert_array_equal(np.asarray(head(features)), np.zeros((500, 5)))
    standardised = head.get_layer("standardise")(features)
    mlp = head.layers[-1]
    hidden = [layer for layer in mlp.layers if layer.name.startswith("hidden")]
    assert len(hidden) == depth
    last = keras.Model(mlp.input, hidden[-1].output)
    assert 0.3 < float(np.square(np.asarray(last(standardised))).mean()) < 3.0  # mean square of a ReLU after He


def test_an_mlp_computes_what_it_did_before_heads_were_plugins():
    """Hidden layers on features of unit length; the same weights give the same logits."""
    import keras

    generator = np.random.default_rng(0)
    features = generator.normal(3.0, 2.0, (50, 40)).astype(np.float32)
    standardiser = fit_standardiser(features)
    head = build_head(TrialConfig("none", 1, head="mlp", width=16, depth=2), (40,), 5)
    set_standardiser(head, standardiser)
    weights = [generator.normal(size=value.shape).astype(np.float32) for value in head.trainable_variables]
    for variable, value in zip(head.trainable_variables, weights, strict=True):
        variable.assign(value)
    x = standardiser(features)
    for kernel, bias in ((weights[0], weights[1]), (weights[2], weights[3])):
        x = np.maximum(x @ kernel + bias, 0.0)
    expected = x @ weights[4] + weights[5]
    logits = np.asarray(keras.ops.convert_to_numpy(head(features, training=False)))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("head", "trainable"), [("linear", 2), ("mlp", 6), ("cosine", 2)])
def test_only_what_should_train_is_trainable(head, trainable):
    config = TrialConfig("none", 1, head=head, width=8, depth=2)
    assert len(build_head(config, (4,), 3).trainable_variables) == trainable
    attentive = TrialConfig("none", 1, head=head, width=8, depth=2, pooling="attention")
    assert len(build_head(attentive, (2, 2, 4), 3).trainable_variables) == trainable + 1


def test_options_reach_the_head_and_what_is_left_out_has_its_default():
    def scale(**fields):
        head = build_head(TrialConfig("none", 1, head="cosine", **fields), (4,), 3)
        return head.trainable_variables[-1].numpy().item()

    assert scale(options=(("scale", 25.0),)) == 25.0
    assert scale() == load_head("cosine").defaults["scale"]


def test_an_option_that_the_head_does_not_know_is_refused():
    config = TrialConfig("none", 1, head="cosine", options=(("sclae", 25.0),))
    with pytest.raises(TrialError, match="has the options scale; this trial sets sclae"):
        build_head(config, (4,), 3)


def test_a_head_that_is_not_installed_is_refused_with_the_one_that_was_meant():
    with pytest.raises(UsageError, match="Did you mean cosine"):
        build_head(TrialConfig("none", 1, head="cosin"), (4,), 3)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a distribution with one head, `NAME`, of the code of its `build`."""

    def make(name, body):
        lines = ["from autotl.heads.contract import Head", "def build(features, classes, options):", "    import keras"]
        code = "\n".join([*lines, *(f"    {line}" for line in body.splitlines()), f"THING = Head({name!r}, build)"])
        module = f"{name.replace('-', '_')}_module"
        (tmp_path / f"{module}.py").write_text(code)
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[autotl.heads]\n{name} = {module}:THING\n")
        monkeypatch.syspath_prepend(tmp_path)
        return TrialConfig("none", 1, head=name)

    return make


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("raises", "raise RuntimeError('no memory')", "cannot be built for 4 features, 3 classes and .*no memory"),
        (
            "too-wide",
            "return keras.Sequential([keras.Input((features,)), keras.layers.Dense(classes + 1)])",
            "must give logits",
        ),
    ],
)
def test_a_head_that_fails_is_the_plugins_fault(install, name, body, message):
    with pytest.raises(PluginError, match=message):
        build_head(install(name, body), (4,), 3)
