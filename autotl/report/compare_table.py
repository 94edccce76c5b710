"""The table of a comparison, as Markdown for a paper and as CSV for a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autotl.report.tables import hide_paths

LEVELS = {"frozen": "frozen", "partly": "partly unfrozen", "full": "fully fine-tuned"}
FROM_SCRATCH = "from scratch"
CSV_COLUMNS = (
    "label", "weights", "pretrained_on", "level", "image_size", "state", "reason", "rate", "fit_seconds",
    "total_seconds", "parameters", "trained_parameters", "multiply_adds", "milliseconds", "weights_bytes", "is_best",
    "as_good_as_best",
)  # fmt: skip
METRICS = ("accuracy", "balanced_accuracy", "log_loss")
_HEADINGS = (
    ("network", "---"), ("weights", "---"), ("trained", "---"), ("accuracy (95 %)", "--:"),
    ("to the best (95 %)", "--:"),
    ("balanced", "--:"), ("log-loss", "--:"), ("fit s", "--:"), ("trained M", "--:"), ("all M", "--:"),
    ("M mult-adds", "--:"), ("ms", "--:"), ("MB", "--:"),
)  # fmt: skip


def markdown_table(result: Mapping[str, Any]) -> str:
    """The table as a paper prints it, with what was held equal above it and what it says below."""
    lines = [
        f"# Networks compared on {_cell(hide_paths(result['dataset']))}",
        "",
        protocol(result),
        "",
        _line(name for name, _ in _HEADINGS),
        _line(rule for _, rule in _HEADINGS),
        *(_line(_cells(row)) for row in result["rows"]),
        "",
        "Bold: the most accurate row. †: these test images cannot tell it from that row (the 95 % interval of the "
        "difference, on the same images, holds zero).",
        "",
        *(f"- {_cell(sentence)}" for sentence in result["conclusion"]),
    ]
    return "\n".join(lines) + "\n"


def protocol(result: Mapping[str, Any]) -> str:
    """What was the same for all rows, in sentences."""
    sizes = sorted({row["image_size"] for row in result["rows"]})
    pixels = f"{sizes[0]} px" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} px, since no size suits all"
    rates = ", ".join(f"{rate:g}" for rate in result["rates"])
    repeats = "once" if result["seeds"] == 1 else f"{result['seeds']} times, and averaged"
    return (
        f"{result['images']['train']} images to fit to, {result['images']['test']} test images that each row read "
        f"once, {result['classes']} classes, {pixels}. Same linear head on average pooling, same views "
        f"({result['augmentation']}), {result['epochs']} epochs wherever more than the head is trained, each such row "
        f"with the best of the rates {rates} by log-loss on a fifth of the images to fit to, and fitted {repeats}."
    )


def csv_table(result: Mapping[str, Any]) -> str:
    """The rows with all digits, for a spreadsheet or a plot of your own."""
    columns = [*CSV_COLUMNS, *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in result["rows"]:
        values = {name: row.get(name) for name in CSV_COLUMNS}
        for name in METRICS if row["state"] == "complete" else ():
            low, high = row["test"][f"{name}_ci95"]
            values |= {name: row["test"][name], f"{name}_low": low, f"{name}_high": high}
        writer.writerow(values)
    return text.getvalue()


def _cells(row: Mapping[str, Any]) -> list[str]:
    head = [_cell(row["label"]), _cell(row["pretrained_on"] or "random"), _trained(row)]
    if row["state"] != "complete":
        return [*head, f"failed: {_cell(hide_paths(row['reason']))}", *[""] * (len(_HEADINGS) - len(head) - 1)]
    test, behind = row["test"], row["behind_best"]
    accuracy = f"{100 * test['accuracy']:.1f} ({_range(test['accuracy_ci95'])})"
    gap = "" if row["is_best"] else f"{100 * behind['accuracy']:+.1f} ({_range(behind['accuracy_ci95'], '+')})"
    return [
        *head,
        f"**{accuracy}**" if row["is_best"] else f"{accuracy} †" if row["as_good_as_best"] else accuracy,
        gap,
        f"{100 * test['balanced_accuracy']:.1f}",
        f"{test['log_loss']:.3f}",
        _number(row["fit_seconds"], 1, 1),
        _number(row["trained_parameters"], 1e6, 3),
        _number(row["parameters"], 1e6, 2),
        _number(row["multiply_adds"], 1e6, 0),
        _number(row["milliseconds"], 1, 1),
        _number(row["weights_bytes"], 1e6, 1),
    ]


def _range(bounds: Sequence[float], sign: str = "") -> str:
    return " to ".join(f"{100 * bound:{sign}.1f}" for bound in bounds)


def _trained(row: Mapping[str, Any]) -> str:
    return FROM_SCRATCH if (row["weights"], row["level"]) == ("random", "full") else LEVELS[row["level"]]


def _number(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def _cell(text: object) -> str:
    """A text that may come from users, so that it changes nothing of the table."""
    words = "".join(one if one.isprintable() else " " for one in str(text))
    for mark in "\\|`<>*_[]":
        words = words.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return words


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
