"""The plot of a comparison: accuracy with intervals of every network and level, and what fitting took."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.report.plots import ACCENT, INK, MUTED, RULE, SECOND, svg

LEVELS = {
    "frozen": ("frozen", "#8a8f98"),
    "partly": ("partly unfrozen", ACCENT),
    "full": ("fully trained", SECOND),
}
_STEP, _ROW_INCHES, _FRAME_INCHES, _LABEL_LETTERS = 0.22, 0.62, 1.3, 24


def draw_comparison(result: Mapping[str, Any]) -> str:
    """Accuracy with intervals of every network and level, and beside it what fitting took, as an SVG file."""
    rows = result["rows"]
    networks = list(dict.fromkeys(map(_network, rows)))
    levels = [level for level in LEVELS if any(row["level"] == level for row in rows)]

    def draw(axes: Any) -> None:
        figure = axes.figure
        axes.remove()
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 2))
        for level in levels:
            _draw_level(left, right, [row for row in rows if row["level"] == level], networks, levels)
        left.set_yticks(range(len(networks)), [_tick(*network) for network in networks], color=INK)
        left.set_ylim(len(networks) - 0.45, -0.55)
        left.set_xlabel(f"accuracy on {result['images']['test']} test images, 95 % interval")
        right.set_xlabel("seconds of a fit")
        _count_in_decades(right)
        for place in range(len(networks) - 1):
            for one in (left, right):
                one.axhline(place + 0.5, color=RULE, linewidth=0.8)
        for one in (left, right):
            one.grid(visible=True, axis="x", color=RULE)
            one.grid(visible=False, axis="y")
            one.tick_params(axis="y", length=0)
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, loc="outside upper center", ncols=3, fontsize=9)

    drawing = svg(draw, _FRAME_INCHES + _ROW_INCHES * len(networks), "Accuracy and cost of each network and level")
    start = drawing.index(">") + 1
    return f'{drawing[:start]}\n<rect width="100%" height="100%" fill="white"/>{drawing[start:]}'


def _count_in_decades(axes: Any) -> None:
    """A logarithmic axis with plain numbers on it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.margins(x=0.12)


def _network(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["backbone"], row["label"], row["weights"]


def _tick(backbone: str, label: str, weights: str) -> str:
    short = label if len(label) <= _LABEL_LETTERS else f"{label[: _LABEL_LETTERS - 1]}…"
    return short if weights == "pretrained" else f"{short}\n(random weights)"


def _draw_level(
    left: Any, right: Any, rows: Sequence[Mapping[str, Any]], networks: Sequence[Any], levels: Sequence[str]
) -> None:
    level = rows[0]["level"]
    name, colour = LEVELS[level]
    offset = _STEP * (levels.index(level) - (len(levels) - 1) / 2)
    places = [networks.index(_network(row)) + offset for row in rows]
    done = [(row, place) for row, place in zip(rows, places, strict=True) if row["state"] == "complete"]
    if done:
        values = [row["test"]["accuracy"] for row, _ in done]
        bounds = [row["test"]["accuracy_ci95"] for row, _ in done]
        # a resampled interval may leave the value itself out by a hair
        sides = [
            [max(0.0, value - low) for value, (low, _) in zip(values, bounds, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, bounds, strict=True)],
        ]
        heights = [place for _, place in done]
        left.errorbar(
            values, heights, xerr=sides, fmt="o", color=colour, markersize=5.5, elinewidth=1.6, capsize=0, label=name
        )
        right.plot([max(0.01, row["fit_seconds"]) for row, _ in done], heights, "o", color=colour, markersize=5.5)
    for row, place in zip(rows, places, strict=True):
        if row["state"] != "complete":
            left.annotate(
                f"{name}: failed",
                (0.02, place),
                xycoords=("axes fraction", "data"),
                color=MUTED,
                fontsize=8,
                va="center",
            )
