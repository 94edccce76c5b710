"""A stage from its portfolio to its results, and the confirmation of the best, with the worker's own code in this
process. Networks have random weights: they answer in milliseconds, and coloured noise is told apart all the same."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from autotl.backbones.hypermodel import open_hypermodel
from autotl.data.store import Cache
from autotl.errors import AutotlError, UsageError
from autotl.execution.inline import InlineExecutor
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.finalists import confirm, pick_finalists
from autotl.search.forecast import Forecast, Speed
from autotl.search.heads import resolve_heads
from autotl.search.recipes import check_recipes
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import open_study

USER_MODELS = Path(__file__).parents[1] / "heads"
SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3
evaluation = "cross_validation"
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
penalty = { log = [1e-5, 1e-3] }
[[stage.first]]
penalty = 1e-4
"""
TUNED = """
[[stage]]
name = "finetune"
recipe = "finetune"
trials = 2
evaluation = "cross_validation"
folds = 2
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
freeze_depth = { choice = [0.8] }
epochs = { choice = [40, 50] }
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """One cache for all tests of this module: a network runs once."""
    return Cache(tmp_path_factory.mktemp("features"), 10**9)


@pytest.fixture
def context(make_context, make_space, features):
    return make_context(make_space(SPACE), cache=features, seed=3)


@pytest.fixture
def stage_run(context):
    """The stage as it stands in the run's database."""

    def make(trials=3, deadline=None, inherited=None, gate=None):
        stage = context.space.stages[0]
        study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
        settings = {} if inherited is None else inherited
        return StageRun(context, stage, study, list(context.backbones), settings, trials, lambda best: deadline, gate)

    return make


@pytest.mark.keras
def test_a_stage_tries_its_portfolio_first_and_then_what_is_proposed(context, stage_run, told):
    results = stage_run().run()
    assert [result["number"] for result in results] == [1, 2, 3]
    assert {result["state"] for result in results} == {"complete"}
    assert results[0]["config"]["penalty"] == 1e-4
    assert len({result["config"]["penalty"] for result in results}) == 3
    for result in results:
        written = read_json(context.run.trial_dir(result["number"]) / "config.json")
        assert written["evaluation"] == "cross_validation"
        assert result["config"].items() <= written.items()
    trials = optuna.load_study(study_name="probe", storage=f"sqlite:///{context.run.study_path}").trials
    assert [trial.value for trial in trials] == [result["score"] for result in results]
    logged = [event["score"] for event in read_events(context.run) if event["kind"] == "trial"]
    assert logged == [result["score"] for result in results]
    assert told[0]["event"] == "phase"
    assert [event["event"] for event in told[1:]] == ["eta", *(3 * ["epoch", "trial", "eta"])]
    assert told[-1]["seconds"] == 0.0
    best = [event["number"] for event in told if event["event"] == "trial" and event["best"]]
    assert best[-1] == min(results, key=lambda result: result["score"])["number"]
    assert context.costs.counts["heads_solved"] == 15
    assert context.costs.busy_seconds == pytest.approx(sum(result["seconds"] for result in results), abs=0.01)


@pytest.mark.keras
def test_a_configuration_is_run_once_and_a_stage_without_others_ends(make_context, make_space, features, told):
    text = SPACE.replace("log = [1e-5, 1e-3]", "choice = [1e-4, 1e-3]").replace("trials = 3", "trials = 9")
    context = make_context(make_space(text), cache=features, seed=3)
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
    results = StageRun(context, stage, study, list(context.backbones), {}, 9).run()
    assert [(result["number"], result["config"]["penalty"]) for result in results] == [(1, 1e-4), (2, 1e-3)]
    assert sum(event["kind"] == "submitted" for event in read_events(context.run)) == 2
    assert context.costs.counts["heads_solved"] == 10


@pytest.mark.keras
def test_a_stage_that_goes_on_runs_only_what_is_missing(context, stage_run):
    before = stage_run(trials=2).run()
    after = stage_run(trials=3).run()
    assert after[:2] == before
    assert [result["number"] for result in after] == [1, 2, 3]
    assert stage_run(trials=3).run() == after


