import os

import pytest

from autotl.execution.inline import InlineExecutor
from autotl.execution.protocol import Finished, Job


def speak(payload, report):
    print("a word from the job")
    return {}


def test_jobs_run_in_this_process_one_per_poll_in_the_order_of_submission():
    executor = InlineExecutor(slot_count=2)
    executor.submit(Job("b", 1, "targets:echo", {}), "inline-1")
    executor.submit(Job("a", 1, "targets:echo", {}), "inline-0")
    assert [event.job_id for event in executor.poll(0)] == ["b", "b"]
    assert [slot.busy for slot in executor.slots()] == ["a", None]
    (_, finished) = executor.poll(0)
    assert isinstance(finished, Finished)
    assert finished.result["pid"] == os.getpid()


def test_ctrl_c_in_a_job_reaches_the_caller_and_frees_the_slot():
    executor = InlineExecutor()
    executor.submit(Job("a", 1, "targets:interrupt", {}), "inline-0")
    with pytest.raises(KeyboardInterrupt):
        executor.poll(0)
    assert executor.slots()[0].busy is None


def test_what_a_job_prints_does_not_get_into_the_result_on_stdout(capsys):
    executor = InlineExecutor()
    executor.submit(Job("a", 1, "test_inline:speak", {}), "inline-0")
    assert isinstance(executor.poll(0)[-1], Finished)
    assert capsys.readouterr() == ("", "a word from the job\n")
