"""The rows of the report's tables: plain values ready to be shown, and nothing about how they look.

Texts are not escaped here (the template does that), but hold no absolute paths: a report is made to be sent around.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from autotl.references import short_name
from autotl.report.record import Json, RunRecord, Trial, mapping_or_empty, number_or_none

# What the cost of a search is made of, in the order it is spent, and the phases of the ledger that belong to each.
PHASES = {
    "decode": ("decode",), "start": ("import", "build"), "forward": ("forward",), "solve": ("solve",),
    "trace": ("trace",), "train": ("train",), "test": ("evaluate", "save", "test"), "other": (), "idle": ("idle",),
}  # fmt: skip
METRIC_NAMES = {
    "log_loss": "log-loss", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1",
    "auroc": "AUROC",
}  # fmt: skip

_ABSOLUTE_PATH = re.compile(r"(?<![\w:/.~])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|]+[/\\])*([^\s/\\'\"<>|]+)[/\\]?")
_IN_OWN_COLUMN = {"recipe", "backbone", "image_size", "freeze_depth", "head", "width", "depth"}
_STATES = {"complete": 0, "pruned": 1, "running": 2, "failed": 3}


def hide_paths(text: object) -> str:
    """Shortens every absolute path in a text to its last part."""
    return _ABSOLUTE_PATH.sub(r"\1", str(text))


def leaderboard(record: RunRecord) -> list[dict[str, Any]]:
    """All trials, best first; those without a score after those with one."""
    sign = -1.0 if record.larger_is_better else 1.0

    def rank(trial: Trial) -> tuple[int, float, int]:
        return (_STATES.get(trial.state, 4), float("inf") if trial.score is None else sign * trial.score, trial.number)

    return [_trial_row(trial) for trial in sorted(record.trials, key=rank)]


def configuration(config: Json) -> list[tuple[str, str]]:
    """The settings of a trial, in words."""
    return [(str(name).replace("_", " "), setting(value)) for name, value in config.items() if value is not None]


def setting(value: object) -> str:
    """A value of a configuration: short numbers, no more digits than anyone would type."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return hide_paths(value)


def cost(record: RunRecord) -> list[dict[str, Any]]:
    """Seconds by phase over the whole run, with their share; empty when nothing was recorded."""
    recorded = mapping_or_empty(record.result.get("cost"))
    ledgers: Sequence[Json] = [recorded] if recorded else [trial.phases for trial in record.trials]
    groups = {name: group for group, names in PHASES.items() for name in names}
    seconds = dict.fromkeys(PHASES, 0.0)
    for ledger in ledgers:
        for name, value in ledger.items():
            seconds[groups.get(name, "other")] += number_or_none(value) or 0.0
    total = sum(seconds.values())
    return [{"phase": name, "seconds": value, "share": value / total} for name, value in seconds.items() if value > 0.0]


def per_class(test: Json) -> list[dict[str, Any]]:
    """Name, support, precision, recall and f1 of each class, in index order."""
    rows = test.get("per_class")
    return [dict(row) for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def calibration(test: Json) -> list[dict[str, Any]]:
    """Calibration error with its interval and log-loss, as delivered and, where recorded, before the temperature."""
    rows = [("as delivered", test), ("before the temperature", mapping_or_empty(test.get("uncalibrated")))]
    return [
        {"name": name, "error": error, "low": bounds[0], "high": bounds[1], "log_loss": values.get("log_loss")}
        for name, values in rows
        if (error := number_or_none(values.get("expected_calibration_error"))) is not None
        and isinstance(bounds := values.get("expected_calibration_error_ci95"), list)
        and len(bounds) == 2
    ]


def confusion(test: Json, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the confusion matrix, true classes down: each cell is (count, share of the row)."""
    matrix = test.get("confusion")
    if not isinstance(matrix, list) or len(matrix) != len(class_names):
        return []
    return [
        {"name": name, "cells": [(count, count / max(1, sum(row))) for count in row], "total": sum(row)}
        for name, row in zip(class_names, matrix, strict=True)
    ]


def licences(record: RunRecord) -> list[dict[str, str]]:
    """Where the weights of the delivered model come from and what they may be used for."""
    backbone = mapping_or_empty(record.model.get("backbone"))
    weights = mapping_or_empty(backbone.get("weights"))
    if not weights:
        return []
    texts = {
        key: "" if weights.get(key) is None else hide_paths(weights[key])
        for key in ("licence", "dataset", "source", "sha256")
    }
    return [{"of": f"weights of {backbone.get('name', '')}", **texts}]


def command(record: RunRecord) -> str | None:
    """The command line that repeats the search, None when the run does not record it."""
    given = record.result.get("command") or record.model.get("command")
    if not given:
        return None
    try:
        words = shlex.split(str(given))
    except ValueError:  # a lone quote in a name
        return hide_paths(given)
    return " ".join(shlex.quote(hide_paths(word)) for word in words)


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _trial_row(trial: Trial) -> dict[str, Any]:
    config = trial.config
    head = str(config.get("head", ""))
    if config.get("width") is not None:
        head = f"{head} {config['width']}" + (f" × {config['depth']}" if config.get("depth") is not None else "")
    rest = [
        f"{name} {value}" for name, value in configuration({k: v for k, v in config.items() if k not in _IN_OWN_COLUMN})
    ]
    return {
        "number": trial.number,
        "stage": trial.stage,
        "state": trial.state,
        "backbone": short_name(str(config.get("backbone", ""))),
        "image_size": config.get("image_size", ""),
        "freeze_depth": setting(config.get("freeze_depth", "")),
        "head": head,
        "settings": ", ".join(rest),
        "score": trial.score,
        "accuracy": trial.accuracy,
        "seconds": trial.seconds,
        "error": hide_paths(trial.error),
    }
