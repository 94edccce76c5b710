"""A pass of a frozen network: divided at joints, the same to the last bit however it is divided, and close to exact."""

import threading

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from autotl.backbones.registry import list_backbones
from autotl.learn.forward import POOLED, Rows, batch_size, forward_batches, plan_pass, run_pass, viewer
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, cut_network, multiply_adds
from autotl.learn.views import MIRRORED, PLAIN, View

pytestmark = pytest.mark.keras


@pytest.fixture
def network():
    return borrow_network("vgg16", 32, "random", Ledger())


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


def nothing_kept(cut):
    return False


def run(stretches, images, view=PLAIN, kept=None, batch=4, most=None):
    index = np.arange(len(images))
    inputs = {None: Rows(images, index)} if any(one.start is None for one in stretches) else {}
    inputs |= {cut: Rows(store, index) for cut, store in ({} if kept is None else kept).items()}
    batches = list(run_pass(stretches, inputs, viewer(view, images.shape[1]), batch, most))
    return {name: np.concatenate([found[name] for found in batches]) for name in batches[0]}


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("autotl-data")]


def test_a_pass_from_a_kept_joint_runs_the_rest_only_and_gives_the_same_bits(network, images):
    first, second = network.joints[:2]
    whole = plan_pass(network, [second], False, nothing_kept, PLAIN)
    rest = plan_pass(network, [second], False, lambda cut: cut == first, PLAIN)
    assert [(one.start, one.end) for one in rest] == [(first, second)]
    at_first = run(plan_pass(network, [first], False, nothing_kept, PLAIN), images)[first.name]
    straight = run(whole, images)[second.name]
    np.testing.assert_array_equal(run(rest, images, kept={first: at_first})[second.name], straight)
    assert straight.dtype == np.float16


def test_the_first_cut_is_a_side_branch_from_which_nothing_goes_on(network):
    first, last = network.cuts[0], network.cuts[-1]
    assert first not in network.joints
    stretches = plan_pass(network, [first, last], False, lambda cut: cut == first, PLAIN)
    assert {one.start for one in stretches} == {None, *network.joints}
    assert first in {one.end for one in stretches}


def test_the_stretches_of_a_whole_pass_count_each_multiplication_once(network):
    stretches = plan_pass(network, [], True, nothing_kept, PLAIN)
    assert len(stretches) == 1 + len(network.joints)
    assert sum(one.multiply_adds for one in stretches) == multiply_adds(network.model)


def test_pooled_features_and_cuts_of_one_pass_are_those_of_passes_of_their_own(network, images):
    joint = network.joints[-1]
    together = run(plan_pass(network, [joint], True, nothing_kept, PLAIN), images)
    pooled = run(plan_pass(network, [], True, nothing_kept, PLAIN), images)
    alone = run(plan_pass(network, [joint], False, nothing_kept, PLAIN), images)
    np.testing.assert_array_equal(together[POOLED], pooled[POOLED])
    np.testing.assert_array_equal(together[joint.name], alone[joint.name])
    assert POOLED not in alone


def test_the_mirrored_view_is_the_network_on_mirrored_images(network, images):
    joint = network.joints[0]
    stretches = plan_pass(network, [joint], False, nothing_kept, PLAIN)
    mirrored = run(stretches, images, MIRRORED)
    np.testing.assert_array_equal(mirrored[joint.name], run(stretches, images[:, :, ::-1])[joint.name])


def test_a_random_view_is_drawn_anew_the_same_for_every_pass(network, images):
    view = View(strength=1.0, seed=3)
    joint = network.joints[0]
    stretches = plan_pass(network, [joint], False, nothing_kept, view)
    first, again = run(stretches, images, view), run(stretches, images, view)
    np.testing.assert_array_equal(first[joint.name], again[joint.name])
    plain = run(plan_pass(network, [joint], False, nothing_kept, PLAIN), images)
    assert np.abs(first[joint.name].astype(np.float32) - plain[joint.name]).max() > 0.0


