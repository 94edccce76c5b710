from dataclasses import fields
from itertools import pairwise

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.data.decode import RESIZES
from autotl.errors import PluginError, UsageError
from autotl.heads.contract import Head
from autotl.learn.config import AUGMENTATIONS, POOLINGS, RECIPES, TAPS, TrialConfig
from autotl.space.files import list_spaces, read_space
from autotl.space.options import with_defaults
from autotl.space.parameters import DOMAINS, NAMES
from autotl.space.schema import SearchSpace
from autotl.space.suggest import distributions, narrow, parents_first, suggest

BACKBONES = ["efficientnet-lite0", "vgg16"]
STAGES = [(space.name, stage) for space in list_spaces() for stage in read_space(space.name).stages]

bounds = st.tuples(st.floats(1e-6, 0.5), st.floats(1e-3, 0.4)).map(lambda pair: [pair[0], pair[0] + pair[1]])
counts = st.tuples(st.integers(1, 500), st.integers(1, 500)).map(lambda pair: [pair[0], pair[0] + pair[1]])
conditions = st.sampled_from([{}, {"head": "mlp"}, {"head": ["mlp"]}, {"head": "mlp", "pooling": ["avg", "max"]}])
parents = {"head": {"choice": ["linear", "mlp"]}, "pooling": {"choice": ["avg", "max", "both"], "when": {}}}
children = st.fixed_dictionaries(
    {},
    optional={
        "dropout": st.fixed_dictionaries({"range": bounds, "when": conditions}),
        "penalty": st.fixed_dictionaries({"log": bounds, "when": conditions}),
        "width": st.fixed_dictionaries({"integer": counts, "log": st.booleans(), "when": conditions}),
        "augmentation": st.fixed_dictionaries({"choice": st.just(["none", "flip"]), "when": conditions}),
    },
)


def stage_of(parameters, **more):
    space = {"stage": [{"name": "a", "recipe": "probe", "trials": 1, "parameters": parameters, **more}]}
    return SearchSpace.model_validate(space).stages[0]


def ask(stage, backbones=(), seed=0, heads=None):
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
    return suggest(stage, trial, backbones) if heads is None else suggest(stage, trial, backbones, heads)


def head_of(options, defaults, name="tower"):
    return Head(name, build=lambda features, classes, options: None, options=options, defaults=defaults)


@pytest.fixture(autouse=True, scope="module")
def quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@given(children=children, order=st.randoms(use_true_random=False), seed=st.integers(0, 1000))
def test_suggestions_are_inside_the_bounds_and_obey_the_conditions(children, order, seed):
    written = list({**parents, **children}.items())
    order.shuffle(written)
    stage = stage_of(dict(written))
    values = ask(stage, seed=seed)
    for name, parameter in stage.parameters.items():
        is_active = all(values[parent] in wanted for parent, wanted in parameter.when.items())
        assert (name in values) == is_active
        assert not is_active or values[name] in parameter


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_every_shipped_stage_can_be_sampled_into_what_a_worker_knows(name, stage):
    for seed in range(20):
        values = ask(stage, BACKBONES, seed)
        options = {key for key in values if "." in key}
        assert all(key.startswith(f"{values['head']}.") for key in options)
        assert set(values) - options <= {field.name for field in fields(TrialConfig)}
        assert values.get("backbone", "vgg16") in BACKBONES
        assert all(value in DOMAINS[key] for key, value in values.items() if "." not in key)


def test_the_file_order_of_parents_and_children_does_not_matter():
    width = {"integer": [8, 16], "when": {"head": "mlp"}}
    head = {"choice": ["mlp"], "when": {"pooling": "avg"}}
    pooling = {"choice": ["avg"]}
    one = stage_of({"width": width, "head": head, "pooling": pooling})
    other = stage_of({"pooling": pooling, "head": head, "width": width})
    assert parents_first(one.parameters) == parents_first(other.parameters) == ["pooling", "head", "width"]
    assert set(ask(one)) == {"pooling", "head", "width"}


