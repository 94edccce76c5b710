"""A whole search, straight down: space, data, run directory, stages, finalists, final fit, delivery."""

import shlex
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from autotl.backbones.contract import Backbone
from autotl.data.check import Checked, check_dataset
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, default_cache, default_max_bytes
from autotl.errors import Interrupted, NoTrialError
from autotl.execution.devices import plan_slots
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Executor
from autotl.runs.directory import Run, create_run, lock_run, open_run
from autotl.runs.events import append_event
from autotl.runs.files import read_json, write_json
from autotl.search.budget import stage_deadline, stage_trials
from autotl.search.context import Context, OnEvent
from autotl.search.dispatch import Dispatcher
from autotl.search.finalists import choose, confirm, pick_finalists, rank_backbones
from autotl.search.finish import deliver, fit_final
from autotl.search.plan import image_sizes, resolve_backbones, space_backbones, stage_choices
from autotl.search.request import SearchRequest, absolute_dataset, check_request, read_request
from autotl.search.stages import StageRun
from autotl.search.study import abandon_running, open_storage, open_study
from autotl.space.files import read_space
from autotl.space.schema import SearchSpace, Stage
from autotl.space.suggest import narrow

JOBS_MODULE = "autotl.learn.jobs"
KERAS_MODULE = "autotl.learn.warm"
GRACE_SECONDS = 10.0
INHERITED = ("backbone", "weights", "image_size", "pooling", "head", "width", "depth", "dropout", "penalty")


def run_search(request: SearchRequest, on_event: OnEvent) -> dict[str, Any]:
    """Search, and answer the JSON object that `autotl search --json` prints.

    Raises:
        UsageError, DataError, PluginError: the request, the data or a plugin cannot be used; nothing was started.
        NoTrialError: no trial completed.
        Interrupted: Ctrl-C; the run is saved and can be resumed.
    """
    started = monotonic()
    check_request(request)
    space, backbones = _open_space(request)
    cache = _open_cache(request)
    executor = LocalExecutor(plan_slots(request.jobs, request.gpus))
    try:
        executor.warm(JOBS_MODULE)  # worker and driver start up side by side
        checked = _check_data(request, image_sizes(space.stages[0], backbones), cache, executor, on_event)
        out = None if request.out is None else Path(request.out)
        run = create_run(out, {**request.to_json(), "dataset": absolute_dataset(request.dataset)})
        checked.manifest.write(run.manifest_path)
        write_json(run.path / "data.json", checked.report)
        context = _context(request, space, backbones, checked.manifest, cache, run, executor, on_event, started)
        context.costs.add({"decode": checked.report["seconds"]})
        return _locked(context)
    finally:
        executor.shutdown(GRACE_SECONDS)


def resume_search(path: Path, on_event: OnEvent) -> dict[str, Any]:
    """Go on with a run that was stopped or killed: finished trials count, interrupted ones are run again.

    Raises:
        UsageError: no run, or one that another process is working on.
    """
    started = monotonic()
    run = open_run(path)
    request = read_request(read_json(run.request_path))
    if (run.path / "result.json").exists():
        result: dict[str, Any] = read_json(run.path / "result.json")
        return result
    space, backbones = _open_space(request)
    executor = LocalExecutor(plan_slots(request.jobs, request.gpus))
    try:
        manifest = Manifest.read(run.manifest_path)
        cache = _open_cache(request)
        return _locked(_context(request, space, backbones, manifest, cache, run, executor, on_event, started))
    finally:
        executor.shutdown(GRACE_SECONDS)


def _open_space(request: SearchRequest) -> tuple[SearchSpace, dict[str, Backbone]]:
    space = read_space(request.space)
    if request.backbones:
        space = narrow(space, list(request.backbones))
    return space, resolve_backbones(space_backbones(space))


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
    report = checked.report
    skipped = len(report["skipped"])
    on_event(
        {
            "event": "note",
            "message": f"{report['images']} images in {len(checked.manifest.classes)} classes"
            + (f", {skipped} skipped (autotl data check shows why)" if skipped else ""),
        }
    )
    return checked


