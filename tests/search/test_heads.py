"""Heads of a space are found and checked before anything starts."""

import pytest

from autotl.errors import PluginError, UsageError
from autotl.search.heads import resolve_heads
from autotl.search.plan import concrete_config, resolve_backbones

SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 4
[stage.parameters]
head = { choice = ["linear", "HEAD"] }
"""
PLUGIN = """
from autotl.heads.contract import Head
THING = Head("test-tower", lambda *_: None, options={"units": {"integer": [9, 3]}}, defaults={"units": 4})
"""


def test_the_records_of_all_named_heads_are_returned(make_space):
    assert list(resolve_heads(make_space(SPACE.replace("HEAD", "cosine")))) == ["linear", "cosine"]


def test_a_space_that_names_no_head_needs_none(make_space):
    assert resolve_heads(make_space(SPACE.replace("head =", "width =").replace('"linear", "HEAD"', "8"))) == {}


def test_a_head_that_is_not_installed_is_refused_with_the_one_that_was_meant(make_space):
    with pytest.raises(UsageError, match=r"no head 'cosin'\. Did you mean cosine"):
        resolve_heads(make_space(SPACE.replace("HEAD", "cosin")))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('"cosine.sclae" = { choice = [1.0] }', "cosine.sclae is no option of cosine. Did you mean cosine.scale"),
        ('[[stage.first]]\n"cosine.sclae" = 1.0', "cosine.sclae is no option of cosine"),
        ('[[stage.first]]\n"cosine.scale" = 1e6', "1000000.0 is not in the range of cosine.scale"),
        ('"linear.width" = { choice = [8] }', "linear.width is no option of linear. Known: none"),
    ],
)
def test_options_that_a_head_does_not_know_are_refused(make_space, more, message):
    with pytest.raises(UsageError, match=message):
        resolve_heads(make_space(SPACE.replace("HEAD", "cosine") + more))


def test_options_that_cannot_be_searched_are_the_plugins_fault(make_space, tmp_path, monkeypatch):
    (tmp_path / "test_tower_module.py").write_text(PLUGIN)
    metadata = tmp_path / "test_towers-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: test-towers\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[autotl.heads]\ntest-tower = test_tower_module:THING\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="units: integer takes"):
        resolve_heads(make_space(SPACE.replace("HEAD", "test-tower")))


@pytest.fixture
def config_of(make_space):
    stage = make_space(SPACE.replace("HEAD", "cosine")).stages[0]
    backbones = resolve_backbones(["vgg16"])
    return lambda values, inherited: concrete_config(stage, values, backbones, inherited)


def test_values_of_options_become_the_options_of_the_trial(config_of):
    config = config_of({"head": "cosine", "cosine.scale": 12.0}, {})
    assert (config["head"], config["options"]) == ("cosine", {"scale": 12.0})
    assert "cosine.scale" not in config
    assert "options" not in config_of({"head": "linear"}, {})


def test_options_are_inherited_with_their_head_only(config_of):
    inherited = {"head": "cosine", "options": {"scale": 12.0}}
    assert config_of({}, inherited)["options"] == {"scale": 12.0}
    assert config_of({"head": "cosine", "cosine.scale": 5.0}, inherited)["options"] == {"scale": 5.0}
    assert "options" not in config_of({"head": "linear"}, inherited)
    assert inherited == {"head": "cosine", "options": {"scale": 12.0}}


def test_attention_does_not_inherit_taps(config_of):
    assert "taps" not in config_of({"pooling": "attention"}, {"pooling": "gem", "taps": "all"})
    assert config_of({"pooling": "max"}, {"pooling": "gem", "taps": "all"})["taps"] == "all"
