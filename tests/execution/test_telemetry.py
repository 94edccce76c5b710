"""What the meter makes of the answers of an `nvidia-smi`, here a program that answers as told."""

import os
import subprocess

import psutil
import pytest

from autotl.execution.telemetry import PATIENCE_SECONDS, GpuMeter

FIRST, SECOND = "GPU-aaaa1111-0000", "GPU-bbbb2222-0000"


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts an nvidia-smi first on the PATH; `smi(gpus, processes)` says what it answers from then on."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f"#!/bin/sh\necho asked >> {tmp_path}/questions\n"
        f'case "$1" in *compute-apps*) cat {tmp_path}/processes;; *) cat {tmp_path}/gpus;; esac\n'
        f"exit $(cat {tmp_path}/code)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def answer(gpus="", processes="", code=0):
        (tmp_path / "gpus").write_text(gpus)
        (tmp_path / "processes").write_text(processes)
        (tmp_path / "code").write_text(str(code))

    answer()
    return answer


@pytest.fixture
def questions(tmp_path):
    """How often nvidia-smi was asked."""
    return lambda: len(path.read_text().split()) if (path := tmp_path / "questions").exists() else 0


@pytest.fixture
def workers():
    """The processes that `worker` has started."""
    started = []
    yield started
    for process in started:
        process.communicate()


@pytest.fixture
def worker(workers):
    """Starts a process that sees the GPU it is told; of a worker it has nothing else."""

    def start(gpu):
        environment = {"PATH": os.environ["PATH"], **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}
        workers.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=environment))
        while not psutil.Process(workers[-1].pid).environ():  # for a moment after it has begun a program has none
            pass
        return workers[-1].pid

    return start


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def wait_for_answers(workers):
    """Waits until nvidia-smi has answered what it was asked."""

    def wait():
        for question in {child.pid for child in psutil.Process().children()} - {each.pid for each in workers}:
            os.waitid(os.P_PID, question, os.WEXITED | os.WNOWAIT)  # it is the meter that reaps them

    return wait


@pytest.fixture
def look(clock, wait_for_answers):
    """Has a meter take a whole sample: begins it when it is due, waits for the answers, lets them be read."""

    def look(meter, pids):
        clock.seconds += 10
        meter.poll(pids)
        wait_for_answers()
        meter.poll(pids)

    return look


def test_a_job_has_the_peak_of_its_process_and_the_mean_of_its_gpu(smi, worker, look, clock):
    meter, pids = GpuMeter(clock=clock), {"gpu-0.0": worker(FIRST), "gpu-0.1": worker(FIRST), "gpu-1.0": worker(SECOND)}
    first, second, third = pids.values()
    for memory, utilisation in ((300, 10), (500, 90), (400, 50)):
        smi(
            f"{SECOND}, 9000, 100\n{FIRST}, 2000, {utilisation}\n",
            f"{first}, {memory}\n{second}, 700\n{third}, 80\n1, 9\n",
        )
        look(meter, pids)
    assert meter.take("gpu-0.0") == {"gpu_memory_bytes": 500 * 2**20, "gpu_utilisation": pytest.approx(0.5)}
    assert meter.take("gpu-0.1") == {"gpu_memory_bytes": 700 * 2**20, "gpu_utilisation": pytest.approx(0.5)}
    assert meter.take("gpu-1.0") == {"gpu_memory_bytes": 80 * 2**20, "gpu_utilisation": 1.0}
    assert meter.take("gpu-0.0") == {}, "the next job starts from nothing"


def test_where_processes_cannot_be_told_apart_a_gpu_speaks_for_the_one_slot_on_it(smi, worker, look, clock):
    meter, pids = GpuMeter(clock=clock), {"gpu-0.0": worker(FIRST), "gpu-0.1": worker(FIRST), "gpu-1.0": worker(SECOND)}
    smi(f"{FIRST}, 2000, 60\n{SECOND}, 900, [N/A]\n", f"{pids['gpu-0.0']}, [N/A]\n")
    look(meter, pids)
    assert meter.take("gpu-0.0") == {"gpu_utilisation": 0.6}
    assert meter.take("gpu-0.1") == {"gpu_utilisation": 0.6}
    assert meter.take("gpu-1.0") == {"gpu_memory_bytes": 900 * 2**20}


