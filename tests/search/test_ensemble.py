"""An ensemble of backbones, from trials of the worker's own code in this process."""

import numpy as np
import pytest

from autotl.backbones.registry import list_backbones
from autotl.data.store import Cache
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.ensemble import enough_folds, frozen_ensemble, tuned_ensemble
from autotl.search.finalists import as_finalists, pick_finalists
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import open_study

pytestmark = pytest.mark.keras

SCORED = "attempt-1/validation.npz"

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
[[stage.first]]
"""


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("features"), 10**9)


@pytest.fixture
def screened(make_context, make_space, features):
    """A search after its screening, and the results."""
    context = make_context(make_space(SPACE), cache=features, seed=3, ensemble=True)
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
    return context, StageRun(context, stage, study, list(context.backbones), {}, 2).run()


def test_one_that_may_be_as_good_is_not(screened):
    context, results = screened
    best = as_finalists(results, "log_loss")[0]
    perfect = best.__class__(best.config, 1, np.zeros(len(best.rows)), best.rows, best.scores, 1.0, 1)
    assert frozen_ensemble(context, results, perfect) is perfect


def test_a_single_backbone_makes_no_ensemble(screened, told):
    context, results = screened
    (chosen,) = as_finalists(results[:1], "log_loss")
    assert frozen_ensemble(context, results[:1], chosen) is chosen
    assert "needs two backbones" in told[-1]["message"]


LITES = ("efficientnet-lite0", "efficientnet-lite1")
TUNED = """
[[stage]]
name = "finetune"
recipe = "finetune"
trials = 2
evaluation = "cross_validation"
folds = 2
epochs = 1
[stage.parameters]
backbone = { choice = ["efficientnet-lite0", "efficientnet-lite1"] }
image_size = { choice = [32] }
freeze_depth = { choice = [0.8] }
head_rate = { choice = [1e-3] }
[[stage.first]]
"""


@pytest.fixture
def tuned(make_context, make_space, features):
    """A search after its fine-tunes of two backbones, and the results."""
    context = make_context(make_space(TUNED), cache=features, seed=3, ensemble=True)
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
    return context, StageRun(context, stage, study, list(context.backbones), {}, 2).run()


needs_lites = pytest.mark.skipif(
    not {*LITES} <= {each.name for each in list_backbones()}, reason="needs pretrained networks"
)


@needs_lites
def test_other_backbones_are_trained_as_the_given_one_was_and_scored_on_the_same_images(tuned):
    context, results = tuned
    before = _fits(context)
    best = pick_finalists(results, "log_loss", 2)[1]  # the worse one: the other helps it
    found = tuned_ensemble(context, best, results)
    same, other, stack = [path for path in _fits(context) if path not in before]
    (name,) = {*LITES} - {best["config"]["backbone"]}
    assert _config(same).items() >= best["config"].items()
    assert _config(other).items() >= {**best["config"], "backbone": name, "penalty": "best"}.items()
    rows = [_scored(path)["rows"] for path in (same, other, stack)]
    np.testing.assert_array_equal(rows, [np.arange(len(context.manifest.rows("train", "val")))] * 3)
    (verdict,) = [event for event in read_events(context.run) if event["kind"] == "ensemble"]
    assert [member["recipe"] for member in verdict["members"]] == ["finetune", "finetune"]
    if verdict["chance"] >= 0.95:
        assert [member["config"] for member in found.members] == verdict["members"]
    else:
        assert found is None


@needs_lites
def test_a_frozen_model_waits_for_the_frozen_ensemble(tuned):
    context, results = tuned
    before = _fits(context)
    best = pick_finalists(results, "log_loss", 1)[0]
    assert tuned_ensemble(context, {**best, "config": {**best["config"], "recipe": "probe"}}, results) is None
    assert _fits(context) == before


@pytest.mark.parametrize(
    ("folds", "images", "fitted"), [(3, 946, 1), (3, 900, 1), (3, 899, 2), (5, 946, 2), (3, 40, 3), (2, 10**6, 1)]
)
def test_no_more_folds_are_fitted_than_hold_out_enough_images(folds, images, fitted):
    assert enough_folds(folds, images) == fitted


def _scored(folder):
    with np.load(folder / SCORED, allow_pickle=False) as saved:
        return dict(saved)


def _config(folder):
    return read_json(folder / "config.json")


def _fits(context):
    """Folders of all fits that were scored on held-out images, in their order."""
    return sorted(path.parents[1] for path in context.run.path.glob(f"trials/*/{SCORED}"))
