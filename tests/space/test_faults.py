import tomllib

import pytest

from autotl.errors import UsageError
from autotl.space.faults import find_faults
from autotl.space.files import read_space

STAGE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3
"""


def faults_of(text):
    return {fault.path: fault.message for fault in find_faults(tomllib.loads(text))}


def parameter(text):
    return faults_of(f"{STAGE}[stage.parameters]\n{text}")


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("drpout = { range = [0, 1] }", "drpout", "Did you mean dropout"),
        ("dropout = { range = [0.5, 0.1] }", "dropout", "low below high"),
        ("dropout = { range = [0.5] }", "dropout.range.1", "required"),
        ("dropout = { range = [0.0, inf] }", "dropout.range.1", "finite"),
        ("dropout = { range = [0.0, 2.0] }", "dropout", "a number from 0 to 0.95, not 2.0"),
        ("dropout = 0.3", "dropout", "{ choice = [...] }"),
        ("dropout = { chioce = [0.3] }", "dropout", "Did you mean choice"),
        ("dropout = { choice = [0.3], wen = 1 }", "dropout.wen", "Did you mean when"),
        ("penalty = { log = [0, 1] }", "penalty", "above zero"),
        ("width = { integer = [64, 512.0] }", "width.integer.1", "whole number"),
        ("width = { range = [64, 512] }", "width", "whole number"),
        ("width = { integer = [0, 8], log = true }", "width", "from 1 up"),
        ("head = { choice = [] }", "head.choice", "at least one"),
        ('head = { choice = ["mlp", "mlp"] }', "head", "twice"),
        ("head = { choice = [true] }", "head", "a name, not True"),
        ("head = { choice = [[1]] }", "head.choice.0", "a text, a number or a truth value"),
        ('pooling = { choice = ["gme"] }', "pooling", "Did you mean gem"),
        ('taps = { choice = ["lats"] }', "taps", "Did you mean last"),
        ('image_size = { choice = ["nativ"] }', "image_size", "Did you mean native"),
        ("freeze_depth = { choice = [2] }", "freeze_depth", "from 0 to 1"),
        ('recipe = { choice = ["probe"] }', "recipe", 'recipe = "any"'),
        ('width = { choice = [8], when = { haed = "mlp" } }', "width.when.haed", "is no other parameter"),
        ("width = { choice = [8], when = { width = 8 } }", "width.when.width", "is no other parameter"),
    ],
)
def test_a_fault_of_a_parameter_names_its_place_and_the_rule(text, path, message):
    faults = parameter(text)
    assert list(faults) == [f"stage[probe].parameters.{path}"]
    assert message in faults[f"stage[probe].parameters.{path}"]


def test_a_condition_must_be_possible():
    faults = parameter('head = { choice = ["linear"] }\nwidth = { choice = [8], when = { head = ["mlp", "linear"] } }')
    assert faults == {"stage[probe].parameters.width.when.head": "head is never 'mlp'; it is linear"}


def test_a_condition_looks_at_a_choice():
    faults = parameter("dropout = { range = [0, 0.5] }\nwidth = { choice = [8], when = { dropout = 0.1 } }")
    assert "choice" in faults["stage[probe].parameters.width.when.dropout"]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('"mlp.scale" = { choice = [1] }', "mlp.scale", "an option of no head of this stage"),
        ('head = { choice = ["cosine"] }\n"cosin.scale" = { choice = [1] }', "cosin.scale", "Did you mean cosine"),
        ('head = { choice = ["mlp"] }\n"mlp.width" = { choice = [8] }', "mlp.width", "without its head: width"),
        ('head = { choice = ["cosine"] }\n"cosine.scale" = { log = [0, 1] }', "cosine.scale", "above zero"),
    ],
)
def test_an_option_belongs_to_a_head_that_the_stage_chooses_from(text, path, message):
    faults = parameter(text)
    assert list(faults) == [f"stage[probe].parameters.{path}"]
    assert message in faults[f"stage[probe].parameters.{path}"]


def test_options_of_heads_are_no_fault_whatever_dots_are_in_their_names():
    heads = ["cosine", "my_heads.deep:Tower"]
    text = f'head = {{ choice = {heads} }}\n"cosine.scale" = {{ choice = [1] }}\n'
    text += '"my_heads.deep:Tower.units" = { integer = [8, 64], when = { head = "my_heads.deep:Tower" } }\n'
    assert parameter(text) == {}


def test_attention_goes_with_the_last_tap_alone():
    text = 'pooling = { choice = ["gem", "attention"] }\ntaps = { choice = ["last", "all"]'
    assert "when = { pooling = ['gem'] }" in parameter(text + " }")["stage[probe].parameters.taps"]
    assert parameter(text + ', when = { pooling = "gem" } }') == {}


def test_first_configurations_may_set_what_a_head_declares():
    text = 'head = { choice = ["cosine", "linear"] }\n[[stage.first]]\nhead = "cosine"\n"cosine.scale" = 12.0'
    assert parameter(text) == {}
    assert "is no parameter of this stage" in str(parameter(text.replace('"cosine.scale"', '"mlp.scale"')))


def test_conditions_in_a_circle_are_a_fault():
    faults = parameter(
        "width = { choice = [8], when = { depth = 1 } }\n"
        'depth = { choice = [1], when = { head = "mlp" } }\n'
        'head = { choice = ["mlp"], when = { width = 8 } }'
    )
    assert "circle" in faults["stage[probe].parameters"]


def test_any_backbone_may_be_a_condition_where_installed_ones_compete():
    text = 'backbone = { choice = ["installed"] }\nwidth = { choice = [8], when = { backbone = "vgg16" } }'
    assert parameter(text) == {}


@pytest.mark.parametrize(
    ("first", "path", "message"),
    [
        ("widht = 8", "widht", "Did you mean width"),
        ("width = 9", "width", "not in the range"),
        ('width = 8\nhead = "linear"', "width", "not used when head is 'linear'"),
        ("head = true", "head", "not in the range"),
        ("width = true", "width", "not in the range"),
        ("head = [1]", "head", "a text, a number or a truth value"),
        ("dropout = 0.7", "dropout", "0 to 0.5"),
    ],
)
def test_first_configurations_are_checked_against_the_parameters(first, path, message):
    faults = parameter(
        'width = { choice = [8], when = { head = "mlp" } }\n'
        'head = { choice = ["mlp", "linear"] }\n'
        "dropout = { range = [0.0, 0.5] }\n"
        f"[[stage.first]]\n{first}"
    )
    assert [place.replace(".0.", "[0].").replace("first.0", "first[0]") for place in faults] == [
        f"stage[probe].first[0].{path}"
    ]
    assert message in next(iter(faults.values()))


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "stage", "required"),
        ("stage = []", "stage", "at least one"),
        ("stage = 3", "stage", "tuple"),
        (f'descripton = "x"\n{STAGE}', "descripton", "Did you mean description"),
        (STAGE.replace("trials = 3", ""), "stage[probe].trials", "required"),
        (STAGE.replace("3", "0"), "stage[probe].trials", "greater than or equal to 1"),
        (STAGE.replace("3", "true"), "stage[probe].trials", "integer"),
        (STAGE.replace('recipe = "probe"', 'recipe = "prob"'), "stage[probe].recipe", "Did you mean 'probe'"),
        (STAGE.replace('recipe = "probe"', 'recipe = "any"'), "stage[probe].parameters", "needs a parameter recipe"),
        (STAGE.replace('name = "probe"', 'name = "My Stage"'), "stage[My Stage].name", "pattern"),
        (f"{STAGE}prunes = true", "stage[probe].prunes", "Did you mean prune"),
        (f'{STAGE}evaluation = "holdup"', "stage[probe].evaluation", "Did you mean 'holdout'"),
        (f"{STAGE}keep_backbones = 1", "stage[probe].keep_backbones", "first stage"),
        (f"{STAGE}{STAGE}", "stage[probe].name", "two stages"),
    ],
)
def test_a_fault_of_a_stage_names_its_place_and_the_rule(text, path, message):
    faults = faults_of(text)
    assert list(faults) == [path]
    assert message in faults[path]


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        'descripton = "x"\n[[stage]]\nname = "probe"\nrecipe = "prob"\ntrials = 0\n[stage.parameters]\n'
        'drpout = { range = [0, 1] }\npooling = { choice = ["avgs"] }\n'
        "width = { integer = [1.5, 3], when = { haed = 1 } }\n"
        "[[stage.first]]\nwidht = 3\n"
    )
    with pytest.raises(UsageError) as caught:
        read_space(path)
    message = str(caught.value)
    assert "8 faults" in message
    for word in ("description", "probe", "trials", "dropout", "avg", "integer.0", "when.haed", "width"):
        assert word in message
