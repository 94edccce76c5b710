"""A trial's settings are checked before anything is computed."""

import json

import pytest

from autotl.errors import TrialError
from autotl.learn.config import TrialConfig, read_config

MINIMAL = {"backbone": "vgg16", "image_size": 32}


def test_what_is_left_out_has_a_default():
    assert read_config(MINIMAL) == TrialConfig("vgg16", 32)


def test_a_configuration_survives_json():
    config = read_config({**MINIMAL, "recipe": "finetune", "freeze_depth": 0.6, "head": "mlp", "width": 64})
    assert read_config(json.loads(json.dumps(config.to_json()))) == config


def test_the_order_of_options_makes_no_other_configuration():
    values = {"steep": True, "scale": 3.0, "kind": "a"}
    config = read_config({**MINIMAL, "head": "cosine", "options": values})
    assert config.options == (("kind", "a"), ("scale", 3.0), ("steep", True))
    assert config.to_json()["options"] == values
    other = read_config(json.loads(json.dumps(config.to_json())))
    assert (other, hash(other)) == (config, hash(config))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": "red", "phase": 1}, "this one sets colour, phase"),
        ({"recipe": "sketch"}, "recipe must be one of probe, finetune, scratch, not 'sketch'"),
        ({"pooling": "mean"}, "pooling must be one of"),
        ({"head": 3}, "head is the name of a registered head"),
        ({"taps": "first"}, "taps must be one of last, last2, all"),
        ({"pooling": "attention", "taps": "all"}, "Attention pools the last feature map alone"),
        ({"options": ["scale"]}, "options map names"),
        ({"options": {"scale": [1.0]}}, "options map names"),
        ({"augmentation": "mixup"}, "augmentation must be one of"),
        ({"freeze_depth": 1.5}, "freeze_depth"),
        ({"freeze_depth": -0.1}, "freeze_depth"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_what_no_recipe_knows_is_refused(values, message):
    with pytest.raises(TrialError, match=message):
        read_config({**MINIMAL, **values})


@pytest.mark.parametrize(
    ("values", "is_convex"),
    [({}, True), ({"head": "mlp"}, False), ({"recipe": "finetune"}, False), ({"pooling": "attention"}, False)],
)
def test_only_a_linear_head_on_frozen_features_is_solved(values, is_convex):
    assert read_config({**MINIMAL, **values}).is_convex == is_convex
