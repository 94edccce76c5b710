"""Jobs that are cut off and begun again: they come to what they would have come to, and train only what was missing."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.checkpoints import FILE, Progress, TrainingState, read_checkpoint, write_checkpoint
from autotl.learn.jobs import run_job
from autotl.learn.soups import FILE as WEIGHTS

# The head alone trains: its checkpoints are small. With dropout there is all in them that a step may depend on.
FINETUNE = {
    "recipe": "finetune", "freeze_depth": 1.0, "penalty": 1e-2, "epochs": 4, "batch_size": 8, "head_rate": 3e-3,
    "mixup": 0.2, "ema": "on", "augmentation": "flip", "balance": "sampling",
}  # fmt: skip
DROPOUT = {**FINETUNE, "head": "mlp", "width": 16, "dropout": 0.3}
TAIL = {**FINETUNE, "freeze_depth": 0.8, "tail_rate": 1e-4, "epochs": 2, "batch_size": 16}
HOLDOUT = {"evaluation": "holdout"}
FOLDS = {"evaluation": "cross_validation", "folds": 3, "fold_seed": 5}
PRUNED = {**FOLDS, "prune": True}
CONVOLUTIONS = {
    "backbone": "user_models:Convolutions", "recipe": "scratch", "epochs": 4, "batch_size": 16, "augmentation": "light",
    "options": {"blocks": 1, "filters_0": 8, "normalised": True, "head": "linear", "rate": 0.01},
}  # fmt: skip
FITTED = {
    **CONVOLUTIONS, "backbone": "user_models:Fitted",
    "options": {**CONVOLUTIONS["options"], "batch_size": 8, "epochs": 2},
}  # fmt: skip
LIVE = {**DROPOUT, "augmentation": "light"}  # random views are drawn anew in the last fit


class CutError(Exception):
    """What ends an attempt."""


class Attempts:
    """One job after the other in folders of their own, each knowing of those before it."""

    def __init__(self, problem, root, config, kind="trial", **fields):
        self.problem, self.root, self.config, self.kind = problem, root, config, kind
        self.fields = {"checkpoint_seconds": 0, **fields}
        self.folders = []

    def run(self, reports=None, **fields):
        """Run the next attempt.

        Args:
            reports: after so many of them it is cut off, and there is no result.

        Returns:
            Its result, and the reports that it made.
        """
        folder = self.root / f"attempt-{len(self.folders) + 1}"
        earlier = [str(one) for one in self.folders]
        self.folders.append(folder)
        config = {**self.config, **fields.pop("config", {})}
        payload = self.problem.payload(folder, config, self.kind, earlier=earlier, **{**self.fields, **fields})
        told = []

        def report(step, value, extra):
            told.append((step, value))
            if len(told) == reports:
                raise CutError
            return False

        if reports is None:
            return json.loads(json.dumps(run_job(payload, report), allow_nan=False)), told
        with pytest.raises(CutError):
            run_job(payload, report)
        return None, told

    def held_out(self):
        with np.load(self.folders[-1] / "validation.npz", allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}

    def checkpoints(self):
        return [path.name for folder in self.folders for path in folder.glob("checkpoint*")]


@pytest.fixture
def attempts(problem, tmp_path, monkeypatch):
    """Makes series of attempts."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "heads"))

    def make(name, config, kind="trial", **fields):
        return Attempts(problem, tmp_path / name, config, kind, **fields)

    return make


def trained(result):
    """Images of the fit itself, without those of a head that it begins with."""
    counts = result["ledger"]["counts"]
    return sum(count for name, count in counts.items() if name.startswith("trained/")) or counts["images_trained"]


def assert_same(found, expected):
    """Equal results, to the last bit, but for what they cost."""
    costs = ("ledger", "seconds")
    assert {name: value for name, value in found.items() if name not in costs} == {
        name: value for name, value in expected.items() if name not in costs
    }


