"""The rows of a comparison, made of what jobs have left; a failed row says why and the others stand."""

import numpy as np
import pytest

from autotl.data.manifest import Manifest, Sample
from autotl.errors import NoTrialError
from autotl.execution.protocol import Job
from autotl.search.dispatch import Outcome
from autotl.studies.compare_plan import Request, find_networks
from autotl.studies.compare_rows import Course, Row, tabulate

LABELS = np.tile([0, 1], 20)
MANIFEST = Manifest(
    "photos", ("a", "b"), tuple(Sample(f"{row}.png", int(label), "val", row, "") for row, label in enumerate(LABELS))
)
TIMING = {"seconds_per_image": 0.004, "multiply_adds": 70, "tail_shares": [0.5, 0.0]}


@pytest.fixture
def network():
    (found,) = find_networks(Request("photos", ("vgg16:random",), image_size=32))
    return found


@pytest.fixture
def fit(tmp_path):
    """The outcome of a fit that was right on so many images."""

    def make(number, right, seconds=2.0):
        folder = tmp_path / str(number)
        folder.mkdir()
        sure = np.where(np.arange(len(LABELS)) < right, 0.9, 0.2)
        chances = np.stack([np.where(label == LABELS, sure, 1 - sure) for label in (0, 1)], axis=1)
        np.savez(folder / "fit.npz", probabilities=chances)
        result = {"fit_seconds": seconds, "trained_parameters": 8}
        return Outcome(Job(f"fit-{number}", 1, "m:f", {"folder": str(folder)}), seconds + 1, result, None)

    return make


def course_of(network, level, *outcomes, **fields):
    return Course(Row(network, level, (), ()), 1e-4, outcomes=outcomes, **fields)


def test_a_failed_row_says_why_and_the_others_stand(network, fit):
    courses = [
        course_of(network, "frozen", fit(1, 30)),
        course_of(network, "partly", reason="out of memory"),
        course_of(network, "full", fit(2, 38), tuning_seconds=5.0),
    ]
    (frozen, partly, full), gains = tabulate(courses, MANIFEST, {network: TIMING}, seed=0)
    assert (partly["state"], partly["reason"]) == ("failed", "out of memory") and "test" not in partly
    assert (frozen["test"]["accuracy"], full["test"]["accuracy"]) == (0.75, 0.95)
    assert (frozen["is_best"], full["is_best"]) == (False, True)
    assert frozen["behind_best"]["accuracy"] == pytest.approx(-0.2)
    (gain,) = gains
    assert (gain["level"], gain["is_sure"]) == ("full", True) and gain["accuracy"] == pytest.approx(0.2)


def test_a_row_says_what_it_cost(network, fit):
    course = course_of(network, "full", fit(1, 30, seconds=2.0), fit(2, 34, seconds=4.0), tuning_seconds=5.0)
    ((row,), _) = tabulate([course], MANIFEST, {network: TIMING}, seed=0)
    assert row["repeats"] == [0.75, 0.85] and row["test"]["accuracy"] == pytest.approx(0.8)
    assert (row["fit_seconds"], row["total_seconds"]) == (3.0, 13.0)
    assert (row["milliseconds"], row["multiply_adds"], row["trained_parameters"]) == (4.0, 70, 8)
    assert (row["parameters"], row["weights_bytes"]) == (14_714_688, 58_858_752)
    assert (row["pretrained_on"], row["licence"]) == (None, None)


def test_the_frozen_row_has_no_rate_and_a_network_that_was_not_timed_no_latency(network, fit):
    courses = [course_of(network, "frozen", fit(1, 30)), course_of(network, "full", fit(2, 30))]
    (frozen, full), _ = tabulate(courses, MANIFEST, {}, seed=0)
    assert (frozen["rate"], full["rate"], full["milliseconds"]) == (None, 1e-4, None)


def test_without_any_result_there_is_no_table(network):
    with pytest.raises(NoTrialError, match="vgg16, frozen: no room"):
        tabulate([course_of(network, "frozen", reason="no room")], MANIFEST, {}, seed=0)
