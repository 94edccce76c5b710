"""What a comparison holds equal: one size that suits all, weights as they were asked for, refusals in words."""

from dataclasses import replace

import pytest

from autotl.backbones.registry import load_backbone
from autotl.errors import UsageError
from autotl.studies.compare_plan import (
    FREEZE_DEPTHS,
    Request,
    check_request,
    choose_sizes,
    config_of,
    find_networks,
    levels_of,
    tail_share,
    to_json,
)

CLASSICS = ("vgg16", "resnet50", "inception-v3", "xception", "mobilenet")


def asked(*backbones, **options):
    return Request("photos", backbones=backbones, **options)


def sizes_of(*names, size=None):
    return choose_sizes([load_backbone(name) for name in names], size)


def test_one_size_suits_all():
    assert sizes_of(*CLASSICS) == [224] * 5
    assert sizes_of("inception-v3", "xception") == [224, 224]
    assert sizes_of("efficientnet-lite0", "efficientnet-lite2") == [224, 224]
    assert sizes_of(*CLASSICS, size=96) == [96] * 5


def test_a_size_that_one_cannot_take_is_refused():
    with pytest.raises(UsageError, match=r"inception-v3 takes images of at least 75 pixels, 64 was asked for"):
        sizes_of("vgg16", "inception-v3", size=64)


def test_where_no_size_suits_all_each_has_its_nearest():
    fixed = replace(load_backbone("vgg16"), name="fixed", image_size=200, resizable=False)
    other = replace(fixed, name="other", image_size=190)
    assert choose_sizes([fixed, other, load_backbone("vgg16")], None) == [200, 190, 190]


def test_every_network_says_what_it_was_pretrained_on():
    networks = find_networks(asked("efficientnet-lite0", "efficientnet-lite0:random", "vgg16:random"))
    assert [(one.record.name, one.weights, one.pretrained_on) for one in networks] == [
        ("efficientnet-lite0", "pretrained", "ImageNet-1k"),
        ("efficientnet-lite0", "random", None),
        ("vgg16", "random", None),
    ]


def test_random_weights_may_be_asked_for_all_and_each_network_counts_once():
    networks = find_networks(asked("vgg16", "vgg16:random", "mobilenet", weights="random"))
    assert [(one.record.name, one.weights) for one in networks] == [("vgg16", "random"), ("mobilenet", "random")]


def test_missing_weights_are_refused_with_the_command_that_fetches_them(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"autotl backbones fetch vgg16; .* --backbone vgg16:random"):
        find_networks(asked("efficientnet-lite0", "vgg16"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbones": ()}, "at least one network"),
        ({"levels": ("frozen", "half")}, "frozen, partly, full, not half"),
        ({"levels": ()}, "frozen, partly, full"),
        ({"weights": "imagenet"}, "pretrained or random"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"rates": ()}, "--rates"),
        ({"rates": (1e-3, float("nan"))}, "between 0 and 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        check_request(replace(asked("vgg16"), **changes))


def test_rows_differ_in_what_is_trained_alone():
    request = asked("efficientnet-lite0")
    (network,) = find_networks(request)
    configs = [config_of(network, level, request, 1e-3) for level in levels_of(network, request)]
    assert [config.pop("freeze_depth") for config in configs] == [1.0, 0.5, 0.0]
    assert [config.pop("recipe") for config in configs] == ["probe", "finetune", "finetune"]
    assert configs[0] == configs[1] == configs[2]


def test_random_weights_are_frozen_or_trained_from_scratch():
    request = asked("efficientnet-lite0:random")
    (network,) = find_networks(request)
    levels = levels_of(network, request)
    recipes = [config_of(network, level, request, 1e-3)["recipe"] for level in levels]
    assert list(zip(levels, recipes, strict=True)) == [("frozen", "probe"), ("full", "scratch")]
    with pytest.raises(UsageError, match="frozen,full"):
        find_networks(replace(request, levels=("partly",)))


def test_the_request_that_is_kept_names_sizes_and_weights():
    request = asked("vgg16:random", levels=("full", "frozen"), rates=(1e-3, 1e-4, 1e-3), image_size=32)
    kept = to_json(request, find_networks(request))
    assert kept["networks"] == [{"backbone": "vgg16", "weights": "random", "image_size": 32}]
    assert (kept["levels"], kept["rates"]) == (["frozen", "full"], [1e-4, 1e-3])


def test_the_share_that_is_trained_is_what_lies_behind_the_cut():
    timing = {"tail_shares": [0.9, 0.6, 0.3, 0.0]}
    assert [tail_share(timing, level) for level in FREEZE_DEPTHS] == [0.0, 0.6, 1.0]
