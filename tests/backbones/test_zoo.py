"""Every network of keras.applications: its stages are sensible, and splitting changes nothing. Random weights.

The graphs of all of them are built without any numbers in them (a StatelessScope that initialises no variables), which
takes half a second each. What is computed needs real weights, so there the biggest networks are represented by the
smaller ones of their family.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from autotl.backbones.applications import ALL
from autotl.backbones.cuts import Cut, find_cuts, split_model, stage_cuts

pytestmark = [pytest.mark.keras]

COMPUTED = 30_000_000
"""Parameters of the largest networks that are computed with."""
QUICK = 10_000_000


def up_to(parameters: float) -> list[Any]:
    """The networks up to a size, the bigger of them marked as slow."""
    small = [name for name, backbone in ALL.items() if backbone.parameters <= parameters]
    return [pytest.param(name, marks=pytest.mark.slow if ALL[name].parameters > QUICK else ()) for name in small]


OFFERED = {  # the stages of one network of each kind, at the image size that it was trained with: name and shape
    "vgg16": "block1_pool block2_pool block3_pool block4_pool block5_pool",
    "resnet50": "pool1_pool conv2_block3_out conv3_block4_out conv4_block6_out conv5_block3_out",
    "resnet50-v2": "pool1_pool conv2_block2_out conv3_block3_out conv4_block5_out post_relu",
    "inception-v3": "max_pooling2d max_pooling2d_1 mixed2 mixed7 mixed10",
    "inception-resnet-v2": "max_pooling2d max_pooling2d_1 block35_10_ac block17_20_ac conv_7b_ac",
    "xception": "block1_conv1_act add add_1 add_10 block14_sepconv2_act",
    "mobilenet": "conv_dw_1_relu conv_pw_3_relu conv_pw_5_relu conv_pw_11_relu conv_pw_13_relu",
    "mobilenet-v2": "expanded_conv_project_BN block_2_add block_5_add block_12_add out_relu",
    "mobilenet-v3-small": "activation expanded_conv_project_bn expanded_conv_2_add expanded_conv_7_add activation_17",
    "densenet121": "pool1 pool2_pool pool3_pool pool4_pool relu",
    "nasnet-mobile": "adjust_bn_stem_2 normal_add_1_0 normal_add_1_5 normal_add_1_9 activation_187",
    "nasnet-large": "adjust_bn_stem_2 normal_add_1_0 normal_add_1_7 normal_add_1_13 activation_259",
    "efficientnet-b0": "block1a_project_bn block2b_add block3b_add block5c_add top_activation",
    "efficientnet-v2-b0": "block1a_project_activation block2b_add block3b_add block5e_add top_activation",
    "convnext-tiny": " ".join(
        [*(f"convnext_tiny_downsampling_layernorm_{n}" for n in range(3)), "layer_normalization"]
    ),
}


@pytest.fixture(autouse=True)
def _one_network_at_a_time() -> Iterator[None]:
    import keras

    yield
    keras.utils.clear_session()


def graph_of(name: str, image_size: int) -> Any:
    """The network without numbers."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        return ALL[name].build(image_size, "random")


@pytest.mark.parametrize("name", up_to(math.inf))
def test_each_network_has_a_few_stages_that_freeze_ever_more(name: str) -> None:
    model = graph_of(name, ALL[name].min_image_size)
    stages = stage_cuts(model)
    assert 4 <= len(stages) <= 12
    assert stages[-1].shape == model.output_shape[1:]
    assert stages[-1].frozen_fraction == 1.0
    assert all(one.index < other.index for one, other in pairwise(stages))
    assert any(0.1 < cut.frozen_fraction < 0.8 for cut in stages)
    assert {cut.tensors == 1 for cut in stages[:-1]} == {not name.startswith("nasnet")}
    assert {cut for cut in stages if cut.tensors == 1} <= set(find_cuts(model))
    split = stages if ALL[name].parameters <= COMPUTED else stages[2:]
    trained = [trainable(model), *(left_to_train(model, cut) for cut in split)]
    assert all(one > other for one, other in pairwise(trained))
    assert trained[-1] == 0


def left_to_train(model: Any, cut: Cut) -> int:
    prefix, tail = split_model(model, cut)
    parts = [{id(variable) for variable in part.variables} for part in (prefix, tail) if part is not None]
    assert set.union(*parts) == {id(variable) for variable in model.variables}
    assert len(set.union(*parts)) == sum(map(len, parts))
    return 0 if tail is None else trainable(tail)


def trainable(model: Any) -> int:
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.parametrize("name", OFFERED)
def test_the_stages_are_the_same_at_every_image_size(name: str) -> None:
    for image_size in (ALL[name].min_image_size, ALL[name].image_size):
        assert " ".join(cut.name for cut in stage_cuts(graph_of(name, image_size))) == OFFERED[name]


def test_a_store_at_a_cut_of_several_tensors_is_smaller_than_the_image() -> None:
    deep = stage_cuts(graph_of("nasnet-mobile", 224))[2:-1]
    assert all(cut.tensors > 1 and np.prod(cut.shape) < 224 * 224 * 3 for cut in deep)


@pytest.mark.parametrize("name", up_to(COMPUTED))
def test_prefix_and_tail_compute_what_the_network_computes(name: str) -> None:
    backbone = ALL[name]
    model = backbone.build(backbone.min_image_size, "random")
    images = np.random.default_rng(0).uniform(0, 255, (1, *model.input_shape[1:])).astype("float32")
    whole = np.asarray(model(images, training=False))
    tolerance = 1e-5 * float(np.abs(whole).max())
    stages = stage_cuts(model)
    for cut in stages[1:-1:2] or stages[:1]:
        prefix, tail = split_model(model, cut)
        features = prefix(images, training=False)
        assert features.shape == (1, *cut.shape)
        np.testing.assert_allclose(tail(features, training=False), whole, rtol=0, atol=tolerance, err_msg=cut.name)