@pytest.mark.parametrize("most", [1, 3, 4, 9])
def test_with_little_memory_the_same_views_go_through_in_smaller_parts(network, images, most):
    """At a strength of 1 other draws would change activations by much more than rounding does."""
    view, ends = View(strength=1.0, seed=3), [network.joints[0], network.cuts[-1]]
    stretches = plan_pass(network, ends, True, nothing_kept, view)
    whole, parts = run(stretches, images, view), run(stretches, images, view, most=most)
    assert set(parts) == {*(stretch.end.name for stretch in stretches), POOLED}
    for name, expected in whole.items():
        assert parts[name].shape == expected.shape
        np.testing.assert_allclose(parts[name], expected, rtol=2e-2, atol=1e-3 * np.abs(expected).max())


def test_rows_are_read_in_their_own_order(network, images):
    stretches = plan_pass(network, [network.joints[0]], False, nothing_kept, PLAIN)
    order = np.array([5, 0, 3])
    (found,) = run_pass(stretches, {None: Rows(images, order)}, viewer(PLAIN, 32), 4)
    np.testing.assert_array_equal(found[network.joints[0].name], run(stretches, images[order])[network.joints[0].name])
    assert Rows(images, order).nbytes == 3 * 32 * 32 * 3


def test_an_error_while_reading_ahead_surfaces_and_leaves_no_thread(network, images):
    stretches = plan_pass(network, [network.joints[0]], False, nothing_kept, PLAIN)
    broken = Rows(images, np.array([0, 1, 2, 3, 99]))
    with pytest.raises(IndexError):
        list(run_pass(stretches, {None: broken}, viewer(PLAIN, 32), 2))
    assert reading_threads() == []


def test_a_pass_that_is_given_up_leaves_no_thread(network, images):
    stretches = plan_pass(network, [network.joints[0]], False, nothing_kept, PLAIN)
    batches = run_pass(stretches, {None: Rows(images, np.arange(7))}, viewer(PLAIN, 32), 1)
    next(batches)
    assert len(reading_threads()) == 1
    batches.close()
    assert reading_threads() == []


def test_an_interruption_while_the_network_runs_leaves_no_thread(network, images):
    stretches = plan_pass(network, [network.joints[0]], False, nothing_kept, PLAIN)

    def interrupted(batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_pass(stretches, {None: Rows(images, np.arange(7))}, interrupted, 2))
    assert reading_threads() == []


def test_the_batch_depends_on_the_size_alone_and_bounds_the_pixels():
    sizes = (32, 128, 224, 260, 300, 380, 600, 1024, 4096)
    batches = [batch_size(size) for size in sizes]
    assert batches[:4] == [32, 32, 32, 32]
    assert batches == sorted(batches, reverse=True)
    assert min(batches) == 1
    assert all(size**2 * batch <= 32 * 260**2 or batch == 1 for size, batch in zip(sizes, batches, strict=True))


def test_a_model_sees_batches_of_one_shape_and_the_padding_does_not_show(network, images):
    outputs = list(forward_batches(network.model, images.astype(np.float32), [6, 1, 2], batch=2))
    assert [len(part) for part in outputs] == [2, 1]
    expected = np.asarray(network.model.predict_on_batch(images[[6, 1, 2]].astype(np.float32)))
    np.testing.assert_allclose(np.concatenate(outputs), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.skipif(
    "efficientnet-lite0" not in {listing.name for listing in list_backbones()},
    reason="needs the plugin with real weights",
)
def test_rounding_at_every_joint_keeps_real_photos_within_a_thousandth():
    network = borrow_network("efficientnet-lite0", 128, "pretrained", Ledger())
    photos = load_sample_images().images
    images = np.stack([photo[top : top + 128, left : left + 128] for photo in photos for top, left in
                       ((0, 0), (40, 150), (150, 300), (250, 450))])  # fmt: skip
    exact = np.asarray(network.model.predict_on_batch(images.astype(np.float32)))
    found = run(plan_pass(network, network.cuts, False, nothing_kept, PLAIN), images, batch=8)
    for number, cut in enumerate(network.cuts):
        _, _, tail = cut_network(network, (number + 1) / len(network.cuts))
        stored = found[cut.name].astype(np.float32)
        through = stored if tail is None else np.asarray(tail.predict_on_batch(stored))
        assert np.linalg.norm(through - exact) <= 1e-3 * np.linalg.norm(exact)
