"""A search from its request to its result, and a stopped one from its directory to its result."""

import sys
from pathlib import Path
from time import monotonic
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.data.check import Checked, check_dataset
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, default_cache, default_max_bytes
from autotl.errors import Interrupted
from autotl.execution.executors import Slots, open_executor
from autotl.execution.protocol import Executor
from autotl.runs.directory import Run, create_run, lock_run, open_run
from autotl.runs.events import append_event, read_events
from autotl.runs.files import read_json, write_json, write_text
from autotl.search.context import Context, OnEvent, Plugins
from autotl.search.dispatch import Dispatcher
from autotl.search.frozen import freeze, thaw
from autotl.search.heads import resolve_heads
from autotl.search.nested import check_no_test, run_nested
from autotl.search.plan import (
    allowed_backbones,
    concrete_config,
    image_sizes,
    portfolio,
    resolve_backbones,
    space_backbones,
    suit_data,
)
from autotl.search.recipes import check_recipes
from autotl.search.request import SearchRequest, absolute, check_paths, check_request, read_request, references
from autotl.search.speeds import measure_speeds
from autotl.search.status import read_status
from autotl.space.files import find_space, read_space
from autotl.space.options import with_defaults, with_options
from autotl.space.schema import SearchSpace
from autotl.space.suggest import narrow

JOBS_MODULE = "autotl.learn.jobs"
KERAS_MODULE = "autotl.learn.warm"
GRACE_SECONDS = 10.0


def run_search(request: SearchRequest, on_event: OnEvent) -> dict[str, Any]:
    """Search, and answer the JSON object that `autotl search --json` prints.

    Raises:
        UsageError, DataError, PluginError: the request, the data or a plugin cannot be used; nothing was started.
        NoTrialError: no trial completed.
        Interrupted: Ctrl-C; the run is saved and can be resumed.
    """
    started = monotonic()
    check_request(request)
    space, backbones = _open_space(request, request.space, on_event)
    heads = resolve_heads(space)
    cache = _open_cache(request)
    executor = _open_executor(request)
    try:
        executor.warm(JOBS_MODULE)  # worker and driver start up side by side
        checked = _check_data(request, image_sizes(space.stages[0], backbones), cache, executor, on_event)
        if request.cv_test is not None:
            check_no_test(checked.report, request.cv_test)
        out = None if request.out is None else Path(request.out)
        run = create_run(out, absolute(request).to_json())
        write_text(run.path / "space.toml", find_space(request.space).read_text(encoding="utf-8"))
        checked.manifest.write(run.manifest_path)
        write_json(run.path / "data.json", checked.report)
        freeze(run, backbones, heads)
        plugins = Plugins(backbones, heads)
        context = _context(request, space, plugins, checked.manifest, cache, run, executor, on_event, started)
        context.costs.add({"decode": checked.report["seconds"]})
        context.costs.busy_seconds += checked.report["seconds"]
        return _run_locked(context)
    finally:
        executor.shutdown(GRACE_SECONDS)


def resume_search(path: Path, on_event: OnEvent, *, finishes: bool = False) -> dict[str, Any]:
    """Go on with a run that was stopped or killed: finished trials count, interrupted ones are run again.

    Args:
        finishes: run no further trial, and deliver the best model of what is known.

    Raises:
        UsageError: no run, one that another process is working on, or one whose plugins have changed.
    """
    run = open_run(path)
    status = read_status(path)
    if status["result"] is not None:
        result: dict[str, Any] = status["result"]
        return result
    started = monotonic() - status["seconds"]  # what was spent counts toward the budget
    request = read_request(read_json(run.request_path))
    space, backbones = _open_space(request, str(run.path / "space.toml"), on_event, thaw(run))
    plugins = Plugins(backbones, resolve_heads(space))
    executor = _open_executor(request)
    try:
        manifest = Manifest.read(run.manifest_path)
        cache = _open_cache(request)
        context = _context(request, space, plugins, manifest, cache, run, executor, on_event, started)
        for event in read_events(run):  # what finished trials cost was paid for by this search too
            if event["kind"] == "trial" and "ledger" in event:
                context.costs.add_job(event["ledger"], event["seconds"], event["stage"])
        context.finishes = finishes
        return _run_locked(context)
    finally:
        executor.shutdown(GRACE_SECONDS)