def test_a_child_of_an_inactive_parent_is_inactive():
    stage = stage_of(
        {
            "width": {"integer": [8, 16], "when": {"head": "mlp"}},
            "head": {"choice": ["mlp"], "when": {"pooling": "max"}},
            "pooling": {"choice": ["avg", "max"]},
        }
    )
    asked = [ask(stage, seed=seed) for seed in range(20)]
    assert {frozenset(values) for values in asked} == {
        frozenset({"pooling"}),
        frozenset({"pooling", "head", "width"}),
    }


def test_the_same_seed_gives_the_same_values():
    stage = read_space("flat").stages[0]
    assert [ask(stage, BACKBONES, 3), ask(stage, BACKBONES, 4)] == [ask(stage, BACKBONES, 3), ask(stage, BACKBONES, 4)]


def test_installed_stands_for_the_names_that_the_caller_resolved():
    stage = stage_of({"backbone": {"choice": ["installed"]}})
    assert {ask(stage, BACKBONES, seed)["backbone"] for seed in range(20)} == set(BACKBONES)


def test_named_backbones_are_the_only_ones_of_their_stage():
    stage = stage_of({"backbone": {"choice": ["vgg16", "resnet50-v2"]}})
    assert {ask(stage, BACKBONES, seed)["backbone"] for seed in range(20)} == {"vgg16"}


def test_enqueued_first_configurations_are_what_comes_first():
    stage = read_space("quick").stages[0]
    study = optuna.create_study()
    study.enqueue_trial(dict(stage.first[0]))
    values = suggest(stage, study.ask(), BACKBONES)
    assert values | stage.first[0] == values


def test_narrowing_leaves_the_given_backbones_and_the_first_configurations_that_use_them():
    first = [{"backbone": "vgg16"}, {"backbone": "a", "pooling": "avg"}, {"pooling": "avg"}]
    parameters = {"backbone": {"choice": ["vgg16", "a"]}, "pooling": {"choice": ["avg"]}}
    raw = {"name": "one", "recipe": "probe", "trials": 1, "parameters": parameters, "first": first}
    later = {"name": "two", "recipe": "finetune", "trials": 1}
    space = SearchSpace.model_validate({"stage": [raw, later]})
    narrowed = narrow(space, ["a", "b"])
    assert narrowed.stages[0].parameters["backbone"].choice == ("a", "b")
    assert narrowed.stages[0].first == (first[1], first[2])
    assert narrowed.stages[1] == space.stages[1]
    assert narrow(space, []) == space
    with pytest.raises(UsageError, match="twice"):
        narrow(space, ["a", "a"])


def test_a_space_that_names_no_backbone_can_be_narrowed():
    space = SearchSpace.model_validate({"stage": [{"name": "one", "recipe": "probe", "trials": 1}]})
    assert narrow(space, ["a"]).stages[0].parameters["backbone"].choice == ("a",)


def test_spaces_cannot_be_changed():
    stage = read_space("quick").stages[0]
    with pytest.raises(ValueError, match="frozen"):
        stage.trials = 3


def test_distributions_are_listed_parents_first():
    listed = distributions(read_space("flat").stages[0])
    names = [item.name for item in listed]
    assert names.index("head") < names.index("width")
    assert next(item for item in listed if item.name == "width").when == "head is mlp"
    assert all(first != second for first, second in pairwise(names))


def test_the_closed_list_of_parameters_is_what_workers_know():
    """`space` may not import `learn`, so both keep their own list; this keeps them equal."""
    assert set(NAMES) == set(DOMAINS) == {field.name for field in fields(TrialConfig)} - {"options"}
    for name, words in (
        ("pooling", POOLINGS),
        ("taps", TAPS),
        ("augmentation", AUGMENTATIONS),
        ("recipe", RECIPES),
        ("resize", RESIZES),
    ):
        assert set(DOMAINS[name].words) == set(words)


