"""The last fit under a model budget: what is delivered is measured once more, and must hold."""

from collections.abc import Sequence
from typing import Any

from autotl.search.context import Context
from autotl.search.finalists import Finalist
from autotl.search.finish import answer_of, fit_final
from autotl.search.frozen import plugins_of
from autotl.search.measuring import measure_job
from autotl.search.quantities import megabytes, milliseconds

DELIVERED = "keras"


def fit_within_budget(
    context: Context, chosen: Finalist, finalists: Sequence[Finalist]
) -> tuple[Finalist, dict[str, Any]]:
    """Fit the chosen finalist; where the saved model breaks the budget, the next one of another network that keeps it.

    Measured times are noisy, and what holds before training may be a hair over it afterwards. If no finalist holds, the
    chosen one is delivered all the same, and its description says by how much it does not hold.

    Returns:
        The finalist, and what its last fit answered, with `budgets`.
    """
    fitted = fit_final(context, chosen)
    if not context.model_budget.is_set:
        return chosen, fitted
    fitted["budgets"] = _measure(context, chosen, fitted)
    if holds(fitted["budgets"]):
        return chosen, fitted
    tried = {_network(chosen)}
    for other in finalists:
        if _network(other) in tried or not _is_affordable(context, other):
            continue
        tried.add(_network(other))
        again = fit_final(context, other)
        again["budgets"] = _measure(context, other, again)
        if holds(again["budgets"]):
            return other, again
    context.tell("note", message=f"no finalist holds {context.model_budget.describe()}; the chosen one is delivered")
    return chosen, fitted


def holds(budgets: dict[str, Any]) -> bool:
    """Whether a delivered model keeps all that was asked of it."""
    return all(budgets[name]["holds"] for name in ("latency", "size") if name in budgets)


def _measure(context: Context, finalist: Finalist, fitted: dict[str, Any]) -> dict[str, Any]:
    """What a saved model costs, beside its limits; a time that is over them is measured twice."""
    plugins = plugins_of(context.backbones[finalist.config["backbone"]], finalist.config.get("head"))
    job = measure_job(context, "measure-final", model=fitted["model"], plugins=plugins)
    budget = context.model_budget
    found = answer_of(context.dispatcher.run_all([job])[0])
    if "latency" in budget.excess_of(found["p50_milliseconds"], 0):
        found = min(
            found, answer_of(context.dispatcher.run_all([job])[0]), key=lambda each: float(each["p50_milliseconds"])
        )
    budgets: dict[str, Any] = {"format": DELIVERED if context.request.deploy is None else context.request.deploy}
    over = budget.excess_of(found["p50_milliseconds"], found["bytes"])
    if budget.most_milliseconds is not None:
        values = {"budget": budget.most_milliseconds, "measured": round(found["p50_milliseconds"], 3)}
        budgets["latency"] = {**values, "unit": "milliseconds", "holds": "latency" not in over}
    if budget.most_bytes is not None:
        values = {"budget": budget.most_bytes, "measured": found["bytes"]}
        budgets["size"] = {**values, "unit": "bytes", "holds": "size" not in over}
    context.log("budgets", number=finalist.number, **budgets)
    if over:
        figures = f"{milliseconds(found['p50_milliseconds'])} and {megabytes(found['bytes'])}"
        context.tell("note", message=f"trial {finalist.number} was fitted and takes {figures}: over the budget")
    return budgets


def _network(finalist: Finalist) -> tuple[str, int]:
    return finalist.config["backbone"], finalist.config["image_size"]


def _is_affordable(context: Context, finalist: Finalist) -> bool:
    """Whether there is time for one more last fit."""
    budget = context.request.budget
    return budget is None or context.elapsed() + context.forecast.finish_seconds(finalist.config) < budget