@pytest.mark.keras
def test_what_a_stage_does_not_search_is_taken_from_the_best_before_it(stage_run):
    inherited = {"vgg16": {"backbone": "vgg16", "pooling": "max", "penalty": 1.0}}
    (result,) = stage_run(trials=1, inherited=inherited).run()
    assert (result["config"]["pooling"], result["config"]["penalty"]) == ("max", 1e-4)


def test_nothing_is_asked_for_after_the_deadline(context, stage_run):
    context.number = 4  # trials of stages before
    assert stage_run(deadline=0.0).run() == []


def test_what_would_leave_no_time_for_its_own_last_fit_is_not_begun(make_context, make_space, features):
    context = make_context(make_space(SPACE), cache=features, seed=3, budget=1000.0)
    context.forecast = Forecast({"vgg16": Speed(10.0, 32, (0.5, 0.0))}, images=10, test_images=100)
    context.number = 4  # trials of stages before
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
    known = {"vgg16": {"backbone": "vgg16"}}
    run = StageRun(context, stage, study, list(context.backbones), known, 3, lambda best: 990.0)
    assert (run.run(), run.ended) == ([], "time")


@pytest.mark.keras
def test_a_first_fine_tune_that_a_budget_is_too_short_for_has_fewer_epochs(make_context, make_space, features):
    context = make_context(make_space(TUNED), cache=features, seed=3, budget=1000.0)
    images = len(context.manifest.rows("train", "val"))
    context.forecast = Forecast({"vgg16": Speed(1.0, 32, (0.8, 0.6, 0.4, 0.2, 0.0))}, images, test_images=10)
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
    known = {"vgg16": {"backbone": "vgg16", "penalty": 1.0}}
    run = StageRun(context, stage, study, list(context.backbones), known, 2, lambda best: 950.0, shortens=True)
    (result,) = run.run()
    assert 3 <= result["config"]["epochs"] < 40
    assert (result["state"], run.ended) == ("complete", "time")  # the second one would have all its epochs


@pytest.mark.keras
def test_what_time_had_left_out_is_the_first_one_when_there_is_more(context, stage_run):
    known = {"vgg16": {"backbone": "vgg16"}}
    run = stage_run(trials=1, deadline=0.0, inherited=known)
    context.number = 4  # trials of stages before
    context.forecast = Forecast({"vgg16": Speed(1.0, 32, (0.5, 0.0))}, images=10, test_images=10)
    clock = [0.0]
    run.deadline = lambda best: clock[0] or context.elapsed() + 1.0
    assert run.run() == []
    clock[0] = 1000.0
    (result,) = run.go_on()
    assert result["config"]["penalty"] == 1e-4  # the portfolio's


@pytest.mark.keras
def test_a_stage_that_time_ended_goes_on_when_there_is_more(context, stage_run):
    asked = []
    run = stage_run(gate=lambda results: asked.append(len(results)) or True)
    run.deadline = lambda best: None if best is None else 0.0
    assert [result["number"] for result in run.run()] == [1]
    assert run.is_unfinished()
    run.deadline = lambda best: None
    assert [result["number"] for result in run.go_on()] == [1, 2, 3]
    assert (asked, run.is_unfinished()) == ([1], False)


@pytest.mark.keras
def test_the_very_first_trial_is_run_however_late_it_is(stage_run):
    assert [result["number"] for result in stage_run(deadline=0.0).run()] == [1]


@pytest.mark.keras
def test_a_shut_gate_ends_the_stage_after_its_portfolio(stage_run):
    asked = []

    def shut(results):
        asked.append([result["number"] for result in results])
        return False

    assert [result["number"] for result in stage_run(gate=shut).run()] == [1]
    assert asked == [[1]]
    assert [result["number"] for result in stage_run(gate=lambda results: True).run()] == [1, 2, 3]


def test_the_same_error_three_times_in_a_row_ends_the_search_with_its_message(
    context, stage_run, manifest, tmp_path, told
):
    context.cache = Cache(tmp_path / "empty", 10**9)
    replace(manifest, root=str(tmp_path / "gone")).write(context.run.manifest_path)
    with pytest.raises(AutotlError, match=r"3 trials in a row: .*gone.*\n?.*log\.txt"):
        stage_run(trials=10).run()
    failed = [event for event in told if event["event"] == "trial"]
    assert [event["state"] for event in failed] == ["failed"] * 3
    assert all("gone" in event["error"] for event in failed)


