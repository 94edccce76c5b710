"""The table of transfer gain, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.report.tables import hide_paths

ARMS = {
    "frozen": "pretrained, frozen",
    "tuned": "pretrained, trained",
    "scratch": "from scratch",
    "random": "random, frozen",
}


def markdown_gain(result: Mapping[str, Any]) -> str:
    """Accuracies, gains and time by tier, with what was held equal above and what it says below."""
    tiers = result["tiers"]
    lines = [
        f"# What transfer is worth on {_cell(hide_paths(result['dataset']))}",
        "",
        f"{_cell(result['label'])} at {result['image_size']} px, pretrained on {_cell(result['pretrained_on'])}. "
        f"{result['images']['train']} images to fit to, {result['images']['test']} test images, {result['classes']} "
        f"classes, seed {result['seed']}. The same draws, head and pooling for all; what trains sees mirrored views, "
        f"takes the same epochs and tried the same rates ({', '.join(f'{rate:g}' for rate in result['rates'])}) on a "
        "part of one tier's images. 95 % intervals over test images and draws.",
        "",
        *_accuracies(tiers, tiers),
        "",
        "Points gained:",
        "",
        *_gained(tiers, tiers),
        "",
        f"Balanced accuracy, the mean over classes: one answer to all images has {1 / result['classes']:.3f}.",
        "",
        *_accuracies(tiers, [one["balanced"] for one in tiers]),
        "",
        "Points gained in balanced accuracy:",
        "",
        *_gained(tiers, [one["balanced"] for one in tiers]),
        "",
        "Seconds of a fit, with the passes of a frozen network over its images, as if none were cached:",
        "",
        *_table(
            ("labels per class", *ARMS.values()),
            [(_tier(one), *(f"{one['arms'][arm]['seconds']:.1f}" for arm in ARMS)) for one in tiers],
        ),
        "",
        *(f"- {_cell(sentence)}" for sentence in result["conclusion"]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _accuracies(tiers: Sequence[Mapping[str, Any]], read: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of every arm, by tier: `arms` of what is read."""
    facts = [(_tier(one), str(one["images"]), str(one["draws"]), str(one["epochs"])) for one in tiers]
    shown = [
        [_interval(one["arms"][arm]["accuracy"], one["arms"][arm]["accuracy_ci95"], 3) for arm in ARMS] for one in read
    ]
    rows = [(*left, *right) for left, right in zip(facts, shown, strict=True)]
    return _table(("labels per class", "images", "draws", "epochs", *ARMS.values()), rows)


def _gained(tiers: Sequence[Mapping[str, Any]], read: Sequence[Mapping[str, Any]]) -> list[str]:
    """By tier: `gains` of what is read."""
    rows = [
        (_tier(tier), *(_interval(gain["points"], gain["points_ci95"], 1) for gain in one["gains"]))
        for tier, one in zip(tiers, read, strict=True)
    ]
    pairs = (f"{ARMS[gain['arm']]} over {ARMS[gain['over']]}" for gain in read[0]["gains"])
    return _table(("labels per class", *pairs), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["--:"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _tier(one: Mapping[str, Any]) -> str:
    return "all" if one["per_class"] is None else str(one["per_class"])


def _interval(value: float, bounds: Sequence[float], digits: int) -> str:
    low, high = bounds
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _cell(text: object) -> str:
    """Text that cannot change the shape of the page."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
