"""Train, validation and test: stratified by class, whole duplicate groups, seeded, and checked after the fact.

scikit-learn's `StratifiedGroupKFold` returns parts without some classes on small grouped data
(https://github.com/scikit-learn/scikit-learn/issues/33085), so groups are placed greedily here, with a guarantee.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from autotl.data.manifest import SPLITS, Split
from autotl.errors import DataError

ATTEMPTS = 20
"""Groups that hold several classes can block each other; another order usually frees them."""
_ORDER: tuple[Split, ...] = ("train", "test", "val")


def assign_splits(
    labels: Sequence[str],
    groups: Sequence[int],
    given: Sequence[str | None],
    seed: int,
    fractions: tuple[float, float, float] = (0.70, 0.15, 0.15),
) -> list[Split]:
    """Give each sample its split; `fractions` are those of train, val and test.

    Without given splits all samples are divided. Given ones are kept, a sample without one counts as train where others
    have one, and a missing val or test is carved out of train in the proportion that the fractions have to train's.

    Raises:
        DataError: A class has too few groups to be in every part (`groups` are duplicates: one group is one picture), a
            given part lacks a class, or a group is given to two parts.
    """
    is_given = any(part is not None for part in given)
    parts = [("train" if is_given else None) if part is None else part for part in given]
    pool = [index for index, part in enumerate(parts) if part in (None, "train")]
    carved = [part for part in _ORDER if part == "train" or part not in parts]
    share = dict(zip(SPLITS, fractions, strict=True))
    _check_given(labels, groups, parts)
    _check_group_counts(labels, groups, pool, carved)
    result: list[Split] = [part if part in ("val", "test") else "train" for part in parts]  # type: ignore[misc]
    for attempt in range(ATTEMPTS):
        order = random.Random(f"{seed}-{attempt}")
        placed = _place([labels[i] for i in pool], [groups[i] for i in pool], carved, share, order)
        for index, part in zip(pool, placed, strict=True):
            result[index] = part
        missing = _missing(labels, result)
        if not missing:
            return result
    raise DataError(
        f"Every class must be in train, val and test; no division found for {missing}, because near-duplicate images "
        "tie several classes together. Give the splits yourself, or remove the images that look alike."
    )


def _place(
    labels: Sequence[str],
    groups: Sequence[int],
    carved: Sequence[Split],
    share: Mapping[Split, float],
    order: random.Random,
) -> list[Split]:
    """Place whole groups, the largest first, each where its classes are furthest below their target."""
    contents: dict[int, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        contents[group][label] += 1
    left = Counter(label for content in contents.values() for label in content)
    total = sum(share[part] for part in carved)
    wanted = {(part, label): n * share[part] / total for label, n in Counter(labels).items() for part in carved}
    missing = {label: set(carved) for label in left}
    shuffled = sorted(contents)
    order.shuffle(shuffled)
    # Groups with several classes come first, as long as every choice is open; then the largest, the hardest to balance.
    shuffled.sort(key=lambda group: (-len(contents[group]), -contents[group].total()))
    chosen: dict[int, Split] = {}
    for group in shuffled:
        content = contents[group]
        urgent = [part for label in content if left[label] <= len(missing[label]) for part in missing[label]]
        need = {part: sum(wanted[part, label] for label in content) for part in carved}
        part = max(carved, key=lambda part: (urgent.count(part), need[part]))
        for label, count in content.items():
            left[label] -= 1
            missing[label].discard(part)
            wanted[part, label] -= count
        chosen[group] = part
    return [chosen[group] for group in groups]


def _missing(labels: Sequence[str], parts: Sequence[str]) -> str:
    """The classes that a part lacks, in words; empty when all is well."""
    present = set(zip(labels, parts, strict=True))
    lacking = [
        f"{label} (not in {part})" for label in sorted(set(labels)) for part in SPLITS if (label, part) not in present
    ]
    return ", ".join(lacking[:10])


def _check_given(labels: Sequence[str], groups: Sequence[int], parts: Sequence[str | None]) -> None:
    sides: dict[int, set[str | None]] = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        sides[group].add(part)
    torn = [group for group, found in sides.items() if len(found) > 1]
    if torn:
        raise DataError(
            f"A group of images belongs to one split; {len(torn)} groups are given to several. Change the "
            "split or the group column."
        )
    for part in ("val", "test"):
        found = {label for label, given in zip(labels, parts, strict=True) if given == part}
        absent = sorted(set(labels) - found)
        if found and absent:
            raise DataError(
                f"Every class must be in every split; the given {part} split lacks {', '.join(absent[:10])}. Add "
                f"images, or leave out the {part} split and autotl makes one."
            )


def _check_group_counts(
    labels: Sequence[str], groups: Sequence[int], pool: Sequence[int], carved: Sequence[Split]
) -> None:
    found: dict[str, set[int]] = {label: set() for label in labels}
    for index in pool:
        found[labels[index]].add(groups[index])
    few = [f"{label} ({len(found[label])})" for label in sorted(found) if len(found[label]) < len(carved)]
    if few:
        raise DataError(
            f"Every class needs at least {len(carved)} different images to be divided into {', '.join(carved)} "
            f"(near-duplicates count as one); too few in {', '.join(few[:10])}. Add images or remove the class."
        )
