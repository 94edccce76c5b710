"""The plot of transfer gain: accuracy against labels, one curve for each arm, with intervals."""

from collections.abc import Mapping
from typing import Any

from autotl.report.plots import ACCENT, SECOND, svg

ARMS = {
    "frozen": ("pretrained, frozen", ACCENT, "-"),
    "tuned": ("pretrained, trained", "#5b8c5a", "-"),
    "scratch": ("from scratch", SECOND, "-"),
    "random": ("random, frozen", "#8a8f98", (0, (4, 2))),
}
_LEAST_GAP = 0.055  # of the axis, between two names


def draw_gain(result: Mapping[str, Any]) -> str:
    """Accuracy against labels per class, on a logarithmic axis, as an SVG file."""
    tiers = result["tiers"]
    labels = [tier["labels"] for tier in tiers]

    def draw(axes: Any) -> None:
        ends = {}
        for arm, (_, colour, line) in ARMS.items():
            values = [tier["arms"][arm]["accuracy"] for tier in tiers]
            bounds = [tier["arms"][arm]["accuracy_ci95"] for tier in tiers]
            axes.fill_between(labels, *zip(*bounds, strict=True), color=colour, alpha=0.14, linewidth=0)
            axes.plot(labels, values, color=colour, linestyle=line, marker="o", markersize=4.5, linewidth=1.8)
            ends[arm] = values[-1]
        axes.set_ylim(0.0, min(1.0, 1.12 * max(map(_highest, tiers))))
        for arm, height in _apart(ends, _LEAST_GAP * axes.get_ylim()[1]).items():
            name, colour, _ = ARMS[arm]
            axes.annotate(
                name, (labels[-1], height), xytext=(9, 0), textcoords="offset points", color=colour, fontsize=9,
                va="center", annotation_clip=False,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(labels, [_tick(tier) for tier in tiers])
        axes.minorticks_off()
        axes.set_xlabel("labels per class (all: in the mean)")
        axes.set_ylabel(f"accuracy on {result['images']['test']} test images")

    drawing = svg(draw, 4.4, "Accuracy against labels, with and without transfer")
    start = drawing.index(">") + 1
    return f'{drawing[:start]}\n<rect width="100%" height="100%" fill="white"/>{drawing[start:]}'


def _highest(tier: Mapping[str, Any]) -> float:
    return max(float(arm["accuracy_ci95"][1]) for arm in tier["arms"].values())


def _tick(tier: Mapping[str, Any]) -> str:
    return f"all\n({tier['labels']:.0f})" if tier["per_class"] is None else str(tier["per_class"])


def _apart(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Places for names at these heights, each at least a gap above the one below."""
    placed: dict[str, float] = {}
    last = float("-inf")
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        last = max(height, last + gap)
        placed[name] = last
    return placed
