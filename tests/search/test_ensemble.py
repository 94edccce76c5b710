"""An ensemble of frozen backbones, from trials of the worker's own code in this process."""

import numpy as np
import pytest

from autotl.data.store import Cache
from autotl.search.ensemble import with_ensemble
from autotl.search.finalists import as_finalists
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import open_study

pytestmark = pytest.mark.keras

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
