"""The first fine-tune of a search whose budget is too short for it: a short one beats none."""

from collections.abc import Mapping
from typing import Any

from autotl.search.budget import latest_end, trial_seconds
from autotl.search.context import Context
from autotl.search.forecast import EPOCHS, FRESH
from autotl.space.parameters import Choice
from autotl.space.schema import Stage

LEAST_EPOCHS = 3  # with fewer it would say little
CACHED = "flip"


def shortened(context: Context, stage: Stage, config: Mapping[str, Any], deadline: float) -> dict[str, Any] | None:
    """What to change of a fine-tune so that it is done by the deadline and leaves time for its last fit.

    It has the most epochs that there is time for. Where these are not all of its own, it sees views that are read from
    the cache, if the stage offers them: few epochs see few views anyway, and fresh ones cost a pass in each.

    Args:
        deadline: of the stage, in seconds since the start.

    Returns:
        Values of parameters, none where there is time for it as it is; None where `LEAST_EPOCHS` are too many already.
    """
    if _is_in_time(context, stage, config, deadline):
        return {}
    changes: dict[str, Any] = {}
    offered = stage.parameters.get("augmentation")
    if config.get("augmentation") in FRESH and isinstance(offered, Choice) and CACHED in offered.choice:
        changes["augmentation"] = CACHED
    for epochs in range(int(config.get("epochs", EPOCHS)), LEAST_EPOCHS - 1, -1):
        changes["epochs"] = epochs
        if _is_in_time(context, stage, {**config, **changes}, deadline):
            return changes
    return None


def _is_in_time(context: Context, stage: Stage, config: Mapping[str, Any], deadline: float) -> bool:
    return context.elapsed() + trial_seconds(context, stage, config) <= latest_end(context, config, deadline)
