"""A corner of the space where no trial fits into memory, and towards which scores get better.

Told as failures, trials of the corner would be invisible to the sampler, which would go on proposing it: 38 to 40 of
the last 40 trials. Told as infeasible they teach it where not to look.
"""

from dataclasses import replace

import pytest

from autotl.runs.events import read_events
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import open_study

TRIALS, LAST = 60, 40
SPACE = f"""
[[stage]]
name = "tail"
recipe = "finetune"
trials = {TRIALS}
evaluation = "holdout"
[stage.parameters]
backbone = {{ choice = ["vgg16"] }}
weights = {{ choice = ["random"] }}
image_size = {{ choice = [32] }}
head_rate = {{ log = [1e-4, 1e-2] }}
weight_decay = {{ log = [1e-4, 1e-1] }}
"""


class Retargeted:
    """An executor with another target in the place of what it is given."""

    def __init__(self, executor, target):
        self.executor, self.target = executor, target

    def submit(self, job, slot_id):
        self.executor.submit(replace(job, target=self.target), slot_id)

    def __getattr__(self, name):
        return getattr(self.executor, name)


@pytest.mark.parametrize("seed", [0, 6])
def test_the_sampler_learns_to_stay_out_of_a_corner_where_memory_ends(
    make_context, make_space, targets_importable, seed
):
    context = make_context(make_space(SPACE), seed=seed)
    dispatcher = context.dispatcher
    dispatcher.executor = Retargeted(dispatcher.executor, "search_targets:cornered")
    study = open_study(open_storage(context.run.study_path), context.space.stages[0], "log_loss", seed=seed)
    results = StageRun(context, context.space.stages[0], study, list(context.backbones), {}, TRIALS).run()
    assert len(results) == TRIALS
    failed = [result for result in results if result["error"] is not None]
    assert {result["error"]["kind"] for result in failed} == {"oom"}
    assert all(result["config"]["head_rate"] > 1e-3 for result in failed)
    assert sum(result["error"] is not None for result in results[-LAST:]) < LAST / 2
    limits = [event for event in read_events(context.run) if event["kind"] == "memory_limit"]
    assert [limit["micro_batch"] for limit in limits] == [16, 8]  # found out once, and remembered
