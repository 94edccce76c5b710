"""`--ensemble`: several backbones with their heads as one model, kept only where the images say that it pays."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotl.search.bootstrap import chance_of_less
from autotl.search.context import Context
from autotl.search.finalists import Finalist, as_finalists, pick_finalists
from autotl.space.schema import Stage

MEMBERS = 3
SURE = 0.95
ENOUGH = 300  # held-out images: backbones that differ are then told from one with a standard error of about 0.02
ALONE = "an ensemble needs two backbones that take images of one size; there is one"
LINEAR = (None, "linear")


def is_tuned(context: Context, config: Mapping[str, Any]) -> bool:
    """Whether the ensemble beside a configuration is one of fine-tunes.

    It is not under a budget: nobody foresees what several last fits take.
    """
    return config["recipe"] == "finetune" and context.request.budget is None


def tuned_ensemble(context: Context, best: Mapping[str, Any], results: Sequence[dict[str, Any]]) -> Finalist | None:
    """An ensemble of the best fine-tune and of further backbones trained as it was, where that is surely better.

    It stands in for the confirmation of finalists: which of several nearly equal fine-tunes is in an ensemble changes
    little, and to confirm them all costs more than its members. These are trained on fresh folds, on no more of them
    than hold out `ENOUGH` images.

    Args:
        best: the candidate for the final round that scored best.
        results: of all trials; they say which backbones come next.
    """
    if not is_tuned(context, best["config"]):
        return None
    context.begin("confirm", "an ensemble on a fresh seed")
    stage, images = context.space.stages[-1], len(context.manifest.rows("train", "val"))
    fresh = {
        "fold_seed": context.seed_for("confirm folds"),
        "fitted_folds": enough_folds(stage.folds, images),
        "repeats": 1,
        "prune": False,
        "images": None,
    }
    ranked = pick_finalists(results, context.request.metric, len(results))
    others = alike_of_others(context, _names(ranked), best["config"])
    if not others:
        context.tell("note", message=ALONE)
        return None
    configs = [dict(best["config"]), *others]
    members = [member for config in configs for member in _trial(context, stage, config, **fresh)]
    if len(members) < 2 or members[0]["config"]["backbone"] != best["config"]["backbone"]:
        context.tell("note", message=f"members of the ensemble failed; their logs are under {context.run.path}/trials")
        return None
    stack = _stack(context, members)
    (single,) = as_finalists(members[:1], context.request.metric)
    return stack if _is_kept(context, stack, single) else None


def enough_folds(folds: int, images: int) -> int:
    """How many folds of all the images hold out `ENOUGH` of them; all where they are few."""
    return min(folds, math.ceil(ENOUGH * folds / images))


def frozen_ensemble(context: Context, results: Sequence[dict[str, Any]], chosen: Finalist) -> Finalist:
    """The chosen model, or an ensemble of frozen backbones that is surely better on the same held-out images.

    The best frozen configuration is fitted to each backbone, which is one pass. All see what the first sees: one model
    takes images of one size.
    """
    members = _frozen_members(context, results)
    if len(members) < 2:
        context.tell("note", message=ALONE)
        return chosen
    stack = _stack(context, members)
    rival = _comparable(chosen, members[0])
    return stack if _is_kept(context, stack, rival) and stack is not None else chosen


def _is_kept(context: Context, stack: Finalist | None, single: Finalist) -> bool:
    """Whether an ensemble is surely better than a single model that was scored on the same images."""
    if stack is None or len(stack.members) < 2:
        context.tell("note", message="no second backbone helps the best one; there is no ensemble")
        return False
    chance = chance_of_less(stack.losses - single.losses, context.seed_for("ensemble"))
    context.log("ensemble", chance=chance, scores=stack.scores, members=[m["config"] for m in stack.members])
    kept = chance >= SURE
    verdict = "is kept" if kept else "is not worth its price"
    message = (
        f"an ensemble of {len(stack.members)} backbones is better with a probability of {chance:.2f}: it {verdict}"
    )
    context.tell("note", message=message)
    return kept


def _frozen_members(context: Context, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best frozen trial, and trials like it of other backbones."""
    metric = context.request.metric
    frozen = [result for result in results if _is_frozen(result)]
    ranked = pick_finalists(frozen, metric, len(frozen))
    if not ranked:
        return []
    best, stage = ranked[0], _stage_of(context, ranked[0])
    others = alike_of_others(context, _names(ranked), best["config"])
    return [best, *(member for config in others for member in _trial(context, stage, config))]


def alike_of_others(context: Context, names: Iterable[str], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A configuration for further backbones that take images of its size, in the order of their names."""
    size, distinct = config["image_size"], dict.fromkeys(names)
    others = [name for name in distinct if name != config["backbone"]][: MEMBERS - 1]
    able = [name for name in others if context.backbones[name].nearest_size(size) == size]
    return [{**config, "backbone": name, "penalty": "best"} for name in able]


def _names(ranked: Sequence[Mapping[str, Any]]) -> list[str]:
    return [result["config"]["backbone"] for result in ranked]


def _is_frozen(result: Mapping[str, Any]) -> bool:
    config = result["config"]
    return config["recipe"] == "probe" and result["evaluation"] == "cross_validation" and config.get("head") in LINEAR


def _stage_of(context: Context, result: Mapping[str, Any]) -> Stage:
    return next(stage for stage in context.space.stages if stage.name == result["stage"])


def _trial(context: Context, stage: Stage, config: dict[str, Any], **how: Any) -> list[dict[str, Any]]:
    job = context.trial_job(stage, context.next_number(), config, **how)
    outcome = context.run_jobs([job])[0]
    if outcome.result is None:
        context.log("ensemble_failed", message=getattr(outcome.failure, "message", ""))
        return []
    context.costs.add_job(outcome.result["ledger"], outcome.seconds, "ensemble")
    settled = {**config, **outcome.result.get("settled", {})}
    record = {"config": settled, "folder": outcome.job.payload["folder"], "state": "complete", "number": context.number}
    return [{**outcome.result, **record}]


def _stack(context: Context, members: Sequence[dict[str, Any]]) -> Finalist | None:
    folders = [member["folder"] for member in members]
    job = context.job(context.next_number(), "stack", members[0]["config"], context.seed_for("stack"), members=folders)
    outcome = context.run_jobs([job])[0]
    if outcome.result is None:
        context.log("ensemble_failed", message=getattr(outcome.failure, "message", ""))
        return None
    used = [members[position] for position in outcome.result["members"]]
    cost = sum(member["multiply_adds"] for member in used)
    folder = outcome.job.payload["folder"]
    record = {**outcome.result, "number": context.number, "config": used[0]["config"], "folder": folder}
    context.costs.add_job(outcome.result["ledger"], outcome.seconds, "ensemble")
    (finalist,) = as_finalists([{**record, "state": "complete", "multiply_adds": cost}], context.request.metric)
    return replace(finalist, members=tuple({"config": m["config"], "temperature": m["temperature"]} for m in used))


def _comparable(chosen: Finalist, best: Mapping[str, Any]) -> Finalist:
    """The chosen model where it was scored on all images, else the best member."""
    (single,) = as_finalists([best], "log_loss")
    same = len(chosen.rows) == len(single.rows) and bool((chosen.rows == single.rows).all())
    return chosen if same else single
