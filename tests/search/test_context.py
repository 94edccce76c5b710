"""Jobs and seeds of a search."""

import json

import pytest

from autotl.runs.events import read_events
from autotl.space.schema import SearchSpace, Stage

SPACE = SearchSpace(stages=(Stage(name="probe", recipe="probe", trials=1),))
CONFIG = {"backbone": "vgg16", "image_size": 32, "recipe": "probe"}


@pytest.fixture
def context(make_context):
    return make_context(SPACE, seed=3)


def test_every_purpose_has_a_seed_of_its_own_that_the_request_fixes(context, make_context):
    purposes = ["final", "trial 1", "trial 2", "confirm 1", "stage probe"]
    seeds = [context.seed_for(purpose) for purpose in purposes]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [make_context(SPACE, seed=3).seed_for(purpose) for purpose in purposes] == seeds
    assert make_context(SPACE, seed=4).seed_for("final") != seeds[0]


def test_trials_are_counted_from_one(context):
    assert [context.next_number() for _ in range(3)] == [1, 2, 3]


def test_a_job_is_json_with_a_folder_and_a_log_of_its_own(context):
    jobs = [context.prepare(context.job(number, "trial", CONFIG, number, evaluation="holdout")) for number in (1, 2)]
    for number, job in enumerate(jobs, start=1):
        payload = json.loads(json.dumps(job.payload))
        assert payload["folder"] == str(context.run.attempt_dir(number, 1))
        assert payload["log_path"] == str(context.run.attempt_dir(number, 1) / "log.txt")
        assert (payload["config"], payload["seed"], payload["evaluation"]) == (CONFIG, number, "holdout")
        assert context.run.attempt_dir(number, 1).is_dir()
    assert jobs[0].id != jobs[1].id


def test_what_a_trial_does_is_written_beside_it(context):
    context.prepare(context.job(7, "trial", CONFIG, 5, evaluation="holdout", stage="probe"))
    written = json.loads((context.run.trial_dir(7) / "config.json").read_text())
    assert written == {"kind": "trial", "seed": 5, "evaluation": "holdout", "stage": "probe", **CONFIG}


def test_people_are_told_and_the_log_is_written(context, told):
    context.tell("phase", phase="probe")
    context.log("chosen", number=3)
    assert told == [{"event": "phase", "phase": "probe"}]
    (event,) = read_events(context.run)
    assert (event["kind"], event["number"]) == ("chosen", 3)
