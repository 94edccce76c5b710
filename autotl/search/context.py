"""What all steps of one search share: the run, its request, the data, the slots, the clock and the ledger."""

import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic, time
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.execution.protocol import Job
from autotl.heads.contract import Head
from autotl.runs.directory import Run
from autotl.search.asking import make_job, run_known, write_down
from autotl.search.costs import Costs
from autotl.search.dispatch import Dispatcher, Outcome
from autotl.search.forecast import Forecast
from autotl.search.journal import Journal
from autotl.search.model_budget import ModelBudget
from autotl.search.past import BEGUN, RESUMED, Past
from autotl.search.request import SearchRequest
from autotl.search.stopping import Stopping
from autotl.space.schema import SearchSpace, Stage

OnEvent = Callable[[dict[str, Any]], None]
FEW_IMAGES = 2000  # for training and validation together; a fifth of them tells apart differences of 6 points


@dataclass(frozen=True)
class Plugins:
    """What competes in a search, by name: resolved once, and the same when a run is resumed."""

    backbones: Mapping[str, Backbone]
    heads: Mapping[str, Head] = field(default_factory=dict)


@dataclass
class Context:
    """Passed down through the steps of a search; what changes is below `on_event`, and the dispatcher."""

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
    model_budget: ModelBudget = field(default_factory=ModelBudget)
    expected: float | None = None  # seconds of the whole search, as the check foresaw them
    number: int = 0
    past: Past = field(default_factory=Past)
    stopping: Stopping = field(default_factory=Stopping)
    shares_stores: bool = False  # with other searches of the same images
    outer: tuple[str, ...] = ()  # test predictions of searches on other parts, in the place of a test split

    @cached_property
    def journal(self) -> Journal:
        """The run's event log."""
        return Journal(self.run)

    @property
    def backbones(self) -> Mapping[str, Backbone]:
        return self.plugins.backbones

    @property
    def heads(self) -> Mapping[str, Head]:
        return self.plugins.heads

    @property
    def finishes(self) -> bool:
        """Whether no further trial is asked for: what is known is delivered."""
        return self.stopping.finishes

    def elapsed(self) -> float:
        """Seconds that the search has taken, those of earlier drivers included."""
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
        self.journal.log(kind, **fields)

    def seed_for(self, purpose: str) -> int:
        """A seed of its own for every purpose, fixed by the request's."""
        return zlib.crc32(f"{self.request.seed}/{purpose}".encode()) & 0x7FFFFFFF

    def log_beginning(self) -> None:
        """The first event of a driver: from here on its time counts."""
        slots = len(self.dispatcher.executor.slots())
        kind = RESUMED if self.past.events else BEGUN
        self.log(kind, python=sys.version.split()[0], slots=slots, elapsed=round(self.elapsed(), 3))

    def look(self) -> None:
        """Between two events: leave a sign of life, and see whether somebody wants the search to stop.

        Raises:
            KeyboardInterrupt: somebody does.
        """
        self.journal.note_life()
        self.stopping.look()

    def begin(self, name: str, detail: str, **fields: Any) -> None:
        """A part of the search begins: a stage, "confirm", "final" or "test"."""
        self.log("phase", phase=name, detail=detail, **fields)
        self.tell("phase", phase=name, detail=detail)

    def expect(self, seconds: float) -> None:
        """How long the rest will take."""
        self.log("eta", seconds=round(seconds, 1))
        self.tell("eta", seconds=seconds)

    def job(self, number: int, kind: str, config: dict[str, Any], seed: int, **fields: Any) -> Job:
        """A job for the trial of that number, in a folder that no attempt has used before. It is not sent yet."""
        fields = {"metric": self.request.metric, "shares_stores": self.shares_stores, **fields}
        return make_job(self.run, self.manifest, self.cache, number, kind, config, seed, **fields)

    def prepare(self, job: Job) -> Job:
        """Make the folder of a job, and write down what it is to do."""
        return write_down(self.journal, job)

    def run_jobs(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs that are no trials of a study; those that an earlier driver has run to their end are not repeated.

        Returns:
            The outcomes in the order of the jobs.
        """

        def on_report(job: Job, step: int, value: float) -> bool:
            self.journal.note_report(job, step, value)
            return False

        return run_known(jobs, self.past, self.prepare, self.dispatcher, on_report)

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