TOWER = head_of(
    {
        "units": {"integer": [8, 64], "log": True},
        "gate": {"choice": [True, False]},
        "slope": {"range": [0.0, 1.0], "when": {"gate": True}},
    },
    {"units": 32, "gate": True, "slope": 0.1},
)
HEADS = {"tower": TOWER, "mlp": head_of({"width": {"integer": [1, 9]}}, {"width": 3}, "mlp")}


def test_options_of_a_head_are_asked_for_when_it_is_chosen():
    stage = stage_of({"head": {"choice": ["linear", "mlp", "tower"]}})
    asked = [ask(stage, seed=seed, heads=HEADS) for seed in range(40)]
    assert {frozenset(values) for values in asked if values["head"] != "tower"} == {frozenset({"head"})}
    for values in (values for values in asked if values["head"] == "tower"):
        assert 8 <= values["tower.units"] <= 64
        assert ("tower.slope" in values) == values["tower.gate"]
    assert {values.get("tower.gate") for values in asked} == {None, True, False}


def test_a_space_may_write_the_range_of_an_option_anew():
    written = {"choice": [7], "when": {"pooling": "gem"}}
    stage = stage_of({"tower.units": written, "head": {"choice": ["tower"]}, "pooling": {"choice": ["avg", "gem"]}})
    asked = [ask(stage, seed=seed, heads=HEADS) for seed in range(20)]
    assert {(values["pooling"], values.get("tower.units")) for values in asked} == {("avg", None), ("gem", 7)}
    assert all("tower.gate" in values for values in asked)


def test_an_option_that_is_written_is_asked_for_without_the_record_too():
    stage = stage_of({"tower.units": {"choice": [7]}, "head": {"choice": ["linear", "tower"]}})
    asked = [ask(stage, seed=seed) for seed in range(20)]
    assert {(values["head"], values.get("tower.units")) for values in asked} == {("linear", None), ("tower", 7)}


def test_first_configurations_are_completed_with_the_defaults_of_their_head():
    stage = stage_of({"head": {"choice": ["linear", "tower"]}, "tower.units": {"choice": [7, 8]}})
    completed = with_defaults({"head": "tower", "tower.slope": 0.7}, stage, HEADS)
    assert completed == {"head": "tower", "tower.gate": True, "tower.slope": 0.7}  # 32 units are not in the space
    assert with_defaults({"head": "linear"}, stage, HEADS) == {"head": "linear"}
    assert with_defaults({}, stage, HEADS) == {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.enqueue_trial(completed)
    assert completed.items() <= suggest(stage, study.ask(), (), HEADS).items()


def test_options_are_listed_with_the_head_that_they_belong_to():
    listed = {item.name: item.when for item in distributions(stage_of({"head": {"choice": ["tower"]}}), HEADS)}
    assert listed["tower.slope"] == "head is tower and tower.gate is True"


@pytest.mark.parametrize(
    ("options", "defaults", "message"),
    [
        ({"units": {"integer": [9, 3]}}, {"units": 4}, "units: integer takes .low, high. with low below high"),
        ({"units": {"interger": [1, 3]}}, {"units": 2}, "units: a parameter is"),
        ({"units": {"integer": [1, 3]}}, {}, "units has no default"),
        ({"units": {"integer": [1, 3]}}, {"units": 4}, "the default 4 of units is not in its range: 1 to 3"),
        ({}, {"unit": 4}, "unit has a default and is no option"),
        ({"a": {"choice": [1], "when": {"b": 2}}}, {"a": 1}, "a depends on b, which is no option"),
    ],
)
def test_what_a_head_declares_wrongly_is_the_heads_fault(options, defaults, message):
    stage = stage_of({"head": {"choice": ["tower"]}})
    with pytest.raises(PluginError, match=rf"the head tower are not: {message}.*Tell its author"):
        ask(stage, heads={"tower": head_of(options, defaults)})
