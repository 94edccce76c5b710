"""From what the pass found to the manifest: what is dropped and why, what belongs together, what is learned from."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from autotl.data.duplicates import equal_pairs, group_ids, near_pairs
from autotl.data.entries import Entry
from autotl.data.manifest import Manifest, Sample
from autotl.data.records import Record, good
from autotl.data.scan import Layout
from autotl.data.split import assign_splits
from autotl.errors import DataError

MAX_SKIPPED_SHARE = 0.10
MIN_SKIPPED = 2
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
)
_STRENGTH = {"train": 0, "val": 1, "test": 2}
Pair = tuple[int, int]


@dataclass(frozen=True)
class Relations:
    """Pairs of entries (indices into the layout): equal bytes, the same picture re-encoded, variants of a picture."""

    exact: list[Pair]
    same: list[Pair]
    variant: list[Pair]


@dataclass(frozen=True)
class Leak:
    """A picture that the user put on both sides: `kept` in the stricter split, `dropped` from the other."""

    split: str
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True)
class Selection:
    """The manifest, the layout's index of each of its samples, and everything a person should be told."""

    manifest: Manifest
    kept: tuple[int, ...]
    relations: Relations
    conflicts: tuple[tuple[int, ...], ...]
    leaks: tuple[Leak, ...]
    similar_across_splits: tuple[tuple[int, ...], ...]


def select(root: str, layout: Layout, records: Sequence[Record], seed: int) -> Selection:
    """Drop conflicts and leaks, group duplicates, split. Nothing that is dropped depends on the seed.

    Raises:
        DataError: Too many files were skipped, there are fewer than two classes, a class has no readable image, or the
            classes cannot be divided (`assign_splits`).
    """
    entries = layout.entries
    check_skipped(entries, records)
    usable = list(good(records))
    _check_classes(entries, usable)
    relations = _relate(records, usable)
    conflicts = _conflicts(entries, records, usable)
    sides = _sides(entries)
    # A test split that was given is the user's yardstick: it stays as it is, with what is ambiguous in it.
    in_conflict = {index for group in conflicts for index in group if sides[index] != "test"}
    leaks = _leaks([pair for pair in relations.exact + relations.same if not in_conflict & set(pair)], sides)
    dropped = in_conflict | {index for leak in leaks for index in leak.dropped}
    kept = [index for index in usable if index not in dropped]
    _check_classes(entries, kept)
    position = {index: row for row, index in enumerate(kept)}
    near = [(a, b) for a, b in relations.same + relations.variant if a in position and b in position]
    groups = group_ids(
        len(kept),
        [(position[a], position[b]) for a, b in relations.exact if a in position and b in position],
        [(position[a], position[b]) for a, b in near if sides[a] == sides[b]],
        equal_pairs([entries[index].group for index in kept]),
    )
    labels = [entries[index].label for index in kept]
    splits = assign_splits(labels, groups, [entries[index].split for index in kept], seed)
    classes = tuple(sorted({entry.label for entry in entries}))
    number = {name: index for index, name in enumerate(classes)}
    samples = tuple(
        Sample(entries[index].path, number[entries[index].label], split, group, records[index].sha256)
        for index, split, group in zip(kept, splits, groups, strict=True)
    )
    across = components((a, b) for a, b in near if sides[a] != sides[b])
    return Selection(Manifest(root, classes, samples), tuple(kept), relations, conflicts, leaks, across)


def check_skipped(entries: Sequence[Entry], records: Sequence[Record]) -> None:
    """Refuse a data set that is broken in bulk. A text file beside the images is no broken image and does not count."""
    bad = [
        f"{entry.path}: {record.problem}"
        for entry, record in zip(entries, records, strict=True)
        if record.problem and (record.reason != "not an image" or _looks_like_image(entry.path))
    ]
    total = len(bad) + sum(not record.problem for record in records)
    if len(bad) >= MIN_SKIPPED and len(bad) > MAX_SKIPPED_SHARE * total:
        raise DataError(
            f"At most {MAX_SKIPPED_SHARE:.0%} of the images may be unusable; {len(bad)} of {total} are: "
            f"{'; '.join(bad[:5])}{'; ...' if len(bad) > 5 else ''}. Repair or remove them."
        )


def components(pairs: Iterable[Pair]) -> tuple[tuple[int, ...], ...]:
    """The groups of two and more that the pairs form, each ascending, in order of their first member."""
    listed = list(pairs)
    members = sorted({index for pair in listed for index in pair})
    position = {index: number for number, index in enumerate(members)}
    found: dict[int, list[int]] = defaultdict(list)
    for index, group in zip(
        members, group_ids(len(members), ((position[a], position[b]) for a, b in listed)), strict=True
    ):
        found[group].append(index)
    return tuple(tuple(group) for group in found.values())


def _looks_like_image(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def _relate(records: Sequence[Record], usable: Sequence[int]) -> Relations:
    """Near duplicates are looked for among different contents only; copies follow their first one."""
    exact = [(usable[a], usable[b]) for a, b in equal_pairs([records[index].sha256 for index in usable])]
    copies = {second for _, second in exact}
    distinct = [index for index in usable if index not in copies]
    looks = [records[index].look for index in distinct]
    found = near_pairs(looks, [records[index].width / records[index].height for index in distinct])
    pairs = [(distinct[pair.first], distinct[pair.second], pair.same) for pair in found]
    return Relations(exact, [(a, b) for a, b, same in pairs if same], [(a, b) for a, b, same in pairs if not same])


def _sides(entries: Sequence[Entry]) -> list[str | None]:
    """What each entry was given to; where others have a split, one without counts as train (as in `assign_splits`)."""
    if all(entry.split is None for entry in entries):
        return [None] * len(entries)
    return ["train" if entry.split is None else entry.split for entry in entries]


def _conflicts(
    entries: Sequence[Entry], records: Sequence[Record], usable: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Equal bytes under different labels: nobody can say which is right, so none is learned from."""
    by_content: dict[str, list[int]] = defaultdict(list)
    for index in usable:
        by_content[records[index].sha256].append(index)
    return tuple(tuple(group) for group in by_content.values() if len({entries[index].label for index in group}) > 1)


def _leaks(pairs: Sequence[Pair], sides: Sequence[str | None]) -> tuple[Leak, ...]:
    """The stricter side keeps its copies: the test split is locked, validation goes before training."""
    leaks = []
    for group in components(pairs):
        found = {side for index in group if (side := sides[index]) is not None}
        if len(found) < 2:
            continue
        strictest = max(found, key=lambda side: _STRENGTH[side])
        kept = tuple(index for index in group if sides[index] == strictest)
        leaks.append(Leak(strictest, kept, tuple(index for index in group if sides[index] != strictest)))
    return tuple(leaks)


def _check_classes(entries: Sequence[Entry], usable: Sequence[int]) -> None:
    classes = {entry.label for entry in entries}
    if len(classes) < 2:
        raise DataError(
            f"A classifier needs at least two classes; given only {', '.join(classes)}. Add a folder (or label) for "
            "another class."
        )
    empty = sorted(classes - {entries[index].label for index in usable})
    if empty:
        raise DataError(
            f"Every class must have usable images; there are none in {', '.join(empty[:10])} (unreadable, or the same "
            "file is also in another class). Add images or remove the class."
        )
