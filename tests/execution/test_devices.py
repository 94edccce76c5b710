import os
import stat

import pytest

from autotl.errors import UsageError
from autotl.execution.devices import MEMORY_LIMIT, SlotPlan, core_count, plan_slots, worker_environment

ANSWER = """\
GPU-aaaa1111-0000, 143771, NVIDIA H200
GPU-bbbb2222-0000, 24564, NVIDIA GeForce RTX 4090
GPU-cccc3333-0000, [N/A], NVIDIA GB10, with a comma
"""
MIXED = """\
GPU-aaaa1111-0000, 24564, NVIDIA GeForce RTX 4090
GPU-bbbb2222-0000, 143771, NVIDIA H200
GPU-cccc3333-0000, 24564, NVIDIA GeForce RTX 4090
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
    assert [plan.device for plan in plan_slots(None, "2, 0,2")] == ["gpu:0", "gpu:2"]


def test_larger_gpus_come_first(smi):
    smi(MIXED)
    assert [plan.id for plan in plan_slots(None)] == ["gpu-1", "gpu-0", "gpu-2"]
    assert [plan.device_name for plan in plan_slots(1)] == ["NVIDIA H200"]


def test_a_share_makes_as_many_slots_as_fit_each_with_its_part_of_the_memory(smi):
    smi(MIXED)
    plans = plan_slots(None, "0,1", 0.3)
    assert [plan.id for plan in plans] == ["gpu-1.0", "gpu-0.0", "gpu-1.1", "gpu-0.1", "gpu-1.2", "gpu-0.2"]
    assert [plan.device for plan in plans] == ["gpu:1", "gpu:0"] * 3
    assert visible(plans) == ["GPU-bbbb2222-0000", "GPU-aaaa1111-0000"] * 3
    assert {plan.threads for plan in plans} == {max(1, core_count() // 6)}
    for whole, mebibytes in (("gpu:0", 24564), ("gpu:1", 143771)):
        for plan in (plan for plan in plans if plan.device == whole):
            assert plan.memory_bytes == int(0.3 * mebibytes * 2**20) - 2**30, "CUDA itself needs room beside each part"
            assert plan.memory_share == plan.memory_bytes / (mebibytes * 2**20)


@pytest.mark.parametrize(("share", "slots"), [(1.0, 1), (0.7, 1), (0.5, 2), (1 / 3, 3), (1 / 93, 93), (0.02, 50)])
def test_the_parts_of_a_gpu_fit_side_by_side(smi, share, slots):
    smi("GPU-aaaa1111-0000, 288000, NVIDIA B300\n")
    plans = plan_slots(None, share=share)
    assert len({plan.id for plan in plans}) == len(plans) == slots
    assert sum(plan.memory_share for plan in plans) <= 1.0
    assert all(plan.memory_share < 1.0 for plan in plans) == (share < 1.0)


def test_jobs_spread_over_the_gpus_before_they_share_one(smi):
    smi(MIXED)
    assert [plan.id for plan in plan_slots(3, share=0.5)] == ["gpu-1.0", "gpu-0.0", "gpu-2.0"]
    assert [plan.id for plan in plan_slots(4, share=0.5)] == ["gpu-1.0", "gpu-0.0", "gpu-2.0", "gpu-1.1"]
    assert plan_slots(1, share=0.5)[0].memory_share < 0.5, "also a slot that is alone on its GPU keeps to its share"


def test_a_gpu_of_unknown_memory_is_given_whole_or_not_at_all(smi):
    smi(ANSWER)
    assert [plan.id for plan in plan_slots(None, "0,1", 0.5)] == ["gpu-0.0", "gpu-1.0", "gpu-0.1", "gpu-1.1"]
    with pytest.raises(UsageError, match=r"how much GPU-cccc3333-0000 NVIDIA GB10.* has"):
        plan_slots(None, "all", 0.5)


def test_a_share_that_leaves_a_job_no_room_is_refused(smi):
    smi("GPU-aaaa1111-0000, 8192, NVIDIA T1000\n")
    assert len(plan_slots(None, share=0.25)) == 4
    with pytest.raises(UsageError, match=r"at least 1 GiB for a job: --gpu-share 0\.2 was given, and .* has 8\.0 GiB"):
        plan_slots(None, share=0.2)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="share of a GPU is above 0 and at most 1"):
        plan_slots(None, "none", share)


def test_cpu_slots_know_nothing_of_shares(smi):
    smi("")
    assert plan_slots(2, share=0.5) == plan_slots(2)


def test_a_mask_of_the_user_is_respected_and_positions_count_within_it(smi, monkeypatch):
    smi(ANSWER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert [(plan.device, plan.visible_devices) for plan in plan_slots(None)] == [
        ("gpu:1", "GPU-aaaa1111-0000"),
        ("gpu:0", "GPU-cccc3333-0000"),
    ]
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


def test_a_worker_on_a_whole_gpu_has_no_cap():
    made = worker_environment(SlotPlan("gpu-0", "gpu:0", 2, "GPU-1", 2**34), {MEMORY_LIMIT: "5"}, {})
    assert made["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert not {MEMORY_LIMIT, "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"} & made.keys()


def test_a_worker_on_a_share_has_the_cap_of_every_backend_and_nothing_that_lifts_it():
    plan = SlotPlan("gpu-0.1", "gpu:0", 2, "GPU-1", memory_bytes=7 * 2**30, memory_share=7 / 16)
    inherited = {
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_GPU_ALLOCATOR": "cuda_malloc_async",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": ".9",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_PYTHON_CLIENT_ALLOCATOR": "platform",
        "XLA_FLAGS": "--xla_gpu_autotune_level=0",
    }
    made = worker_environment(plan, inherited, {})
    expected = {
        MEMORY_LIMIT: str(7 * 2**30),
        "XLA_CLIENT_MEM_FRACTION": "0.4375",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "true",
        "TF_FORCE_GPU_ALLOW_GROWTH": "false",
        "XLA_FLAGS": "--xla_gpu_autotune_level=0",
    }
    assert expected.items() <= made.items()
    assert not {"TF_GPU_ALLOCATOR", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_ALLOCATOR"} & made.keys()
