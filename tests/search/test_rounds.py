"""The course of a search, with the worker's own code in this process."""

import pytest

from autotl.data.store import Cache
from autotl.errors import NoTrialError
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.rounds import run_rounds

SPACE = """
[[stage]]
name = "screen"
recipe = "probe"
trials = 2
evaluation = "cross_validation"
folds = 3
[stage.parameters]
backbone = { choice = ["vgg16", "mobilenet-v2"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
pooling = { choice = ["both"] }
penalty = { choice = ["best"] }
[[stage.first]]

[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "cross_validation"
folds = 3
keep_backbones = 1
[stage.parameters]
penalty = { log = [1e-3, 1e-2] }
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("features"), 10**9)


@pytest.fixture
def context(make_context, make_space, features):
    return make_context(make_space(SPACE), cache=features, seed=3)


def of_kind(context, kind):
    return [event for event in read_events(context.run) if event["kind"] == kind]


@pytest.mark.keras
def test_the_best_backbone_goes_on_with_the_settings_that_it_had(context):
    result = run_rounds(context)
    *screened, last = of_kind(context, "trial")
    assert [trial["stage"] for trial in (*screened, last)] == ["screen", "screen", "probe"]
    assert {trial["config"]["backbone"] for trial in screened} == {"vgg16", "mobilenet-v2"}
    (kept,) = [trial for trial in screened if trial["config"]["backbone"] == last["config"]["backbone"]]
    assert {**last["config"], "penalty": None} == {**kept["config"], "penalty": None}
    assert result == read_json(context.run.path / "result.json")
    assert result["trials"] == {"complete": 3, "pruned": 0, "failed": 0}


@pytest.mark.keras
def test_a_model_that_was_delivered_is_not_tested_again(context):
    first = run_rounds(context)
    submitted = len(of_kind(context, "submitted"))
    (context.run.path / "result.json").unlink()  # as if the driver had died just before
    again = run_rounds(context)
    assert len(of_kind(context, "submitted")) == submitted
    assert (again["test"], again["best"], again["trials"]) == (first["test"], first["best"], first["trials"])


@pytest.mark.keras
def test_with_no_trial_left_to_run_the_best_of_what_is_known_is_delivered(context, told):
    context.finishes = True
    with pytest.raises(NoTrialError, match="No trial completed"):
        run_rounds(context)
    context.finishes = False
    run_rounds(context)
    (context.run.path / "result.json").unlink()
    (context.run.model_path / "autotl.json").rename(context.run.path / "first.json")
    context.finishes = True
    before = len(of_kind(context, "trial"))
    result = run_rounds(context)
    assert len(of_kind(context, "trial")) == before
    best = min(of_kind(context, "trial"), key=lambda trial: trial["score"])
    assert result["best"] == {**best["config"], "trial": best["number"]}
