"""What a study runs in: a run directory, its images, slots, and the way back into it after it was stopped."""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from time import monotonic
from typing import Any

from autotl.data.manifest import Manifest
from autotl.data.samples import resolve_dataset
from autotl.data.store import Cache, open_cache
from autotl.errors import UsageError
from autotl.execution.executors import Slots
from autotl.execution.protocol import Executor, Job
from autotl.runs.directory import Run, create_run, open_run
from autotl.runs.files import read_json, write_json
from autotl.runs.locking import lock_run
from autotl.search.asking import make_job, run_known, write_down
from autotl.search.context import OnEvent
from autotl.search.dispatch import Dispatcher, OnReport, Outcome, ignore_reports
from autotl.search.journal import Journal
from autotl.search.loop import check_data, equipped, follow_data, is_unfinished, make_dispatcher, resumable
from autotl.search.past import BEGUN, RESUMED, Past, read_past
from autotl.search.stopping import Stopping
from autotl.search.unchanged import check_same_images, differing

Change = Callable[[Manifest], Manifest]


@dataclass(frozen=True)
class Setup:
    """Where a study is carried out; it decides no result, and may differ from one driver to the next.

    Attributes:
        out: the run directory; None is a new one below `runs`.
        cache_dir: where images and features are kept; None is the user's cache.
        jobs: how many jobs run at a time; None leaves it to the executor.
        gpus: "all", "none", or positions such as "0,1".
        gpu_share: of a GPU that a job gets.
        executor: by name.
    """

    out: str | Path | None = None
    cache_dir: str | Path | None = None
    jobs: int | None = None
    gpus: str = "all"
    gpu_share: float = 1.0
    executor: str = "local"


@dataclass
class Session:
    """What all steps of one study share.

    Attributes:
        request: what was asked for, as JSON: `study`, `dataset`, `seed` and what the study adds.
        run: its directory.
        manifest: the images, with the splits that the study gave them.
        cache: of images and features.
        dispatcher: the slots.
        on_event: told of progress.
        past: what earlier drivers have left.
        stopping: what is asked of this one.
        started: on the monotonic clock, as if all drivers had been one.
    """

    request: Mapping[str, Any]
    run: Run
    manifest: Manifest
    cache: Cache
    dispatcher: Dispatcher
    on_event: OnEvent
    past: Past = field(default_factory=Past)
    stopping: Stopping = field(default_factory=Stopping)
    started: float = field(default_factory=monotonic)

    @cached_property
    def journal(self) -> Journal:
        """The run's event log."""
        return Journal(self.run)

    def elapsed(self) -> float:
        """Seconds that the study has taken, those of earlier drivers included."""
        return monotonic() - self.started

    def tell(self, event: str, **fields: Any) -> None:
        """To the person who watches."""
        self.on_event({"event": event, **fields})

    def log(self, kind: str, **fields: Any) -> None:
        """To the run's event log."""
        self.journal.log(kind, **fields)

    def begin(self, name: str, detail: str) -> None:
        """A part of the study begins."""
        self.log("phase", phase=name, detail=detail)
        self.tell("phase", phase=name, detail=detail)

    def seed_for(self, purpose: str) -> int:
        """A seed of its own for every purpose, fixed by the request's."""
        return zlib.crc32(f"{self.request['seed']}/{purpose}".encode()) & 0x7FFFFFFF

    def job(self, number: int, kind: str, config: dict[str, Any], seed: int, **fields: Any) -> Job:
        """A job with the payload of `autotl.learn.jobs.run_job`; the same work has the same number in every driver."""
        return make_job(self.run, self.manifest, self.cache, number, kind, config, seed, **fields)

    def run_jobs(self, jobs: Sequence[Job], on_report: OnReport = ignore_reports) -> list[Outcome]:
        """Run jobs; those that an earlier driver has run to their end are not repeated.

        Returns:
            The outcomes in the order of the jobs.
        """
        return run_known(jobs, self.past, partial(write_down, self.journal), self.dispatcher, on_report)

    def look(self) -> None:
        """Between two events: leave a sign of life, and see whether somebody wants the study to stop.

        Raises:
            KeyboardInterrupt: somebody does.
        """
        self.journal.note_life()
        self.stopping.look()


