"""The report's plots, as SVG to be put into the page: no scripts, no fonts, no references to anything outside."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from autotl.report.record import RunRecord, Trial, mapping_or_empty, number_or_none
from autotl.report.tables import METRIC_NAMES

ACCENT, SECOND, INK, MUTED, RULE = "#2f5d8a", "#c2703d", "#23272d", "#6b7280", "#e3e6ea"
STAGE_COLOURS = (ACCENT, SECOND, "#5b8c5a", "#7d5ba6", "#8a8f98")
_WIDTH_INCHES = 9.0
_SQUARE_WIDTH_INCHES = 4.4
_LOG_SCALE_FROM = 20.0  # worst / best score from which a linear axis would show nothing but the worst


def history(record: RunRecord) -> str | None:
    """Score by trial, coloured by stage, and the best so far; None with fewer than two scores."""
    scored = [trial for trial in record.trials if trial.score is not None]
    if len(scored) < 2:
        return None
    stages = list(dict.fromkeys(trial.stage for trial in record.trials))

    def draw(axes: Any) -> None:
        for stage, colour in _coloured(stages):
            _scatter(axes, [trial for trial in scored if trial.stage == stage], stage, colour)
        # Scores of cross-validation and of a hold-out are on two scales: each has a best of its own.
        # So have those on a sample of the images.
        for index, scale in enumerate(dict.fromkeys((trial.evaluation, trial.images) for trial in scored)):
            alike = [trial for trial in scored if (trial.evaluation, trial.images) == scale]
            steps = _best_so_far(alike, record.larger_is_better)
            if steps:
                numbers, best = zip(*steps, (alike[-1].number, steps[-1][1]), strict=True)
                label = None if index else "best so far"
                axes.step(numbers, best, where="post", color=INK, linewidth=1.1, label=label, zorder=2)
        axes.set_xlabel("trial")
        axes.set_ylabel(_axis_name(record))
        _scale(axes, [trial.score for trial in scored if trial.score is not None], record)
        axes.legend(frameon=False, loc="upper right", ncols=len(stages) + 1, bbox_to_anchor=(1.0, 1.14), fontsize=9)

    return svg(draw, 3.2, "Score of each trial, in the order of the search")


def learning_curves(record: RunRecord) -> str | None:
    """Validation score by epoch of the trials that were trained in epochs; the best one stands out."""
    trained = [trial for trial in record.trials if len(trial.curve) > 1 and trial.evaluation == "holdout"]
    if not trained:
        return None
    sign = -1.0 if record.larger_is_better else 1.0
    complete = [trial for trial in trained if trial.state == "complete" and trial.score is not None]
    best = min(complete, key=lambda trial: sign * (trial.score or 0.0), default=None)

    def draw(axes: Any) -> None:
        for trial in trained:
            epochs = range(1, len(trial.curve) + 1)
            if trial is best:
                axes.plot(epochs, trial.curve, color=ACCENT, linewidth=2.0, zorder=4)
                axes.annotate(
                    f"trial {trial.number}", (epochs[-1], trial.curve[-1]), xytext=(7, -3), textcoords="offset points",
                    color=ACCENT, fontsize=9, annotation_clip=False,
                )  # fmt: skip
            else:
                colour = "#a9b4c0" if trial.state == "complete" else "#dfc7b4"
                axes.plot(epochs, trial.curve, color=colour, linewidth=1.1, zorder=2)
                if trial.state == "pruned":
                    axes.plot(epochs[-1], trial.curve[-1], "x", color=SECOND, markersize=5, zorder=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel(_axis_name(record))
        axes.xaxis.get_major_locator().set_params(integer=True)
        _scale(axes, [value for trial in trained for value in trial.curve], record)

    return svg(draw, 3.0, "Validation score by epoch")


def reliability(record: RunRecord) -> str | None:
    """Accuracy by confidence on the test images, before and after the temperature; None where it was not recorded."""
    recorded = mapping_or_empty(mapping_or_empty(record.model.get("test")).get("reliability"))
    series = [
        (_bins(recorded.get(name)), label, colour)
        for name, label, colour in (
            ("uncalibrated", "before the temperature", SECOND),
            ("calibrated", "as delivered", ACCENT),
        )
    ]
    if not series[-1][0]:
        return None

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        for bins, label, colour in series:
            if bins:
                confidences, accuracies, counts = zip(*bins, strict=True)
                areas = [12.0 + 420.0 * count / sum(counts) for count in counts]
                axes.plot(confidences, accuracies, color=colour, linewidth=1.1, alpha=0.6, zorder=2)
                axes.scatter(confidences, accuracies, s=areas, color=colour, alpha=0.75, linewidth=0, zorder=3)
                axes.plot([], [], "o", color=colour, markersize=6, label=label)  # dots of one size for the legend
        axes.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), xlabel="mean confidence", ylabel="share that is right")
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)

    return svg(draw, 4.2, "Accuracy by confidence on the test images", _SQUARE_WIDTH_INCHES)


def _bins(recorded: Any) -> list[tuple[float, float, float]]:
    """(confidence, accuracy, images) of the bins of a reliability diagram."""
    rows = [mapping_or_empty(row) for row in recorded] if isinstance(recorded, list) else []
    found = [tuple(number_or_none(row.get(key)) for key in ("confidence", "accuracy", "n")) for row in rows]
    return [(a, b, n) for a, b, n in found if a is not None and b is not None and n is not None and n > 0]


def _scatter(axes: Any, trials: Sequence[Trial], stage: str, colour: str) -> None:
    complete = [trial for trial in trials if trial.state == "complete"]
    others = [trial for trial in trials if trial.state != "complete"]
    for group, face, label in ((complete, colour, stage), (others, "white", None if complete else stage)):
        if group:
            numbers, scores = [trial.number for trial in group], [trial.score for trial in group]
            axes.scatter(numbers, scores, s=26, facecolor=face, edgecolor=colour, linewidth=1.2, label=label, zorder=3)


def _best_so_far(trials: Sequence[Trial], larger_is_better: bool) -> list[tuple[int, float]]:
    """(trial, score) of each complete trial, the score being the best one until then."""
    steps: list[tuple[int, float]] = []
    better = max if larger_is_better else min
    for trial in trials:
        if trial.state == "complete" and trial.score is not None:
            steps.append((trial.number, better(trial.score, steps[-1][1]) if steps else trial.score))
    return steps


def _coloured(stages: Sequence[str]) -> list[tuple[str, str]]:
    return [(stage, STAGE_COLOURS[index % len(STAGE_COLOURS)]) for index, stage in enumerate(stages)]


def _axis_name(record: RunRecord) -> str:
    direction = "higher" if record.larger_is_better else "lower"
    return f"validation {METRIC_NAMES.get(record.metric, record.metric)} ({direction} is better)"


def _scale(axes: Any, values: Sequence[float], record: RunRecord) -> None:
    if not record.larger_is_better and min(values) > 0 and max(values) / min(values) > _LOG_SCALE_FROM:
        axes.set_yscale("log")


def svg(draw: Callable[[Any], None], height_inches: float, label: str, width_inches: float = _WIDTH_INCHES) -> str:
    """A drawing in the style of the report. `draw` gets Matplotlib's axes, `label` says what the picture shows."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[str, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": label, "text.parse_math": False, "font.size": 10,
        "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
        "text.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE, "axes.axisbelow": True,
    }  # fmt: skip
    with matplotlib.rc_context(style):  # type: ignore[arg-type]  # its keys are plain names to us
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # The sizes are the page's business; the name is for those who do not see the picture.
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', rf'<svg role="img" aria-label="{label}" \1', drawing, count=1).replace(
        f'height="{height_inches * 72:g}pt" ', "", 1
    )
