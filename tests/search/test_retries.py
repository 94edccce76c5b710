"""The fault table: which failure of a job is tried again, and how."""

from dataclasses import replace

import pytest

from autotl.execution.protocol import Failed, Job
from autotl.search.retries import Again, decide, next_attempt

TRAINED = {"backbone": "tiny", "image_size": 32, "recipe": "finetune", "batch_size": 32}


def job(**payload):
    return Job("a", 1, "module:function", payload)


def failures(*kinds):
    return [Failed("a", number, kind, kind, "") for number, kind in enumerate(kinds, 1)]


@pytest.mark.parametrize(
    ("kinds", "decision"),
    [
        (["infra"], Again()),
        (["infra", "infra"], Again()),
        (["infra", "infra", "infra"], "infra"),
        (["hang"], Again()),
        (["hang", "hang"], "hang"),
        (["hang", "infra", "infra"], Again()),
        (["oom_host"], Again(is_alone=True)),
        (["oom_host", "infra"], Again(is_alone=True)),
        (["oom_host", "oom_host"], "oom"),
        (["disk"], Again(makes_room=True)),
        (["disk", "disk"], "disk"),
        (["user"], "user"),
        (["invalid"], "invalid"),
        (["plugin"], "plugin"),
        (["data"], "data"),
        (["cancelled"], "cancelled"),
        (["infra", "user"], "user"),
    ],
)
def test_what_the_machine_did_is_tried_again_and_what_the_job_did_is_not(kinds, decision):
    found = decide(job(config=TRAINED), failures(*kinds))
    assert (found if isinstance(found, Again) else found.kind) == decision


@pytest.mark.parametrize(
    ("config", "micro_batch", "expected"),
    [
        ({"batch_size": 64}, None, 32),
        ({"batch_size": 64}, 32, 16),
        ({"batch_size": 20}, 10, 8),
        ({}, None, 16),  # the recipe's own batch has 32 images
        ({"batch_size": 9}, None, 8),
    ],
)
def test_out_of_memory_halves_the_images_that_are_taken_at_a_time(config, micro_batch, expected):
    config = {"backbone": "tiny", "image_size": 32, "recipe": "finetune", **config}
    payload = {"config": config} if micro_batch is None else {"config": config, "micro_batch": micro_batch}
    assert decide(job(**payload), failures("oom")) == Again({"micro_batch": expected})


@pytest.mark.parametrize(
    "payload",
    [
        {"config": {**TRAINED, "batch_size": 8}},
        {"config": TRAINED, "micro_batch": 8},
        {"config": {**TRAINED, "recipe": "probe"}},
        {"config": {"backbone": "tiny", "image_size": 32}},
        {},
    ],
)
def test_where_no_smaller_batch_helps_a_fresh_process_gets_one_chance(payload):
    assert decide(job(**payload), failures("oom")) == Again()
    assert decide(job(**payload), failures("oom", "oom")) == failures("oom", "oom")[-1]


def test_the_next_attempt_changes_its_own_folder_only():
    folder = "/data/attempt-1/run/trials/0001/attempt-1"
    first = job(folder=folder, log_path=f"{folder}/log.txt", value=1, model="/data/attempt-1/model.keras")
    second = next_attempt(replace(first, needs=("store",)), {"micro_batch": 8})
    assert (second.id, second.attempt, second.target, second.needs) == (first.id, 2, first.target, ("store",))
    assert second.payload == {
        "folder": "/data/attempt-1/run/trials/0001/attempt-2",
        "log_path": "/data/attempt-1/run/trials/0001/attempt-2/log.txt",
        "value": 1,
        "model": "/data/attempt-1/model.keras",
        "earlier": [folder],
        "micro_batch": 8,
    }
    assert first.payload["folder"] == folder


def test_every_attempt_knows_all_earlier_ones():
    third = next_attempt(next_attempt(job(folder="/run/attempt-1")))
    assert third.payload == {"folder": "/run/attempt-3", "earlier": ["/run/attempt-1", "/run/attempt-2"]}


@pytest.mark.parametrize("payload", [{"value": 1}, {"folder": "/run/model", "log_path": "/run/log.txt"}])
def test_a_job_without_a_folder_of_its_attempts_keeps_its_payload(payload):
    assert next_attempt(job(**payload)).payload == payload
