"""Soups from the weights that trials kept: a soup of one is that fit, and nobody joins who does not help."""

import numpy as np
import pytest

from autotl.learn.averaging import set_trainable_weights, trainable_weights
from autotl.learn.config import TrialConfig
from autotl.learn.finetune import fit_finetune, open_tail
from autotl.learn.jobs import run_job
from autotl.learn.soups import FILE, fit_soup, keep_weights
from autotl.learn.training import predict_logits

pytestmark = pytest.mark.keras
FINETUNE = {
    "recipe": "finetune", "freeze_depth": 0.8, "penalty": 1.0, "epochs": 2, "batch_size": 16,
    "head_rate": 5e-3, "tail_rate": 1e-5,
}  # fmt: skip
RUINED = {**FINETUNE, "head_rate": 100.0, "tail_rate": 100.0}
CONFIG = TrialConfig("vgg16", 32, weights="random", **FINETUNE)
FOLDS = {"evaluation": "cross_validation", "folds": 2, "repeats": 1, "fold_seed": 5}


@pytest.fixture
def run(problem, tmp_path, go_on):
    """Runs a job in the folder of that name: its result, and what it left of every row, in the order of the rows."""

    def job(name, config=FINETUNE, **fields):
        result = run_job(problem.payload(tmp_path / name, config, **FOLDS, **fields), go_on)
        with np.load(tmp_path / name / "validation.npz", allow_pickle=False) as saved:
            order = np.argsort(saved["rows"])
            return result, saved["probabilities"][order], saved["rows"][order]

    return job


def test_a_soup_of_one_fit_is_that_fit(run, tmp_path):
    single, expected, rows = run("single", keeps_weights=True)
    soup, found, same_rows = run("soup", kind="soup", members=[str(tmp_path / "single")])
    assert soup["members"] == [0]
    np.testing.assert_array_equal(same_rows, rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert soup["score"] == pytest.approx(single["score"], abs=1e-5)
    assert soup["temperature"] == pytest.approx(single["temperature"], rel=1e-3)


def test_a_fit_that_does_not_lower_the_held_out_loss_stays_out_and_one_that_does_joins(run, tmp_path):
    first, _, _ = run("first", keeps_weights=True)
    second, _, _ = run("second", seed=8, keeps_weights=True)
    run("ruined", RUINED, keeps_weights=True)
    members = [str(tmp_path / name) for name in ("first", "ruined", "second")]
    soup, _, _ = run("soup", kind="soup", members=members)
    assert soup["members"][0] == 0
    assert 1 not in soup["members"]
    assert soup["score"] <= first["score"]
    rescued, _, _ = run("rescued", RUINED, kind="soup", members=[members[1], members[2]])
    assert rescued["members"][0] == 0  # the first one is always in it
    assert rescued["score"] > second["score"]


def test_only_those_who_are_asked_to_keep_their_weights(run, tmp_path):
    run("kept", keeps_weights=True)
    run("other")
    assert [(tmp_path / "kept" / FILE.format(fold)).exists() for fold in range(3)] == [True, True, False]
    assert list((tmp_path / "other").glob(FILE.format("*"))) == []


def test_weights_come_back_from_their_file_as_they_were(task, tmp_path):
    trainable, examples, _, _ = fit_finetune(task, CONFIG, task.train, 1)
    expected = predict_logits(trainable, examples, task.validation, task.ledger)
    keep_weights(tmp_path, 0, trainable)
    again, examples, _, _ = open_tail(task, CONFIG, task.train, 1)
    assert not np.array_equal(predict_logits(again, examples, task.validation, task.ledger), expected)
    with np.load(tmp_path / FILE.format(0), allow_pickle=False) as saved:
        set_trainable_weights(again, [saved[name] for name in saved.files])
    np.testing.assert_array_equal(predict_logits(again, examples, task.validation, task.ledger), expected)


def test_the_soup_that_is_delivered_is_the_mean_of_fits_to_all_rows(task):
    fits = []
    for seed in (3, 4):
        trainable, _, _, _ = fit_finetune(task, CONFIG, task.everything, seed)
        fits.append(trainable_weights(trainable))
    head, network = fit_soup(task, [CONFIG, CONFIG], 3, [False, False])
    last = [variable for variable in network.model.trainable_variables if variable.path.startswith("block5")]
    found = [variable.numpy() for variable in (*last, *head.trainable_variables)]
    assert len(found) == len(fits[0])
    for have, one, two in zip(found, *fits, strict=True):
        np.testing.assert_allclose(have, (one + two) / 2, atol=1e-6)
    assert max(np.abs(one - two).max() for one, two in zip(*fits, strict=True)) > 1e-4
