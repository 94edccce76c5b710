"""An ensemble of backbones, from trials of the worker's own code in this process."""

from pathlib import Path

import numpy as np
import pytest

from autotl.backbones.registry import list_backbones
from autotl.data.store import Cache
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.ensemble import with_ensemble
from autotl.search.finalists import as_finalists, confirm, pick_finalists
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
    assert with_ensemble(context, results, perfect) is perfect


def test_a_single_backbone_makes_no_ensemble(screened, told):
    context, results = screened
    (chosen,) = as_finalists(results[:1], "log_loss")
    assert with_ensemble(context, results[:1], chosen) is chosen
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


@pytest.mark.skipif(not {*LITES} <= {each.name for each in list_backbones()}, reason="needs pretrained networks")
def test_other_backbones_are_trained_as_the_chosen_one_was_and_scored_on_the_same_images(
    make_context, make_space, features
):
    context = make_context(make_space(TUNED), cache=features, seed=3, ensemble=True)
    stage = context.space.stages[0]
    study = open_study(open_storage(context.run.study_path), stage, "log_loss", seed=0)
    results = StageRun(context, stage, study, list(context.backbones), {}, 2).run()
    chosen = confirm(context, pick_finalists(results, "log_loss", 1), stage)[0]
    _forget(Path(chosen.folder))
    found = with_ensemble(context, results, chosen)
    (other,) = {*LITES} - {chosen.config["backbone"]}
    last = [path for path in _fits(context) if _config(path)["backbone"] == other][-1]
    expected = {**chosen.config, "backbone": other, "penalty": "best"}
    assert {name: _config(last)[name] for name in expected} == expected
    with np.load(last / SCORED) as one, np.load(Path(chosen.folder, "validation.npz")) as confirmed:
        np.testing.assert_array_equal(one["rows"], confirmed["rows"])
    (verdict,) = [event for event in read_events(context.run) if event["kind"] == "ensemble"]
    assert [member["recipe"] for member in verdict["members"]] == ["finetune", "finetune"]
    assert [member["config"] for member in found.members] == (verdict["members"] if verdict["chance"] >= 0.95 else [])


def _forget(folder):
    """Make a fit one that knows nothing, so that any other helps it."""
    with np.load(folder / "validation.npz") as saved:
        arrays = dict(saved)
    even = np.full_like(arrays["probabilities"], 1.0 / arrays["probabilities"].shape[1])
    np.savez(folder / "validation.npz", **{**arrays, "probabilities": even})


def _config(folder):
    return read_json(folder / "config.json")


def _fits(context):
    """Folders of all fits that were scored on held-out images, in their order."""
    return sorted(path.parents[1] for path in context.run.path.glob(f"trials/*/{SCORED}"))