@pytest.mark.keras
def test_the_best_are_fitted_again_on_another_seed_and_averaged_image_by_image(context, stage_run):
    results = stage_run().run()
    candidates = pick_finalists(results, "log_loss", 2)
    finalists = confirm(context, candidates, context.space.stages[0])
    assert [finalist.number for finalist in finalists] == [candidate["number"] for candidate in candidates]
    for finalist, candidate, number in zip(finalists, candidates, (4, 5), strict=True):
        again = read_json(context.run.trial_dir(number) / "config.json")
        first = read_json(context.run.trial_dir(candidate["number"]) / "config.json")
        assert (again["confirms"], again["penalty"]) == (candidate["number"], first["penalty"])
        assert again["seed"] != first["seed"]
        losses = [losses_of(context.run.attempt_dir(fit, 1)) for fit in (candidate["number"], number)]
        np.testing.assert_allclose(finalist.losses, np.mean(losses, axis=0))
        assert finalist.scores["log_loss"] == pytest.approx(finalist.losses.mean(), rel=1e-6)
        np.testing.assert_array_equal(finalist.rows, np.arange(len(finalist.rows)))


def losses_of(folder):
    saved = np.load(folder / "validation.npz")
    return -np.log(saved["probabilities"][np.arange(len(saved["labels"])), saved["labels"]])


@pytest.mark.keras
def test_a_first_fit_that_was_scored_on_other_images_does_not_count(context, stage_run):
    candidates = stage_run(trials=1).run()
    held_out = context.space.stages[0].model_copy(update={"evaluation": "holdout"})
    (finalist,) = confirm(context, candidates, held_out)
    np.testing.assert_allclose(finalist.losses, losses_of(context.run.attempt_dir(2, 1)))
    assert len(finalist.rows) == len(context.manifest.rows("val"))


@pytest.mark.keras
def test_a_finalist_that_cannot_be_fitted_again_is_left_out(context, stage_run):
    (good,) = stage_run(trials=1).run()
    bad = {**good, "number": 99, "config": {**good["config"], "colour": 1}}
    assert [finalist.number for finalist in confirm(context, [bad, good], context.space.stages[0])] == [good["number"]]
    (event,) = [event for event in read_events(context.run) if event["kind"] == "confirm_failed"]
    assert event["number"] == 99
    assert "colour" in event["message"]


