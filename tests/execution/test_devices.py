import os
import stat

import pytest

from autotl.errors import UsageError
from autotl.execution.devices import SlotPlan, core_count, plan_slots, worker_environment

ANSWER = """\
GPU-aaaa1111-0000, 143771, NVIDIA H200
GPU-bbbb2222-0000, 24564, NVIDIA GeForce RTX 4090
GPU-cccc3333-0000, [N/A], NVIDIA GB10, with a comma
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts an nvidia-smi that answers as told first on the PATH."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(answer, exit_code=0):
        (tmp_path / "answer").write_text(answer)
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\ncat "{tmp_path}/answer"\nexit {exit_code}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


def visible(plans):
    return [plan.visible_devices for plan in plans]


def test_each_gpu_is_a_slot_that_sees_only_itself(smi):
    smi(ANSWER)
    threads = max(1, core_count() // 3)
    assert plan_slots(None) == [
        SlotPlan("gpu-0", "gpu:0", threads, "GPU-aaaa1111-0000", 143771 * 2**20, "NVIDIA H200"),
        SlotPlan("gpu-1", "gpu:1", threads, "GPU-bbbb2222-0000", 24564 * 2**20, "NVIDIA GeForce RTX 4090"),
        SlotPlan("gpu-2", "gpu:2", threads, "GPU-cccc3333-0000", None, "NVIDIA GB10, with a comma"),
    ]


def test_jobs_caps_the_gpus(smi):
    smi(ANSWER)
    assert [plan.id for plan in plan_slots(2)] == ["gpu-0", "gpu-1"]
    assert len(plan_slots(8)) == 3


def test_gpus_are_chosen_by_position(smi):
    smi(ANSWER)
    assert [plan.device for plan in plan_slots(None, "2, 0,2")] == ["gpu:2", "gpu:0"]


def test_a_mask_of_the_user_is_respected_and_positions_count_within_it(smi, monkeypatch):
    smi(ANSWER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert visible(plan_slots(None)) == ["GPU-cccc3333-0000", "GPU-aaaa1111-0000"]
    assert visible(plan_slots(None, "1")) == ["GPU-aaaa1111-0000"]
    with pytest.raises(UsageError, match=r"2 GPU\(s\) are visible"):
        plan_slots(None, "2")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("GPU-bbbb", ["GPU-bbbb2222-0000"]),
        ("MIG-12-34", ["MIG-12-34"]),
        ("1,7,0", ["GPU-bbbb2222-0000"]),
        ("-1", ["-1"]),
        ("", ["-1"]),
        ("GPU-", ["-1"]),
    ],
)
def test_a_mask_is_read_as_cuda_reads_it(smi, monkeypatch, mask, expected):
    smi(ANSWER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    assert visible(plan_slots(None)) == expected


@pytest.mark.parametrize("answer", ["", "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n"])
@pytest.mark.parametrize("exit_code", [0, 9])
def test_without_a_working_gpu_there_is_one_cpu_slot_with_all_cores(smi, answer, exit_code):
    smi(answer, exit_code)
    assert plan_slots(None) == [SlotPlan("cpu-0", "cpu", core_count(), "-1")]


def test_cpu_slots_share_the_cores(smi):
    smi(ANSWER)
    plans = plan_slots(2 * core_count(), "none")
    assert [plan.id for plan in plans] == [f"cpu-{index}" for index in range(2 * core_count())]
    assert {(plan.threads, plan.visible_devices) for plan in plans} == {(1, "-1")}


@pytest.mark.parametrize("gpus", ["first", "0;1", "-1", "", "0,"])
def test_a_choice_that_cannot_be_read_is_refused(smi, gpus):
    smi(ANSWER)
    with pytest.raises(UsageError, match="GPUs are chosen by"):
        plan_slots(None, gpus)


def test_a_gpu_that_is_not_there_is_refused(smi):
    smi("")
    with pytest.raises(UsageError, match="--gpus 0 was given"):
        plan_slots(None, "0")


@pytest.mark.parametrize("jobs", [0, -1])
def test_less_than_one_job_is_refused(jobs):
    with pytest.raises(UsageError, match="At least one job"):
        plan_slots(jobs, "none")


def test_the_user_s_environment_yields_on_devices_and_wins_on_logging():
    plan = SlotPlan("cpu-0", "cpu", 2)
    inherited = {"CUDA_VISIBLE_DEVICES": "0", "TF_CPP_MIN_LOG_LEVEL": "0", "KERAS_BACKEND": "torch", "HOME": "/h"}
    made = worker_environment(plan, inherited, {"MKL_NUM_THREADS": "1"})
    assert made["CUDA_VISIBLE_DEVICES"] == "-1"
    assert made["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert made["KERAS_BACKEND"] == "torch"
    assert made["MKL_NUM_THREADS"] == "1"
    assert made["OMP_NUM_THREADS"] == "2"
