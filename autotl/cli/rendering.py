"""The end of a search, for people: the model, what it is, how good it is, what it cost, what to type next."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotl.cli.output import make_table, visible
from autotl.cli.words import configuration, duration, interval, metric_name

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc")


def render_result(console: "Console", result: Mapping[str, Any]) -> None:
    """Draw the JSON object of a finished search."""
    trials = result["trials"]
    counts = ", ".join(f"{count} {state}" for state, count in trials.items() if count or state == "complete")
    test = result["test"]
    lines = [
        ("model", result["model"]),
        ("what it is", _what(result)),
        ("test accuracy", f"{interval(test, 'accuracy')}, {test['n']} images, read once"),
        *_optimism(result),
        *_calibration(test),
        ("search", f"{duration(result['seconds'])}, trials: {counts}"),
        *_work(result),
    ]
    width = max(len(name) for name, _ in lines)
    console.print()
    for name, text in lines:
        _print(console, f"{name:<{width}}  {text}", style="bold" if name in ("model", "test accuracy") else None)
    console.print()
    console.print(_score_table(result["validation"], test))
    console.print(_cost_table(result["cost"]))
    stages = result.get("work", {}).get("stages", {})
    if stages:
        console.print(_stage_table(stages))
    _print(console, f"Next:  autotl predict {shlex.quote(result['model'])} IMAGE...")


def _what(result: Mapping[str, Any]) -> str:
    members = result.get("members", [])
    if not members:
        return configuration(result["best"])
    return "the average of " + "; ".join(configuration(member) for member in members)


def _work(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was computed, in passes over the images, beside the least that any search must compute."""
    work = result.get("work", {})
    if work.get("cost_units") is None or work.get("rho_alg") is None:
        return []
    passes, least = work["cost_units"], work["lower_bound_units"]
    text = f"{passes:.1f} passes of this network over the images; at least {least:.1f} are needed"
    return [("work", f"{text} ({work['rho_alg']:.1f} times that)")]


def _stage_table(stages: Mapping[str, Mapping[str, Any]]) -> "Table":
    rows = [
        (name, f"{spent['seconds']:.1f}", "" if spent["cost_units"] is None else f"{spent['cost_units']:.1f}")
        for name, spent in stages.items()
    ]
    return make_table(("stage", "seconds>", "passes>"), rows)


def _optimism(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How much the best validation accuracy flattered; nothing for runs of an autotl that did not record it."""
    gap = result.get("optimism", {}).get("accuracy")
    if gap is None:
        return []
    best = result["test"]["accuracy"] + gap
    return [("optimism", f"{gap:+.3f}: the best validation accuracy of all trials was {best:.3f}")]


def _calibration(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far confidence is from accuracy, and how far it was before the temperature where that is known."""
    name = "expected_calibration_error"
    if name not in scores:
        return []
    before = scores.get("uncalibrated", {}).get(name)
    rest = "" if before is None else f"; {before:.3f} before its temperature"
    return [("calibration error", f"{interval(scores, name)}{rest}")]


def render_scores(console: "Console", scores: Mapping[str, Any]) -> None:
    """Draw what `autotl evaluate` found."""
    rows = [(metric_name(name), interval(scores, name)) for name in SCORES if name in scores]
    rows += _calibration(scores)
    title = f"{visible(scores['dataset'])}, split {scores['split']}: {scores['n']} images"
    console.print(title, style="bold", markup=False, soft_wrap=True)  # a table would break it to its own width
    console.print(make_table(("score", "value"), rows))
    per_class = scores.get("per_class", [])
    if per_class:
        console.print(
            make_table(
                ("class", "precision>", "recall>", "F1>", "images>"),
                [
                    (row["name"], f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", row["support"])
                    for row in per_class
                ],
            )
        )
    mistakes = scores.get("confusions", [])
    if mistakes:
        most = [(item["true"], item["predicted"], item["count"]) for item in mistakes[:5]]
        console.print(make_table(("true class", "taken for", "times>"), most))
    if scores.get("reproduced") is not None:
        is_same = "These are the scores of the search's own test, to the last digit."
        console.print(is_same if scores["reproduced"] else "These are NOT the scores that the search recorded.")


def _score_table(validation: Mapping[str, Any], test: Mapping[str, Any]) -> "Table":
    rows = [
        (metric_name(name), _number(validation.get(name)), _number(test.get(name)), _bounds(test, name))
        for name in SCORES
        if name in validation or name in test
    ]
    return make_table(("score", "validation>", "test>", "95 % interval of test"), rows)


def _cost_table(cost: Mapping[str, float]) -> "Table":
    total = sum(cost.values())
    ranked = sorted(cost.items(), key=lambda item: -item[1])
    rows = [(name, f"{seconds:.1f}", f"{100 * seconds / total:.0f} %") for name, seconds in ranked if seconds >= 0.05]
    return make_table(("phase", "seconds>", "share>"), rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _bounds(scores: Mapping[str, Any], name: str) -> str:
    bounds = scores.get(f"{name}_ci95")
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _print(console: "Console", text: str, style: str | None = None) -> None:
    """A line of text that may hold user data: no markup, and paths are never broken into two lines."""
    console.print(visible(text), style=style, markup=False, soft_wrap=True)
