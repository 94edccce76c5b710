"""What must be as it was when a run is gone on with: the request, the search space and the images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from autotl.data.manifest import Manifest
from autotl.errors import DataError, UsageError
from autotl.runs.directory import Run
from autotl.runs.files import read_json
from autotl.search.request import SearchRequest, absolute, read_request
from autotl.space.files import read_space
from autotl.space.schema import SearchSpace

WHERE = ("jobs", "gpus", "gpu_share", "executor", "executor_address", "study", "cache_dir")
"""Fields of a request that say where it is carried out, and may differ from one driver to the next."""
ELSEWHERE = ("out", "space")  # `space` names a file, of which the content is compared
NAMED = 5  # differences at most
NOTHING = "nothing"


def same_request(run: Run, asked: SearchRequest) -> SearchRequest:
    """The request of a run, to be carried out where it is asked for now.

    Raises:
        UsageError: it is another request.
    """
    was, now = read_request(read_json(run.request_path)), absolute(asked)
    names = [field.name for field in fields(SearchRequest) if field.name not in (*WHERE, *ELSEWHERE)]
    changed = [
        f"{name} was {before} and is {after}"
        for name in names
        for before, after in differing(getattr(was, name), getattr(now, name))
    ]
    if changed:
        raise UsageError(
            f"{run.path} holds another search, unfinished: {'; '.join(changed)}. Go on with that one "
            f"(autotl resume {run.path}), or give another folder."
        )
    return replace(was, **{name: getattr(now, name) for name in WHERE})


def differing(before: Any, after: Any) -> list[tuple[str, str]]:
    """Both as text, if they are not equal."""
    if before == after:
        return []
    return [(NOTHING if value in (None, (), "") else str(value) for value in (before, after))]  # type: ignore[list-item]


def check_same_space(before: Sequence[Any], file: Path) -> None:
    """Insist on the space that a run began with.

    Args:
        before: the stages, as they were written down then (`describe_space`); empty if nobody did.
        file: of the space as it is now.

    Raises:
        UsageError: it has changed; names where.
    """
    changed = list(_differences("stages", list(before), describe_space(read_space(file))))
    if before and changed:
        raise UsageError(
            f"A run goes on with the search space that it began with, and {file} says otherwise: {_some(changed)}. "
            "Put it back as it was, or start a new search in another folder."
        )


def describe_space(space: SearchSpace) -> list[Any]:
    """The stages of a space as JSON."""
    return [stage.model_dump(mode="json") for stage in space.stages]


def _differences(place: str, before: Any, now: Any) -> Iterator[str]:
    """Where two JSON values differ, as paths with both values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*before, *now)):
            yield from _differences(f"{place}.{name}" if place else name, before.get(name), now.get(name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            name = new.get("name", number) if isinstance(new, Mapping) else number
            yield from _differences(f"{place}[{name}]", old, new)
    elif before != now:
        yield f"{place} was {_brief(before)} and is {_brief(now)}"


def _brief(value: Any) -> str:
    text = NOTHING if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_same_images(manifest: Manifest, find: Callable[[], Manifest], *, same_split: bool = True) -> None:
    """Insist on the images that a run began with.

    Args:
        manifest: of the run.
        find: looks what there is now. Files that look untouched need not be read again.
        same_split: whether they are to be divided as they were.

    Raises:
        DataError: they have moved, or some were added, removed, changed or labelled anew; names up to five.
    """
    if not Path(manifest.root).exists():
        raise DataError(
            f"A run goes on with the images that it began with; those were at {manifest.root}, and there is nothing "
            "now. Put them back, or a link to where they are now."
        )
    try:
        now = find()
    except DataError as error:
        raise DataError(f"The images of this run have changed, and cannot be used as they are now: {error}") from error
    found = _changed_images(manifest, now)
    if not found and same_split and now.split_fingerprint != manifest.split_fingerprint:
        found = ["another division into training, validation and test images"]
    if found:
        raise DataError(
            f"A run goes on with the images that it began with; of those at {manifest.root} there are now "
            f"{', '.join(found)}. Put them back as they were, or start a new search."
        )


def _changed_images(before: Manifest, now: Manifest) -> list[str]:
    """What happened to the images, in words."""
    old, new = ({sample.path: sample for sample in manifest.samples} for manifest in (before, now))
    both = [path for path in old if path in new]
    changed = {
        "added": [path for path in new if path not in old],
        "removed": [path for path in old if path not in new],
        "changed": [path for path in both if old[path].sha256 != new[path].sha256],
        "labelled anew": [path for path in both if before.classes[old[path].label] != now.classes[new[path].label]],
    }
    return [f"{len(paths)} {how} ({_some(paths)})" for how, paths in changed.items() if paths]


def _some(names: list[str]) -> str:
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more])