@contextmanager
def open_session(
    request: Mapping[str, Any],
    setup: Setup,
    image_sizes: Sequence[int],
    on_event: OnEvent,
    change: Change | None = None,
) -> Iterator[Session]:
    """Check and decode the images, make the run directory and open the slots, for the length of a `with` block.

    Where `setup.out` holds this very study, unfinished, it is gone on with.

    Args:
        request: JSON with `study`, `dataset` and `seed`.
        setup: where it is carried out.
        image_sizes: in which images are stored at once.
        on_event: told of progress.
        change: makes the study's manifest of the one that was found, with other splits, say.

    Raises:
        UsageError: the folder holds another study, or a process that is at work in it.
        DataError: the images cannot be used, or have changed since the study began.
        Interrupted: it was stopped, and can be gone on with.
    """
    started, cache, stopping = monotonic(), open_cache(setup.cache_dir), Stopping()
    asked = _absolute(request, cache)
    before = _unfinished(asked, setup)
    wanted = Slots(setup.jobs, setup.gpus, setup.gpu_share)
    with stopping.listening(), equipped(setup.executor, wanted, stopping) as executor:

        def find(sizes: Sequence[int]) -> Manifest:
            follow = follow_data(executor, on_event, stopping)
            found = check_data(asked["dataset"], asked["seed"], sizes, cache, on_event, follow).manifest
            return found if change is None else change(found)

        if before is None:
            manifest = find(image_sizes)
            run = create_run(None if setup.out is None else Path(setup.out), asked)
            manifest.write(run.manifest_path)
        else:
            run, manifest = before, Manifest.read(before.manifest_path)
        with lock_run(run), resumable(f"the same command, with --out {run.path}"):
            past = Past() if before is None else read_past(run)
            if before is not None:
                run.stop_path.unlink(missing_ok=True)  # meant for an earlier driver
                check_same_images(manifest, lambda: find(()))
            stopping.path = run.stop_path
            dispatcher = make_dispatcher(run, past, cache, executor)
            session = Session(
                asked, run, manifest, cache, dispatcher, on_event, past, stopping, started - past.seconds
            )  # fmt: skip
            dispatcher.look = session.look
            yield from _driven(session, executor)


def finished_result(request: Mapping[str, Any], setup: Setup) -> dict[str, Any] | None:
    """What a study came to that ended in `setup.out` already; None where it has not. `run` is where it lies now.

    Raises:
        UsageError: what ended there is another one.
    """
    if setup.out is None or not (run := Run(Path(setup.out).expanduser())).result_path.exists():
        return None
    _check_same_request(run, _absolute(request, open_cache(setup.cache_dir)))
    return {**read_json(run.result_path), "run": str(run.path.resolve())}


def write_result(session: Session, result: Mapping[str, Any]) -> None:
    """The study has ended with this."""
    write_json(session.run.result_path, dict(result))
    session.log("result")


def _driven(session: Session, executor: Executor) -> Iterator[Session]:
    """The study between its first event and its last."""
    kind = RESUMED if session.past.events else BEGUN
    slots = len(executor.slots())
    session.log(kind, python=sys.version.split()[0], slots=slots, elapsed=round(session.elapsed(), 3))
    try:
        yield session
    except KeyboardInterrupt:
        session.log("interrupted", running=sorted(session.dispatcher.running))
        raise
    finally:
        session.cache.evict()


def _absolute(request: Mapping[str, Any], cache: Cache) -> dict[str, Any]:
    """The request as it can be carried out from another folder; names of sets that ship or come by plugins stay."""
    dataset = str(request["dataset"])
    path = Path(dataset).expanduser()
    resolve_dataset(dataset, cache)  # says what is wrong with it before anything is made
    return {**request, "dataset": str(path.resolve()) if path.exists() else dataset}


def _unfinished(request: Mapping[str, Any], setup: Setup) -> Run | None:
    """The run in `setup.out` that is gone on with; None where a new one begins.

    Raises:
        UsageError: another one is there, or it was killed before it had begun.
    """
    if setup.out is None or not is_unfinished(Path(setup.out)):
        return None
    run = open_run(Path(setup.out))
    _check_same_request(run, request)
    if not run.manifest_path.exists():
        raise UsageError(
            f"A study is gone on with from its first job on; that in {run.path} was killed before. Remove the folder, "
            "and start again."
        )
    return run


def _check_same_request(run: Run, request: Mapping[str, Any]) -> None:
    was = read_json(run.request_path)
    changed = [
        f"{name} was {before} and is {after}"
        for name in dict.fromkeys((*was, *request))
        for before, after in differing(was.get(name), request.get(name))
    ]
    if changed:
        raise UsageError(
            f"{run.path} holds something else: {'; '.join(changed)}. Ask for the same again to go on with it, or give "
            "another folder with --out."
        )
