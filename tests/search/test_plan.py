"""From a space to concrete trials, over the backbones that are really registered."""

from dataclasses import replace

import pytest

from autotl.backbones.registry import list_backbones
from autotl.errors import UsageError
from autotl.search.plan import (
    allowed_backbones,
    concrete_config,
    concrete_size,
    image_sizes,
    portfolio,
    resolve_backbones,
    space_backbones,
    stage_choices,
    suit_data,
)

TWO_STAGES = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 4
[stage.parameters]
backbone = { choice = ["efficientnet-lite0", "vgg16"] }
image_size = { choice = ["native", "smaller", 96] }
penalty = { log = [1e-5, 1e-3] }

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 4
epochs = 3
[stage.parameters]
freeze_depth = { choice = [0.6, 0.8] }
"""
ANY = """
[[stage]]
name = "flat"
recipe = "any"
trials = 4
epochs = 5
[stage.parameters]
recipe = { choice = ["probe", "finetune"] }
freeze_depth = { choice = [0.6, 0.8] }
epochs = { choice = [7, 9] }
"""

RESTRICTED = """
from autotl.backbones.contract import Backbone, Weights

def broken():
    raise OSError("the disk is gone")

def record(name, licence, restriction, available=lambda: True):
    return Backbone(
        name=name, build=lambda image_size, weights: None, image_size=64, min_image_size=32, parameters=1,
        weights=Weights("PyPI", None, licence, "nothing", restriction), imagenet_top1=None, reference="",
        available=available,
    )

FREE = record("free-net", "MIT", None)
BOUND = record("bound-net", "Meta-X", "No military use.")
AWAY = record("away-net", "Meta-X", "No military use.", lambda: False)
SICK = record("sick-net", "MIT", None, broken)
"""


@pytest.fixture
def bound_nets(tmp_path, monkeypatch):
    """An installed plugin with networks whose licence restricts their use."""
    metadata = tmp_path / "bound_nets-1.2.dist-info"
    metadata.mkdir()
    (tmp_path / f"bound_nets_{tmp_path.name}.py").write_text(RESTRICTED)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bound-nets\nVersion: 1.2\n")
    names = [f"{name}-net = bound_nets_{tmp_path.name}:{name.upper()}" for name in ("free", "bound", "away", "sick")]
    (metadata / "entry_points.txt").write_text("\n".join(["[autotl.backbones]", *names, ""]))
    monkeypatch.syspath_prepend(tmp_path)


def test_a_restricting_licence_must_be_accepted_by_name(bound_nets):
    with pytest.raises(UsageError, match=r"bound-net.*Meta-X: No military use\..*--accept-licence Meta-X"):
        resolve_backbones(["free-net", "bound-net"])
    with pytest.raises(UsageError, match="--accept-licence Meta-X"):
        resolve_backbones(["bound-net"], ["MIT", "Meta-Y"])
    assert list(resolve_backbones(["bound-net", "free-net"], ["Meta-X"])) == ["bound-net", "free-net"]


def test_of_the_installed_ones_those_whose_licence_was_not_accepted_are_left_out_with_a_word(bound_nets):
    told = []
    found = resolve_backbones(["installed"], (), told.append)
    assert "free-net" in found and "bound-net" not in found
    assert told == ["bound-net is left out: its licence Meta-X needs --accept-licence Meta-X"]
    assert "bound-net" in resolve_backbones(["installed"], ["Meta-X"], told.append)
    assert len(told) == 1


def test_a_plugin_that_fails_while_it_looks_for_its_weights_breaks_nothing(bound_nets):
    found = resolve_backbones(["installed"])
    assert "sick-net" not in found and "efficientnet-lite0" in found
    assert "sick-net" in resolve_backbones(["sick-net"])


@pytest.fixture(scope="module")
def backbones():
    return resolve_backbones(["vgg16", "efficientnet-lite0"])


def test_named_backbones_are_loaded_whether_their_weights_are_here_or_not(backbones):
    assert list(backbones) == ["efficientnet-lite0", "vgg16"]
    assert all(name == record.name for name, record in backbones.items())


def test_installed_stands_for_those_whose_weights_are_on_this_machine():
    found = resolve_backbones(["installed"])
    assert {"efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"} <= set(found)
    assert all(record.available() for record in found.values())
    assert set(found) <= {listing.name for listing in list_backbones()}


def test_the_order_of_the_names_does_not_matter():
    one = resolve_backbones(["installed", "vgg16"])
    assert list(one) == list(resolve_backbones(["vgg16", "installed"])) == sorted(one)


def test_an_unknown_backbone_is_refused_with_the_one_that_was_meant():
    with pytest.raises(UsageError, match="efficientnet-lite0"):
        resolve_backbones(["efficentnet-lite0"])


def test_no_backbone_at_all_is_refused_with_what_to_install():
    with pytest.raises(UsageError, match="pip install"):
        resolve_backbones([])


def test_the_backbones_of_a_space_are_those_of_all_its_stages(make_space):
    assert space_backbones(make_space(TWO_STAGES)) == ["efficientnet-lite0", "vgg16"]
    assert space_backbones(make_space(ANY)) == ["installed"]


def test_only_a_choice_has_choices(make_space):
    stage = make_space(TWO_STAGES).stages[0]
    assert stage_choices(stage, "image_size") == ["native", "smaller", 96]
    assert stage_choices(stage, "penalty") == stage_choices(stage, "pooling") == []


@pytest.mark.parametrize(
    ("choice", "pixels"), [("native", 224), ("smaller", 160), ("larger", 256), (96, 96), (4096, 4096)]
)
def test_image_sizes_are_relative_to_the_backbones_own_or_pixels(backbones, choice, pixels):
    assert concrete_size(choice, backbones["efficientnet-lite0"]) == pixels


@pytest.mark.parametrize("choice", [8, "smaller"])
def test_no_image_is_smaller_than_the_backbone_can_take(backbones, choice):
    record = backbones["vgg16"]
    size = concrete_size(choice, record)
    assert size >= record.min_image_size
    assert record.resolve_size(size) == size


def test_images_are_decoded_for_every_size_that_a_stage_may_ask_for(make_space, backbones):
    probe, finetune = make_space(TWO_STAGES).stages
    assert image_sizes(probe, backbones) == [96, 160, 224]
    assert image_sizes(finetune, backbones) == [224]


def test_what_is_known_to_be_good_is_tried_once_for_every_backbone_that_competes(make_space):
    written = """
