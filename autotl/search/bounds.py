"""How far a search was from the least it could have cost, in units that are the same on every machine.

The unit U is one forward pass of the chosen backbone over the training and validation images. Definitions: section F3
of the methods note, "Lower bound of a search's cost, and our ratio to it". Cost is counted in multiplications:
`multiply_adds_forwarded` and `multiply_adds_trained` of the jobs' ledgers, in which the test pass has no part.

Stores that an earlier search has left cost this one nothing, so on warm stores a ratio may be below 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.search.costs import Costs, work_of


def unit_multiply_adds(images: int, multiply_adds: int) -> int:
    """U, in multiplications.

    Args:
        images: in the training and validation splits.
        multiply_adds: of one image's pass through the chosen backbone at its image size.
    """
    return images * multiply_adds


def cost_units(counts: Mapping[str, float], unit: int) -> float | None:
    """C_search of F3: all that was forwarded and trained, in units of U; None where the unit is unknown (0)."""
    return work_of(counts) / unit if unit > 0 else None


def screening_multiply_adds(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """By backbone: multiplications of one image's pass at the size at which it was screened.

    Args:
        results: records of trials, with `stage`, `config` and, where they came to an end, `multiply_adds`. The stage
            of the first one is taken for the screening; of several sizes there the cheapest counts, for it is enough.
    """
    screened: dict[str, int] = {}
    for result in results:
        if result["stage"] == results[0]["stage"] and "multiply_adds" in result:
            name, cost = result["config"]["backbone"], int(result["multiply_adds"])
            screened[name] = min(cost, screened.get(name, cost))
    return screened


def lower_bound_units(
    screened: Mapping[str, int], images: int, final_counts: Mapping[str, float], unit: int
) -> float | None:
    """LB of F3: a look at every backbone that competed, and one run of the best configuration, which an oracle named.

    Args:
        screened: of `screening_multiply_adds`.
        images: that every backbone was screened on.
        final_counts: of the ledger of the final fit, which is that run.
        unit: U in multiplications.
    """
    if unit <= 0:
        return None
    return (images * sum(screened.values()) + work_of(final_counts)) / unit


def ratio(value: float | None, bound: float | None) -> float | None:
    """`value / bound`, or None where either is unknown or the bound is 0."""
    return None if value is None or not bound else value / bound


def rho_idle(slot_seconds: float, busy_seconds: float) -> float | None:
    """Slot time over slot time in use (F3); 1 is a machine that never waited."""
    return ratio(slot_seconds, busy_seconds)


def summarise(
    costs: Costs,
    results: Sequence[Mapping[str, Any]],
    final_counts: Mapping[str, float],
    *,
    images: int,
    multiply_adds: int,
    slot_seconds: float,
) -> dict[str, Any]:
    """What a result says of its cost; numbers are rounded, unknown ones None.

    Args:
        costs: of the whole search, the final fit included.
        results: records of all trials, in their order.
        final_counts: of the final fit's ledger.
        images: in the training and validation splits.
        multiply_adds: of one image's pass through the chosen backbone at its image size.
        slot_seconds: number of slots times the seconds that the search took.

    Returns:
        unit_multiply_adds, cost_units, lower_bound_units, rho_alg (`cost_units / lower_bound_units`), rho_idle, and
        `stages`: by name `cost_units` and `seconds`.
    """
    unit = unit_multiply_adds(images, multiply_adds)
    cost = cost_units(costs.counts, unit)
    screened_images = (results[0].get("images") if results else None) or images
    bound = lower_bound_units(screening_multiply_adds(results), screened_images, final_counts, unit)
    stages = {
        name: {
            "cost_units": _rounded(spent["multiply_adds"] / unit if unit > 0 else None),
            "seconds": round(spent["seconds"], 3),
        }
        for name, spent in costs.stages.items()
    }
    return {
        "unit_multiply_adds": unit,
        "cost_units": _rounded(cost),
        "lower_bound_units": _rounded(bound),
        "rho_alg": _rounded(ratio(cost, bound)),
        "rho_idle": _rounded(rho_idle(slot_seconds, costs.busy_seconds)),
        "stages": stages,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
