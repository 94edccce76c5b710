"""Random weights with settled batch statistics: through the job, as a study sees it."""

import pytest

from autotl.errors import TrialError
from autotl.learn.jobs import run_job

pytestmark = pytest.mark.keras
NETWORK = {"backbone": "efficientnet-lite0", "weights": "random"}


def test_settled_random_features_know_something_of_the_images(problem, tmp_path, go_on):
    settled = run_job(problem.payload(tmp_path / "settle", NETWORK, kind="settle"), go_on)
    again = run_job(problem.payload(tmp_path / "again", NETWORK, kind="settle"), go_on)
    assert settled["weights"].split("/")[-1] == again["weights"].split("/")[-1]
    rows, held_out = list(range(0, 57, 2)), list(range(1, 57, 2))
    config = NETWORK | {"weights": settled["weights"], "penalty": "best"}
    payload = problem.payload(tmp_path / "fit", config, kind="fit", rows=rows, held_out=held_out)
    assert run_job(payload, go_on)["scores"]["auroc"] > 0.6  # 0.5 without: all images look the same


def test_only_random_weights_are_settled(problem, tmp_path, go_on):
    with pytest.raises(TrialError, match="\"random\" weights, not of 'pretrained'"):
        run_job(problem.payload(tmp_path / "fit", NETWORK | {"weights": "pretrained"}, kind="settle"), go_on)
