"""The course of a search: its stages, the final round among the best, and the delivery of the winner."""

from typing import Any

from autotl.errors import NoTrialError
from autotl.runs.directory import Run
from autotl.runs.files import write_json
from autotl.search.budget import stage_deadline, stage_trials
from autotl.search.context import Context
from autotl.search.finalists import Finalist, choose, confirm, pick_finalists, rank_backbones
from autotl.search.finish import deliver, delivered_before, fit_final
from autotl.search.plan import allowed_backbones
from autotl.search.stages import StageRun
from autotl.search.study import abandon_running, open_storage, open_study
from autotl.space.schema import SearchSpace, Stage

INHERITED = (
    "backbone", "weights", "image_size", "pooling", "taps", "head", "width", "depth", "dropout", "penalty",
    "options",
)  # fmt: skip
Results = list[dict[str, Any]]


def run_rounds(context: Context) -> dict[str, Any]:
    """Run what is left of the search and write its result.

    Raises:
        NoTrialError: no trial completed.
    """
    results = _run_stages(context)
    description = delivered_before(context)
    if description is None:
        candidates = _candidates(context.space, results, context.request.metric)
        if not candidates:
            raise NoTrialError(_nothing_completed(results, context.run))
        description = _deliver_best(context, candidates)
    result = _result(context, description, results)
    write_json(context.run.path / "result.json", result)
    context.log("result", result=result)
    return result


def _run_stages(context: Context) -> Results:
    request = context.request
    storage = open_storage(context.run.study_path)
    trials = stage_trials(context.space, request.trials, list(context.backbones))
    context.tell("plan", trials=sum(trials.values()), seconds=request.budget)
    results: Results = []
    inherited: dict[str, dict[str, Any]] = {}
    for index, stage in enumerate(context.space.stages):
        competing = _competing(stage, context, results)
        study = open_study(storage, stage.name, request.metric, context.seed_for(f"stage {stage.name}"))
        abandon_running(study)
        context.number = max([context.number, *(trial.user_attrs.get("number", 0) for trial in study.trials)])
        deadline = stage_deadline(context, index)
        done = StageRun(context, stage, study, competing, inherited, trials[stage.name], deadline, context.heads).run()
        results += done
        inherited |= _best_settings(done, request.metric)
    return results


def _competing(stage: Stage, context: Context, results: Results) -> list[str]:
    """The backbones of a stage: those it names, or the best ones of the stages before."""
    allowed = allowed_backbones(stage, context.backbones)
    if stage.keep_backbones is None:
        return allowed
    ranked = rank_backbones(results, context.request.metric)
    return [name for name in ranked if name in allowed][: stage.keep_backbones] or allowed[: stage.keep_backbones]


def _best_settings(results: Results, metric: str) -> dict[str, dict[str, Any]]:
    """What describes the head of each backbone's best configuration: where the next stage starts from."""
    best: dict[str, dict[str, Any]] = {}
    for result in pick_finalists(results, metric, count=len(results)):
        config = {name: value for name, value in result["config"].items() if name in INHERITED}
        best.setdefault(result["config"]["backbone"], config)
    return best


def _candidates(space: SearchSpace, results: Results, metric: str) -> Results:
    """Who goes into the final round: the best of the last stage, and the best of the stages before it."""
    last = space.stages[-1]
    if all(stage.evaluation == last.evaluation for stage in space.stages):  # one scale: simply the best of all
        return pick_finalists(results, metric)
    mine = [result for result in results if result["stage"] == last.name]
    others = [result for result in results if result["evaluation"] != last.evaluation]
    return pick_finalists(mine, metric, 2) + pick_finalists(others, metric, 1)


def _deliver_best(context: Context, candidates: Results) -> dict[str, Any]:
    context.tell("phase", phase="confirm", detail=f"{len(candidates)} finalists on a fresh seed")
    finalists = confirm(context, candidates, context.space.stages[-1].evaluation)
    if not finalists:
        raise NoTrialError(f"No finalist could be fitted again; see the logs under {context.run.path}/trials.")
    chosen: Finalist = choose(finalists, context.request.metric)
    context.log("chosen", number=chosen.number, config=chosen.config, scores=chosen.scores)
    context.tell("phase", phase="final", detail="fitting to training and validation images")
    fitted = fit_final(context, chosen)
    context.tell("phase", phase="test", detail="the saved model, once, on the test split")
    return deliver(context, chosen, fitted)


def _result(context: Context, description: dict[str, Any], results: Results) -> dict[str, Any]:
    seconds = context.elapsed()
    states = [result["state"] for result in results]
    details = ("confusion", "per_class", "confusions")
    return {
        "run": str(context.run.path),
        "model": str(context.run.model_path),
        "best": {**description["configuration"], "trial": description["trial"]},
        "trials": {state: states.count(state) for state in ("complete", "pruned", "failed")},
        "validation": description["validation"],
        "test": {name: value for name, value in description["test"].items() if name not in details},
        "parity": description["parity"],
        "latency": description["latency"],
        "seconds": round(seconds, 2),
        "cost": context.costs.summary(len(context.dispatcher.executor.slots()) * seconds),
        "counts": context.costs.counts,
        "metric": context.request.metric,
        "command": description["command"],
    }


def _nothing_completed(results: Results, run: Run) -> str:
    errors = [result["error"]["message"] for result in results if result.get("error")]
    if errors:
        return f"No trial completed. The last error: {errors[-1]} The logs are under {run.path}/trials."
    return "No trial completed within the budget. Give a longer --budget, a smaller --space, or fewer --backbone."
