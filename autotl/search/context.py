"""What all steps of one search share: the run, its request, the data, the slots, the clock and the ledger."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.execution.protocol import Job
from autotl.heads.contract import Head
from autotl.runs.directory import Run
from autotl.runs.events import append_event
from autotl.runs.files import write_json
from autotl.search.costs import Costs
from autotl.search.dispatch import Dispatcher
from autotl.search.request import SearchRequest
from autotl.space.schema import SearchSpace, Stage

OnEvent = Callable[[dict[str, Any]], None]
TRIAL_TARGET = "autotl.learn.jobs:run_job"


@dataclass(frozen=True)
class Plugins:
    """What competes in a search, by name: resolved once, and the same when a run is resumed."""

    backbones: Mapping[str, Backbone]
    heads: Mapping[str, Head] = field(default_factory=dict)


@dataclass
class Context:
    """Passed down through the steps of a search; only `costs`, `number` and the dispatcher change."""

    request: SearchRequest
    space: SearchSpace
    plugins: Plugins
    manifest: Manifest
    cache: Cache
    run: Run
    dispatcher: Dispatcher
    on_event: OnEvent
    started: float = field(default_factory=monotonic)
    costs: Costs = field(default_factory=Costs)
    number: int = 0

    @property
    def backbones(self) -> Mapping[str, Backbone]:
        return self.plugins.backbones

    @property
    def heads(self) -> Mapping[str, Head]:
        return self.plugins.heads

    def elapsed(self) -> float:
        return monotonic() - self.started

    def tell(self, event: str, **fields: Any) -> None:
        """To the person who watches."""
        self.on_event({"event": event, **fields})

    def log(self, kind: str, **fields: Any) -> None:
        """To the run's event log."""
        append_event(self.run, kind, **fields)

    def seed_for(self, purpose: str) -> int:
        """A seed of its own for every purpose, fixed by the request's."""
        return zlib.crc32(f"{self.request.seed}/{purpose}".encode()) & 0x7FFFFFFF

    def job(self, number: int, kind: str, config: dict[str, Any], seed: int, **fields: Any) -> Job:
        """A job for the trial of that number, with a folder and a log of its own."""
        folder = self.run.attempt_dir(number, 1)
        payload = {
            "kind": kind,
            "config": config,
            "manifest": str(self.run.manifest_path),
            "cache": {"root": str(self.cache.root), "max_bytes": self.cache.max_bytes},
            "seed": seed,
            "metric": self.request.metric,
            "folder": str(folder),
            "log_path": str(folder / "log.txt"),
            **fields,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_json(self.run.trial_dir(number) / "config.json", {"kind": kind, "seed": seed, **fields, **config})
        return Job(f"{kind}-{number}", 1, TRIAL_TARGET, payload)

    def trial_job(self, stage: Stage, number: int, config: dict[str, Any]) -> Job:
        """A trial of a stage; all of them are scored on the same folds."""
        how = {"evaluation": stage.evaluation, "fold_seed": self.seed_for("folds"), "stage": stage.name}
        return self.job(number, "trial", config, self.seed_for(f"trial {number}"), **how)

    def next_number(self) -> int:
        self.number += 1
        return self.number
