"""The kernel's counts, read from files as it lays them out."""

import pytest

from autotl.execution.oom_killer import count_kills


@pytest.fixture
def write(tmp_path):
    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    return write


def test_the_group_of_this_process_counts_and_not_the_whole_machine(tmp_path, write):
    write("proc/vmstat", "nr_free_pages 5\noom_kill 70\n")
    write("proc/self/cgroup", "0::/user.slice/mine\n")
    write("sys/fs/cgroup/user.slice/mine/memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert count_kills(tmp_path) == 2


def test_in_a_container_the_group_is_the_root_of_what_it_sees(tmp_path, write):
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/memory.events", "oom 3\noom_kill 4\n")
    assert count_kills(tmp_path) == 4


def test_the_first_version_of_control_groups_has_it_elsewhere(tmp_path, write):
    write("proc/vmstat", "oom_kill 70\n")
    write("proc/self/cgroup", "4:cpu,memory:/job\n1:cpuset:/\n0::/\n")
    write("sys/fs/cgroup/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert count_kills(tmp_path) == 3


def test_without_a_group_of_its_own_the_machine_counts(tmp_path, write):
    write("proc/self/cgroup", "0::/\n")
    write("proc/vmstat", "oom_kill 70\n")
    assert count_kills(tmp_path) == 70


def test_where_the_kernel_says_nothing_nothing_was_killed(tmp_path):
    assert count_kills(tmp_path) == 0
