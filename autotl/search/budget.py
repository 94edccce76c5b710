"""Trials and time, divided among the stages of a space."""

from collections.abc import Sequence

from autotl.search.context import Context
from autotl.search.plan import portfolio
from autotl.space.schema import SearchSpace

FINISH_SHARE = 0.25  # of the budget is kept for confirming, the final fit and the test
EARLY_STAGES_SHARE = 0.4  # of the rest goes at most to the stages before the last


def stage_trials(space: SearchSpace, total: int | None, backbones: Sequence[str] = ()) -> dict[str, int]:
    """Trials of each stage: the space's own numbers, or a given total in their proportion, at least one each.

    A stage's own number is at least that of its portfolio, which is tried once for every backbone that competes.
    """
    own = {
        stage.name: max(stage.trials, len(portfolio(stage, backbones[: stage.keep_backbones])))
        for stage in space.stages
    }
    if total is None:
        return own
    shares = dict.fromkeys(own, 1)
    wanted = {name: count * total / sum(own.values()) for name, count in own.items()}
    for _ in range(total - len(own)):
        # one more for whoever lacks most of its share, the later stage where that is equal
        shares[max(reversed(shares), key=lambda name: wanted[name] - shares[name])] += 1
    return shares


def stage_deadline(context: Context, index: int) -> float | None:
    """Until when, in seconds since the start, a stage may ask for trials; None without a budget."""
    if context.request.budget is None:
        return None
    available = context.request.budget * (1.0 - FINISH_SHARE)
    is_last = index == len(context.space.stages) - 1
    return available if is_last else available * EARLY_STAGES_SHARE
