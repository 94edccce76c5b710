"""A stage from its portfolio to its results, and the confirmation of the best, with the worker's own code in this
process. Networks have random weights: they answer in milliseconds, and coloured noise is told apart all the same."""

from dataclasses import replace

import numpy as np
import optuna
import pytest

from autotl.data.store import Cache
from autotl.errors import AutotlError
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.finalists import confirm, pick_finalists
from autotl.search.stages import StageRun
from autotl.search.study import open_storage, open_study

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

    def make(trials=3, deadline=None, inherited=None):
        stage = context.space.stages[0]
        study = open_study(open_storage(context.run.study_path), stage.name, "log_loss", seed=0)
        settings = {} if inherited is None else inherited
        return StageRun(context, stage, study, list(context.backbones), settings, trials, deadline)

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
    assert [event["event"] for event in told[1:]] == 3 * ["epoch", "trial", "eta"]
    assert told[-1]["seconds"] == 0.0
    best = [event["number"] for event in told if event["event"] == "trial" and event["best"]]
    assert best[-1] == min(results, key=lambda result: result["score"])["number"]
    assert context.costs.counts["heads_solved"] == 15
    assert context.costs.busy_seconds == pytest.approx(sum(result["seconds"] for result in results), abs=0.01)


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


def test_nothing_is_asked_for_after_the_deadline(stage_run):
    assert stage_run(deadline=0.0).run() == []


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
    finalists = confirm(context, candidates, "cross_validation")
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
    (finalist,) = confirm(context, candidates, "holdout")
    np.testing.assert_allclose(finalist.losses, losses_of(context.run.attempt_dir(2, 1)))
    assert len(finalist.rows) == len(context.manifest.rows("val"))


@pytest.mark.keras
def test_a_finalist_that_cannot_be_fitted_again_is_left_out(context, stage_run):
    (good,) = stage_run(trials=1).run()
    bad = {**good, "number": 99, "config": {**good["config"], "colour": 1}}
    assert [finalist.number for finalist in confirm(context, [bad, good], "cross_validation")] == [good["number"]]
    (event,) = [event for event in read_events(context.run) if event["kind"] == "confirm_failed"]
    assert event["number"] == 99
    assert "colour" in event["message"]
