"""Trials that only wait, and a run to have them in: what a search costs when training costs nothing.

A fake trial sleeps for each epoch and reports a score that is known beforehand: a bowl over its settings, approached
epoch by epoch. It is imported by name in workers, so this folder is on their PYTHONPATH.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autotl.data.check import check_dataset
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.execution.protocol import Executor, Job
from autotl.runs.directory import create_run, open_run
from autotl.runs.events import append_event
from autotl.runs.locking import lock_run
from autotl.search.context import Context, Plugins
from autotl.search.dispatch import Dispatcher
from autotl.search.past import read_past
from autotl.search.plan import resolve_backbones, space_backbones
from autotl.search.request import SearchRequest
from autotl.search.stages import StageRun
from autotl.search.storage import open_storage
from autotl.search.study import last_number, open_study
from autotl.space.files import read_space

TARGET = "fake_trials:run_trial"
EPOCHS = 5
SPREAD = 0.5  # of the durations of trials: from 1 - SPREAD to 1 + SPREAD times the mean
SPACE = """
[[stage]]
name = "fake"
recipe = "finetune"
trials = {trials}
evaluation = "holdout"
epochs = {epochs}
sampler = "{sampler}"
prune = {prune}

[stage.parameters]
backbone = {{ choice = ["vgg16"] }}
weights = {{ choice = ["random"] }}
image_size = {{ choice = [32] }}
freeze_depth = {{ range = [0.0, 1.0] }}
head_rate = {{ log = [1e-4, 1e-2] }}
tail_rate = {{ log = [1e-5, 1e-3] }}
weight_decay = {{ log = [1e-4, 1e-1] }}
"""


def run_trial(payload: Mapping[str, Any], report: Callable[[int, float, dict[str, Any]], bool]) -> dict[str, Any]:
    """The target of a fake job: `epoch_seconds` of the payload is the mean time of an epoch."""
    curve: list[float] = []
    seconds = payload["epoch_seconds"] * slowness(payload["config"])
    for epoch in range(1, EPOCHS + 1):
        time.sleep(seconds)
        curve.append(score(payload["config"], epoch))
        if report(epoch, curve[-1], {}) and epoch < EPOCHS:
            return result(curve, seconds, stopped=True)
    return result(curve, seconds, stopped=False)


def wake(payload: Mapping[str, Any], report: Callable[[int, float, dict[str, Any]], bool]) -> dict[str, Any]:
    """The target of a job that only shows that its worker is up."""
    return {}


def score(config: Mapping[str, Any], epoch: int) -> float:
    """The log-loss after an epoch: smallest at a head rate of 1e-3, a tail rate of 1e-4 and a freeze depth of 0.5."""
    bowl = (math.log10(config["head_rate"]) + 3) ** 2 + (math.log10(config["tail_rate"]) + 4) ** 2
    return 0.5 + 0.2 * bowl + (config["freeze_depth"] - 0.5) ** 2 + math.exp(-epoch)


def slowness(config: Mapping[str, Any]) -> float:
    """How slow a trial is, drawn from its settings: 1 on the average."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).digest()
    return 1 + SPREAD * (2 * digest[0] / 255 - 1)


def result(curve: list[float], seconds: float, *, stopped: bool) -> dict[str, Any]:
    """What a worker would answer."""
    return {
        "score": curve[-1], "scores": {"log_loss": curve[-1], "accuracy": 0.0}, "curve": curve, "stopped": stopped,
        "seconds": round(seconds * len(curve), 4), "temperature": 1.0, "multiply_adds": 1,
        "ledger": {"seconds": {}, "counts": {}},
    }  # fmt: skip


class Fake:
    """Any executor, with fake trials in the place of what it is given."""

    def __init__(self, executor: Executor, epoch_seconds: float) -> None:
        self.executor, self.epoch_seconds = executor, epoch_seconds

    def submit(self, job: Job, slot_id: str) -> None:
        """Hand the job on with another target."""
        payload = {**job.payload, "epoch_seconds": self.epoch_seconds}
        self.executor.submit(replace(job, target=TARGET, payload=payload), slot_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)


def prepare(folder: Path, trials: int, *, sampler: str = "tpe", prune: bool = False) -> None:
    """Make a run directory in `folder`, with two dozen images of noise to search on."""
    generator = np.random.default_rng(0)
    for index in range(24):
        place = folder / "images" / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC).save(place / f"{index}.png")
    text = SPACE.format(trials=trials, epochs=EPOCHS, sampler=sampler, prune=str(prune).lower())
    (folder / "space.toml").write_text(text)
    run = create_run(folder / "run", {"dataset": str(folder / "images"), "metric": "log_loss"})
    check_dataset(str(folder / "images"), seed=0).manifest.write(run.manifest_path)


def search(folder: Path, executor: Executor) -> list[dict[str, Any]]:
    """Run the one stage of a prepared run to its end, or go on with it; what became of its trials."""
    space, run = read_space(str(folder / "space.toml")), open_run(folder / "run")
    stage, backbones = space.stages[0], resolve_backbones(space_backbones(space))
    with lock_run(run):
        context = Context(
            SearchRequest(str(folder / "images")),
            space,
            Plugins(backbones),
            Manifest.read(run.manifest_path),
            Cache(folder / "cache", 2**30),
            run,
            Dispatcher(executor, lambda kind, **fields: append_event(run, kind, **fields)),
            lambda event: None,
            past=read_past(run),
        )
        context.log_beginning()
        storage = open_storage(run.study_path)
        context.number = last_number(storage)
        study = open_study(storage, stage, "log_loss", seed=0)
        return StageRun(context, stage, study, list(backbones), {}, stage.trials).run()