def test_a_gpu_may_be_named_by_its_position(smi, worker, look, clock):
    meter, pids = GpuMeter(clock=clock), {"a": worker("1"), "b": worker("7")}
    smi(f"{FIRST}, 2000, 60\n{SECOND}, 900, 20\n")
    look(meter, pids)
    assert (meter.take("a")["gpu_utilisation"], meter.take("b")) == (0.2, {})


@pytest.mark.parametrize("gpu", ["-1", "", None])
def test_where_no_job_has_a_gpu_nothing_is_started(smi, worker, look, clock, questions, gpu):
    meter, pids = GpuMeter(clock=clock), {"cpu-0": worker(gpu)}
    smi(f"{FIRST}, 2000, 60\n")
    look(meter, pids)
    look(meter, {})
    assert (meter.take("cpu-0"), questions()) == ({}, 0)


def test_without_nvidia_smi_nothing_is_known(worker, look, clock, monkeypatch, tmp_path):
    meter, pids = GpuMeter(clock=clock), {"gpu-0": worker(FIRST)}
    monkeypatch.setenv("PATH", str(tmp_path))
    look(meter, pids)
    assert meter.take("gpu-0") == {}


def test_a_process_that_has_ended_is_left_out(smi, worker, look, clock):
    meter, ended = GpuMeter(clock=clock), subprocess.Popen(["true"])
    ended.wait()
    smi(f"{FIRST}, 2000, 60\n")
    look(meter, {"gpu-0": ended.pid, "gpu-1": worker(FIRST)})
    assert meter.take("gpu-0") == {}
    assert meter.take("gpu-1") == {"gpu_memory_bytes": 2000 * 2**20, "gpu_utilisation": 0.6}


def test_an_answer_that_makes_no_sense_is_no_news(smi, worker, look, clock):
    meter, pids = GpuMeter(clock=clock), {"gpu-0": worker(FIRST)}
    smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "No running processes\n")
    look(meter, pids)
    smi(f"{FIRST}, 2000, 60\n", code=9)
    look(meter, pids)
    assert meter.take("gpu-0") == {}


def test_samples_are_seldom(smi, worker, look, clock, questions):
    meter, pids = GpuMeter(interval_seconds=10, clock=clock), {"gpu-0": worker(FIRST)}
    look(meter, pids)
    for _ in range(100):
        clock.seconds += 0.09
        meter.poll(pids)
    assert questions() == 2, "one about GPUs and one about processes"
    look(meter, pids)
    assert questions() == 4


def test_what_was_asked_during_a_job_does_not_count_for_the_next_one(smi, worker, look, clock, wait_for_answers):
    meter, pids = GpuMeter(clock=clock), {"gpu-0": worker(FIRST)}
    smi(f"{FIRST}, 2000, 60\n")
    meter.poll(pids)
    meter.take("gpu-0")
    wait_for_answers()
    meter.poll(pids)
    assert meter.take("gpu-0") == {}
    look(meter, pids)
    assert meter.take("gpu-0") != {}


def test_a_question_that_hangs_is_given_up_and_asked_again(smi, worker, look, clock, tmp_path):
    meter, pids = GpuMeter(clock=clock), {"gpu-0": worker(FIRST)}
    program = (tmp_path / "nvidia-smi").read_text()
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    meter.poll(pids)
    clock.seconds += PATIENCE_SECONDS + 1
    (tmp_path / "nvidia-smi").write_text(program)
    smi(f"{FIRST}, 2000, 60\n")
    look(meter, pids)
    look(meter, pids)
    assert meter.take("gpu-0")["gpu_utilisation"] == 0.6
