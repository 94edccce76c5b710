"""`--ensemble`: heads on several frozen backbones as one model, kept only where the images say that it pays."""

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
    """The chosen model, or an ensemble of frozen ones that is surely better on the same held-out images.

    The best frozen configuration of each further backbone is fitted at the image size of the first, since one model
    takes images of one size; that is one pass for each.
    """
    members = _members(context, results)
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


def _members(context: Context, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best frozen trial, and trials like it of other backbones at its image size."""
    metric = context.request.metric
    frozen = [result for result in results if _is_frozen(result)]
    ranked = pick_finalists(frozen, metric, len(frozen))
    if not ranked:
        return []
    best, stage = ranked[0], _stage_of(context, ranked[0])
    others = list(dict.fromkeys(result["config"]["backbone"] for result in ranked))[1:MEMBERS]
    members = [best]
    for name in others:
        record = context.backbones[name]
        if record.nearest_size(best["config"]["image_size"]) != best["config"]["image_size"]:
            continue
        config = {**best["config"], "backbone": name, "penalty": "best"}
        members += _trial(context, stage, config)
    return members


def _is_frozen(result: Mapping[str, Any]) -> bool:
    config = result["config"]
    return config["recipe"] == "probe" and result["evaluation"] == "cross_validation" and config.get("head") in LINEAR


def _stage_of(context: Context, result: Mapping[str, Any]) -> Stage:
    return next(stage for stage in context.space.stages if stage.name == result["stage"])


def _trial(context: Context, stage: Stage, config: dict[str, Any]) -> list[dict[str, Any]]:
    job = context.trial_job(stage, context.next_number(), config)
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
