"""A stage whose driver dies, again and again, comes to the very end that it comes to undisturbed.

Trials are fakes in this process; the database, the event log and the folders are real.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from autotl.execution.protocol import Finished, Report, SlotInfo
from autotl.runs.directory import create_run
from autotl.runs.events import read_events
from autotl.search.dispatch import Dispatcher
from autotl.search.past import read_past, spent_seconds
from autotl.search.plan import concrete_config
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import finished, last_number, open_study, result_of, take_over

TRIALS = 10
SPACE = f"""
[[stage]]
name = "tail"
recipe = "finetune"
trials = {TRIALS}
evaluation = "holdout"
epochs = 6
prune = true
[stage.parameters]
backbone = {{ choice = ["vgg16"] }}
head_rate = {{ log = [1e-5, 1e-1] }}
weight_decay = {{ log = [1e-4, 1e-1] }}
[[stage.first]]
head_rate = 1e-2
[[stage.first]]
head_rate = 1e-4
"""
EPOCHS = 6


class Stepwise:
    """An executor whose fake trials get one epoch further with every poll.

    The curve of a trial is a function of its settings. As a worker does, it ends after the step that it was stopped at,
    and leaves `result.json` in its folder.
    """

    def __init__(self, slots):
        self.jobs, self.curves, self.stopped = dict.fromkeys(range(slots)), {}, set()

    def slots(self):
        return [
            SlotInfo(f"slot-{number}", "cpu", 1, None if job is None else job.id, os.getpid())
            for number, job in self.jobs.items()
        ]

    def submit(self, job, slot_id):
        assert not list(Path(job.payload["folder"]).iterdir()), "no attempt finds the files of another"
        self.jobs[int(slot_id[-1])], self.curves[job.id] = job, []

    def stop(self, job_id, grace_seconds):
        self.stopped.add(job_id)

    def poll(self, timeout_seconds):
        return [self._advance(number) for number, job in self.jobs.items() if job is not None]

    def _advance(self, number):
        job, curve = self.jobs[number], self.curves[self.jobs[number].id]
        config, step = job.payload["config"], len(curve) + 1
        if job.id in self.stopped or step > EPOCHS:
            self.jobs[number] = None
            return Finished(job.id, job.attempt, self._end(Path(job.payload["folder"]), curve))
        curve.append(abs(config["head_rate"] - 1e-3) * 100 + config["weight_decay"] + 1.0 / step)
        return Report(job.id, job.attempt, step, curve[-1], {})

    def _end(self, folder, curve):
        result = {
            "score": curve[-1], "scores": {"log_loss": curve[-1], "accuracy": 0.5}, "curve": curve,
            "stopped": len(curve) < EPOCHS, "temperature": 1.0, "multiply_adds": 1, "seconds": 1.0,
            "ledger": {"seconds": {"train": 1.0}, "counts": {"epochs": len(curve)}},
        }  # fmt: skip
        (folder / "result.json").write_text(json.dumps(result))
        return result


class Mortal:
    """A study database whose driver dies at its n-th write from now on."""

    def __init__(self, storage, writes):
        self.storage, self.writes = storage, writes

    def __getattr__(self, name):
        if name.startswith(("set_", "create_new_trial")):
            if self.writes == 0:
                raise KeyboardInterrupt
            self.writes -= 1
        return getattr(self.storage, name)


@pytest.fixture
def new_driver(make_context, make_space, tmp_path):
    """A driver with an empty memory, on a run that others may have left."""
    base = make_context(make_space(SPACE), seed=3)

    def start(name="run", writes=-1, on_event=lambda event: None, slots=1):
        path = tmp_path / name
        run = base.run if name == "run" else replace(base.run, path=path) if path.exists() else create_run(path, {})
        context = replace(
            base, run=run, past=read_past(run), number=0, on_event=on_event, costs=type(base.costs)(),
            dispatcher=Dispatcher(Stepwise(slots), lambda kind, **fields: None),
        )  # fmt: skip
        context.dispatcher.on_event = context.log
        storage = open_storage(run.study_path)
        context.number = last_number(storage)
        stage = context.space.stages[0]
        study = open_study(storage, stage, "log_loss", seed=5, epochs=6)
        if writes >= 0:
            study._storage = Mortal(study._storage, writes)
        return StageRun(context, stage, study, list(context.backbones), {}, TRIALS)

    return start


def outcome(stage_run):
    """All that is known of the trials in the end, but for what depends on the clock and on attempts."""
    kept = ("number", "state", "score", "config", "curve")
    return [
        ({name: result_of(trial).get(name) for name in kept}, trial.number, trial.state, trial.intermediate_values)
        for trial in finished(stage_run.study)
    ]


def events_of(stage_run, kind):
    return [event for event in read_events(stage_run.context.run) if event["kind"] == kind]


def run_to_the_end(new_driver, name, deaths):
    """Drive a run with one driver after the other; each dies at another write of the database."""
    for writes in deaths:
        driver = new_driver(name, writes)
        try:
            driver.run()
            return driver
        except KeyboardInterrupt:
            pass
    driver = new_driver(name)
    driver.run()
    return driver


@pytest.fixture
def whole(new_driver):
    """The same stage, undisturbed."""
    driver = new_driver("whole")
    driver.run()
    return driver


def test_an_undisturbed_stage_stops_some_trials_on_their_way(whole):
    trials = events_of(whole, "trial")
    assert [trial["number"] for trial in trials] == list(range(1, TRIALS + 1))
    assert {trial["state"] for trial in trials} == {"complete", "pruned"}
    told = [(event["number"], event["why"]) for event in events_of(whole, "pruned") if event["step"] < EPOCHS]
    assert told == [(trial["number"], "behind") for trial in trials if trial["state"] == "pruned"]


WRITES = 13  # of a trial: its parameters, its number, its reports, its record and its end


@pytest.mark.parametrize("deaths", [range(WRITES), range(WRITES, 0, -1)], ids=["ever later", "ever sooner"])
def test_however_often_and_wherever_the_driver_dies_the_end_is_the_same(new_driver, whole, deaths):
    driver = run_to_the_end(new_driver, "mortal", deaths)
    assert outcome(driver) == outcome(whole)
    assert [event["number"] for event in events_of(driver, "trial")] == list(range(1, TRIALS + 1))


def test_what_had_ended_is_not_run_again_and_what_was_cut_off_gets_a_folder_of_its_own(new_driver, whole):
    for number in (2, 5, 5):
        with pytest.raises(KeyboardInterrupt):
            new_driver(on_event=die_at(number, 1)).run()
    driver = new_driver()
    driver.run()
    asked = [(event["number"], event["attempt"]) for event in events_of(driver, "asked")]
    numbers = list(range(1, TRIALS + 1))
    assert sorted(asked) == sorted([*((number, 1) for number in numbers), (2, 2), (5, 2), (5, 3)])
    assert [driver.context.run.attempts(number) for number in (1, 2, 5)] == [[1], [1, 2], [1, 2, 3]]
    assert driver.context.number == TRIALS


def test_the_costs_of_all_drivers_are_in_the_ledger_of_the_last(new_driver, whole):
    driver = run_to_the_end(new_driver, "mortal", [50])
    assert driver.context.costs == whole.context.costs
    assert driver.context.forecast.paid == whole.context.forecast.paid


def die_at(number, step):
    def on_event(event):
        if (event["event"], event.get("number"), event.get("step")) == ("epoch", number, step):
            raise KeyboardInterrupt

    return on_event


def test_a_trial_that_was_cut_off_is_told_where_its_earlier_attempts_lie(new_driver):
    for _ in range(2):
        driver = new_driver(on_event=die_at(2, 3))
        with pytest.raises(KeyboardInterrupt):
            driver.run()
    driver = new_driver()
    seen = {}
    driver.context.dispatcher.executor.submit = lambda job, slot: seen.update({job.id: job})
    driver.context.dispatcher.look = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    job = seen["trial-2"]
    assert (job.attempt, Path(job.payload["folder"]).name) == (3, "attempt-3")
    assert [Path(folder).name for folder in job.payload["earlier"]] == ["attempt-1", "attempt-2"]
    assert list(seen) == ["trial-2"]


def test_all_that_was_asked_for_on_several_slots_goes_on_under_its_number(new_driver):
    with pytest.raises(KeyboardInterrupt):
        new_driver(on_event=die_at(6, 2), slots=3).run()
    driver = new_driver(slots=3)
    left = {trial.user_attrs["number"]: trial.params for trial, _ in take_over(driver.study)}
    assert len(left) == 4 and 6 in left  # three on their slots, and one that was held back
    driver.run()
    trials = {event["number"]: event["config"] for event in events_of(driver, "trial")}
    assert sorted(event["number"] for event in events_of(driver, "trial")) == list(range(1, TRIALS + 1))
    for number, params in left.items():
        assert params.items() <= trials[number].items()
        assert driver.context.run.attempts(number) == [1, 2]


def test_steps_that_the_study_knows_are_not_reported_twice(new_driver, recwarn):
    driver = new_driver(on_event=die_at(2, 3))
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    new_driver().run()
    assert [str(warning.message) for warning in recwarn if "already reported" in str(warning.message)] == []


def end_jobs(driver):
    """They end in the time that they are given when a driver stops."""
    executor = driver.context.dispatcher.executor
    executor.stopped.update(executor.curves)
    executor.poll(0.0)


def test_a_trial_whose_worker_had_finished_when_the_driver_died_is_not_run_again(new_driver, whole):
    """Of those that a driver stops before it dies itself, it counts whether they had fallen behind."""
    behind = next(trial["number"] for trial in events_of(whole, "trial") if trial["state"] == "pruned")
    for number in (1, behind):
        driver = new_driver(on_event=die_at(number, 6 if number == 1 else 2))
        with pytest.raises(KeyboardInterrupt):
            driver.run()
        end_jobs(driver)
    driver = new_driver()
    driver.run()
    assert [event["number"] for event in events_of(driver, "reused")] == [1, behind]
    assert [event["attempt"] for event in events_of(driver, "asked")] == [1] * TRIALS
    assert outcome(driver) == outcome(whole)


def test_a_trial_that_was_stopped_with_its_driver_and_had_not_fallen_behind_is_run_again(new_driver, whole):
    driver = new_driver(on_event=die_at(1, 3))
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    end_jobs(driver)
    driver = new_driver()
    driver.run()
    assert events_of(driver, "reused") == []
    assert outcome(driver) == outcome(whole)


def test_the_end_of_a_trial_that_did_not_reach_the_log_is_added(new_driver):
    driver = new_driver()
    driver.run()
    log = driver.context.run.events_path
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"kind": "trial", "number": 4,' not in line))
    again = new_driver()
    again.run()
    assert [event["number"] for event in events_of(again, "trial")] == [1, 2, 3, *range(5, TRIALS + 1), 4]
    assert new_driver().run() == driver.run()


def test_a_job_that_ended_under_an_earlier_driver_is_not_repeated_unless_it_was_another(new_driver):
    def confirm(number, rate):
        """Runs a job on the side, as the final round does."""
        driver = new_driver()
        stage = driver.stage
        config = concrete_config(
            stage, {"head_rate": rate, "weight_decay": 1e-2, "backbone": "vgg16"}, driver.context.backbones, {}
        )
        job = driver.context.trial_job(stage, number, config, seed=1, confirms=1)
        (ended,) = driver.context.run_jobs([job])
        return driver, ended

    driver, first = confirm(40, 1e-3)
    _, again = confirm(40, 1e-3)
    assert (again.result, again.job.payload["folder"]) == (first.result, first.job.payload["folder"])
    _, other = confirm(40, 1e-2)
    assert other.result != first.result
    assert Path(other.job.payload["folder"]).name == "attempt-2"
    _, back = confirm(40, 1e-3)
    assert (back.result, back.job.payload["folder"]) == (first.result, first.job.payload["folder"])
    assert [event["attempt"] for event in events_of(driver, "asked")] == [1, 2]


def test_pauses_between_drivers_are_no_time_spent(run):
    lines = [
        ("10:00:05", "search", {"elapsed": 5.0}), ("10:01:05", "trial", {"number": 1}),
        ("12:00:00", "resumed", {"elapsed": 65.0}), ("12:00:30", "report", {}),
    ]  # fmt: skip
    events = [{"time": f"2026-01-01T{at}+00:00", "kind": kind, **fields} for at, kind, fields in lines]
    assert spent_seconds(run, []) == 0.0
    assert spent_seconds(run, events[:2]) == 65.0
    assert spent_seconds(run, events[:3]) == 65.0
    assert spent_seconds(run, events) == 95.0