def _context(
    request: SearchRequest,
    space: SearchSpace,
    backbones: dict[str, Backbone],
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
    return Context(request, space, backbones, manifest, cache, run, dispatcher, on_event, started)


def _locked(context: Context) -> dict[str, Any]:
    """Run all stages under the run's lock; on Ctrl-C what has finished is in the study already."""
    with lock_run(context.run):
        try:
            return _search(context)
        except KeyboardInterrupt:
            context.log("interrupted")
            raise Interrupted(
                f"Stopped; what has finished is saved. Continue with: autotl resume {context.run.path}"
            ) from None
        finally:
            context.cache.evict()


def _search(context: Context) -> dict[str, Any]:
    request, space = context.request, context.space
    context.log("search", python=sys.version.split()[0], slots=len(context.dispatcher.executor.slots()))
    storage = open_storage(context.run.study_path)
    trials = stage_trials(space, request.trials, list(context.backbones))
    context.tell("plan", trials=sum(trials.values()), seconds=request.budget)
    results: list[dict[str, Any]] = []
    names = list(context.backbones)
    inherited: dict[str, dict[str, Any]] = {}
    for index, stage in enumerate(space.stages):
        competing = _competing(stage, context, names, results)
        study = open_study(storage, stage.name, request.metric, context.seed_for(f"stage {stage.name}"))
        abandon_running(study)
        context.number = max([context.number, *(trial.user_attrs.get("number", 0) for trial in study.trials)])
        deadline = stage_deadline(context, index)
        done = StageRun(context, stage, study, competing, inherited, trials[stage.name], deadline).run()
        results += done
        inherited |= _best_settings(done, request.metric)
    candidates = _candidates(space, results, request.metric)
    if not candidates:
        raise NoTrialError(_nothing_completed(results, context.run))
    return _finish(context, candidates, results)


def _competing(stage: Stage, context: Context, names: list[str], results: list[dict[str, Any]]) -> list[str]:
    """The backbones of a stage: those it names, or the best ones of the stage before."""
    named = [str(name) for name in stage_choices(stage, "backbone")]
    allowed = [name for name in names if not named or "installed" in named or name in named]
    if stage.keep_backbones is None:
        return allowed
    ranked = rank_backbones(results, context.request.metric)
    return [name for name in ranked if name in allowed][: stage.keep_backbones] or allowed[: stage.keep_backbones]


def _best_settings(results: list[dict[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """The best configuration so far of each backbone: where the next stage starts from."""
    best: dict[str, dict[str, Any]] = {}
    for result in pick_finalists(results, metric, count=len(results)):
        config = {name: value for name, value in result["config"].items() if name in INHERITED}
        best.setdefault(result["config"]["backbone"], config)
    return best


def _candidates(space: SearchSpace, results: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Who goes into the final round: the best of the last stage, and the best of each stage before it."""
    last = space.stages[-1]
    mine = [result for result in results if result["stage"] == last.name]
    if len(space.stages) == 1:
        return pick_finalists(mine, metric)
    earlier = [
        best
        for stage in space.stages[:-1]
        for best in pick_finalists([result for result in results if result["stage"] == stage.name], metric, 1)
    ]
    same = [result for result in earlier if result["evaluation"] == last.evaluation]
    if len(same) == len(earlier):  # one scale: simply the best of all
        return pick_finalists(results, metric)
    return pick_finalists(mine, metric, 2) + earlier[-1:]


def _finish(context: Context, candidates: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
    request = context.request
    context.tell("phase", phase="confirm", detail=f"{len(candidates)} finalists on a fresh seed")
    finalists = confirm(context, candidates, context.space.stages[-1].evaluation)
    if not finalists:
        raise NoTrialError(f"No finalist could be fitted again; see the logs under {context.run.path}/trials.")
    chosen = choose(finalists, request.metric)
    context.log("chosen", number=chosen.number, config=chosen.config, scores=chosen.scores)
    context.tell("phase", phase="final", detail="fitting to training and validation images")
    fitted = fit_final(context, chosen)
    context.tell("phase", phase="test", detail="the saved model, once, on the test split")
    command = _command(request)
    delivered = deliver(context, chosen, fitted, command)
    seconds = context.elapsed()
    slots = len(context.dispatcher.executor.slots())
    states = [result["state"] for result in results]
    test = delivered["test"]
    result = {
        "run": str(context.run.path),
        "model": str(context.run.model_path),
        "best": {**chosen.config, "trial": chosen.number},
        "trials": {state: states.count(state) for state in ("complete", "pruned", "failed")},
        "validation": chosen.scores,
        "test": {name: value for name, value in test.items() if name not in ("confusion", "per_class", "confusions")},
        "parity": delivered["parity"],
        "latency": delivered["latency"],
        "seconds": round(seconds, 2),
        "cost": context.costs.summary(slots * seconds),
        "counts": context.costs.counts,
        "metric": request.metric,
        "command": command,
    }
    write_json(context.run.path / "result.json", result)
    context.log("result", result=result)
    return result


def _nothing_completed(results: list[dict[str, Any]], run: Run) -> str:
    errors = [result["error"]["message"] for result in results if result.get("error")]
    if errors:
        return f"No trial completed. The last error: {errors[-1]} The logs are under {run.path}/trials."
    return "No trial completed within the budget. Give a longer --budget, a smaller --space, or fewer --backbone."


def _command(request: SearchRequest) -> str:
    """The command line that repeats this search."""
    words = ["autotl", "search", request.dataset, "--space", request.space, "--seed", str(request.seed)]
    for option, value in (("--trials", request.trials), ("--metric", request.metric)):
        words += [] if value is None else [option, str(value)]
    words += [] if request.budget is None else ["--budget", f"{request.budget:g}s"]
    for name in request.backbones:
        words += ["--backbone", name]
    return shlex.join(words)
