"""The FeatureStore: computed once, keyed by all that matters, aligned with the rows, and blind to the test split."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.learn.features import KIND, cut_features, pool, pooled_features, select_pooling
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, cut_network
from autotl.learn.views import MIRRORED, PLAIN, View

pytestmark = pytest.mark.keras
VGG = ("vgg16", "random", 32)


def forwarded(task):
    return task.ledger.counts.get("images_forwarded", 0)


def reference(images, freeze_depth=1.0):
    """What the network says of images, computed plainly."""
    import keras

    network = borrow_network("vgg16", 32, "random", Ledger())
    _, prefix, _ = cut_network(network, freeze_depth)
    image = keras.Input((32, 32, 3))
    output = prefix(image, training=False)
    model = keras.Model(image, pool(output, "both") if freeze_depth == 1.0 else output)
    return np.asarray(model.predict_on_batch(np.asarray(images, np.float32)))


def test_a_second_call_computes_nothing_and_gives_the_same(problem):
    first, second = problem.task(), problem.task()
    features = pooled_features(first.sources, *VGG, PLAIN)
    again = pooled_features(second.sources, *VGG, PLAIN)
    np.testing.assert_array_equal(features, again)
    assert forwarded(second) == 0
    assert set(second.ledger.seconds) == set()
    assert second.ledger.counts["bytes_opened"] == features.nbytes


def test_whatever_changes_the_features_is_another_store(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    calls = [
        lambda: pooled_features(task.sources, *VGG, PLAIN),
        lambda: pooled_features(task.sources, *VGG, MIRRORED),
        lambda: pooled_features(task.sources, *VGG, View(strength=0.5, seed=1)),
        lambda: pooled_features(task.sources, *VGG, View(strength=0.5, seed=2)),
        lambda: pooled_features(task.sources, "vgg16", "random", 40, PLAIN),
        lambda: cut_features(task.sources, *VGG, 0.2, "block1_pool", PLAIN),
    ]
    for number, call in enumerate(calls, start=1):
        call()
        assert forwarded(task) == number * len(task.labels)
    for call in calls:
        call()
    assert forwarded(task) == len(calls) * len(task.labels)
    assert len(list((tmp_path / KIND).iterdir())) == len(calls)


def test_other_weights_are_another_store(problem, tmp_path):
    network = borrow_network("vgg16", 32, "random", Ledger())
    path = str(tmp_path / "other.weights.h5")
    variables = network.model.trainable_variables
    variables[-1].assign(variables[-1] + 1.0)
    network.model.save_weights(path)
    network.restore()
    plain = pooled_features(problem.task().sources, *VGG, PLAIN)
    other = pooled_features(problem.task(Cache(tmp_path / "cache", 10**9)).sources, "vgg16", path, 32, PLAIN)
    assert np.abs(plain.astype(np.float32) - other.astype(np.float32)).max() > 0.1


def test_rows_are_training_and_validation_images_in_the_order_of_the_manifest(problem):
    task, manifest = problem.task(), problem.manifest
    rows = manifest.rows("train", "val")
    assert len(manifest.rows("test")) > 0
    assert not np.array_equal(rows, np.arange(len(rows)))  # test images lie in between
    features = pooled_features(task.sources, *VGG, PLAIN)
    images = open_images(manifest, 32, problem.cache)
    expected = reference(images[rows])
    assert features.shape == expected.shape
    assert features.dtype == np.float16
    np.testing.assert_allclose(features.astype(np.float32), expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_test_images_have_no_influence_on_any_store(problem):
    pooled_features(problem.task().sources, *VGG, PLAIN)
    manifest, task = problem.manifest, problem.task()
    others = tuple(
        replace(sample, sha256="0" * 64) if sample.split == "test" else sample for sample in manifest.samples
    )
    sources = replace(task.sources, manifest=Manifest(manifest.root, manifest.classes, others))
    pooled_features(sources, *VGG, PLAIN)
    assert forwarded(task) == 0


def test_the_mirrored_view_is_the_network_on_mirrored_images(problem):
    task = problem.task()
    features = pooled_features(task.sources, *VGG, MIRRORED).astype(np.float32)
    images = open_images(problem.manifest, 32, problem.cache)[list(task.sources.rows)]
    expected = reference(images[:, :, ::-1])
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_a_seeded_view_is_the_same_in_every_cache(problem, tmp_path):
    view = View(strength=0.5, seed=1)
    one, two = (
        pooled_features(problem.task(Cache(tmp_path / name, 10**9)).sources, *VGG, view) for name in ("one", "two")
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("freeze_depth", [0.2, 0.8])
def test_the_tail_turns_a_cut_store_into_the_pooled_store(problem, freeze_depth):
    task = problem.task()
    network = borrow_network("vgg16", 32, "random", Ledger())
    cut, _, tail = cut_network(network, freeze_depth)
    at_cut = cut_features(task.sources, *VGG, freeze_depth, cut.name, PLAIN)
    assert at_cut.shape == (len(task.labels), *cut.shape)
    through = np.asarray(pool(tail(at_cut.astype(np.float32), training=False), "both"))
    pooled = pooled_features(task.sources, *VGG, PLAIN).astype(np.float32)
    np.testing.assert_allclose(through, pooled, rtol=5e-3, atol=5e-3 * np.abs(pooled).max())


def test_a_store_that_was_evicted_is_computed_again(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    before = np.array(pooled_features(task.sources, *VGG, PLAIN))
    (store,) = (tmp_path / KIND).iterdir()
    for path in store.iterdir():
        path.unlink()
    store.rmdir()
    np.testing.assert_array_equal(pooled_features(task.sources, *VGG, PLAIN), before)
    assert forwarded(task) == 2 * len(task.labels)


def test_a_head_sees_the_average_the_maximum_or_both():
    pooled = np.arange(12, dtype=np.float16).reshape(2, 6)
    assert select_pooling(pooled, "avg").tolist() == [[0, 1, 2], [6, 7, 8]]
    assert select_pooling(pooled, "max").tolist() == [[3, 4, 5], [9, 10, 11]]
    assert select_pooling(pooled, "both").tolist() == pooled.tolist()
    assert select_pooling(pooled, "avg").dtype == np.float32


@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (4, 9, 5)])
def test_feature_maps_and_tokens_are_pooled_over_their_positions(shape):
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    positions = features.reshape(4, 9, 5)
    expected = {"avg": positions.mean(axis=1), "max": positions.max(axis=1)}
    expected["both"] = np.concatenate([expected["avg"], expected["max"]], axis=1)
    for pooling, values in expected.items():
        np.testing.assert_allclose(np.asarray(pool(features, pooling)), values, atol=1e-6)
