"""What the report says about the data: what the check found (`autotl.data.summary`), as rows and sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from autotl.data.manifest import SPLITS
from autotl.report.record import Json, RunRecord, mapping_or_empty
from autotl.report.tables import hide_paths

_SHOWN = 5


class Finding(NamedTuple):
    """Something the check found: what, how often, and the first few examples."""

    what: str
    number: int
    examples: list[str]


def class_counts(record: RunRecord) -> dict[str, Any] | None:
    """Images by class and split: `{"splits", "rows": [{"name", "counts", "total"}], "totals", "total"}`."""
    counts = {
        str(name): mapping_or_empty(splits) for name, splits in mapping_or_empty(record.data.get("classes")).items()
    }
    if not counts:
        return None
    rows = [
        {"name": name, "counts": _by_split(splits), "total": sum(_by_split(splits))} for name, splits in counts.items()
    ]
    totals = [sum(column) for column in zip(*map(_by_split, counts.values()), strict=True)]
    return {"splits": SPLITS, "rows": rows, "totals": totals, "total": sum(totals)}


def facts(record: RunRecord) -> str:
    """One sentence about the files and the images; empty when the check recorded none."""
    data, side = record.data, mapping_or_empty(record.data.get("side"))
    if not isinstance(data.get("images"), int) or not isinstance(data.get("files"), int):
        return ""
    parts = [f"{data['images']} of {data['files']} files are used"]
    formats = mapping_or_empty(data.get("formats"))
    parts += [", ".join(f"{count} {name}" for name, count in formats.items())] if formats else []
    if {"smallest", "median", "largest"} <= set(side):
        parts.append(f"sides of {side['smallest']} to {side['largest']} pixels, median {side['median']}")
    return "; ".join(parts) + "."


def findings(record: RunRecord) -> list[Finding]:
    """What is worth knowing before one trusts a score on these data; nothing found, nothing said."""
    data, duplicates = record.data, mapping_or_empty(record.data.get("duplicates"))
    exact, near = mapping_or_empty(duplicates.get("exact")), mapping_or_empty(duplicates.get("near"))
    notes = [f"{name} ({count})" for name, count in mapping_or_empty(data.get("notes")).items()]
    return [
        finding
        for finding in (
            _found("files that could not be used", data.get("skipped"), _joined),
            _found(
                "sets of identical images with different labels, kept out of training", data.get("conflicts"), _labelled
            ),
            _found("sets of look-alikes with different labels", duplicates.get("labels_differ"), _labelled),
            _found("images found on both sides of a given split", data.get("leaks"), _leak),
            _found("sets of look-alikes on both sides of a given split", data.get("similar_across_splits"), _joined),
            _found("sets of identical images, each in one split", exact.get("listed"), _joined, exact.get("groups")),
            _found("sets of look-alikes, each in one split", near.get("listed"), _joined, near.get("groups")),
            _found("kinds of images that needed a rule to decode", notes, str),
        )
        if finding.number
    ]


def _found(what: str, items: Any, example: Callable[[Any], str], count: Any = None) -> Finding:
    listed: Sequence[Any] = items if isinstance(items, list) else []
    number = count if isinstance(count, int) else len(listed)
    return Finding(what, number, [hide_paths(example(item)) for item in listed[:_SHOWN]])


def _by_split(splits: Json) -> list[int]:
    return [int(splits.get(split, 0)) for split in SPLITS]


def _joined(item: Any) -> str:
    if isinstance(item, Mapping):
        return ": ".join(str(value) for value in item.values())
    return ", ".join(map(str, item)) if isinstance(item, list) else str(item)


def _labelled(group: Any) -> str:
    images = [mapping_or_empty(image) for image in group] if isinstance(group, list) else []
    return ", ".join(f"{image.get('path')} ({image.get('label')})" for image in images)


def _leak(leak: Any) -> str:
    parts = mapping_or_empty(leak)
    return f"kept {_joined(parts.get('kept', []))} in {parts.get('split')}, dropped {_joined(parts.get('dropped', []))}"
