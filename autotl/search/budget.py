"""Trials and time, divided among the stages of a space."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.search.context import Context
from autotl.search.forecast import FINISH_SECONDS
from autotl.search.plan import portfolio
from autotl.space.schema import SearchSpace, Stage

FINISH_SHARE = 0.25  # of the budget is kept at most for confirming, the final fit and the test
FROZEN_SHARE = 0.4  # of what is left goes at most to stages on frozen features, where others follow
TRAINED_SHARE = 0.7  # of what is left goes at most to them and to all that train, but the last one
MARGIN = 1.15  # forecasts of the end are taken that much longer
FINALISTS = 3


def stage_trials(space: SearchSpace, total: int | None, backbones: Sequence[str] = ()) -> dict[str, int]:
    """Trials of each stage: the space's own numbers, or a given total in their proportion.

    Of a total every stage has at least one; of one that is too small for that, the first stages have one each.

    A stage's own number is at least that of its portfolio, which is tried once for every backbone that competes.
    """
    own = {
        stage.name: max(stage.trials, len(portfolio(stage, backbones[: stage.keep_backbones])))
        for stage in space.stages
    }
    if total is None:
        return own
    shares = {name: int(place < total) for place, name in enumerate(own)}
    wanted = {name: count * total / sum(own.values()) for name, count in own.items()}
    for _ in range(total - len(own)):
        # one more for whoever lacks most of its share, the later stage where that is equal
        shares[max(reversed(shares), key=lambda name: wanted[name] - shares[name])] += 1
    return shares


def finish_seconds(context: Context, config: Mapping[str, Any]) -> float:
    """What is kept for the last fit of a configuration, its check and its test."""
    return MARGIN * context.forecast.finish_seconds(config) + FINISH_SECONDS


def trial_seconds(context: Context, stage: Stage, config: Mapping[str, Any]) -> float:
    """What a trial of a stage is expected to take."""
    images = context.passed_images(stage)
    return context.forecast.trial_seconds(config, context.evaluation(stage), stage.folds, stage.repeats, images)


def latest_end(context: Context, config: Mapping[str, Any], deadline: float) -> float:
    """When a trial must have ended that is to leave time for its own last fit, in seconds since the start."""
    budget = context.request.budget
    return deadline if budget is None else min(deadline, budget - finish_seconds(context, config))


def stage_deadline(context: Context, index: int, best: Mapping[str, Any] | None) -> float | None:
    """Until when, in seconds since the start, a stage may work; None without a budget.

    Args:
        index: of the stage.
        best: the best trial so far: what remains after the deadline is enough to confirm it and to finish with it.
    """
    budget = context.request.budget
    if budget is None:
        return None
    if best is None:
        reserve = FINISH_SHARE * budget
    else:
        finish = finish_seconds(context, best["config"])
        reserve = max(finish, min(FINISH_SHARE * budget, finish + FINALISTS * best["seconds"]))
    available = max(0.0, budget - reserve)
    stages = context.space.stages
    if index == len(stages) - 1 or (best is not None and best.get("images") is not None):
        return available  # what is known is from a sample: nothing is worth more than a look at all images
    return available * (FROZEN_SHARE if stages[index].recipe == "probe" else TRAINED_SHARE)


def affordable_finalists(context: Context, candidates: Sequence[Mapping[str, Any]]) -> int:
    """How many of the candidates, in their order, can be fitted once more before the end must begin."""
    budget = context.request.budget
    if budget is None:
        return len(candidates)
    dearest = max((finish_seconds(context, candidate["config"]) for candidate in candidates), default=0.0)
    left = budget - context.elapsed() - dearest
    count = 0
    for candidate in candidates:
        left -= MARGIN * _seconds_again(context, candidate)
        if left < 0.0:
            break
        count += 1
    return count


def _seconds_again(context: Context, candidate: Mapping[str, Any]) -> float:
    """What it took, or what it will take on all images where it was scored on a sample."""
    seconds = float(candidate["seconds"])
    if candidate.get("images") is None:
        return seconds
    last = context.space.stages[-1]
    evaluation = context.evaluation(last)
    return max(seconds, context.forecast.trial_seconds(candidate["config"], evaluation, last.folds, last.repeats))
