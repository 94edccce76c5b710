"""The course of a search, with the worker's own code in this process."""

from dataclasses import replace

import pytest

from autotl.data.store import Cache
from autotl.errors import NoTrialError
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.costs import Costs
from autotl.search.past import read_past
from autotl.search.rounds import run_rounds
from autotl.search.stopping import Stopping

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


def new_driver(context, **stopping):
    """One that goes on with what another has left."""
    return replace(context, past=read_past(context.run), number=0, costs=Costs(), stopping=Stopping(**stopping))


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
def test_fewer_trials_than_stages_are_no_more_than_were_asked_for(make_context, make_space, features):
    context = make_context(make_space(SPACE), cache=features, seed=3, trials=1)
    result = run_rounds(context)
    assert result["trials"] == {"complete": 1, "pruned": 0, "failed": 0}
    assert [phase["phase"] for phase in of_kind(context, "phase")] == ["screen", "confirm", "final", "test"]


@pytest.mark.keras
def test_a_model_that_was_delivered_is_not_tested_again(context):
    first = run_rounds(context)
    submitted = len(of_kind(context, "submitted"))
    (context.run.path / "result.json").unlink()  # as if the driver had died just before
    again = run_rounds(new_driver(context))
    assert len(of_kind(context, "submitted")) == submitted
    assert (again["test"], again["best"], again["trials"]) == (first["test"], first["best"], first["trials"])


@pytest.mark.keras
def test_with_no_trial_left_to_run_the_best_of_what_is_known_is_delivered(context, told):
    with pytest.raises(NoTrialError, match="No trial completed"):
        run_rounds(new_driver(context, finishes=True))
    run_rounds(new_driver(context))
    (context.run.path / "result.json").unlink()
    (context.run.model_path / "autotl.json").rename(context.run.path / "first.json")
    before = len(of_kind(context, "trial"))
    result = run_rounds(new_driver(context, finishes=True))
    assert len(of_kind(context, "trial")) == before
    best = min(of_kind(context, "trial"), key=lambda trial: trial["score"])
    assert result["best"] == {**best["config"], "trial": best["number"]}


@pytest.mark.keras
def test_what_was_scored_on_a_sample_ranks_backbones_and_no_more(make_context, make_space):
    text = SPACE.replace('name = "screen"', 'name = "screen"\nimages = 15')
    context = make_context(make_space(text), seed=3)
    result = run_rounds(context)
    *screened, last = of_kind(context, "trial")
    assert [trial["images"] for trial in screened] == [15, 15]
    (seen,) = {trial["scores"]["n"] for trial in screened}
    assert 15 <= seen < last["scores"]["n"]  # of every class and split at least five, where there are so many
    assert (last["images"], last["scores"]["n"]) == (None, len(context.manifest.rows("train", "val")))
    assert result["best"]["trial"] == last["number"]
    # a pass of each over the sample, then one of the best over all
    assert context.costs.counts["forwarded/pooled"] == 2 * seen + last["scores"]["n"]


def test_an_ensemble_needs_all_images_from_the_beginning(make_context, make_space):
    space = make_space(SPACE.replace('name = "screen"', 'name = "screen"\nimages = 15'))
    assert make_context(space).images(space.stages[0]) == 15
    assert make_context(space, ensemble=True).images(space.stages[0]) is None
    assert make_context(space).images(space.stages[1]) is None


@pytest.mark.keras
@pytest.mark.parametrize("evaluation", ["cross_validation", "holdout"])
def test_a_search_that_saw_a_sample_alone_is_confirmed_on_all_images(make_context, make_space, features, evaluation):
    (stage,) = SPACE.split("[[stage]]")[1:2]
    text = "[[stage]]" + stage.replace('name = "screen"', 'name = "screen"\nimages = 15')
    context = make_context(make_space(text.replace('"cross_validation"', f'"{evaluation}"')), cache=features, seed=3)
    result = run_rounds(context)
    (confirmed,) = {event["scores"]["n"] for event in of_kind(context, "confirm")}
    split = ("train", "val") if evaluation == "cross_validation" else ("val",)
    assert result["validation"]["n"] == confirmed == len(context.manifest.rows(*split))


@pytest.mark.keras
def test_behind_a_shut_gate_no_other_gated_stage_begins(make_context, make_space, features):
    gated = SPACE.split("[[stage]]")[2].replace("trials = 1", "trials = 2") + "[[stage.first]]\npenalty = 1.0\n"
    gated = gated.replace("[1e-3, 1e-2]", "[1e-3, 1.0]")
    tail = gated.replace('"probe"', '"tail"', 1).replace("keep_backbones", "gate = 0.9\nkeep_backbones")
    deeper = tail.replace('"tail"', '"deeper"')
    context = make_context(make_space("[[stage]]".join([SPACE, tail, deeper])), cache=features, seed=3)
    run_rounds(context)
    assert [trial["stage"] for trial in of_kind(context, "trial")] == ["screen", "screen", "probe", "tail"]
    (verdict,) = of_kind(context, "gate")
    assert (verdict["stage"], verdict["passed"]) == ("tail", False)


@pytest.mark.keras
def test_what_a_gate_refused_is_no_finalist_however_near_it_came(make_context, make_space, features):
    gated = SPACE.split("[[stage]]")[2].replace('"probe"', '"tail"', 1) + "[[stage.first]]\npenalty = 9e-3\n"
    gated = gated.replace("keep_backbones", "gate = 0.99\nkeep_backbones")
    text = "[[stage]]".join([SPACE, gated]).replace('["vgg16", "mobilenet-v2"]', '["mobilenet-v2"]')
    context = make_context(make_space(text.replace("trials = 2", "trials = 1")), cache=features, seed=3)
    run_rounds(context)
    *others, refused = of_kind(context, "trial")
    (verdict,) = of_kind(context, "gate")
    assert (refused["stage"], verdict["passed"]) == ("tail", False) and refused["state"] == "complete"
    best = min(trial["score"] for trial in others if trial["images"] is None)
    assert refused["score"] < best + 0.1  # near enough for a second look
    assert refused["number"] not in {event["number"] for event in of_kind(context, "confirm")}


@pytest.mark.keras
def test_a_gate_counts_where_no_trial_is_left_to_ask_it_for(make_context, make_space, features):
    gated = SPACE.split("[[stage]]")[2] + "[[stage.first]]\npenalty = 1.0\n"
    gated = gated.replace("[1e-3, 1e-2]", "[1e-3, 1.0]").replace("keep_backbones", "gate = 0.9\nkeep_backbones")
    stages = [SPACE, gated.replace('"probe"', '"tail"', 1), gated.replace('"probe"', '"deeper"', 1)]
    context = make_context(make_space("[[stage]]".join(stages)), cache=features, seed=3)
    run_rounds(context)
    assert [trial["stage"] for trial in of_kind(context, "trial")] == ["screen", "screen", "probe", "tail"]