@pytest.mark.keras
@pytest.mark.parametrize(
    ("config", "how", "reports", "missing"),
    [
        (DROPOUT, HOLDOUT, 3, 2 * 48),  # the third epoch was not over, the fourth had not begun
        (TAIL, HOLDOUT, 2, 48),
        (FINETUNE, PRUNED, 3, 2 * 32 + 2 * 4 * 32),  # two epochs of the first fold, two folds
        (FINETUNE, FOLDS, 2, 32 + 4 * 32),  # the last epoch of the second fold, and the third one
        (CONVOLUTIONS, HOLDOUT, 3, 2 * 48),
        (FITTED, {**FOLDS, "folds": 2}, 2, 2 * 24),  # nobody can step into a loop of the user's own
    ],
    ids=["holdout", "tail", "pruned", "folds", "scratch", "own-fit"],
)
def test_a_trial_that_is_cut_off_comes_to_the_same_and_trains_what_was_missing(attempts, config, how, reports, missing):
    whole, cut = attempts("whole", config, **how), attempts("cut", config, **how)
    expected, told = whole.run()
    _, first = cut.run(reports)
    found, second = cut.run()
    assert_same(found, expected)
    assert second == told  # old reports are made again: a new driver knows nothing of them
    assert first == told[:reports]
    for name, values in whole.held_out().items():
        np.testing.assert_array_equal(cut.held_out()[name], values)
    assert trained(found) == missing < trained(expected)
    assert cut.checkpoints() == whole.checkpoints() == []


@pytest.mark.keras
def test_a_trial_may_be_cut_off_again_and_again(attempts):
    expected, _ = attempts("whole", FINETUNE, **PRUNED).run()
    cut = attempts("cut", FINETUNE, **PRUNED)
    for reports in (2, 3, 4, 6):
        cut.run(reports)
    found, _ = cut.run()
    assert_same(found, expected)
    assert cut.checkpoints() == []


@pytest.mark.keras
@pytest.mark.parametrize("config", [LIVE, CONVOLUTIONS], ids=["finetune", "scratch"])
def test_the_final_fit_goes_on_too(attempts, config):
    whole = attempts("whole", config, "final", temperature=1.0)
    cut = attempts("cut", config, "final", temperature=1.0)
    expected, _ = whole.run()
    cut.run(3)
    found, _ = cut.run()
    assert trained(found) == trained(expected) / 2
    one, two = (np.load(result["reference"]["probabilities"], allow_pickle=False) for result in (expected, found))
    np.testing.assert_array_equal(one, two)


@pytest.mark.keras
def test_the_weights_of_folds_that_are_done_come_along(attempts):
    whole, cut = (attempts(name, FINETUNE, keeps_weights=True, **FOLDS) for name in ("whole", "cut"))
    whole.run()
    cut.run(2)
    cut.run()
    for fold in range(3):
        with (
            np.load(whole.folders[-1] / WEIGHTS.format(fold)) as one,
            np.load(cut.folders[-1] / WEIGHTS.format(fold)) as two,
        ):
            assert one.files == two.files
            assert all(np.array_equal(one[name], two[name]) for name in one.files)


@pytest.mark.keras
def test_a_checkpoint_of_something_else_is_left_alone(attempts):
    cut = attempts("cut", FINETUNE, **HOLDOUT)
    cut.run(3)
    for other in ({"config": {"head_rate": 1e-3}}, {"seed": 8}, {"metric": "accuracy"}, FOLDS):
        _, told = cut.run(1, **other)
        assert len(told) == 1  # nothing was told again
    expected, _ = attempts("whole", FINETUNE, **HOLDOUT).run()
    found, _ = cut.run()
    assert_same(found, expected)  # and the old one still holds
    assert trained(found) == 2 * 48


@pytest.mark.keras
def test_the_newest_checkpoint_that_can_be_read_counts(attempts, capsys):
    cut = attempts("cut", FINETUNE, **HOLDOUT)
    cut.run(2)
    cut.run(4)
    newest = cut.folders[-1] / FILE
    newest.write_bytes(newest.read_bytes()[:-100])
    found, _ = cut.run()
    assert trained(found) == 3 * 48  # the first attempt had kept one epoch
    assert "cannot be read" in capsys.readouterr().err
    assert_same(found, attempts("whole", FINETUNE, **HOLDOUT).run()[0])


@pytest.mark.keras
def test_checkpoints_are_written_no_more_often_than_told(attempts):
    seldom = attempts("seldom", FINETUNE, **PRUNED, checkpoint_seconds=3600)
    seldom.run(3)
    assert seldom.checkpoints() == []
    seldom.run(6)  # four epochs and a fold, then a fold
    assert seldom.checkpoints() == [FILE]
    found, _ = seldom.run()
    assert trained(found) == 2 * 4 * 32


