"""What `autotl data check` has to tell, as JSON."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from autotl.data.manifest import SPLITS, Manifest
from autotl.data.records import Record, good
from autotl.data.scan import Layout
from autotl.data.selection import Selection, components

MAX_LISTED = 100
"""Groups of duplicates that are listed; the counts are always complete."""


def summarise(
    dataset: str,
    layout: Layout,
    records: Sequence[Record],
    selection: Selection,
    refused: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """The report of a check.

    Keys: `dataset`, `given_splits` (those that the data came with), `layout` {kind, notes}, `files` (labelled, before
    skipping), `images` (in the manifest), `classes` {name: {train, val, test}}, `skipped` [{path, reason}],
    `duplicates` {exact and near: {groups, images, listed: [[path]]}, labels_differ: [[{path, label}]]}, `conflicts`
    [[{path, label}]] (equal bytes, different labels: dropped, but for those in a test split that was given), `leaks`
    [{split, kept, dropped}],
    `similar_across_splits` [[path]] (variants across given splits: kept), `notes` and `formats` {what: count}, `side`
    {smallest, median, largest} in pixels, `fingerprint`, `split_fingerprint`; `check_dataset` adds `decoded` (images
    decoded by this call) and `seconds`.
    """
    paths = [entry.path for entry in layout.entries]
    usable = list(good(records))
    problems = [(path, record.problem) for path, record in zip(paths, records, strict=True) if record.problem]
    sides = [side for index in usable for side in (records[index].width, records[index].height)]
    return {
        "dataset": dataset,
        "given_splits": sorted({entry.split for entry in layout.entries if entry.split is not None}),
        "layout": {"kind": layout.kind, "notes": list(layout.notes)},
        "files": len(records),
        "images": len(selection.manifest.samples),
        "classes": _class_counts(selection.manifest),
        "skipped": [{"path": path, "reason": reason} for path, reason in [*problems, *refused]],
        **_relations(layout, selection),
        "notes": dict(Counter(note for index in usable for note in records[index].notes).most_common()),
        "formats": dict(Counter(records[index].format for index in usable).most_common()),
        "side": {"smallest": min(sides), "median": int(statistics.median(sides)), "largest": max(sides)},
        "fingerprint": selection.manifest.fingerprint,
        "split_fingerprint": selection.manifest.split_fingerprint,
    }


def _relations(layout: Layout, selection: Selection) -> dict[str, Any]:
    """Everything about images that resemble each other."""
    entries = layout.entries
    near = components(selection.relations.same + selection.relations.variant)

    def paths(group: Iterable[int]) -> list[str]:
        return [entries[index].path for index in group]

    def labelled(group: Iterable[int]) -> list[dict[str, str]]:
        return [{"path": entries[index].path, "label": entries[index].label} for index in group]

    def groups(found: Sequence[Sequence[int]]) -> dict[str, Any]:
        listed = [paths(group) for group in found[:MAX_LISTED]]
        return {"groups": len(found), "images": sum(map(len, found)), "listed": listed}

    differing = [group for group in near if len({entries[index].label for index in group}) > 1]
    return {
        "duplicates": {
            "exact": groups(components(selection.relations.exact)),
            "near": groups(near),
            "labels_differ": [labelled(group) for group in differing[:MAX_LISTED]],
        },
        "conflicts": [labelled(group) for group in selection.conflicts],
        "leaks": [
            {"split": leak.split, "kept": paths(leak.kept), "dropped": paths(leak.dropped)} for leak in selection.leaks
        ],
        "similar_across_splits": [paths(group) for group in selection.similar_across_splits[:MAX_LISTED]],
    }


def _class_counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    counts = Counter((sample.label, sample.split) for sample in manifest.samples)
    return {name: {split: counts[index, split] for split in SPLITS} for index, name in enumerate(manifest.classes)}
