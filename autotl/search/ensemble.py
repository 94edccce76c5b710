"""`--ensemble`: several backbones with their heads as one model, kept only where the images say that it pays."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotl.search.bootstrap import chance_of_less
from autotl.search.context import Context
from autotl.search.finalists import Finalist, as_finalists, pick_finalists
from autotl.space.schema import Stage

MEMBERS = 3
SURE = 0.95
LINEAR = (None, "linear")


def with_ensemble(context: Context, results: Sequence[dict[str, Any]], chosen: Finalist) -> Finalist:
    """The chosen model, or an ensemble that is surely better on the same held-out images.

    Where the chosen one was fine-tuned, each further backbone is fine-tuned as it was; else the best frozen
    configuration is fitted to each, which is one pass. All see what the first sees: one model takes images of one size.
    """
    members = _tuned_members(context, results, chosen) or _frozen_members(context, results)
    if len(members) < 2:
        context.tell("note", message="an ensemble needs two backbones that take images of one size; there is one")
        return chosen
    stack = _stack(context, members)
    if stack is None or len(stack.members) < 2:
        context.tell("note", message="no second backbone helps the best one; there is no ensemble")
        return chosen
    rival = _comparable(chosen, members[0])
    chance = chance_of_less(stack.losses - rival.losses, context.seed_for("ensemble"))
    context.log("ensemble", chance=chance, scores=stack.scores, members=[m["config"] for m in stack.members])
    kept = chance >= SURE
    verdict = "is kept" if kept else "is not worth its price"
    message = (
        f"an ensemble of {len(stack.members)} backbones is better with a probability of {chance:.2f}: it {verdict}"
    )
    context.tell("note", message=message)
    return stack if kept else chosen


def _tuned_members(context: Context, results: Sequence[dict[str, Any]], chosen: Finalist) -> list[dict[str, Any]]:
    """The chosen fine-tune with its confirming fit, and other backbones trained alike on the same folds.

    There are none under a budget: nobody foresees what several last fits take.
    """
    if chosen.config["recipe"] != "finetune" or chosen.folder is None or context.request.budget is not None:
        return []
    ranked = pick_finalists(results, context.request.metric, len(results))
    first = {
        "number": chosen.number, "state": "complete", "config": chosen.config, "folder": chosen.folder,
        "score": chosen.scores[context.request.metric], "scores": chosen.scores, "temperature": chosen.temperature,
        "multiply_adds": chosen.multiply_adds,
    }  # fmt: skip
    confirmed = {"fold_seed": context.seed_for("confirm folds"), "prune": False, "images": None}
    others = _others(context, ranked, chosen.config)
    stage = context.space.stages[-1]
    more = [member for config in others for member in _trial(context, stage, config, **confirmed)]
    return [first, *more]


def _frozen_members(context: Context, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best frozen trial, and trials like it of other backbones."""
    metric = context.request.metric
    frozen = [result for result in results if _is_frozen(result)]
    ranked = pick_finalists(frozen, metric, len(frozen))
    if not ranked:
        return []
    best, stage = ranked[0], _stage_of(context, ranked[0])
    others = _others(context, ranked, best["config"])
    return [best, *(member for config in others for member in _trial(context, stage, config))]


def _others(context: Context, ranked: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A configuration for the next best backbones that take images of its size."""
    size, names = config["image_size"], dict.fromkeys(result["config"]["backbone"] for result in ranked)
    others = [name for name in names if name != config["backbone"]][: MEMBERS - 1]
    able = [name for name in others if context.backbones[name].nearest_size(size) == size]
    return [{**config, "backbone": name, "penalty": "best"} for name in able]


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
