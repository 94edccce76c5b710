"""What a measurement of transfer gain says, in sentences that claim no more than its intervals do."""

from collections.abc import Mapping, Sequence
from typing import Any

ARM_WORDS = {
    "frozen": "pretrained, frozen",
    "tuned": "pretrained, all of it trained",
    "scratch": "from scratch",
    "random": "random, frozen",
}
OVER_WORDS = {"scratch": "training from scratch", "random": "random frozen features"}


def conclude(transfer: str, tables: Mapping[str, Any]) -> list[str]:
    """Sentences: what transfer gains at each tier, the labels that scratch needs, the time, and harm where there is.

    Args:
        transfer: the arm that stands for it.
        tables: `tiers` and `negative`, see `autotl.studies.gain_tables.describe`.
    """
    tiers = tables["tiers"]
    said = [_gained(transfer, tier) for tier in tiers]
    said.append(_labels(transfer, tiers))
    timed = [tier for tier in tiers if tier["equal_seconds"] is not None]
    if timed:
        said.append(_time(transfer, timed[-1]))
    said += [_harm(found) for found in tables["negative"]]
    if not tables["negative"]:
        said.append("No negative transfer: nothing pretrained is surely worse than its counterpart.")
    return said


def where(tier: Mapping[str, Any]) -> str:
    """A tier in words."""
    if tier["per_class"] is None:
        return f"all {tier['images']} images"
    return f"{tier['per_class']} image{'' if tier['per_class'] == 1 else 's'} per class"


def _gained(transfer: str, tier: Mapping[str, Any]) -> str:
    found = next(one for one in tier["gains"] if one["arm"] == transfer and one["over"] == "scratch")
    low, high = found["points_ci95"]
    if not found["is_sure"]:
        return (
            f"With {where(tier)} these test images cannot tell transfer ({ARM_WORDS[transfer]}) from training from "
            f"scratch: {found['points']:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})."
        )
    if found["points"] > 0:
        return (
            f"With {where(tier)} transfer gains {found['points']:.1f} points (95 % interval {low:.1f} to {high:.1f})."
        )
    return f"With {where(tier)} transfer loses {-found['points']:.1f} points (95 % interval {-high:.1f} to {-low:.1f})."


def _labels(transfer: str, tiers: Sequence[Mapping[str, Any]]) -> str:
    reached = [tier for tier in tiers if tier["scratch_needs"]["labels"] is not None]
    least = tiers[0]["scratch_needs"]["most"]
    if not reached:
        return (
            f"Scratch needs more than all {tiers[-1]['images']} images ({least:.0f} per class) to be as accurate as "
            f"transfer is with {where(tiers[0])}."
        )
    tier = reached[-1]
    needed, (low, high) = tier["scratch_needs"], tier["scratch_needs"]["labels_ci95"]
    top = f"more than {needed['most']:.0f}" if high is None else f"{high:.0f}"
    bottom = f"more than {needed['most']:.0f}" if low is None else f"{low:.0f}"
    return (
        f"To be as accurate as transfer is with {where(tier)}, scratch needs about {needed['labels']:.0f} labels per "
        f"class (95 % interval {bottom} to {top}), {needed['times']:.1f} times as many."
    )


def _time(transfer: str, tier: Mapping[str, Any]) -> str:
    found, mine = tier["equal_seconds"], tier["arms"][transfer]["accuracy"]
    then = "has not ended an epoch" if found["scratch"] is None else f"is at {found['scratch']:.3f}"
    when = (
        f"does not come to it within {found['longest']:.0f} s"
        if found["seconds_to_equal"] is None
        else f"comes to it after {found['seconds_to_equal']:.0f} s"
    )
    return (
        f"With {where(tier)} transfer takes {found['seconds']:.0f} s for an accuracy of {mine:.3f}; after these "
        f"seconds scratch {then}, and it {when} ({tier['epochs']} epochs)."
    )


def _harm(found: Mapping[str, Any]) -> str:
    low, high = found["points_ci95"]
    return (
        f"Negative transfer with {where(found)}: {ARM_WORDS[found['arm']]} is {-found['points']:.1f} points worse than "
        f"{OVER_WORDS[found['over']]} {'in balanced accuracy ' if found['is_balanced'] else ''}"
        f"(95 % interval {-high:.1f} to {-low:.1f})."
    )