def _open_space(
    request: SearchRequest, name: str, on_event: OnEvent, frozen: dict[str, Backbone] | None = None
) -> tuple[SearchSpace, dict[str, Backbone]]:
    def tell(message: str) -> None:
        on_event({"event": "note", "message": message})

    space = narrow(read_space(name), references(request))
    names = space_backbones(space)
    check_paths(names)
    backbones = resolve_backbones(names, request.accept_licences, tell) if frozen is None else frozen
    check_recipes(space, backbones)
    return space, backbones


def _open_executor(request: SearchRequest) -> Executor:
    wanted = Slots(request.jobs, request.gpus, request.gpu_share, request.executor_address)
    return open_executor(request.executor, wanted)


def _open_cache(request: SearchRequest) -> Cache:
    if request.cache_dir is None:
        return default_cache()
    root = Path(request.cache_dir).expanduser().resolve()
    return Cache(root, default_max_bytes(root))


def _check_data(
    request: SearchRequest, sizes: list[int], cache: Cache, executor: Executor, on_event: OnEvent
) -> Checked:
    """Check, split and decode. While images are decoded, idle workers bring up Keras: it will be needed."""
    on_event({"event": "phase", "phase": "data", "detail": f"checking and decoding {request.dataset}"})
    warmed = False

    def on_progress(done: int, total: int) -> None:
        nonlocal warmed
        if not warmed:
            executor.warm(KERAS_MODULE)
            warmed = True
        on_event({"event": "progress", "done": done, "total": total})

    checked = check_dataset(request.dataset, seed=request.seed, image_sizes=sizes, cache=cache, on_progress=on_progress)
    skipped = len(checked.report["skipped"])
    more = f", {skipped} skipped (autotl data check shows why)" if skipped else ""
    message = f"{checked.report['images']} images in {len(checked.manifest.classes)} classes{more}"
    on_event({"event": "note", "message": message})
    return checked


def _context(
    request: SearchRequest,
    space: SearchSpace,
    plugins: Plugins,
    manifest: Manifest,
    cache: Cache,
    run: Run,
    executor: Executor,
    on_event: OnEvent,
    started: float,
) -> Context:
    def log(kind: str, **fields: Any) -> None:
        append_event(run, kind, **fields)

    dispatcher = Dispatcher(executor, log)
    space = suit_data(space, manifest)
    return Context(request, space, plugins, manifest, cache, run, dispatcher, on_event, started)


def _give_head_start(context: Context) -> None:
    """Start the first trial while the driver loads Optuna, when it is known already: a whole entry of a portfolio."""
    stage = context.space.stages[0]
    first = [
        with_defaults(values, stage, context.heads)
        for values in portfolio(stage, context.cheapest_first(allowed_backbones(stage, context.backbones)))[:1]
    ]
    if first and set(with_options(stage, context.heads)) <= set(first[0]) and not context.run.study_path.exists():
        config = concrete_config(stage, first[0], context.backbones, {})
        context.dispatcher.submit(context.trial_job(stage, 1, config), context.dispatcher.free_slots()[0])


def _run_one(context: Context) -> dict[str, Any]:
    if not context.finishes:
        _give_head_start(context)
    from autotl.search.rounds import run_rounds  # Optuna and its database take a second or two to load

    return run_rounds(context)


def _run_locked(context: Context) -> dict[str, Any]:
    """Run the search under the run's lock; on Ctrl-C what has finished is in the study already."""
    with lock_run(context.run):
        context.log("search", python=sys.version.split()[0], slots=len(context.dispatcher.executor.slots()))
        try:
            context.forecast = measure_speeds(context)
            if context.request.cv_test is not None:
                return run_nested(context, context.request.cv_test, _run_one)
            return _run_one(context)
        except KeyboardInterrupt:
            context.log("interrupted")
            raise Interrupted(
                f"Stopped; what has finished is saved. Continue with: autotl resume {context.run.path}"
            ) from None
        finally:
            context.cache.evict()
