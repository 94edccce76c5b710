"""Confirm: the best configurations once more on a fresh seed, and the choice among them.

The best of many validation scores is partly luck. Each finalist is fitted again with another seed, its two scores are
averaged image by image, and the cheapest model that is not worse than the best by more than one paired standard error
is chosen (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autotl.search.bootstrap import chance_of_less
from autotl.search.context import Context
from autotl.search.request import METRICS
from autotl.space.schema import Stage

FINALISTS = 3
WORTH_A_LOOK = 0.1  # the probability of being no worse than the best below which a second look would change nothing
CHEAPER = 0.9  # a model counts as cheaper when it takes less than this share of the other's multiplications
SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Finalist:
    """A configuration with the validation results of all its fits."""

    config: dict[str, Any]
    number: int
    losses: np.ndarray  # [n] mean log-loss of each validation image over the fits
    rows: np.ndarray  # [n] which images
    scores: dict[str, float]  # means over the fits
    temperature: float
    multiply_adds: int  # of one image's pass through the backbone
    folder: str | None = None  # of the fit that confirmed it, where weights may lie
    soup: tuple[dict[str, Any], ...] = ()  # configurations whose weights are averaged
    members: tuple[dict[str, Any], ...] = ()  # of an ensemble: config and temperature of each


def pick_finalists(results: Sequence[dict[str, Any]], metric: str, count: int = FINALISTS) -> list[dict[str, Any]]:
    """The best completed trials, best first, no configuration twice."""
    sign = 1 if METRICS[metric] == "minimize" else -1
    ranked = sorted(
        (result for result in results if result["state"] == "complete"),
        key=lambda result: (sign * result["score"], result["number"]),
    )
    unique: list[dict[str, Any]] = []
    for result in ranked:
        if all(result["config"] != other["config"] for other in unique):
            unique.append(result)
    return unique[:count]


def on_most_images(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that were scored on all images, where there are any: scores on a sample are for ranking backbones."""
    whole = [result for result in results if result.get("images") is None and result["state"] == "complete"]
    return [result for result in results if result.get("images") is None] if whole else results


def contenders(candidates: Sequence[dict[str, Any]], metric: str, seed: int) -> list[dict[str, Any]]:
    """The candidates that may be as good as the best of them, or cannot be compared image by image, in their order."""
    if metric != "log_loss":
        return list(candidates)
    best, *others = as_finalists(candidates, metric)
    alive = {best.number} | {
        other.number
        for other in others
        if not np.array_equal(other.rows, best.rows)
        or 1.0 - chance_of_less(best.losses - other.losses, seed) >= WORTH_A_LOOK
    }
    return [candidate for candidate in candidates if candidate["number"] in alive]


def confirm(context: Context, candidates: Sequence[dict[str, Any]], stage: Stage) -> list[Finalist]:
    """Fit every candidate again on a fresh seed and average.

    A first fit counts only when it was evaluated in the same way; then both see the same images.

    Args:
        stage: says how all of them are evaluated.
    """
    jobs, evaluation = [], context.evaluation(stage)
    for candidate in candidates:
        number = context.next_number()
        fresh = {
            "seed": context.seed_for(f"confirm {candidate['number']}"),
            "fold_seed": context.seed_for("confirm folds"),
            "prune": False,
            "keeps_weights": True,
            "images": None,  # all, also where the first fit saw a sample
            "confirms": candidate["number"],
        }
        jobs.append(context.trial_job(stage, number, candidate["config"], **fresh))
    finalists = []
    for candidate, outcome in zip(candidates, context.run_jobs(jobs), strict=True):
        if outcome.result is None:
            context.log("confirm_failed", number=candidate["number"], message=getattr(outcome.failure, "message", ""))
            continue
        context.costs.add_job(outcome.result["ledger"], outcome.seconds, "confirm")
        folders = [outcome.job.payload["folder"]]
        fits = [outcome.result]
        if candidate["evaluation"] == evaluation and candidate.get("images") is None:
            folders.append(candidate["folder"])
            fits.append(candidate)
        finalist = replace(_average(candidate, folders, fits), folder=outcome.job.payload["folder"])
        finalists.append(finalist)
        context.log("confirm", number=candidate["number"], scores=finalist.scores, seconds=outcome.seconds)
    return finalists


def as_finalists(results: Sequence[Mapping[str, Any]], metric: str) -> list[Finalist]:
    """Every completed trial with what it lost on each image, the best first."""
    ranked = pick_finalists([dict(result) for result in results], metric, len(results))
    return [_average(result, [result["folder"]], [result]) for result in ranked]


def _average(result: Mapping[str, Any], folders: Sequence[str], fits: Sequence[Mapping[str, Any]]) -> Finalist:
    """One configuration's fits taken together; all of them were scored on the same images, maybe several times."""
    losses, rows = [], np.zeros(0, np.int64)
    for folder in folders:
        with np.load(Path(folder) / "validation.npz", allow_pickle=False) as saved:
            labels = saved["labels"]
            chosen = saved["probabilities"][np.arange(len(labels)), labels]
            rows, places, counts = np.unique(saved["rows"], return_inverse=True, return_counts=True)
            lost = -np.log(np.maximum(chosen, SMALLEST_PROBABILITY))
            losses.append(np.bincount(places, weights=lost) / counts)
    names = fits[0]["scores"]
    return Finalist(
        config=result["config"],
        number=result["number"],
        losses=np.mean(losses, axis=0),
        rows=rows,
        scores={**{name: float(np.mean([fit["scores"][name] for fit in fits])) for name in names}, "n": len(rows)},
        temperature=float(np.exp(np.mean([np.log(fit["temperature"]) for fit in fits]))),
        multiply_adds=result["multiply_adds"],
    )


def choose(finalists: Sequence[Finalist], metric: str) -> Finalist:
    """The best finalist, or a clearly cheaper one within one paired standard error of its log-loss."""
    sign = 1 if METRICS[metric] == "minimize" else -1
    best = min(finalists, key=lambda finalist: (sign * finalist.scores[metric], finalist.number))
    affordable = [best]
    for other in finalists:
        if other is best or not np.array_equal(other.rows, best.rows):
            continue
        difference = other.losses - best.losses
        error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else 0.0
        if difference.mean() <= error and other.multiply_adds < CHEAPER * best.multiply_adds:
            affordable.append(other)
    return min(affordable, key=lambda finalist: (finalist.multiply_adds, sign * finalist.scores[metric]))