[[stage]]
name = "screen"
recipe = "probe"
trials = 1
[stage.parameters]
backbone = { choice = ["installed"] }
pooling = { choice = ["avg", "max"] }
[[stage.first]]
pooling = "avg"
[[stage.first]]
backbone = "vgg16"
pooling = "max"

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 1
[stage.parameters]
freeze_depth = { choice = [0.6, 0.8] }
[[stage.first]]
freeze_depth = 0.8
"""
    screen, finetune = make_space(written).stages
    assert portfolio(screen, ["a", "b"]) == [
        {"backbone": "a", "pooling": "avg"},
        {"backbone": "b", "pooling": "avg"},
        {"backbone": "vgg16", "pooling": "max"},
    ]
    assert portfolio(finetune, ["a", "b"]) == [{"freeze_depth": 0.8}]


def test_a_probe_freezes_everything_and_takes_what_was_suggested(make_space, backbones):
    stage = make_space(TWO_STAGES).stages[0]
    config = concrete_config(stage, {"backbone": "vgg16", "image_size": "native", "penalty": 1e-4}, backbones, {})
    assert config == {
        "backbone": "vgg16", "image_size": 224, "penalty": 1e-4, "recipe": "probe", "freeze_depth": 1.0
    }  # fmt: skip


def test_what_a_stage_does_not_search_comes_from_the_best_trial_before_it(make_space, backbones):
    stage = make_space(TWO_STAGES).stages[1]
    inherited = {"backbone": "vgg16", "image_size": 96, "pooling": "both", "penalty": 2e-4}
    config = concrete_config(stage, {"freeze_depth": 0.6}, backbones, inherited)
    assert config == {**inherited, "freeze_depth": 0.6, "recipe": "finetune", "epochs": 3}


def test_a_stage_overrules_what_it_inherits(make_space, backbones):
    stage = make_space(TWO_STAGES).stages[1]
    config = concrete_config(stage, {"freeze_depth": 0.6, "pooling": "max"}, backbones, {"pooling": "both"})
    assert config["pooling"] == "max"


def test_the_epochs_of_a_stage_are_its_own_not_those_of_the_best_probe(make_space, backbones):
    stage = make_space(TWO_STAGES).stages[1]
    config = concrete_config(stage, {"freeze_depth": 0.6}, backbones, {"head": "mlp", "epochs": 30})
    assert config["epochs"] == 3


def test_searched_epochs_overrule_those_of_the_stage(make_space, backbones):
    stage = make_space(ANY).stages[0]
    assert concrete_config(stage, {"recipe": "finetune", "epochs": 7}, backbones, {})["epochs"] == 7


def test_a_recipe_that_is_searched_decides_about_freezing(make_space, backbones):
    stage = make_space(ANY).stages[0]
    probe = concrete_config(stage, {"recipe": "probe", "freeze_depth": 0.6}, backbones, {})
    finetune = concrete_config(stage, {"recipe": "finetune", "freeze_depth": 0.6}, backbones, {})
    assert (probe["freeze_depth"], finetune["freeze_depth"]) == (1.0, 0.6)


def test_without_a_choice_of_backbone_the_first_one_is_taken(make_space, backbones):
    config = concrete_config(make_space(ANY).stages[0], {"recipe": "probe"}, backbones, {})
    assert (config["backbone"], config["image_size"]) == ("efficientnet-lite0", 224)


def test_a_stage_that_names_backbones_gets_no_other(make_space, backbones):
    stage = make_space(TWO_STAGES.replace('"efficientnet-lite0", ', "")).stages[0]
    assert allowed_backbones(stage, ["efficientnet-lite0", "vgg16"]) == ["vgg16"]


def test_balance_is_searched_only_where_classes_are_uneven(make_space, manifest):
    space = make_space("""
[[stage]]
name = "finetune"
recipe = "finetune"
trials = 1
[stage.parameters]
balance = { choice = ["none", "weights"] }
epochs = { choice = [2, 4] }
[[stage.first]]
balance = "none"
epochs = 2
""")
    (even,) = suit_data(space, manifest).stages
    assert set(even.parameters) == {"epochs"}
    assert even.first == ({"epochs": 2},)
    few = tuple(sample for row, sample in enumerate(manifest.samples) if sample.label or row % 2)
    assert suit_data(space, replace(manifest, samples=few)) == space
