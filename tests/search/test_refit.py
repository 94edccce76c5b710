"""Which trials can be made a model of, and how often the test split was looked at. The fit itself: end_to_end."""

import pytest

from autotl.errors import UsageError
from autotl.runs.directory import create_run
from autotl.runs.events import append_event
from autotl.runs.files import write_json
from autotl.runs.locking import lock_run
from autotl.search.refit import finished_trial, refit_trial
from autotl.search.refit import reads_of_test as reads_of


def ignore(event):
    """Nobody watches."""


@pytest.fixture
def run(tmp_path):
    run = create_run(tmp_path / "run", {"dataset": "photos", "metric": "log_loss"})
    for number, state in ((1, "complete"), (2, "pruned"), (3, "complete"), (4, "failed")):
        append_event(run, "trial", number=number, state=state, score=0.5)
    return run


def describe(folder, trial, reads, **more):
    folder.mkdir(parents=True)
    write_json(folder / "autotl.json", {"trial": trial, "test_reads": reads, **more})


@pytest.mark.parametrize(("number", "says"), [(2, "trial 2 was pruned"), (4, "trial 4 was failed"), (9, "no trial 9")])
def test_only_a_complete_trial_is_a_model(run, number, says):
    with pytest.raises(UsageError, match=f"{says}. Complete are: 1, 3"):
        refit_trial(run.path, number, ignore)


def test_the_last_record_of_a_trial_counts(run):
    append_event(run, "trial", number=4, state="complete", score=0.4)
    assert finished_trial(run, 4)["score"] == 0.4


def test_a_run_that_is_driven_is_left_alone(run):
    with lock_run(run), pytest.raises(UsageError, match="One process at a time"):
        refit_trial(run.path, 1, ignore)


def test_a_model_that_is_there_is_not_made_again(run):
    describe(run.model_path, 3, [])
    describe(run.trial_dir(1) / "model", 1, [])
    with lock_run(run):
        assert refit_trial(run.path, 3, ignore) == run.model_path
        assert refit_trial(run.path, 1, ignore) == run.trial_dir(1) / "model"


@pytest.mark.parametrize("more", [{"soup": 2}, {"members": [{}, {}]}])
def test_a_delivered_average_is_not_its_first_trial(run, more):
    describe(run.model_path, 3, [], **more)
    with lock_run(run), pytest.raises(UsageError, match="One process at a time"):
        refit_trial(run.path, 3, ignore)


def test_all_looks_at_the_test_split_are_counted_once(run):
    first, second, third = ({"at": f"2026-01-0{day}", "n": 9, "count": day} for day in (1, 2, 3))
    assert reads_of(run) == []
    describe(run.model_path, 3, [first])
    describe(run.trial_dir(1) / "model", 1, [first, second])
    describe(run.trial_dir(5) / "model", 5, [first, second, third])
    assert reads_of(run) == [first, second, third]
