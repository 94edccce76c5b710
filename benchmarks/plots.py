"""Test accuracy against wall seconds: one panel for each data set, one colour for each variant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FULL_COLOUR = "#c0392b"
PANEL_INCHES = 4.2


def draw(datasets: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Draw what `ablation_table.summarise` made of each data set; small dots are single searches, crosses intervals."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PANEL_INCHES * len(datasets) + 2.6, 4.0), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    names = list(dict.fromkeys(variant for rows in datasets.values() for variant in rows))
    palette = colormaps["tab10"].colors  # type: ignore[attr-defined]
    others = [colour for number, colour in enumerate(palette) if number != 3]  # the red one is the whole search
    colours = {name: FULL_COLOUR if number == 0 else others[(number - 1) % 9] for number, name in enumerate(names)}
    markers = {name: "sov^DPX<>"[number % 9] for number, name in enumerate(names)}
    for panel, (dataset, rows) in zip(panels, datasets.items(), strict=True):
        for name, row in rows.items():
            seconds, accuracy = row["seconds"], row["accuracy"]
            panel.scatter(*zip(*row["points"], strict=True), s=9, color=colours[name], alpha=0.45, linewidths=0)
            panel.errorbar(
                seconds["mean"],
                accuracy["mean"],
                xerr=seconds["half_width"] or 0.0,
                yerr=accuracy["half_width"] or 0.0,
                fmt=markers[name],
                markersize=6,
                color=colours[name],
                elinewidth=0.8,
                label=name,
            )
        lowest, highest = _range([point[1] for row in rows.values() for point in row["points"]])
        panel.set(title=dataset, xlabel="wall seconds", ylim=(lowest, highest))
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy")
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _range(values: list[float]) -> tuple[float, float]:
    """The searches fill the panel: with two or three seeds an interval may be many times as wide and is cut off."""
    margin = max(0.01, 0.35 * (max(values) - min(values)))
    return max(0.0, min(values) - margin), min(1.0, max(values) + margin)
