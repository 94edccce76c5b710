"""A search from its request to its result, and a stopped one from its directory to its result."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.data.check import Checked, check_dataset
from autotl.data.manifest import Manifest
from autotl.data.records import Progress
from autotl.data.store import Cache, default_max_bytes, open_cache
from autotl.errors import Interrupted, UsageError
from autotl.execution.executors import Slots, open_executor
from autotl.execution.protocol import Executor
from autotl.runs.directory import Run, create_run, open_search
from autotl.runs.events import append_event
from autotl.runs.files import read_json, write_json, write_text
from autotl.runs.locking import lock_run
from autotl.search.context import Context, OnEvent, Plugins
from autotl.search.dispatch import Dispatcher
from autotl.search.driving import GRACE_SECONDS, drive
from autotl.search.frozen import freeze, thaw
from autotl.search.heads import resolve_heads
from autotl.search.memory_limits import read_limits
from autotl.search.nested import check_no_test
from autotl.search.past import Past, read_past
from autotl.search.plan import image_sizes, resolve_backbones, space_backbones, suit_data
from autotl.search.recipes import check_recipes
from autotl.search.request import SearchRequest, absolute, check_paths, check_request, read_request, references
from autotl.search.stopping import ENDS_AT_FIRST, Stopping
from autotl.search.unchanged import check_same_images, check_same_space, describe_space, same_request
from autotl.space.files import find_space, read_space
from autotl.space.schema import SearchSpace
from autotl.space.suggest import narrow

JOBS_MODULE = "autotl.learn.jobs"
KERAS_MODULE = "autotl.learn.warm"


def run_search(request: SearchRequest, on_event: OnEvent) -> dict[str, Any]:
    """Search, and answer the JSON object that `autotl search --json` prints.

    Where the run directory holds this very search, unfinished, it is gone on with.

    Raises:
        UsageError, DataError, PluginError: the request, the data or a plugin cannot be used; nothing was started.
        NoTrialError: no trial completed.
        Interrupted: it was stopped; the run is saved and can be resumed.
    """
    started = monotonic()
    check_request(request)
    if request.out is not None and is_unfinished(Path(request.out)):
        return resume_search(Path(request.out), on_event, asked=request)
    space, backbones = open_space(request, request.space, on_event)
    plugins, cache = Plugins(backbones, resolve_heads(space)), cache_of(request)
    stopping = Stopping()
    with stopping.listening(), equipped(request.executor, slots_of(request), stopping) as executor:
        follow = follow_data(executor, on_event, stopping)
        sizes = image_sizes(space.stages[0], backbones)
        checked = check_data(request.dataset, request.seed, sizes, cache, on_event, follow)
        if request.cv_test is not None:
            check_no_test(checked.report, request.cv_test)
        run = _new_run(request, checked)
        freeze(run, plugins.backbones, plugins.heads)
        with lock_run(run), resumable(resume_command(run)):
            stopping.path = run.stop_path
            dispatcher = make_dispatcher(run, Past(), cache, executor)
            manifest = checked.manifest
            context = Context(
                request, suit_data(space, manifest), plugins, manifest, cache, run, dispatcher, on_event, started,
                stopping=stopping,
            )  # fmt: skip
            context.log("space", stages=describe_space(read_space(run.space_path)))
            return drive(context)


def resume_search(
    path: Path, on_event: OnEvent, *, finishes: bool = False, asked: SearchRequest | None = None
) -> dict[str, Any]:
    """Go on with a run that was stopped or killed: finished trials count, interrupted ones go on where they were.

    Args:
        finishes: run no further trial, and deliver the best model of what is known.
        asked: what was asked for now, where that was a search.

    Raises:
        UsageError: no run, or one that another process is working on; something else was asked for; plugins or the
            space have changed.
        DataError: the images have changed.
    """
    run = open_search(path)
    if run.result_path.exists():
        return dict(read_json(run.result_path))
    stopping = Stopping(run.stop_path, finishes=finishes)
    with stopping.listening(), lock_run(run), resumable(resume_command(run)):
        if not run.manifest_path.exists():
            raise UsageError(
                f"A search is gone on with from its first job on; that in {run.path} was killed before. Remove the "
                "folder, and start the search again."
            )
        run.stop_path.unlink(missing_ok=True)  # meant for an earlier driver
        past = read_past(run)
        started = monotonic() - past.seconds  # what was spent counts toward the budget
        request = read_request(read_json(run.request_path)) if asked is None else same_request(run, asked)
        for file in (run.space_path, *([] if asked is None else [find_space(asked.space)])):
            check_same_space(past.space, file)
        space, backbones = open_space(request, str(run.space_path), on_event, thaw(run))
        plugins, cache = Plugins(backbones, resolve_heads(space)), cache_of(request)
        with equipped(request.executor, slots_of(request), stopping) as executor:
            on_event({"event": "phase", "phase": "data", "detail": f"going on with {run.path}, on the same images"})
            manifest = Manifest.read(run.manifest_path)
            follow = follow_data(executor, on_event, stopping)
            find = partial(check_dataset, request.dataset, seed=request.seed, cache=cache, on_progress=follow)
            check_same_images(manifest, lambda: find().manifest, same_split=request.cv_test is None)
            dispatcher = make_dispatcher(run, past, cache, executor)
            context = Context(
                request, suit_data(space, manifest), plugins, manifest, cache, run, dispatcher, on_event, started,
                past=past, stopping=stopping,
            )  # fmt: skip
            return drive(context)


def is_unfinished(path: Path) -> bool:
    """Whether a folder holds a run that has not come to its end."""
    run = Run(path.expanduser())
    return run.request_path.is_file() and not run.result_path.exists()


@contextmanager
def equipped(name: str, wanted: Slots, stopping: Stopping) -> Iterator[Executor]:
    """Slots whose processes start up while the driver does other things.

    Args:
        name: of the executor.
        wanted: what is asked of it.
        stopping: who ends them.
    """
    executor = open_executor(name, wanted)
    stopping.is_patient = name not in ENDS_AT_FIRST
    try:
        executor.warm(JOBS_MODULE)
        yield executor
    finally:
        executor.shutdown(0.0 if stopping.at_once else GRACE_SECONDS)


def slots_of(request: SearchRequest) -> Slots:
    """What a request asks of an executor."""
    return Slots(request.jobs, request.gpus, request.gpu_share, request.executor_address, request.study)


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Say by which command a run is gone on with, where it was stopped."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped; what has finished is saved. Continue with: {command}") from None


def resume_command(run: Run) -> str:
    """The command that goes on with a search."""
    return f"autotl resume {run.path}"


def _new_run(request: SearchRequest, checked: Checked) -> Run:
    run = create_run(None if request.out is None else Path(request.out), absolute(request).to_json())
    write_text(run.space_path, find_space(request.space).read_text(encoding="utf-8"))
    checked.manifest.write(run.manifest_path)
    write_json(run.data_path, checked.report)
    return run


def make_dispatcher(run: Run, past: Past, cache: Cache, executor: Executor) -> Dispatcher:
    """Sends the jobs of a run to its slots, and knows what memory earlier drivers have found."""

    def make_room() -> None:
        cache.sweep()
        Cache(cache.root, default_max_bytes(cache.root)).evict()  # by what the disk has left now

    return Dispatcher(executor, partial(append_event, run), make_room=make_room, limits=read_limits(past.events))


def open_space(
    request: SearchRequest, name: str, on_event: OnEvent, frozen: dict[str, Backbone] | None = None
) -> tuple[SearchSpace, dict[str, Backbone]]:
    """The space of a request, and the records of its backbones.

    Args:
        request: names backbones, and the licences that were accepted.
        name: of the space, or its file.
        on_event: told of what is left out.
        frozen: the backbones that a run began with.
    """

    def tell(message: str) -> None:
        on_event({"event": "note", "message": message})

    space = narrow(read_space(name), references(request))
    names = space_backbones(space)
    check_paths(names)
    backbones = resolve_backbones(names, request.accept_licences, tell) if frozen is None else frozen
    check_recipes(space, backbones)
    return space, backbones


def cache_of(request: SearchRequest) -> Cache:
    """Where images and features are kept."""
    return open_cache(request.cache_dir)


def check_data(
    dataset: str, seed: int, sizes: Sequence[int], cache: Cache, on_event: OnEvent, follow: Progress
) -> Checked:
    """Check, split and decode.

    Args:
        dataset: as `check_dataset` takes it.
        seed: of the split.
        sizes: in which images are stored.
        cache: where.
        on_event: told what is done, and what was found.
        follow: told how far it has come.
    """
    on_event({"event": "phase", "phase": "data", "detail": f"checking and decoding {dataset}"})
    checked = check_dataset(dataset, seed=seed, image_sizes=sizes, cache=cache, on_progress=follow)
    skipped = len(checked.report["skipped"])
    more = f", {skipped} skipped (autotl data check shows why)" if skipped else ""
    message = f"{checked.report['images']} images in {len(checked.manifest.classes)} classes{more}"
    on_event({"event": "note", "message": message})
    return checked


def follow_data(executor: Executor, on_event: OnEvent, stopping: Stopping) -> Progress:
    """While images are read, idle workers bring up Keras: it will be needed."""
    warmed = False

    def on_progress(done: int, total: int) -> None:
        nonlocal warmed
        if not warmed:
            executor.warm(KERAS_MODULE)
            warmed = True
        stopping.look()
        on_event({"event": "progress", "done": done, "total": total})

    return on_progress
