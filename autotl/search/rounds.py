"""The course of a search: its stages, the final round among the best, and the delivery of the winner."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.errors import NoTrialError
from autotl.runs.files import write_json
from autotl.search.budget import affordable_finalists, stage_deadline, stage_trials
from autotl.search.context import Context
from autotl.search.ensemble import frozen_ensemble, is_tuned, tuned_ensemble
from autotl.search.expectation import expected_seconds
from autotl.search.finalists import Finalist, as_finalists, choose, confirm, contenders, on_most_images, pick_finalists
from autotl.search.finish import deliver, delivered_before
from autotl.search.forecast import EPOCHS
from autotl.search.gate import LEAST_CHANCE, asks_for_good_odds, judge
from autotl.search.holding import fit_within_budget
from autotl.search.plan import allowed_backbones
from autotl.search.result import nothing_completed, result_of_search
from autotl.search.screening import rank_backbones
from autotl.search.soup import with_soup
from autotl.search.stages import SHUT, Deadline, Gate, StageRun
from autotl.search.storage import open_storage
from autotl.search.study import last_number, open_study
from autotl.space.schema import Stage

INHERITED = (
    "backbone", "weights", "image_size", "resize", "pooling", "taps", "head", "width", "depth", "dropout", "penalty",
    "options",
)  # fmt: skip
TRAINED = (
    "freeze_depth", "head_rate", "tail_rate", "layer_decay", "weight_decay", "label_smoothing", "mixup", "ema",
    "balance", "augmentation", "batch_size", "epochs",
)  # fmt: skip
"""What a stage inherits too when the one before it fine-tuned."""
Results = list[dict[str, Any]]


def run_rounds(context: Context) -> dict[str, Any]:
    """Run what is left of the search and write its result.

    Raises:
        NoTrialError: no trial completed.
    """
    results = _run_stages(context)
    description, fitted = delivered_before(context), dict[str, Any]()
    if description is None:
        candidates = _candidates(context, results)
        if not candidates:
            raise NoTrialError(nothing_completed(results, context.run))
        description, fitted = _deliver_best(context, candidates, results)
    result = result_of_search(context, description, results, fitted)
    write_json(context.run.result_path, result)
    context.log("result", result=result)
    return result


def _run_stages(context: Context) -> Results:
    request, stages = context.request, context.space.stages
    storage = open_storage(context.run.study_path)
    context.number = max(context.number, last_number(storage))
    planned = stage_trials(context.space, request.trials, list(context.backbones))
    trials = dict.fromkeys(planned, 0) if context.finishes else planned
    expected = expected_seconds(context, trials)
    total = sum(expected.values())
    known = context.past.expected
    context.expected = round(total + context.elapsed(), 1) if known is None else known
    context.log("plan", trials=planned, seconds=expected, expected=context.expected)
    context.tell("plan", trials=sum(trials.values()), seconds=min(total, request.budget or total))
    results: Results = []
    inherited: dict[str, dict[str, Any]] = {}
    runs: list[StageRun] = []
    is_shut = False
    for index, stage in enumerate(stages):
        # what trains more than that which did not pay does not pay either
        if not planned[stage.name] or (is_shut and stage.gate):
            continue
        expected = expected_seconds(context, trials)  # anew: by now more is known of the networks' speed
        handed = _handed_on(stage, inherited)
        epochs = min((values["epochs"] for values in handed.values() if "epochs" in values), default=EPOCHS)
        study = open_study(storage, stage, request.metric, context.seed_for(f"stage {stage.name}"), epochs)
        run = StageRun(
            context,
            stage,
            study,
            _competing(stage, context, results),
            handed,
            trials[stage.name],
            _deadline(context, index, results),
            _gate(context, stage, results) if stage.gate else None,
            _rival(context, stage, results),
            context.heads,
            expected_seconds=expected[stage.name],
            later_seconds=sum(list(expected.values())[index + 1 :]),
            shortens=index == len(stages) - 1,
        )
        done = run.run()
        is_shut = run.ended == SHUT
        results = results + _as_refused(done, is_shut)
        inherited |= _best_settings(done, request.metric)
        runs.append(run)
    return results if request.budget is None else _spend_the_rest(context, runs, results)


def _as_refused(results: Results, is_shut: bool) -> Results:
    return [{**result, "refused": True} for result in results] if is_shut else results


def _spend_the_rest(context: Context, runs: Sequence[StageRun], results: Results) -> Results:
    """Time that was kept for later stages, and that these could make nothing of, goes back to those before them."""
    for run in reversed(runs[:-1]):
        if run.stage.images is None and run.is_unfinished():
            run.deadline, run.shortens = _deadline(context, len(context.space.stages) - 1, results), True
            before = {result["number"] for result in results}
            more = [result for result in run.go_on() if result["number"] not in before]
            results = results + _as_refused(more, run.ended == SHUT)
    return results


def _deadline(context: Context, index: int, before: Results) -> Deadline:
    """A stage's deadline by the best trial so far: its own, or that of the stages before."""
    known = next(iter(pick_finalists(on_most_images(before), context.request.metric, 1)), None)
    return lambda best: stage_deadline(context, index, known if best is None else best)


