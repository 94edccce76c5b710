"""Where the slots of a cluster are, worked out without Ray."""

import pytest

from autotl.execution.executors import Slots
from autotl.execution.ray_layout import Node, lay_out, places

GPU_NODES = [
    Node("1", "head", False, cpus=4, gpus=0),
    Node("2", "big", False, cpus=64, gpus=8),
    Node("3", "small", False, cpus=6, gpus=1),
]
CPU_NODES = [
    Node("1", "a", False, cpus=8, gpus=0),
    Node("2", "b", False, cpus=2, gpus=0),
    Node("3", "idle", False, cpus=0, gpus=0),
]


def laid_out(nodes, **wanted):
    return places(nodes, lay_out(nodes, Slots(**wanted)))


def test_where_there_are_gpus_each_is_a_slot_and_nodes_take_turns():
    found = laid_out(GPU_NODES)
    assert [place.id for place in found] == ["big-gpu-0", "small-gpu-0", *(f"big-gpu-{index}" for index in range(1, 8))]
    assert [(place.threads, place.gpu_share) for place in found[:2]] == [(8, 1.0), (6, 1.0)]


@pytest.mark.parametrize(("share", "slots"), [(0.5, 2), (0.3, 3), (1 / 93, 93), (0.6, 1)])
def test_a_gpu_has_as_many_slots_as_shares_fit(share, slots):
    found = laid_out([Node("1", "a", False, cpus=2, gpus=1)], gpu_share=share)
    assert [place.gpu_share for place in found] == [share] * slots


def test_without_gpus_each_node_that_has_cpus_is_one_slot_of_all_of_them():
    assert [(place.id, place.cpus, place.threads) for place in laid_out(CPU_NODES)] == [
        ("a-cpu-0", 8, 8),
        ("b-cpu-0", 2, 2),
    ]


def test_gpus_can_be_left_alone():
    assert [place.id for place in laid_out(GPU_NODES, gpus="none")] == ["head-cpu-0", "big-cpu-0", "small-cpu-0"]


def test_jobs_are_spread_over_nodes_of_cpus():
    found = laid_out(CPU_NODES, jobs=3)
    assert [place.id for place in found] == ["a-cpu-0", "b-cpu-0", "a-cpu-1", "b-cpu-1"]
    assert [(place.cpus, place.threads) for place in found] == [(4, 4), (1, 1), (4, 4), (1, 1)]


def test_more_slots_than_cpus_share_them():
    found = laid_out([Node("1", "a", False, cpus=2, gpus=0)], jobs=6)
    assert [place.threads for place in found] == [1] * 6
    assert 1.99 < sum(place.cpus for place in found) <= 2
