"""What was found to fit into memory, and for whom that counts."""

import pytest

from autotl.execution.protocol import Job, SlotInfo
from autotl.search.memory_limits import EVENT, MemoryLimits, read_limits

SMALL = SlotInfo("gpu-0", "gpu:0", 1, None, None, memory_bytes=8 * 2**30, device_name="RTX")
LARGE = SlotInfo("gpu-1", "gpu:1", 1, None, None, memory_bytes=80 * 2**30, device_name="H100")
CPU = SlotInfo("cpu-0", "cpu", 1, None, None)


def job(**config):
    base = {"backbone": "tiny", "image_size": 224, "recipe": "finetune", "freeze_depth": 0.5, "batch_size": 64}
    return Job("a", 1, "module:function", {"config": {**base, **config}})


@pytest.fixture
def limits():
    """Of 16 images at a time on the small GPU, half of the network trained."""
    limits = MemoryLimits()
    limits.lower(job(), SMALL, 16)
    return limits


def test_the_same_training_starts_with_what_was_found(limits):
    assert limits.micro_batch(job(), SMALL) == 16
    assert limits.micro_batch(job(head_rate=0.1), SMALL) == 16


def test_a_batch_that_fits_stays_whole(limits):
    assert limits.micro_batch(job(batch_size=16), SMALL) is None


def test_training_more_of_the_network_fits_no_better_and_training_less_may(limits):
    assert limits.micro_batch(job(freeze_depth=0.25), SMALL) == 16
    assert limits.micro_batch(job(recipe="scratch", freeze_depth=0.25), SMALL) is None  # takes no step in parts
    assert limits.micro_batch(job(freeze_depth=0.75), SMALL) is None


@pytest.mark.parametrize("config", [{"backbone": "other"}, {"image_size": 192}, {"recipe": "probe"}])
def test_nothing_is_said_about_another_training(limits, config):
    assert limits.micro_batch(job(**config), SMALL) is None


def test_nor_about_another_device(limits):
    assert limits.micro_batch(job(), LARGE) is None
    assert limits.micro_batch(job(), CPU) is None


def test_the_lowest_limit_holds(limits):
    limits.lower(job(), SMALL, 8)
    limits.lower(job(), SMALL, 32)
    assert limits.micro_batch(job(), SMALL) == 8


def test_a_job_without_a_network_has_no_limit(limits):
    assert limits.micro_batch(Job("a", 1, "module:function", {}), SMALL) is None


def test_limits_are_read_back_from_the_events_that_they_left():
    limits = MemoryLimits()
    events = [{"kind": EVENT, **limits.lower(job(), SMALL, 16)}, {"kind": "ended", "job": "a"}]
    events.append({"kind": EVENT, **limits.lower(job(), SMALL, 8)})
    assert read_limits(events) == limits