@pytest.mark.keras
def test_a_trial_that_has_come_to_its_end_leaves_none(attempts):
    late = attempts("late", FINETUNE, **HOLDOUT, stop_at=time.time())
    assert late.run()[0]["stopped"]  # within the second epoch
    failing = attempts("failing", {**FINETUNE, "head_rate": 1e30}, **HOLDOUT)
    with pytest.raises(TrialError, match="finite"):
        failing.run()
    assert late.checkpoints() == failing.checkpoints() == []


@pytest.mark.keras
def test_a_trial_that_was_told_to_stop_can_be_gone_on_with(attempts, problem):
    """A driver that is interrupted tells all trials to stop; whether one was pruned is known to the driver alone."""
    cut = attempts("cut", FINETUNE, **HOLDOUT)
    folder = cut.root / "stopped"
    payload = problem.payload(folder, FINETUNE, checkpoint_seconds=0, **HOLDOUT)
    assert run_job(payload, lambda step, value, extra: step == 3)["stopped"]
    cut.folders.append(folder)
    found, told = cut.run()
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert trained(found) == 2 * 48
    assert_same(found, attempts("whole", FINETUNE, **HOLDOUT).run()[0])
    assert cut.checkpoints() == []


@pytest.mark.keras
def test_a_full_disk_costs_the_checkpoint_and_nothing_else(attempts, capsys):
    cut = attempts("full", FINETUNE, **HOLDOUT)
    folder = cut.root / "attempt-1"
    folder.mkdir(parents=True)
    (folder / "checkpoint.tmp").symlink_to("/dev/full")  # every write to it fails as on a full disk
    found, told = cut.run()
    assert len(told) == 4
    assert_same(found, attempts("whole", FINETUNE, **HOLDOUT).run()[0])
    assert capsys.readouterr().err.count("No space left on device") == 1


STATE = TrainingState(3, (np.arange(4.0), np.zeros((2, 3), np.uint32)), np.random.default_rng(1).bit_generator.state)
PROGRESS = Progress(((1, 0.5), (2, 0.25)), (np.ones((2, 3), np.float32),), STATE)


def same_progress(one, two):
    return one.reports == two.reports and all(
        len(first) == len(second) and all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
        for first, second in ((one.folds, two.folds), (one.training.values, two.training.values))
    )


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path):
    write_checkpoint(tmp_path / FILE, "key", PROGRESS)
    found = read_checkpoint(tmp_path / FILE, "key")
    assert same_progress(found, PROGRESS)
    assert (found.training.epoch, found.training.generator) == (3, STATE.generator)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert read_checkpoint(tmp_path / FILE, "other") is None
    assert read_checkpoint(tmp_path / "none" / FILE, "key") is None


@pytest.mark.parametrize("kept", [0, 10, 200, -200, -1])
def test_half_a_checkpoint_is_none(tmp_path, kept):
    write_checkpoint(tmp_path / FILE, "key", PROGRESS)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:kept])
    assert read_checkpoint(tmp_path / FILE, "key") is None


def test_other_files_of_that_name_are_none(tmp_path):
    path = tmp_path / FILE
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert read_checkpoint(path, "key") is None
    np.savez(path, np.array("[1, 2]"))
    assert read_checkpoint(path, "key") is None
    np.savez(path, np.array({"key": "key"}, object))  # pickled: it is not even opened
    assert read_checkpoint(path, "key") is None


def test_bits_that_have_changed_are_noticed(tmp_path):
    path = tmp_path / FILE
    write_checkpoint(path, "key", PROGRESS)
    content = bytearray(path.read_bytes())
    place = content.index(np.arange(4.0).tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert read_checkpoint(path, "key") is None


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path, small_files):
    write_checkpoint(tmp_path / FILE, "key", PROGRESS)
    large = Progress(training=TrainingState(4, (np.zeros(10**6),), {}))
    with small_files(10**5), pytest.raises(OSError, match="File too large"):
        write_checkpoint(tmp_path / FILE, "key", large)
    assert same_progress(read_checkpoint(tmp_path / FILE, "key"), PROGRESS)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
