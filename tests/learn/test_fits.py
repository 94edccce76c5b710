"""A fit to chosen rows that is scored on chosen others: through the job, as a study sees it."""

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.jobs import run_job
from autotl.learn.metrics import scores

pytestmark = pytest.mark.keras
SOLVED = {"penalty": "best"}
TRAINED = {"head": "mlp", "width": 16, "epochs": 3, "batch_size": 16, "head_rate": 1e-2}
TUNED = {"recipe": "finetune", "freeze_depth": 0.8, "penalty": 1e-2, "epochs": 2, "batch_size": 16}


@pytest.fixture
def fit(problem, tmp_path, go_on):
    """Fits to even rows and scores the odd ones: the result, and the probabilities, rows and labels that it left."""

    def run(config, rows=range(0, 56, 2), held_out=range(1, 57, 2), **fields):
        payload = problem.payload(tmp_path / "fit", config, **fields) | {"kind": "fit"}
        result = run_job(payload | {"rows": list(rows), "held_out": list(held_out)}, go_on)
        with np.load(tmp_path / "fit" / "fit.npz", allow_pickle=False) as saved:
            return result, saved["probabilities"], saved["rows"], saved["labels"]

    return run


@pytest.mark.parametrize("config", [SOLVED, TUNED], ids=["solved", "fine-tuned"])
def test_it_is_scored_on_the_rows_that_were_held_out_as_its_file_says(problem, fit, config):
    result, probabilities, rows, labels = fit(config)
    np.testing.assert_array_equal(rows, range(1, 57, 2))
    np.testing.assert_array_equal(labels, problem.task().labels[rows])
    assert result["scores"] == scores(probabilities, labels)
    assert result["scores"]["accuracy"] > 0.6  # three colours
    assert 0 < result["fit_seconds"] <= result["seconds"]
    assert result["multiply_adds"] > 0


def test_one_image_of_each_class_is_enough(problem, fit):
    firsts = [int(np.flatnonzero(problem.task().labels == label)[0]) for label in range(3)]
    result, *_ = fit(SOLVED, rows=firsts, held_out=sorted({*range(57)} - {*firsts}))
    assert result["scores"]["accuracy"] > 1 / 3


def test_a_curve_has_every_epoch_in_its_order_of_time(fit):
    result, *_ = fit(TUNED, curve=True)
    assert [point["epoch"] for point in result["curve"]] == [1, 2]
    first, last = result["curve"]
    assert 0 < first["seconds"] < last["seconds"]
    assert last["accuracy"] == result["scores"]["accuracy"]
    assert last["log_loss"] == pytest.approx(result["scores"]["log_loss"])


def test_what_is_fitted_to_is_never_scored(fit):
    with pytest.raises(TrialError, match="2 images are in rows and in held_out"):
        fit(SOLVED, rows=range(10), held_out=range(8, 57))


@pytest.mark.parametrize("rows", [[], [0, 0], [-1, 3], [3, 57]])
def test_rows_are_positions_of_images(fit, rows):
    with pytest.raises(TrialError, match="rows are positions among the 57 images"):
        fit(SOLVED, rows=rows, held_out=[5, 6])
