"""What a comparison says, in sentences that claim no more than its intervals do."""

from collections.abc import Mapping, Sequence
from typing import Any

LEVEL_WORDS = {"frozen": "frozen", "partly": "partly unfrozen", "full": "fully fine-tuned"}
UNTRAINED_WORDS = {"frozen": "frozen with random weights", "full": "trained from scratch"}


def conclude(rows: Sequence[Mapping[str, Any]], gains: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences: which row is best and what it cannot be told from, what training more brought, what failed."""
    done = [row for row in rows if row["state"] == "complete"]
    best = next(row for row in done if row["is_best"])
    low, high = best["test"]["accuracy_ci95"]
    said = [
        f"The most accurate is {name_row(best)}: {best['test']['accuracy']:.1%} of {best['test']['n']} test images "
        f"(95 % interval {low:.1%} to {high:.1%})."
    ]
    others = [row for row in done if not row["is_best"]]
    alike = [row for row in others if row["as_good_as_best"]]
    if others:
        said.append(_alike(alike, len(others)))
    if alike:
        said += _cheapest([best, *alike], best)
    said += _gained(gains)
    failed = [row for row in rows if row["state"] != "complete"]
    if failed:
        said.append(f"Without a result: {'; '.join(name_row(row) for row in failed)}.")
    untrained = dict.fromkeys(str(row["label"]) for row in done if row["pretrained_on"] is None)
    if untrained:
        said.append(
            f"{', '.join(untrained)} began with random weights: those rows say nothing of what transfer would give."
        )
    return said


def name_row(row: Mapping[str, Any]) -> str:
    """A row in words: its network, and what was trained."""
    words = LEVEL_WORDS if row["weights"] == "pretrained" else UNTRAINED_WORDS
    return f"{row['label']} {words[row['level']]}"


def _alike(alike: Sequence[Mapping[str, Any]], others: int) -> str:
    if not alike:
        return "It is more accurate than every other row by more than chance."
    names = "; ".join(name_row(row) for row in alike)
    rest = "all other rows" if len(alike) == others else f"{len(alike)} of the {others} other rows"
    return f"These test images cannot tell it from {rest}: {names}."


def _cheapest(alike: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> list[str]:
    """The one of these with the fewest multiply-adds; of the same network, the one that trains the least of it."""
    known = [row for row in alike if row["multiply_adds"] is not None]
    if not known:
        return []
    order = list(LEVEL_WORDS)
    cheap = min(known, key=lambda row: (row["multiply_adds"], order.index(row["level"])))
    if cheap is best:
        return ["It also costs the least of these."]
    return [f"Of these {name_row(cheap)} costs the least: {cheap['multiply_adds'] / 1e6:.0f} M multiply-adds an image."]


def _gained(gains: Sequence[Mapping[str, Any]]) -> list[str]:
    said = []
    for gain in gains:
        if not gain["is_sure"]:
            continue
        low, high = (100 * value for value in gain["accuracy_ci95"])
        verb = "gains" if gain["accuracy"] > 0 else "loses"
        if gain["accuracy"] < 0:
            low, high = -high, -low
        said.append(
            f"{name_row(gain)} {verb} {abs(100 * gain['accuracy']):.1f} points over the same network frozen (95 % "
            f"interval {low:.1f} to {high:.1f})."
        )
    if gains and not said:
        said.append("No network is surely better or worse when more of it is trained than its head.")
    return said