SCRATCH = """
[[stage]]
name = "scratch"
recipe = "scratch"
trials = 3
[stage.parameters]
backbone = { choice = ["user_models:NAME"] }
image_size = { choice = [32] }
epochs = { choice = [1] }
batch_size = { choice = [16] }
"""
HEAD = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
head = { choice = ["user_models:Stack"] }
epochs = { choice = [1] }
"""


@pytest.fixture
def hypermodels(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(USER_MODELS)])


@pytest.fixture
def run_space(hypermodels, make_context, make_space, features):
    """Runs the only stage of a space; what comes back is its context, its study and its results."""

    def run(text, trials=3, slots=1):
        context = make_context(make_space(text), cache=features, seed=3)
        context.dispatcher.executor = InlineExecutor(slots)
        stage = context.space.stages[0]
        study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
        context.number = len(study.trials)
        stage_run = StageRun(
            context, stage, study, list(context.backbones), {}, trials, heads=resolve_heads(context.space)
        )
        return context, study, stage_run.run()

    return run


@pytest.mark.keras
def test_a_hypermodel_is_searched_with_all_that_it_asks_for(run_space, told):
    context, study, results = run_space(SCRATCH.replace("NAME", "Fitted"))
    assert [(result["number"], result["state"]) for result in results] == [
        (1, "complete"),
        (2, "complete"),
        (3, "complete"),
    ]
    defaults = {
        "blocks": 1, "filters_0": 8, "normalised": False, "head": "linear", "rate": 0.01, "batch_size": 16, "epochs": 2,
    }  # fmt: skip
    assert results[0]["config"]["options"] == defaults  # what its author would try first
    assert len({str(result["config"]["options"]) for result in results}) == 3
    for result, trial in zip(results, study.trials, strict=True):
        options = result["config"]["options"]
        assert ("units" in options) == (options["head"] == "hidden")
        assert ("filters_1" in options) == (options["blocks"] == 2)
        assert 8 <= options["filters_0"] <= 32
        assert trial.params["user_models:Fitted.rate"] == options["rate"]
        assert trial.value == result["score"]
    assert [event["number"] for event in told if event["event"] == "trial"] == [1, 2, 3]
    ended = [event["job"] for event in read_events(context.run) if event["kind"] == "ended"]
    assert ended[:3] == ["trial-1", "trial-1-round-1", "trial-1-round-2"]  # build first, then fit


@pytest.mark.keras
def test_later_trials_know_what_earlier_ones_were_asked(run_space):
    context, study, _ = run_space(SCRATCH.replace("NAME", "Logits"))
    ended = [event["job"] for event in read_events(context.run) if event["kind"] == "ended"]
    assert ended == ["trial-1", "trial-1-round-1", "trial-2", "trial-3"]
    (known,) = [value for name, value in study.user_attrs.items() if "user_models:Logits" in name]
    assert [item["name"] for item in known["declarations"]] == ["filters"]


@pytest.mark.keras
def test_a_hypermodel_whose_questions_are_not_known_yet_is_asked_for_once_at_a_time(run_space):
    """Trials that differ in nothing but the answers to questions that no worker has asked yet are no repeats."""
    context, _, results = run_space(SCRATCH.replace("NAME", "Logits"), slots=2)
    assert [result["state"] for result in results] == ["complete"] * 3
    assert len({str(result["config"]["options"]) for result in results}) == 3
    assert [event for event in read_events(context.run) if event["kind"] == "repeated"] == []


@pytest.mark.keras
def test_a_study_that_goes_on_asks_for_the_same_hyperparameters_under_the_same_names(run_space):
    text = SCRATCH.replace("NAME", "Convolutions")
    _, _, before = run_space(text, trials=2)
    _, study, after = run_space(text, trials=4)
    assert after[:2] == before
    assert [result["number"] for result in after] == [1, 2, 3, 4]
    names = [{name for name in trial.params if "@" not in name} for trial in study.trials]
    assert all({"user_models:Convolutions.blocks", "user_models:Convolutions.rate"} <= found for found in names)


@pytest.mark.keras
def test_a_replay_of_a_record_gives_its_score(run_space):
    context, _, results = run_space(SCRATCH.replace("NAME", "Convolutions"), trials=2)
    for result in results:
        seed = context.seed_for(f"trial {result['number']}")
        job = context.job(result["number"] + 10, "trial", result["config"], seed, evaluation="holdout")
        (outcome,) = context.dispatcher.run_all([job])
        assert outcome.result is not None
        assert outcome.result["score"] == result["score"]


@pytest.mark.keras
def test_a_hypermodel_is_searched_as_a_head(run_space):
    _, study, results = run_space(HEAD)
    assert [result["state"] for result in results] == ["complete"] * 3
    assert results[0]["config"]["options"] == {"layers": 1, "units_0": 16, "kind": "plain"}
    for result in results:
        options = result["config"]["options"]
        assert [name for name in options if name.startswith("units")] == [
            f"units_{i}" for i in range(options["layers"])
        ]
        assert ("rate" in options) == (options["kind"] == "dropped")
    assert "user_models:Stack.rate if kind=dropped" in {name for trial in study.trials for name in trial.params} or all(
        result["config"]["options"]["kind"] == "plain" for result in results
    )


@pytest.mark.keras
@pytest.mark.parametrize(
    ("name", "says"), [("Broken", "seven is too many"), ("Endless", "must come to an end of its hyperparameters")]
)
def test_a_hypermodel_that_fails_is_a_failed_trial_with_its_reason(run_space, name, says):
    context, _, (result,) = run_space(SCRATCH.replace("NAME", name), trials=1)
    assert result["state"] == "failed"
    assert says in result["error"]["message"]
    slots, seconds = 1, context.elapsed()
    assert context.costs.busy_seconds <= slots * seconds


def test_a_hypermodel_that_is_to_be_a_backbone_is_refused_before_the_search(make_space, hypermodels):
    space = make_space(SCRATCH.replace("NAME", "Logits").replace('"scratch"\ntrials', '"probe"\ntrials'))
    backbones = {"user_models:Logits": open_hypermodel("user_models:Logits")}
    with pytest.raises(UsageError, match="can only be trained from scratch"):
        check_recipes(space, backbones)
    check_recipes(make_space(SCRATCH.replace("NAME", "Logits")), backbones)