def _gate(context: Context, stage: Stage, before: Results) -> Gate:
    """Whether the best of the first trials of a stage may be better than the best of the stages before."""
    least = LEAST_CHANCE if stage.gate is True else float(stage.gate)

    def decide(first: Sequence[Mapping[str, Any]]) -> bool:
        metric = context.request.metric
        known, tuned = as_finalists(on_most_images(before), metric)[:1], as_finalists(first, metric)[:1]
        verdict = judge(known[0], tuned[0], context.seed_for("gate"), least) if known and tuned else None
        if verdict is None:
            if first and not tuned:
                context.tell(
                    "note", message=f"the default of the stage {stage.name} fell behind; the stage ends with it"
                )
            return bool(tuned)
        context.log("gate", stage=stage.name, **verdict.to_json())
        context.tell("note", message=verdict.describe())
        return verdict.passed

    return decide


def _rival(context: Context, stage: Stage, before: Results) -> dict[str, Any] | None:
    """What the default of a stage that asks for good odds must beat from its first fold on."""
    if not asks_for_good_odds(stage):
        return None
    return next(iter(pick_finalists(on_most_images(before), context.request.metric, 1)), None)


def _competing(stage: Stage, context: Context, results: Results) -> list[str]:
    """The backbones of a stage: those it names, or the best ones of the stages before."""
    allowed = allowed_backbones(stage, context.backbones)
    if stage.keep_backbones is None:
        return allowed
    published = {name: record.imagenet_top1 for name, record in context.backbones.items()}
    seed = context.seed_for("screening")
    ranked = rank_backbones(on_most_images(results), context.request.metric, published, seed)
    return [name for name in ranked if name in allowed][: stage.keep_backbones] or allowed[: stage.keep_backbones]


def _best_settings(results: Results, metric: str) -> dict[str, dict[str, Any]]:
    """What describes the head of each backbone's best configuration: where the next stage starts from."""
    best: dict[str, dict[str, Any]] = {}
    for result in pick_finalists(results, metric, count=len(results)):
        names = (*INHERITED, *TRAINED) if result["config"]["recipe"] == "finetune" else INHERITED
        config = {name: value for name, value in result["config"].items() if name in names}
        best.setdefault(result["config"]["backbone"], config)
    return best


def _handed_on(stage: Stage, inherited: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a stage inherits, by backbone: how to train is of no use to one that does not fine-tune."""
    left_out = () if stage.recipe == "finetune" else TRAINED
    return {
        name: {key: value for key, value in values.items() if key not in left_out} for name, values in inherited.items()
    }


def _candidates(context: Context, results: Results) -> Results:
    """Who goes into the final round: the best that were scored as the last stage scores, and the best of the others.

    What a gate refused is no candidate: it would be confirmed at the highest price of all.
    """
    metric, last = context.request.metric, context.space.stages[-1]
    results = on_most_images([result for result in results if not result.get("refused")] or results)
    if not any(result["state"] == "complete" for result in results):  # time was up in the first trial
        cut_short = [result for result in results if result["state"] == "pruned" and result["score"] is not None]
        results = [{**result, "state": "complete"} for result in cut_short]
    if all(result.get("images") is not None for result in results):  # each backbone more is a pass over all images
        return pick_finalists(results, metric, 1)
    evaluation = context.evaluation(last)
    if all(result["evaluation"] == evaluation for result in results):  # one scale: simply the best of all
        return pick_finalists(results, metric)
    mine = [result for result in results if result["evaluation"] == evaluation]
    others = [result for result in results if result["evaluation"] != evaluation]
    return pick_finalists(mine, metric, 2) + pick_finalists(others, metric, 1)


def _deliver_best(context: Context, candidates: Results, results: Results) -> tuple[dict[str, Any], dict[str, Any]]:
    """Confirm, choose, fit to all images and deliver; what `autotl.json` says, and the last fit's result."""
    candidates = contenders(candidates, context.request.metric, context.seed_for("contenders"))
    affordable = 0 if context.finishes else affordable_finalists(context, candidates)
    stack = None
    if context.request.ensemble and affordable:
        stack = tuned_ensemble(context, candidates[0], results)
    finalists = _finalists(context, candidates, affordable) if stack is None else [stack]
    chosen: Finalist = choose(finalists, context.request.metric)
    if context.request.budget is None and len(finalists) > 1 and not (context.finishes or context.request.ensemble):
        chosen = with_soup(context, finalists, chosen, context.space.stages[-1])
    if context.request.ensemble and stack is None and not is_tuned(context, chosen.config):
        chosen = frozen_ensemble(context, results, chosen)
    context.log("chosen", number=chosen.number, config=chosen.config, scores=chosen.scores)
    context.begin("final", "fitting to training and validation images")
    context.expect(context.forecast.finish_seconds(chosen.config))
    chosen, fitted = fit_within_budget(context, chosen, finalists)
    context.begin("test", "the saved model, once, on the test split")
    return deliver(context, chosen, fitted), {**fitted, "multiply_adds": chosen.multiply_adds}


def _finalists(context: Context, candidates: Results, affordable: int) -> list[Finalist]:
    """The best candidates, confirmed; without the time for a second look the first one decides."""
    if affordable > 1 or (affordable == 1 and len(candidates) == 1):
        context.begin("confirm", f"{affordable} finalist{'s' * (affordable > 1)} on a fresh seed")
        finalists = confirm(context, candidates[:affordable], context.space.stages[-1])
    else:
        finalists = as_finalists(candidates, context.request.metric)
    if not finalists:
        raise NoTrialError(f"No finalist could be fitted again; see the logs under {context.run.path}/trials.")
    return finalists
