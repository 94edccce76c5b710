"""What a search came to: `result.json`."""

from collections.abc import Mapping
from typing import Any

from autotl.runs.directory import Run
from autotl.search.bounds import summarise
from autotl.search.context import Context
from autotl.search.finalists import on_most_images, pick_finalists
from autotl.search.request import METRICS

Results = list[dict[str, Any]]


def result_of_search(
    context: Context, description: dict[str, Any], results: Results, fitted: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of a search.

    Args:
        description: what `autotl.json` says of the delivered model.
        results: of all trials.
        fitted: what the last fit answered, with its `multiply_adds`; empty where an earlier driver made it.
    """
    seconds = context.elapsed()
    slot_seconds = len(context.dispatcher.executor.slots()) * seconds
    states = [result["state"] for result in results]
    details = ("confusion", "per_class", "confusions", "reliability")
    measured = [each.to_json() for each in context.model_budget.measured.values()]
    return {
        "run": str(context.run.path),
        "model": str(context.run.model_path),
        "best": {**description["configuration"], "trial": description["trial"]},
        **({"members": description["members"]} if "members" in description else {}),
        "trials": {state: states.count(state) for state in ("complete", "pruned", "failed")},
        "validation": description["validation"],
        "optimism": _optimism(results, description, context.request.metric),
        "test": {name: value for name, value in description["test"].items() if name not in details},
        "parity": description["parity"],
        "latency": description["latency"],
        **({"budgets": description["budgets"]} if "budgets" in description else {}),
        **({"measured": measured} if measured else {}),
        "seconds": round(seconds, 2),
        "cost": context.costs.summary(slot_seconds),
        "counts": context.costs.counts,
        "work": summarise(
            context.costs,
            results,
            fitted.get("ledger", {}).get("counts", {}),
            images=len(context.manifest.rows("train", "val")),
            multiply_adds=fitted.get("multiply_adds", 0),
            slot_seconds=slot_seconds,
        ),
        "expected_seconds": context.expected,
        "metric": context.request.metric,
        "command": description["command"],
    }


def _optimism(results: Results, description: Mapping[str, Any], metric: str) -> dict[str, float]:
    """By how much the best validation scores of the search flatter: they were the best of many, the test's was not.

    Positive numbers are worse news, for losses too.
    """
    best = next(iter(pick_finalists(on_most_images(results), metric, 1)), None)
    if best is None:
        return {}
    test = description["test"]
    return {
        name: round((1 if METRICS[name] == "maximize" else -1) * (best["scores"][name] - test[name]), 4)
        for name in METRICS
        if name in best["scores"] and name in test
    }


def nothing_completed(results: Results, run: Run) -> str:
    """Why there is no result."""
    errors = [result["error"]["message"] for result in results if result.get("error")]
    if errors:
        return f"No trial completed. The last error: {errors[-1]} The logs are under {run.path}/trials."
    return "No trial completed within the budget. Give a longer --budget, a smaller --space, or fewer --backbone."
