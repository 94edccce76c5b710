"""Means with 95 % intervals over a few seeds, and paired differences."""

from collections.abc import Hashable, Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

# Quantile 0.975 of Student's t with 1, 2, ... degrees of freedom; of the normal distribution beyond.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
NORMAL_975 = 1.960


class Mean(NamedTuple):
    """A mean of `n` values; the 95 % interval is the mean plus and minus `half_width`, unknown (None) for one value."""

    mean: float
    half_width: float | None
    n: int

    def text(self, digits: int, sign: bool = False) -> str:
        """Such as `0.701 ± 0.012`; one value has no interval."""
        mean = f"{self.mean:{'+' if sign else ''}.{digits}f}"
        return mean if self.half_width is None else f"{mean} ± {self.half_width:.{digits}f}"


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and Student's interval.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("A mean needs at least one value; given none. Leave the row out of the table.")
    if len(values) == 1:
        return Mean(values[0], None, 1)
    degrees = len(values) - 1
    quantile = T_975[degrees - 1] if degrees <= len(T_975) else NORMAL_975
    return Mean(fmean(values), quantile * stdev(values) / sqrt(len(values)), len(values))


def paired_differences(values: Mapping[Hashable, float], reference: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """Value minus reference for the keys (seeds) that both have: what a seed does to both drops out."""
    return {key: value - reference[key] for key, value in values.items() if key in reference}
