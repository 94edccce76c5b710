"""An executor as a plugin: real worker processes, and fake jobs in the place of what they are given."""

from dataclasses import replace

from autotl.execution.devices import plan_slots
from autotl.execution.executors import ExecutorPlugin
from autotl.execution.local import LocalExecutor

PATIENCE = 100  # times as long as asked for does it wait for jobs to end: a test that only waits fails


class FakeJobs:
    def __init__(self, executor):
        self.executor = executor

    def submit(self, job, slot_id):
        self.executor.submit(replace(job, target="fake_jobs:run_job"), slot_id)

    def warm(self, module):
        self.executor.warm("fake_jobs")

    def shutdown(self, grace_seconds):
        return self.executor.shutdown(PATIENCE * grace_seconds)

    def __getattr__(self, name):
        return getattr(self.executor, name)


def open_fakes(wanted):
    return FakeJobs(LocalExecutor(plan_slots(wanted.jobs, "none", 1.0)))


FAKES = ExecutorPlugin("fakes", open_fakes, "fake jobs")
