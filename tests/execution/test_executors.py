"""The executors that ship, as a search opens them by name."""

import pytest

from autotl.errors import PluginError, UsageError
from autotl.execution.executors import Slots, open_executor


def slot_ids(executor):
    ids = [slot.id for slot in executor.slots()]
    executor.shutdown(0)
    return ids


def test_the_local_executor_has_the_slots_that_were_asked_for():
    assert slot_ids(open_executor("local", Slots(jobs=3, gpus="none"))) == ["cpu-0", "cpu-1", "cpu-2"]


def test_the_local_executor_divides_gpus_into_shares_and_says_what_each_slot_has(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU-aaaa1111-0000, 81920, NVIDIA H100'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    executor = open_executor("local", Slots(gpu_share=0.5))
    found = [(slot.id, slot.device, slot.memory_bytes, slot.device_name, slot.node) for slot in executor.slots()]
    executor.shutdown(0)
    assert found == [(name, "gpu:0", 39 * 2**30, "NVIDIA H100", "") for name in ("gpu-0.0", "gpu-0.1")]


def test_the_inline_executor_takes_jobs_one_after_the_other():
    assert slot_ids(open_executor("inline", Slots())) == ["inline-0"]
    assert slot_ids(open_executor("inline", Slots(jobs=2))) == ["inline-0", "inline-1"]


@pytest.mark.parametrize("wanted", [Slots(gpus="0"), Slots(gpus="none"), Slots(gpu_share=0.5)])
def test_the_inline_executor_cannot_choose_devices(wanted):
    with pytest.raises(UsageError, match="Set CUDA_VISIBLE_DEVICES"):
        open_executor("inline", wanted)


@pytest.mark.parametrize("name", ["local", "inline"])
def test_an_address_is_for_clusters(name):
    with pytest.raises(UsageError, match="--executor ray"):
        open_executor(name, Slots(address="auto"))


def test_an_executor_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises((UsageError, PluginError), match="local"):
        open_executor("locale", Slots())
