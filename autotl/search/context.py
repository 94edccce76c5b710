"""What all steps of one search share: the run, its request, the data, the slots, the clock and the ledger."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic, time
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
from autotl.search.forecast import Forecast
from autotl.search.request import SearchRequest
from autotl.space.schema import SearchSpace, Stage

OnEvent = Callable[[dict[str, Any]], None]
FEW_IMAGES = 2000  # for training and validation together; a fifth of them tells apart differences of 6 points
TRIAL_TARGET = "autotl.learn.jobs:run_job"


@dataclass(frozen=True)
class Plugins:
    """What competes in a search, by name: resolved once, and the same when a run is resumed."""

    backbones: Mapping[str, Backbone]
    heads: Mapping[str, Head] = field(default_factory=dict)


@dataclass
class Context:
    """Passed down through the steps of a search; costs, forecast, `expected`, `number` and the dispatcher change."""

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
    forecast: Forecast = field(default_factory=lambda: Forecast({}, 0, 0))
    expected: float | None = None  # seconds of the whole search, as the check foresaw them
    number: int = 0
    finishes: bool = False  # asks for no further trial: what is known is delivered
    shares_stores: bool = False  # with other searches of the same images
    outer: tuple[str, ...] = ()  # test predictions of searches on other parts, in the place of a test split

    @property
    def backbones(self) -> Mapping[str, Backbone]:
        return self.plugins.backbones

    @property
    def heads(self) -> Mapping[str, Head]:
        return self.plugins.heads

    def elapsed(self) -> float:
        return monotonic() - self.started

    def cheapest_first(self, names: Iterable[str]) -> list[str]:
        """By what one image's pass takes, in multiplications: a time that was measured would differ between runs."""
        speeds = self.forecast.speeds
        return sorted(names, key=lambda name: speeds[name].multiply_adds if name in speeds else 0)

    def clock_time(self, elapsed: float) -> float:
        """A moment of the search, in seconds since its start, as workers read it off their clock."""
        return time() - self.elapsed() + elapsed

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
            "shares_stores": self.shares_stores,
            **fields,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_json(self.run.trial_dir(number) / "config.json", {"kind": kind, "seed": seed, **fields, **config})
        return Job(f"{kind}-{number}", 1, TRIAL_TARGET, payload)

    def trial_job(
        self,
        stage: Stage,
        number: int,
        config: dict[str, Any],
        seed: int | None = None,
        kind: str = "trial",
        **fields: Any,
    ) -> Job:
        """A trial of a stage; all of them are scored on the same folds, unless `fold_seed` says otherwise."""
        how = {
            "evaluation": self.evaluation(stage),
            "images": self.images(stage),
            "folds": stage.folds,
            "repeats": stage.repeats,
            "prune": stage.prune,
            "fold_seed": self.seed_for("folds"),
            "stage": stage.name,
        }
        seed = self.seed_for(f"trial {number}") if seed is None else seed
        return self.job(number, kind, config, seed, **{**how, **fields})

    def evaluation(self, stage: Stage) -> str:
        """How the trials of a stage are scored: "auto" means folds where a hold-out would be too small to choose by."""
        if stage.evaluation != "auto":
            return stage.evaluation
        return "cross_validation" if len(self.manifest.rows("train", "val")) < FEW_IMAGES else "holdout"

    def images(self, stage: Stage) -> int | None:
        """How many images the trials of a stage see, where these are not all."""
        if stage.images is None or self.request.ensemble:  # members of an ensemble are scored on the same images
            return None
        return stage.images if stage.images < len(self.manifest.rows("train", "val")) else None

    def passed_images(self, stage: Stage) -> int | None:
        """How many images the frozen network sees for the trials of a stage, where these are not all."""
        return None if self.shares_stores else self.images(stage)

    def next_number(self) -> int:
        self.number += 1
        return self.number
