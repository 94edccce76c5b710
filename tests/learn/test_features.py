"""The FeatureStore: computed once, keyed by all that matters, aligned with the rows, and blind to the test split."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.learn.config import TrialConfig
from autotl.learn.features import KIND, cut_features, pooled_features, prepare_features
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, cut_network, multiply_adds, stored_taps
from autotl.learn.pooling import pool, select_pooled
from autotl.learn.probe import fit_probe
from autotl.learn.views import MIRRORED, PLAIN, View

pytestmark = pytest.mark.keras
VGG = ("vgg16", "random", 32)


def forwarded(task):
    return task.ledger.counts.get("images_forwarded", 0)


def reference(images):
    """Average, maximum and generalised mean of every stage of the network, computed plainly."""
    network = borrow_network("vgg16", 32, "random", Ledger())
    parts = []
    for number in range(len(network.cuts)):
        _, prefix, _ = cut_network(network, (number + 1) / len(network.cuts))
        maps = np.asarray(prefix.predict_on_batch(np.asarray(images, np.float32)))
        gem = np.cbrt((np.maximum(maps, 0.0) ** 3).mean(axis=(1, 2)))
        parts += [maps.mean(axis=(1, 2)), maps.max(axis=(1, 2)), gem]
    return np.concatenate(parts, axis=1)


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


@pytest.mark.parametrize(
    ("freeze_depth", "pooling", "taps"),
    [(0.2, "both", "last"), (0.8, "avg", "last"), (1.0, "gem", "last"), (0.2, "both", "all"), (0.8, "gem", "all"),
     (0.6, "max", "last2"), (0.8, "avg", "last2"), (1.0, "both", "all")],
)  # fmt: skip
def test_the_tail_turns_a_cut_store_into_what_the_pooled_store_has(problem, freeze_depth, pooling, taps):
    task = problem.task()
    network = borrow_network("vgg16", 32, "random", Ledger())
    cut, prefix, tail = cut_network(network, freeze_depth, pooling, taps)
    at_cut = cut_features(task.sources, *VGG, freeze_depth, cut.name, PLAIN, pooling, taps)
    assert at_cut.shape == (len(task.labels), *prefix.output_shape[1:])
    through = at_cut.astype(np.float32)
    through = through if tail is None else np.asarray(tail(through, training=False))
    through = np.asarray(pool(through, pooling)) if taps == "last" else through
    stored = pooled_features(task.sources, *VGG, PLAIN)
    expected = select_pooled(stored, stored_taps(network)[1], pooling, taps)
    np.testing.assert_allclose(through, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())


def test_another_pooling_or_other_taps_of_a_frozen_network_need_no_other_pass(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    for pooling in ("avg", "max", "both", "gem"):
        for taps in ("last", "last2", "all"):
            config = TrialConfig("vgg16", 32, weights="random", pooling=pooling, taps=taps, penalty=1e-1)
            fit_probe(task, config, task.train, task.validation, seed=0)
    assert forwarded(task) == len(task.labels)


def test_a_store_that_was_evicted_is_computed_again(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    before = np.array(pooled_features(task.sources, *VGG, PLAIN))
    (store,) = (tmp_path / KIND).iterdir()
    for path in store.iterdir():
        path.unlink()
    store.rmdir()
    np.testing.assert_array_equal(pooled_features(task.sources, *VGG, PLAIN), before)
    assert forwarded(task) == 2 * len(task.labels)


def cut_of(task, number, view=PLAIN):
    """The store of one of the five cuts, counted from the image."""
    name = borrow_network("vgg16", 32, "random", Ledger()).cuts[number].name
    return cut_features(task.sources, *VGG, (number + 1) / 5, name, view)


@pytest.mark.parametrize("view", [PLAIN, MIRRORED, View(strength=0.5, seed=1)])
def test_a_store_is_the_same_whatever_was_in_the_cache_before_it(problem, tmp_path, view):
    cold, warm = (problem.task(Cache(tmp_path / name, 10**9)) for name in ("cold", "warm"))
    for number in range(5):
        cut_of(warm, number, view)
    for number in reversed(range(5)):
        np.testing.assert_array_equal(cut_of(cold, number, view), cut_of(warm, number, view))


def test_a_deeper_cut_reads_the_kept_one_and_runs_what_lies_between(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    network = borrow_network("vgg16", 32, "random", Ledger())
    kept = cut_of(task, 1)
    before = dict(task.ledger.counts)
    cut_of(task, 2)
    counts = {name: value - before.get(name, 0) for name, value in task.ledger.counts.items()}
    images = len(task.labels)
    between = [multiply_adds(cut_network(network, number / 5)[1]) for number in (2, 3)]
    assert counts["multiply_adds_forwarded"] == images * (between[1] - between[0])
    assert counts["bytes_read"] == kept.nbytes
    assert counts[f"forwarded/{network.cuts[2].name}"] == images
    assert counts["images_forwarded"] == images


def test_other_views_and_sizes_are_nothing_to_start_from(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    network = borrow_network("vgg16", 32, "random", Ledger())
    cut_of(task, 1)
    before = task.ledger.counts["multiply_adds_forwarded"]
    cut_of(task, 2, MIRRORED)
    spent = task.ledger.counts["multiply_adds_forwarded"] - before
    assert spent == len(task.labels) * multiply_adds(cut_network(network, 0.6)[1])


def test_a_disk_that_is_full_leaves_no_part_of_a_store_and_room_for_another_try(problem, tmp_path, small_files):
    task = problem.task(Cache(tmp_path, 10**9))
    open_images(problem.manifest, 32, task.sources.cache)
    with small_files(50_000), pytest.raises(OSError, match="File too large") as failure:
        prepare_features(task.sources, *VGG, PLAIN, ["block4_pool"], pooled=True)
    assert failure.value.errno == errno.EFBIG  # as it came from the system: whoever runs the job can tell what it is
    assert list((tmp_path / KIND).iterdir()) == []
    features = pooled_features(task.sources, *VGG, PLAIN)
    np.testing.assert_array_equal(features, pooled_features(problem.task().sources, *VGG, PLAIN))


def test_one_pass_makes_all_stores_that_are_asked_for_at_once(problem, tmp_path):
    together, single = (problem.task(Cache(tmp_path / name, 10**9)) for name in ("together", "single"))
    network = borrow_network("vgg16", 32, "random", Ledger())
    names = [network.cuts[number].name for number in (1, 2, 3)]
    prepare_features(together.sources, *VGG, PLAIN, names, pooled=True)
    assert forwarded(together) == len(together.labels)
    assert together.ledger.counts["multiply_adds_forwarded"] == len(together.labels) * multiply_adds(network.model)
    for number in (3, 1, 2):
        np.testing.assert_array_equal(cut_of(together, number), cut_of(single, number))
    pooled = pooled_features(together.sources, *VGG, PLAIN)
    np.testing.assert_array_equal(pooled, pooled_features(single.sources, *VGG, PLAIN))
    assert forwarded(together) == len(together.labels)


def test_only_what_is_missing_is_computed(problem, tmp_path):
    task = problem.task(Cache(tmp_path, 10**9))
    network = borrow_network("vgg16", 32, "random", Ledger())
    cut_of(task, 1)
    before = task.ledger.counts["multiply_adds_forwarded"]
    prepare_features(task.sources, *VGG, PLAIN, [network.cuts[1].name, network.cuts[2].name], pooled=False)
    between = [multiply_adds(cut_network(network, number / 5)[1]) for number in (2, 3)]
    assert task.ledger.counts["multiply_adds_forwarded"] - before == len(task.labels) * (between[1] - between[0])
    assert f"forwarded/{network.cuts[1].name}" in task.ledger.counts


def test_a_graph_is_traced_once_for_all_views_and_all_deeper_cuts(problem, tmp_path):
    network = borrow_network("vgg16", 32, "random", Ledger())
    network.parts.clear()
    task = problem.task(Cache(tmp_path, 10**9))
    for number in (1, 2, 3):
        cut_of(task, number)
    assert task.ledger.counts["traces"] == 3
    for number in (3, 2, 1):
        cut_of(task, number, MIRRORED)
    assert task.ledger.counts["traces"] == 3
